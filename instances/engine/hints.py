"""Hints: "these executions may start". Losing, repeating or reordering one changes latency, never the outcome.

The engine knows no broker: `weops.celery` registers the function that publishes.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hint:
    """`instant`: takes no time of its own (dry run, virtual task), so that many may travel in one message."""

    execution_id: int
    group_id: int
    instant: bool


# After a failure nothing is published for a while: a dead broker must not hold up those who report results.
QUIET_SECONDS = 3.0

Publisher = Callable[[Sequence[Hint]], None]
_publisher: Publisher | None = None
_quiet_until = 0.0


def register(publisher: Publisher) -> None:
    global _publisher
    _publisher = publisher


def send(hints: Sequence[Hint]) -> None:
    """Publishes; never raises. A hint that does not get through is sent again by maintenance.sweep."""
    global _quiet_until
    if not hints or _publisher is None or time.monotonic() < _quiet_until:
        return
    try:
        _publisher(hints)
    except Exception as error:  # any broker's client has errors of its own; none of them may stop the engine
        _quiet_until = time.monotonic() + QUIET_SECONDS
        log.warning(
            "hints for %d executions could not be published, will be sent again: %s", len(hints), error
        )
