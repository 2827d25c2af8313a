"""Alarm rules and messages through the endpoint."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests import factories as make
from tests.wedata.support import InProject
from weops.alarms.models import Channel, Message, Rule

pytestmark = pytest.mark.django_db
HOOK = "https://hooks.example.com/secret-part"


@pytest.fixture
def script(world: SimpleNamespace) -> InProject:
    return InProject(world.door(make.PETRA), world.ours.id)


def asked(world: SimpleNamespace, **given: Any) -> dict[str, Any]:
    dana, petra = (str(world.cast[name].pk) for name in (make.DANA, make.PETRA))
    quiet = [{"DaysOfWeek": [6, 7], "StartTime": "22:00:00", "EndTime": "08:00:00"}]
    return {
        "AlarmRuleName": "nightly",
        "MonitorObjectType": 1,
        "MonitorObjectIds": [str(world.ours.task.pk)],
        "AlarmTypes": ["failure", "overtime", "backTrackingOrRerunFailure"],
        "AlarmLevel": 3,
        "Description": "of the night",
        "AlarmRuleDetail": {
            "Trigger": 1,
            "DataBackfillOrRerunTrigger": 2,
            "TimeOutExtInfo": [
                {"RuleType": 1, "Type": 1, "Hour": 1, "Min": 30},
                {"RuleType": 2, "Type": 1, "Hour": 8, "Min": 15, "ScheduleTimeZone": "UTC+8"},
                {"RuleType": 3, "Type": 2},
            ],
            "DataBackfillOrRerunTimeOutExtInfo": [{"RuleType": 4, "Type": 1}],
        },
        "AlarmGroups": [
            {
                "AlarmRecipientType": 1,
                "AlarmRecipientIds": [dana],
                "AlarmWays": ["1", "6"],
                "WebHooks": [{"AlarmWay": "6", "WebHooks": [HOOK]}],
                "AlarmEscalationRecipientIds": [petra],
                "AlarmEscalationInterval": 15,
                "NotificationFatigue": {"NotifyCount": 2, "NotifyInterval": 10, "QuietIntervals": quiet},
                "CustomEmails": ["ops@example.com"],
            },
            {"AlarmRecipientType": 2},
        ],
        **given,
    }


def test_a_rule_is_read_back(world: SimpleNamespace, script: InProject) -> None:
    wanted = asked(world)
    made = script("CreateOpsAlarmRule", **wanted)["AlarmRuleId"]
    found = script("GetOpsAlarmRule", AlarmRuleId=made)
    for name in (
        "AlarmRuleName",
        "MonitorObjectType",
        "MonitorObjectIds",
        "AlarmLevel",
        "Description",
        "AlarmRuleDetail",
    ):
        assert found[name] == wanted[name], name
    assert sorted(found["AlarmTypes"]) == sorted(wanted["AlarmTypes"])
    assert (found["Status"], found["OwnerUin"]) == (1, str(world.cast[make.PETRA].pk))
    group = dict(wanted["AlarmGroups"][0])
    group.pop("WebHooks")
    assert found["AlarmGroups"][0] == group
    assert (found["AlarmGroups"][1]["AlarmRecipientType"], found["AlarmGroups"][1]["AlarmWays"]) == (2, ["1"])
    assert "secret-part" not in str(found)
    assert Channel.objects.get().reveal() == HOOK


def test_a_rule_is_changed(world: SimpleNamespace, script: InProject) -> None:
    made = script("CreateOpsAlarmRule", **asked(world))["AlarmRuleId"]
    script("UpdateOpsAlarmRule", AlarmRuleId=made, Status=0, AlarmLevel=1)
    found = script("GetOpsAlarmRule", AlarmRuleId=made)
    assert (found["Status"], found["AlarmLevel"], found["AlarmRuleName"]) == (0, 1, "nightly")
    # Groups that were read are sent back without the addresses, which nobody gets to see: they stay.
    script("UpdateOpsAlarmRule", AlarmRuleId=made, AlarmGroups=found["AlarmGroups"], AlarmTypes=["success"])
    found = script("GetOpsAlarmRule", AlarmRuleId=made)
    assert (found["AlarmGroups"][0]["AlarmWays"], found["AlarmTypes"]) == (["1", "6"], ["success"])
    script("UpdateOpsAlarmRule", AlarmRuleId=made, MonitorObjectType=3, MonitorObjectIds=[world.ours.id])
    listed = script(
        "ListOpsAlarmRules", TaskId=str(world.ours.task.pk), MonitorObjectType=3, AlarmType="success"
    )
    assert [one["AlarmRuleId"] for one in listed["Items"]] == [made]
    for given in ({"AlarmType": "failure"}, {"AlarmLevel": 2}, {"AlarmRecipientId": "999999"}, {"Keyword": "nothing"},
                  {"CreateUserUin": "999999"}, {"CreateTimeTo": "2020-01-01 00:00:00"}, {"UpdateTimeFrom": "2099-01-01 00:00:00"},
                  {"MonitorObjectType": 7}):  # fmt: skip
        assert script("ListOpsAlarmRules", **given)["TotalCount"] == 0, given
    assert script("DeleteOpsAlarmRule", AlarmRuleId=made)["Status"]
    assert script.fails("GetOpsAlarmRule", AlarmRuleId=made)[0] == "ResourceNotFound"


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        (
            {"AlarmTypes": ["projectFailureInstanceUpwardFluctuationAlarm"]},
            "InvalidParameterValue",
            "AlarmTypes.0",
        ),
        ({"MonitorObjectType": 7}, "InvalidParameterValue", "MonitorObjectType"),
        ({"MonitorObjectIds": ["999999"]}, "InvalidParameterValue", "MonitorObjectIds"),
        ({"AlarmGroups": [{"AlarmRecipientIds": ["999999"]}]}, "InvalidParameterValue", "AlarmGroups"),
        ({"AlarmGroups": [{"AlarmWays": ["2"]}]}, "InvalidParameterValue", "AlarmGroups.0.AlarmWays.0"),
        ({"AlarmGroups": [{"AlarmWays": ["7"]}]}, "InvalidParameterValue", "AlarmGroups.0.WebHooks"),
        (
            {"AlarmGroups": [{"AlarmRecipientType": 3}]},
            "InvalidParameterValue",
            "AlarmGroups.0.AlarmRecipientType",
        ),
        (
            {"AlarmRuleDetail": {"TimeOutExtInfo": [{"RuleType": 9}]}},
            "InvalidParameterValue",
            "TimeOutExtInfo.0.RuleType",
        ),
        (
            {"AlarmRuleDetail": {"MonitorWhiteTasks": [{"TaskIds": ["1"]}]}},
            "UnsupportedOperation",
            "MonitorWhiteTasks",
        ),
        ({"AlarmRuleDetail": {}}, "InvalidParameterValue", "TimeOutExtInfo"),
    ],
)
def test_rules_that_cannot_be(
    world: SimpleNamespace, script: InProject, given: Any, code: str, field: str
) -> None:
    found, message = script.fails("CreateOpsAlarmRule", **asked(world, **given))
    assert (found, field in message) == (code, True), message
    assert not Rule.objects.exists()


def test_a_name_that_is_taken(world: SimpleNamespace, script: InProject) -> None:
    script("CreateOpsAlarmRule", **asked(world))
    code, message = script.fails("CreateOpsAlarmRule", **asked(world))
    assert (code, message.split(":")[0]) == ("InvalidParameter.DuplicateName", "AlarmRuleName")


def test_messages(world: SimpleNamespace, script: InProject) -> None:
    instance, task, dana = world.ours.instance, world.ours.task, world.cast[make.DANA]
    script("CreateOpsAlarmRule", **asked(world))
    one = Message.objects.create(
        rule=Rule.objects.get(), rule_name="nightly", project=world.ours.project, instance_id=instance.pk, task_id=task.pk,
        task_name=task.name, data_time=instance.data_time, life_round=0, occasion="failure", kind="failure", level=3,
        reason="It failed.", receivers=["dana"], receiver_ids=[dana.pk], ways=["email", "webhook"],
    )  # fmt: skip
    found = script(
        "ListAlarmMessages", AlarmLevel=3, AlarmRecipientId=str(dana.pk), StartTime="2026-01-01 00:00:00"
    )["Items"]
    assert found == [script("GetAlarmMessage", AlarmMessageId=str(one.pk))]
    assert (found[0]["AlarmReason"], found[0]["AlarmWays"], found[0]["AlarmRecipients"]) == (
        "It failed.",
        ["1", "6"],
        ["dana"],
    )
    assert found[0]["CurRunDate"] == "2026-03-25 08:00:00"
    for given in ({"AlarmLevel": 1}, {"AlarmRecipientId": "999999"}, {"EndTime": "2020-01-01 00:00:00"}):
        assert script("ListAlarmMessages", **given)["TotalCount"] == 0
    other = InProject(world.door(make.SUSAN), world.foreign.id)
    assert other.fails("GetAlarmMessage", AlarmMessageId=str(one.pk))[0] == "ResourceNotFound"
