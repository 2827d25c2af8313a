"""SQL of `runs`."""

from instances.engine.lifecycle.common_statements import QUEUE

CLAIM = """
-- Take dispatched executions: 0 rows for one that another worker took, that was terminated, or is of an older life.
WITH won AS (
    SELECT i.id AS instance_id, e.id AS execution_id
    FROM instances_execution e JOIN instances_instance i ON i.id = e.instance_id AND i.execution_id = e.id
    WHERE e.id = ANY(%(ids)s) AND (e.state = 'dispatched') IS TRUE AND (i.state = 'wait_run') IS TRUE
    ORDER BY i.id FOR UPDATE OF i
), exec AS (
    -- Before the instance: `won` may have waited for a rerun, and then shows the execution as it was before that.
    UPDATE instances_execution e SET state = 'running', run_started_at = now(), worker = %(worker)s
    FROM won WHERE e.id = won.execution_id AND (e.state = 'dispatched') IS TRUE
    RETURNING e.id, e.instance_id, e.resource_group_id, e.version_id, e.dry_run, e.parameters, e.life_round,
              e.try_number, e.run_type
), inst AS (
    UPDATE instances_instance i
    SET state = 'running', start_time = now(), end_time = NULL, total_runs = total_runs + 1, error_code = '', error_message = ''
    FROM exec WHERE i.id = exec.instance_id AND (i.state = 'wait_run') IS TRUE
    RETURNING i.id, i.task_id, i.task_type, i.data_time, i.planned_time
), lease AS (
    INSERT INTO instances_lease (execution_id, token, worker, heartbeat_at)
    SELECT id, gen_random_uuid(), %(worker)s, now() FROM exec RETURNING execution_id, token
), history AS (
    INSERT INTO instances_statechange (instance_id, execution_id, move, from_state, to_state)
    SELECT instance_id, id, 'claim', 'wait_run', 'running' FROM exec
)
SELECT exec.id, inst.id, lease.token, exec.resource_group_id, inst.task_id, exec.version_id, inst.task_type,
       exec.dry_run, exec.parameters::text, inst.data_time, inst.planned_time, exec.life_round, exec.try_number,
       exec.run_type
FROM exec JOIN inst ON inst.id = exec.instance_id JOIN lease ON lease.execution_id = exec.id ORDER BY exec.id
"""

TAKE_LEASES = """
-- Lock the instances, then end the leases: whoever deletes the lease may write the result.
WITH locked AS (
    SELECT e.id AS execution_id, i.id AS instance_id, i.state, i.tries, i.execution_id AS current_id,
           i.resource_group_id AS home_group, i.lane AS home_lane, i.plan_id, i.for_each_id, i.task_id
    FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) AS r(execution_id, token)
    JOIN instances_lease l ON l.execution_id = r.execution_id AND l.token = r.token
    JOIN instances_execution e ON e.id = l.execution_id
    JOIN instances_instance i ON i.id = e.instance_id
    ORDER BY i.id FOR UPDATE OF i
), ended AS (
    DELETE FROM instances_lease l USING locked
    WHERE l.execution_id = locked.execution_id AND l.token = ANY(%(tokens)s::uuid[])
      AND (%(ttl)s::float IS NULL OR greatest(l.heartbeat_at, pg_postmaster_start_time()) < now() - %(ttl)s * interval '1 second')
    RETURNING l.execution_id
)
SELECT locked.execution_id, locked.instance_id, locked.state, locked.tries, locked.current_id, locked.home_group,
       locked.home_lane, locked.plan_id, locked.for_each_id, e.resource_group_id, e.serial_task_id, e.lane,
       -- Nobody waits for a test run: whoever started it looks at it.
       CASE WHEN e.run_type = 'TEST' THEN 0 ELSE t.retry_limit END,
       extract(epoch FROM t.retry_wait)::float, EXISTS (SELECT 1 FROM events_emitter m WHERE m.task_id = t.id)
FROM ended JOIN locked USING (execution_id) JOIN instances_execution e ON e.id = locked.execution_id
JOIN instances_task t ON t.id = locked.task_id
"""

