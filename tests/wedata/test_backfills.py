"""Backfill plans through the endpoint."""

from types import SimpleNamespace
from typing import Any

import pytest

from instances.models import BackfillPlan
from tests import factories as make
from tests.wedata.support import InProject

pytestmark = pytest.mark.django_db


@pytest.fixture
def script(world: SimpleNamespace) -> InProject:
    return InProject(world.door(make.DANA), world.ours.id)


def ranges(first: str = "2026-01-01", last: str = "2026-01-03", **given: Any) -> list[dict[str, Any]]:
    return [{"StartDate": first, "EndDate": last, **given}]


def test_a_plan(world: SimpleNamespace, script: InProject) -> None:
    task = str(world.ours.task.pk)
    made = script(
        "CreateDataBackfillPlan",
        TaskIds=[task],
        DataBackfillRangeList=ranges(),
        TimeZone="UTC+0",
        DataBackfillPlanName="January",
        CheckParentType="ALL",
        SkipEventListening=False,
        RedefineParallelNum=2,
        DataTimeOrder="ORDER",
        RedefineParamList=[{"K": "region", "V": "LGA"}],
        SchedulerResourceGroupId=str(world.ours.group.pk),
    )["DataBackfillPlanId"]
    found = script("GetDataBackfillPlan", DataBackfillPlanId=made)
    assert found["DataBackfillRangeList"] == ranges()
    assert (found["DataBackfillPlanName"], found["TaskIds"], found["CheckParentType"]) == (
        "January",
        [task],
        "ALL",
    )
    assert (found["SkipEventListening"], found["RedefineParallelNum"], found["DataTimeOrder"]) == (
        False,
        2,
        "ORDER",
    )
    assert (found["RedefineParamList"], found["CompletePercent"]) == ([{"K": "region", "V": "LGA"}], 0)
    runs = script("ListDataBackfillInstances", DataBackfillPlanId=made, TaskId=task)
    assert runs["TotalCount"] == 3
    assert [one["CurRunDate"] for one in runs["Items"]] == [f"2026-01-0{day} 08:00:00" for day in (1, 2, 3)]
    assert script("ListDataBackfillInstances", DataBackfillPlanId=made, TaskId="999999")["TotalCount"] == 0
    answer = script("DeleteDataBackfillPlanAsync", DataBackfillPlanId=made)
    again = script("DeleteDataBackfillPlanAsync", DataBackfillPlanId=made)
    assert answer == again
    assert script("GetOpsAsyncJob", AsyncId=answer["AsyncId"])["AsyncType"] == "STOP_BACKFILL"
    assert BackfillPlan.objects.get(pk=made).stop_operation_id == int(answer["AsyncId"])


def test_a_plan_keeps_the_self_dependency_of_tasks(world: SimpleNamespace, script: InProject) -> None:
    task = str(world.ours.task.pk)
    wanted = {"yes": "orderly", "no": "parallel", None: ""}
    for given, ours in wanted.items():
        more = {} if given is None else {"RedefineSelfWorkflowDependency": given}
        made = script("CreateDataBackfillPlan", TaskIds=[task], DataBackfillRangeList=ranges(), **more)[
            "DataBackfillPlanId"
        ]
        options = BackfillPlan.objects.get(pk=made).options
        assert (options["parallelism"], options["self_dependency"]) == (None, ours)
        assert (
            script("GetDataBackfillPlan", DataBackfillPlanId=made)["RedefineSelfWorkflowDependency"] == given
        )


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"TaskIds": []}, "MissingParameter", "TaskIds"),
        ({"TaskIds": ["999999"]}, "ResourceNotFound", "999999"),
        ({"DataBackfillRangeList": []}, "MissingParameter", "DataBackfillRangeList"),
        (
            {"DataBackfillRangeList": ranges("2026-01-03", "2026-01-01")},
            "InvalidParameterValue",
            "DataBackfillRangeList.0.EndDate",
        ),
        (
            {"DataBackfillRangeList": ranges("2026-01-01 00:00:00")},
            "InvalidParameterValue",
            "DataBackfillRangeList.0.StartDate",
        ),
        (
            {"DataBackfillRangeList": ranges() + ranges(ExecutionStartTime="08:00")},
            "InvalidParameterValue",
            "DataBackfillRangeList",
        ),
        ({"DataTimeOrder": "RANDOM"}, "InvalidParameterValue", "DataTimeOrder"),
        ({"SchedulerResourceGroupId": "999999"}, "InvalidParameterValue", "SchedulerResourceGroupId"),
        ({"TimeZone": "Mars"}, "InvalidParameterValue", "TimeZone"),
        ({"RedefineCycleType": "DAY_CYCLE"}, "InvalidParameterValue", "RedefineCycleType"),
        ({"ComputeConfigMappings": [{"TaskTypeId": 32}]}, "UnsupportedOperation", "ComputeConfigMappings"),
    ],
)
def test_plans_that_cannot_be(
    world: SimpleNamespace, script: InProject, given: Any, code: str, field: str
) -> None:
    asked = {"TaskIds": [str(world.ours.task.pk)], "DataBackfillRangeList": ranges(), **given}
    found, message = script.fails("CreateDataBackfillPlan", **asked)
    assert (found, field in message) == (code, True)
    assert not BackfillPlan.objects.exists()
