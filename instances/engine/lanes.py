"""Lanes: at most N executions of a lane are on at once, whatever resource groups its instances belong to.

Who gives a place, or lets instances in, holds the lane's lock (an advisory lock of the transaction): so what is seen as
free is free, and an instance that is turned away is found by whoever frees the place. Locks: a group's row, then the rows of
instances, then lanes in order, all of them in one statement of a transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from instances.engine.transactions import retried

# Of the two-number kind, which never meets the locks with one number; the second number is the lane's hash.
_LANES = 0x4C41_4E45

_LOCK = """
SELECT pg_advisory_xact_lock(%(kind)s, key)
FROM (SELECT DISTINCT hashint8(lane) AS key FROM unnest(%(lanes)s::bigint[]) AS lane ORDER BY 1) held
"""

_HOLDING = "('dispatched', 'running', 'stopping', 'delegated')"

PICKED = """
i.id, i.task_id, i.life_round, i.tries, i.run_type, i.version_id, i.execution_id, i.overrides, i.application_parameters,
i.self_dependency, i.lane, i.lane_limit, i.wait_since, i.ready_since, i.task_type, i.priority, i.planned_time
"""

MAKE = """
    -- A retry keeps the snapshot of its life's first try; a first try takes the definition as it is now, or as it last ran.
    INSERT INTO instances_execution (instance_id, life_round, try_number, run_type, dry_run, state, resource_group_id,
        serial_task_id, lane, lane_place, version_id, inherited, parameters, application_parameters, wait_started_at,
        queue_started_at, hinted_at)
    SELECT p.id, p.life_round, p.tries, p.run_type, t.dry_run AND p.run_type <> 'TEST', 'dispatched', %(group)s,
           CASE WHEN {lane} IS NULL AND coalesce(nullif(p.self_dependency, ''), t.self_dependency) <> 'parallel' THEN t.id END,
           {lane}, {place},
           coalesce(last.version_id, p.version_id, t.current_version_id),
           CASE WHEN last.id IS NULL AND p.version_id IS NULL THEN
               nullif(inherits.sources - ARRAY(SELECT jsonb_object_keys(v.parameters || p.overrides)), '{{}}')
           ELSE last.inherited END,
           coalesce(last.parameters, coalesce(CASE WHEN p.version_id IS NOT NULL THEN (
               SELECT ran.parameters FROM instances_execution ran WHERE ran.instance_id = p.id
               AND ran.run_started_at IS NOT NULL ORDER BY ran.id DESC LIMIT 1) END,
               project.parameters || w.parameters || coalesce(inherits.values, '{{}}') || v.parameters) || p.overrides),
           coalesce(last.application_parameters, coalesce(CASE WHEN p.version_id IS NOT NULL THEN (
               SELECT ran.application_parameters FROM instances_execution ran WHERE ran.instance_id = p.id
               AND ran.run_started_at IS NOT NULL ORDER BY ran.id DESC LIMIT 1) END, '{{}}') || p.application_parameters),
           p.wait_since, p.ready_since, now()
    FROM {picked} JOIN instances_task t ON t.id = p.task_id JOIN instances_workflow w ON w.id = t.workflow_id
    JOIN projects_project project ON project.id = w.project_id
    JOIN instances_taskversion v ON v.id = coalesce(p.version_id, t.current_version_id)
    LEFT JOIN instances_execution last ON last.id = p.execution_id AND last.life_round = p.life_round
    LEFT JOIN LATERAL (
        -- Output parameters of its parents, as each last succeeded. Of one task the latest data time, of several tasks the one
        -- declared first. A value is no expression. One probe of an index while no task has outputs.
        -- Who may edit a task of another project must not thereby change what runs in this one: such a task's values come
        -- after all that this project says itself.
        SELECT jsonb_object_agg(g.name, replace(g.given[1], '${{', '$${{')) AS values,
               jsonb_object_agg(g.name, jsonb_build_object('from', g.tasks[1], 'also', to_jsonb(g.tasks[2:]))) AS sources
        FROM (
            SELECT n.name, array_agg(n.value ORDER BY n.is_foreign, n.place, n.task_id) AS given,
                   array_agg(n.task ORDER BY n.is_foreign, n.place, n.task_id) AS tasks
            FROM (
                SELECT DISTINCT ON (e.upstream_task_id, o.key) o.key AS name, o.value, u.id AS task_id, u.name AS task,
                       d.id AS place, uw.project_id <> w.project_id AS is_foreign
                FROM instances_edge e JOIN instances_task u ON u.id = e.upstream_task_id AND u.outputs <> '{{}}'
                JOIN instances_workflow uw ON uw.id = u.workflow_id
                LEFT JOIN instances_dependency d ON d.task_id = p.task_id AND d.upstream_id = u.id
                CROSS JOIN LATERAL (
                    SELECT x.outputs FROM instances_execution x WHERE x.instance_id = e.upstream_id AND x.state = 'success'
                    ORDER BY x.id DESC LIMIT 1) x
                CROSS JOIN LATERAL jsonb_each_text(x.outputs) o
                WHERE e.instance_id = p.id AND e.removed_at IS NULL AND NOT e.is_self
                  AND (uw.project_id = w.project_id OR NOT (project.parameters || w.parameters) ? o.key)
                ORDER BY e.upstream_task_id, o.key, e.upstream_data_time DESC) n
            GROUP BY n.name) g
        WHERE last.id IS NULL AND p.version_id IS NULL
          AND EXISTS (SELECT 1 FROM instances_task any_task WHERE any_task.outputs <> '{{}}')
    ) inherits ON true
    {where}
    -- In order, so that of several instances of a serial task the first wins.
    ORDER BY p.priority DESC, p.planned_time, p.id
    ON CONFLICT DO NOTHING
    RETURNING id, instance_id, dry_run
