"""SQL of `holds`."""

FREEZE = """
-- Ready and frozen: it stands in no queue (see QUEUE).
WITH old AS (SELECT id, state FROM instances_instance WHERE id = ANY(%(ids)s)
             AND (state = ANY(%(sources)s)) IS TRUE ORDER BY id FOR UPDATE),
frozen AS (
    UPDATE instances_instance i
    SET frozen_at = coalesce(i.frozen_at, now()), thaw_at = %(thaw_at)s, queue = 'ready'
    FROM old WHERE i.id = old.id RETURNING i.id, i.state, CASE WHEN i.state = 'wait_run' THEN i.lane END AS lane
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, operation_id)
    SELECT id, 'freeze', state, state, %(operation)s FROM frozen ORDER BY id
)
SELECT id, state, lane FROM frozen
"""

THAW = """
-- The waiting timeout stood still: its end moves by as long as it was frozen, and never beyond what a wait that begins now has.
WITH old AS (SELECT i.id, i.frozen_at FROM instances_instance i WHERE i.id = ANY(%(ids)s) AND i.frozen_at IS NOT NULL
             ORDER BY i.id FOR UPDATE),
thawed AS (
    UPDATE instances_instance i
    SET frozen_at = NULL, thaw_at = NULL, queue = CASE WHEN i.lane IS NULL THEN 'ready' ELSE 'gated' END,
        wait_deadline = CASE WHEN i.wait_deadline IS NOT NULL
            THEN least(i.wait_deadline + (now() - i.frozen_at), now() + t.wait_timeout) END
    FROM old, instances_task t WHERE i.id = old.id AND t.id = i.task_id
    RETURNING i.id, i.state, i.resource_group_id, i.lane, now() - old.frozen_at AS held
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, operation_id)
    SELECT id, 'thaw', state, state, %(operation)s FROM thawed ORDER BY id
)
SELECT id, state, resource_group_id, lane, held FROM thawed
"""

THAW_DUE = """
SELECT id FROM instances_instance WHERE thaw_at <= now() ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

POSTPONE_PARENTS = """
-- So did the clocks of the parents that they wait for.
UPDATE instances_edge e SET timeout_at = least(e.timeout_at + f.held, now() + e.timeout_minutes * interval '1 minute')
FROM unnest(%(ids)s::bigint[], %(held)s::interval[]) AS f(id, held)
WHERE e.instance_id = f.id AND e.timeout_at IS NOT NULL AND e.satisfied_at IS NULL
"""
