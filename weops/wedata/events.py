"""Events, version 2021-08-20: registered, listened to, fired."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from events import firing, formats
from events.definitions import EVENTS
from events.formats import DataTimeError, EventCycle, Unit
from events.models import Delivery, Event, Listener, Source
from instances.models import Task
from instances.task_definitions import TASKS
from weops.projects import access
from weops.projects.access import Right
from weops.wedata import codes, task_input
from weops.wedata.dispatch import V2021, Call, action
from weops.wedata.errors import ApiError, bad_value
from weops.wedata.fields import Field, Id, Ignored, Many, Model, Refused, Text, Whole
from weops.wedata.naming import named

_CYCLES = tuple(EventCycle)
_UNITS = tuple(Unit)
_NAMES = {
    "name": "Name",
    "cycle": "EventSubType",
    "delivery": "EventBroadcastType",
    "time_to_live": "TimeToLive",
    "time_to_live_unit": "TimeUnit",
    "owner": "Owner",
    "description": "Description",
}
_LIFE = 31_622_400
_TIME_SERIES = "Every event has a data time; write TIME_SERIES or leave it out."
_NAME: dict[str, Field] = {"Name": Text(required=True, most=40)}
_TYPE: dict[str, Field] = {"Type": Text(one_of=("REST_API",), default="REST_API")}
_DEFINED: dict[str, Field] = {
    **_NAME,
    "TimeUnit": Text(one_of=_UNITS),
    "Owner": Text(most=150),
    "Description": Text(most=10_000, default=""),
}
DONE: dict[str, Any] = {"Result": True}


def find(call: Call, name: str, field: str) -> Event:
    """The event of the call's project with this name. Raises ApiError."""
    return task_input.find_event(call, name, None, field)


def _register(call: Call, cycle: str, delivery: str, amount: int | None, unit: str | None) -> Event:
    values: dict[str, Any] = {
        "project": call.project,
        "name": call["Name"],
        "cycle": cycle,
        "delivery": delivery,
        "description": call["Description"],
        "owner": _owner(call),
    }
    if amount is not None:
        values["time_to_live"] = amount
        values["time_to_live_unit"] = unit or Unit.DAYS
    with named(_NAMES, "Name"):
        return EVENTS.create(values, user=call.user, source="wedata")


def _owner(call: Call) -> Any:
    """By the name of the account, or by its number. By default the caller."""
    if not call["Owner"]:
        return call.user
    rows = access.colleagues(call.user)
    found = rows.filter(username=call["Owner"]).first()
    if found is None and call["Owner"].isdecimal() and len(call["Owner"]) < 10:
        found = rows.filter(pk=int(call["Owner"])).first()
    if found is None:
        raise bad_value("Owner", f"There is no account {call['Owner']!r} that you may choose.")
    return found


@action(
    "RegisterEvent",
    Right.AUTHOR,
    version=V2021,
    **_DEFINED,
    EventSubType=Text(required=True, one_of=_CYCLES),
    EventBroadcastType=Text(required=True, one_of=tuple(Delivery.values)),
    EventType=Refused(why=_TIME_SERIES, nothing=("TIME_SERIES",)),
    DimensionFormat=Text(most=20),
    TimeToLive=Whole(least=1, most=_LIFE),
)
def register_event(call: Call) -> Any:
    wanted = formats.FORMATS[EventCycle(call["EventSubType"])]
    if call["DimensionFormat"] not in (None, "", wanted):
        raise bad_value(
            "DimensionFormat", f"The data times of {call['EventSubType']} events have the format {wanted}."
        )
    _register(call, call["EventSubType"], call["EventBroadcastType"], call["TimeToLive"], call["TimeUnit"])
    return DONE


