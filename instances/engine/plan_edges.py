"""Edges that instances of a backfill plan lack: what a task waits for today, though the instance is older than that.

An instance that exists has the edges of the day on which it was generated. A dependency may have been added since, or its
upstream task may be younger: then there is no edge, and the child would run before the parent that the same plan fills in.
So a run that is started again first gets an edge to every run of the plan that its task waits for, with the excuses that
the dependency has today; the trigger policy stays that of the instance. They are waived until its new life decides; one
that somebody has removed from the instance stays removed.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connection

from instances.engine.backlog import array
from instances.engine.plan_expansion import Rule, needed
from instances.engine.schedule import Schedule
from instances.engine.trigger_policies import JUDGED

if TYPE_CHECKING:
    from instances.engine.plan_start import Run

# A parent that is left as it is or refused is no parent of the plan.
_ADD = f"""
INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id, waived, rules, timeout_minutes)
SELECT w.instance_id, r.task_id, r.data_time, u.id, true, w.rules | CASE WHEN i.trigger_policy <> '' THEN {JUDGED} ELSE 0 END,
       w.timeout
FROM unnest(%(instances)s::bigint[], %(tasks)s::bigint[], %(moments)s::int[], %(rules)s::smallint[], %(timeouts)s::int[])
  AS w(instance_id, task_id, moment, rules, timeout)
JOIN instances_instance i ON i.id = w.instance_id
JOIN instances_backfillrun r ON r.plan_id = %(plan)s AND r.data_time = (%(times)s::timestamptz[])[w.moment]
  AND r.task_id = w.task_id AND r.state NOT IN ('skipped', 'refused')
JOIN instances_instance u ON u.task_id = r.task_id AND u.data_time = r.data_time AND u.traversal = ''
WHERE NOT EXISTS (SELECT 1 FROM instances_edge e WHERE e.instance_id = w.instance_id
                  AND e.upstream_task_id = r.task_id AND e.upstream_data_time = r.data_time)
ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants

_ADD_PREVIOUS = """
-- The plan may have filled in a period between this one and the one that was the previous when it was generated.
INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id, is_self, waived)
SELECT i.id, i.task_id, u.data_time, u.id, true, true
FROM instances_instance i
JOIN LATERAL (
    SELECT p.id, p.data_time FROM instances_instance p WHERE p.task_id = i.task_id AND p.data_time < i.data_time
      AND p.instance_type NOT IN ('non_periodic', 'test') ORDER BY p.data_time DESC LIMIT 1) u ON true
WHERE i.id = ANY(%s::bigint[])
ON CONFLICT DO NOTHING
"""


def add_missing(
    plan_id: int,
    runs: Sequence["Run"],
    rules: Mapping[int, Sequence[Rule]],
    schedules: Mapping[int, Schedule],
) -> None:
    """Gives the instances of `runs`, which all have one, the edges that `rules` ask for inside the plan."""
    places: dict[datetime, int] = {}
    rows = [
        (run.instance_id, rule, places.setdefault(time, len(places) + 1))
        for run in runs
        for rule in rules.get(run.task_id, ())
        for time in needed(rule, schedules[run.task_id], run.data_time, schedules[rule.upstream_id])
    ]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _ADD,
            {
                "plan": plan_id,
                "instances": array(row[0] for row in rows),
                "tasks": array(row[1].upstream_id for row in rows),
                "moments": array(row[2] for row in rows),
                "rules": array(row[1].bits for row in rows),
                "timeouts": array("NULL" if row[1].timeout is None else row[1].timeout for row in rows),
                "times": array(places),
            },
        )


def add_previous(instance_ids: Sequence[int]) -> None:
    """Of tasks that the plan runs in order: the edge to the period before, as it is now."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD_PREVIOUS, [array(instance_ids)])
