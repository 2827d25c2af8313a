"""Backfill plans: made, shown, their runs, and deleted, which here is to stop them for good."""

import datetime as dt
from typing import Any

from instances.engine.plan_spec import PlanSpec
from instances.models import BackfillPlan, BackfillRun, Instance, OperationRecord, Task
from instances.models.backfill import RunState
from instances.operations import backfill, records
from weops.projects import access
from weops.projects.access import Right
from weops.wedata import accounts, codes, paging
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import bad_value, not_found
from weops.wedata.fields import Clock, Field, Flag, Id, Ignored, Many, Model, Moment, Refused, Text, Whole
from weops.wedata.instances import ZONE, cost
from weops.wedata.naming import named
from weops.wedata.operations import CHECKS, SELF, pair, pairs
from weops.wedata.times import schedule_zone

_PLAN: dict[str, Field] = {"DataBackfillPlanId": Id(required=True)}
_RANGE = Model(
    name="DataBackfillRange",
    fields={
        "StartDate": Moment(required=True, date=True),
        "EndDate": Moment(required=True, date=True),
        "ExecutionStartTime": Clock(),
        "ExecutionEndTime": Clock(),
    },
)
_NAMES = {
    "tasks": "TaskIds",
    "ranges": "DataBackfillRangeList",
    "window_start": "DataBackfillRangeList.0.ExecutionStartTime",
    "window_end": "DataBackfillRangeList.0.ExecutionEndTime",
    "timezone": "TimeZone",
    "parallelism": "RedefineParallelNum",
    "self_dependency": "RedefineSelfWorkflowDependency",
    "resource_group": "SchedulerResourceGroupId",
    "parameters": "RedefineParamList",
    "order": "DataTimeOrder",
}
_ENGINES = "There are no compute engines to choose from; leave it out."
# Of a run whose instance says nothing (yet).
_STATES = {
    RunState.PENDING: "WAIT_RUN",
    RunState.ACTIVE: "RUNNING",
    RunState.BLOCKED: "WAIT_UPSTREAM",
    RunState.SUCCESS: "COMPLETED",
    RunState.SKIPPED: "SKIP_RUNNING",
}


@action(
    "CreateDataBackfillPlan",
    Right.OPERATE,
    TaskIds=Many(of=Id(), required=True, most=1000),
    DataBackfillRangeList=Many(of=_RANGE, required=True, most=100),
    DataBackfillPlanName=Text(most=200, default=""),
    CheckParentType=Text(one_of=tuple(CHECKS), default="NONE"),
    SkipEventListening=Flag(default=True),
    RedefineSelfWorkflowDependency=Text(one_of=tuple(SELF)),
    RedefineParallelNum=Whole(least=1, most=1000),
    SchedulerResourceGroupId=Id(),
    IntegrationResourceGroupId=Ignored(),
    RedefineParamList=Many(of=pair("KVPair"), most=200),
    DataTimeOrder=Text(one_of=("NORMAL", "ORDER", "REVERSE"), default="NORMAL"),
    RedefineCycleType=Text(one_of=("MONTH_CYCLE",)),
    ComputeConfigMappings=Refused(type="list of ComputeConfigMapping", why=_ENGINES),
    **ZONE,
)
def create_data_backfill_plan(call: Call) -> Any:
    _check_tasks(call)
    window = _window(call)
    own = "" if call["RedefineParallelNum"] else "task"
    options = {
        "tasks": call["TaskIds"],
        "ranges": [_days(one, place) for place, one in enumerate(call["DataBackfillRangeList"])],
        "timezone": schedule_zone(call["TimeZone"], "TimeZone"),
        "window_start": window[0],
        "window_end": window[1],
        "check_parents": call["CheckParentType"] == "ALL",
        "ignore_events": call["SkipEventListening"],
        "self_dependency": SELF.get(call["RedefineSelfWorkflowDependency"] or "", own),
        "parallelism": call["RedefineParallelNum"],
        "resource_group": call["SchedulerResourceGroupId"],
        "parameters": pairs(call["RedefineParamList"]),
        "order": call["DataTimeOrder"],
        "first_of_month": call["RedefineCycleType"] == "MONTH_CYCLE",
    }
    with named(_NAMES):
        plan = backfill.create(options, user=call.user, source="wedata", name=call["DataBackfillPlanName"])
    return {"DataBackfillPlanId": str(plan.pk)}


def _check_tasks(call: Call) -> None:
    known = set(
        Task.objects.filter(workflow__project=call.project, pk__in=call["TaskIds"]).values_list(
            "pk", flat=True
        )
    )
    for pk in call["TaskIds"]:
        if pk not in known:
            raise not_found("task", pk)


def _days(one: dict[str, Any], place: int) -> dict[str, dt.date]:
    if one["EndDate"] < one["StartDate"]:
        raise bad_value(f"DataBackfillRangeList.{place}.EndDate", "It comes before the StartDate.")
    return {"first": one["StartDate"].date(), "last": one["EndDate"].date()}


