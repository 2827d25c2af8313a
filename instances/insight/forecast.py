"""When will it be done? From what the last runs of the task took. Only reads.

typical = durations([instance.task_id])[instance.task_id]
predicted_finish(Standing.of(instance), typical.run, now)
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection

from instances.engine.states import WAITING, State

RUNS = 20
# Instances looked at to find that many successful runs.
LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Durations:
    """Of the last `runs` (at most RUNS) instances of a task that ran and succeeded; dry runs do not count.

    `run` is the median of the running times, `mean_run` their average; `mean_wait` the average from the beginning of
    the wait (not before the planned time) to the start, `mean_finish` from the planned time to the end: both of first
    lives only, None if there were none.
    """

    runs: int
    run: dt.timedelta
    mean_run: dt.timedelta
    mean_wait: dt.timedelta | None
    mean_finish: dt.timedelta | None


# One seek a task in the index of its identity (`instance_once`); the median of at most RUNS values.
_DURATIONS = """
SELECT t.id, count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY r.run), avg(r.run),
       avg(r.wait) FILTER (WHERE r.life_round = 0), avg(r.finish) FILTER (WHERE r.life_round = 0)
FROM unnest(%(tasks)s::bigint[]) AS t(id)
CROSS JOIN LATERAL (
    SELECT e.life_round, e.run_ended_at - e.run_started_at AS run,
           e.run_started_at - greatest(e.wait_started_at, i.planned_time) AS wait, e.run_ended_at - i.planned_time AS finish
    FROM (SELECT n.id, n.execution_id, n.state, n.planned_time, n.data_time FROM instances_instance n
          WHERE n.task_id = t.id AND n.instance_type <> 'test' ORDER BY n.data_time DESC LIMIT %(looked_at)s) i
    JOIN instances_execution e ON e.id = i.execution_id
    WHERE i.state = 'success' AND e.state = 'success' AND NOT e.dry_run AND e.run_ended_at IS NOT NULL
    ORDER BY i.data_time DESC LIMIT %(runs)s
) r GROUP BY t.id
"""


def durations(task_ids: Iterable[int], runs: int = RUNS) -> dict[int, Durations]:
    """{task id: what its last runs took}, in one query; tasks without a successful run are left out."""
    ids = sorted(set(task_ids))
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_DURATIONS, {"tasks": ids, "looked_at": LOOKED_AT, "runs": runs})
        return {task_id: Durations(*values) for task_id, *values in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an instance stands, as far as its finish depends on it."""

    state: str
    not_before: dt.datetime
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None

    @classmethod
    def of(cls, instance: Any) -> "Standing":
        """Of an `instances.models.Instance`."""
        return cls(instance.state, instance.not_before, instance.start_time, instance.end_time)


def predicted_finish(standing: Standing, run: dt.timedelta, now: dt.datetime) -> dt.datetime | None:
    """When it ends if it takes `run`, at the earliest; the end of what has ended; None if nobody can tell.

    One that waits is taken to start now, or when it may: how long what it waits for will take is not in it.
    """
    if standing.state in WAITING or standing.state == State.FAILED_RETRY:
        return max(now, standing.not_before) + run
    if standing.state == State.RUNNING and standing.started_at is not None:
        return max(now, standing.started_at + run)
    if standing.state in (State.SUCCESS, State.SKIPPED, State.FAILED):
        return standing.ended_at
    return None