@action(
    "RegisterDsEvent",
    Right.AUTHOR,
    version=V2021,
    **_DEFINED,
    EventSubType=Text(required=True, one_of=_CYCLES),
    TimeToLive=Whole(least=1, most=_LIFE, type="str"),
    EventType=Refused(why=_TIME_SERIES, nothing=("TIME_SERIES",)),
    EventBroadcastType=Text(one_of=tuple(Delivery.values)),
    DimensionFormat=Text(most=20),
    ValidConsumeCount=Whole(least=0),
)
def register_ds_event(call: Call) -> Any:
    """ValidConsumeCount 1 is a single event; more than one, but not all, cannot be said here."""
    count = call["ValidConsumeCount"]
    if count is not None and count > 1:
        raise ApiError(
            "UnsupportedOperation",
            "ValidConsumeCount: A firing serves one instance (1) or all that wait; leave it out.",
        )
    delivery = call["EventBroadcastType"] or (Delivery.SINGLE if count == 1 else Delivery.BROADCAST)
    event = _register(call, call["EventSubType"], delivery, call["TimeToLive"], call["TimeUnit"])
    return {
        **described(call, event),
        "EventId": str(event.pk),
        "ProjectId": str(event.project_id),
        "ProjectName": event.project.name,
        "ValidConsumeCount": 1 if event.delivery == Delivery.SINGLE else None,
        "CreationTs": call.told(event.created_at),
        "Listeners": [],
    }


def described(call: Call, event: Event) -> dict[str, Any]:
    """What both versions of the API's model have."""
    return {
        "Name": event.name,
        "EventType": "TIME_SERIES",
        "EventSubType": event.cycle,
        "EventBroadcastType": event.delivery,
        "DimensionFormat": event.format,
        "TimeToLive": event.time_to_live,
        "TimeUnit": event.time_to_live_unit,
        "Owner": event.owner.get_username() if event.owner else None,
        "Description": event.description,
    }


# Listeners


def _task(call: Call) -> Task:
    rows = Task.objects.filter(workflow__project=call.project, pk=call["Key"])
    found: Task = call.found(rows.select_related("workflow__project").first(), "task", call["Key"])
    return found


def listen(call: Call, event: Event, wait: Mapping[str, Any]) -> Listener:
    """The task of the call's Key listens to the event, from the next instances on. It keeps what it listened to before."""
    task = _task(call)
    kept = [
        {"event": one.event_id, "max_wait": one.max_wait, "max_wait_unit": one.max_wait_unit}
        for one in Listener.objects.filter(task=task).exclude(event=event).order_by("id")
    ]
    with named({"listeners": "EventName"}, "Key"):
        TASKS.update(
            task, {"listeners": [*kept, {"event": event.pk, **wait}]}, user=call.user, source="wedata"
        )
    return Listener.objects.select_related("event", "task__workflow").get(task=task, event=event)


@action(
    "RegisterEventListener",
    Right.AUTHOR,
    version=V2021,
    Key=Id(required=True),
    EventName=Text(required=True, most=40),
    Properties=Text(most=4000),
    **_TYPE,
)
def register_event_listener(call: Call) -> Any:
    try:
        properties = json.loads(call["Properties"] or "{}")
    except (ValueError, RecursionError):
        properties = None
    if not isinstance(properties, dict):
        raise bad_value(
            "Properties", 'Write a JSON object, such as {"maxWaitEventTime":1,"maxWaitEventTimeUnit":"DAYS"}.'
        )
    listen(call, find(call, call["EventName"], "EventName"), task_input.wait(properties, "Properties"))
    return DONE


_PROPERTY = Model(
    name="ParamInfoDs",
    fields={"ParamKey": Text(required=True, most=100), "ParamValue": Text(most=100, default="")},
)


@action(
    "RegisterDsEventListener",
    Right.AUTHOR,
    version=V2021,
    Key=Id(required=True),
    EventName=Text(required=True, most=40),
    RequestFromSource=Ignored(),
    Properties=Many(of=_PROPERTY, most=20),
    EventProjectId=Id(),
    **_TYPE,
)
def register_ds_event_listener(call: Call) -> Any:
    properties = {one["ParamKey"]: one["ParamValue"] for one in call["Properties"] or ()}
    event = task_input.find_event(call, call["EventName"], call["EventProjectId"], "EventName")
    return ds_listener(call, listen(call, event, task_input.wait(properties, "Properties")))


