"""SQL of `ends`."""

OVERDUE = """
SELECT id FROM instances_instance WHERE state IN ('wait_event', 'wait_upstream', 'wait_run')
AND wait_deadline IS NOT NULL AND wait_deadline < now() AND frozen_at IS NULL
ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

RECORD_WAITING_LIFE = """
-- A life that ends before it ever got a slot keeps its phases as an execution, too.
INSERT INTO instances_execution (instance_id, life_round, try_number, run_type, state, resource_group_id, version_id,
    wait_started_at, queue_started_at, ended_at, error_code, error_message)
SELECT i.id, i.life_round, i.tries, i.run_type, 'cancelled', i.resource_group_id, i.version_id,
       i.wait_since, i.ready_since, now(), %(code)s, %(message)s
FROM instances_instance i WHERE i.id = ANY(%(ids)s)
ON CONFLICT DO NOTHING
"""

END_WAITING = """
WITH old AS (SELECT id, state FROM instances_instance WHERE id = ANY(%(ids)s)
             AND (state = ANY(%(sources)s)) IS TRUE ORDER BY id FOR UPDATE),
ended AS (
    UPDATE instances_instance i SET state = %(new)s, end_time = greatest(now(), i.start_time), error_code = %(code)s,
        error_message = %(message)s, not_taken = CASE WHEN %(new)s <> 'success' THEN i.not_taken END,
        start_time = CASE WHEN old.state IN ('failed_retry', 'failed') THEN i.start_time END
    FROM old WHERE i.id = old.id RETURNING i.id, old.state, i.resource_group_id, i.lane, i.for_each_id
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, error_code, operation_id)
    SELECT id, %(move)s, state, %(new)s, %(code)s, %(operation)s FROM ended ORDER BY id
)
SELECT id, state, resource_group_id, CASE WHEN state = 'wait_run' THEN lane END, for_each_id FROM ended
"""

STOP_RUNNING = """
WITH old AS (SELECT id, execution_id FROM instances_instance WHERE id = ANY(%(ids)s) AND (state = 'running') IS TRUE
             ORDER BY id FOR UPDATE),
moved AS (
    UPDATE instances_instance i
    SET state = %(new)s, end_time = CASE %(new)s WHEN 'success' THEN greatest(now(), i.start_time) END,
        error_code = '', error_message = '', not_taken = CASE WHEN %(new)s <> 'success' THEN i.not_taken END
    FROM old WHERE i.id = old.id RETURNING i.id, i.execution_id, i.for_each_id, i.task_type
), exec AS (
    UPDATE instances_execution e SET state = 'stopping' FROM moved
    WHERE e.id = moved.execution_id AND (e.state = 'running') IS TRUE AND %(new)s = 'success'
), cancelled AS (
    UPDATE instances_lease l SET cancel = %(cancel)s
    FROM (SELECT l.execution_id FROM instances_lease l JOIN moved ON moved.execution_id = l.execution_id
          ORDER BY l.execution_id FOR UPDATE OF l) held
    WHERE l.execution_id = held.execution_id
), history AS (
    INSERT INTO instances_statechange (instance_id, execution_id, move, from_state, to_state, operation_id)
    SELECT id, execution_id, %(cancel)s, 'running', %(new)s, %(operation)s FROM moved ORDER BY id
)
SELECT id, for_each_id, CASE WHEN task_type = 'FOR_EACH' THEN id END FROM moved
"""
