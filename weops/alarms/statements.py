"""SQL of the evaluator. Everything is found by a range of ids, by what is due, or by ids."""

# The rules that watch an instance `i`: at most three index probes. None watches test runs.
_RULES = """
CROSS JOIN LATERAL (VALUES ('task', i.task_id), ('workflow', i.workflow_id), ('project', i.project_id)) o(kind, id)
JOIN alarms_target g ON g.object_kind = o.kind AND g.object_id = o.id
JOIN alarms_rule r ON r.id = g.rule_id AND r.enabled AND i.instance_type <> 'test'
"""

# One snapshot for all three: what is visible, and which writers it does not see.
HORIZON = """
SELECT coalesce((SELECT max(id) FROM {table}), 0), pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""

# Ends in a range of the history, with each rule that may have to tell of them. An end without an execution belongs to
# the life of then: the present one less the reruns since; waiting that ended has left an execution of that life.
ENDS = f"""
SELECT r.id, c.instance_id, l.life_round, c.execution_id, coalesce(e.run_type, i.run_type) IN ('RERUN', 'ADDITION') AS rerun,
       c.to_state, c.move, c.error_code, coalesce(e.error_message, ''), coalesce(e.try_number, i.tries)
FROM instances_statechange c JOIN instances_instance i ON i.id = c.instance_id {_RULES}
LEFT JOIN instances_execution x ON x.id = c.execution_id
CROSS JOIN LATERAL (SELECT coalesce(x.life_round, i.life_round - (
    SELECT count(*) FROM instances_statechange s
    WHERE s.instance_id = c.instance_id AND s.id > c.id AND s.move = 'rerun')) AS life_round) l
LEFT JOIN LATERAL (
    SELECT n.run_type, n.error_message, n.try_number FROM instances_execution n
    WHERE n.instance_id = c.instance_id AND n.life_round = l.life_round AND (x.id IS NULL OR n.id = x.id)
    ORDER BY n.id DESC LIMIT 1) e ON true
WHERE c.id > %(low)s AND c.id <= %(high)s AND c.to_state IN ('failed', 'failed_retry', 'success') AND c.from_state <> c.to_state
  AND c.at >= r.active_since AND r.kinds && ARRAY['failure', 'success', 'rerun_failure', 'rerun_success']::varchar[]
ORDER BY c.id
"""  # noqa: S608 - constants

_FACTS = """
i.id, i.life_round, i.run_type IN ('RERUN', 'ADDITION') AS rerun, i.task_id, i.state, i.planned_time, i.wait_since,
i.not_before, i.tries, i.frozen_at IS NOT NULL, i.start_time, i.end_time, e.id, e.run_started_at, e.run_ended_at
"""

# Lives that have begun and tries that have started, in a range of the history, with the rules that limit them.
BEGUN = f"""
SELECT r.id, {_FACTS}
FROM (SELECT DISTINCT instance_id FROM instances_statechange
      WHERE id > %(low)s AND id <= %(high)s AND move IN ('rerun', 'undo', 'claim')) c
JOIN instances_instance i ON i.id = c.instance_id {_RULES}
LEFT JOIN instances_execution e ON e.id = i.execution_id AND e.life_round = i.life_round
WHERE r.kinds && ARRAY['overtime']::varchar[]
"""  # noqa: S608 - constants

# New instances in a range of ids.
GENERATED = f"""
SELECT r.id, {_FACTS}
FROM instances_instance i {_RULES}
LEFT JOIN instances_execution e ON e.id = i.execution_id AND e.life_round = i.life_round
WHERE i.id > %(low)s AND i.id <= %(high)s AND r.kinds && ARRAY['overtime']::varchar[]
"""  # noqa: S608 - constants

# What was active when a rule was made or changed, once, in pieces.
ACTIVE = f"""
SELECT r.id, {_FACTS}
FROM (SELECT * FROM instances_instance
      WHERE state IN ('wait_event', 'wait_upstream', 'wait_run', 'running', 'failed_retry') AND id > %(low)s
        AND instance_type <> 'test'
        AND CASE %(kind)s WHEN 'task' THEN task_id WHEN 'workflow' THEN workflow_id ELSE project_id END = ANY(%(objects)s)
      ORDER BY id LIMIT %(limit)s) i
