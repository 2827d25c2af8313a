"""SQL of `board`. Each part stops at its bound; OFFSET 0 keeps it on the indexes whatever the statistics say."""

EDGES = """
WITH waiting AS MATERIALIZED (
    SELECT i.id, i.project_id, i.trigger_policy IN ('', 'ALL_SUCCESS', 'NONE_FAILED') AS strict
    FROM instances_instance i WHERE i.state = 'wait_upstream'
    ORDER BY i.data_time, i.id LIMIT %(most)s
)
SELECT w.id, w.project_id, e.upstream_id, CASE WHEN e.upstream_id IS NULL THEN e.upstream_task_id END,
       CASE WHEN e.upstream_id IS NULL THEN e.upstream_data_time END
FROM waiting w CROSS JOIN LATERAL (
    SELECT e.upstream_id, e.upstream_task_id, e.upstream_data_time FROM instances_edge e
    WHERE e.instance_id = w.id AND CASE
        -- By other policies, whoever has ended holds nobody, however it ended.
        WHEN w.strict OR e.upstream_id IS NULL THEN true
        ELSE (SELECT u.state FROM instances_instance u WHERE u.id = e.upstream_id) NOT IN ('failed', 'success', 'skipped')
        END AND e.satisfied_at IS NULL AND NOT e.waived AND e.removed_at IS NULL
    OFFSET 0) e
LIMIT %(edges)s
"""

_SEEN = "(%(projects)s::bigint[] IS NULL OR i.project_id = ANY(%(projects)s::bigint[]))"

EVENTS = f"""
SELECT w.event_id, w.data_time, count(*) FROM (
    SELECT w.event_id, w.data_time, w.instance_id FROM events_wait w
    WHERE w.satisfied_at IS NULL AND w.withdrawn_at IS NULL LIMIT %(counted)s) w
WHERE %(projects)s::bigint[] IS NULL
   OR EXISTS (SELECT 1 FROM instances_instance i WHERE i.id = w.instance_id AND {_SEEN})
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %(shown)s
"""  # noqa: S608 - constants

GROUPS = f"""
SELECT g.id, g.name, g.slots, g.enabled,
    (SELECT count(*) FROM instances_execution e
     WHERE e.resource_group_id = g.id AND e.state IN ('dispatched', 'running', 'stopping')), ready.number
FROM projects_resourcegroup g CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM (
        SELECT 1 FROM instances_instance i
        WHERE i.resource_group_id = g.id AND i.state = 'wait_run' AND i.queue = 'ready' AND i.frozen_at IS NULL
          AND i.not_before <= now() AND {_SEEN} LIMIT 10001) c) ready
WHERE ready.number > 0 ORDER BY ready.number DESC, g.id LIMIT %(shown)s
"""  # noqa: S608 - constants

SERIAL = f"""
SELECT task_id, count(*) FROM (
    SELECT i.task_id FROM instances_instance i
    WHERE i.state = 'wait_run' AND i.queue = 'gated' AND i.lane IS NULL AND {_SEEN} LIMIT %(counted)s) i
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(shown)s
"""  # noqa: S608 - constants

LANES = f"""
SELECT max(plan_id), max(lane_limit), count(*) FROM (
    SELECT i.lane, i.lane_limit, i.plan_id FROM instances_instance i
    WHERE i.state = 'wait_run' AND i.queue = 'gated' AND i.lane IS NOT NULL AND {_SEEN} LIMIT %(counted)s) i
GROUP BY lane ORDER BY 3 DESC, lane LIMIT %(shown)s
"""  # noqa: S608 - constants
