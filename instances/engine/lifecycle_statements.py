"""The SQL of lifecycle.py, one statement a change; nobody else may use it.

Rows are found by their ids. `(state = ...) IS TRUE` checks the old state without letting the planner read by state:
statistics of a quiet moment say that hardly anything waits, and it would scan all that does, once per row.
"""

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
           i.resource_group_id AS home_group, i.task_id
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
       e.resource_group_id, e.serial_task_id, locked.task_id, t.retry_limit, extract(epoch FROM t.retry_wait)::float
FROM ended JOIN locked USING (execution_id) JOIN instances_execution e ON e.id = locked.execution_id
JOIN instances_task t ON t.id = locked.task_id
"""

WRITE_RESULTS = """
WITH d AS (
    SELECT * FROM unnest(%(instance)s::bigint[], %(execution)s::bigint[], %(old)s::text[], %(new)s::text[],
        %(move)s::text[], %(exec_state)s::text[], %(code)s::text[], %(message)s::text[], %(exit_code)s::int[],
        %(signal)s::int[], %(ended_ago)s::float[], %(retry_wait)s::float[])
      AS d(instance_id, execution_id, old, new, move, exec_state, code, message, exit_code, signal, ended_ago, retry_wait)
), exec AS (
    UPDATE instances_execution e
    SET state = d.exec_state, exit_code = d.exit_code, signal = d.signal, error_code = d.code, error_message = d.message,
        run_ended_at = greatest(e.run_started_at, now() - d.ended_ago * interval '1 second'),
        ended_at = greatest(e.run_started_at, now())
    FROM d WHERE e.id = d.execution_id AND (e.state IN ('running', 'stopping')) IS TRUE
), history AS (
    INSERT INTO instances_statechange (instance_id, execution_id, move, from_state, to_state, error_code)
    SELECT instance_id, execution_id, move, old, new, code FROM d WHERE new <> '' ORDER BY instance_id
)
UPDATE instances_instance i
SET state = d.new, error_code = d.code, error_message = d.message,
    end_time = CASE WHEN d.new <> 'wait_run' THEN greatest(i.start_time, now() - d.ended_ago * interval '1 second') END,
    not_before = CASE d.new WHEN 'failed_retry' THEN now() + d.retry_wait * interval '1 second' ELSE i.not_before END,
    ready_since = CASE d.new WHEN 'wait_run' THEN now() ELSE i.ready_since END,
    wait_deadline = now() + t.wait_timeout,
    queue = 'ready'
FROM d, instances_task t WHERE i.id = d.instance_id AND i.state = d.old AND d.new <> '' AND t.id = i.task_id
"""

RELEASE = """
-- The edges that these parents satisfy; each child whose last edge it was may run. Two parents that end together
-- meet at the child's row lock, and the second counts on from what the first left.
WITH met AS (
    UPDATE instances_edge SET satisfied_at = now()
    WHERE upstream_id = ANY(%(ids)s) AND satisfied_at IS NULL AND removed_at IS NULL
    RETURNING instance_id
), counted AS (
    SELECT instance_id, count(*) AS edges FROM met GROUP BY instance_id
), child AS (
    SELECT i.id, i.state FROM instances_instance i JOIN counted ON counted.instance_id = i.id ORDER BY i.id FOR UPDATE OF i
), freed AS (
    UPDATE instances_instance i
    SET pending_upstream = i.pending_upstream - counted.edges,
        state = CASE WHEN i.state = 'wait_upstream' AND i.pending_upstream = counted.edges THEN 'wait_run' ELSE i.state END,
        ready_since = CASE WHEN i.state = 'wait_upstream' AND i.pending_upstream = counted.edges THEN now()
                      ELSE i.ready_since END,
        queue = CASE WHEN i.state = 'wait_upstream' THEN 'ready' ELSE i.queue END
    FROM counted, child WHERE i.id = counted.instance_id AND child.id = i.id
    RETURNING i.id, i.resource_group_id, child.state AS old, i.state AS new
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'upstream_met', old, new FROM freed WHERE old <> new ORDER BY id
)
SELECT DISTINCT resource_group_id FROM freed WHERE old <> new
"""

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

RETRY_DUE = """
WITH due AS (
    SELECT id FROM instances_instance WHERE state = 'failed_retry' AND not_before <= now()
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), again AS (
    UPDATE instances_instance i
    SET state = 'wait_run', tries = tries + 1, ready_since = now(), queue = 'ready', wait_deadline = now() + t.wait_timeout
    FROM due, instances_task t WHERE i.id = due.id AND (i.state = 'failed_retry') IS TRUE AND t.id = i.task_id
    RETURNING i.id, i.resource_group_id
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'retry_due', 'failed_retry', 'wait_run' FROM again
)
SELECT resource_group_id FROM again
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

