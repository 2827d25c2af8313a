"""SQL of `edges`."""

from instances.engine.lifecycle.common_statements import QUEUE

REMOVE = f"""
WITH gone AS (
    UPDATE instances_edge e SET removed_at = now(), removed_by_id = %(user)s, removed_reason = %(reason)s
    WHERE e.instance_id = ANY(%(ids)s) AND e.removed_at IS NULL AND (CASE
        WHEN %(every)s THEN e.satisfied_at IS NULL AND NOT e.waived
        ELSE (e.upstream_task_id, e.upstream_data_time) IN (
            SELECT c.task_id, c.moment FROM unnest(%(tasks)s::bigint[], %(times)s::timestamptz[]) AS c(task_id, moment)) END)
    RETURNING e.instance_id, e.satisfied_at IS NULL AND NOT e.waived AS counted
), loss AS (
    SELECT instance_id, count(*) FILTER (WHERE counted) AS edges FROM gone GROUP BY instance_id
), old AS (
    SELECT i.id, i.state, i.state = 'wait_upstream' AND i.pending_upstream = loss.edges AND i.trigger_policy = '' AS released,
           loss.edges
    FROM instances_instance i JOIN loss ON loss.instance_id = i.id
), freed AS (
    UPDATE instances_instance i
    SET pending_upstream = i.pending_upstream - old.edges,
        state = CASE WHEN old.released THEN 'wait_run' ELSE i.state END,
        ready_since = CASE WHEN old.released THEN now() ELSE i.ready_since END,
        queue = CASE WHEN old.released THEN {QUEUE} ELSE i.queue END
    FROM old WHERE i.id = old.id
    RETURNING i.id, old.state AS old, i.state AS new, old.released, i.resource_group_id, i.lane,
              i.trigger_policy <> '' OR i.state = 'skipped' AS judged
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, operation_id)
    SELECT id, 'remove_dependency', old, new, %(operation)s FROM freed ORDER BY id
)
SELECT id, old, released, resource_group_id, lane, judged FROM freed
"""  # noqa: S608 - constants
