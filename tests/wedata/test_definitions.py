"""Projects, members, folders and workflows through the endpoint: made, read back, changed, refused."""

from types import SimpleNamespace
from typing import Any

import pytest

from instances.models import Workflow
from tests import factories as make
from tests.wedata.support import InProject
from weops.projects.models import Member, Project

pytestmark = pytest.mark.django_db
ADMIN, ENGINEER, OPS, MEMBER = (
    "308335260274237440",
    "308335260676890624",
    "308335260844662784",
    "308335260945326080",
)


@pytest.fixture
def script(world: SimpleNamespace) -> InProject:
    return InProject(world.door(make.DANA), world.ours.id)


def test_projects(world: SimpleNamespace) -> None:
    susan = world.door(make.SUSAN)
    made = susan("CreateProject", Project={"ProjectName": "sales", "DisplayName": "Verkauf"})["ProjectId"]
    susan("UpdateProject", ProjectId=made, Description="all of it")
    found = susan("GetProject", ProjectId=made)
    assert (found["ProjectName"], found["DisplayName"], found["Description"]) == (
        "sales",
        "Verkauf",
        "all of it",
    )
    assert found["CreatorUin"] == str(world.cast[make.SUSAN].pk)
    assert (found["Status"], found["DisplayStatus"], found["ProjectModel"]) == (1, "ENABLED", "SIMPLE")
    for _ in range(2):
        assert susan("DisableProject", ProjectId=made)["Status"]
    assert susan("ListProjects", Status=0)["Items"][0]["DisplayStatus"] == "UNABLED"
    susan("EnableProject", ProjectId=made)
    assert susan("ListProjects", ProjectName="verk")["TotalCount"] == 1
    assert susan("ListProjects", ProjectIds=[made, world.ours.id])["TotalCount"] == 2
    assert susan("ListProjects", ProjectModel="STANDARD")["TotalCount"] == 0
    again = susan.fails("CreateProject", Project={"ProjectName": "sales"})
    assert (again[0], "ProjectName" in again[1]) == ("InvalidParameter.DuplicateName", True)
    assert susan("DeleteProject", ProjectId=made)["Status"]
    assert not Project.objects.filter(pk=made).exists()
    assert susan.fails("DeleteProject", ProjectId=world.ours.id)[0] == "ResourceInUse"


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({}, "MissingParameter", "Project"),
        ({"Project": {}}, "MissingParameter", "Project.ProjectName"),
        ({"Project": {"ProjectName": "a b"}}, "InvalidParameterValue", "Project.ProjectName"),
        ({"Project": {"ProjectName": "x" * 101}}, "InvalidParameterValue", "Project.ProjectName"),
        (
            {"Project": {"ProjectName": "x", "ProjectModel": "STANDARD"}},
            "UnsupportedOperation",
            "Project.ProjectModel",
        ),
        (
            {"Project": {"ProjectName": "x", "ScheduleMode": "workflow"}},
            "UnsupportedOperation",
            "Project.ScheduleMode",
        ),
        ({"Project": {"ProjectName": "x"}, "DLCInfo": {"Region": "x"}}, "UnsupportedOperation", "DLCInfo"),
        ({"Project": {"ProjectName": "x", "Colour": "red"}}, "UnknownParameter", "Project.Colour"),
    ],
)
def test_projects_that_cannot_be(world: SimpleNamespace, given: Any, code: str, field: str) -> None:
    found, message = world.door(make.SUSAN).fails("CreateProject", **given)
    assert (found, field in message) == (code, True)


def test_members(world: SimpleNamespace) -> None:
    script, eve = InProject(world.door(make.PETRA), world.ours.id), world.cast[make.EVE]

    def role() -> str:
        return str(Member.objects.get(project=world.ours.project, user=eve).role)

    script("CreateProjectMember", UserUins=[str(eve.pk)], RoleIds=[MEMBER, OPS])
    assert role() == "operator"
    script("GrantMemberProjectRole", UserUin=str(eve.pk), RoleIds=[MEMBER])
    assert role() == "operator"
    script("GrantMemberProjectRole", UserUin=str(eve.pk), RoleIds=[ENGINEER])
    assert role() == "developer"
    found = script("ListProjectMembers", UserName="ev")["Items"]
    assert [(one["UserUin"], one["Roles"][0]["RoleId"]) for one in found] == [(str(eve.pk), ENGINEER)]
    assert script("ListProjectMembers", UserUin=str(eve.pk))["TotalCount"] >= 1
    assert (
        script.fails("RemoveMemberProjectRole", UserUin=str(eve.pk), RoleIds=[ADMIN])[0]
        == "InvalidParameterValue"
    )
    script("RemoveMemberProjectRole", UserUin=str(eve.pk), RoleIds=[ENGINEER])
    assert role() == "viewer"
    assert (
        script.fails("RemoveMemberProjectRole", UserUin=str(eve.pk), RoleIds=[MEMBER])[0]
        == "UnsupportedOperation"
    )
    for _ in range(2):
        script("DeleteProjectMember", UserUins=[str(eve.pk)])
    assert not Member.objects.filter(user=eve).exists()
    assert script.fails("GrantMemberProjectRole", UserUin=str(eve.pk), RoleIds=[OPS])[0] == "ResourceNotFound"
    assert (
        script.fails("CreateProjectMember", UserUins=["99999"], RoleIds=[OPS])[0] == "InvalidParameterValue"
    )
    assert (
        script.fails("CreateProjectMember", UserUins=[str(eve.pk)], RoleIds=["7"])[0]
        == "InvalidParameterValue"
    )
    roles = script("ListProjectRoles", RoleDisplayName="admin")
    assert [one["RoleId"] for one in roles["Items"]] == [ADMIN]


