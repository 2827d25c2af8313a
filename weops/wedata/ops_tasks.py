"""Submitted tasks and their workflows as operations sees them: lists, pause, start, stop, owner."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Max, Min, OuterRef, Subquery

from instances import task_operations
from instances.engine.schedule import describe
from instances.models import Execution, Instance, OperationRecord, Task, TaskVersion
from instances.models.operation import OperationState
from instances.operations import records
from instances.task_operations import Outcome, TaskOperation
from weops.projects.access import Right
from weops.wedata import accounts, codes, history, paging
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import ApiError, not_found
from weops.wedata.fields import Field, Flag, Id, Many, Text, Whole
from weops.wedata.history import History
from weops.wedata.instances import ZONE
from weops.wedata.task_view import RELATED, WHOLE_DAY, of_version, whole, with_status
from weops.wedata.tasks import TASK, change_owner, find, neighbours

_TASKS: dict[str, Field] = {"TaskIds": Many(of=Id(), required=True, most=1000)}
_STATUSES = ("Y", "F", "O", "T", "INVALID")


class Facts:
    """What is known of tasks beside their rows, read for a page of them."""

    def __init__(self) -> None:
        self.history = History()
        self.submitted: dict[int, tuple[Any, Any]] = {}
        self.first_run: dict[int, Any] = {}

    def load(self, found: Sequence[Task]) -> Sequence[Task]:
        ids = [task.pk for task in found]
        if ids:
            self.history = history.of(Task, found)
            times = TaskVersion.objects.filter(task__in=ids).order_by().values_list("task")
            rows = times.annotate(first=Min("created_at"), last=Max("created_at"))
            self.submitted = {pk: (first, last) for pk, first, last in rows}
            self.first_run = first_runs(ids)
        return found


def first_runs(task_ids: Sequence[int]) -> dict[int, Any]:
    """{task: when the instance of its first data time began to run, first}: one probe of an index for each task."""
    first = Instance.objects.filter(task=OuterRef("pk"), traversal="").order_by("data_time")
    starts = Execution.objects.filter(instance=OuterRef("first_instance")).order_by("run_started_at")
    rows = Task.objects.filter(pk__in=task_ids).annotate(first_instance=Subquery(first.values("pk")[:1]))
    rows = rows.annotate(began=Subquery(starts.values("run_started_at")[:1]))
    return {pk: began for pk, began in rows.values_list("pk", "began") if began}


def _type(task: Task) -> dict[str, Any]:
    number, words = codes.type_of(task.task_type)
    return {"TaskTypeId": number, "TaskTypeDesc": words}


def _common(call: Call, task: Task, facts: Facts) -> dict[str, Any]:
    first, _ = facts.submitted.get(task.pk, (None, None))
    return {
        "TaskId": str(task.pk),
        "TaskName": task.name,
        "OwnerUin": accounts.uin(task.owner_id),
        "Status": codes.status(task.status, task.current_version_id is not None),
        "FolderId": str(task.folder_id) if task.folder_id else None,
        "FolderName": task.folder.name if task.folder else None,
        "WorkflowId": str(task.workflow_id),
        "WorkflowName": task.workflow.name,
        "ProjectId": str(task.workflow.project_id),
        "ProjectName": task.workflow.project.name,
        **_type(task),
        "CycleType": codes.CYCLE_CODES[task.cycle_type],
        "ScheduleDesc": describe(task.schedule()),
        "FirstRunTime": call.told(facts.first_run.get(task.pk)),
        "FirstSubmitTime": call.told(first),
    }


def _listed(call: Call, task: Task, facts: Facts) -> dict[str, Any]:
    _, last = facts.submitted.get(task.pk, (None, None))
    return {
        **_common(call, task, facts),
        "UpdateUserUin": facts.history.editor(task),
        "ExecutorGroupId": str(task.resource_group_id),
        "ExecutorGroupName": task.resource_group.name,
        "LastSchedulerCommitTime": call.told(last),
        "CreateTime": call.told(task.created_at),
        "LastUpdateTime": call.told(task.updated_at),
    }


def _edge(call: Call, task: Task, facts: Facts) -> dict[str, Any]:
    start, end = (task.window_start, task.window_end) if task.window_start and task.window_end else WHOLE_DAY
    return {
        **_common(call, task, facts),
        "ExecutionStartTime": f"{start:%H:%M}",
        "ExecutionEndTime": f"{end:%H:%M}",
    }


@action(
    "ListOpsTasks",
    Right.VIEW,
    TaskTypeId=Whole(type="str"),
    WorkflowId=Id(),
    WorkflowName=Text(),
    OwnerUin=Id(),
    FolderId=Id(),
    SourceServiceId=Id(),
    TargetServiceId=Id(),
    ExecutorGroupId=Id(),
    CycleType=Text(one_of=tuple(codes.CYCLES)),
    Status=Text(one_of=_STATUSES),
    **ZONE,
    **paging.fields(type="str"),
)
def list_ops_tasks(call: Call) -> Any:
    columns = {
        "WorkflowId": "workflow",
        "OwnerUin": "owner",
        "FolderId": "folder",
        "SourceServiceId": "data_source",
        "TargetServiceId": "data_source",
        "ExecutorGroupId": "resource_group",
    }
    rows = Task.objects.filter(workflow__project=call.project, current_version__isnull=False)
    rows = rows.filter(**{column: call[name] for name, column in columns.items() if call[name] is not None})
    if call["TaskTypeId"] is not None:
        rows = rows.filter(task_type=codes.TASK_TYPES.get(call["TaskTypeId"], ""))
    if call["WorkflowName"]:
        rows = rows.filter(workflow__name__icontains=call["WorkflowName"])
    if call["CycleType"]:
        rows = rows.filter(cycle_type=codes.CYCLES[call["CycleType"]])
    if call["Status"]:
        rows = rows.filter(with_status(call["Status"]))
    facts = Facts()
    rows = rows.select_related(*RELATED).order_by("name", "pk")
    return paging.page(call, rows, lambda task: _listed(call, task, facts), load=facts.load)


def _submitted(call: Call) -> Task:
    task = find(call)
    if task.current_version_id is None:
        raise not_found("submitted task", task.pk)
    return task


@action("GetOpsTask", Right.VIEW, **TASK)
def get_ops_task(call: Call) -> Any:
    """The task as it runs: as it was submitted last, whatever was saved since."""
    task = _submitted(call)
    version = task.current_version
    return whole(call, of_version(version, task) if version else task, task)


@action("GetOpsTaskCode", Right.VIEW, **TASK)
def get_ops_task_code(call: Call) -> Any:
    version = _submitted(call).current_version
    code = version.code if version else ""
    return {"CodeContent": code, "CodeFileSize": len(code.encode())}


@action("ListUpstreamOpsTasks", Right.VIEW, **TASK, **paging.fields(type="str"))
def list_upstream_ops_tasks(call: Call) -> Any:
    return _neighbours(call, "task", "upstream")


@action("ListDownstreamOpsTasks", Right.VIEW, **TASK, **paging.fields(type="str"))
def list_downstream_ops_tasks(call: Call) -> Any:
    return _neighbours(call, "upstream", "task")


def _neighbours(call: Call, path: str, other: str) -> Any:
    facts = Facts()
    rows = neighbours(call, path, other).filter(current_version__isnull=False)
    return paging.page(call, rows, lambda task: _edge(call, task, facts), load=facts.load)


# Operations


def _chosen(call: Call) -> list[int]:
    """The ids, all of them of the call's project. Raises ApiError that names the first that is not."""
    wanted = list(dict.fromkeys(call["TaskIds"]))
    known = Task.objects.filter(workflow__project=call.project, pk__in=wanted).values_list("pk", flat=True)
    found = set(known)
    for pk in wanted:
        if pk not in found:
            raise not_found("task", pk)
    return wanted


