"""Tasks as they are defined: made, changed, deleted, submitted; their code; what they wait for and what waits for them."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet

from instances import definitions, task_operations
from instances.engine.schedule import describe
from instances.models import Dependency, Task, TaskVersion, Workflow
from instances.task_definitions import TASKS
from weops.projects import access
from weops.projects.access import Right
from weops.wedata import accounts, codes, history, paging, schedules, task_fields, task_input
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import bad_value, not_found
from weops.wedata.fields import Field, Flag, Id, Ignored, Many, Model, Text, Whole
from weops.wedata.folders import Tree
from weops.wedata.history import History
from weops.wedata.naming import named
from weops.wedata.task_fields import BASE, CODE, NAMES, SCHEDULE
from weops.wedata.task_parts import merged
from weops.wedata.task_view import RELATED, base, encoded, of_version, run_at, whole, with_status
from weops.wedata.times import told, zone_of
from weops.wedata.workflows import TIMES, between, made_by

TASK: dict[str, Field] = {"TaskId": Id(required=True)}
STATUSES = ("N", "Y", "F", "O", "T", "INVALID")
_NODE_TYPES = (
    "ETL", "EMR", "DLC", "SETATS", "TDSQL", "TCHOUSE", "GENERAL", "DATA_QUALITY", "INDICATOR", "TI_ONE",
)  # fmt: skip
_BASE: dict[str, Field] = {
    "TaskName": Text(most=100),
    "OwnerUin": Id(),
    "TaskDescription": Text(most=10_000),
    "TaskFolderPath": Text(most=1000),
}
_NEW: dict[str, Field] = {
    **_BASE,
    "TaskName": Text(required=True, most=100),
    "TaskTypeId": Whole(required=True, type="str"),
    "WorkflowId": Id(required=True),
}


def find(call: Call, field: str = "TaskId") -> Task:
    """The task of the call's project that a field names. Raises ApiError."""
    rows = Task.objects.filter(workflow__project=call.project, pk=call[field]).select_related(
        *RELATED, "owner"
    )
    found: Task = call.found(rows.first(), "task", call[field])
    return found


@action(
    "CreateTask",
    Right.AUTHOR,
    TaskBaseAttribute=Model(name="CreateTaskBaseAttribute", required=True, fields=_NEW),
    TaskConfiguration=Model(name="CreateTaskConfiguration", fields=task_fields.CONFIGURATION, default={}),
    TaskSchedulerConfiguration=Model(
        name="CreateTaskSchedulerConfiguration", fields=task_fields.SCHEDULING, default={}
    ),
)
def create_task(call: Call) -> Any:
    """A draft: SubmitTask makes its first version and schedules it."""
    asked = call[BASE]
    rows = Workflow.objects.filter(project=call.project, pk=asked["WorkflowId"])
    workflow = call.found(rows.first(), "workflow", asked["WorkflowId"])
    values = {
        "workflow": workflow,
        "owner": call.user,
        **task_input.base(call, asked),
        **task_input.configuration(call[CODE]),
        **task_input.scheduling(call, call[SCHEDULE]),
    }
    if "resource_group" not in values:
        values["resource_group"] = task_input.default_group()
    with named(NAMES, f"{BASE}.TaskName"):
        task = TASKS.create(values, user=call.user, source="wedata")
    return {"TaskId": str(task.pk)}


def _update(call: Call, asked: dict[str, Any], prefix: str) -> Any:
    """Changes what is given. The owner is changed by an operation, which its instances follow."""
    task = find(call)
    values = task_input.base(call, asked.get(BASE) or {}, prefix)
    values |= task_input.configuration(asked.get(CODE) or {}, f"{prefix}{CODE}")
    values |= task_input.scheduling(call, asked.get(SCHEDULE) or {}, task, f"{prefix}{SCHEDULE}")
    owner = values.pop("owner", None)
    with named({column: f"{prefix}{name}" for column, name in NAMES.items()}, f"{prefix}{BASE}.TaskName"):
        TASKS.update(task, values, user=call.user, source="wedata")
    if owner is not None and owner.pk != task.owner_id:
        change_owner(call, [task.pk], owner, f"{prefix}{BASE}.OwnerUin")
    return {"Status": True}


def change_owner(call: Call, task_ids: Sequence[int], owner: Any, field: str) -> None:
    """Raises ApiError for the first task that cannot be given to `owner`."""
    operation = task_operations.ChangeOwner(owner)
    for outcome in task_operations.apply(operation, task_ids, user=call.user, source="wedata"):
        if not outcome.done and not outcome.message.endswith("already."):
            raise bad_value(field, outcome.message)


