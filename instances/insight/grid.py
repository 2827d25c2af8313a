"""Tasks by data times, a cell for each instance: where a task fails again and again, and where a day went wrong. Only reads."""

import datetime as dt
from dataclasses import dataclass, field

from django.db import connection
from django.db.models import QuerySet

from instances.models import Task

# Rows and columns of a page.
TASKS, TIMES = 40, 48


@dataclass(frozen=True)
class Cell:
    """An instance, or None where the task has none of that data time."""

    id: int
    state: str
    error_code: str
    frozen: bool


@dataclass
class Grid:
    """`times`: the columns, the oldest first. `rows`: (task, a cell for each column)."""

    times: list[dt.datetime] = field(default_factory=list)
    rows: list[tuple[Task, list[Cell | None]]] = field(default_factory=list)
    pages: int = 1
    earlier: dt.datetime | None = None


_LAST = """
SELECT t.id, i.id, i.data_time, i.state, i.error_code, i.frozen_at IS NOT NULL
FROM unnest(%(tasks)s::bigint[]) AS t (id) CROSS JOIN LATERAL (
    SELECT i.id, i.data_time, i.state, i.error_code, i.frozen_at FROM instances_instance i
    WHERE i.task_id = t.id AND i.traversal = '' AND (%(before)s::timestamptz IS NULL OR i.data_time < %(before)s)
    ORDER BY i.data_time DESC LIMIT %(times)s) i
"""


def grid(tasks: QuerySet[Task], page: int = 1, before: dt.datetime | None = None, times: int = TIMES) -> Grid:
    """The `times` newest data times (before `before`) that the page's tasks have. Three queries, each a page's size."""
    count = tasks.count()
    pages = max(1, (count + TASKS - 1) // TASKS)
    page = min(max(1, page), pages)
    shown = list(tasks.select_related("workflow").defer("code")[(page - 1) * TASKS : page * TASKS])
    cells: dict[int, dict[dt.datetime, Cell]] = {task.pk: {} for task in shown}
    with connection.cursor() as cursor:
        cursor.execute(_LAST, {"tasks": list(cells), "before": before, "times": times + 1})
        for task, pk, data_time, state, error, frozen in cursor.fetchall():
            cells[task][data_time] = Cell(pk, state, error, frozen)
    every = sorted({time for found in cells.values() for time in found}, reverse=True)
    columns = list(reversed(every[:times]))
    return Grid(
        times=columns,
        rows=[(task, [cells[task.pk].get(time) for time in columns]) for task in shown],
        pages=pages,
        earlier=columns[0] if len(every) > times else None,
    )
