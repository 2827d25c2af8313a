"""What is due: tasks grouped by equal schedules and cursors, so that thousands of hourly tasks are one computation.

A schedule is known by its fingerprint, a text of all columns that shape it, made by the database. It is read and
checked once a process for each fingerprint, not once a tick for each task.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from django.db import connection
from django.db.models.expressions import RawSQL

from instances.engine.schedule import Occurrence, Schedule, due, next_occurrence
from instances.models import Task

# Schedules that a process remembers; each is small.
_MOST_REMEMBERED = 20_000
_remembered: dict[str, Schedule] = {}

_FINGERPRINT = """
md5(ROW(t.cycle_type, t.timezone, t.step, t.at, t.hours, t.weekdays, t.month_days, t.months, t.crontab, t.run_at,
t.effective_from, t.effective_to, t.window_start, t.window_end, t.calendar_id, t.calendar_mode, t.generation,
(SELECT c.dates FROM projects_calendar c WHERE c.id = t.calendar_id))::text)
"""

_DUE = f"""
WITH due AS (
    SELECT t.id, t.next_due_at, t.generated_until, t.catch_up, t.self_dependency = 'orderly' AS orderly,
           {_FINGERPRINT} AS fingerprint
    FROM instances_task t JOIN instances_workflow w ON w.id = t.workflow_id JOIN projects_project p ON p.id = w.project_id
    WHERE t.status = 'scheduling' AND t.next_due_at <= %s AND p.enabled
    ORDER BY t.next_due_at, t.id LIMIT %s FOR NO KEY UPDATE OF t SKIP LOCKED
)
SELECT array_agg(id ORDER BY id), fingerprint, generated_until, catch_up, orderly FROM due
GROUP BY fingerprint, generated_until, catch_up, orderly ORDER BY min(next_due_at), min(id)
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class DueTasks:
    """Tasks (ascending ids, locked) that are due at the same data times."""

    ids: list[int]
    fingerprint: str
    generated_until: dt.datetime | None
    catch_up: str
    orderly: bool

    def each(self) -> list["DueTasks"]:
        return [replace(self, ids=[task_id]) for task_id in self.ids]


def due_tasks(now: dt.datetime, limit: int) -> list[DueTasks]:
    """At most `limit` scheduling tasks of enabled projects with an occurrence due, locked; the longest due first."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [now, limit])
        return [DueTasks(*row) for row in cursor.fetchall()]


def due_occurrences(tasks: DueTasks, schedule: Schedule, now: dt.datetime, limit: int) -> list[Occurrence]:
    """What each of the tasks is to get now, the oldest first, `limit` at most."""
    after = tasks.generated_until or now
    return list(islice(due(schedule, after, now, latest_only=tasks.catch_up == "latest"), limit))


@dataclass(slots=True)
class Cursors:
    """Where tasks go on after this tick."""

    ids: list[int]
    until: list[dt.datetime]
    due: list[dt.datetime | None]
    sizes: list[int]

    def move(self, ids: Sequence[int], schedule: Schedule, until: dt.datetime) -> None:
        following = next_occurrence(schedule, until)
        self.ids += ids
        self.sizes.append(len(ids))
        self.until.append(until)
        self.due.append(following.planned_time if following else None)

    def write(self) -> None:
        if not self.ids:
            return
        places = (place for place, size in enumerate(self.sizes, 1) for _ in range(size))
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE instances_task t SET generated_until = m.until, next_due_at = m.due, generation_error = '' "
                "FROM unnest(%s::bigint[], %s::int[]) AS moved(id, place) "
                "JOIN unnest(%s::timestamptz[], %s::timestamptz[]) WITH ORDINALITY AS m(until, due, place) USING (place) "
                "WHERE t.id = moved.id",
                [array(self.ids), array(places), self.until, self.due],
            )


def array(values: Iterable[object]) -> str:
    """A PostgreSQL array of numbers, booleans or plain words as text: many times faster than a list of parameters."""
    return "{" + ",".join(map(str, values)) + "}"


def schedules(fingerprints: dict[int, str]) -> dict[int, Schedule]:
    """Schedules of tasks, {task id: fingerprint} given. Raises ScheduleError for one that cannot be read."""
    known = {mark: schedule for mark in set(fingerprints.values()) if (schedule := _remembered.get(mark))}
    missing = {mark: task_id for task_id, mark in fingerprints.items() if mark not in known}
    if missing:
        tasks = Task.objects.filter(pk__in=missing.values()).select_related("calendar")
        for task in tasks.annotate(fingerprint=RawSQL(_FINGERPRINT.replace("t.", "instances_task."), [])):  # noqa: S611 - a constant
            # One that was edited since its fingerprint was taken is remembered as what it is now.
            known[fingerprints[task.pk]] = _remembered[task.fingerprint] = task.schedule()
        if len(_remembered) > _MOST_REMEMBERED:
            _remembered.clear()
    return {task_id: known[mark] for task_id, mark in fingerprints.items()}


def fingerprints(task_ids: Iterable[int]) -> dict[int, str]:
    """{task id: fingerprint of its schedule}"""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT t.id, {_FINGERPRINT} FROM instances_task t WHERE t.id = ANY(%s::bigint[])",  # noqa: S608
            [array(task_ids)],
        )
        return dict(cursor.fetchall())
