"""Counts the figures of days up from the history of states: what was added since the last time, in one statement.

History is only ever added to, so each change counts once; the row of the mark is locked meanwhile, so two at once do no harm.
"""

import datetime as dt
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from instances.models import DayFigure, FigureMark

# Changes of one statement. Younger ones than SETTLED may still be joined by others that began before them.
BATCH = 50_000
SETTLED = dt.timedelta(seconds=90)

_NEXT = """
SELECT max(id), count(*) FROM (
    SELECT id FROM (SELECT id, at FROM instances_statechange WHERE id > %(after)s ORDER BY id LIMIT %(batch)s) s
    WHERE s.id < coalesce((SELECT min(y.id) FROM (
        SELECT id, at FROM instances_statechange WHERE id > %(after)s ORDER BY id LIMIT %(batch)s) y
        WHERE y.at >= now() - %(settled)s), 9223372036854775807)) settled
"""

_ADD = """
WITH ended AS (
    SELECT (s.at AT TIME ZONE %(zone)s)::date AS day, i.task_id, i.project_id, s.to_state,
           extract(epoch FROM e.run_ended_at - e.run_started_at)::float AS seconds
    FROM instances_statechange s JOIN instances_instance i ON i.id = s.instance_id
    LEFT JOIN instances_execution e ON e.id = s.execution_id
    WHERE s.id > %(after)s AND s.id <= %(until)s AND s.to_state IN ('success', 'failed') AND s.from_state <> s.to_state
      AND i.instance_type <> 'test'
), day AS (
    SELECT day, task_id, min(project_id) AS project_id,
           count(*) FILTER (WHERE to_state = 'success') AS succeeded, count(*) FILTER (WHERE to_state = 'failed') AS failed,
           count(seconds) AS runs, coalesce(sum(seconds), 0) AS run_seconds, coalesce(max(seconds), 0) AS longest
    FROM ended GROUP BY day, task_id
)
INSERT INTO instances_dayfigure AS f (day, task_id, project_id, succeeded, failed, runs, run_seconds, longest_seconds)
SELECT day, task_id, project_id, succeeded, failed, runs, run_seconds, longest FROM day ORDER BY task_id, day
ON CONFLICT (task_id, day) DO UPDATE SET
    succeeded = f.succeeded + excluded.succeeded, failed = f.failed + excluded.failed, runs = f.runs + excluded.runs,
    run_seconds = f.run_seconds + excluded.run_seconds,
    longest_seconds = greatest(f.longest_seconds, excluded.longest_seconds)
"""


def catch_up(batch: int = BATCH) -> bool:
    """Adds the next `batch` changes at most; whether there may be more of them."""
    FigureMark.objects.get_or_create(pk=1)
    with transaction.atomic():
        mark = FigureMark.objects.select_for_update().get(pk=1)
        span: dict[str, Any] = {"after": mark.change_id, "batch": batch, "settled": SETTLED}
        with connection.cursor() as cursor:
            cursor.execute(_NEXT, span)
            until, count = cursor.fetchone()
            if until is None:
                return False
            cursor.execute(_ADD, {"after": mark.change_id, "until": until, "zone": settings.TIME_ZONE})
            cursor.execute("UPDATE instances_figuremark SET change_id = %s, at = now() WHERE id = 1", [until])
    return bool(count >= batch)


def remove_old(today: dt.date) -> int:
    """Removes the days that are older than instances are kept; how many rows."""
    oldest = today - dt.timedelta(days=settings.WEOPS_RETENTION_DAYS)
    return DayFigure.objects.filter(day__lt=oldest).delete()[0]