"""

_PLACE = f"""
WITH pick AS (
    SELECT {PICKED} FROM instances_instance i WHERE i.id = ANY(%(ids)s)
), held AS (
    SELECT lane, lane_place FROM instances_execution WHERE lane = ANY(%(lanes)s) AND state IN {_HOLDING}
), able AS (
    SELECT p.id, p.lane, p.lane_limit - (SELECT count(*) FROM held h WHERE h.lane = p.lane) AS room,
           row_number() OVER (PARTITION BY p.lane ORDER BY p.priority DESC, p.planned_time, p.id) AS turn
    FROM pick p
), free AS (
    SELECT l.lane, place, row_number() OVER (PARTITION BY l.lane ORDER BY place) AS turn
    FROM (SELECT lane, max(lane_limit) AS places FROM pick GROUP BY lane) l
    CROSS JOIN LATERAL generate_series(1, l.places) AS place
    WHERE NOT EXISTS (SELECT 1 FROM held h WHERE h.lane = l.lane AND h.lane_place = place)
), given AS (
    SELECT able.id, free.place FROM able JOIN free USING (lane, turn) WHERE able.turn <= able.room
), made AS (
    {MAKE.format(lane="p.lane", place="given.place", picked="pick p JOIN given ON given.id = p.id", where="")}
), placed AS (
    UPDATE instances_instance i
    SET queue = CASE WHEN made.id IS NULL THEN 'gated' ELSE 'taken' END, execution_id = coalesce(made.id, i.execution_id)
    FROM pick LEFT JOIN made ON made.instance_id = pick.id WHERE i.id = pick.id
)
SELECT made.instance_id, made.id, made.dry_run OR pick.task_type = 'VIRTUAL'
FROM made JOIN pick ON pick.id = made.instance_id
"""  # noqa: S608 - constants

_LET_IN = f"""
-- As many in every group as the lane has free places: whichever group has slots takes them, and the rest goes back. One
-- whose earlier child still dies does not count. From one group of a lane to the next in the index, not over all that wait.
WITH RECURSIVE home AS (
    SELECT l.lane, (SELECT min(g.resource_group_id) FROM instances_instance g
                    WHERE g.lane = l.lane AND g.state = 'wait_run' AND g.queue = 'gated') AS group_id
    FROM unnest(%(lanes)s::bigint[]) AS l(lane)
    UNION ALL
    SELECT h.lane, (SELECT min(g.resource_group_id) FROM instances_instance g
                    WHERE g.lane = h.lane AND g.state = 'wait_run' AND g.queue = 'gated' AND g.resource_group_id > h.group_id)
    FROM home h WHERE h.group_id IS NOT NULL
), held AS (
    SELECT lane, count(*) AS places FROM instances_execution
    WHERE lane = ANY(%(lanes)s) AND state IN {_HOLDING} GROUP BY lane
), next AS MATERIALIZED (
    -- Once, before anything is written: asked again, it would pass over what this statement has let in already.
    SELECT next.id FROM home LEFT JOIN held ON held.lane = home.lane CROSS JOIN LATERAL (
    SELECT g.lane_limit FROM instances_instance g
    WHERE g.lane = home.lane AND g.resource_group_id = home.group_id AND g.state = 'wait_run' AND g.queue = 'gated'
    ORDER BY g.priority DESC, g.planned_time, g.id LIMIT 1) first CROSS JOIN LATERAL (
    SELECT g.id FROM instances_instance g
    WHERE g.lane = home.lane AND g.resource_group_id = home.group_id AND g.state = 'wait_run' AND g.queue = 'gated'
      AND NOT EXISTS (SELECT 1 FROM instances_execution e WHERE e.instance_id = g.id AND e.state IN {_HOLDING})
    ORDER BY g.priority DESC, g.planned_time, g.id
    LIMIT greatest(0, first.lane_limit - coalesce(held.places, 0)) FOR UPDATE SKIP LOCKED) next
)
UPDATE instances_instance i SET queue = 'ready' FROM next
WHERE i.id = next.id RETURNING i.resource_group_id
"""  # noqa: S608 - constants

_OPEN = f"""
-- From one lane with gated instances to the next in the index: costs the lanes, however many instances each holds back.
WITH RECURSIVE gated AS (
    SELECT min(lane) AS lane FROM instances_instance WHERE state = 'wait_run' AND queue = 'gated' AND lane IS NOT NULL
    UNION ALL
    SELECT (SELECT min(i.lane) FROM instances_instance i WHERE i.state = 'wait_run' AND i.queue = 'gated' AND i.lane > gated.lane)
    FROM gated WHERE gated.lane IS NOT NULL
)
SELECT gated.lane FROM gated CROSS JOIN LATERAL (
    SELECT i.lane_limit FROM instances_instance i
    WHERE i.lane = gated.lane AND i.state = 'wait_run' AND i.queue = 'gated' LIMIT 1) one
