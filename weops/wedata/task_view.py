"""Tasks as the API shows them: what is saved of one, or what a version of it was."""

import base64
import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils.dateparse import parse_datetime, parse_duration

from events.models import Listener
from instances.engine.dependencies import scopes
from instances.engine.schedule import Cycle
from instances.engine.states import TaskStatus
from instances.models import Dependency, Task, TaskVersion
from weops.wedata import accounts, codes, dependencies, history, schedules
from weops.wedata.dispatch import Call
from weops.wedata.folders import Tree
from weops.wedata.history import History
from weops.wedata.times import told, zone_of, zone_text
from weops.wedata.workflows import shown_parameters

_MINUTE = dt.timedelta(minutes=1)
# Windows that are none.
WHOLE_DAY = (dt.time(0, 0), dt.time(23, 59))
RELATED = ("workflow__project", "folder", "resource_group", "current_version", "calendar", "data_source")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass
class Parts:
    """What belongs to tasks, by task."""

    upstream: dict[int, list[Dependency]] = field(default_factory=lambda: defaultdict(list))
    downstream: dict[int, list[Dependency]] = field(default_factory=lambda: defaultdict(list))
    listeners: dict[int, list[Listener]] = field(default_factory=lambda: defaultdict(list))


def parts(tasks: Iterable[Task]) -> Parts:
    """Three queries, however many tasks."""
    found, ids = Parts(), [task.pk for task in tasks]
    edges = Dependency.objects.select_related("task", "upstream").order_by("id")
    for edge in edges.filter(task__in=ids):
        found.upstream[edge.task_id].append(edge)
    for edge in edges.filter(upstream__in=ids):
        found.downstream[edge.upstream_id].append(edge)
    for listener in Listener.objects.filter(task__in=ids).select_related("event").order_by("id"):
        found.listeners[listener.task_id].append(listener)
    return found


def base(call: Call, task: Task, tree: Tree, made: History) -> dict[str, Any]:
    """TaskBaseAttribute."""
    version = task.current_version
    number = str(version.number) if version else None
    return {
        "TaskId": str(task.pk),
        "TaskTypeId": codes.TYPE_IDS.get(task.task_type),
        "WorkflowId": str(task.workflow_id),
        "TaskName": task.name,
        "TaskLatestVersionNo": number,
        "TaskLatestSubmitVersionNo": number,
        "WorkflowName": task.workflow.name,
        "Status": codes.status(task.status, version is not None),
        "Submit": version is not None,
        "CreateTime": call.told(task.created_at),
        "LastUpdateTime": call.told(task.updated_at),
        "LastUpdateUserName": made.editor_name(task),
        "OwnerUin": accounts.uin(task.owner_id),
        "TaskDescription": task.description,
        "UpdateUserUin": made.editor(task),
        "CreateUserUin": made.creator(task),
        "TaskFolderPath": tree.path(task.folder_id),
    }


def configuration(task: Task) -> dict[str, Any]:
    """TaskConfiguration."""
    source = task.data_source
    return {
        "CodeContent": encoded(task.code),
        "TaskExtConfigurationList": [
            {"ParamKey": name, "ParamValue": value if isinstance(value, str) else json.dumps(value)}
            for name, value in task.settings.items()
        ],
        "SourceServiceId": str(source.pk) if source else None,
        "SourceServiceName": source.name if source else None,
        "ResourceGroup": str(task.resource_group_id),
        "ResourceGroupName": task.resource_group.name,
        "TaskSchedulingParameterList": shown_parameters(task.parameters),
    }


