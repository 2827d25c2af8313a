"""SQL of `traversals`."""

MAKE = """
-- Like their For-each instance, but of their own task. What they wait for is decided when their life begins.
INSERT INTO instances_instance (task_id, data_time, traversal, for_each_id, planned_time, instance_type, run_type, cycle_type,
    task_type, project_id, workflow_id, folder_id, owner_id, resource_group_id, priority, state, not_before, wait_since,
    trigger_policy, fails_with_upstream)
SELECT t.id, p.data_time, w.number::text, p.id, p.planned_time, p.instance_type, p.run_type, p.cycle_type, t.task_type,
       p.project_id, p.workflow_id, coalesce(t.folder_id, p.folder_id), p.owner_id, t.resource_group_id, p.priority, 'wait_run',
       now(), now(), CASE WHEN t.trigger_policy <> 'ALL_SUCCESS' OR t.upstream_failure = 'fail' THEN t.trigger_policy ELSE '' END,
       t.upstream_failure = 'fail'
FROM unnest(%(tasks)s::bigint[], %(numbers)s::int[]) WITH ORDINALITY AS w(task_id, number, place)
JOIN instances_task t ON t.id = w.task_id JOIN instances_instance p ON p.id = %(for_each)s
-- In the order of the DAG, so that parents have smaller ids than their children.
ORDER BY w.place
RETURNING id
"""

RENEW_POLICIES = """
-- Edges are made anew for each life of a traversal, and so is how they are judged.
UPDATE instances_instance i
SET trigger_policy = CASE WHEN t.trigger_policy <> 'ALL_SUCCESS' OR t.upstream_failure = 'fail' THEN t.trigger_policy ELSE '' END,
    fails_with_upstream = t.upstream_failure = 'fail'
FROM instances_task t WHERE i.id = ANY(%(again)s::bigint[]) AND t.id = i.task_id
"""

FORGET_EDGES = """
-- The DAG may be another one than in their last life. What somebody has removed stays removed.
DELETE FROM instances_edge WHERE instance_id = ANY(%(again)s::bigint[]) AND removed_at IS NULL
"""

ADD_EDGES = """
INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id, rules)
SELECT c.id, u.task_id, u.data_time, u.id, CASE WHEN c.trigger_policy <> '' THEN %(judged)s ELSE 0 END
FROM instances_instance c
JOIN unnest(%(after)s::bigint[], %(before)s::bigint[]) AS d(task_id, upstream_task_id) ON d.task_id = c.task_id
JOIN instances_instance u ON u.for_each_id = c.for_each_id AND u.traversal = c.traversal AND u.task_id = d.upstream_task_id
WHERE c.id = ANY(%(ids)s::bigint[])
ON CONFLICT DO NOTHING
"""

TELL = """
-- The item and its place; and what its For-each task knows that it does not define itself. Where the For-each instance was told
-- another priority or resource group than its task's, they go with it.
UPDATE instances_instance i
SET overrides = (r.parameters - ARRAY(SELECT jsonb_object_keys(v.parameters)))
                || jsonb_build_object('item', replace(n.item, '${', '$${'), 'index', n.number::text),
    priority = p.priority,
    resource_group_id = CASE WHEN p.resource_group_id = f.resource_group_id THEN t.resource_group_id ELSE p.resource_group_id END
FROM instances_foreachrun r
JOIN instances_instance p ON p.id = r.instance_id JOIN instances_task f ON f.id = p.task_id
JOIN instances_traversal n ON n.for_each_id = r.instance_id,
    instances_task t JOIN instances_taskversion v ON v.id = t.current_version_id
WHERE r.instance_id = %(for_each)s AND i.id = ANY(%(ids)s::bigint[]) AND i.traversal = n.number::text AND t.id = i.task_id
RETURNING i.resource_group_id
"""

TAKE = """
WITH taken AS (
    UPDATE instances_execution SET state = 'running' WHERE id = %(execution)s AND (state = 'delegated') IS TRUE RETURNING id
)
INSERT INTO instances_lease (execution_id, token, worker, heartbeat_at)
SELECT id, gen_random_uuid(), %(taker)s, now() FROM taken RETURNING token
"""