WHERE one.lane_limit > (SELECT count(*) FROM instances_execution e WHERE e.lane = gated.lane AND e.state IN {_HOLDING})
LIMIT %(limit)s
"""  # noqa: S608 - constants


def place(cursor: Any, group_id: int, of_lanes: Mapping[int, int]) -> dict[int, tuple[int, bool]]:
    """Gives places to instances ({instance id: lane}) that the transaction holds, in their order; the rest is gated.

    {instance id: (execution id, instant)} of those that got one.
    """
    lanes = sorted(set(of_lanes.values()))
    _lock(cursor, lanes)
    cursor.execute(_PLACE, {"ids": list(of_lanes), "lanes": lanes, "group": group_id})
    return {instance_id: (execution_id, instant) for instance_id, execution_id, instant in cursor.fetchall()}


@retried
def let_in(lanes: Sequence[int]) -> set[int]:
    """Lets instances of the lanes into the queue, as many as may find a place; the groups of those."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        _lock(cursor, lanes)
        cursor.execute(_LET_IN, {"lanes": list(lanes)})
        return {row[0] for row in cursor.fetchall()}


def _lock(cursor: Any, lanes: Sequence[int]) -> None:
    cursor.execute(_LOCK, {"kind": _LANES, "lanes": list(lanes)})


def with_room(limit: int = 1000) -> set[int]:
    """Lanes with a gated instance and a free place: their turn got lost, if that can be."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, {"limit": limit})
        return {row[0] for row in cursor.fetchall()}