JOIN alarms_rule r ON r.id = %(rule)s
LEFT JOIN instances_execution e ON e.id = i.execution_id AND e.life_round = i.life_round
ORDER BY i.id
"""  # noqa: S608 - constants

# A limit on the running time is about the last try; all others stay as they are.
WATCH = """
INSERT INTO alarms_watch (rule_id, limit_no, instance_id, life_round, execution_id, limit_at, due_at)
SELECT * FROM unnest(%(rule)s::bigint[], %(limit_no)s::smallint[], %(instance)s::bigint[], %(life)s::int[],
                     %(execution)s::bigint[], %(limit_at)s::timestamptz[], %(due_at)s::timestamptz[])
ON CONFLICT (rule_id, limit_no, instance_id, life_round) DO UPDATE
SET execution_id = excluded.execution_id, limit_at = excluded.limit_at, due_at = excluded.due_at
WHERE alarms_watch.execution_id IS DISTINCT FROM excluded.execution_id
"""

DUE = f"""
SELECT w.id, w.limit_no, w.limit_at, w.life_round, r.id, {_FACTS}, w.execution_id, x.run_started_at, x.run_ended_at
FROM (SELECT * FROM alarms_watch WHERE due_at <= %(now)s ORDER BY due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) w
JOIN alarms_rule r ON r.id = w.rule_id
LEFT JOIN instances_instance i ON i.id = w.instance_id
LEFT JOIN instances_execution e ON e.id = i.execution_id AND e.life_round = i.life_round
LEFT JOIN instances_execution x ON x.id = w.execution_id
ORDER BY w.id
"""  # noqa: S608 - constants

LOOK_AGAIN = """
UPDATE alarms_watch w SET due_at = a.due_at
FROM unnest(%(ids)s::bigint[], %(due_at)s::timestamptz[]) AS a(id, due_at) WHERE w.id = a.id
"""

# Whoever inserts the row tells: its notices come with it.
TELL = """
WITH found AS (
    SELECT * FROM unnest(%(rule)s::bigint[], %(instance)s::bigint[], %(life)s::int[], %(execution)s::bigint[],
        %(occasion)s::text[], %(kind)s::text[], %(reason)s::text[], %(predicted)s::bool[], %(limit_at)s::timestamptz[])
      AS f(rule_id, instance_id, life_round, execution_id, occasion, kind, reason, predicted, limit_at)
), told AS (
    INSERT INTO alarms_message (rule_id, rule_name, project_id, instance_id, task_id, task_name, data_time, timezone,
        life_round, execution_id, occasion, kind, level, reason, predicted, limit_at, state, error)
    SELECT r.id, r.name, i.project_id, i.id, t.id, t.name, i.data_time, t.timezone, f.life_round, f.execution_id,
           f.occasion, f.kind, r.level, f.reason, f.predicted, f.limit_at, 'to_send', ''
    FROM found f JOIN alarms_rule r ON r.id = f.rule_id JOIN instances_instance i ON i.id = f.instance_id
    JOIN instances_task t ON t.id = i.task_id
    ORDER BY f.rule_id, f.instance_id, f.life_round, f.occasion
    ON CONFLICT (rule_id, instance_id, life_round, occasion) DO NOTHING
    RETURNING id, rule_id
), noticed AS (
    INSERT INTO alarms_notice (message_id, group_id, next_at)
    SELECT told.id, g.id, now() FROM told JOIN alarms_group g ON g.rule_id = told.rule_id
    ON CONFLICT DO NOTHING
)
SELECT id FROM told
"""