_SAVED_TASK: dict[str, Field] = {
    CODE: Model(name="TaskConfiguration", fields=task_fields.SAVED_CONFIGURATION),
    SCHEDULE: Model(name="TaskSchedulerConfiguration", fields=task_fields.SAVED_SCHEDULING),
}


@action(
    "UpdateTask",
    Right.AUTHOR,
    **TASK,
    Task=Model(
        name="UpdateTaskBrief",
        required=True,
        fields={BASE: Model(name="UpdateTaskBaseAttribute", fields=_BASE), **_SAVED_TASK},
    ),
)
def update_task(call: Call) -> Any:
    return _update(call, call["Task"], "Task.")


@action(
    "UpdateTaskPartially",
    Right.AUTHOR,
    **TASK,
    NewSetting=Model(
        name="UpdateTaskPart",
        default={},
        fields={BASE: Model(name="UpdateTaskBaseAttributePart", fields=_BASE), **_SAVED_TASK},
    ),
    FieldToRemoveList=Many(of=Text(most=10_000), most=100),
)
def update_task_partially(call: Call) -> Any:
    """Lists are put together with what is there, by key; then what is to be removed is."""
    asked = dict(call["NewSetting"] or {})
    task = find(call)
    return _update(call, merged(call, task, asked, call["FieldToRemoveList"] or []), "NewSetting.")


@action(
    "DeleteTask",
    Right.AUTHOR,
    **TASK,
    OperateInform=Ignored(type="bool"),
    DeleteMode=Ignored(type="bool"),
)
def delete_task(call: Call) -> Any:
    """Nothing that waits for it is failed: a task that others wait for, or that has run, is not deleted."""
    task = find(call)
    with named(NAMES, "TaskId"):
        TASKS.delete(task, user=call.user, source="wedata")
    return {"Status": True}


@action("SubmitTask", Right.AUTHOR, **TASK, VersionRemark=Text(most=500, default=""))
def submit_task(call: Call) -> Any:
    task = find(call)
    with named(NAMES, "TaskId"):
        version = definitions.submit(task, user=call.user, note=call["VersionRemark"], source="wedata")
    return {"VersionId": str(version.pk), "Status": True}


@action("GetTask", Right.VIEW, **TASK)
def get_task(call: Call) -> Any:
    return whole(call, find(call))


