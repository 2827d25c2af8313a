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
           coalesce(jsonb_agg(e.edge) FILTER (WHERE e.waived), '[]') AS waived
    FROM (SELECT jsonb_build_array(e.upstream_task_id, e.upstream_data_time) AS edge, e.satisfied_at IS NULL AS open, e.waived
          FROM instances_edge e WHERE e.instance_id = i.id AND e.removed_at IS NULL
            AND (e.satisfied_at IS NULL OR e.waived)) e) image
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
SELECT i.id, i.state, i.life_round, i.total_runs, i.frozen_at, i.thaw_at, {_NAME.format("i")} AS name
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

_BEFORE = """
before AS (
    SELECT id, image, image->>'state' AS state
    FROM unnest(%(ids)s::bigint[], %(before)s::jsonb[]) AS b(id, image)
)
"""

_PARENT_NOW = """
-- Whether the parent is successful once this undo is over.
coalesce((SELECT coalesce(p.state, u.state) = 'success' FROM instances_instance u LEFT JOIN before p ON p.id = u.id
          WHERE u.id = e.upstream_id), false)
"""

EDGES_OF_WAITING = f"""
-- What goes back to waiting waits for what its parents are now, as if it had waited all the time.
WITH {_BEFORE}, now AS (
    SELECT e.instance_id, e.upstream_task_id, e.upstream_data_time, {_PARENT_NOW} AS met
    FROM before b JOIN instances_edge e ON e.instance_id = b.id
    WHERE b.state IN ('wait_event', 'wait_upstream') AND e.removed_at IS NULL AND NOT e.waived
)
UPDATE instances_edge e SET satisfied_at = CASE WHEN now.met THEN now() END FROM now
WHERE e.instance_id = now.instance_id AND e.upstream_task_id = now.upstream_task_id
  AND e.upstream_data_time = now.upstream_data_time AND now.met <> (e.satisfied_at IS NOT NULL)
"""  # noqa: S608 - constants

EDGES_OF_LIFE = f"""
-- The edges count as they did in the life before; satisfied is what was, and what has become so since. An edge that only
-- the undone life had (it was told to be orderly) counts no more.
WITH {_BEFORE}, now AS (
    SELECT e.instance_id, e.upstream_task_id, e.upstream_data_time,
           b.image->'waived' @> jsonb_build_array(listed.edge) OR (e.is_self AND coalesce(
             nullif(b.image->>'self_dependency', ''), t.self_dependency) <> 'orderly') AS waived,
           {_PARENT_NOW} OR NOT b.image->'open' @> jsonb_build_array(listed.edge) AS met
    FROM before b JOIN instances_edge e ON e.instance_id = b.id JOIN instances_instance i ON i.id = b.id
    JOIN instances_task t ON t.id = i.task_id
    CROSS JOIN LATERAL (SELECT jsonb_build_array(e.upstream_task_id, e.upstream_data_time) AS edge) listed
    WHERE e.removed_at IS NULL
)
UPDATE instances_edge e
SET waived = now.waived, satisfied_at = CASE WHEN now.met THEN coalesce(e.satisfied_at, now()) END
FROM now
WHERE e.instance_id = now.instance_id AND e.upstream_task_id = now.upstream_task_id
  AND e.upstream_data_time = now.upstream_data_time
  AND (now.met <> (e.satisfied_at IS NOT NULL) OR e.waived <> now.waived)
"""  # noqa: S608 - constants

TRY_AGAIN = f"""
-- The record of a try that ended before anybody claimed it makes room: the same try may be dispatched again.
WITH {_BEFORE}
UPDATE instances_execution x SET state = 'requeued' FROM before b
WHERE x.instance_id = b.id AND x.life_round = (b.image->>'life_round')::int AND x.try_number = (b.image->>'tries')::int
  AND x.state = 'cancelled' AND x.run_started_at IS NULL AND b.state IN ('wait_event', 'wait_upstream', 'wait_run')
"""  # noqa: S608 - constants

# It waits again for as long as it still had, and for what is open. `{since}`: when it was taken out of its state.
_STATE = """
    state = CASE WHEN old.state = 'wait_upstream' AND old.edges = 0 THEN 'wait_run' ELSE old.state END,
    ready_since = CASE WHEN old.state = 'wait_upstream' AND old.edges = 0 THEN now() ELSE (old.was).ready_since END,
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
