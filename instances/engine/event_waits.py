"""What instances have to do with events: waiting for them from generation on, going on when they came, ending when they
did not come in time, and firing them when they succeed. `events` calls `Waiters`; the engine calls the functions.

Each costs one indexed look where no task listens and none fires.
"""

import logging
from collections.abc import Sequence

from django.db import DatabaseError, connection

from events import matching
from instances.engine import hints, lifecycle_events
from instances.engine.dispatch import dispatch

log = logging.getLogger(__name__)


class Waiters:
    """The handler of events.matching."""

    def still_waiting(self, instance_ids: Sequence[int]) -> set[int]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM instances_instance WHERE id = ANY(%s) AND (state = 'wait_event') IS TRUE "
                "ORDER BY id FOR UPDATE",
                [list(instance_ids)],
            )
            return {row[0] for row in cursor.fetchall()}

    def release(self, instance_ids: Sequence[int]) -> set[int]:
        return lifecycle_events.events_met(instance_ids).groups

    def time_out(self, instance_ids: Sequence[int], message: str) -> tuple[int, set[int]]:
        touched = lifecycle_events.event_timeout(instance_ids, message)
        return touched.instances, touched.groups

    def wake(self, groups: set[int]) -> None:
        try:
            hints.send(dispatch(groups))
        except DatabaseError:
            # The change stands; the next sweep dispatches.
            log.exception("what events released is not dispatched yet")


def register() -> None:
    """Once a process, when the apps are ready."""
    matching.register(Waiters())
