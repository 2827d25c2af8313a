"""What a backfill plan can be told, checked: every door fills in the same options and gets the same errors."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from instances.engine.backlog import array
from instances.engine.plan_spec import OnFailure, Order, PlanSpec, Reprocess
from instances.engine.schedule import Cycle
from instances.engine.states import SelfDependency
from instances.engine.zone import zone_problem
from instances.language import listed_plainly
from instances.models import Task
from instances.operations.parsing import (
    ForbiddenOption,
    OptionError,
    application_parameters,
    flag,
    one_of,
    only,
    texts,
)
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
DOWNSTREAM_LABELS: dict[StrEnum, Any] = {
    Downstream.NONE: gettext_lazy("These tasks only"),
    Downstream.WORKFLOW: gettext_lazy("and downstream tasks in the same workflow"),
    Downstream.PROJECT: gettext_lazy("and downstream tasks in the same project"),
    Downstream.ALL: gettext_lazy("and all downstream tasks where you may operate"),
    Downstream.CHOSEN: gettext_lazy("and hand-picked downstream tasks"),
}
LABELS: dict[StrEnum, Any] = {
    Order.NORMAL: gettext_lazy("No particular order"),
    Order.ORDER: gettext_lazy("In order of data time"),
    Order.REVERSE: gettext_lazy("From the last data time to the first"),
    Reprocess.MISSING: gettext_lazy("Only what is missing"),
    Reprocess.FAILED: gettext_lazy("What is missing or failed"),
    Reprocess.ALL: gettext_lazy("Everything"),
    OnFailure.GO_ON: gettext_lazy("Go on with the other data times"),
    OnFailure.STOP: gettext_lazy("Stop the plan"),
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
        raise OptionError(name, _("Write a list of task ids."))
    return list(dict.fromkeys(value))


def _tasks(ids: Sequence[int], user: User | None) -> list[Task]:
    if not ids:
        raise OptionError("tasks", _("Choose at least one task."))
    if len(ids) > MOST_TASKS:
        raise OptionError("tasks", _("Choose at most %(most)s tasks.") % {"most": MOST_TASKS})
    rows = Task.objects.select_related("workflow__project").in_bulk(ids)
    for pk in ids:
        project = rows[pk].workflow.project if pk in rows else None
        if project is None or not _may(user, Right.VIEW, project):
            raise OptionError("tasks", _("There is no task %(id)s.") % {"id": pk})
        if not _may(user, Right.OPERATE, project):
            message = _("You may not operate in project %(project)s, to which %(task)s belongs.")
            raise ForbiddenOption("tasks", message % {"project": project, "task": rows[pk]})
        if rows[pk].cycle_type == Cycle.ONEOFF:
            message = _("%(task)s is a one-off task: it has no data times to fill in. Leave it out.")
            raise OptionError("tasks", message % {"task": rows[pk]})
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
        raise OptionError("chosen", _("Hand-picked tasks need 'chosen' downstream tasks."))
    if reach is Downstream.NONE:
        return []
    roots = [task.pk for task in tasks]
    found = downstream_of(roots, reach, user=user)
    if reach is Downstream.CHOSEN:
        if not chosen:
            message = _("Choose at least one downstream task, or another range.")
            raise OptionError("chosen", message)
        strangers = set(chosen) - {task.pk for task in found} - set(roots)
        if strangers:
            message = _("Task %(id)s is not downstream of the chosen tasks.")
            raise OptionError("chosen", message % {"id": min(strangers)})
        found = [task for task in found if task.pk in chosen]
    if len(tasks) + len(found) > MOST_TASKS:
        message = _("With downstream tasks there would be more than %(most)s; choose a nearer range.")
        raise OptionError("downstream", message % {"most": MOST_TASKS})
    return found


# When


def _ranges(value: Any) -> tuple[tuple[dt.date, dt.date], ...]:
    """In order, and those that overlap or touch put together."""
    if not isinstance(value, list | tuple) or not value:
        raise OptionError("ranges", _("Write at least one range of days."))
    if len(value) > MOST_RANGES:
        raise OptionError("ranges", _("Write at most %(most)s ranges.") % {"most": MOST_RANGES})
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
        message = _("%(value)r is no range; write its first and last day, such as 2026-01-01 and 2026-01-31.")
        raise OptionError("ranges", message % {"value": value}) from None
    if first > last:
        message = _("%(first)s comes after %(last)s; write the first day first.")
        raise OptionError("ranges", message % {"first": first, "last": last})
    if not _FIRST <= first <= last <= _LAST:
        message = _("Write days from %(first)s to %(last)s.")
        raise OptionError("ranges", message % {"first": _FIRST, "last": _LAST})
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
        raise OptionError(missing, _("A window needs its start and its end."))
    if start is not None and end is not None and start > end:
        message = _("The window lies inside a day: write an end that does not come before its start.")
        raise OptionError("window_end", message)
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
        message = _("%(value)r is no time of day; write one such as 08:30.")
        raise OptionError(name, message % {"value": value})
    return found


# How


def _limits(given: Mapping[str, Any], order: Order) -> tuple[int | None, str]:
    """(parallelism, self-dependency): one of the two."""
    self_dependency = given.get("self_dependency") or ""
    if self_dependency and self_dependency not in (*SelfDependency, OWN):
        message = _("%(value)r is none of %(known)s.")
        known = listed_plainly([*SelfDependency, OWN])
        raise OptionError("self_dependency", message % {"value": self_dependency, "known": known})
    parallelism = given.get("parallelism")
    if self_dependency:
        if parallelism not in (None, ""):
            message = _(
                "A number of data times at once replaces the self-dependency; give one of the two, not both."
            )
            raise OptionError("parallelism", message)
        if self_dependency == SelfDependency.ORDERLY and order is Order.REVERSE:
            message = _("An orderly task runs from its first data time on; REVERSE contradicts it.")
            raise OptionError("order", message)
        return None, "" if self_dependency == OWN else str(self_dependency)
    if parallelism in (None, ""):
        return 1, ""
    if type(parallelism) is not int or not 1 <= parallelism <= MOST_PARALLEL:
        message = _("Write a whole number from 1 to %(most)s.")
        raise OptionError("parallelism", message % {"most": MOST_PARALLEL})
    return parallelism, ""


def _resource_group(value: Any) -> int | None:
    if value is None or value == "":
        return None
    group = (
        ResourceGroup.objects.filter(pk=value).first() if type(value) is int and 0 < value < 2**63 else None
    )
    if group is None:
        message = _("There is no resource group %(value)r.")
        raise OptionError("resource_group", message % {"value": value})
    if not group.enabled:
        message = _("The resource group %(group)s is disabled; it starts nothing.")
        raise OptionError("resource_group", message % {"group": group})
    return group.pk


def _check_order(spec: PlanSpec, tasks: Iterable[Task]) -> None:
    cycles = sorted({task.cycle_type for task in tasks})
    if spec.ordered and len(cycles) > 1:
        message = _(
            "%(order)s needs tasks of one cycle; these are %(cycles)s. Choose NORMAL: what depends on "
            "one another is kept in order anyway."
        )
        raise OptionError("order", message % {"order": spec.order, "cycles": listed_plainly(cycles)})


def _check_overrides(spec: PlanSpec, tasks: Iterable[Task], user: User | None) -> None:
    if not spec.parameters and not spec.application_parameters:
        return
    for project in {task.workflow.project for task in tasks}:
        if not _may(user, Right.OVERRIDE, project):
            name = "parameters" if spec.parameters else "application_parameters"
            message = _("You may not override parameters in project %(project)s.")
            raise OptionError(name, message % {"project": project})