@action("GetTaskCode", Right.VIEW, **TASK)
def get_task_code(call: Call) -> Any:
    code = find(call).code
    return {"CodeInfo": encoded(code), "CodeFileSize": str(-(-len(code.encode()) // 1024))}


@action(
    "ListTasks",
    Right.VIEW,
    TaskName=Text(),
    WorkflowId=Id(),
    OwnerUin=Id(),
    TaskTypeId=Whole(),
    Status=Text(one_of=STATUSES),
    Submit=Flag(),
    BundleId=Ignored(),
    CreateUserUin=Id(),
    ModifyTime=TIMES,
    CreateTime=TIMES,
    TaskFolderPathList=Many(of=Text(), most=100),
    WorkflowFolderPathList=Many(of=Text(), most=100),
    TaskNodeTypeList=Many(of=Text(one_of=_NODE_TYPES), most=20),
    **paging.fields(),
)
def list_tasks(call: Call) -> Any:
    tree = Tree(call.project)
    rows = _filtered(call, Task.objects.filter(workflow__project=call.project), tree)
    rows = rows.select_related(*RELATED).order_by("name", "pk")
    found = History()

    def load(page: Any) -> Any:
        one = history.of(Task, page)
        found.made, found.changed = one.made, one.changed
        return page

    return paging.page(call, rows, lambda task: base(call, task, tree, found), load=load)


def _filtered(call: Call, rows: QuerySet[Task], tree: Tree) -> QuerySet[Task]:
    if call["TaskName"]:
        rows = rows.filter(name__icontains=call["TaskName"])
    columns = {"WorkflowId": "workflow", "OwnerUin": "owner"}
    rows = rows.filter(**{column: call[name] for name, column in columns.items() if call[name] is not None})
    if call["TaskTypeId"] is not None:
        rows = rows.filter(task_type=codes.TASK_TYPES.get(call["TaskTypeId"], ""))
    if call["Status"]:
        rows = rows.filter(with_status(call["Status"]))
    if call["Submit"] is not None:
        rows = rows.filter(current_version__isnull=not call["Submit"])
    rows = between(call, between(call, rows, "CreateTime", "created_at"), "ModifyTime", "updated_at")
    for name, column in (("TaskFolderPathList", "folder"), ("WorkflowFolderPathList", "workflow__folder")):
        if call[name]:
            rows = rows.filter(_in_folders(tree, call[name], name, column))
    if call["TaskNodeTypeList"]:
        # Spark types are EMR's there; all else is general.
        emr = Q(task_type__in=["SPARK_SQL", "PYSPARK"])
        kinds = {"EMR": emr, "GENERAL": ~emr}
        wanted = Q(pk__in=[])
        for kind in call["TaskNodeTypeList"]:
            wanted |= kinds.get(kind, Q(pk__in=[]))
        rows = rows.filter(wanted)
    return made_by(call, rows)


def _in_folders(tree: Tree, paths: Sequence[str], field: str, column: str) -> Q:
    wanted = Q(pk__in=[])
    for place, path in enumerate(paths):
        folder = tree.find(path, f"{field}.{place}")
        wanted |= Q(**{f"{column}__in": tree.below(folder)}) if folder else Q()
        if folder is None:
            return Q()
    return wanted


# Dependencies


def neighbours(call: Call, path: str, other: str) -> QuerySet[Task]:
    """Tasks of projects that the user sees, on the other side of the task's dependencies: `other` is theirs to the task."""
    rows = access.within(Task.objects.all(), call.user, "workflow__project_id")
    edges = Dependency.objects.filter(**{path: find(call)}).values(other)
    return rows.filter(pk__in=edges).select_related(*RELATED).order_by("name", "pk")


def _neighbour(call: Call, task: Task) -> dict[str, Any]:
    number, words = codes.type_of(task.task_type)
    tz = zone_of(task.timezone)
    return {
        "TaskId": str(task.pk),
        "TaskName": task.name,
        "WorkflowId": str(task.workflow_id),
        "WorkflowName": task.workflow.name,
        "ProjectId": str(task.workflow.project_id),
        "Status": codes.status(task.status, task.current_version_id is not None),
        "TaskTypeId": number,
        "TaskTypeDesc": words,
        "ScheduleDesc": describe(task.schedule()),
        "StartTime": told(task.effective_from, tz),
        "EndTime": told(task.effective_to, tz),
        "CycleType": codes.CYCLE_LETTERS[task.cycle_type],
        "OwnerUin": accounts.uin(task.owner_id),
        "InitStrategy": str(task.generation),
        "CrontabExpression": schedules.expression(task, run_at(task)),
    }


@action("ListUpstreamTasks", Right.VIEW, **TASK, **paging.fields())
def list_upstream_tasks(call: Call) -> Any:
    return paging.page(call, neighbours(call, "task", "upstream"), lambda task: _neighbour(call, task))


@action("ListDownstreamTasks", Right.VIEW, **TASK, **paging.fields())
def list_downstream_tasks(call: Call) -> Any:
    return paging.page(call, neighbours(call, "upstream", "task"), lambda task: _neighbour(call, task))


# Versions


def _version(call: Call, task: Task, version: TaskVersion) -> dict[str, Any]:
    return {
        "CreateTime": call.told(version.created_at),
        "VersionNum": str(version.number),
        "CreateUserUin": accounts.uin(version.created_by_id),
        "VersionId": str(version.pk),
        "VersionRemark": version.note,
    }


@action(
    "ListTaskVersions",
    Right.VIEW,
    **TASK,
    TaskVersionType=Text(one_of=("SAVE", "SUBMIT"), default="SAVE"),
    UsedVersion=Flag(),
    **paging.fields(),
)
def list_task_versions(call: Call) -> Any:
    """A version is made by submitting; what was saved in between is not kept."""
    task = find(call)
    rows = TaskVersion.objects.filter(task=task).order_by("-number").defer("code", "parameters", "definition")
    if call["UsedVersion"] is not None:
        used = Q(pk=task.current_version_id)
        rows = rows.filter(used if call["UsedVersion"] else ~used)
    found = paging.page(
        call,
        rows,
        lambda one: {**_version(call, task, one), "UsedVersion": one.pk == task.current_version_id},
    )
    return {**found, "PageCount": len(found["Items"])}


@action("GetTaskVersion", Right.VIEW, **TASK, VersionId=Id())
def get_task_version(call: Call) -> Any:
    task = find(call)
    wanted = call["VersionId"] if call["VersionId"] is not None else task.current_version_id
    if wanted is None:
        raise not_found("version: nobody has submitted task", task.pk)
    version = call.found(TaskVersion.objects.filter(task=task, pk=wanted).first(), "version", wanted)
    return {**_version(call, task, version), "Task": whole(call, of_version(version, task), task)}
