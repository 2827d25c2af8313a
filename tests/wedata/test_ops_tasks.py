"""Submitted tasks through the endpoint: pause, start, stop, owner, and the jobs that follow them; lists."""

from types import SimpleNamespace
from typing import Any

import pytest

from instances import operations
from instances.models import OperationRecord, Task
from tests import factories as make
from tests.admin.rows import make_execution
from tests.wedata.support import InProject

pytestmark = pytest.mark.django_db


@pytest.fixture
def script(world: SimpleNamespace) -> InProject:
    return InProject(world.door(make.DANA), world.ours.id)


def test_pause_start_stop(world: SimpleNamespace, script: InProject) -> None:
    task, instance = world.ours.task, world.ours.instance
    draft = make.make_task(world.ours.workflow, name="draft")

    def status() -> str:
        task.refresh_from_db()
        return str(task.status)

    answer = script("PauseOpsTasksAsync", TaskIds=[str(task.pk), str(draft.pk)], KillInstance=True)
    job = script("GetOpsAsyncJob", AsyncId=answer["AsyncId"])
    assert (job["Status"], job["SuccessSubProcessCount"], job["TotalSubProcessCount"]) == (
        "PART_SUCCESS",
        1,
        2,
    )
    assert str(draft.pk) in job["ErrorDesc"]
    instance.refresh_from_db()
    assert (status(), instance.state) == ("paused", "failed")
    assert [one["TaskId"] for one in script("ListOpsTasks", Status="O")["Items"]] == [str(task.pk)]
    for _ in range(2):
        assert script("StartOpsTasks", TaskIds=[str(task.pk)], EnableDataBackfill=False)["Status"]
        assert status() == "scheduling"
    assert script.fails("StartOpsTasks", TaskIds=[str(draft.pk)])[0] == "FailedOperation"
    answer = script("StopOpsTasksAsync", TaskIds=[str(task.pk)])
    assert script("GetOpsAsyncJob", AsyncId=answer["AsyncId"])["Status"] == "SUCCESS"
    assert status() == "offline"
    assert script.fails("PauseOpsTasksAsync", TaskIds=["99999999"])[0] == "ResourceNotFound"
    refused = script("PauseOpsTasksAsync", TaskIds=[str(task.pk)])
    assert script("GetOpsAsyncJob", AsyncId=refused["AsyncId"])["Status"] == "FAIL"


def test_a_job_runs_on_while_instances_are_terminated_for_it(
    world: SimpleNamespace, script: InProject, monkeypatch: Any
) -> None:
    monkeypatch.setattr("instances.task_operations._Stop.finish", lambda *_: None)
    answer = script("PauseOpsTasksAsync", TaskIds=[str(world.ours.task.pk)], KillInstance=True)
    assert script("GetOpsAsyncJob", AsyncId=answer["AsyncId"])["Status"] == "RUNNING"
    for record in OperationRecord.objects.filter(kind="terminate"):
        operations.work(record.pk)
    assert script("GetOpsAsyncJob", AsyncId=answer["AsyncId"])["Status"] == "SUCCESS"


def test_owner(world: SimpleNamespace, script: InProject) -> None:
    petra = str(world.cast[make.PETRA].pk)
    for _ in range(2):
        assert script("UpdateOpsTasksOwner", TaskIds=[str(world.ours.task.pk)], OwnerUin=petra)["Status"]
    assert Task.objects.get(pk=world.ours.task.pk).owner == world.cast[make.PETRA]
    vera = str(world.cast[make.VERA].pk)
    assert (
        "OwnerUin" in script.fails("UpdateOpsTasksOwner", TaskIds=[str(world.ours.task.pk)], OwnerUin=vera)[1]
    )


def test_lists_of_operations(
    world: SimpleNamespace, script: InProject, django_assert_num_queries: Any
) -> None:
    task = world.ours.task
    make_execution(world.ours.instance, "running")
    child = make.make_task(world.ours.workflow, name="child", code="echo")
    make.depend(child, task)
    make.submit(child)
    found = script("ListOpsTasks", PageSize="50", PageNumber="1")["Items"]
    assert [one["TaskName"] for one in found] == ["child", "ours_task"]
    one = found[1]
    assert (one["Status"], one["ProjectName"], one["FolderName"]) == ("Y", "ours_project", "ours_folder")
    assert one["FirstRunTime"]
    assert one["FirstSubmitTime"]
    assert "day" in one["ScheduleDesc"]
    for given in (
        {"TaskTypeId": "30"},
        {"WorkflowId": "999999"},
        {"WorkflowName": "nothing"},
        {"OwnerUin": "999999"},
        {"FolderId": "999999"},
        {"SourceServiceId": "999999"},
        {"TargetServiceId": "999999"},
        {"ExecutorGroupId": "999999"},
        {"CycleType": "YEAR_CYCLE"},
        {"Status": "INVALID"},
    ):
        assert script("ListOpsTasks", **given)["TotalCount"] == 0, given
    up = script("ListUpstreamOpsTasks", TaskId=str(child.pk))["Items"]
    down = script("ListDownstreamOpsTasks", TaskId=str(task.pk))["Items"]
    assert ([row["TaskId"] for row in up], [row["TaskId"] for row in down]) == (
        [str(task.pk)],
        [str(child.pk)],
    )
    with django_assert_num_queries(10):
        script("ListOpsTasks", PageSize="200")


def test_workflows_of_operations(world: SimpleNamespace, script: InProject) -> None:
    workflow, task = world.ours.workflow, world.ours.task

    def status() -> str:
        found = script("GetOpsWorkflow", WorkflowId=str(workflow.pk))["Status"]
        listed = script("ListOpsWorkflows", Status=found)["Items"]
        assert [(one["WorkflowId"], one["Status"]) for one in listed] == [(str(workflow.pk), found)]
        return str(found)

    assert status() == "ALL_RUNNING"
    Task.objects.filter(pk=task.pk).update(status="paused")
    assert status() == "ALL_FREEZED"
    Task.objects.filter(pk=task.pk).update(status="offline")
    assert status() == "ALL_STOPPTED"
    make.make_task(workflow, name="draft")
    assert status() == "ALL_NO_RUNNING"
    Task.objects.filter(pk=task.pk).update(status="scheduling")
    assert status() == "PART_RUNNING"
    assert (
        script("ListOpsWorkflows", KeyWord="ours", SortItem="TaskCount", SortType="ASC")["Items"][0][
            "TaskCount"
        ]
        == 2
    )
    for given in (
        {"WorkflowType": "Manual"},
        {"KeyWord": "nothing"},
        {"FolderId": "999999"},
        {"OwnerUin": "999999"},
        {"CreateUserUin": "999999"},
        {"CreateTime": "2099-01-01 00:00:00"},
        {"ModifyTime": "2099-01-01 00:00:00"},
    ):
        assert script("ListOpsWorkflows", **given)["TotalCount"] == 0, given
