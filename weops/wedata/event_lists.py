"""What became of events, version 2021-08-20: one event, its firings (`cases`), and the tasks that consumed them."""

import json
from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from events.formats import EventCycle
from events.models import Consumption, Delivery, EventInstance, EventState, Listener
from instances.engine.schedule import describe
from instances.models import Instance, Task
from weops.projects import access
from weops.projects.access import Right
from weops.wedata import accounts, codes, events, paging, schedules
from weops.wedata.dispatch import V2021, Call, action
from weops.wedata.fields import Field, Id, Moment, Refused, Text, Whole
from weops.wedata.task_view import WHOLE_DAY, minutes, run_at
from weops.wedata.times import told, zone_of, zone_text

# Firings that DescribeEvent shows with the event; DescribeEventCases pages through all of them.
MOST_CASES = 100
MOST_LISTENERS = 1000


def page(call: Call, rows: QuerySet[Any], show: Any, load: Any = None) -> dict[str, Any]:
    """As the version has it: TotalPage and PageCount."""
    found = paging.page(call, rows, show, load=load)
    found["TotalPage"] = found.pop("TotalPageNumber")
    return {**found, "PageCount": len(found["Items"])}


@action("DescribeEvent", Right.VIEW, version=V2021, EventName=Text(required=True, most=40))
def describe_event(call: Call) -> Any:
    event = events.find(call, call["EventName"], "EventName")
    listeners = Listener.objects.filter(event=event).select_related("event", "task").order_by("id")
    seen = access.within(listeners, call.user, "task__workflow__project_id")[:MOST_LISTENERS]
    cases = EventInstance.objects.filter(event=event).order_by("-id")[:MOST_CASES]
    return {
        **events.described(call, event),
        "CreationTimestamp": call.told(event.created_at),
        "Listeners": [
            {
                "EventName": event.name,
                "Key": str(one.task_id),
                "Type": "REST_API",
                "Properties": json.dumps(events.waits(one)),
            }
            for one in seen
        ],
        "EventCases": [
            {
                "CaseId": str(one.pk),
                "Name": event.name,
                "Dimension": one.data_time,
                "CreationTimestamp": call.told(one.triggered_at),
            }
            for one in cases
        ],
    }


_CATEGORIES: dict[str, tuple[str, ...]] = {
    "all": tuple(EventState.values),
    "expired": (EventState.EXPIRED,),
    "consuming": (EventState.TO_BE_CONSUMED, EventState.CONSUMING, EventState.CONSUMED),
}
STATES = {
    EventState.TO_BE_CONSUMED: "ACTIVE",
    EventState.CONSUMING: "CONSUMING",
    EventState.CONSUMED: "COMSUMED",
    EventState.EXPIRED: "EXPIRED",
}
_SORTS = {
    "EventTriggerTimestamp": "triggered_at",
    "Dimension": "moment",
    "LogTimestamp": "consumed_at",
}
_TIMES = {"CreationTime": "triggered_at", "EventTriggeredTime": "triggered_at", "LogTime": "consumed_at"}
_TIME_FIELDS: dict[str, Field] = {f"{name}{end}": Moment() for name in _TIMES for end in ("Start", "End")}


@action(
    "DescribeEventCases",
    Right.VIEW,
    version=V2021,
    Category=Text(one_of=tuple(_CATEGORIES), default="all"),
    EventName=Text(most=40),
    EventSubType=Text(one_of=tuple(EventCycle)),
    EventType=Refused(why="Every event has a data time.", nothing=("TIME_SERIES",)),
    EventBroadcastType=Text(one_of=tuple(Delivery.values)),
    Status=Text(one_of=tuple(STATES.values())),
    Dimension=Text(most=14),
    TimeToLive=Whole(least=1, type="str"),
    SortItem=Text(one_of=tuple(_SORTS), default="EventTriggerTimestamp"),
    SortType=Text(one_of=("ASC", "DESC"), default="DESC"),
    ConsumeCount=Whole(least=0, type="str"),
    **_TIME_FIELDS,
    **paging.fields(),
)
def describe_event_cases(call: Call) -> Any:
    rows = EventInstance.objects.filter(event__project=call.project, state__in=_CATEGORIES[call["Category"]])
    columns = {
        "EventName": "event__name",
        "EventSubType": "event__cycle",
        "EventBroadcastType": "event__delivery",
        "Dimension": "data_time",
        "TimeToLive": "event__time_to_live",
        "ConsumeCount": "consumers",
    }
    rows = rows.filter(
        **{column: call[name] for name, column in columns.items() if call[name] not in (None, "")}
    )
    if call["Status"]:
        rows = rows.filter(state=next(state for state, name in STATES.items() if name == call["Status"]))
    for name, column in _TIMES.items():
        for end, lookup in (("Start", "gte"), ("End", "lte")):
            if (moment := call.instant(f"{name}{end}")) is not None:
                rows = rows.filter(**{f"{column}__{lookup}": moment})
    down = "-" if call["SortType"] == "DESC" else ""
    ordered = rows.order_by(f"{down}{_SORTS[call['SortItem']]}", f"{down}pk")
    return page(call, ordered.select_related("event"), lambda one: _case(call, one))


