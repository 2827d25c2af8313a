"""SQL of `events`."""

from instances.engine.lifecycle.common_statements import QUEUE

STILL_WAITING = """
SELECT id FROM instances_instance WHERE id = ANY(%(ids)s) AND (state = 'wait_event') IS TRUE ORDER BY id FOR UPDATE
"""

EVENTS_MET = f"""
-- All of them are locked already.
WITH moved AS (
    UPDATE instances_instance i
    SET state = CASE WHEN i.pending_upstream > 0 OR i.trigger_policy <> '' THEN 'wait_upstream' ELSE 'wait_run' END,
        ready_since = CASE WHEN i.pending_upstream > 0 OR i.trigger_policy <> '' THEN i.ready_since ELSE now() END,
        queue = {QUEUE}
    WHERE i.id = ANY(%(ids)s) AND (i.state = 'wait_event') IS TRUE
    RETURNING i.id, i.state, i.resource_group_id, i.lane, i.trigger_policy <> '' AS judged
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'events_met', 'wait_event', state FROM moved ORDER BY id
)
SELECT id, state, resource_group_id, lane, judged FROM moved
"""  # noqa: S608 - constants

NOT_FROZEN = "SELECT id FROM instances_instance WHERE id = ANY(%(ids)s) AND frozen_at IS NULL ORDER BY id"
