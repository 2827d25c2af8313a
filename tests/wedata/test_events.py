"""Events through the endpoint: registered, listened to, fired, consumed; and what cannot be meant."""

from types import SimpleNamespace
from typing import Any

import pytest

from events.models import Event, EventInstance, Listener
from instances.models import Task
from tests import factories as make
from tests.wedata.support import V2021, InProject

pytestmark = pytest.mark.django_db


class Events(InProject):
    def __call__(self, action: str, version: str = V2021, /, **given: Any) -> Any:
        return super().__call__(action, version, **given)

    def fails(self, action: str, version: str = V2021, /, **given: Any) -> tuple[str, str]:
        return super().fails(action, version, **given)


@pytest.fixture
def script(world: SimpleNamespace) -> Events:
    return Events(world.door(make.DANA), world.ours.id)


def register(script: Events, name: str = "ready", **given: Any) -> None:
    fields = {
        "EventSubType": "DAY",
        "EventBroadcastType": "BROADCAST",
        "TimeToLive": 2,
        "TimeUnit": "DAYS",
        **given,
    }
    assert script("RegisterEvent", Name=name, **fields) == {"Result": True}


def test_an_event(world: SimpleNamespace, script: Events) -> None:
    register(script, Description="orders", Owner="petra", DimensionFormat="yyyyMMdd", EventType="TIME_SERIES")
    row = Event.objects.get()
    assert (row.name, row.cycle, row.delivery, row.time_to_live, row.time_to_live_unit) == (
        "ready",
        "DAY",
        "BROADCAST",
        2,
        "DAYS",
    )
    assert row.owner == world.cast[make.PETRA]
    found = script("DescribeEvent", EventName="ready")
    assert (found["DimensionFormat"], found["Owner"], found["Description"]) == ("yyyyMMdd", "petra", "orders")
    assert (
        script.fails("RegisterEvent", Name="ready", EventSubType="DAY", EventBroadcastType="SINGLE")[0]
        == "InvalidParameter.DuplicateName"
    )
    assert script.fails("DescribeEvent", EventName="other")[0] == "InvalidParameterValue"


def test_an_event_as_the_later_action_has_it(world: SimpleNamespace, script: Events) -> None:
    found = script(
        "RegisterDsEvent",
        Name="later",
        EventSubType="HOUR",
        TimeToLive="3",
        TimeUnit="HOURS",
        ValidConsumeCount=1,
    )
    assert (found["EventBroadcastType"], found["DimensionFormat"], found["TimeToLive"]) == (
        "SINGLE",
        "yyyyMMddHH",
        3,
    )
    assert (found["ProjectId"], found["ValidConsumeCount"], found["Listeners"]) == (world.ours.id, 1, [])
    assert (
        script.fails("RegisterDsEvent", Name="x", EventSubType="DAY", ValidConsumeCount=5)[0]
        == "UnsupportedOperation"
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"Name": "1st"}, "Name"),
        ({"Name": "x" * 21}, "Name"),
        ({"EventSubType": "WEEK"}, "EventSubType"),
        ({"EventBroadcastType": "ALL"}, "EventBroadcastType"),
        ({"TimeToLive": 0}, "TimeToLive"),
        ({"TimeToLive": 9999, "TimeUnit": "DAYS"}, "TimeToLive"),
        ({"TimeUnit": "WEEKS"}, "TimeUnit"),
        ({"Owner": "nobody"}, "Owner"),
        ({"DimensionFormat": "yyyyMMddHH"}, "DimensionFormat"),
        ({"EventType": "GENERAL"}, "EventType"),
    ],
)
def test_events_that_cannot_be(script: Events, given: dict[str, Any], field: str) -> None:
    asked = {"Name": "x", "EventSubType": "DAY", "EventBroadcastType": "SINGLE", **given}
    code, message = script.fails("RegisterEvent", **asked)
    assert (code in ("InvalidParameterValue", "UnsupportedOperation"), field in message) == (True, True)
    assert not Event.objects.exists()


