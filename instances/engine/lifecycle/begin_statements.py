"""SQL of `begin`."""

# Those of the instances that may begin a life, with their tasks.
_ABLE = """
FROM instances_instance i JOIN instances_task t ON t.id = i.task_id
CROSS JOIN LATERAL (SELECT i.id = ANY(%(fresh)s::bigint[]) AS fresh) n
WHERE i.id = ANY(%(ids)s) AND (CASE
    WHEN n.fresh THEN i.state IN ('wait_event', 'wait_upstream', 'wait_run')
    WHEN (i.state = ANY(%(sources)s)) IS NOT TRUE THEN false
    WHEN t.rerun_allowed = 'FAILURE' THEN i.state IN ('failed', 'failed_retry')
    ELSE t.rerun_allowed = 'ALL' END) AND (n.fresh OR i.instance_type <> 'test')
"""

ABLE = f"SELECT i.id {_ABLE}"

ADD_PREVIOUS = f"""
-- Lives that are told to be orderly wait for the period before, as if their task had always been so. Only while BEGIN
-- has not decided yet the edge is waived.
INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id, is_self, waived)
SELECT able.id, able.task_id, previous.data_time, previous.id, true, true
FROM (SELECT i.id, i.task_id, i.data_time {_ABLE}) able CROSS JOIN LATERAL (
    SELECT p.id, p.data_time FROM instances_instance p WHERE p.task_id = able.task_id AND p.data_time < able.data_time
      AND p.instance_type NOT IN ('non_periodic', 'test') ORDER BY p.data_time DESC LIMIT 1) previous
WHERE NOT EXISTS (SELECT 1 FROM instances_edge e WHERE e.instance_id = able.id AND e.is_self)
"""  # noqa: S608 - constants

# Whether the instance was given a new life by this operation, in an earlier call.
_RENEWED = """EXISTS (SELECT 1 FROM instances_statechange s
    WHERE s.instance_id = {0}.id AND s.operation_id = %(operation)s AND s.move = 'rerun')"""

