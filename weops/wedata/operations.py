"""Kill, rerun and set-success of instances, in the background; GetOpsAsyncJob follows them. AsyncId: the operation's number."""

from typing import Any

from instances import operations
from instances.engine.states import Operation
from instances.models import Instance, OperationRecord
from instances.models.operation import ItemOutcome
from weops.projects import access
from weops.projects.access import Right
from weops.wedata import accounts, ops_tasks
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import not_found
from weops.wedata.fields import Field, Flag, Id, Many, Model, Text, Whole
from weops.wedata.naming import named

KEYS: dict[str, Field] = {"InstanceKeyList": Many(of=Id(), required=True, most=1000)}
# Of what was refused, so many are told.
MOST_TOLD = 20


def _chosen(call: Call) -> list[int]:
    """The ids, all of them of the call's project. Raises ApiError that names the first that is not."""
    wanted = list(dict.fromkeys(call["InstanceKeyList"]))
    known = set(Instance.objects.filter(project=call.project, pk__in=wanted).values_list("pk", flat=True))
    for key in wanted:
        if key not in known:
            raise not_found("instance", key)
    return wanted


def _run(call: Call, kind: str, options: dict[str, Any] | None = None) -> Any:
    names = {
        "parameters": "RedefineParamList",
        "parallelism": "RedefineParallelNum",
        "self_dependency": "RedefineSelfWorkflowDependency",
    }
    needed = operations.get(kind)
    with named(names):
        for right in sorted(needed.rights(needed.parse(options or {}))):
            call.need(right)
        record = operations.run(
            kind, _chosen(call), user=call.user, reason="", source="wedata", options=options
        )
    return {"AsyncId": str(record.pk)}


@action("KillTaskInstancesAsync", Right.OPERATE, **KEYS)
def kill_task_instances(call: Call) -> Any:
    return _run(call, Operation.TERMINATE)


@action("SetSuccessTaskInstancesAsync", Right.OVERRIDE, **KEYS)
def set_success_task_instances(call: Call) -> Any:
    return _run(call, Operation.MARK_SUCCESS)


_SCOPES = {"1": "this", "2": "with_downstream", "3": "downstream"}
_RANGES = {"WORKFLOW": "workflow", "PROJECT": "project", "ALL": "all"}
CHECKS = {"NONE": "none", "ALL": "all", "MAKE_SCOPE": "selection"}
# What a workflow's self-dependency is there, is that of its tasks here.
SELF = {"yes": "orderly", "no": "parallel"}


class OneOrMore(Many):
    """A list; or one of its entries alone, as the SDK has it."""

    @property
    def type(self) -> str:
        return self.of.type

    def parse(self, value: Any, path: str) -> list[Any] | None:
        return super().parse([value] if isinstance(value, dict) else value, path)


def pairs(given: list[dict[str, str]] | None) -> dict[str, str]:
    return {one["K"]: one["V"] for one in given or ()}


def pair(name: str) -> Model:
    return Model(name=name, fields={"K": Text(required=True, most=100), "V": Text(most=100_000, default="")})


@action(
    "RerunTaskInstancesAsync",
    Right.OPERATE,
    **KEYS,
    RerunType=Text(one_of=tuple(_SCOPES), default="1"),
    CheckParentType=Text(one_of=tuple(CHECKS), default="NONE"),
    SonRangeType=Text(one_of=tuple(_RANGES), default="WORKFLOW"),
    SkipEventListening=Flag(),
    RedefineParallelNum=Whole(least=1, most=1000),
    RedefineSelfWorkflowDependency=Text(one_of=tuple(SELF)),
    RedefineParamList=OneOrMore(of=pair("KVMap"), most=200),
)
def rerun_task_instances(call: Call) -> Any:
    options: dict[str, Any] = {
        "scope": _SCOPES[call["RerunType"]],
        "range": _RANGES[call["SonRangeType"]],
        "check_parents": CHECKS[call["CheckParentType"]],
        "ignore_events": bool(call["SkipEventListening"]),
        "parameters": pairs(call["RedefineParamList"]),
        "parallelism": call["RedefineParallelNum"],
        "self_dependency": SELF.get(call["RedefineSelfWorkflowDependency"] or "", ""),
    }
    return _run(call, Operation.RERUN, options)


@action("GetOpsAsyncJob", Right.VIEW, AsyncId=Id(required=True))
def get_ops_async_job(call: Call) -> Any:
    records = OperationRecord.objects.filter(pk=call["AsyncId"], project_ids__contains=[call.project.pk])
    record: OperationRecord = call.found(records.first(), "asynchronous operation", call["AsyncId"])
    state, total, done, ended, problems = _progress(record, call)
    return {
        "ProjectId": str(call.project.pk),
        "AsyncId": str(record.pk),
        "AsyncType": record.kind.upper(),
        "Status": state,
        "ErrorDesc": problems or None,
        "TotalSubProcessCount": total,
        "FinishedSubProcessCount": ended,
        "SuccessSubProcessCount": done,
        "CreateUserUin": accounts.uin(record.operator_id),
        "CreateTime": call.told(record.created_at),
        "UpdateTime": call.told(
            record.finished_at or record.moved_at or record.started_at or record.created_at
        ),
    }


def _progress(record: OperationRecord, call: Call) -> tuple[str, int, int, int, str]:
    """(status, all, done, ended, what went wrong)"""
    ended = record.done + record.refused + record.failed + record.cancelled
    refused = record.options.get("refused")
    if record.frozen_set_id is None and isinstance(refused, dict):
        said = [f"{key}: {message}" for key, message in list(refused.items())[:MOST_TOLD]]
        return ops_tasks.job_state(record), record.total, record.done, ended, "; ".join(said)
    return record.state, record.total, record.done, ended, _problems(record, call)


def _problems(record: OperationRecord, call: Call) -> str:
    """Why instances that the user sees were not changed, the first of them."""
    wrong = record.items.exclude(outcome=ItemOutcome.DONE).order_by("instance_id")
    ids = access.project_ids(call.user, Right.VIEW)
    if ids is not None:
        wrong = wrong.filter(instance_id__in=Instance.objects.filter(project__in=ids).values("pk"))
    rows = list(wrong.values_list("instance_id", "message")[: MOST_TOLD + 1])
    said = [f"{key}: {message}" for key, message in rows[:MOST_TOLD]]
    return "; ".join(said + (["..."] if len(rows) > MOST_TOLD else []))