def test_resource_groups(world: SimpleNamespace) -> None:
    door, group = world.door(make.VERA), world.ours.group
    assert door("ListResourceGroups", Id=str(group.pk))["Items"][0]["Name"] == group.name
    assert (
        door("ListResourceGroups", Name=group.name, Type="Schedule", ProjectIds=[world.ours.id])["TotalCount"]
        == 1
    )
    assert door("ListResourceGroups", Type="Integration")["TotalCount"] == 0
    assert (
        door.fails("ListResourceGroups", ProjectIds=[world.foreign.id])[0]
        == "UnauthorizedOperation.UserNotInProject"
    )


def test_folders(world: SimpleNamespace, script: InProject) -> None:
    workflow = str(world.ours.workflow.pk)
    top = script("CreateWorkflowFolder", ParentFolderPath="/", FolderName="etl")["FolderId"]
    below = script(
        "CreateTaskFolder", ParentTaskFolderPath="/etl", TaskFolderName="daily", WorkflowId=workflow
    )
    found = script("ListTaskFolders", ParentTaskFolderPath="/etl/", WorkflowId=workflow)["Items"]
    assert [(one["TaskFolderId"], one["TaskFolderPath"]) for one in found] == [
        (below["TaskFolderId"], "/etl/daily")
    ]
    assert found[0]["CreateUserUin"] == str(world.cast[make.DANA].pk)
    script("UpdateWorkflowFolder", FolderId=top, FolderName="loads")
    paths = [one["FolderPath"] for one in script("ListWorkflowFolders", PageSize=20)["Items"]]
    assert paths == ["/loads", "/ours_folder"]
    assert script.fails("DeleteWorkflowFolder", FolderId=top)[0] == "ResourceInUse"
    script("DeleteWorkflowFolder", FolderId=below["TaskFolderId"])
    script("DeleteWorkflowFolder", FolderId=top)
    assert script.fails("DeleteWorkflowFolder", FolderId=top)[0] == "ResourceNotFound"
    assert script.fails("ListWorkflowFolders", ParentFolderPath="/nowhere")[0] == "InvalidParameterValue"
    taken = script.fails("CreateWorkflowFolder", ParentFolderPath="/", FolderName="ours_folder")
    assert taken[0] == "InvalidParameter.DuplicateName"
    assert (
        script.fails("CreateWorkflowFolder", ParentFolderPath="/", FolderName="a/b")[0]
        == "InvalidParameterValue"
    )


def test_workflows(world: SimpleNamespace, script: InProject) -> None:
    dana, omar = (str(world.cast[name].pk) for name in (make.DANA, make.OMAR))
    made = script(
        "CreateWorkflow",
        WorkflowName="nightly",
        ParentFolderPath="/ours_folder",
        WorkflowType="cycle",
        WorkflowDesc="at night",
        WorkflowParams=[{"ParamKey": "region", "ParamValue": "EWR"}],
    )["WorkflowId"]
    found = script("GetWorkflow", WorkflowId=made)
    assert found["WorkflowParams"] == [{"ParamKey": "region", "ParamValue": "EWR"}]
    assert (found["Path"], found["WorkflowDesc"]) == ("/ours_folder", "at night")
    assert (found["OwnerUin"], found["CreateUserUin"]) == (dana, dana)
    script("UpdateWorkflow", WorkflowId=made, WorkflowName="daily", WorkflowParams=[])
    row = Workflow.objects.get(pk=made)
    assert (row.name, row.parameters, row.description) == ("daily", {}, "at night")
    for given in (
        {"Keyword": "dail"},
        {"Keyword": made},
        {"CreateUserUin": dana},
        {"CreateTime": ["2026-01-01 00:00:00", "2099-01-01 00:00:00"]},
        {"ModifyTime": ["2020-01-01 00:00:00", "2099-01-01 00:00:00"], "Keyword": "daily"},
    ):
        assert made in [one["WorkflowId"] for one in script("ListWorkflows", **given)["Items"]], given
    for given in (
        {"OwnerUin": omar},
        {"WorkflowType": "manual"},
        {"ModifyTime": ["2020-01-01 00:00:00", "2020-01-02 00:00:00"]},
    ):
        assert made not in [one["WorkflowId"] for one in script("ListWorkflows", **given)["Items"]], given
    assert script("ListWorkflows", ParentFolderPath="/ours_folder")["TotalCount"] == 2
    assert script.fails("ListWorkflows", CreateTime=["2026-01-01 00:00:00"])[0] == "InvalidParameterValue"
    assert script.fails("CreateWorkflow", WorkflowName="daily")[0] == "InvalidParameter.DuplicateName"
    assert (
        script.fails("CreateWorkflow", WorkflowName="x", WorkflowType="manual")[0] == "InvalidParameterValue"
    )
    schedule = {"CycleType": "DAY_CYCLE"}
    refused = script.fails("UpdateWorkflow", WorkflowId=made, WorkflowSchedulerConfiguration=schedule)
    assert refused[0] == "UnsupportedOperation"
    twice = [{"ParamKey": "a", "ParamValue": "1"}] * 2
    assert (
        "WorkflowParams.1.ParamKey"
        in script.fails("UpdateWorkflow", WorkflowId=made, WorkflowParams=twice)[1]
    )
    assert script("DeleteWorkflow", WorkflowId=made)["Status"]
    assert script.fails("DeleteWorkflow", WorkflowId=str(world.ours.workflow.pk))[0] == "ResourceInUse"
