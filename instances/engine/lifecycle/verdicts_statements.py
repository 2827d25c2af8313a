"""SQL of `verdicts`."""

from instances.engine import trigger_policies
from instances.engine.lifecycle.common_statements import QUEUE
from instances.engine.trigger_policies import EXPIRED, JUDGED, NEVER_COMES, NOT_EXIST

_COUNTS = "e.removed_at IS NULL AND NOT e.waived"
_UNDECIDED = "('wait_event', 'wait_upstream', 'skipped')"

# Ripples

NOTE_JUDGED = f"""
-- Of instances that have failed or succeeded: those that have a child which looks at more than successes.
INSERT INTO instances_ripple (instance_id)
SELECT p.id FROM unnest(%(ids)s::bigint[]) AS p(id) WHERE EXISTS (
    SELECT 1 FROM instances_edge e WHERE e.upstream_id = p.id AND {_COUNTS} AND e.rules & {JUDGED | EXPIRED} <> 0)
"""  # noqa: S608 - constants

NOTE_ALL = f"""
INSERT INTO instances_ripple (instance_id)
SELECT p.id FROM unnest(%(ids)s::bigint[]) AS p(id)
WHERE EXISTS (SELECT 1 FROM instances_edge e WHERE e.upstream_id = p.id AND {_COUNTS})
"""  # noqa: S608 - constants

NOTE_CARING = f"""
-- Of instances whose past is void: those with a child that looks at more than successes, or that was skipped.
INSERT INTO instances_ripple (instance_id)
SELECT p.id FROM unnest(%(ids)s::bigint[]) AS p(id) WHERE EXISTS (
    SELECT 1 FROM instances_edge e JOIN instances_instance c ON c.id = e.instance_id
    WHERE e.upstream_id = p.id AND {_COUNTS} AND (e.rules & {JUDGED | EXPIRED} <> 0 OR c.state = 'skipped'))
"""  # noqa: S608 - constants

NOTE_PARENTS = f"""
INSERT INTO instances_ripple (instance_id)
SELECT DISTINCT e.upstream_id FROM instances_edge e
WHERE e.instance_id = ANY(%(children)s::bigint[]) AND e.upstream_id = ANY(%(ids)s::bigint[]) AND {_COUNTS}
"""  # noqa: S608 - constants

TAKE = """
SELECT id, instance_id, after FROM instances_ripple ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

LOCK_SHARED = "SELECT id FROM instances_instance WHERE id = ANY(%(ids)s) ORDER BY id FOR SHARE"

CHILDREN = f"""
-- The children that each ripple concerns, in order; a plain one cares only for a parent that was skipped.
SELECT r.id, c.id
FROM unnest(%(ripples)s::bigint[], %(parents)s::bigint[], %(after)s::bigint[]) AS r(id, parent_id, after)
JOIN instances_instance p ON p.id = r.parent_id
JOIN instances_edge e ON e.upstream_id = p.id AND e.instance_id > r.after AND {_COUNTS}
JOIN instances_instance c ON c.id = e.instance_id
WHERE (c.state IN {_UNDECIDED}) IS TRUE
  AND (c.trigger_policy <> '' OR c.state = 'skipped' OR p.state = 'skipped' OR p.not_taken IS NOT NULL
       OR e.rules & {EXPIRED} <> 0)