def _case(call: Call, one: EventInstance) -> dict[str, Any]:
    event = one.event
    return {
        "CaseId": str(one.pk),
        "EventName": event.name,
        "EventType": "TIME_SERIES",
        "EventSubType": event.cycle,
        "EventBroadcastType": event.delivery,
        "TTL": event.time_to_live,
        "TimeUnit": event.time_to_live_unit,
        "Dimension": one.data_time,
        "Status": STATES[EventState(one.state)],
        "EventTriggerTimestamp": call.told(one.triggered_at),
        "LogTimestamp": call.told(one.consumed_at),
        "Description": event.description,
        "ConsumeCount": one.consumers,
    }


@action(
    "DescribeEventConsumeTasks", Right.VIEW, version=V2021, EventCaseId=Id(required=True), **paging.fields()
)
def describe_event_consume_tasks(call: Call) -> Any:
    """The instances that it served, by their tasks; those of projects that the user sees."""
    rows = EventInstance.objects.filter(event__project=call.project, pk=call["EventCaseId"])
    case = call.found(rows.first(), "event instance", call["EventCaseId"])
    consumed = Consumption.objects.filter(event_instance=case).order_by("instance_id")
    seen = access.within(consumed, call.user, "instance__project_id")
    tasks: dict[int, Task] = {}
    instances: dict[int, Instance] = {}

    def load(found: Sequence[Consumption]) -> Sequence[Consumption]:
        instances.update(Instance.objects.in_bulk([one.instance_id for one in found]))
        ids = {one.task_id for one in instances.values()}
        related = ("workflow__project", "folder", "owner", "resource_group", "current_version", "data_source")
        tasks.update(Task.objects.select_related(*related).in_bulk(ids))
        return found

    def show(one: Consumption) -> dict[str, Any]:
        instance = instances[one.instance_id]
        return {
            "ConsumeLogId": f"{case.pk}-{one.instance_id}",
            "EventCaseId": str(case.pk),
            "ConsumerId": str(one.instance_id),
            "CreationTimestamp": call.told(one.at),
            "ConsumerDetail": consumer(call, tasks[instance.task_id]),
        }

    return page(call, seen, show, load)


def consumer(call: Call, task: Task) -> dict[str, Any]:
    """TaskOpsDto."""
    number, words = codes.type_of(task.task_type)
    tz = zone_of(task.timezone)
    project = task.workflow.project
    owner = accounts.uin(task.owner_id)
    start, end = (task.window_start, task.window_end) if task.window_start and task.window_end else WHOLE_DAY
    return {
        "TaskId": str(task.pk),
        "VirtualFlag": False,
        "TaskName": task.name,
        "WorkflowId": str(task.workflow_id),
        "WorkflowName": task.workflow.name,
        "FolderId": str(task.folder_id) if task.folder_id else None,
        "FolderName": task.folder.name if task.folder else None,
        "CreateTime": call.told(task.created_at),
        "LastUpdate": call.told(task.updated_at),
        "UpdateTime": call.told(task.updated_at),
        "Status": codes.status(task.status, task.current_version_id is not None),
        "InCharge": task.owner.get_username() if task.owner else None,
        "InChargeId": owner,
        "OwnerId": owner,
        "StartTime": told(task.effective_from, tz),
        "EndTime": told(task.effective_to, tz),
        "CycleType": codes.CYCLE_LETTERS[task.cycle_type],
        "CrontabExpression": schedules.expression(task, run_at(task)),
        "ExecutionStartTime": f"{start:%H:%M}",
        "ExecutionEndTime": f"{end:%H:%M}",
        "InitStrategy": str(task.generation),
        "SourceServiceId": str(task.data_source_id) if task.data_source_id else None,
        "WorkflowType": "cycle",
        "RetryWait": minutes(task.retry_wait),
        "RetryAble": int(task.retry_limit > 0),
        "TryLimit": task.retry_limit,
        "RunPriority": codes.PRIORITY_CODES[task.priority],
        "TaskType": {"TypeDesc": words, "TypeId": number},
        "ExecutionTTL": minutes(task.run_timeout),
        "SelfDepend": str(task.self_dependency),
        "Notes": task.description,
        "InstanceInitStrategy": str(task.generation),
        "SchedulerDesc": describe(task.schedule()),
        "ProjectId": str(project.pk),
        "ProjectIdent": project.name,
        "ProjectName": project.display_name or project.name,
        "TaskTypeId": number,
        "TaskTypeDesc": words,
        "ScheduleDesc": describe(task.schedule()),
        "Submit": task.current_version_id is not None,
        "ExecutorGroupId": str(task.resource_group_id),
        "ExecutorGroupName": task.resource_group.name,
        "AllowRedoType": str(task.rerun_allowed),
        "ScheduleTimeZone": zone_text(task.timezone),
    }
