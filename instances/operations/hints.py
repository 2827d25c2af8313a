"""Hints: "these operations have batches to apply". Losing or repeating one changes latency, never the outcome.

Operations know no broker: `weops.celery` registers the function that publishes; the sweep sends lost hints again.
"""

import logging
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

Publisher = Callable[[Sequence[int]], None]
_publisher: Publisher | None = None


def register(publisher: Publisher | None) -> Publisher | None:
    """Makes `publisher` the one that is called; the one before it."""
    global _publisher
    before, _publisher = _publisher, publisher
    return before


def send(operation_ids: Sequence[int]) -> None:
    """Publishes; never raises."""
    if not operation_ids or _publisher is None:
        return
    try:
        _publisher(operation_ids)
    except (
        Exception
    ) as error:  # any broker's client has errors of its own; none of them may fail an operation
        log.warning(
            "hints for operations %s could not be published, will be sent again: %s", operation_ids, error
        )
