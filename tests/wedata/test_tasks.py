"""Tasks through the endpoint: made, read back, changed, submitted, listed, refused."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User

from instances.models import Task
from tests import factories as make
from tests.wedata.examples import code
from tests.wedata.support import V2021, InProject

pytestmark = pytest.mark.django_db


@pytest.fixture
def script(world: SimpleNamespace) -> InProject:
    return InProject(world.door(make.DANA), world.ours.id)


def new(world: SimpleNamespace, name: str, **scheduling: Any) -> dict[str, Any]:
    return {
        "TaskBaseAttribute": {
            "TaskName": name,
            "TaskTypeId": "35",
            "WorkflowId": str(world.ours.workflow.pk),
        },
        "TaskConfiguration": {
            "CodeContent": code("echo ${yyyyMMdd}"),
            "ResourceGroup": str(world.ours.group.pk),
        },
        "TaskSchedulerConfiguration": scheduling,
    }


def test_defaults_of_the_api(world: SimpleNamespace, script: InProject) -> None:
    task = Task.objects.get(pk=script("CreateTask", **new(world, "plain"))["TaskId"])
    assert (task.cycle_type, task.timezone, task.retry_limit, task.retry_wait.seconds) == (
        "DAY",
        "Etc/GMT-8",
        4,
        300,
    )
    assert (task.priority, task.self_dependency, task.run_timeout, task.rerun_allowed) == (
        1,
        "serial",
        None,
        "ALL",
    )
    assert task.owner == world.cast[make.DANA]
    found = script("GetTask", TaskId=str(task.pk))
    schedule, base = found["TaskSchedulerConfiguration"], found["TaskBaseAttribute"]
    assert (schedule["CrontabExpression"], schedule["ScheduleTimeZone"]) == ("0 0 0 * * ? *", "UTC+8")
    assert schedule["EndTime"] == "2099-12-31 23:59:59"
    assert (base["Status"], base["Submit"], base["TaskTypeId"]) == ("N", False, 35)


@pytest.mark.parametrize(
    ("scheduling", "told"),
    [
        ({"CrontabExpression": "0 30 2 25 3 ? 2031"}, "0 30 2 25 3 ? 2031"),
        ({"StartTime": "2031-03-25 12:00:00"}, "0 0 12 25 3 ? 2031"),
        ({"StartTime": "2031-03-25 00:00:00", "CrontabExpression": "0 15 9 * * ? *"}, "0 15 9 25 3 ? 2031"),
    ],
)
def test_a_oneoff_task_runs_at_its_time_of_day(
    world: SimpleNamespace, script: InProject, scheduling: dict[str, str], told: str
) -> None:
    task = script("CreateTask", **new(world, "once", CycleType="ONEOFF_CYCLE", **scheduling))["TaskId"]
    read = script("GetTask", TaskId=task)["TaskSchedulerConfiguration"]
    assert (read["CycleType"], read["CrontabExpression"]) == ("ONEOFF_CYCLE", told)
    again = {name: read[name] for name in ("CycleType", "CrontabExpression", "ScheduleTimeZone")}
    script("UpdateTaskPartially", TaskId=task, NewSetting={"TaskSchedulerConfiguration": again})
    assert script("GetTask", TaskId=task)["TaskSchedulerConfiguration"]["CrontabExpression"] == told


def test_all_of_a_task_is_read_back(world: SimpleNamespace, script: InProject) -> None:
    script("RegisterEvent", V2021, Name="ready", EventSubType="HOUR", EventBroadcastType="SINGLE")
    upstream = str(world.ours.task.pk)
    scheduling = {
        "CycleType": "HOUR_CYCLE",
        "ScheduleTimeZone": "Europe/Berlin",
        "CrontabExpression": "0 15 0/2 * * ? *",
        "StartTime": "2026-01-01 00:00:00",
        "EndTime": "2026-12-31 23:59:59",
        "ExecutionStartTime": "08:00",
        "ExecutionEndTime": "20:00",
        "CalendarOpen": "0",
        "SelfDepend": "orderly",
        "AllowRedoType": "FAILURE",
        "InitStrategy": "T_PLUS_1",
        "ScheduleType": 1,
        "RunPriorityType": 4,
        "RetryWaitMinute": 7,
        "MaxRetryNumber": 2,
        "ExecutionTTLMinute": 30,
        "WaitExecutionTotalTTLMinute": 90,
        "DependencyTriggerPolicy": "ALL_DONE",
        "AllowDownstreamDependency": 1,
        "UpstreamDependencyConfigList": [
            {
                "TaskId": upstream,
                "MainCyclicConfig": "LIST_DAY",
                "Offset": "-1",
                "DependencyStrategy": {
                    "PollingNullStrategy": "EXECUTING",
                    "TaskDependencyExecutingStrategies": ["PARENT_EXPIRED", "PARENT_TIMEOUT"],
                    "TaskDependencyExecutingTimeoutValue": 45,
                },
            }
        ],
        "EventListenerList": [
            {
                "EventName": "ready",
                "EventSubType": "HOUR",
                "EventBroadcastType": "SINGLE",
                "PropertiesList": [
                    {"ParamKey": "maxWaitEventTime", "ParamValue": "3"},
                    {"ParamKey": "maxWaitEventTimeUnit", "ParamValue": "HOURS"},
                ],
            }
        ],
        "ParamTaskOutList": [{"ParamKey": "rows"}],
    }
    asked = new(world, "whole", **scheduling)
    asked["TaskBaseAttribute"] |= {"TaskDescription": "all of it", "TaskFolderPath": "/ours_folder"}
    asked["TaskConfiguration"] |= {
        "TaskSchedulingParameterList": [{"ParamKey": "region", "ParamValue": "EWR"}]
    }
    task = script("CreateTask", **asked)["TaskId"]
    found = script("GetTask", TaskId=task)
    told = found["TaskSchedulerConfiguration"]
    same = {name: value for name, value in scheduling.items() if not name.endswith("List")}
    assert {name: told[name] for name in same} == same
    edge = told["UpstreamDependencyConfigList"][0]
    assert (edge["TaskId"], edge["MainCyclicConfig"], edge["Offset"]) == (upstream, "LIST_DAY", "-1")
    assert edge["DependencyStrategy"] == scheduling["UpstreamDependencyConfigList"][0]["DependencyStrategy"]  # type: ignore[index]
    listens = told["EventListenerList"][0]
    assert (listens["EventName"], listens["EventSubType"], listens["EventBroadcastType"]) == (
        "ready",
        "HOUR",
        "SINGLE",
    )
    assert {"ParamKey": "maxWaitEventTime", "ParamValue": "3"} in listens["PropertiesList"]
    assert found["TaskBaseAttribute"]["TaskFolderPath"] == "/ours_folder"
    assert found["TaskConfiguration"]["CodeContent"] == code("echo ${yyyyMMdd}")
    assert script("GetTaskCode", TaskId=task) == {"CodeInfo": code("echo ${yyyyMMdd}"), "CodeFileSize": "1"}
    # What was read may be sent back as it is, and nothing changes.
    before = Task.objects.filter(pk=task).values().get()
    back = {name: _without_nulls(found[name]) for name in ("TaskConfiguration", "TaskSchedulerConfiguration")}
    script("UpdateTask", TaskId=task, Task=back)
    after = Task.objects.filter(pk=task).values().get()
    assert {**after, "updated_at": None} == {**before, "updated_at": None}
    again = script("GetTask", TaskId=task)
    assert again["TaskSchedulerConfiguration"] == told
    down = script("GetTask", TaskId=upstream)["TaskSchedulerConfiguration"]["DownstreamDependencyConfigList"]
    assert [one["TaskId"] for one in down] == [task]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("part", "field", "value", "code_"),
    [
        ("TaskBaseAttribute", "TaskTypeId", "34", "InvalidParameterValue.ParamIllegalError"),
        ("TaskBaseAttribute", "TaskTypeId", "7777", "InvalidParameterValue.ParamIllegalError"),
        ("TaskBaseAttribute", "TaskTypeId", "shell", "InvalidParameterValue"),
        ("TaskBaseAttribute", "TaskName", "a b", "InvalidParameterValue"),
        ("TaskBaseAttribute", "TaskName", "ours_task", "InvalidParameter.DuplicateName"),
        ("TaskBaseAttribute", "WorkflowId", "999999", "ResourceNotFound"),
        ("TaskBaseAttribute", "OwnerUin", "999999", "InvalidParameterValue"),
        ("TaskBaseAttribute", "TaskFolderPath", "/nowhere", "InvalidParameterValue"),
        ("TaskConfiguration", "CodeContent", "not base64!", "InvalidParameterValue"),
        ("TaskConfiguration", "CodeContent", code("a\0b"), "InvalidParameterValue"),
        ("TaskConfiguration", "ResourceGroup", "999999", "InvalidParameterValue"),
        ("TaskConfiguration", "SourceServiceId", "999999", "InvalidParameterValue"),
        ("TaskConfiguration", "BrokerIp", "10.0.0.1", "UnsupportedOperation"),
        (
            "TaskConfiguration",
            "TaskSchedulingParameterList",
            [{"ParamKey": "a-b", "ParamValue": "x"}],
            "InvalidParameterValue",
        ),
        (
            "TaskConfiguration",
            "TaskExtConfigurationList",
            [{"ParamKey": "nothing", "ParamValue": "x"}],
            "InvalidParameterValue",
        ),
        ("TaskSchedulerConfiguration", "CycleType", "SECOND_CYCLE", "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "CrontabExpression", "0 0 25 * * ? *", "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "ScheduleTimeZone", "Mars", "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "StartTime", "yesterday", "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "EndTime", "2026-02-30 00:00:00", "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "ExecutionStartTime", "08:30", "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "CalendarOpen", "1", "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "RunPriorityType", 3, "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "MaxRetryNumber", -1, "InvalidParameterValue"),
        ("TaskSchedulerConfiguration", "MinuteOffset", 3, "UnsupportedOperation"),
        (
            "TaskSchedulerConfiguration",
            "UpstreamDependencyConfigList",
            [{"TaskId": "999999"}],
            "InvalidParameterValue",
        ),
        (
            "TaskSchedulerConfiguration",
            "EventListenerList",
            [{"EventName": "nothing"}],
            "InvalidParameterValue",
        ),
    ],
)
def test_tasks_that_cannot_be(
    world: SimpleNamespace, script: InProject, part: str, field: str, value: Any, code_: str
) -> None:
    asked = new(world, "wrong")
    asked[part][field] = value
    found, message = script.fails("CreateTask", **asked)
    assert found == code_, message
    # The field is named; what is not there at all is named by what it is.
    stem = field.removesuffix("Id").removesuffix("Open")
    assert stem in message or stem.lower() in message
    assert not Task.objects.filter(name="wrong").exists()


def test_updates(world: SimpleNamespace, script: InProject) -> None:
    task, omar = str(world.ours.task.pk), world.cast[make.OMAR]
    script(
        "UpdateTask",
        TaskId=task,
        Task={
            "TaskBaseAttribute": {"TaskName": "renamed", "OwnerUin": str(world.cast[make.PETRA].pk)},
            "TaskSchedulerConfiguration": {"CrontabExpression": "0 30 4 * * ? *"},
        },
    )
    row = Task.objects.get(pk=task)
    assert (row.name, row.owner, str(row.at), row.code) == (
        "renamed",
        world.cast[make.PETRA],
        "04:30:00",
        "echo ${yyyyMMdd}",
    )
    world.ours.instance.refresh_from_db()
    assert world.ours.instance.owner == world.cast[make.PETRA]
    given = {"TaskBaseAttribute": {"OwnerUin": str(omar.pk)}}
    assert "Task.TaskBaseAttribute.OwnerUin" in script.fails("UpdateTask", TaskId=task, Task=given)[1]
    other = script("CreateTask", **new(world, "other"))["TaskId"]
    pairs = [{"ParamKey": name, "ParamValue": name} for name in "ab"]
    script(
        "UpdateTaskPartially",
        TaskId=task,
        NewSetting={
            "TaskConfiguration": {"TaskSchedulingParameterList": pairs},
            "TaskSchedulerConfiguration": {"UpstreamDependencyConfigList": [{"TaskId": other}]},
        },
    )
    script(
        "UpdateTaskPartially",
        TaskId=task,
        NewSetting={
            "TaskConfiguration": {
                "TaskSchedulingParameterList": [
                    {"ParamKey": "b", "ParamValue": "B"},
                    {"ParamKey": "c", "ParamValue": "c"},
                ]
            },
        },
        FieldToRemoveList=["TaskConfiguration/TaskSchedulingParameterList:a,zz"],
    )
    row.refresh_from_db()
    assert row.parameters == {"b": "B", "c": "c"}
    assert [one.upstream_id for one in row.dependencies.all()] == [int(other)]
    script(
        "UpdateTaskPartially",
        TaskId=task,
        FieldToRemoveList=[f"TaskSchedulerConfiguration/UpstreamDependencyConfigList:{other}"],
    )
    assert not row.dependencies.exists()
    assert (
        script.fails("UpdateTaskPartially", TaskId=task, FieldToRemoveList=["Code:x"])[0]
        == "InvalidParameterValue"
    )


def test_circles_are_refused(world: SimpleNamespace, script: InProject) -> None:
    first = script("CreateTask", **new(world, "first"))["TaskId"]
    second = script("CreateTask", **new(world, "second", UpstreamDependencyConfigList=[{"TaskId": first}]))[
        "TaskId"
    ]
    scheduling = {"UpstreamDependencyConfigList": [{"TaskId": second}]}
    code_, message = script.fails("UpdateTask", TaskId=first, Task={"TaskSchedulerConfiguration": scheduling})
    assert (code_, "first -> second" in message or "second -> first" in message) == (
        "InvalidParameterValue",
        True,
    )
    up = script("ListUpstreamTasks", TaskId=second)["Items"]
    down = script("ListDownstreamTasks", TaskId=first)["Items"]
    assert ([one["TaskId"] for one in up], [one["TaskId"] for one in down]) == ([first], [second])
    assert (up[0]["CycleType"], up[0]["Status"], up[0]["TaskTypeDesc"]) == ("D", "N", "shell")
    assert script.fails("DeleteTask", TaskId=first)[0] == "ResourceInUse"
    assert script("DeleteTask", TaskId=second)["Status"]
    assert script("DeleteTask", TaskId=first, OperateInform=True, DeleteMode=False)["Status"]


def test_versions(world: SimpleNamespace, script: InProject) -> None:
    task = script("CreateTask", **new(world, "versioned"))["TaskId"]
    assert script.fails("GetTaskVersion", TaskId=task)[0] == "ResourceNotFound"
    first = script("SubmitTask", TaskId=task, VersionRemark="one")["VersionId"]
    assert script("SubmitTask", TaskId=task)["VersionId"] == first
    script("UpdateTask", TaskId=task, Task={"TaskConfiguration": {"CodeContent": code("echo two")}})
    # What runs is what was submitted.
    assert script("GetOpsTaskCode", TaskId=task)["CodeContent"] == "echo ${yyyyMMdd}"
    assert script("GetOpsTask", TaskId=task)["TaskConfiguration"]["CodeContent"] == code("echo ${yyyyMMdd}")
    second = script("SubmitTask", TaskId=task, VersionRemark="two")["VersionId"]
    found = script("ListTaskVersions", TaskId=task, TaskVersionType="SUBMIT")["Items"]
    assert [(one["VersionId"], one["VersionNum"], one["UsedVersion"]) for one in found] == [
        (second, "2", True),
        (first, "1", False),
    ]
    assert script("ListTaskVersions", TaskId=task, UsedVersion=False)["TotalCount"] == 1
    old = script("GetTaskVersion", TaskId=task, VersionId=first)
    assert (old["VersionRemark"], old["Task"]["TaskConfiguration"]["CodeContent"]) == (
        "one",
        code("echo ${yyyyMMdd}"),
    )
    assert script("GetTaskVersion", TaskId=task)["VersionId"] == second
    assert script("GetTask", TaskId=task)["TaskBaseAttribute"]["TaskLatestSubmitVersionNo"] == "2"


def test_lists_of_tasks(world: SimpleNamespace, script: InProject, django_assert_num_queries: Any) -> None:
    for number in range(5):
        script("CreateTask", **new(world, f"listed_{number}"))
    dana: User = world.cast[make.DANA]

    def names(**given: Any) -> list[str]:
        return [one["TaskName"] for one in script("ListTasks", **given)["Items"]]

    listed = [f"listed_{number}" for number in range(5)]
    assert names(TaskName="listed") == listed
    assert names(TaskName="listed", PageSize=2, PageNumber=3) == listed[4:]
    assert names(Status="Y") == names(Submit=True) == ["ours_task"]
    assert names(Status="N") == names(Submit=False) == names(CreateUserUin=str(dana.pk)) == listed
    assert names(Status="INVALID") == names(TaskTypeId=30) == names(WorkflowId="999999") == []
    assert len(names(TaskTypeId=35, OwnerUin=str(dana.pk), WorkflowId=str(world.ours.workflow.pk))) == 6
    assert names(TaskFolderPathList=["/ours_folder"]) == ["ours_task"]
    assert (
        len(
            names(
                TaskFolderPathList=["/"],
                TaskNodeTypeList=["GENERAL"],
                WorkflowFolderPathList=["/ours_folder"],
            )
        )
        == 6
    )
    assert (
        names(TaskNodeTypeList=["EMR"])
        == names(ModifyTime=["2020-01-01 00:00:00", "2020-01-02 00:00:00"])
        == []
    )
    # However many there are: session-less, so these are the key, its use, rights, project, folders, count, rows, history.
    with django_assert_num_queries(9):
        script("ListTasks", PageSize=200)