BEGIN = f"""
-- Everything that a new life decides, for the instances and for each of their edges, in one statement. The instances
-- and what they wait for are locked; parents are locked again, for an edge may have been bound to a new one since.
WITH old AS (
    SELECT i.id, i.state, i.lane, i.task_id, i.trigger_policy, n.fresh, t.self_dependency {_ABLE}
), edge AS (
    SELECT e.instance_id, e.upstream_task_id, e.upstream_data_time, e.upstream_id, e.is_self, e.waived, e.satisfied_at,
           e.rules, e.excused, old.task_id AS child_task,
           e.upstream_id = ANY(%(ids)s) AS inside,
           -- A lane, or a self-dependency of this life's own, stands in for the task's.
           %(parallelism)s::int IS NULL
             AND coalesce(nullif(%(self_dependency)s, ''), old.self_dependency) = 'orderly' AS orderly
    FROM old JOIN instances_edge e ON e.instance_id = old.id WHERE e.removed_at IS NULL
), outside AS (
    SELECT u.id, u.state, u.plan_id, u.task_id, u.data_time, u.not_taken FROM instances_instance u
    WHERE u.id IN (SELECT upstream_id FROM edge WHERE NOT inside) ORDER BY u.id FOR SHARE OF u
), parent AS (
    SELECT id, state = 'success' AS succeeded, state = 'skipped' AS skipped, not_taken,
           {_RENEWED.format("outside")}
             -- Of the same plan, though somebody may have begun a life of it by hand since.
             OR coalesce(plan_id = %(plan)s, false)
             OR EXISTS (SELECT 1 FROM instances_backfillrun r WHERE r.plan_id = %(plan)s AND r.data_time = outside.data_time
                        AND r.task_id = outside.task_id AND r.state NOT IN ('pending', 'skipped', 'refused')) AS renewed,
           CASE WHEN %(check_parents)s = 'selection' THEN EXISTS (
               SELECT 1 FROM instances_operationitem o WHERE o.operation_id = %(operation)s AND o.instance_id = outside.id)
             -- Those of the batch that is being applied have no outcome yet.
             OR EXISTS (SELECT 1 FROM instances_operationrecord r JOIN instances_frozenbatch b USING (frozen_set_id)
                        WHERE r.id = %(operation)s AND b.applied_at IS NULL AND b.seq = (
                            SELECT min(n.seq) FROM instances_frozenbatch n
                            WHERE n.frozen_set_id = r.frozen_set_id AND n.applied_at IS NULL)
                          AND outside.id = ANY(b.instance_ids)) ELSE false END AS chosen
    FROM outside
    UNION ALL
    -- Of this call: those that get a new life with their children, and those that do not.
    SELECT i.id, old.id IS NULL AND i.state = 'success', old.id IS NULL AND i.state = 'skipped', i.not_taken,
           old.id IS NOT NULL OR {_RENEWED.format("i")}, true
    FROM instances_instance i LEFT JOIN old USING (id) WHERE i.id = ANY(%(ids)s)
), decided AS (
    SELECT edge.*, coalesce(parent.succeeded AND (edge.child_task = ANY(parent.not_taken)) IS NOT TRUE, false) AS met,
           coalesce(parent.skipped OR (parent.succeeded AND edge.child_task = ANY(parent.not_taken)), false) AS skipped,
           CASE WHEN edge.is_self AND NOT edge.orderly THEN false
                WHEN parent.renewed THEN true
                WHEN edge.is_self THEN %(check_previous)s
                WHEN %(check_parents)s = 'all' THEN true
                ELSE coalesce(parent.chosen, false) AND %(check_parents)s = 'selection' END AS counts
    FROM edge LEFT JOIN parent ON parent.id = edge.upstream_id
), open AS (
    SELECT instance_id, count(*) FILTER (WHERE counts AND NOT met) AS edges, count(*) FILTER (WHERE counts) AS all_edges,
           coalesce(bool_or(counts AND NOT met AND (rules & 7 <> 0 OR skipped)), false) AS special
    FROM decided GROUP BY instance_id
), written AS (
    -- An edge that counts is satisfied by what its parent is now; since when, undo must know.
    UPDATE instances_edge e
    SET waived = NOT d.counts, excused = '',
        satisfied_at = CASE WHEN d.met AND d.counts THEN now() WHEN d.met THEN coalesce(d.satisfied_at, now()) END
    FROM decided d
    WHERE e.instance_id = d.instance_id AND e.upstream_task_id = d.upstream_task_id
      AND e.upstream_data_time = d.upstream_data_time
      AND (d.waived = d.counts OR d.met <> (d.satisfied_at IS NOT NULL) OR (d.met AND d.counts) OR d.excused <> '')
), begun AS (
    UPDATE instances_instance i
    SET state = CASE WHEN i.id = ANY(%(awaiting)s::bigint[]) THEN 'wait_event' WHEN need.waits THEN 'wait_upstream'
                ELSE 'wait_run' END,
        pending_upstream = coalesce(open.edges, 0), tries = 0, run_type = %(run_type)s,
        life_round = CASE WHEN old.fresh THEN i.life_round ELSE i.life_round + 1 END,
        not_before = now(), wait_since = now(),
        ready_since = CASE WHEN need.waits OR i.id = ANY(%(awaiting)s::bigint[]) THEN NULL ELSE now() END,
        wait_deadline = now() + t.wait_timeout,
        start_time = NULL, end_time = NULL, error_code = '', error_message = '',
        overrides = %(parameters)s::jsonb, application_parameters = %(application_parameters)s::jsonb,
        version_id = CASE WHEN %(as_it_ran)s THEN (
            SELECT x.version_id FROM instances_execution x
            WHERE x.instance_id = i.id AND x.run_started_at IS NOT NULL ORDER BY x.id DESC LIMIT 1) END,
        self_dependency = %(self_dependency)s, lane = lane.number, lane_limit = %(parallelism)s::smallint,
        queue = CASE WHEN lane.number IS NULL OR i.frozen_at IS NOT NULL THEN 'ready' ELSE 'gated' END,
        resource_group_id = coalesce(%(group)s, t.resource_group_id), priority = t.priority + %(priority_offset)s,
        plan_id = %(plan)s
    FROM old JOIN instances_task t ON t.id = old.task_id LEFT JOIN open ON open.instance_id = old.id
    -- What a policy judges waits for the verdict, though all of its parents may have succeeded.
    CROSS JOIN LATERAL (SELECT coalesce(
        CASE WHEN old.trigger_policy = '' THEN open.edges ELSE open.all_edges END > 0, false) AS waits) need
    CROSS JOIN LATERAL (SELECT CASE WHEN %(parallelism)s::int IS NOT NULL THEN coalesce(
        %(lane)s::bigint, coalesce(%(operation)s::bigint, 0) * 2147483648 + t.id %% 2147483648) END AS number) lane
    WHERE i.id = old.id
    RETURNING i.id, old.state AS old, old.fresh, i.state AS new, i.resource_group_id, i.lane,
              CASE WHEN old.state = 'wait_run' THEN old.lane END AS old_lane,
              need.waits AND (coalesce(open.special, false) OR i.trigger_policy <> '') AS special
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, operation_id)
    SELECT id, %(move)s, old, new, %(operation)s FROM begun WHERE NOT fresh ORDER BY id
)
SELECT id, fresh, old, resource_group_id, lane, old_lane, special FROM begun
"""  # noqa: S608 - constants

GO_ALONG = """
UPDATE instances_instance i
SET plan_id = %(plan)s, run_type = %(run_type)s, overrides = %(parameters)s::jsonb,
    application_parameters = %(application_parameters)s::jsonb,
    resource_group_id = coalesce(%(group)s, t.resource_group_id), priority = t.priority + %(priority_offset)s
FROM instances_task t WHERE t.id = i.task_id AND i.id = ANY(%(ids)s) AND (i.state = 'skipped') IS TRUE RETURNING i.id, i.state
"""

REOPEN = """
-- Children that still wait must wait for the parent's new life; those that have started keep what they got.
WITH parent AS (SELECT unnest(%(ids)s::bigint[]) AS id),
child AS (
    SELECT i.id FROM instances_instance i
    WHERE (i.state IN ('wait_event', 'wait_upstream', 'skipped')) IS TRUE AND i.id IN (
        SELECT e.instance_id FROM instances_edge e JOIN parent ON parent.id = e.upstream_id
        WHERE e.satisfied_at IS NOT NULL AND e.excused NOT IN ('NOT_EXIST', 'PARENT_TIMEOUT') AND NOT e.waived
          AND e.removed_at IS NULL)
    ORDER BY i.id FOR UPDATE
), opened AS (
    UPDATE instances_edge e SET satisfied_at = NULL, excused = '' FROM child
    WHERE e.instance_id = child.id AND e.upstream_id = ANY(%(ids)s) AND e.satisfied_at IS NOT NULL AND e.removed_at IS NULL
      AND e.excused NOT IN ('NOT_EXIST', 'PARENT_TIMEOUT') AND NOT e.waived
    RETURNING e.instance_id
), counted AS (SELECT instance_id, count(*) AS edges FROM opened GROUP BY instance_id)
UPDATE instances_instance i SET pending_upstream = i.pending_upstream + counted.edges
FROM counted WHERE i.id = counted.instance_id
"""
