"""Projects. There is one kind: SIMPLE, whose tasks are scheduled one by one."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q

from weops.projects import access
from weops.projects.access import Right
from weops.projects.definitions import PROJECTS
from weops.projects.models import Project
from weops.wedata import history, paging
from weops.wedata.dispatch import SEEN, SUPERUSER, Call, action
from weops.wedata.fields import Field, Id, Ignored, Many, Model, Refused, Text, Whole
from weops.wedata.history import History
from weops.wedata.naming import named

_NAMES: Mapping[str, str] = {
    "name": "ProjectName",
    "display_name": "DisplayName",
    "description": "Description",
}
_OWNED = "Projects have no owner here; give a member the role of project administrator."
_REQUEST: dict[str, Field] = {
    "ProjectName": Text(required=True, most=100),
    "DisplayName": Text(most=200),
    "ProjectModel": Text(one_of=("SIMPLE", "STANDARD"), default="SIMPLE"),
    "ScheduleMode": Text(one_of=("task", "workflow"), default="task"),
}


def show(project: Project, made: History, call: Call) -> dict[str, Any]:
    return {
        "ProjectId": str(project.pk),
        "ProjectName": project.name,
        "DisplayName": project.display_name or project.name,
        "Description": project.description,
        "CreateTime": call.told(project.created_at),
        "CreatorUin": made.creator(project),
        "Status": int(project.enabled),
        "DisplayStatus": "ENABLED" if project.enabled else "UNABLED",
        "ProjectModel": "SIMPLE",
        "WorkspaceExt": [{"Key": "scheduleMode", "Value": "task"}],
    }


@action("GetProject", Right.VIEW)
def get_project(call: Call) -> Any:
    return show(call.project, history.of(Project, [call.project]), call)


@action(
    "ListProjects",
    SEEN,
    ProjectIds=Many(of=Id()),
    ProjectName=Text(),
    Status=Whole(one_of=(0, 1)),
    ProjectModel=Text(one_of=("SIMPLE", "STANDARD")),
    **paging.fields(),
)
def list_projects(call: Call) -> Any:
    rows = access.projects_with(call.user, Right.VIEW).order_by("name", "pk")
    if call["ProjectIds"]:
        rows = rows.filter(pk__in=call["ProjectIds"])
    if call["ProjectName"]:
        name = call["ProjectName"]
        rows = rows.filter(Q(name__icontains=name) | Q(display_name__icontains=name))
    if call["Status"] is not None:
        rows = rows.filter(enabled=bool(call["Status"]))
    if call["ProjectModel"] == "STANDARD":
        rows = rows.none()
    made = History()

    def load(found: Any) -> Any:
        made.made.update(history.of(Project, found).made)
        return found

    return paging.page(call, rows, lambda one: show(one, made, call), load=load)


@action(
    "CreateProject",
    SUPERUSER,
    Project=Model(name="ProjectRequest", required=True, fields=_REQUEST),
    DLCInfo=Refused(type="DLCClusterInfo", why="There are no DLC clusters here; leave it out."),
    ResourceIds=Ignored(type="list of str"),
)
def create_project(call: Call) -> Any:
    asked = call["Project"]
    Refused(why="Projects are of the model SIMPLE.", nothing=("SIMPLE",)).read(
        asked["ProjectModel"], "Project.ProjectModel"
    )
    Refused(why="Tasks are scheduled one by one; write task.", nothing=("task",)).read(
        asked["ScheduleMode"], "Project.ScheduleMode"
    )
    with named({column: f"Project.{name}" for column, name in _NAMES.items()}, "Project.ProjectName"):
        values = {"name": asked["ProjectName"], "display_name": asked.get("DisplayName", "")}
        project = PROJECTS.create(values, user=call.user, source="wedata")
    return {"ProjectId": str(project.pk)}


@action(
    "UpdateProject",
    Right.ADMINISTER,
    DisplayName=Text(most=200),
    Description=Text(),
    ProjectOwnerUin=Refused(why=_OWNED),
)
def update_project(call: Call) -> None:
    given = {"display_name": call["DisplayName"], "description": call["Description"]}
    with named(_NAMES):
        PROJECTS.update(
            call.project,
            {column: value for column, value in given.items() if value is not None},
            user=call.user,
            source="wedata",
        )


def _enable(call: Call, enabled: bool) -> Any:
    with named(_NAMES):
        PROJECTS.update(call.project, {"enabled": enabled}, user=call.user, source="wedata")
    return {"Status": True}


@action("EnableProject", Right.ADMINISTER)
def enable_project(call: Call) -> Any:
    return _enable(call, True)


@action("DisableProject", Right.ADMINISTER)
def disable_project(call: Call) -> Any:
    return _enable(call, False)


@action("DeleteProject", Right.ADMINISTER)
def delete_project(call: Call) -> Any:
    with named(_NAMES):
        PROJECTS.delete(call.project, user=call.user, source="wedata")
    return {"Status": True}
