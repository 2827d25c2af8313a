"""Writes down the runs of a backfill plan, all in the caller's transaction: a plan is there as a whole or not at all."""

import datetime as dt

from django.db import connection

from instances.engine import plan_tasks
from instances.engine.backlog import array
from instances.engine.plan_expansion import Expansion
from instances.engine.plan_spec import PlanSpec, Reprocess
from instances.models import BackfillPlan
from instances.models.backfill import RunState

# Runs that one statement writes.
CHUNK = 10_000

_INSERT = """
INSERT INTO instances_backfillrun (plan_id, task_id, data_time, planned_time, wave, state, instance_id, message, ended_at)
SELECT %(plan)s, w.task_id, m.times[w.data_time], m.times[w.planned_time], w.wave,
       CASE WHEN left_out.why IS NULL THEN 'pending' ELSE 'skipped' END,
       CASE WHEN left_out.why IS NOT NULL THEN i.id END, coalesce(left_out.why, ''),
       CASE WHEN left_out.why IS NOT NULL THEN now() END
FROM unnest(%(tasks)s::bigint[], %(data)s::int[], %(planned)s::int[], %(waves)s::int[]) WITH ORDINALITY
  AS w(task_id, data_time, planned_time, wave, place)
CROSS JOIN (SELECT %(moments)s::timestamptz[] AS times) m
LEFT JOIN instances_instance i
  ON i.task_id = w.task_id AND i.data_time = m.times[w.data_time] AND i.traversal = '' AND %(reprocess)s <> 'all'
CROSS JOIN LATERAL (SELECT CASE
    WHEN i.id IS NULL THEN NULL
    WHEN %(reprocess)s = 'missing' THEN %(missing_only)s
    WHEN i.state <> ALL(%(failed)s) THEN %(failed_only)s END AS why) left_out
ORDER BY w.place
RETURNING state
"""


def prepare(plan: BackfillPlan, spec: PlanSpec) -> None:
    """Writes the runs and counts them on `plan`, which the caller saves. Raises ValueError if it cannot be worked out."""
    made = plan_tasks.expansion(spec)
    plan.data_times, plan.waves = made.data_times, made.waves
    plan.skipped = _write(plan, spec, made)
    plan.pending = made.total - plan.skipped


def _write(plan: BackfillPlan, spec: PlanSpec, made: Expansion) -> int:
    """How many of the runs are left as they are."""
    # Inside a wave upstream first, as the expansion has them: a wave may be started in several batches.
    rows = sorted(
        (wave, place, task, occurrence.data_time, occurrence.planned_time)
        for place, (task, runs) in enumerate(made.runs.items())
        for occurrence, wave in zip(runs.occurrences, runs.waves, strict=True)
    )
    skipped = 0
    with connection.cursor() as cursor:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            places: dict[dt.datetime, int] = {}
            for _, _, _, data_time, planned_time in chunk:
                places.setdefault(data_time, len(places) + 1)
                places.setdefault(planned_time, len(places) + 1)
            cursor.execute(
                _INSERT,
                {
                    "plan": plan.pk,
                    "tasks": array(row[2] for row in chunk),
                    "data": array(places[row[3]] for row in chunk),
                    "planned": array(places[row[4]] for row in chunk),
                    "waves": array(row[0] for row in chunk),
                    "moments": array(places),
                    "reprocess": spec.reprocess,
                    "failed": list(plan_tasks.FAILED),
                    "missing_only": plan_tasks.WHY_SKIPPED[Reprocess.MISSING],
                    "failed_only": plan_tasks.WHY_SKIPPED[Reprocess.FAILED],
                },
            )
            skipped += sum(state == RunState.SKIPPED for (state,) in cursor.fetchall())
    return skipped
