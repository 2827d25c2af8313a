"""How the days went and how things stand: the figures of the overview. Each function is one query with a bound. Only reads."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

DAYS = 14
MOST = 8
# Instances that today's are looked for among: nothing indexes the planned time, but what was planned lately was also
# generated lately.
NEWEST = 50_000

Projects = Sequence[int] | None


@dataclass(frozen=True)
class Day:
    day: dt.date
    succeeded: int
    failed: int


@dataclass(frozen=True)
class TaskFigure:
    """Of the last days: how often instances of a task became successful or failed, and seconds of its runs."""

    task_id: int
    name: str
    project: str
    succeeded: int
    failed: int
    runs: int
    average: float
    longest: float


@dataclass(frozen=True)
class GroupUse:
    """Slots of a resource group that are taken, and instances ready for one (at most 10,001)."""

    id: int
    name: str
    enabled: bool
    slots: int
    taken: int
    ready: int


def _rows(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


_SEEN = "(%(projects)s::bigint[] IS NULL OR f.project_id = ANY(%(projects)s::bigint[]))"

_TREND = f"""
SELECT f.day, sum(f.succeeded), sum(f.failed) FROM instances_dayfigure f
WHERE f.day > %(today)s::date - %(days)s AND f.day <= %(today)s AND {_SEEN} GROUP BY f.day
"""  # noqa: S608 - constants


def trend(projects: Projects, today: dt.date, days: int = DAYS) -> list[Day]:
    """The last `days` days, today last; days on which nothing ended count 0. `projects`: ids; None: all."""
    found = {row[0]: row[1:] for row in _rows(_TREND, projects=projects, today=today, days=days)}
    every = [today - dt.timedelta(days=back) for back in reversed(range(days))]
    return [Day(day, *map(int, found.get(day, (0, 0)))) for day in every]


_TASKS = f"""
SELECT s.task_id, t.name, p.name, s.succeeded, s.failed, s.runs, s.seconds / greatest(s.runs, 1), s.longest FROM (
    SELECT f.task_id, sum(f.succeeded) AS succeeded, sum(f.failed) AS failed, sum(f.runs) AS runs,
           sum(f.run_seconds) AS seconds, max(f.longest_seconds) AS longest
    FROM instances_dayfigure f WHERE f.day > %(today)s::date - %(days)s AND f.day <= %(today)s AND {_SEEN}
    GROUP BY f.task_id HAVING {{having}} ORDER BY {{order}}, f.task_id LIMIT %(most)s) s
JOIN instances_task t ON t.id = s.task_id JOIN instances_workflow w ON w.id = t.workflow_id
JOIN projects_project p ON p.id = w.project_id ORDER BY {{outer}}, s.task_id
"""  # noqa: S608 - constants
_SLOWEST = _TASKS.format(
    having="sum(f.runs) > 0", order="sum(f.run_seconds) / sum(f.runs) DESC", outer="7 DESC"
)
_FAILING = _TASKS.format(having="sum(f.failed) > 0", order="sum(f.failed) DESC", outer="5 DESC")


def slowest(projects: Projects, today: dt.date, days: int = 7) -> list[TaskFigure]:
    """Tasks by the average of their runs."""
    return _tasks(_SLOWEST, projects, today, days)


def failing(projects: Projects, today: dt.date, days: int = 7) -> list[TaskFigure]:
    """Tasks by how often their instances failed."""
    return _tasks(_FAILING, projects, today, days)


def _tasks(statement: str, projects: Projects, today: dt.date, days: int) -> list[TaskFigure]:
    rows = _rows(statement, projects=projects, today=today, days=days, most=MOST)
    return [
        TaskFigure(task, name, project, int(good), int(bad), int(runs), float(average), float(longest))
        for task, name, project, good, bad, runs, average, longest in rows
    ]


_TODAY = """
SELECT f.project_id, p.name, f.state, count(*) FROM (
    SELECT i.project_id, i.state, i.planned_time, i.instance_type FROM instances_instance i ORDER BY i.id DESC LIMIT %(newest)s) f
JOIN projects_project p ON p.id = f.project_id
WHERE f.instance_type <> 'test' AND f.planned_time >= %(begin)s AND f.planned_time < %(end)s
  AND (%(projects)s::bigint[] IS NULL OR f.project_id = ANY(%(projects)s::bigint[]))
GROUP BY 1, 2, 3
"""


def today_by_project(projects: Projects, now: dt.datetime) -> dict[tuple[int, str], dict[str, int]]:
    """{(project id, name): {state: instances planned today}} among the newest NEWEST of all; the largest project first."""
    begin = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = _rows(_TODAY, projects=projects, newest=NEWEST, begin=begin, end=begin + dt.timedelta(days=1))
    found: dict[tuple[int, str], dict[str, int]] = {}
    for project, name, state, count in rows:
        found.setdefault((project, name), {})[state] = count
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])))


_GROUPS = """
SELECT g.id, g.name, g.enabled, g.slots,
    (SELECT count(*) FROM instances_execution e
     WHERE e.resource_group_id = g.id AND e.state IN ('dispatched', 'running', 'stopping')),
    (SELECT count(*) FROM (SELECT 1 FROM instances_instance i WHERE i.resource_group_id = g.id AND i.state = 'wait_run'
        AND i.queue = 'ready' AND i.frozen_at IS NULL LIMIT 10001) c)
FROM (SELECT * FROM projects_resourcegroup ORDER BY name LIMIT 200) g ORDER BY 5 DESC, 6 DESC, g.name LIMIT %(most)s
"""


def groups(most: int = 12) -> list[GroupUse]:
    """Resource groups, those with the most taken slots first."""
    return [GroupUse(*row) for row in _rows(_GROUPS, most=most)]
