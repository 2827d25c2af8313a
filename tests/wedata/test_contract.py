"""The registry against the SDK: which actions there are, and which fields their requests have."""

from collections.abc import Mapping

import pytest

from tests.wedata import contract
from weops.projects.access import Right
from weops.wedata import dispatch
from weops.wedata.dispatch import SEEN, SUPERUSER, V2021, V2025, Action
from weops.wedata.fields import Field, Ignored, Many, Model, Refused

_PAGE = {
    V2025: """
    CreateProject GetProject ListProjects UpdateProject DeleteProject EnableProject DisableProject CreateProjectMember
    DeleteProjectMember ListProjectMembers ListProjectRoles GrantMemberProjectRole RemoveMemberProjectRole ListResourceGroups
    CreateWorkflow GetWorkflow ListWorkflows UpdateWorkflow DeleteWorkflow CreateWorkflowFolder UpdateWorkflowFolder
    DeleteWorkflowFolder ListWorkflowFolders CreateTaskFolder ListTaskFolders
    CreateTask GetTask GetTaskCode ListTasks UpdateTask UpdateTaskPartially DeleteTask SubmitTask ListTaskVersions
    GetTaskVersion ListUpstreamTasks ListDownstreamTasks
    ListOpsTasks GetOpsTask GetOpsTaskCode ListOpsWorkflows GetOpsWorkflow ListUpstreamOpsTasks ListDownstreamOpsTasks
    PauseOpsTasksAsync StartOpsTasks StopOpsTasksAsync UpdateOpsTasksOwner
    ListTaskInstances GetTaskInstance GetTaskInstanceLog ListTaskInstanceExecutions ListUpstreamTaskInstances
    ListDownstreamTaskInstances KillTaskInstancesAsync RerunTaskInstancesAsync SetSuccessTaskInstancesAsync GetOpsAsyncJob
    CreateDataBackfillPlan GetDataBackfillPlan ListDataBackfillInstances DeleteDataBackfillPlanAsync
    CreateOpsAlarmRule GetOpsAlarmRule ListOpsAlarmRules UpdateOpsAlarmRule DeleteOpsAlarmRule ListAlarmMessages
    GetAlarmMessage
    """,
    V2021: """
    RegisterDsEvent RegisterDsEventListener TriggerDsEvent RegisterEvent RegisterEventListener TriggerEvent DescribeEvent
    DescribeEventCases DescribeEventConsumeTasks
    """,
}
LISTED = {version: names.split() for version, names in _PAGE.items()}
ACTIONS = [(version, name) for version, names in LISTED.items() for name in names]


def test_every_listed_action_is_there_and_no_other() -> None:
    assert sorted(dispatch.actions()) == sorted(ACTIONS)


@pytest.mark.parametrize(("version", "name"), ACTIONS)
def test_an_action_has_a_right(version: str, name: str) -> None:
    right = dispatch.actions()[version, name].right
    assert isinstance(right, Right) or right in (SEEN, SUPERUSER)


def test_only_these_actions_are_not_about_one_project() -> None:
    free = {name for (_, name), action in dispatch.actions().items() if not isinstance(action.right, Right)}
    assert free == {"ListProjects", "ListResourceGroups", "CreateProject"}


@pytest.mark.parametrize(("version", "name"), ACTIONS)
def test_a_request_has_the_fields_of_the_sdk(version: str, name: str) -> None:
    action = dispatch.actions()[version, name]
    assert_same(action, f"{name}Request", action.fields, name)


def assert_same(action: Action, model: str, declared: Mapping[str, Field], path: str) -> None:
    known = contract.fields(action.version, model)
    assert set(declared) == set(known), f"{path}: {set(declared) ^ set(known)}"
    for name, field in declared.items():
        # Of fields that are no longer to be used the SDK does not say the type.
        assert known[name] in (field.type, "?"), f"{path}.{name} is {known[name]}, not {field.type}"
        inner = field.of if isinstance(field, Many) else field
        if isinstance(inner, Model):
            assert_same(action, inner.name, inner.fields, f"{path}.{name}")


def test_every_refusal_says_what_to_do() -> None:
    def walk(fields: Mapping[str, Field]) -> list[Field]:
        found: list[Field] = []
        for field in fields.values():
            inner = field.of if isinstance(field, Many) else field
            found += [inner, *(walk(inner.fields) if isinstance(inner, Model) else ())]
        return found

    every = [field for action in dispatch.actions().values() for field in walk(action.fields)]
    assert all(field.why.endswith(".") for field in every if isinstance(field, Refused))
    assert not any(field.required for field in every if isinstance(field, Ignored | Refused))