ORDER BY r.id, c.id LIMIT %(limit)s
"""  # noqa: S608 - constants

DONE = "DELETE FROM instances_ripple WHERE id = ANY(%(ids)s)"

GO_ON = "UPDATE instances_ripple SET after = %(after)s WHERE id = %(id)s"

# Judging

LOCK_UNDECIDED = f"""
SELECT id FROM instances_instance WHERE id = ANY(%(ids)s) AND (state IN {_UNDECIDED}) IS TRUE ORDER BY id FOR UPDATE
"""  # noqa: S608 - constants

START_CLOCKS = f"""
UPDATE instances_edge e SET timeout_at = now() + e.timeout_minutes * interval '1 minute'
WHERE e.instance_id = ANY(%(ids)s) AND e.timeout_minutes IS NOT NULL AND e.satisfied_at IS NULL AND {_COUNTS}
"""  # noqa: S608 - constants

_EXCUSED = """
), counted AS (
    SELECT instance_id, count(*) AS edges FROM met GROUP BY instance_id
), freed AS (
    UPDATE instances_instance i
    SET pending_upstream = i.pending_upstream - counted.edges,
        state = CASE WHEN n.released THEN 'wait_run' ELSE i.state END,
        ready_since = CASE WHEN n.released THEN now() ELSE i.ready_since END,
        queue = CASE WHEN n.released THEN {queue} ELSE i.queue END
    FROM counted JOIN instances_instance old ON old.id = counted.instance_id CROSS JOIN LATERAL (
        SELECT old.state = 'wait_upstream' AND old.trigger_policy = '' AND old.pending_upstream = counted.edges AS released) n
    WHERE i.id = counted.instance_id
    RETURNING i.id, i.resource_group_id, i.lane, n.released
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'upstream_met', 'wait_upstream', 'wait_run' FROM freed WHERE released ORDER BY id
)
SELECT id, resource_group_id, lane, released FROM freed
"""

EXCUSE = f"""
-- Open edges of instances, which are locked, that their dependency excuses by what the parent is now. The last: the previous
-- period was skipped, and waits for none before it.
WITH met AS (
    UPDATE instances_edge e SET satisfied_at = now(), excused = why.excused
    FROM instances_edge o LEFT JOIN instances_instance u ON u.id = o.upstream_id CROSS JOIN LATERAL (SELECT CASE
        WHEN o.upstream_id IS NULL AND o.rules & {NOT_EXIST | NEVER_COMES} = {NOT_EXIST | NEVER_COMES} THEN 'NOT_EXIST'
        WHEN u.state = 'failed' AND o.rules & {EXPIRED} <> 0 THEN 'PARENT_EXPIRED'
        WHEN o.is_self AND u.state = 'skipped' AND NOT EXISTS (
            SELECT 1 FROM instances_edge b WHERE b.instance_id = u.id AND b.is_self AND b.satisfied_at IS NULL
            AND b.removed_at IS NULL AND NOT b.waived) THEN 'PREVIOUS_SKIPPED' END AS excused) why
    WHERE o.instance_id = ANY(%(ids)s) AND o.satisfied_at IS NULL AND o.removed_at IS NULL AND NOT o.waived
      AND why.excused IS NOT NULL AND e.instance_id = o.instance_id AND e.upstream_task_id = o.upstream_task_id
      AND e.upstream_data_time = o.upstream_data_time
    RETURNING e.instance_id
{_EXCUSED.format(queue=QUEUE)}
"""  # noqa: S608 - constants

OVERDUE_PARENTS = f"""
SELECT e.instance_id FROM instances_edge e JOIN instances_instance i ON i.id = e.instance_id
WHERE e.timeout_at < now() AND e.satisfied_at IS NULL AND {_COUNTS}
  AND (i.state IN {_UNDECIDED}) IS TRUE AND i.frozen_at IS NULL
ORDER BY e.timeout_at LIMIT %(limit)s
"""  # noqa: S608 - constants

TIME_OUT = f"""
WITH met AS (
    UPDATE instances_edge e SET satisfied_at = now(), excused = 'PARENT_TIMEOUT'
    WHERE e.instance_id = ANY(%(ids)s) AND e.timeout_at < now() AND e.satisfied_at IS NULL AND {_COUNTS}
    RETURNING e.instance_id
{_EXCUSED.format(queue=QUEUE)}
"""  # noqa: S608 - constants

_VERDICT = trigger_policies.sql(
    "coalesce(nullif(child.trigger_policy, ''), 'ALL_SUCCESS')",
    succeeded="n.succeeded",
    failed="n.failed",
    skipped="n.skipped",
    open="n.open",
)

JUDGE = f"""
-- Each instance by what its parents are now: its state, what becomes of it, whether its previous period is done.
WITH child AS (
    SELECT i.id, i.state, i.task_id, i.trigger_policy, i.fails_with_upstream
    FROM instances_instance i WHERE i.id = ANY(%(ids)s) AND (i.state IN {_UNDECIDED}) IS TRUE
), counted AS (
    SELECT child.id, count(*) FILTER (WHERE o.kind = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE o.kind = 'failed') AS failed, count(*) FILTER (WHERE o.kind = 'skipped') AS skipped,
           count(*) FILTER (WHERE o.kind = 'open') AS open, count(*) FILTER (WHERE o.kind = 'previous') AS previous,
           bool_or(e.is_self AND e.upstream_id = ANY(%(parents)s::bigint[])) AS hands_on
    FROM child JOIN instances_edge e ON e.instance_id = child.id AND {_COUNTS}
    LEFT JOIN instances_instance u ON u.id = e.upstream_id AND e.satisfied_at IS NULL
    CROSS JOIN LATERAL (SELECT CASE
        WHEN e.is_self THEN CASE WHEN e.satisfied_at IS NULL THEN 'previous' END
        WHEN e.satisfied_at IS NOT NULL THEN 'succeeded'
        WHEN u.state = 'failed' THEN 'failed'
        WHEN u.state = 'skipped' OR (u.state = 'success' AND child.task_id = ANY(u.not_taken)) THEN 'skipped'
        ELSE 'open' END AS kind) o
    GROUP BY child.id
)
SELECT child.id, child.state, {_VERDICT}, coalesce(n.previous, 0) = 0, child.fails_with_upstream, coalesce(n.hands_on, false)
FROM child LEFT JOIN counted ON counted.id = child.id CROSS JOIN LATERAL (
    SELECT coalesce(counted.succeeded, 0) AS succeeded, coalesce(counted.failed, 0) AS failed,
           coalesce(counted.skipped, 0) AS skipped, coalesce(counted.open, 0) AS open,
           counted.previous, counted.hands_on) n
"""  # noqa: S608 - constants

MET = f"""
WITH freed AS (
    UPDATE instances_instance i SET state = 'wait_run', ready_since = now(), queue = {QUEUE}
    WHERE i.id = ANY(%(ids)s) AND (i.state = 'wait_upstream') IS TRUE RETURNING i.id, i.resource_group_id, i.lane
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'upstream_met', 'wait_upstream', 'wait_run' FROM freed ORDER BY id
)
SELECT resource_group_id, lane FROM freed
"""  # noqa: S608 - constants

SKIP = """
WITH old AS (SELECT id, state FROM instances_instance WHERE id = ANY(%(ids)s)),
skipped AS (
    UPDATE instances_instance i SET state = 'skipped', end_time = now(), ready_since = NULL
    FROM old WHERE i.id = old.id AND (i.state IN ('wait_event', 'wait_upstream')) IS TRUE RETURNING i.id, old.state, i.plan_id,
        i.for_each_id
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'skip', state, 'skipped' FROM skipped ORDER BY id
)
SELECT id, state, plan_id, for_each_id FROM skipped
"""

RECONSIDER = f"""
-- Back to waiting, with the whole time to wait. What it waits for is judged again by the statement that follows.
WITH again AS (
    UPDATE instances_instance i
    SET state = n.state, end_time = NULL, wait_deadline = now() + t.wait_timeout,
        ready_since = CASE WHEN n.state = 'wait_run' THEN now() END, queue = {QUEUE}
    FROM instances_task t, unnest(%(ids)s::bigint[], %(states)s::text[]) AS n(id, state)
    WHERE i.id = n.id AND t.id = i.task_id AND (i.state = 'skipped') IS TRUE
    RETURNING i.id, i.state, i.resource_group_id, i.lane
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state)
    SELECT id, 'reconsider', 'skipped', state FROM again ORDER BY id
)
SELECT id, state, resource_group_id, lane FROM again
"""  # noqa: S608 - constants

SKIPPED_FROM = """
-- In what state each of them was skipped, if that was waiting for an event.
SELECT s.instance_id FROM unnest(%(ids)s::bigint[]) AS i(id) CROSS JOIN LATERAL (
    SELECT h.instance_id, h.from_state FROM instances_statechange h
    WHERE h.instance_id = i.id AND h.move = 'skip' ORDER BY h.id DESC LIMIT 1) s
WHERE s.from_state = 'wait_event'
"""

REOPEN_BEHIND = """
-- What a parent excused that is not skipped or failed any more is open again for children that have not started.
WITH child AS (
    SELECT i.id FROM instances_instance i WHERE (i.state IN ('wait_event', 'wait_upstream', 'skipped')) IS TRUE AND i.id IN (
        SELECT e.instance_id FROM instances_edge e
        WHERE e.upstream_id = ANY(%(ids)s) AND e.excused IN ('PARENT_EXPIRED', 'PREVIOUS_SKIPPED'))
    ORDER BY i.id FOR UPDATE
), opened AS (
    UPDATE instances_edge e SET satisfied_at = NULL, excused = '' FROM child
    WHERE e.instance_id = child.id AND e.upstream_id = ANY(%(ids)s) AND e.excused IN ('PARENT_EXPIRED', 'PREVIOUS_SKIPPED')
    RETURNING e.instance_id, e.waived OR e.removed_at IS NOT NULL AS uncounted
), counted AS (
    SELECT instance_id, count(*) AS edges FROM opened WHERE NOT uncounted GROUP BY instance_id
)
UPDATE instances_instance i SET pending_upstream = i.pending_upstream + counted.edges
FROM counted WHERE i.id = counted.instance_id
"""
