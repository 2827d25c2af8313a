"""Workflows as operations sees them: how many of their tasks are scheduled."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count, F, Max, Min, Q, QuerySet

from instances.models import TaskVersion, Workflow
from weops.projects.access import Right
from weops.wedata import accounts, history, paging
from weops.wedata.dispatch import Call, action
from weops.wedata.fields import Id, Moment, Text
from weops.wedata.history import History
from weops.wedata.workflows import made_by

_SUBMITTED = Q(tasks__current_version__isnull=False)
# Conditions on the numbers that `counted` adds.
_STATUSES: dict[str, Q] = {
    "ALL_RUNNING": Q(task_count__gt=0, scheduling=F("task_count")),
    "PART_RUNNING": Q(scheduling__gt=0, scheduling__lt=F("task_count")),
    "ALL_FREEZED": Q(task_count__gt=0, paused=F("task_count")),
    "ALL_STOPPTED": Q(task_count__gt=0, offline=F("task_count")),
    "ALL_NO_RUNNING": Q(scheduling=0)
    & (Q(task_count=0) | (~Q(paused=F("task_count")) & ~Q(offline=F("task_count")))),
    "ALL_INVALID": Q(pk__in=[]),
}
_SORTS = {"CreateTime": "created_at", "TaskCount": "task_count"}


def counted(rows: QuerySet[Workflow]) -> QuerySet[Any]:
    """With numbers of tasks: all, and of those submitted the scheduled, paused and offline ones."""
    return rows.annotate(
        task_count=Count("tasks"),
        scheduling=Count("tasks", filter=_SUBMITTED & Q(tasks__status="scheduling")),
        paused=Count("tasks", filter=_SUBMITTED & Q(tasks__status="paused")),
        offline=Count("tasks", filter=_SUBMITTED & Q(tasks__status="offline")),
    )


def status(row: Any) -> str:
    """The status of a workflow that was `counted`."""
    if row.scheduling:
        return "ALL_RUNNING" if row.scheduling == row.task_count else "PART_RUNNING"
    if row.task_count and row.paused == row.task_count:
        return "ALL_FREEZED"
    return "ALL_STOPPTED" if row.task_count and row.offline == row.task_count else "ALL_NO_RUNNING"


@action(
    "ListOpsWorkflows",
    Right.VIEW,
    FolderId=Id(),
    Status=Text(one_of=tuple(_STATUSES)),
    OwnerUin=Id(),
    WorkflowType=Text(one_of=("Cycle", "Manual", "cycle", "manual"), default="Cycle"),
    KeyWord=Text(),
    SortItem=Text(one_of=tuple(_SORTS), default="CreateTime"),
    SortType=Text(one_of=("ASC", "DESC"), default="DESC"),
    CreateUserUin=Id(),
    ModifyTime=Moment(),
    CreateTime=Moment(),
    **paging.fields(),
)
def list_ops_workflows(call: Call) -> Any:
    rows = counted(Workflow.objects.filter(project=call.project))
    columns = {"FolderId": "folder", "OwnerUin": "owner"}
    rows = rows.filter(**{column: call[name] for name, column in columns.items() if call[name] is not None})
    if call["WorkflowType"].lower() == "manual":
        rows = rows.none()
    if word := call["KeyWord"]:
        number = int(word) if word.isdecimal() and len(word) < 19 else 0
        rows = rows.filter(Q(name__icontains=word) | Q(pk=number))
    if call["Status"]:
        rows = rows.filter(_STATUSES[call["Status"]])
    # From these times on.
    if (moment := call.instant("CreateTime")) is not None:
        rows = rows.filter(created_at__gte=moment)
    if (moment := call.instant("ModifyTime")) is not None:
        rows = rows.alias(modified=history.modified(Workflow)).filter(modified__gte=moment)
    down = "-" if call["SortType"] == "DESC" else ""
    rows = made_by(call, rows).select_related("project", "folder")
    found = History()

    def load(page: Sequence[Any]) -> Sequence[Any]:
        one = history.of(Workflow, page)
        found.made, found.changed = one.made, one.changed
        return page

    ordered = rows.order_by(f"{down}{_SORTS[call['SortItem']]}", f"{down}pk")
    return paging.page(call, ordered, lambda row: _show(call, row, found), load=load)


def _show(call: Call, row: Any, found: History) -> dict[str, Any]:
    return {
        "TaskCount": row.task_count,
        "FolderName": row.folder.name if row.folder else None,
        "FolderId": str(row.folder_id) if row.folder_id else None,
        "WorkflowId": str(row.pk),
        "WorkflowName": row.name,
        "WorkflowType": "cycle",
        "WorkflowDesc": row.description,
        "OwnerUin": accounts.uin(row.owner_id),
        "ProjectId": str(row.project_id),
        "ProjectName": row.project.name,
        "Status": status(row),
        "CreateTime": call.told(row.created_at),
        "UpdateTime": call.told(found.changed_at(row) or row.created_at),
        "UpdateUserUin": found.editor(row),
    }


@action("GetOpsWorkflow", Right.VIEW, WorkflowId=Id(required=True))
def get_ops_workflow(call: Call) -> Any:
    rows = counted(Workflow.objects.filter(project=call.project, pk=call["WorkflowId"]))
    row = call.found(rows.first(), "workflow", call["WorkflowId"])
    found = history.of(Workflow, [row])
    submitted = TaskVersion.objects.filter(task__workflow=row).aggregate(
        first=Min("created_at"), last=Max("created_at")
    )
    return {
        "WorkflowId": str(row.pk),
        "WorkflowDesc": row.description,
        "WorkflowType": "cycle",
        "CreateTime": call.told(row.created_at),
        "CreateUserUin": found.creator(row),
        "UpdateTime": call.told(found.changed_at(row) or row.created_at),
        "FolderId": str(row.folder_id) if row.folder_id else None,
        "FirstSubmitTime": call.told(submitted["first"]),
        "LatestSubmitTime": call.told(submitted["last"]),
        "Status": status(row),
        "OwnerUin": accounts.uin(row.owner_id),
        "WorkflowName": row.name,
    }
