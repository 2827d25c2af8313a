"""The moves that events make: part of the lifecycle, the only writer of state. Both run in the caller's transaction,
which holds the locks of the instances."""

from collections.abc import Sequence

from django.db import connection

from events import matching
from instances.engine.lifecycle.common import Touched
from instances.engine.lifecycle.ends import end
from instances.engine.states import Move, State

EVENTS_MET = """
WITH old AS (SELECT id FROM instances_instance WHERE id = ANY(%(ids)s) AND (state = 'wait_event') IS TRUE ORDER BY id FOR UPDATE),
moved AS (
    UPDATE instances_instance i
    SET state = CASE WHEN i.pending_upstream > 0 THEN 'wait_upstream' ELSE 'wait_run' END,
        ready_since = CASE WHEN i.pending_upstream > 0 THEN i.ready_since ELSE now() END, queue = 'ready'
    FROM old WHERE i.id = old.id RETURNING i.id, i.state, i.resource_group_id
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'events_met', 'wait_event', state FROM moved ORDER BY id
)
SELECT id, state, resource_group_id FROM moved
"""


def events_met(ids: Sequence[int]) -> Touched:
    """The instances have got every event they waited for: on to what comes next."""
    with connection.cursor() as cursor:
        cursor.execute(EVENTS_MET, {"ids": list(ids)})
        rows = cursor.fetchall()
    return Touched(groups={row[2] for row in rows if row[1] == State.WAIT_RUN}, instances=len(rows))


def event_timeout(ids: Sequence[int], message: str) -> Touched:
    """Fails instances whose event did not come within its listener's limit; a frozen one's clock stands still."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM instances_instance WHERE id = ANY(%s) AND frozen_at IS NULL", [list(ids)]
        )
        due = [row[0] for row in cursor.fetchall()]
        ended, touched = end(
            cursor, due, [State.WAIT_EVENT], State.FAILED, Move.WAIT_TIMEOUT, "EVENT_TIMEOUT", message, None
        )
    matching.withdraw(list(ended))
    return touched
