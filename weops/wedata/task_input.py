"""What is said of a task in a request, as columns of ours: what `instances.task_definitions.TASKS` takes."""

import base64
import binascii
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from events.formats import Unit
from events.models import Event
from instances.engine.schedule import Cycle
from instances.models import Task
from instances.models.choices import CalendarMode
from instances.runners import registry
from weops.projects.access import Right
from weops.projects.models import ResourceGroup
from weops.wedata import accounts, codes, dependencies, schedules
from weops.wedata.dispatch import Call
from weops.wedata.errors import bad_value
from weops.wedata.fields import (
    Id,
    Text,
    Whole,
)
from weops.wedata.folders import Tree
from weops.wedata.task_fields import BASE, CODE, DEFAULTS, OLD_NAMES, SCHEDULE
from weops.wedata.task_view import WHOLE_DAY
from weops.wedata.times import aware, schedule_zone, zone_of
from weops.wedata.workflows import parameters


def base(call: Call, given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Columns of TaskBaseAttribute; a type and a workflow only where there are such fields."""
    path = f"{prefix}{BASE}"
    values: dict[str, Any] = {"name": given.get("TaskName"), "description": given.get("TaskDescription")}
    if given.get("OwnerUin") is not None:
        values["owner"] = accounts.read(call, f"{path}.OwnerUin", given["OwnerUin"], Right.AUTHOR)
    if "TaskFolderPath" in given:
        values["folder"] = Tree(call.project).find(given["TaskFolderPath"], f"{path}.TaskFolderPath")
    if "TaskTypeId" in given:
        values["task_type"] = codes.task_type(given["TaskTypeId"], registry.types(), f"{path}.TaskTypeId")
    return {name: value for name, value in values.items() if value is not None or name == "folder"}


def configuration(given: Mapping[str, Any], path: str = CODE) -> dict[str, Any]:
    """Columns of TaskConfiguration."""
    values: dict[str, Any] = {}
    if "CodeContent" in given:
        values["code"] = _decoded(given["CodeContent"], f"{path}.CodeContent")
    if "ResourceGroup" in given:
        values["resource_group"] = given["ResourceGroup"]
    if "SourceServiceId" in given:
        values["data_source"] = given["SourceServiceId"]
    if "TaskSchedulingParameterList" in given:
        name = "TaskSchedulingParameterList"
        values["parameters"] = parameters(given[name], f"{path}.{name}")
    if "TaskExtConfigurationList" in given:
        name = "TaskExtConfigurationList"
        found = parameters(given[name], f"{path}.{name}")
        values["settings"] = {key: _setting(value) for key, value in found.items()}
    return values


def _decoded(text: str, path: str) -> str:
    try:
        code = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_value(path, "It is no text in UTF-8, encoded in Base64.") from None
    if "\0" in code:
        raise bad_value(path, "Code holds no NUL.")
    return code


def _setting(value: str) -> Any:
    """Settings have types; the API's are texts: what reads as JSON is what it says, all else the text."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if isinstance(found, bool | int | list | dict) else value


def default_group() -> ResourceGroup:
    """The resource group of who names none: the one called `default`, or the only one that there is. Raises ApiError."""
    rows = list(ResourceGroup.objects.filter(enabled=True).order_by("pk")[:1000])
    named = [group for group in rows if group.name == "default"] or rows
    if len(named) != 1:
        raise bad_value(f"{CODE}.ResourceGroup", "Choose one of those that ListResourceGroups gives.")
    return named[0]


def scheduling(
    call: Call, given: Mapping[str, Any], saved: Task | None = None, path: str = SCHEDULE
) -> dict[str, Any]:
    """Columns of TaskSchedulerConfiguration, and `dependencies` and `listeners`. Of `saved` what is not given stays."""
    given = dict(given)
    for name, old in OLD_NAMES.items():
        if old in given:
            given.setdefault(name, given[old])
    values: dict[str, Any] = {}
    if "ScheduleTimeZone" in given or saved is None:
        values["timezone"] = schedule_zone(given.get("ScheduleTimeZone"), f"{path}.ScheduleTimeZone")
    tz = zone_of(values.get("timezone") or (saved.timezone if saved else "UTC"))
    if saved is None:
        today = timezone.now().astimezone(tz).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        given = {**DEFAULTS, "StartTime": today, **given}
    values |= _rhythm(given, saved, tz, path)
    for name, column in (("StartTime", "effective_from"), ("EndTime", "effective_to")):
        if name in given:
            values[column] = aware(given[name], tz)
    values |= _window(given, values.get("cycle_type") or (saved.cycle_type if saved else ""), path)
    values |= _calendar(given, path)
    values |= _plain(given)
    if "UpstreamDependencyConfigList" in given:
        values["dependencies"] = [
            edge(one, f"{path}.UpstreamDependencyConfigList.{place}")
            for place, one in enumerate(given["UpstreamDependencyConfigList"])
        ]
    if given.get("ParamTaskInList"):
        _check_inputs(
            given["ParamTaskInList"], given.get("UpstreamDependencyConfigList"), f"{path}.ParamTaskInList"
        )
    if "EventListenerList" in given:
        values["listeners"] = [
            listener(call, one, f"{path}.EventListenerList.{place}")
            for place, one in enumerate(given["EventListenerList"])
        ]
    return values


def _rhythm(given: Mapping[str, Any], saved: Task | None, tz: dt.tzinfo, path: str) -> dict[str, Any]:
    if "CycleType" not in given and "CrontabExpression" not in given:
        return {}
    cycle = (
        codes.CYCLES[given["CycleType"]]
        if "CycleType" in given
        else Cycle(saved.cycle_type if saved else "DAY")
    )
    expression = given.get("CrontabExpression") or ""
    if not expression and cycle is not Cycle.ONEOFF:
        if saved is not None and saved.cycle_type == cycle:
            return {}
        raise bad_value(
            f"{path}.CrontabExpression",
            f"A new cycle needs its expression, such as {schedules.DEFAULT_CRONTAB}.",
        )
    try:
        found = schedules.columns(cycle, expression or schedules.DEFAULT_CRONTAB)
        if cycle is Cycle.ONEOFF:
            found["run_at"] = aware(schedules.oneoff(expression, given.get("StartTime")), tz)
    except schedules.CrontabError as error:
        raise bad_value(f"{path}.CrontabExpression", str(error)) from error
    return {"cycle_type": cycle.value, **found}


def _window(given: Mapping[str, Any], cycle: str, path: str) -> dict[str, Any]:
    names = ("ExecutionStartTime", "ExecutionEndTime")
    if not any(name in given for name in names):
        return {}
    window = tuple(given.get(name, default) for name, default in zip(names, WHOLE_DAY, strict=True))
    if window == WHOLE_DAY:
        return {"window_start": None, "window_end": None}
    if cycle not in (Cycle.MINUTE, Cycle.HOUR):
        raise bad_value(f"{path}.{names[0]}", "Only minute and hour tasks have an execution window.")
    return {"window_start": window[0], "window_end": window[1]}


def _calendar(given: Mapping[str, Any], path: str) -> dict[str, Any]:
    if given.get("CalendarOpen") == "0":
        return {"calendar": None, "calendar_mode": ""}
    if given.get("CalendarOpen") == "1" and "CalendarId" not in given:
        raise bad_value(f"{path}.CalendarId", "Choose the calendar on whose dates it runs.")
    if given.get("CalendarOpen") == "1":
        return {"calendar": given["CalendarId"], "calendar_mode": CalendarMode.RUN_ONLY}
    return {}


def _limit(value: int) -> dt.timedelta | None:
    return None if value < 0 else dt.timedelta(minutes=value)


_PLAIN: dict[str, tuple[str, Any]] = {
    "SelfDepend": ("self_dependency", str),
    "AllowRedoType": ("rerun_allowed", str),
    "InitStrategy": ("generation", str),
    "ScheduleType": ("dry_run", bool),
    "RunPriorityType": ("priority", codes.PRIORITIES.__getitem__),
    "RetryWaitMinute": ("retry_wait", lambda value: dt.timedelta(minutes=value)),
    "MaxRetryNumber": ("retry_limit", int),
    "ExecutionTTLMinute": ("run_timeout", _limit),
    "WaitExecutionTotalTTLMinute": ("wait_timeout", _limit),
    "DependencyTriggerPolicy": ("trigger_policy", str),
    "AllowDownstreamDependency": ("allow_downstream", bool),
    "ParamTaskOutList": ("outputs", lambda value: [one["ParamKey"] for one in value]),
}


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    return {column: read(given[name]) for name, (column, read) in _PLAIN.items() if name in given}


def edge(given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A dependency as TASKS takes it."""
    scope, offsets = dependencies.scope_of(
        given.get("MainCyclicConfig", ""),
        given.get("SubordinateCyclicConfig", ""),
        given.get("Offset", ""),
        path,
    )
    found = {"upstream": given["TaskId"], "scope": scope, "offsets": offsets}
    return found | _strategy(given.get("DependencyStrategy") or {}, f"{path}.DependencyStrategy")


def _strategy(given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Which bad parents are not waited for."""
    if given.get("PollingNullStrategy") != "EXECUTING":
        return {}
    bad = given.get("TaskDependencyExecutingStrategies") or ["NOT_EXIST"]
    minutes = given.get("TaskDependencyExecutingTimeoutValue")
    if "PARENT_TIMEOUT" in bad and minutes is None:
        raise bad_value(f"{path}.TaskDependencyExecutingTimeoutValue", "PARENT_TIMEOUT needs its minutes.")
    return {"bad_parents": sorted(set(bad)), "parent_timeout": minutes if "PARENT_TIMEOUT" in bad else None}


def _check_inputs(
    given: Sequence[Mapping[str, Any]], upstream: Sequence[Mapping[str, Any]] | None, path: str
) -> None:
    """What parents give goes by its name by itself: an input can say nothing else. Raises ApiError."""
    parents = None if upstream is None else {one["TaskId"] for one in upstream}
    for place, one in enumerate(given):
        at = f"{path}.{place}"
        if one.get("Type") == "CONSTANT":
            raise bad_value(f"{at}.Type", "Give constants as TaskSchedulingParameterList.")
        if one.get("FromParamKey") not in (None, "", one["ParamKey"]):
            raise bad_value(
                f"{at}.FromParamKey", "A parameter keeps its name from parent to child; write the same."
            )
        if parents is not None and one.get("FromTaskId") is not None and one["FromTaskId"] not in parents:
            raise bad_value(f"{at}.FromTaskId", "It is none of the tasks in UpstreamDependencyConfigList.")


def listener(call: Call, given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A listener as TASKS takes it; the event is one of the task's project, or of the property eventProjectId."""
    properties = {one["ParamKey"]: one["ParamValue"] for one in given.get("PropertiesList") or ()}
    event = find_event(call, given["EventName"], properties.pop("eventProjectId", None), f"{path}.EventName")
    return {"event": event.pk, **wait(properties, f"{path}.PropertiesList")}


def find_event(call: Call, name: str, project_id: Any, path: str) -> Event:
    """An event by its name, of the call's project or of another one that the user sees. Raises ApiError."""
    project = call.project
    if project_id not in (None, "") and str(project_id) != str(project.pk):
        project = call.project_of(Id().read(project_id, f"{path}.ProjectId"), Right.VIEW)
    event = Event.objects.filter(project=project, name=name).select_related("project").first()
    if event is None:
        raise bad_value(path, f"There is no event {name!r} in project {project}.")
    return event


_WAIT, _UNIT = "maxWaitEventTime", "maxWaitEventTimeUnit"


def wait(properties: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The longest wait, of the properties of a listener; without them there is no limit."""
    if unknown := sorted(set(properties) - {_WAIT, _UNIT}):
        raise bad_value(path, f"There is no property {unknown[0][:60]!r}; there are {_WAIT} and {_UNIT}.")
    if properties.get(_WAIT) in (None, ""):
        return {"max_wait": None}
    amount = Whole(least=1, most=31_622_400).read(properties[_WAIT], f"{path}.{_WAIT}")
    unit = Text(one_of=tuple(Unit), default="DAYS").read(properties.get(_UNIT), f"{path}.{_UNIT}")
    return {"max_wait": amount, "max_wait_unit": unit}