def minutes(length: dt.timedelta | None) -> int:
    """-1 for no limit; what is shorter than a minute counts as one."""
    return -1 if length is None else max(-(-length // _MINUTE), 0)


def run_at(task: Task) -> dt.datetime | None:
    """When a one-off task runs, on its own clock."""
    if task.run_at is None:
        return None
    return task.run_at.astimezone(zone_of(task.timezone)).replace(tzinfo=None)


def scheduling(task: Task, rows: Parts) -> dict[str, Any]:
    """TaskSchedulerConfiguration. Its times are on the task's own clock."""
    tz = zone_of(task.timezone)
    rhythmic = task.cycle_type in (Cycle.MINUTE, Cycle.HOUR)
    start, end = (task.window_start, task.window_end) if task.window_start and task.window_end else WHOLE_DAY
    calendar = task.calendar if task.calendar_mode else None
    return {
        "CycleType": codes.CYCLE_CODES[task.cycle_type],
        "ScheduleTimeZone": zone_text(task.timezone),
        "CrontabExpression": schedules.expression(task, run_at(task)),
        "StartTime": told(task.effective_from, tz),
        "EndTime": told(task.effective_to, tz),
        "ExecutionStartTime": f"{start:%H:%M}" if rhythmic else "00:00",
        "ExecutionEndTime": f"{end:%H:%M}" if rhythmic else "23:59",
        "CalendarOpen": "1" if calendar else "0",
        "CalendarId": str(calendar.pk) if calendar else None,
        "CalendarName": calendar.name if calendar else None,
        "SelfDepend": str(task.self_dependency),
        "UpstreamDependencyConfigList": [
            _edge(one, one.upstream_id) for one in rows.upstream.get(task.pk, ())
        ],
        "DownstreamDependencyConfigList": [
            _edge(one, one.task_id) for one in rows.downstream.get(task.pk, ())
        ],
        "EventListenerList": [listener(one) for one in rows.listeners.get(task.pk, ())],
        "AllowRedoType": str(task.rerun_allowed),
        "InitStrategy": str(task.generation),
        "ScheduleType": int(task.dry_run),
        "RunPriorityType": codes.PRIORITY_CODES[task.priority],
        "RetryWaitMinute": minutes(task.retry_wait),
        "MaxRetryNumber": task.retry_limit,
        "ExecutionTTLMinute": minutes(task.run_timeout),
        "WaitExecutionTotalTTLMinute": minutes(task.wait_timeout),
        "ParamTaskOutList": [{"ParamKey": name} for name in task.outputs],
        "DependencyTriggerPolicy": str(task.trigger_policy),
        "AllowDownstreamDependency": int(task.allow_downstream),
        "MinuteOffset": 0,
    }


def _edge(one: Dependency, other: int) -> dict[str, Any]:
    cycles = Cycle(one.task.cycle_type), Cycle(one.upstream.cycle_type)
    found = dependencies.shown(other, one.scope or scopes(*cycles)[0], one.offsets)
    return {**found, "DependencyStrategy": dependencies.strategy(one.bad_parents, one.parent_timeout)}


def listener(one: Listener) -> dict[str, Any]:
    found = {"eventProjectId": str(one.event.project_id)}
    if one.max_wait is not None:
        found |= {"maxWaitEventTime": str(one.max_wait), "maxWaitEventTimeUnit": one.max_wait_unit}
    return {
        "EventName": one.event.name,
        "EventSubType": one.event.cycle,
        "EventBroadcastType": one.event.delivery,
        "PropertiesList": shown_parameters(found),
    }


def whole(call: Call, task: Task, saved: Task | None = None) -> dict[str, Any]:
    """Task. `task` may be one that `of_version` made; `saved` is then what it was made from."""
    row = saved or task
    rows = parts([row])
    return {
        "TaskBaseAttribute": {
            **base(call, row, Tree(row.workflow.project_id), history.of(Task, [row])),
            **({"TaskName": task.name, "TaskDescription": task.description} if saved else {}),
        },
        "TaskConfiguration": configuration(task),
        "TaskSchedulerConfiguration": scheduling(task, rows),
    }


# Versions


def of_version(version: TaskVersion, saved: Task) -> Task:
    """The task as a version has it, unsaved, with the id of the saved one; what has no row any more is left as it is now."""
    task = Task(pk=saved.pk)
    for kept in Task._meta.concrete_fields:
        setattr(task, kept.attname, getattr(saved, kept.attname))
    for name, value in version.definition.items():
        try:
            column: Any = Task._meta.get_field(name)
        except FieldDoesNotExist:
            continue
        if isinstance(column, models.ForeignKey):
            _put_related(task, column, value)
        elif getattr(column, "concrete", False) and not column.many_to_many:
            setattr(task, name, _value(column, value))
    task.code, task.parameters, task.task_type = version.code, version.parameters, version.task_type
    return task


def _put_related(task: Task, column: "models.ForeignKey[Any, Any]", value: Any) -> None:
    if not isinstance(value, Mapping):
        setattr(task, column.name, None)
        return
    row = column.remote_field.model._default_manager.filter(pk=value["id"]).first()
    if row is not None:
        setattr(task, column.name, row)


def _value(column: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column, models.DurationField):
        return parse_duration(value)
    if isinstance(column, models.DateTimeField):
        return parse_datetime(value)
    return column.to_python(value)


# Status


def with_status(code: str) -> models.Q:
    """Tasks of a status code; none for those that no task here can have."""
    never = models.Q(pk__in=[])
    known = {
        "N": models.Q(current_version__isnull=True),
        "Y": models.Q(status=TaskStatus.SCHEDULING),
        "O": models.Q(status=TaskStatus.PAUSED),
        "F": models.Q(status=TaskStatus.OFFLINE, current_version__isnull=False),
    }
    return known.get(code, never)
