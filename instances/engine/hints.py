"""Hints: "these executions may start", "these plans may go on". Losing, repeating or reordering one changes latency, never
the outcome: the sweep finds what they are about.

The engine knows no broker: `weops.celery` registers the functions that publish.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Publisher = Callable[[Sequence[T]], None]
log = logging.getLogger(__name__)

# After a failure nothing is published for a while: a dead broker must not hold up those who report results.
QUIET_SECONDS = 3.0


class Outlet(Generic[T]):
    """Where the hints of one kind go. `about` names the kind in the log."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._publisher: Publisher[T] | None = None
        self._quiet_until = 0.0

    def register(self, publisher: Publisher[T] | None) -> Publisher[T] | None:
        """Makes `publisher` the one that hints go to; the one before it."""
        before, self._publisher = self._publisher, publisher
        self._quiet_until = 0.0
        return before

    @property
    def connected(self) -> bool:
        return self._publisher is not None

    def send(self, hints: Collection[T]) -> None:
        """Publishes; never raises."""
        if not hints or self._publisher is None or time.monotonic() < self._quiet_until:
            return
        try:
            self._publisher(list(hints))
        except (
            Exception
        ) as error:  # any broker's client has errors of its own; none of them may stop the engine
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            log.warning(
                "hints for %d %s could not be published, will be sent again: %s",
                len(hints),
                self._about,
                error,
            )


@dataclass(frozen=True, slots=True)
class Hint:
    """`instant`: takes no time of its own (dry run, virtual task), so that many may travel in one message."""

    execution_id: int
    group_id: int
    instant: bool


executions: Outlet[Hint] = Outlet("executions")
plans: Outlet[int] = Outlet("backfill plans")
# Ids of instances of For-each tasks.
traversals: Outlet[int] = Outlet("For-each instances")
# Ids of records whose batches are to be applied.
operations: Outlet[int] = Outlet("operations")

send = executions.send