def ds_listener(call: Call, one: Listener) -> dict[str, Any]:
    task = one.task
    properties = [] if one.max_wait is None else list(waits(one).items())
    number, words = codes.type_of(task.task_type)
    return {
        "Key": str(task.pk),
        "Type": "REST_API",
        "PropertiesList": [{"ParamKey": name, "ParamValue": str(value)} for name, value in properties],
        "EventName": one.event.name,
        "EventProjectId": str(one.event.project_id),
        "TaskInfo": {
            "TaskId": str(task.pk),
            "TaskName": task.name,
            "WorkflowId": str(task.workflow_id),
            "WorkflowName": task.workflow.name,
            "TaskTypeId": number,
            "TaskType": words,
            "ProjectId": str(task.workflow.project_id),
            "CycleType": codes.CYCLE_CODES[task.cycle_type],
            "EventName": one.event.name,
        },
    }


def waits(one: Listener) -> dict[str, Any]:
    """The properties of a listener."""
    if one.max_wait is None:
        return {}
    return {"maxWaitEventTime": one.max_wait, "maxWaitEventTimeUnit": one.max_wait_unit}


# Firing


def _fire(call: Call, entries: Sequence[tuple[str, str]]) -> firing.Fired:
    try:
        return firing.fire(call.project, entries, source=Source.API, user=call.user)
    except firing.FiringError as error:
        raise ApiError("InvalidParameterValue", str(error)) from error


@action(
    "TriggerEvent",
    Right.OPERATE,
    version=V2021,
    **_NAME,
    Dimension=Text(required=True, most=40),
    Description=Ignored(),
)
def trigger_event(call: Call) -> Any:
    fired = _fire(call, [(call["Name"], call["Dimension"])])
    if fired.refused:
        refusal = fired.refused[0]
        raise bad_value("Name" if refusal.reason == "unknown" else "Dimension", refusal.message)
    return DONE


_CASE = Model(
    name="EventCaseDTO",
    fields={
        **_NAME,
        "Dimension": Text(required=True, most=40),
        **{name: Ignored() for name in ("CaseId", "CreationTs", "ConsumerId", "Description")},
    },
)
_BATCH = Model(
    name="EventBatchCaseDTO",
    fields={
        **_NAME,
        "StartDimension": Text(required=True, most=40),
        "EndDimension": Text(required=True, most=40),
        "EventSubType": Text(one_of=_CYCLES),
        **{name: Ignored() for name in ("CaseId", "CreationTs", "ConsumerId", "Description")},
    },
)


@action(
    "TriggerDsEvent",
    Right.OPERATE,
    version=V2021,
    EventCaseList=Many(of=_CASE, most=10_000),
    EventBatchCaseList=Many(of=_BATCH, most=100),
    # Data times are what a clock on the wall shows, in whichever zone.
    ScheduleTimeZone=Text(most=60),
)
def trigger_ds_event(call: Call) -> Any:
    entries = [(one["Name"], one["Dimension"]) for one in call["EventCaseList"] or ()]
    for place, batch in enumerate(call["EventBatchCaseList"] or ()):
        entries += _span(call, batch, f"EventBatchCaseList.{place}")
    if not entries:
        raise ApiError("MissingParameter", "EventCaseList or EventBatchCaseList is required.")
    fired = _fire(call, entries)
    return {
        "TotalCount": len(fired.event_instances) + len(fired.refused),
        "SuccessCount": len(fired.event_instances),
        "FailCount": len(fired.refused),
        "FailMessageList": [
            {"Key": f"{one.name},{one.data_time}", "ErrorMessage": one.message} for one in fired.refused
        ],
    }


def _span(call: Call, batch: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
    event = find(call, batch["Name"], f"{path}.Name")
    if batch.get("EventSubType") not in (None, event.cycle):
        raise bad_value(f"{path}.EventSubType", f"{event.name} is an event of the cycle {event.cycle}.")
    try:
        span = formats.span(batch["StartDimension"], batch["EndDimension"], EventCycle(event.cycle))
    except DataTimeError as error:
        raise bad_value(f"{path}.StartDimension", str(error)) from error
    return [(event.name, data_time) for data_time in span]
