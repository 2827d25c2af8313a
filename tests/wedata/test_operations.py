"""Instances through the endpoint: lists, executions, logs, lineage, operations and their asynchronous jobs."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from instances.engine.states import ExecutionState
from instances.models import Execution, Instance, LogChunk, OperationRecord, StateChange
from tests import factories as make
from tests.admin.rows import START, make_edge, make_execution, make_instance
from tests.wedata.support import InProject
from weops.wedata.instances import EXECUTION_STATES

pytestmark = pytest.mark.django_db


@pytest.fixture
def script(world: SimpleNamespace) -> InProject:
    return InProject(world.door(make.DANA), world.ours.id)


def keys(found: dict[str, Any]) -> list[str]:
    return [one["InstanceKey"] for one in found["Items"]]


def key(instance: Instance) -> str:
    return str(instance.pk)


def test_an_instance(world: SimpleNamespace, script: InProject) -> None:
    failed = make_instance(
        world.ours.task, "failed", after=1, error_code="X", error_message="It broke.", total_runs=3, tries=2
    )
    found = script("GetTaskInstance", InstanceKey=key(failed))
    assert (found["InstanceState"], found["JobErrorMsg"], found["TotalRunNum"], found["Tries"]) == (
        "EXPIRED",
        "It broke.",
        3,
        2,
    )
    assert (found["CurRunDate"], found["SchedulerTime"]) == ("2026-03-26 08:00:00", "2026-03-26 08:00:00")
    assert found["CostTime"] == pytest.approx(300_000, abs=1000)
    assert (found["TaskTypeId"], found["TaskType"], found["CycleType"]) == (35, "shell", "DAY_CYCLE")
    assert (found["FolderName"], found["OwnerUinList"]) == ("ours_folder", [str(world.cast[make.DANA].pk)])
    utc = script("GetTaskInstance", InstanceKey=key(failed), TimeZone="UTC+0")
    assert utc["CurRunDate"] == "2026-03-26 00:00:00"
    assert (
        script.fails("GetTaskInstance", InstanceKey=key(failed), TimeZone="Mars")[0]
        == "InvalidParameterValue"
    )
    assert script.fails("GetTaskInstance", InstanceKey="99999999")[0] == "ResourceNotFound"
    assert script.fails("GetTaskInstance", InstanceKey="x_2026-03-26")[0] == "InvalidParameterValue"
    assert script.fails("GetTaskInstance")[0] == "MissingParameter"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("wait_event", "WAIT_EVENT"),
        ("wait_upstream", "WAIT_UPSTREAM"),
        ("wait_run", "WAIT_RUN"),
        ("running", "RUNNING"),
        ("terminating", "RUNNING"),
        ("skipped", "SKIP_RUNNING"),
        ("failed_retry", "FAILED_RETRY"),
        ("failed", "EXPIRED"),
        ("success", "COMPLETED"),
    ],
)
def test_states(world: SimpleNamespace, script: InProject, state: str, code: str) -> None:
    one = make_instance(world.ours.task, state, after=1)
    assert script("GetTaskInstance", InstanceKey=key(one))["InstanceState"] == code
    assert key(one) in keys(script("ListTaskInstances", InstanceState=code))


def test_lists_of_instances(
    world: SimpleNamespace, script: InProject, django_assert_num_queries: Any
) -> None:
    task, first = world.ours.task, world.ours.instance
    rows = [first, *(make_instance(task, "success", after=day) for day in range(1, 5))]
    StateChange.objects.create(
        instance_id=rows[4].pk, move="succeed", from_state="running", to_state="success"
    )
    Instance.objects.filter(pk=rows[3].pk).update(
        instance_type="supplementary", start_time=START, end_time=START + dt.timedelta(days=9)
    )
    newest_first = [key(one) for one in reversed(rows)]

    def found(**given: Any) -> list[str]:
        return keys(script("ListTaskInstances", **given))

    assert found() == newest_first
    assert found(PageSize=2, PageNumber=2) == newest_first[2:4]
    assert found(SortType="ASC") == newest_first[::-1]
    assert found(InstanceState="COMPLETED") == newest_first[:4]
    assert found(InstanceType=0) == [key(rows[3])]
    assert found(ScheduleTimeFrom="2026-03-26 08:00:00", ScheduleTimeTo="2026-03-27 08:00:00") == [
        key(rows[2]),
        key(rows[1]),
    ]
    assert found(
        ScheduleTimeFrom="2026-03-26 00:00:00", ScheduleTimeTo="2026-03-27 00:00:00", TimeZone="UTC+0"
    ) == [key(rows[2]), key(rows[1])]
    assert found(StartTimeFrom="2026-03-25 08:00:00", StartTimeTo="2026-03-25 08:00:00") == [key(rows[3])]
    assert found(LastUpdateTimeFrom="2026-01-01 00:00:00") == [key(rows[4])]
    assert found(SortColumn="COST_TIME")[0] == key(rows[3])
    assert found(SortColumn="SCHEDULE_DATE", SortType="ASC") == newest_first[::-1]
    assert len(found(SortColumn="START_TIME")) == len(found(SortColumn="END_TIME")) == 5
    assert (
        found(Keyword="urs_ta")
        == found(Keyword=str(task.pk))
        == found(Keyword=f"nothing, {task.name}")
        == newest_first
    )
    for given in (
        {"Keyword": "nothing"},
        {"TaskTypeId": 30},
        {"CycleType": "HOUR_CYCLE"},
        {"OwnerUin": "999999"},
        {"FolderId": "999999"},
        {"WorkflowId": "999999"},
        {"ExecutorGroupId": "999999"},
    ):
        assert found(**given) == [], given
    assert (
        len(
            found(
                TaskTypeId=35,
                CycleType="DAY_CYCLE",
                WorkflowId=str(task.workflow_id),
                FolderId=str(task.folder_id),
            )
        )
        == 5
    )
    assert script.fails("ListTaskInstances", PageSize=101)[0] == "InvalidParameterValue"
    assert "PageNumber" in script.fails("ListTaskInstances", PageNumber=200, PageSize=100)[1]
    # Four of them are the way to a page and its count that ADR 0024 chooses.
    with django_assert_num_queries(11):
        script("ListTaskInstances", PageSize=100)


def test_lineage(world: SimpleNamespace, script: InProject) -> None:
    task, child = world.ours.task, world.ours.instance
    parent, hidden = (
        make_instance(task, "success", after=-1),
        make_instance(world.foreign.task, "success", after=-1),
    )
    make_edge(child, parent)
    make_edge(child, hidden)
    assert keys(script("ListUpstreamTaskInstances", InstanceKey=key(child))) == [key(parent)]
    assert keys(script("ListDownstreamTaskInstances", InstanceKey=key(parent))) == [key(child)]
    everything = InProject(world.door(make.SUSAN), world.ours.id)
    assert set(keys(everything("ListUpstreamTaskInstances", InstanceKey=key(child)))) == {
        key(parent),
        key(hidden),
    }


def test_executions(world: SimpleNamespace, script: InProject) -> None:
    one = make_instance(world.ours.task, "success", after=1, life_round=1, tries=0)
    make_execution(one, "failed", life_round=0, try_number=0)
    make_execution(one, "failed", life_round=0, try_number=1)
    make_execution(one, "success", life_round=1, try_number=0, run_type="RERUN", dry_run=True)
    found = script("ListTaskInstanceExecutions", InstanceKey=key(one))["Items"]
    assert [(row["LifeRoundNum"], row["Tries"], row["InstanceState"], row["RunType"]) for row in found] == [
        (1, 0, "COMPLETED", "RERUN_SKIP_RUN"),
        (0, 1, "EXPIRED", "PERIODIC"),
        (0, 0, "FAILED_RETRY", "PERIODIC"),
    ]
    phases = found[0]["ExecutionPhaseList"]
    assert [row["DetailState"] for row in phases] == ["WAIT_UPSTREAM", "WAIT_RUN", "RUNNING", "COMPLETE"]
    assert all(row["StartTime"] <= row["EndTime"] for row in phases)
    assert [row["ExecutionPhaseList"][-1]["DetailState"] for row in found[1:]] == ["EXPIRED", "FAILED"]


def test_logs(world: SimpleNamespace, script: InProject, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_instance(world.ours.task, "failed", after=1, tries=1)
    for number, text in enumerate(("first try\nERROR: it broke\n", "second try\n")):
        execution = make_execution(one, "failed", try_number=number, log_bytes=len(text))
        LogChunk.objects.create(execution=execution, seq=0, start=0, text=text)
    monkeypatch.setattr("weops.wedata.logs.PAGE", 10)
    text, cursor, pages = "", None, 0
    while pages < 100:
        page = script(
            "GetTaskInstanceLog", InstanceKey=key(one), **({"NextCursor": cursor} if cursor else {})
        )
        text, cursor, pages = text + page["LogInfo"], page["NextCursor"], pages + 1
        if cursor is None:
            break
    assert [line for line in text.splitlines() if "try" in line or "broke" in line] == [
        "first try",
        "ERROR: it broke",
        "second try",
    ]
    assert page["CodeContent"] == "echo ${yyyyMMdd}"
    errors = script("GetTaskInstanceLog", InstanceKey=key(one), LogLevel="Error")["LogInfo"]
    assert "ERROR: it broke" in errors
    assert "first try" not in errors
    assert (
        script.fails("GetTaskInstanceLog", InstanceKey=key(one), LifeRoundNum=7)[0] == "InvalidParameterValue"
    )
    assert (
        script.fails("GetTaskInstanceLog", InstanceKey=key(one), NextCursor="x")[0] == "InvalidParameterValue"
    )
    assert (
        script.fails("GetTaskInstanceLog", InstanceKey=key(one), LogLevel="Loud")[0]
        == "InvalidParameterValue"
    )
    waiting = script("GetTaskInstanceLog", InstanceKey=key(world.ours.instance))
    assert waiting["LogInfo"] == ""
    assert waiting["NextCursor"]


def test_operations_are_the_same_as_from_other_doors(world: SimpleNamespace, script: InProject) -> None:
    waiting, done = world.ours.instance, make_instance(world.ours.task, "success", after=1)
    answer = script("KillTaskInstancesAsync", InstanceKeyList=[key(waiting), key(done)])
    record = OperationRecord.objects.get(pk=answer["AsyncId"])
    assert (record.kind, record.source, record.operator) == ("terminate", "wedata", world.cast[make.DANA])
    job = script("GetOpsAsyncJob", AsyncId=answer["AsyncId"])
    assert (
        job["Status"],
        job["TotalSubProcessCount"],
        job["FinishedSubProcessCount"],
        job["SuccessSubProcessCount"],
    ) == ("PART_SUCCESS", 2, 2, 1)
    assert key(done) in job["ErrorDesc"]
    assert job["CreateUserUin"] == str(world.cast[make.DANA].pk)
    options = {
        "RerunType": "2",
        "CheckParentType": "ALL",
        "SonRangeType": "PROJECT",
        "SkipEventListening": True,
        "RedefineParallelNum": 3,
    }
    answer = script(
        "RerunTaskInstancesAsync",
        InstanceKeyList=[key(waiting)],
        **options,
        RedefineParamList={"K": "a", "V": "b"},
    )
    given = OperationRecord.objects.get(pk=answer["AsyncId"]).options
    assert given == {
        "scope": "with_downstream",
        "range": "project",
        "check_parents": "all",
        "ignore_events": True,
        "parallelism": 3,
        "parameters": {"a": "b"},
    }
    answer = script("SetSuccessTaskInstancesAsync", InstanceKeyList=[key(waiting)])
    assert script("GetOpsAsyncJob", AsyncId=answer["AsyncId"])["Status"] == "SUCCESS"
    waiting.refresh_from_db()
    assert waiting.state == "success"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"RerunType": "4"}, "RerunType"),
        ({"SonRangeType": "WORLD"}, "SonRangeType"),
        ({"CheckParentType": "SOME"}, "CheckParentType"),
        ({"RedefineParallelNum": 0}, "RedefineParallelNum"),
        ({"SkipEventListening": "yes"}, "SkipEventListening"),
        ({"RedefineParamList": [{"K": ""}]}, "RedefineParamList"),
        ({"RedefineParamList": "x"}, "RedefineParamList"),
        ({"RedefineParallelNum": 2, "RedefineSelfWorkflowDependency": "yes"}, "RedefineParallelNum"),
        ({"InstanceKeyList": "1"}, "InstanceKeyList"),
        ({"InstanceKeyList": []}, "InstanceKeyList"),
        ({"InstanceKeyList": ["1"] * 1001}, "InstanceKeyList"),
        ({"InstanceKeyList": [{}]}, "InstanceKeyList.0"),
    ],
)
def test_wrong_options(world: SimpleNamespace, script: InProject, given: dict[str, Any], field: str) -> None:
    code, message = script.fails(
        "RerunTaskInstancesAsync", **{"InstanceKeyList": [key(world.ours.instance)], **given}
    )
    assert code in ("InvalidParameterValue", "MissingParameter")
    assert field in message
    assert not OperationRecord.objects.filter(kind="rerun").exists()


def test_jobs_of_other_projects_are_not_there(world: SimpleNamespace, script: InProject) -> None:
    record = OperationRecord.objects.create(
        kind="rerun", source="admin", project_ids=[world.foreign.project.pk]
    )
    for pk in (record.pk, 99999999):
        assert script.fails("GetOpsAsyncJob", AsyncId=str(pk))[0] == "ResourceNotFound"


def test_executions_are_those_of_the_model() -> None:
    assert set(EXECUTION_STATES) == set(ExecutionState)
    assert Execution._meta.get_field("state").choices
