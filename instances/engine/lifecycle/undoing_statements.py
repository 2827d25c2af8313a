"""SQL of `undoing`."""

# What the image of before holds of a life; `undoing` puts all of them back after a rerun.
_LIFE = (
    "life_round", "tries", "run_type", "not_before", "wait_since", "ready_since", "execution_id", "version_id",
    "overrides", "application_parameters", "self_dependency", "lane", "lane_limit", "plan_id", "resource_group_id",
    "priority",
)  # fmt: skip
# And of an end.
_END = ("start_time", "end_time", "error_code", "error_message")
_OTHERS = ("state", "wait_deadline", "frozen_at", "thaw_at", "total_runs", "pending_upstream")

IMAGE = f"""
SELECT i.id, to_jsonb(image) || jsonb_build_object('at', now()) AS image
FROM instances_instance i CROSS JOIN LATERAL (
    SELECT {", ".join(f"i.{column}" for column in (*_LIFE, *_END, *_OTHERS))},
           coalesce(jsonb_agg(e.edge) FILTER (WHERE e.open), '[]') AS open,
           coalesce(jsonb_agg(e.edge) FILTER (WHERE e.waived), '[]') AS waived,
           coalesce(jsonb_agg(e.edge) FILTER (WHERE e.excused), '[]') AS excused
    FROM (SELECT jsonb_build_array(e.upstream_task_id, e.upstream_data_time) AS edge, e.satisfied_at IS NULL AS open, e.waived,
                 e.excused <> '' AS excused
          FROM instances_edge e WHERE e.instance_id = i.id AND e.removed_at IS NULL
            AND (e.satisfied_at IS NULL OR e.waived OR e.excused <> '')) e) image
WHERE i.id = ANY(%(ids)s)
"""  # noqa: S608 - constants

IMAGES = f"SELECT id, image::text FROM ({IMAGE}) i ORDER BY id"  # noqa: S608 - constants

LOCK_CHILDREN = """
SELECT i.id FROM instances_instance i WHERE i.id IN (
    SELECT e.instance_id FROM instances_edge e WHERE e.upstream_id = ANY(%(ids)s) AND e.removed_at IS NULL)
ORDER BY i.id FOR UPDATE
"""

_NAME = "t.name || ' ' || to_char({0}.data_time, 'YYYY-MM-DD HH24:MI:SS')"

PRESENT = f"""
SELECT i.id, i.state, i.life_round, i.total_runs, i.frozen_at, i.thaw_at, t.self_dependency, {_NAME.format("i")} AS name
FROM instances_instance i JOIN instances_task t ON t.id = i.task_id WHERE i.id = ANY(%(ids)s)
"""  # noqa: S608 - constants

STARTED_CHILDREN = f"""
SELECT e.upstream_id, min({_NAME.format("c")})
FROM unnest(%(ids)s::bigint[], %(since)s::timestamptz[]) AS marked(id, since)
JOIN instances_edge e ON e.upstream_id = marked.id AND e.satisfied_at >= marked.since AND e.removed_at IS NULL
  AND NOT e.waived
JOIN instances_instance c ON c.id = e.instance_id JOIN instances_task t ON t.id = c.task_id
WHERE EXISTS (SELECT 1 FROM instances_execution x WHERE x.instance_id = c.id AND x.run_started_at >= marked.since)
GROUP BY e.upstream_id
"""  # noqa: S608 - constants

EMITTERS = f"""
SELECT i.id, {_NAME.format("i")} FROM instances_instance i JOIN instances_task t ON t.id = i.task_id
WHERE i.id = ANY(%(ids)s) AND EXISTS (SELECT 1 FROM events_emitter m WHERE m.task_id = t.id)
"""  # noqa: S608 - constants

CLOSE_EDGES = """
UPDATE instances_edge e SET satisfied_at = NULL
FROM unnest(%(ids)s::bigint[], %(since)s::timestamptz[]) AS marked(id, since)
WHERE e.upstream_id = marked.id AND e.satisfied_at >= marked.since
RETURNING e.instance_id
"""

_COUNT = """
(SELECT count(*) FROM instances_edge e WHERE e.instance_id = i.id
 AND e.satisfied_at IS NULL AND e.removed_at IS NULL AND NOT e.waived)
"""

CHILDREN_BACK = f"""
-- Counted, not added up: they are locked, and a parent that ends just now counts its edge down after us.
WITH old AS (
    SELECT c.*, c.state = 'wait_run' AND c.edges > 0 AS waits_again
    FROM (SELECT i.id, i.state, i.lane, {_COUNT} AS edges FROM instances_instance i WHERE i.id = ANY(%(ids)s)) c
), back AS (
    UPDATE instances_instance i
    SET pending_upstream = old.edges,
        state = CASE WHEN old.waits_again THEN 'wait_upstream' ELSE i.state END,
        ready_since = CASE WHEN old.waits_again THEN NULL ELSE i.ready_since END,
        queue = CASE WHEN old.waits_again THEN 'ready' ELSE i.queue END
    FROM old WHERE i.id = old.id
    RETURNING i.id, old.state AS old, i.state AS new, old.lane
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, operation_id)
    SELECT id, 'undo', old, new, %(operation)s FROM back WHERE old <> new ORDER BY id
)
SELECT id, lane FROM back WHERE old <> new
"""  # noqa: S608 - constants

