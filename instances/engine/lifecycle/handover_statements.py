"""SQL of `handover`."""

INNER = """
-- The inner tasks of the version that still exist; and whether traversals that have succeeded before are kept.
SELECT coalesce((SELECT jsonb_agg(n.inner_task) FROM jsonb_array_elements(v.definition->'inner') AS n(inner_task)
                 WHERE EXISTS (SELECT 1 FROM instances_task t WHERE t.id = (n.inner_task->'task'->>'id')::bigint)), '[]')::text,
       e.try_number > 0 OR coalesce(e.application_parameters->>'traversals', '') = 'failed'
FROM instances_execution e JOIN instances_taskversion v ON v.id = e.version_id WHERE e.id = %s
"""

DELEGATE = """
WITH exec AS (
    UPDATE instances_execution SET state = 'delegated' WHERE id = %(execution)s AND (state = 'running') IS TRUE
    RETURNING id, instance_id, run_started_at, version_id
), history AS (
    INSERT INTO instances_statechange (instance_id, execution_id, move, from_state, to_state)
    SELECT instance_id, id, 'hand_over', 'running', 'running' FROM exec
)
INSERT INTO instances_foreachrun (instance_id, execution_id, is_open, spec, dag, parameters, total, pending, active, success,
    failed, stopped, started_at, deadline)
SELECT exec.instance_id, exec.id, true, coalesce(v.definition->'settings', '{}'), %(dag)s::jsonb, %(parameters)s::jsonb,
       0, 0, 0, 0, 0, 0, now(), exec.run_started_at + t.run_timeout
FROM exec JOIN instances_taskversion v ON v.id = exec.version_id JOIN instances_task t ON t.id = v.task_id
ON CONFLICT (instance_id) DO UPDATE SET (execution_id, is_open, spec, dag, parameters, stop_code, active, failed, stopped,
    started_at, deadline, ended_at) = (excluded.execution_id, true, excluded.spec, excluded.dag, excluded.parameters, '', 0, 0, 0,
    excluded.started_at, excluded.deadline, NULL)
"""

_KEPT = (
    "(%(failed_only)s AND instances_traversal.state = 'success' AND instances_traversal.item = excluded.item)"
)

TRAVERSALS = f"""
INSERT INTO instances_traversal (for_each_id, number, execution_id, item, state)
SELECT %(instance)s, i.place - 1, %(execution)s, i.item, 'pending'
FROM unnest(%(items)s::text[]) WITH ORDINALITY AS i(item, place)
ON CONFLICT (for_each_id, number) DO UPDATE SET execution_id = excluded.execution_id, item = excluded.item,
    state = CASE WHEN {_KEPT} THEN 'success' ELSE 'pending' END,
    started_at = CASE WHEN {_KEPT} THEN instances_traversal.started_at END,
    ended_at = CASE WHEN {_KEPT} THEN instances_traversal.ended_at END
"""  # noqa: S608 - constants

COUNT = """
UPDATE instances_foreachrun r SET total = n.total, pending = n.total - n.success, success = n.success, kept = n.success
FROM (SELECT count(*) AS total, count(*) FILTER (WHERE state = 'success') AS success FROM instances_traversal
      WHERE for_each_id = %(instance)s AND execution_id = %(execution)s) n
WHERE r.instance_id = %(instance)s
"""
