"""What a backfill plan can be told, checked: every door fills in the same options and gets the same errors."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from instances.engine.backlog import array
from instances.engine.plan_spec import OnFailure, Order, PlanSpec, Reprocess
from instances.engine.schedule import Cycle
from instances.engine.states import SelfDependency
from instances.engine.zone import zone_problem
from instances.models import Task
from instances.operations.parsing import OptionError, application_parameters, flag, one_of, only, texts
from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Project, ResourceGroup

MOST_TASKS = 1000
MOST_RANGES = 100
MOST_PARALLEL = 1000
# In place of a self-dependency: what each task has of its own.
OWN = "task"
_FIRST, _LAST = dt.date(1970, 1, 1), dt.date(9998, 12, 31)


class Downstream(StrEnum):
    """Which tasks behind the chosen ones belong to the plan too; each range holds for every step from task to task."""

    NONE = "none"
    WORKFLOW = "workflow"
    PROJECT = "project"
    ALL = "all"
    CHOSEN = "chosen"


# Apart from the others: `all` is a Reprocess too, and the two are equal as keys.
DOWNSTREAM_LABELS: dict[StrEnum, str] = {
    Downstream.NONE: "These tasks only",
    Downstream.WORKFLOW: "and downstream tasks in the same workflow",
    Downstream.PROJECT: "and downstream tasks in the same project",
    Downstream.ALL: "and all downstream tasks where you may operate",
    Downstream.CHOSEN: "and hand-picked downstream tasks",
}
LABELS: dict[StrEnum, str] = {
    Order.NORMAL: "No particular order",
    Order.ORDER: "In order of data time",
    Order.REVERSE: "From the last data time to the first",
    Reprocess.MISSING: "Only what is missing",
    Reprocess.FAILED: "What is missing or failed",
    Reprocess.ALL: "Everything",
    OnFailure.GO_ON: "Go on with the other data times",
    OnFailure.STOP: "Stop the plan",
}

_KNOWN = (
    "tasks", "downstream", "chosen", "ranges", "timezone", "window_start", "window_end", "first_of_month", "order",
    "parallelism", "self_dependency", "resource_group", "parameters", "application_parameters", "check_parents",
    "ignore_events", "reprocess", "on_failure",
)  # fmt: skip


def parse(given: Mapping[str, Any], *, user: User | None, now: dt.datetime | None = None) -> PlanSpec:
    """The plan that JSON-like options ask for. Raises OptionError, with the option's name and what to write instead.

    tasks                       ids; `downstream`, and with `chosen` those of their downstream tasks that are wanted
    ranges                      [{"first": "2026-01-01", "last": "2026-01-31"}, ...], both days included
    timezone                    of the ranges; by default each task's own
    window_start, window_end    "HH:MM", for minute and hour tasks
    parallelism                 data times at once, by default 1; or else self_dependency: parallel, serial, orderly, or `task`
                                for what each task has
    resource_group              id

    `user` None is the system. What is planned after `now` is left to the schedule.
    """
    only(given, _KNOWN)
    tasks = _tasks(_ids(given, "tasks"), user)
    behind = _downstream(given, tasks, user)
    everything = [*tasks, *behind]
    order: Order = one_of(Order, given, "order", Order.NORMAL)
    parallelism, self_dependency = _limits(given, order)
    window_start, window_end = _window(given)
    spec = PlanSpec(
        tasks=tuple(task.pk for task in tasks),
        downstream=tuple(task.pk for task in behind),
        ranges=_ranges(given.get("ranges")),
        until=now or timezone.now(),
        timezone=_timezone(given.get("timezone") or ""),
        window_start=window_start,
        window_end=window_end,
        first_of_month=flag(given, "first_of_month"),
        order=order,
        parallelism=parallelism,
        self_dependency=self_dependency,
        resource_group_id=_resource_group(given.get("resource_group")),
        parameters=texts(given, "parameters"),
        application_parameters=application_parameters(given),
        check_parents=flag(given, "check_parents"),
        ignore_events=flag({"ignore_events": True, **given}, "ignore_events"),
        reprocess=one_of(Reprocess, given, "reprocess", Reprocess.ALL),
        on_failure=one_of(OnFailure, given, "on_failure", OnFailure.GO_ON),
    )
    _check_order(spec, everything)
    _check_overrides(spec, everything, user)
    return spec


# Tasks


def _ids(given: Mapping[str, Any], name: str) -> list[int]:
    value = given.get(name) or []
    if not isinstance(value, list | tuple) or not all(type(one) is int and 0 < one < 2**63 for one in value):
        raise OptionError(name, "Write a list of task ids.")
    return list(dict.fromkeys(value))


def _tasks(ids: Sequence[int], user: User | None) -> list[Task]:
    if not ids:
        raise OptionError("tasks", "Choose at least one task.")
    if len(ids) > MOST_TASKS:
        raise OptionError("tasks", f"Choose at most {MOST_TASKS} tasks.")
    rows = Task.objects.select_related("workflow__project").in_bulk(ids)
    for pk in ids:
        project = rows[pk].workflow.project if pk in rows else None
        if project is None or not _may(user, Right.VIEW, project):
            raise OptionError("tasks", f"There is no task {pk}.")
        if not _may(user, Right.OPERATE, project):
            raise OptionError(
                "tasks", f"You may not operate in project {project}, to which {rows[pk]} belongs."
            )
        if rows[pk].cycle_type == Cycle.ONEOFF:
            raise OptionError(
                "tasks", f"{rows[pk]} is a one-off task: it has no data times to fill in. Leave it out."
            )
    return [rows[pk] for pk in ids]


def _may(user: User | None, right: Right, project: Project) -> bool:
    return user is None or right in access.rights(user, project)


_DOWNSTREAM = """
WITH RECURSIVE reached AS (
    SELECT t.id, t.workflow_id, w.project_id FROM instances_task t JOIN instances_workflow w ON w.id = t.workflow_id
    WHERE t.id = ANY(%(tasks)s::bigint[])
    UNION
    SELECT t.id, t.workflow_id, w.project_id FROM reached r JOIN instances_dependency d ON d.upstream_id = r.id
    JOIN instances_task t ON t.id = d.task_id JOIN instances_workflow w ON w.id = t.workflow_id
    WHERE t.cycle_type <> 'ONEOFF' AND (%(projects)s::bigint[] IS NULL OR w.project_id = ANY(%(projects)s::bigint[]))
      AND CASE %(range)s WHEN 'workflow' THEN t.workflow_id = r.workflow_id
                         WHEN 'project' THEN w.project_id = r.project_id ELSE true END
)
SELECT id FROM reached WHERE id <> ALL(%(tasks)s::bigint[]) ORDER BY id
"""


def downstream_of(
    task_ids: Iterable[int], reach: Downstream = Downstream.ALL, *, user: User | None
) -> list[Task]:
    """The tasks behind the given ones, each with its project, that `user` may operate; in order of id."""
    with connection.cursor() as cursor:
        cursor.execute(
            _DOWNSTREAM,
            {
                "tasks": array(task_ids),
                "range": reach,
                "projects": None if user is None else access.project_ids(user, Right.OPERATE),
            },
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    rows = Task.objects.select_related("workflow__project").in_bulk(ids)
    return [rows[pk] for pk in ids]


def _downstream(given: Mapping[str, Any], tasks: Sequence[Task], user: User | None) -> list[Task]:
    reach: Downstream = one_of(Downstream, given, "downstream", Downstream.NONE)
    chosen = _ids(given, "chosen")
    if chosen and reach is not Downstream.CHOSEN:
        raise OptionError("chosen", "Hand-picked tasks need 'chosen' downstream tasks.")
    if reach is Downstream.NONE:
        return []
    roots = [task.pk for task in tasks]
    found = downstream_of(roots, reach, user=user)
    if reach is Downstream.CHOSEN:
        if not chosen:
            raise OptionError("chosen", "Choose at least one downstream task, or another range.")
        strangers = set(chosen) - {task.pk for task in found} - set(roots)
        if strangers:
            raise OptionError("chosen", f"Task {min(strangers)} is not downstream of the chosen tasks.")
        found = [task for task in found if task.pk in chosen]
    if len(tasks) + len(found) > MOST_TASKS:
        raise OptionError(
            "downstream",
            f"With downstream tasks there would be more than {MOST_TASKS}; choose a nearer range.",
        )
    return found


# When


def _ranges(value: Any) -> tuple[tuple[dt.date, dt.date], ...]:
    """In order, and those that overlap or touch put together."""
    if not isinstance(value, list | tuple) or not value:
        raise OptionError("ranges", "Write at least one range of days.")
    if len(value) > MOST_RANGES:
        raise OptionError("ranges", f"Write at most {MOST_RANGES} ranges.")
    merged: list[tuple[dt.date, dt.date]] = []
    for first, last in sorted(_range(one) for one in value):
        if merged and first <= merged[-1][1] + dt.timedelta(days=1):
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _range(value: Any) -> tuple[dt.date, dt.date]:
    try:
        first, last = _day(value["first"]), _day(value["last"])
    except (TypeError, KeyError, ValueError):
        raise OptionError(
            "ranges",
            f"{value!r} is no range; write its first and last day, such as 2026-01-01 and 2026-01-31.",
        ) from None
    if first > last:
        raise OptionError("ranges", f"{first} comes after {last}; write the first day first.")
    if not _FIRST <= first <= last <= _LAST:
        raise OptionError("ranges", f"Write days from {_FIRST} to {_LAST}.")
    return first, last


def _day(value: Any) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    return dt.date.fromisoformat(value)


def _timezone(value: Any) -> str:
    if value and (problem := zone_problem(value)):
        raise OptionError("timezone", problem)
    return str(value)


def _window(given: Mapping[str, Any]) -> tuple[dt.time | None, dt.time | None]:
    start, end = (_time(given, name) for name in ("window_start", "window_end"))
    if (start is None) != (end is None):
        missing = "window_start" if start is None else "window_end"
        raise OptionError(missing, "A window needs its start and its end.")
    if start is not None and end is not None and start > end:
        raise OptionError(
            "window_end", "The window lies inside a day: write an end that does not come before its start."
        )
    return start, end


def _time(given: Mapping[str, Any], name: str) -> dt.time | None:
    value = given.get(name)
    if value is None or value == "":
        return None
    try:
        found = value if isinstance(value, dt.time) else dt.time.fromisoformat(value)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is not None or found.second or found.microsecond:
        raise OptionError(name, f"{value!r} is no time of day; write one such as 08:30.")
    return found


# How


def _limits(given: Mapping[str, Any], order: Order) -> tuple[int | None, str]:
    """(parallelism, self-dependency): one of the two."""
    self_dependency = given.get("self_dependency") or ""
    if self_dependency and self_dependency not in (*SelfDependency, OWN):
        raise OptionError(
            "self_dependency", f"{self_dependency!r} is none of {', '.join(SelfDependency)}, {OWN}."
        )
    parallelism = given.get("parallelism")
    if self_dependency:
        if parallelism not in (None, ""):
            raise OptionError(
                "parallelism",
                "A number of data times at once replaces the self-dependency; give one of the two, not both.",
            )
        if self_dependency == SelfDependency.ORDERLY and order is Order.REVERSE:
            raise OptionError(
                "order", "An orderly task runs from its first data time on; REVERSE contradicts it."
            )
        return None, "" if self_dependency == OWN else str(self_dependency)
    if parallelism in (None, ""):
        return 1, ""
    if type(parallelism) is not int or not 1 <= parallelism <= MOST_PARALLEL:
        raise OptionError("parallelism", f"Write a whole number from 1 to {MOST_PARALLEL}.")
    return parallelism, ""


def _resource_group(value: Any) -> int | None:
    if value is None or value == "":
        return None
    group = (
        ResourceGroup.objects.filter(pk=value).first() if type(value) is int and 0 < value < 2**63 else None
    )
    if group is None:
        raise OptionError("resource_group", f"There is no resource group {value!r}.")
    if not group.enabled:
        raise OptionError("resource_group", f"The resource group {group} is disabled; it starts nothing.")
    return group.pk


def _check_order(spec: PlanSpec, tasks: Iterable[Task]) -> None:
    cycles = sorted({task.cycle_type for task in tasks})
    if spec.ordered and len(cycles) > 1:
        raise OptionError(
            "order",
            f"{spec.order} needs tasks of one cycle; these are {', '.join(cycles)}. Choose NORMAL: what depends on "
            "one another is kept in order anyway.",
        )


def _check_overrides(spec: PlanSpec, tasks: Iterable[Task], user: User | None) -> None:
    if not spec.parameters and not spec.application_parameters:
        return
    for project in {task.workflow.project for task in tasks}:
        if not _may(user, Right.OVERRIDE, project):
            name = "parameters" if spec.parameters else "application_parameters"
            raise OptionError(name, f"You may not override parameters in project {project}.")