def _apply(call: Call, operation: TaskOperation) -> list[Outcome]:
    for right in sorted(operation.rights()):
        call.need(right)
    return task_operations.apply(operation, _chosen(call), user=call.user, source="wedata")


def _job(call: Call, operation: TaskOperation) -> Any:
    """Carries it out, and puts on record what became of all tasks together, to be followed by its AsyncId."""
    outcomes = _apply(call, operation)
    done = [outcome for outcome in outcomes if outcome.record is not None]
    kills = {one.record.options.get("kill") for one in done if one.record is not None} - {None}
    state = OperationState.SUCCESS if len(done) == len(outcomes) else OperationState.PART_SUCCESS
    record = records.note(
        f"{operation.kind}s",
        user=call.user,
        source="wedata",
        options={
            "tasks": [outcome.task_id for outcome in outcomes],
            "refused": {str(one.task_id): one.message for one in outcomes if not one.done},
            "kills": sorted(kills),
        },
        project_ids=[call.project.pk],
        state=state if done else OperationState.FAIL,
        total=len(outcomes),
        done=len(done),
        refused=len(outcomes) - len(done),
    )
    return {"AsyncId": str(record.pk)}


@action("PauseOpsTasksAsync", Right.OPERATE, **_TASKS, KillInstance=Flag(default=False))
def pause_ops_tasks(call: Call) -> Any:
    return _job(call, task_operations.Pause(kill=call["KillInstance"]))


@action("StopOpsTasksAsync", Right.AUTHOR, **_TASKS, KillInstance=Flag(default=False))
def stop_ops_tasks(call: Call) -> Any:
    return _job(call, task_operations.TakeOffline(kill=call["KillInstance"]))


@action("StartOpsTasks", Right.OPERATE, **_TASKS, EnableDataBackfill=Flag(default=False))
def start_ops_tasks(call: Call) -> Any:
    """Resumes those that are paused; one that is scheduled already stays so."""
    outcomes = _apply(call, task_operations.Resume(generate_missed=call["EnableDataBackfill"]))
    refused = {outcome.task_id: outcome.message for outcome in outcomes if not outcome.done}
    running = Task.objects.filter(pk__in=refused, status="scheduling").values_list("pk", flat=True)
    for pk in set(refused) - set(running):
        raise ApiError("FailedOperation", f"{pk}: {refused[pk]}")
    return {"Status": True}


@action("UpdateOpsTasksOwner", Right.AUTHOR, **_TASKS, OwnerUin=Id(required=True))
def update_ops_tasks_owner(call: Call) -> Any:
    owner = accounts.read(call, "OwnerUin", call["OwnerUin"], Right.AUTHOR)
    change_owner(call, _chosen(call), owner, "OwnerUin")
    return {"Status": True}


def job_state(record: OperationRecord) -> str:
    """Of an operation on tasks: it runs on as long as instances are being terminated for it."""
    kills = record.options.get("kills") or []
    if kills and OperationRecord.objects.filter(pk__in=kills, state__in=records.UNFINISHED).exists():
        return str(OperationState.RUNNING)
    return record.state