def _window(call: Call) -> tuple[Any, Any]:
    """The one window of a plan. Raises ApiError for ranges that want different ones."""
    windows = {
        (one.get("ExecutionStartTime"), one.get("ExecutionEndTime")) for one in call["DataBackfillRangeList"]
    }
    if len(windows) > 1:
        raise bad_value(
            "DataBackfillRangeList", "All ranges of a plan have the same hours; make a plan for each."
        )
    start, end = windows.pop()
    whole = (dt.time(0), dt.time(23, 59))
    if (start, end) in (whole, (None, None)):
        return None, None
    return start if start is not None else whole[0], end if end is not None else whole[1]


def _find(call: Call) -> BackfillPlan:
    rows = backfill.visible(call.user).filter(
        pk=call["DataBackfillPlanId"], project_ids__contains=[call.project.pk]
    )
    found: BackfillPlan = call.found(rows.first(), "backfill plan", call["DataBackfillPlanId"])
    return found


@action("GetDataBackfillPlan", Right.VIEW, **_PLAN, **ZONE)
def get_data_backfill_plan(call: Call) -> Any:
    plan = _find(call)
    spec = PlanSpec.from_json(plan.options)
    hours = {}
    if spec.window_start and spec.window_end:
        hours = {
            "ExecutionStartTime": f"{spec.window_start:%H:%M}",
            "ExecutionEndTime": f"{spec.window_end:%H:%M}",
        }
    selves = {ours: theirs for theirs, ours in SELF.items()}
    return {
        "ProjectId": str(call.project.pk),
        "DataBackfillPlanId": str(plan.pk),
        "DataBackfillPlanName": plan.name,
        "TaskIds": [str(pk) for pk in spec.all_tasks],
        "DataBackfillRangeList": [
            {"StartDate": first.isoformat(), "EndDate": last.isoformat(), **hours}
            for first, last in spec.ranges
        ],
        "CheckParentType": "ALL" if spec.check_parents else "NONE",
        "SkipEventListening": spec.ignore_events,
        "RedefineParallelNum": spec.parallelism,
        "RedefineSelfWorkflowDependency": selves.get(spec.self_dependency),
        "SchedulerResourceGroupId": str(spec.resource_group_id) if spec.resource_group_id else None,
        "RedefineCycleType": "MONTH_CYCLE" if spec.first_of_month else None,
        "RedefineParamList": [{"K": name, "V": value} for name, value in spec.parameters.items()],
        "StartTime": call.told(plan.created_at),
        "EndTime": call.told(plan.finished_at),
        "CreateUserUin": accounts.uin(plan.created_by_id),
        "CompletePercent": int(plan.percent_complete),
        "SuccessPercent": int(plan.percent_successful),
        "DataTimeOrder": str(spec.order),
    }


@action("ListDataBackfillInstances", Right.VIEW, **_PLAN, TaskId=Id(), **paging.fields())
def list_data_backfill_instances(call: Call) -> Any:
    """In order of data time."""
    rows = BackfillRun.objects.filter(plan=_find(call)).order_by("data_time", "task_id")
    rows = access.within(rows, call.user, "task__workflow__project_id").select_related("task")
    if call["TaskId"] is not None:
        rows = rows.filter(task=call["TaskId"])
    instances: dict[int, Instance] = {}

    def load(found: Any) -> Any:
        instances.update(Instance.objects.in_bulk([run.instance_id for run in found if run.instance_id]))
        return found

    return paging.page(
        call, rows, lambda run: _run(call, run, instances.get(run.instance_id or 0)), load=load
    )


def _run(call: Call, run: BackfillRun, instance: Instance | None) -> dict[str, Any]:
    state = _STATES.get(RunState(run.state), "EXPIRED")
    begun = run.life_round is not None
    if instance is not None and (begun or run.state == RunState.SKIPPED):
        state = codes.STATE_CODES[instance.state]
    took = cost(instance.start_time, instance.end_time) if instance and begun else None
    return {
        "TaskName": run.task.name,
        "TaskId": str(run.task_id),
        "CurRunDate": call.told(run.data_time),
        "State": state,
        "StartTime": call.told(instance.start_time) if instance and begun else None,
        "EndTime": call.told(instance.end_time) if instance and begun else None,
        "CostTime": None if took is None else str(took),
    }


@action("DeleteDataBackfillPlanAsync", Right.OPERATE, **_PLAN)
def delete_data_backfill_plan(call: Call) -> Any:
    """Stops it and what it has running. Plans and what they did stay on record; of one that is over, this is its record."""
    plan = _find(call)
    with named({}):
        backfill.stop(plan, user=call.user, source="wedata", running=True)
    plan.refresh_from_db()
    record = plan.stop_operation_id or plan.operation_id
    if record is None or not OperationRecord.objects.filter(pk=record).exists():
        record = records.note(
            "stop_backfill",
            user=call.user,
            source="wedata",
            options={"plan": plan.pk, "name": plan.name},
            project_ids=plan.project_ids,
        ).pk
    return {"AsyncId": str(record)}
