"""SQL that several changes share.

Rows are found by their ids. `(state = ...) IS TRUE` checks the old state without letting the planner read by state:
statistics of a quiet moment say that hardly anything waits, and it would scan all that does, once per row.
"""

# Where an instance that may run stands in the queue: one of a lane is let in when the lane has a place. A frozen one that
# is "ready" stands in no queue at all (the index of ready ones leaves it out), so nobody who looks for the next meets it.
QUEUE = "CASE WHEN i.lane IS NULL OR i.frozen_at IS NOT NULL THEN 'ready' ELSE 'gated' END"

LOCK = "SELECT id FROM instances_instance WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE"

LOCK_PARENTS = """
SELECT u.id FROM instances_instance u WHERE u.id IN (
    SELECT e.upstream_id FROM instances_edge e WHERE e.instance_id = ANY(%(ids)s) AND e.removed_at IS NULL)
  AND u.id <> ALL(%(ids)s)
ORDER BY u.id FOR SHARE OF u
"""

RELEASE = f"""
-- The edges that these parents satisfy; each child whose last counting edge it was may run. Two parents that end
-- together meet at the child's row lock, and the second counts on from what the first left.
WITH met AS (
    UPDATE instances_edge SET satisfied_at = now()
    WHERE upstream_id = ANY(%(ids)s) AND satisfied_at IS NULL AND removed_at IS NULL
    RETURNING instance_id, waived
), counted AS (
    SELECT instance_id, count(*) AS edges FROM met WHERE NOT waived GROUP BY instance_id
), child AS (
    SELECT i.id, i.state, counted.edges FROM instances_instance i JOIN counted ON counted.instance_id = i.id
    ORDER BY i.id FOR UPDATE OF i
), freed AS (
    UPDATE instances_instance i
    SET pending_upstream = i.pending_upstream - child.edges,
        state = CASE WHEN i.state = 'wait_upstream' AND i.pending_upstream = child.edges THEN 'wait_run' ELSE i.state END,
        ready_since = CASE WHEN i.state = 'wait_upstream' AND i.pending_upstream = child.edges THEN now()
                      ELSE i.ready_since END,
        queue = CASE WHEN i.state = 'wait_upstream' THEN {QUEUE} ELSE i.queue END
    -- One table to join: the planner expects few rows, and two would be compared each with each.
    FROM child WHERE child.id = i.id
    RETURNING i.id, i.resource_group_id, i.lane, child.state AS old, i.state AS new
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'upstream_met', old, new FROM freed WHERE old <> new ORDER BY id
)
SELECT DISTINCT resource_group_id, lane FROM freed WHERE old <> new
"""  # noqa: S608 - constants

END_DISPATCHED = """
UPDATE instances_execution SET state = %(state)s, ended_at = now(), error_code = %(code)s, error_message = %(message)s
WHERE instance_id = ANY(%(ids)s) AND state = 'dispatched' RETURNING resource_group_id, serial_task_id, lane
"""
