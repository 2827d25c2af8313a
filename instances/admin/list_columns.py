"""The columns of the instance list: their names, how they sort, which filter stands in their head, what a download says."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import ExpressionWrapper, F, fields
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext_lazy as _

from instances.engine.errors import explain
from instances.engine.states import ACTIVE, LABELS, State
from instances.models import Instance
from weops.console.present import plain_time

PAGE = "instances"
PINNED = "task_cell"


@dataclass(frozen=True)
class Column:
    """`key` is the method of the admin that draws the cell; `text` what a download says, one value for each of `headers`.

    `sort`: the name that the address sorts by; `filter`: the field of the filter bar that is offered in its head, too.
    """

    key: str
    title: Any
    headers: tuple[str, ...]
    text: Callable[[Instance], tuple[Any, ...]]
    sort: str = ""
    filter: str = ""


def _duration(instance: Instance) -> tuple[Any]:
    """Seconds, with milliseconds; of what still runs none yet."""
    if instance.start_time is None or instance.end_time is None:
        return ("",)
    return (f"{(instance.end_time - instance.start_time).total_seconds():.3f}",)


def _state(instance: Instance) -> tuple[Any, ...]:
    error = explain(instance.error_code)
    return (
        LABELS[State(instance.state)],
        instance.error_code,
        instance.error_message or (error.title if error else ""),
    )


COLUMNS: tuple[Column, ...] = (
    Column(
        "task_cell",
        _("Task"),
        ("project", "task", "task id", "instance id", "traversal"),
        lambda one: (one.project.name, one.task.name, one.task_id, one.pk, one.traversal),
    ),
    Column(
        "data_time_cell",
        _("Data time"),
        ("data time", "time zone"),
        lambda one: (plain_time(one.data_time, one.task.timezone), one.task.timezone),
        sort="data_time",
    ),
    Column(
        "state_cell",
        _("Execution status"),
        ("execution status", "error code", "error"),
        _state,
        filter="state",
    ),
    Column("duration_cell", _("Duration"), ("duration (s)",), _duration, sort="duration"),
    Column(
        "start_cell", _("Start time"), ("start time",), lambda one: (plain_time(one.start_time),), "start"
    ),
    Column("end_cell", _("End time"), ("end time",), lambda one: (plain_time(one.end_time),), "end"),
    Column(
        "planned_cell",
        _("Planned time"),
        ("planned time",),
        lambda one: (plain_time(one.planned_time),),
        "planned",
    ),
    Column(
        "workflow_cell", _("Workflow"), ("workflow",), lambda one: (one.workflow.name,), filter="workflow"
    ),
    Column("owner_cell", _("Owner"), ("owner",), lambda one: (one.owner.username if one.owner else "",)),
    Column(
        "task_type_cell",
        _("Task type"),
        ("task type",),
        lambda one: (one.get_task_type_display(),),
        filter="task_type",
    ),
    Column(
        "cycle_type",
        _("Cycle type"),
        ("cycle type",),
        lambda one: (one.get_cycle_type_display(),),
        filter="cycle",
    ),
    Column(
        "type_cell",
        _("Instance type"),
        ("instance type",),
        lambda one: (one.get_instance_type_display(),),
        filter="type",
    ),
    Column(
        "group_cell",
        _("Resource group"),
        ("resource group",),
        lambda one: (one.resource_group.name,),
        filter="group",
    ),
    Column("tries_cell", _("Retries"), ("retries",), lambda one: (one.tries,), "retries"),
    Column("runs_cell", _("Runs"), ("accumulated runs",), lambda one: (one.total_runs,), "runs"),
    Column("folder_cell", _("Folder"), ("folder",), lambda one: (getattr(one, "folder_path", ""),)),
)
BY_KEY: dict[str, Column] = {column.key: column for column in COLUMNS}
KEYS: tuple[str, ...] = tuple(BY_KEY)

_RUNS_UNTIL = Coalesce(F("end_time"), Now())
_DURATION = ExpressionWrapper(_RUNS_UNTIL - F("start_time"), output_field=fields.DurationField())
# What the address may sort by. Only data time has an index: the others sort what was counted to its end.
SORTS: Mapping[str, Any] = {
    "data_time": F("data_time"),
    "duration": _DURATION,
    "start": F("start_time"),
    "end": F("end_time"),
    "planned": F("planned_time"),
    "retries": F("tries"),
    "runs": F("total_runs"),
}
NEWEST_FIRST, OLDEST_FIRST = "-data_time", "data_time"


def ordering(sort: str) -> Sequence[Any]:
    """What `order_by` takes for `sort` (a name of SORTS, `-` before it: descending; rows without a value come last)."""
    name, down = sort.removeprefix("-"), sort.startswith("-")
    if name == "data_time":
        return ("-data_time", "-id") if down else ("data_time", "id")
    by = SORTS[name]
    return (by.desc(nulls_last=True) if down else by.asc(nulls_last=True), "-id")


def headers(columns: Sequence[Column]) -> list[str]:
    """Of a download with these columns."""
    return [header for column in columns for header in column.headers]


def cells(columns: Sequence[Column], instance: Instance) -> list[Any]:
    """One row of a download. Times are in the zone of the page; a data time in its task's."""
    return [value for column in columns for value in column.text(instance)]


def running(instance: Instance) -> bool:
    return State(instance.state) in ACTIVE


def midnight(now: dt.datetime) -> dt.datetime:
    """00:00 of the day of `now`, in its zone."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