# Whether the parent of edge `e` is successful once this undo is over. Lists of ids are looked up by their hash: joined
# instead, the planner would take them for a handful, and go through all of them for each edge.
_MET = """
(CASE WHEN e.upstream_id = ANY(%(ids)s::bigint[]) THEN e.upstream_id = ANY(%(successes)s::bigint[])
      ELSE coalesce((SELECT u.state = 'success' FROM instances_instance u WHERE u.id = e.upstream_id), false) END
 AND NOT EXISTS (SELECT 1 FROM instances_instance u JOIN instances_instance c ON c.task_id = ANY(u.not_taken)
                 WHERE u.id = e.upstream_id AND c.id = e.instance_id))
"""

EDGES_OF_WAITING = f"""
-- What goes back to waiting waits for what its parents are now, as if it had waited all the time.
UPDATE instances_edge e SET satisfied_at = CASE WHEN e.satisfied_at IS NULL THEN now() END, excused = ''
WHERE e.instance_id = ANY(%(waiting)s::bigint[]) AND e.removed_at IS NULL AND NOT e.waived
  AND {_MET} <> (e.satisfied_at IS NOT NULL)
"""  # noqa: S608 - constants


def _listed(name: str) -> str:
    """Whether edge `e` is among those of the images: (instance, upstream task, upstream data time)."""
    columns = f"%({name}_ids)s::bigint[], %({name}_tasks)s::bigint[], %({name}_times)s::timestamptz[]"
    return f"((e.instance_id, e.upstream_task_id, e.upstream_data_time) IN (SELECT * FROM unnest({columns})) IS TRUE)"  # noqa: S608


_WAIVED = f"({_listed('waived')} OR (e.is_self AND e.instance_id <> ALL(%(orderly)s::bigint[])))"
# What was excused is judged anew.
_SATISFIED = f"({_MET} OR NOT ({_listed('open')} OR {_listed('excused')}))"

EDGES_OF_LIFE = f"""
-- The edges count as they did in the life before; satisfied is what was, and what has become so since. An edge that only
-- the undone life had (it was told to be orderly) counts no more.
UPDATE instances_edge e
SET waived = {_WAIVED}, satisfied_at = CASE WHEN {_SATISFIED} THEN coalesce(e.satisfied_at, now()) END, excused = ''
WHERE e.instance_id = ANY(%(ids)s::bigint[]) AND e.removed_at IS NULL
  AND ({_SATISFIED} <> (e.satisfied_at IS NOT NULL) OR {_WAIVED} <> e.waived)
"""  # noqa: S608 - constants

BRANCHES = "SELECT id, not_taken FROM instances_instance WHERE id = ANY(%(ids)s) AND not_taken IS NOT NULL"

TRY_AGAIN = """
-- The record of a try that ended before anybody claimed it makes room: the same try may be dispatched again.
UPDATE instances_execution x SET state = 'requeued'
WHERE x.instance_id = ANY(%(queued)s::bigint[]) AND x.state = 'cancelled' AND x.run_started_at IS NULL
  AND ((x.instance_id, x.life_round, x.try_number) IN (
    SELECT * FROM unnest(%(queued)s::bigint[], %(lives)s::int[], %(tries)s::int[])) IS TRUE)
"""

_BEFORE = """
before AS (
    SELECT id, image, image->>'state' AS state
    FROM unnest(%(ids)s::bigint[], %(before)s::jsonb[]) AS b(id, image)
)
"""

# It waits again for as long as it still had, and for what is open. `{since}`: when it was taken out of its state.
_STATE = """
    state = CASE WHEN old.state = 'wait_upstream' AND old.edges = 0 AND i.trigger_policy = '' THEN 'wait_run' ELSE old.state END,
    ready_since = CASE WHEN old.state = 'wait_upstream' AND old.edges = 0 AND i.trigger_policy = '' THEN now()
                  ELSE (old.was).ready_since END,
    pending_upstream = old.edges, wait_deadline = (old.was).wait_deadline + (now() - {since}),
    queue = CASE WHEN (old.was).lane IS NULL OR i.frozen_at IS NOT NULL THEN 'ready' ELSE 'gated' END
"""

_BACK = f"""
WITH {_BEFORE}, old AS (
    SELECT i.id, before.state, i.state AS left_in, CASE WHEN i.state = 'wait_run' THEN i.lane END AS left_lane, was,
           {_COUNT} AS edges
    FROM instances_instance i JOIN before ON before.id = i.id
    CROSS JOIN LATERAL jsonb_populate_record(NULL::instances_instance, before.image) was
), back AS (
    UPDATE instances_instance i SET {{columns}}, {{state}}
    FROM old WHERE i.id = old.id
    RETURNING i.id, old.left_in, i.state, i.resource_group_id, i.lane, old.left_lane
), history AS (
    INSERT INTO instances_statechange (instance_id, move, from_state, to_state, operation_id)
    SELECT id, 'undo', left_in, state, %(operation)s FROM back ORDER BY id
)
SELECT id, left_in, resource_group_id, CASE WHEN state = 'wait_run' THEN lane END, left_lane FROM back
"""  # noqa: S608 - constants


def _from_image(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} = (old.was).{column}" for column in columns)


END_BACK = _BACK.format(columns=_from_image(_END), state=_STATE.format(since="i.end_time"))
LIFE_BACK = _BACK.format(
    columns=_from_image((*(column for column in _LIFE if column != "ready_since"), *_END)),
    state=_STATE.format(since="i.wait_since"),
)
