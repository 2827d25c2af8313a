"""SQL of `trials`."""

MAKE = """
-- Outside of all others: it names itself where inner instances name theirs. A lane of nobody's, whatever its task says.
INSERT INTO instances_instance (id, task_id, data_time, traversal, for_each_id, planned_time, instance_type, run_type,
    cycle_type, task_type, project_id, workflow_id, folder_id, owner_id, resource_group_id, priority, state, not_before,
    wait_since, ready_since, wait_deadline, version_id, overrides, self_dependency)
SELECT n.id, t.id, %(data_time)s, 'test-' || n.id, n.id, now(), 'test', 'TEST', t.cycle_type, v.task_type, f.project_id, f.id,
       coalesce(t.folder_id, f.folder_id), t.owner_id, t.resource_group_id, t.priority, 'wait_run', now(), now(), now(),
       now() + least(t.wait_timeout, %(longest)s * interval '1 second'), v.id, %(parameters)s::jsonb, 'parallel'
FROM (SELECT nextval(pg_get_serial_sequence('instances_instance', 'id')::regclass) AS id) n
JOIN instances_taskversion v ON v.id = %(version)s JOIN instances_task t ON t.id = v.task_id
JOIN instances_workflow f ON f.id = t.workflow_id
RETURNING id, resource_group_id
"""
