"""A whole life with nothing but the official SDK, over HTTP, with real workers: define, backfill, watch, kill, rerun, events."""

import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import factories as make
from tests.engine.harness import _django_db_helper
from tests.stack import until, world
from tests.wedata.support import V2021, Door

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

DAYS = ["2026-03-01", "2026-03-02", "2026-03-03"]
MIDNIGHTS = [f"{day} 00:00:00" for day in DAYS]


class Script:
    """What a script of a user holds: a client, its project, and how it waits."""

    def __init__(self, endpoint: str) -> None:
        self.door = Door(make.make_user(make.SUSAN), endpoint=endpoint)
        self.project = self.door("CreateProject", Project={"ProjectName": "sales", "DisplayName": "Sales"})[
            "ProjectId"
        ]
        self.workflow = ""

    def __call__(self, action: str, version: str = "2025-08-06", **given: Any) -> Any:
        return self.door(action, version, ProjectId=self.project, **given)

    def shell(self, name: str, code: str, *upstream: str, **scheduling: Any) -> str:
        """A Shell task in the workflow, submitted; its id."""
        waits = [
            {"TaskId": one, "MainCyclicConfig": "DAY", "SubordinateCyclicConfig": "CURRENT_DAY"}
            for one in upstream
        ]
        task = self(
            "CreateTask",
            TaskBaseAttribute={
                "TaskName": name,
                "TaskTypeId": "35",
                "WorkflowId": self.workflow,
                "TaskFolderPath": "/etl/daily",
            },
            TaskConfiguration={
                "CodeContent": base64.b64encode(code.encode()).decode(),
                "TaskSchedulingParameterList": [{"ParamKey": "seconds", "ParamValue": "0"}],
            },
            TaskSchedulerConfiguration={
                "UpstreamDependencyConfigList": waits,
                "MaxRetryNumber": 0,
                **scheduling,
            },
        )["TaskId"]
        assert self("SubmitTask", TaskId=task, VersionRemark="first")["Status"]
        return str(task)

    def backfill(self, *tasks: str, days: list[str], **given: Any) -> str:
        ranges = [{"StartDate": days[0], "EndDate": days[-1]}]
        plan = self("CreateDataBackfillPlan", TaskIds=list(tasks), DataBackfillRangeList=ranges, **given)
        return str(plan["DataBackfillPlanId"])

    def complete(self, plan: str) -> Callable[[], bool]:
        return lambda: self("GetDataBackfillPlan", DataBackfillPlanId=plan)["CompletePercent"] == 100

    def instance(self, task: str, day: str = DAYS[0]) -> dict[str, Any]:
        """The instance of a task and a day; empty while there is none."""
        found = self("ListTaskInstances", Keyword=task, PageSize=100)["Items"]
        return next(
            (one for one in found if one["TaskId"] == task and one["CurRunDate"] == f"{day} 00:00:00"), {}
        )

    def becomes(self, task: str, state: str, day: str = DAYS[0]) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found = self.instance(task, day)
            return found if found.get("InstanceState") == state else {}

        return until(look, f"task {task} of {day} to be {state}")

    def job(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Follows an asynchronous operation to its end."""

        def look() -> dict[str, Any]:
            found: dict[str, Any] = self("GetOpsAsyncJob", AsyncId=answer["AsyncId"])
            return found if found["Status"] in ("SUCCESS", "FAIL", "PART_SUCCESS") else {}

        return until(look, f"operation {answer['AsyncId']}")

    def log(self, key: str) -> str:
        """The whole log of the latest life, page by page."""
        text, cursor = "", None
        while True:
            page = self("GetTaskInstanceLog", InstanceKey=key, **({"NextCursor": cursor} if cursor else {}))
            text, cursor = text + page["LogInfo"], page["NextCursor"]
            if cursor is None:
                return text


def test_a_whole_life(live_server: Any, tmp_path: Path, settings: Any) -> None:
    make.make_group(8, name="default")
    with world(tmp_path, settings) as stack:
        stack.until_ready(stack.worker("worker"))
        stack.control()
        stack.beat()
        script = Script(live_server.url.removeprefix("http://"))
        tasks = define(script)
        backfill_three_days(script, tasks)
        kill_and_rerun(script, tasks)
        set_successful(script, tasks)
        events(script)


def define(script: Script) -> SimpleNamespace:
    for parent, name in (("/", "etl"), ("/etl", "daily")):
        script("CreateWorkflowFolder", ParentFolderPath=parent, FolderName=name)
    script.workflow = script(
        "CreateWorkflow",
        WorkflowName="nightly",
        ParentFolderPath="/etl",
        WorkflowParams=[{"ParamKey": "region", "ParamValue": "EWR"}],
    )["WorkflowId"]
    extract = script.shell("extract", 'echo "extract ${yyyyMMdd} of ${region}"; sleep ${seconds}')
    transform = script.shell("transform", 'echo "transform ${yyyyMMdd}"', extract)
    load = script.shell("load", 'echo "load ${yyyyMMdd} with ${region}"', transform)
    waits = script("GetTask", TaskId=load)["TaskSchedulerConfiguration"]["UpstreamDependencyConfigList"]
    assert [one["TaskId"] for one in waits] == [transform]
    return SimpleNamespace(extract=extract, transform=transform, load=load)


def backfill_three_days(script: Script, tasks: SimpleNamespace) -> None:
    plan = script.backfill(
        tasks.extract,
        tasks.transform,
        tasks.load,
        days=DAYS,
        RedefineParallelNum=3,
        DataBackfillPlanName="March",
    )
    until(script.complete(plan), "the end of the plan", 120)
    shown = script("GetDataBackfillPlan", DataBackfillPlanId=plan)
    assert (shown["DataBackfillPlanName"], shown["SuccessPercent"]) == ("March", 100)
    runs = script("ListDataBackfillInstances", DataBackfillPlanId=plan, PageSize=20)
    assert runs["TotalCount"] == 9
    assert {one["State"] for one in runs["Items"]} == {"COMPLETED"}
    assert sorted({one["CurRunDate"] for one in runs["Items"]}) == MIDNIGHTS
    for day in DAYS:
        one = script.instance(tasks.load, day)
        assert "load " + day.replace("-", "") + " with EWR\n" in script.log(one["InstanceKey"])
        assert one["InstanceType"] == 0
    middle = script.instance(tasks.transform)
    up, down = (
        script(f"List{side}TaskInstances", InstanceKey=middle["InstanceKey"])["Items"]
        for side in ("Upstream", "Downstream")
    )
    assert [[one["TaskId"] for one in side] for side in (up, down)] == [[tasks.extract], [tasks.load]]
    assert up[0]["CurRunDate"] == MIDNIGHTS[0]


def kill_and_rerun(script: Script, tasks: SimpleNamespace) -> None:
    key = script.instance(tasks.extract)["InstanceKey"]
    # With a parameter that lets it run for long enough to be killed.
    slow = script(
        "RerunTaskInstancesAsync", InstanceKeyList=[key], RedefineParamList={"K": "seconds", "V": "600"}
    )
    assert script.job(slow)["Status"] == "SUCCESS"
    script.becomes(tasks.extract, "RUNNING")
    until(lambda: "extract" in script("GetTaskInstanceLog", InstanceKey=key)["LogInfo"], "its first line")
    killed = script.job(script("KillTaskInstancesAsync", InstanceKeyList=[key]))
    assert (killed["Status"], killed["TotalSubProcessCount"], killed["SuccessSubProcessCount"]) == (
        "SUCCESS",
        1,
        1,
    )
    script.becomes(tasks.extract, "EXPIRED")
    # Once more, with everything behind it, for another region.
    again = script(
        "RerunTaskInstancesAsync",
        InstanceKeyList=[key],
        RerunType="2",
        SonRangeType="WORKFLOW",
        CheckParentType="MAKE_SCOPE",
        RedefineParamList={"K": "region", "V": "LGA"},
    )
    assert script.job(again)["TotalSubProcessCount"] == 3
    done = script.becomes(tasks.load, "COMPLETED")
    until(lambda: "with LGA" in script.log(done["InstanceKey"]), "the log of the second life")
    lives = script("ListTaskInstanceExecutions", InstanceKey=key)["Items"]
    assert [(one["LifeRoundNum"], one["InstanceState"], one["RunType"]) for one in lives] == [
        (2, "COMPLETED", "RERUN"),
        (1, "EXPIRED", "RERUN"),
        (0, "COMPLETED", "ADDITION"),
    ]
    phases = [one["DetailState"] for one in lives[0]["ExecutionPhaseList"]]
    assert phases[-2:] == ["RUNNING", "COMPLETE"]
    first = script("GetTaskInstanceLog", InstanceKey=key, LifeRoundNum=0)
    assert "of EWR" in first["LogInfo"]
    assert first["NextCursor"] is None


def set_successful(script: Script, tasks: SimpleNamespace) -> None:
    fails = script.shell("fails", "echo sorry; exit 3")
    plan = script.backfill(fails, days=DAYS[:1])
    until(script.complete(plan), "the plan that fails")
    failed = script.becomes(fails, "EXPIRED")
    detail = script("GetTaskInstance", InstanceKey=failed["InstanceKey"])
    assert detail["JobErrorMsg"]
    job = script.job(script("SetSuccessTaskInstancesAsync", InstanceKeyList=[failed["InstanceKey"]]))
    assert job["Status"] == "SUCCESS"
    script.becomes(fails, "COMPLETED")
    # A second time it is refused, and the operation says so.
    refused = script.job(script("SetSuccessTaskInstancesAsync", InstanceKeyList=[failed["InstanceKey"]]))
    assert (refused["Status"], failed["InstanceKey"] in refused["ErrorDesc"]) == ("FAIL", True)


def events(script: Script) -> None:
    registered = script(
        "RegisterEvent",
        V2021,
        Name="orders_ready",
        EventSubType="DAY",
        EventBroadcastType="BROADCAST",
        TimeToLive=2,
        TimeUnit="DAYS",
    )
    assert registered["Result"]
    waits = script.shell("waits", "echo the orders are there")
    listening = script(
        "RegisterEventListener",
        V2021,
        Key=waits,
        EventName="orders_ready",
        Properties='{"maxWaitEventTime":1,"maxWaitEventTimeUnit":"DAYS"}',
    )
    assert listening["Result"]
    script("SubmitTask", TaskId=waits)
    plan = script.backfill(waits, days=DAYS[:1], SkipEventListening=False)
    waiting = script.becomes(waits, "WAIT_EVENT")
    assert script("TriggerEvent", V2021, Name="orders_ready", Dimension="20260301")["Result"]
    done = script.becomes(waits, "COMPLETED")
    assert done["InstanceKey"] == waiting["InstanceKey"]
    until(script.complete(plan), "the plan that waited")
    case = script("DescribeEventCases", V2021, EventName="orders_ready")["Items"][0]
    assert (case["Dimension"], case["ConsumeCount"]) == ("20260301", 1)
    consumed = script("DescribeEventConsumeTasks", V2021, EventCaseId=case["CaseId"])["Items"]
    assert [one["ConsumerDetail"]["TaskId"] for one in consumed] == [waits]
    known = script("DescribeEvent", V2021, EventName="orders_ready")
    assert [one["Key"] for one in known["Listeners"]] == [waits]
