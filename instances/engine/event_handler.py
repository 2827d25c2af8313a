"""What `events` asks the engine for, registered when the apps are ready; and what beat and the workers ask of `events`."""

import datetime as dt
import logging
from collections.abc import Sequence

from django.db import DatabaseError

from events import expiry, firing, matching
from instances.engine import hints, lifecycle
from instances.engine.dispatch import follow
from instances.engine.lifecycle import Touched

log = logging.getLogger(__name__)


class Waiters:
    """The handler of events.matching."""

    def still_waiting(self, instance_ids: Sequence[int]) -> set[int]:
        return lifecycle.still_waiting(instance_ids)

    def release(self, instance_ids: Sequence[int]) -> Touched:
        return lifecycle.events_met(instance_ids)[1]

    def time_out(self, instance_ids: Sequence[int], message: str) -> tuple[int, Touched]:
        ended, touched = lifecycle.event_timeout(instance_ids, message)
        return len(ended), touched

    def wake(self, touched: Sequence[Touched]) -> None:
        total = Touched()
        for one in touched:
            total.add(one)
        try:
            hints.send(follow(total))
        except DatabaseError:
            # The change stands; the next sweep dispatches.
            log.exception("what events released is not dispatched yet")


def register() -> None:
    """Once a process, when the apps are ready."""
    matching.register(Waiters())


def emit() -> None:
    """Fires what successful runs have written down."""
    firing.emit_left()


def sweep() -> None:
    """Everything about events that time may have changed, or that a crash left: four index probes if nothing has."""
    firing.emit_left()
    matching.settle_left()
    expiry.expire()
    expiry.end_overdue()


def remove_old(before: dt.datetime) -> None:
    """Removes firings that are over and older than that."""
    while expiry.remove_old(before):
        pass