WRITE_RESULTS = f"""
WITH d AS (
    SELECT * FROM unnest(%(instance)s::bigint[], %(execution)s::bigint[], %(old)s::text[], %(new)s::text[],
        %(move)s::text[], %(exec_state)s::text[], %(code)s::text[], %(message)s::text[], %(exit_code)s::int[],
        %(signal)s::int[], %(ended_ago)s::float[], %(retry_wait)s::float[], %(outputs)s::jsonb[], %(not_taken)s::text[])
      AS d(instance_id, execution_id, old, new, move, exec_state, code, message, exit_code, signal, ended_ago, retry_wait,
           outputs, not_taken)
), exec AS (
    UPDATE instances_execution e
    SET state = d.exec_state, exit_code = d.exit_code, signal = d.signal, error_code = d.code, error_message = d.message,
        outputs = d.outputs, run_ended_at = greatest(e.run_started_at, now() - d.ended_ago * interval '1 second'),
        ended_at = greatest(e.run_started_at, now())
    FROM d WHERE e.id = d.execution_id AND (e.state IN ('running', 'stopping')) IS TRUE
), history AS (
    INSERT INTO instances_statechange (instance_id, execution_id, move, from_state, to_state, error_code)
    SELECT instance_id, execution_id, move, old, new, code FROM d WHERE new <> '' ORDER BY instance_id
), dead AS (
    -- The instance had moved on, and its new life may have been held back until this child was dead.
    UPDATE instances_instance i SET queue = 'ready' FROM d
    WHERE i.id = d.instance_id AND d.new = '' AND (i.state = 'wait_run' AND i.queue = 'gated' AND i.lane IS NULL) IS TRUE
)
UPDATE instances_instance i
SET state = d.new, error_code = d.code, error_message = d.message,
    end_time = CASE WHEN d.new <> 'wait_run' THEN greatest(i.start_time, now() - d.ended_ago * interval '1 second') END,
    not_before = CASE d.new WHEN 'failed_retry' THEN now() + d.retry_wait * interval '1 second' ELSE i.not_before END,
    ready_since = CASE d.new WHEN 'wait_run' THEN now() ELSE i.ready_since END,
    wait_deadline = now() + t.wait_timeout,
    queue = {QUEUE}, not_taken = CASE d.new WHEN 'success' THEN d.not_taken::bigint[] ELSE i.not_taken END
FROM d, instances_task t WHERE i.id = d.instance_id AND i.state = d.old AND d.new <> '' AND t.id = i.task_id
"""  # noqa: S608 - constants

RENEW = """
-- One statement renews every lease of a worker and brings back who must stop. SKIP LOCKED: a row that is being
-- finished or cancelled right now is renewed by the next beat.
UPDATE instances_lease l SET heartbeat_at = now()
FROM (SELECT execution_id FROM instances_lease WHERE worker = %(worker)s
      AND (%(held)s::bigint[] IS NULL OR execution_id = ANY(%(held)s)) ORDER BY execution_id FOR UPDATE SKIP LOCKED) mine
WHERE l.execution_id = mine.execution_id RETURNING l.execution_id, l.cancel
"""

NOTE_PROCESSES = """
UPDATE instances_execution e SET pid = p.pid
FROM unnest(%s::bigint[], %s::int[]) AS p(id, pid) WHERE e.id = p.id AND (e.state = 'running') IS TRUE
"""

LOST = """
SELECT execution_id, token, worker FROM instances_lease
WHERE greatest(heartbeat_at, pg_postmaster_start_time()) < now() - %(ttl)s * interval '1 second'
ORDER BY execution_id LIMIT %(limit)s
"""

RETRY_DUE = f"""
WITH due AS (
    SELECT id FROM instances_instance WHERE state = 'failed_retry' AND not_before <= now()
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), again AS (
    UPDATE instances_instance i
    SET state = 'wait_run', tries = tries + 1, ready_since = now(), queue = {QUEUE}, wait_deadline = now() + t.wait_timeout
    FROM due, instances_task t WHERE i.id = due.id AND (i.state = 'failed_retry') IS TRUE AND t.id = i.task_id
    RETURNING i.id, i.resource_group_id, i.lane
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'retry_due', 'failed_retry', 'wait_run' FROM again
)
SELECT resource_group_id, lane FROM again
"""  # noqa: S608 - constants
