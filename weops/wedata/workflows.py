"""Workflows. Tasks have schedules of their own; a workflow has none."""

from typing import Any

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from instances.models import Workflow
from instances.task_definitions import WORKFLOWS
from weops.projects.access import Right
from weops.wedata import accounts, history, paging
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import bad_value
from weops.wedata.fields import Field, Id, Ignored, Many, Model, Moment, Refused, Text
from weops.wedata.folders import Tree
from weops.wedata.history import History
from weops.wedata.naming import named
from weops.wedata.times import aware

NO_SCHEDULE = "Tasks have schedules of their own here; give each task its TaskSchedulerConfiguration."
_NAMES = {
    "name": "WorkflowName",
    "description": "WorkflowDesc",
    "owner": "OwnerUin",
    "parameters": "WorkflowParams",
    "folder": "ParentFolderPath",
}
_PARAMETER = Model(
    name="ParamInfo",
    fields={"ParamKey": Text(required=True, most=100), "ParamValue": Text(most=100_000, default="")},
)
_SET: dict[str, Field] = {
    "OwnerUin": Id(),
    "WorkflowDesc": Text(most=10_000),
    "WorkflowParams": Many(of=_PARAMETER, most=200),
    "WorkflowSchedulerConfiguration": Refused(type="WorkflowSchedulerConfigurationInfo", why=NO_SCHEDULE),
    "BundleId": Ignored(),
    "BundleInfo": Ignored(),
}
_TYPE = Text(one_of=("cycle", "manual", "Cycle", "Manual"))


def find(call: Call, field: str = "WorkflowId") -> Workflow:
    """The workflow of the call's project that a field names. Raises ApiError."""
    rows = Workflow.objects.filter(project=call.project, pk=call[field]).select_related(
        "project", "folder", "owner"
    )
    found: Workflow = call.found(rows.first(), "workflow", call[field])
    return found


def parameters(given: list[dict[str, Any]], field: str) -> dict[str, str]:
    """{name: value} of a list of pairs. Raises ApiError for a name that is there twice."""
    found: dict[str, str] = {}
    for place, pair in enumerate(given):
        if pair["ParamKey"] in found:
            raise bad_value(f"{field}.{place}.ParamKey", f"{pair['ParamKey']} is there twice.")
        found[pair["ParamKey"]] = pair["ParamValue"]
    return found