CANCEL_DISPATCHED = """
UPDATE instances_execution SET state = 'cancelled', ended_at = now(), error_code = %(code)s, error_message = %(message)s
WHERE instance_id = ANY(%(ids)s) AND state = 'dispatched' RETURNING resource_group_id, serial_task_id
"""

END_WAITING = """
WITH old AS (SELECT id, state, execution_id, resource_group_id FROM instances_instance WHERE id = ANY(%(ids)s)
             AND (state = ANY(%(sources)s)) IS TRUE ORDER BY id FOR UPDATE),
ended AS (
    UPDATE instances_instance i SET state = %(new)s, end_time = greatest(now(), i.start_time), error_code = %(code)s,
        error_message = %(message)s, start_time = CASE WHEN old.state IN ('failed_retry', 'failed') THEN i.start_time END
    FROM old WHERE i.id = old.id RETURNING i.id, old.state, i.resource_group_id
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, error_code, operation_id)
    SELECT id, %(move)s, state, %(new)s, %(code)s, %(operation)s FROM ended ORDER BY id
)
SELECT id, state, resource_group_id FROM ended
"""

STOP_RUNNING = """
WITH old AS (SELECT id, execution_id FROM instances_instance WHERE id = ANY(%(ids)s) AND (state = 'running') IS TRUE
             ORDER BY id FOR UPDATE),
moved AS (
    UPDATE instances_instance i
    SET state = %(new)s, end_time = CASE %(new)s WHEN 'success' THEN greatest(now(), i.start_time) END,
        error_code = '', error_message = ''
    FROM old WHERE i.id = old.id RETURNING i.id, i.execution_id
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
SELECT id FROM moved
"""

NEW_LIFE = """
WITH old AS (SELECT id, state FROM instances_instance WHERE id = ANY(%(ids)s) AND (state = ANY(%(sources)s)) IS TRUE
             ORDER BY id FOR UPDATE),
again AS (
    UPDATE instances_instance i
    SET state = 'wait_run', life_round = life_round + 1, tries = 0, run_type = %(run_type)s, queue = 'ready',
        overrides = '{}', wait_since = now(), ready_since = now(), not_before = now(), start_time = NULL,
        end_time = NULL, error_code = '', error_message = '',
        wait_deadline = now() + t.wait_timeout, resource_group_id = t.resource_group_id, priority = t.priority
    FROM old, instances_task t WHERE i.id = old.id AND t.id = i.task_id
    RETURNING i.id, old.state, i.resource_group_id
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, operation_id)
    SELECT id, 'rerun', state, 'wait_run', %(operation)s FROM again ORDER BY id
)
SELECT id, state, resource_group_id FROM again
"""

REOPEN = """
-- Children that still wait must wait for the parent's new life; those that have started keep what they got.
WITH parent AS (SELECT unnest(%(ids)s::bigint[]) AS id),
child AS (
    SELECT i.id FROM instances_instance i
    WHERE (i.state IN ('wait_event', 'wait_upstream')) IS TRUE AND i.id IN (
        SELECT e.instance_id FROM instances_edge e JOIN parent ON parent.id = e.upstream_id WHERE e.satisfied_at IS NOT NULL)
    ORDER BY i.id FOR UPDATE
), opened AS (
    UPDATE instances_edge e SET satisfied_at = NULL FROM child
    WHERE e.instance_id = child.id AND e.upstream_id = ANY(%(ids)s) AND e.satisfied_at IS NOT NULL AND e.removed_at IS NULL
    RETURNING e.instance_id
), counted AS (SELECT instance_id, count(*) AS edges FROM opened GROUP BY instance_id)
UPDATE instances_instance i SET pending_upstream = i.pending_upstream + counted.edges
FROM counted WHERE i.id = counted.instance_id
"""
