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

_RELEASE = f"""
-- The edges that these parents satisfy; each plain child whose last counting edge it was may run. Two parents that end
-- together meet at the child's row lock, and the second counts on from what the first left.
WITH met AS (
    UPDATE instances_edge SET satisfied_at = now()
    WHERE upstream_id = ANY(%(ids)s) AND satisfied_at IS NULL AND removed_at IS NULL {{taken}}
    RETURNING instance_id, waived
), counted AS (
    SELECT instance_id, count(*) AS edges FROM met WHERE NOT waived GROUP BY instance_id
), child AS (
    SELECT i.id, i.state, counted.edges,
           -- By a statement of its own, later: see docs/adr/0018-trigger-policies.md.
           i.trigger_policy <> '' OR i.state = 'skipped' AS judged
    FROM instances_instance i JOIN counted ON counted.instance_id = i.id
    ORDER BY i.id FOR UPDATE OF i
), freed AS (
    UPDATE instances_instance i
    SET pending_upstream = i.pending_upstream - child.edges,
        -- Of the row itself: the checks of the table see it before it is known that somebody else has changed it.
        state = CASE WHEN i.state = 'wait_upstream' AND i.pending_upstream = child.edges AND i.trigger_policy = '' THEN 'wait_run'
                ELSE i.state END,
        ready_since = CASE WHEN i.state = 'wait_upstream' AND i.pending_upstream = child.edges AND i.trigger_policy = ''
                      THEN now() ELSE i.ready_since END,
        queue = CASE WHEN i.state = 'wait_upstream' THEN {QUEUE} ELSE i.queue END
    -- One table to join: the planner expects few rows, and two would be compared each with each.
    FROM child WHERE child.id = i.id
    RETURNING i.id, i.resource_group_id, i.lane, child.state AS old, i.state AS new
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'upstream_met', old, new FROM freed WHERE old <> new ORDER BY id
)
SELECT DISTINCT resource_group_id, lane, NULL::bigint FROM freed WHERE old <> new
UNION ALL SELECT NULL, NULL, id FROM child WHERE judged
"""  # noqa: S608 - constants

RELEASE = _RELEASE.format(taken="")
RELEASE_TAKEN = _RELEASE.format(
    taken="""AND NOT EXISTS (
        SELECT 1 FROM instances_instance c JOIN unnest(%(branches)s::bigint[], %(tasks)s::bigint[]) AS n(branch, task)
            ON n.task = c.task_id WHERE c.id = instances_edge.instance_id AND n.branch = instances_edge.upstream_id)"""
)

END_DISPATCHED = """
UPDATE instances_execution SET state = %(state)s, ended_at = now(), error_code = %(code)s, error_message = %(message)s
WHERE instance_id = ANY(%(ids)s) AND state = 'dispatched' RETURNING resource_group_id, serial_task_id, lane
"""
