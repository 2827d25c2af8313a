"""Instances: lists, one, its executions, its log, what it waits for and what waits for it. An InstanceKey is its number."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.db.models import DurationField, ExpressionWrapper, F, Max, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from instances.models import Execution, Instance, StateChange
from instances.reading import page_ids, total
from weops.projects import access
from weops.projects.access import Right
from weops.wedata import codes, paging
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import bad_value
from weops.wedata.fields import Field, Id, Moment, Text, Whole

ZONE: dict[str, Field] = {"TimeZone": Text(most=60)}
KEY: dict[str, Field] = {"InstanceKey": Id(required=True)}
_RELATED = ("task", "workflow", "folder", "resource_group")
# Not nullable, and read by the database anyway; `id` makes it total.
_SORTS = {
    "SCHEDULE_DATE": "planned_time",
    "START_TIME": "start_time",
    "END_TIME": "end_time",
}
MOST_WORDS = 20


def find(call: Call, field: str = "InstanceKey") -> Instance:
    """The instance of the call's project that a field names. Raises ApiError."""
    rows = Instance.objects.filter(project=call.project, pk=call[field]).select_related(*_RELATED, "version")
    found: Instance = call.found(rows.first(), "instance", call[field])
    return found


def cost(start: dt.datetime | None, end: dt.datetime | None) -> int | None:
    """Milliseconds, up to now if it has not ended; None if it has not started."""
    if start is None:
        return None
    return max(0, ((end or timezone.now()) - start) // dt.timedelta(milliseconds=1))


def task_type(name: str) -> dict[str, Any]:
    number, words = codes.type_of(name)
    return {"TaskTypeId": number, "TaskType": words}


def changed_at(rows: Sequence[Instance]) -> dict[int, dt.datetime]:
    """{id: when its state last changed}, of those whose state ever did."""
    changes = StateChange.objects.filter(instance_id__in=[row.pk for row in rows]).order_by()
    return dict(changes.values_list("instance_id").annotate(at=Max("at")))


def show(call: Call, row: Instance, changed: dict[int, dt.datetime]) -> dict[str, Any]:
    return {
        "ProjectId": str(row.project_id),
        "InstanceKey": str(row.pk),
        "FolderId": str(row.folder_id) if row.folder_id else None,
        "FolderName": row.folder.name if row.folder else None,
        "WorkflowId": str(row.workflow_id),
        "WorkflowName": row.workflow.name,
        "TaskId": str(row.task_id),
        "TaskName": row.task.name,
        "CurRunDate": call.told(row.data_time),
        "InstanceState": codes.STATE_CODES[row.state],
        "InstanceType": codes.INSTANCE_TYPE_CODES[row.instance_type],
        "OwnerUinList": [str(row.owner_id)] if row.owner_id else [],
        "TotalRunNum": row.total_runs,
        **task_type(row.task_type),
        "CycleType": codes.CYCLE_CODES[row.cycle_type],
        "TryLimit": row.task.retry_limit,
        "Tries": row.tries,
        "StartTime": call.told(row.start_time),
        "EndTime": call.told(row.end_time),
        "CostTime": cost(row.start_time, row.end_time),
        "SchedulerTime": call.told(row.planned_time),
        "LastUpdateTime": call.told(changed.get(row.pk, row.created_at)),
        "ExecutorGroupId": str(row.resource_group_id),
        "ExecutorGroupName": row.resource_group.name,
    }


def page(call: Call, rows: QuerySet[Instance]) -> dict[str, Any]:
    """A page of instances; four queries, however many there are."""
    changed: dict[int, dt.datetime] = {}

    def load(found: Sequence[Instance]) -> Sequence[Instance]:
        if found:
            changed.update(changed_at(found))
        return found

    return paging.page(
        call,
        rows.select_related(*_RELATED),
        lambda row: show(call, row, changed),
        load=load,
        count=total,
        part=_part,
    )


def _part(rows: QuerySet[Instance], start: int, size: int) -> Sequence[Instance]:
    """By the bounded ways, if the order is one of theirs."""
    if rows.query.order_by in (("-data_time", "-id"), ("data_time", "id")):
        newest_first = rows.query.order_by[0] == "-data_time"
        ids = page_ids(rows, size, start, descending=newest_first)
        return list(rows.filter(pk__in=ids))
    return list(rows[start : start + size])


_TIMES = {
    "ScheduleTime": "planned_time",
    "StartTime": "start_time",
    "LastUpdateTime": "changed",
}


@action(
    "ListTaskInstances",
    Right.VIEW,
    Keyword=Text(most=1000),
    InstanceType=Whole(one_of=tuple(codes.INSTANCE_TYPES)),
    InstanceState=Text(one_of=codes.STATE_NAMES),
    TaskTypeId=Whole(),
    CycleType=Text(one_of=tuple(codes.CYCLES)),
    OwnerUin=Id(),
    FolderId=Id(),
    WorkflowId=Id(),
    ExecutorGroupId=Id(),
    SortColumn=Text(one_of=("SCHEDULE_DATE", "START_TIME", "END_TIME", "COST_TIME")),
    SortType=Text(one_of=("ASC", "DESC"), default="DESC"),
    **{f"{name}{end}": Moment() for name in _TIMES for end in ("From", "To")},
    **ZONE,
    **paging.fields(most=100),
)
def list_task_instances(call: Call) -> Any:
    # What runs inside a For-each instance is listed there.
    rows = _filtered(call, Instance.objects.filter(project=call.project, for_each_id__isnull=True))
    return page(call, _sorted(call, rows))


def _filtered(call: Call, rows: QuerySet[Instance]) -> QuerySet[Instance]:
    columns = {
        "OwnerUin": "owner",
        "FolderId": "folder",
        "WorkflowId": "workflow",
        "ExecutorGroupId": "resource_group",
    }
    rows = rows.filter(**{column: call[name] for name, column in columns.items() if call[name] is not None})
    if call["InstanceState"]:
        rows = rows.filter(state__in=codes.states_of(call["InstanceState"]))
    if call["InstanceType"] is not None:
        rows = rows.filter(instance_type=codes.INSTANCE_TYPES[call["InstanceType"]])
    if call["TaskTypeId"] is not None:
        rows = rows.filter(task_type=codes.TASK_TYPES.get(call["TaskTypeId"], ""))
    if call["CycleType"]:
        rows = rows.filter(cycle_type=codes.CYCLES[call["CycleType"]])
    if call["Keyword"]:
        rows = rows.filter(_keyword(call["Keyword"]))
    if call["LastUpdateTimeFrom"] or call["LastUpdateTimeTo"]:
        changes = StateChange.objects.filter(instance_id=OuterRef("pk")).order_by("-id")
        rows = rows.alias(changed=Subquery(changes.values("at")[:1]))
    for name, column in _TIMES.items():
        for end, lookup in (("From", "gte"), ("To", "lte")):
            if (moment := call.instant(f"{name}{end}")) is not None:
                rows = rows.filter(**{f"{column}__{lookup}": moment})
    return rows


def _keyword(text: str) -> Q:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if len(words) > MOST_WORDS:
        raise bad_value("Keyword", f"Write at most {MOST_WORDS} words.")
    wanted = Q()
    for word in words:
        wanted |= Q(task__name__icontains=word)
        if word.isdecimal() and len(word) < 19:
            wanted |= Q(task_id=int(word))
    return wanted


def _sorted(call: Call, rows: QuerySet[Instance]) -> QuerySet[Instance]:
    """By default the newest data times first, which an index serves."""
    down = "-" if call["SortType"] == "DESC" else ""
    column = call["SortColumn"]
    if not column:
        return rows.order_by(f"{down}data_time", f"{down}id")
    if column == "COST_TIME":
        length = ExpressionWrapper(F("end_time") - F("start_time"), output_field=DurationField())
        rows, column = rows.alias(cost=length), "cost"
    else:
        column = _SORTS[column]
    order = F(column).desc(nulls_last=True) if down else F(column).asc(nulls_last=True)
    return rows.order_by(order, f"{down}id")


@action("GetTaskInstance", Right.VIEW, **KEY, **ZONE)
def get_task_instance(call: Call) -> Any:
    row = find(call)
    return {**show(call, row, changed_at([row])), "JobErrorMsg": row.error_message or None}


def _visible(call: Call) -> QuerySet[Instance]:
    """Instances of all projects that the user sees: what one waits for may be of another."""
    return access.within(Instance.objects.all(), call.user, "project_id")


@action("ListUpstreamTaskInstances", Right.VIEW, **KEY, **ZONE, **paging.fields(most=100))
def list_upstream_task_instances(call: Call) -> Any:
    """Those that exist; one that is not generated yet has nothing to be shown by."""
    rows = _visible(call).filter(downstream_edges__instance=find(call))
    return page(call, rows.order_by("-data_time", "-id"))


@action("ListDownstreamTaskInstances", Right.VIEW, **KEY, **ZONE, **paging.fields(most=100))
def list_downstream_task_instances(call: Call) -> Any:
    rows = _visible(call).filter(edges__upstream=find(call))
    return page(call, rows.order_by("-data_time", "-id"))


_ENDED = {"success": "COMPLETE", "failed": "EXPIRED", "cancelled": "EXPIRED"}
EXECUTION_STATES = {
    "dispatched": "WAIT_RUN",
    "running": "RUNNING",
    "stopping": "RUNNING",
    "delegated": "RUNNING",
    "failed": "EXPIRED",
    "success": "COMPLETED",
    "requeued": "WAIT_RUN",
    "cancelled": "EXPIRED",
}


@action("ListTaskInstanceExecutions", Right.VIEW, **KEY, **ZONE, **paging.fields())
def list_task_instance_executions(call: Call) -> Any:
    """The newest first: one for each try of each life."""
    row = find(call)
    rows = Execution.objects.filter(instance=row).order_by("-life_round", "-try_number", "-id")
    last = dict(rows.order_by().values_list("life_round").annotate(last=Max("try_number")))

    def show(one: Execution) -> dict[str, Any]:
        waits = one.life_round == row.life_round and row.state == "failed_retry"
        retried = one.state == "failed" and (waits or one.try_number < last[one.life_round])
        return _execution(call, row, one, retried)

    return paging.page(call, rows, show)


def _execution(call: Call, row: Instance, one: Execution, retried: bool) -> dict[str, Any]:
    return {
        "InstanceKey": str(row.pk),
        "LifeRoundNum": one.life_round,
        "InstanceState": "FAILED_RETRY" if retried else EXECUTION_STATES[one.state],
        "RunType": f"{one.run_type}_SKIP_RUN" if one.dry_run else one.run_type,
        "Tries": one.try_number,
        "ExecutionPhaseList": _phases(call, one, retried),
        "CostTime": cost(one.run_started_at, one.run_ended_at or one.ended_at),
    }


def _phases(call: Call, one: Execution, retried: bool) -> list[dict[str, Any]]:
    starts = (
        ("WAIT_UPSTREAM", one.wait_started_at),
        ("WAIT_RUN", one.queue_started_at),
        ("RUNNING", one.run_started_at),
        ("FAILED" if retried else _ENDED.get(one.state, ""), one.ended_at),
    )
    known = [(state, start) for state, start in starts if state and start is not None]
    ends = [start for _, start in known[1:]] + [one.ended_at]
    return [
        {"StartTime": call.told(start), "DetailState": state, "EndTime": call.told(end)}
        for (state, start), end in zip(known, ends, strict=True)
    ]