def shown_parameters(given: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParamKey": name, "ParamValue": value} for name, value in given.items()]


def _values(call: Call) -> dict[str, Any]:
    values: dict[str, Any] = {"name": call["WorkflowName"], "description": call["WorkflowDesc"]}
    if call["WorkflowParams"] is not None:
        values["parameters"] = parameters(call["WorkflowParams"], "WorkflowParams")
    if call["OwnerUin"] is not None:
        values["owner"] = accounts.read(call, "OwnerUin", call["OwnerUin"], Right.AUTHOR)
    return {name: value for name, value in values.items() if value is not None}


@action(
    "CreateWorkflow",
    Right.AUTHOR,
    WorkflowName=Text(required=True, most=100),
    ParentFolderPath=Text(default="/"),
    WorkflowType=_TYPE,
    **_SET,
)
def create_workflow(call: Call) -> Any:
    if (call["WorkflowType"] or "cycle").lower() != "cycle":
        raise bad_value("WorkflowType", "Workflows are of the type cycle.")
    folder = Tree(call.project).find(call["ParentFolderPath"], "ParentFolderPath")
    values = {"project": call.project, "folder": folder, "owner": call.user, **_values(call)}
    with named(_NAMES, "WorkflowName"):
        workflow = WORKFLOWS.create(values, user=call.user, source="wedata")
    return {"WorkflowId": str(workflow.pk)}


@action("UpdateWorkflow", Right.AUTHOR, WorkflowId=Id(required=True), WorkflowName=Text(most=100), **_SET)
def update_workflow(call: Call) -> Any:
    workflow = find(call)
    with named(_NAMES, "WorkflowName"):
        WORKFLOWS.update(workflow, _values(call), user=call.user, source="wedata")
    return {"Status": True}


@action("DeleteWorkflow", Right.AUTHOR, WorkflowId=Id(required=True))
def delete_workflow(call: Call) -> Any:
    workflow = find(call)
    with named(_NAMES, "WorkflowId"):
        WORKFLOWS.delete(workflow, user=call.user, source="wedata")
    return {"Status": True}


@action("GetWorkflow", Right.VIEW, WorkflowId=Id(required=True))
def get_workflow(call: Call) -> Any:
    workflow = find(call)
    return {
        "WorkflowName": workflow.name,
        "OwnerUin": accounts.uin(workflow.owner_id),
        "CreateUserUin": history.of(Workflow, [workflow]).creator(workflow),
        "WorkflowType": "cycle",
        "WorkflowParams": shown_parameters(workflow.parameters),
        "WorkflowDesc": workflow.description,
        "Path": Tree(call.project).path(workflow.folder_id),
    }


def between(call: Call, rows: QuerySet[Any], field: str, column: str) -> QuerySet[Any]:
    """Rows whose time lies in a range of two times, both included, if the field has one. Raises ApiError."""
    if not call[field]:
        return rows
    if len(call[field]) != 2:
        raise bad_value(field, "Write two times, the first and the last.")
    first, last = (aware(one, call.tz) for one in call[field])
    return rows.filter(**{f"{column}__gte": first, f"{column}__lte": last})


TIMES = Many(of=Moment(), most=2)


@action(
    "ListWorkflows",
    Right.VIEW,
    Keyword=Text(),
    ParentFolderPath=Text(),
    WorkflowType=_TYPE,
    BundleId=Ignored(),
    OwnerUin=Id(),
    CreateUserUin=Id(),
    ModifyTime=TIMES,
    CreateTime=TIMES,
    **paging.fields(),
)
def list_workflows(call: Call) -> Any:
    rows = Workflow.objects.filter(project=call.project).order_by("name", "pk")
    if call["WorkflowType"] and call["WorkflowType"].lower() == "manual":
        rows = rows.none()
    if word := call["Keyword"]:
        rows = rows.filter(
            Q(name__icontains=word) | Q(pk=int(word) if word.isdecimal() and len(word) < 19 else 0)
        )
    if call["ParentFolderPath"]:
        rows = rows.filter(folder=Tree(call.project).find(call["ParentFolderPath"], "ParentFolderPath"))
    if call["OwnerUin"] is not None:
        rows = rows.filter(owner=call["OwnerUin"])
    rows = made_by(call, rows)
    rows = between(call, rows, "CreateTime", "created_at")
    if call["ModifyTime"]:
        rows = between(call, rows.alias(modified=history.modified(Workflow)), "ModifyTime", "modified")
    found = History()

    def load(page: Any) -> Any:
        one = history.of(Workflow, page)
        found.made, found.changed = one.made, one.changed
        return page

    def show(workflow: Workflow) -> dict[str, Any]:
        return {
            "WorkflowId": str(workflow.pk),
            "WorkflowName": workflow.name,
            "WorkflowType": "cycle",
            "OwnerUin": accounts.uin(workflow.owner_id),
            "CreateTime": call.told(workflow.created_at),
            "ModifyTime": call.told(found.changed_at(workflow) or workflow.created_at),
            "UpdateUserUin": found.editor(workflow),
            "WorkflowDesc": workflow.description,
            "CreateUserUin": found.creator(workflow),
        }

    return paging.page(call, rows, show, load=load)


def made_by(call: Call, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Rows that the account CreateUserUin made, if the field is there."""
    if call["CreateUserUin"] is None:
        return rows
    made = history.made_by(rows.model, call["CreateUserUin"])
    return rows.alias(key=Cast("pk", TextField())).filter(key__in=made)