def test_listeners(world: SimpleNamespace, script: Events) -> None:
    register(script)
    register(script, "other")
    task = str(world.ours.task.pk)
    for amount in (1, 2):
        properties = f'{{"maxWaitEventTime":{amount},"maxWaitEventTimeUnit":"HOURS"}}'
        assert script(
            "RegisterEventListener", Key=task, EventName="ready", Type="REST_API", Properties=properties
        )["Result"]
    found = script(
        "RegisterDsEventListener",
        Key=task,
        EventName="other",
        EventProjectId=world.ours.id,
        RequestFromSource="CLIENT",
        Properties=[
            {"ParamKey": "maxWaitEventTime", "ParamValue": "3"},
            {"ParamKey": "maxWaitEventTimeUnit", "ParamValue": "DAYS"},
        ],
    )
    assert (found["Key"], found["TaskInfo"]["TaskName"], found["EventProjectId"]) == (
        task,
        "ours_task",
        world.ours.id,
    )
    rows = (
        Listener.objects.filter(task=world.ours.task)
        .order_by("event__name")
        .values_list("event__name", "max_wait", "max_wait_unit")
    )
    assert list(rows) == [("other", 3, "DAYS"), ("ready", 2, "HOURS")]
    assert [one["Key"] for one in script("DescribeEvent", EventName="ready")["Listeners"]] == [task]
    for given, field in (
        ({"EventName": "nothing"}, "EventName"),
        ({"Properties": "[]"}, "Properties"),
        ({"Properties": "{"}, "Properties"),
        ({"Properties": '{"colour": 1}'}, "Properties"),
        ({"Properties": '{"maxWaitEventTime": "soon"}'}, "Properties"),
        ({"Type": "KAFKA"}, "Type"),
    ):
        assert (
            field in script.fails("RegisterEventListener", **{"Key": task, "EventName": "ready", **given})[1]
        )
    assert script.fails("RegisterEventListener", Key="999999", EventName="ready")[0] == "ResourceNotFound"
    there = {"Key": task, "EventName": "ready", "EventProjectId": world.foreign.id}
    assert script.fails("RegisterDsEventListener", **there)[0] == "UnauthorizedOperation.UserNotInProject"


def test_firing(world: SimpleNamespace, script: Events) -> None:
    register(script)
    assert script("TriggerEvent", Name="ready", Dimension="20260325")["Result"]
    assert "Dimension" in script.fails("TriggerEvent", Name="ready", Dimension="2026")[1]
    assert "ready" in script.fails("TriggerEvent", Name="redy", Dimension="20260325")[1]
    fired = script(
        "TriggerDsEvent",
        EventCaseList=[
            {"Name": "ready", "Dimension": "20260326"},
            {"Name": "nothing", "Dimension": "20260326"},
        ],
        EventBatchCaseList=[
            {"Name": "ready", "StartDimension": "20260401", "EndDimension": "20260403", "EventSubType": "DAY"}
        ],
    )
    assert (fired["TotalCount"], fired["SuccessCount"], fired["FailCount"]) == (5, 4, 1)
    assert fired["FailMessageList"][0]["Key"] == "nothing,20260326"
    assert EventInstance.objects.count() == 5
    batch = {"Name": "ready", "StartDimension": "20260403", "EndDimension": "20260401"}
    assert "EventBatchCaseList.0" in script.fails("TriggerDsEvent", EventBatchCaseList=[batch])[1]
    assert script.fails("TriggerDsEvent")[0] == "MissingParameter"
    viewer = Events(world.door(make.VERA), world.ours.id)
    assert viewer.fails("TriggerEvent", Name="ready", Dimension="20260325")[0] == "UnauthorizedOperation"


def test_lists_of_firings(world: SimpleNamespace, script: Events, django_assert_num_queries: Any) -> None:
    register(script)
    register(script, "hourly", EventSubType="HOUR", EventBroadcastType="SINGLE", TimeToLive=9)
    for day in (1, 2, 3):
        script("TriggerEvent", Name="ready", Dimension=f"2026030{day}")
    script("TriggerEvent", Name="hourly", Dimension="2026030100")

    def found(**given: Any) -> list[str]:
        return [one["Dimension"] for one in script("DescribeEventCases", **given)["Items"]]

    assert found(EventName="ready") == ["20260303", "20260302", "20260301"]
    assert found(EventName="ready", SortItem="Dimension", SortType="ASC", PageSize=2) == [
        "20260301",
        "20260302",
    ]
    assert (
        found(EventSubType="HOUR")
        == found(EventBroadcastType="SINGLE")
        == found(TimeToLive="9")
        == ["2026030100"]
    )
    assert found(Dimension="20260302", Category="consuming", ConsumeCount="0", Status="ACTIVE") == [
        "20260302"
    ]
    assert (
        found(Category="expired")
        == found(EventTriggeredTimeEnd="2020-01-01 00:00:00")
        == found(LogTimeStart="2020-01-01 00:00:00")
        == []
    )
    page = script("DescribeEventCases", PageSize=3)
    assert (page["TotalCount"], page["TotalPage"], page["PageCount"]) == (4, 2, 3)
    case = page["Items"][0]["CaseId"]
    assert script("DescribeEventConsumeTasks", EventCaseId=case)["TotalCount"] == 0
    assert script.fails("DescribeEventConsumeTasks", EventCaseId="999999")[0] == "ResourceNotFound"
    with django_assert_num_queries(6):
        script("DescribeEventCases", PageSize=200)
    assert Task.objects.exists()
