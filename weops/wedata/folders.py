"""Folders by their absolute path, such as /etl/daily. A project has one tree of them, for its workflows and their tasks."""

from collections.abc import Collection
from typing import Any

from instances.models import Workflow
from weops.projects.access import Right
from weops.projects.definitions import FOLDERS
from weops.projects.models import Folder, Project
from weops.wedata import history, paging
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import bad_value
from weops.wedata.fields import Field, Id, Text
from weops.wedata.history import History
from weops.wedata.naming import named

_NODE_TYPES = ("ETL", "EMR", "DLC", "SETATS", "TDSQL", "TCHOUSE", "GENERAL", "TI_ONE", "ACROSS_WORKFLOWS")


class Tree:
    """All folders of a project, read at once."""

    def __init__(self, project: Project | int) -> None:
        self._folders = {
            folder.pk: folder for folder in Folder.objects.filter(project=project).order_by("name", "pk")
        }
        self._paths = {pk: self._path(folder) for pk, folder in self._folders.items()}
        self._by_path = {path: self._folders[pk] for pk, path in self._paths.items()}

    def _path(self, folder: Folder) -> str:
        names, seen = [folder.name], {folder.pk}
        while folder.parent_id in self._folders and folder.parent_id not in seen:
            folder = self._folders[folder.parent_id]
            seen.add(folder.pk)
            names.append(folder.name)
        return "/" + "/".join(reversed(names))

    def path(self, folder_id: int | None) -> str:
        """`/` for what lies in no folder."""
        return self._paths.get(folder_id or 0, "/")

    def find(self, path: str | None, field: str) -> Folder | None:
        """The folder of a path; None for the root. Raises ApiError."""
        wanted = "/" + (path or "").strip("/")
        if wanted == "/":
            return None
        if wanted not in self._by_path:
            raise bad_value(field, f"There is no folder {wanted}; make it first.")
        return self._by_path[wanted]

    def children(self, parent: Folder | None) -> list[Folder]:
        wanted = parent.pk if parent else None
        return [folder for folder in self._folders.values() if folder.parent_id == wanted]

    def below(self, folder: Folder) -> Collection[int]:
        """Ids of the folder and of all below it."""
        start = self._paths[folder.pk]
        return [pk for pk, path in self._paths.items() if path == start or path.startswith(f"{start}/")]


def _create(call: Call, parent: str, name: str) -> Folder:
    folder = Tree(call.project).find(call[parent], parent)
    if "/" in call[name]:
        raise bad_value(name, "The name of a folder has no '/'.")
    with named({"name": name, "parent": parent}, name):
        made: Folder = FOLDERS.create(
            {"project": call.project, "parent": folder, "name": call[name]}, user=call.user, source="wedata"
        )
    return made


def _folder(call: Call) -> Folder:
    row = Folder.objects.filter(project=call.project, pk=call["FolderId"]).select_related("project").first()
    found: Folder = call.found(row, "folder", call["FolderId"])
    return found


def _list(call: Call, parent: str, key: str, path: str) -> Any:
    tree = Tree(call.project)
    made = History()

    def load(found: Any) -> Any:
        made.made.update(history.of(Folder, found).made)
        return found

    def show(folder: Folder) -> dict[str, Any]:
        return {
            "ProjectId": str(folder.project_id),
            key: str(folder.pk),
            path: tree.path(folder.pk),
            "CreateUserUin": made.creator(folder),
        }

    return paging.page(call, tree.children(tree.find(call[parent], parent)), show, load=load)


@action(
    "CreateWorkflowFolder",
    Right.AUTHOR,
    ParentFolderPath=Text(required=True),
    FolderName=Text(required=True, most=100),
)
def create_workflow_folder(call: Call) -> Any:
    return {"FolderId": str(_create(call, "ParentFolderPath", "FolderName").pk)}


@action(
    "UpdateWorkflowFolder", Right.AUTHOR, FolderId=Id(required=True), FolderName=Text(required=True, most=100)
)
def update_workflow_folder(call: Call) -> Any:
    if "/" in call["FolderName"]:
        raise bad_value("FolderName", "The name of a folder has no '/'.")
    with named({"name": "FolderName"}, "FolderName"):
        FOLDERS.update(_folder(call), {"name": call["FolderName"]}, user=call.user, source="wedata")
    return {"Status": True}


@action("DeleteWorkflowFolder", Right.AUTHOR, FolderId=Id(required=True))
def delete_workflow_folder(call: Call) -> Any:
    with named({}, "FolderId"):
        FOLDERS.delete(_folder(call), user=call.user, source="wedata")
    return {"Status": True}


@action("ListWorkflowFolders", Right.VIEW, ParentFolderPath=Text(default="/"), **paging.fields())
def list_workflow_folders(call: Call) -> Any:
    return _list(call, "ParentFolderPath", "FolderId", "FolderPath")


_OF_TASKS: dict[str, Field] = {
    "WorkflowId": Id(required=True),
    # What kind of node lies in it says nothing here.
    "TaskFolderType": Text(one_of=_NODE_TYPES),
}


@action(
    "CreateTaskFolder",
    Right.AUTHOR,
    ParentTaskFolderPath=Text(required=True),
    TaskFolderName=Text(required=True, most=100),
    **_OF_TASKS,
)
def create_task_folder(call: Call) -> Any:
    _check_workflow(call)
    return {"TaskFolderId": str(_create(call, "ParentTaskFolderPath", "TaskFolderName").pk)}


@action("ListTaskFolders", Right.VIEW, ParentTaskFolderPath=Text(default="/"), **_OF_TASKS, **paging.fields())
def list_task_folders(call: Call) -> Any:
    _check_workflow(call)
    return _list(call, "ParentTaskFolderPath", "TaskFolderId", "TaskFolderPath")


def _check_workflow(call: Call) -> None:
    rows = Workflow.objects.filter(project=call.project, pk=call["WorkflowId"])
    call.found(rows.first(), "workflow", call["WorkflowId"])
