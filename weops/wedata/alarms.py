"""Alarm rules and messages. Webhooks of a rule become channels of its project; their addresses are not shown again."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q

from instances.models import Task
from weops.alarms import channels, messages, rules
from weops.alarms.groups import GroupSpec
from weops.alarms.kinds import Kind, Level, LimitKind, Measure, ObjectKind, Receivers
from weops.alarms.models import Message, Rule
from weops.projects.access import Right
from weops.wedata import accounts, alarm_fields, paging
from weops.wedata.alarm_fields import ALARM_TYPES, MAIL, OBJECTS, RULE, TRIGGERS, WAYS
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import bad_value
from weops.wedata.fields import Field, Id, Moment, Text, Whole
from weops.wedata.instances import ZONE
from weops.wedata.naming import named
from weops.wedata.times import zone_text

_NAMES = {
    "name": "AlarmRuleName",
    "object_ids": "MonitorObjectIds",
    "object_kind": "MonitorObjectType",
    "kinds": "AlarmTypes",
    "limits": "AlarmRuleDetail.TimeOutExtInfo",
    "groups": "AlarmGroups",
    "address": "AlarmGroups.WebHooks",
    "level": "AlarmLevel",
}
_THEIRS = {kind: name for name, kind in ALARM_TYPES.items()}
_TYPES = {kind: number for number, kind in OBJECTS.items()}
_TRIGGER_CODES = {trigger: number for number, trigger in TRIGGERS.items()}
_LIMITS = {1: LimitKind.RUN, 2: LimitKind.FINISH, 3: LimitKind.WAIT, 4: LimitKind.CYCLE}
_LIMIT_CODES = {kind: number for number, kind in _LIMITS.items()}
_WAY_CODES = {**{kind: way for way, kind in WAYS.items()}, "email": MAIL}
_ID: dict[str, Field] = {"AlarmRuleId": Id(required=True)}


def _find(call: Call) -> Rule:
    rows = rules.visible(call.user, with_parts=True).filter(project=call.project, pk=call["AlarmRuleId"])
    found: Rule = call.found(rows.first(), "alarm rule", call["AlarmRuleId"])
    return found


# What is asked for


def _spec(call: Call, rule: Rule | None = None) -> dict[str, Any]:
    """What the fields that are given say of a rule: fields of RuleSpec."""
    found: dict[str, Any] = {
        "name": call["AlarmRuleName"],
        "description": call["Description"],
        "level": call["AlarmLevel"],
        "object_ids": call["MonitorObjectIds"],
        "object_kind": OBJECTS[call["MonitorObjectType"]] if call["MonitorObjectType"] else None,
        "kinds": [ALARM_TYPES[one] for one in call["AlarmTypes"]] if call["AlarmTypes"] else None,
        "enabled": None if call["Status"] is None else bool(call["Status"]),
    }
    detail = call["AlarmRuleDetail"]
    if detail is not None:
        found |= _detail(detail)
    if found["kinds"] is not None and Kind.OVERTIME not in found["kinds"]:
        found["limits"] = []
    if call["AlarmGroups"] is not None:
        kept = list(rules.spec_of(rule).groups) if rule else []
        found["groups"] = [
            _group(call, one, f"AlarmGroups.{place}", kept[place] if place < len(kept) else None)
            for place, one in enumerate(call["AlarmGroups"])
        ]
    return {name: value for name, value in found.items() if value is not None}


def _detail(detail: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "Trigger" in detail:
        found["trigger"] = TRIGGERS[detail["Trigger"]]
    if "DataBackfillOrRerunTrigger" in detail:
        found["rerun_trigger"] = TRIGGERS[detail["DataBackfillOrRerunTrigger"]]
    names = {"TimeOutExtInfo": False, "DataBackfillOrRerunTimeOutExtInfo": True}
    if any(name in detail for name in names):
        found["limits"] = [
            _limit(one, reruns) for name, reruns in names.items() for one in detail.get(name) or ()
        ]
    return found


def _limit(given: Mapping[str, Any], reruns: bool) -> dict[str, Any]:
    kind = _LIMITS[given["RuleType"]]
    hours, minutes = given.get("Hour", 0), given.get("Min", 0)
    found: dict[str, Any] = {"kind": str(kind), "reruns": reruns}
    if kind is LimitKind.CYCLE:
        return found
    if given.get("Type") == 2:
        return {**found, "measure": str(Measure.AVERAGE)}
    if kind is LimitKind.FINISH:
        zone = given.get("ScheduleTimeZone") or "UTC+8"
        return {**found, "clock": f"{hours:02}:{minutes:02}", "timezone": zone}
    return {**found, "minutes": hours * 60 + minutes}


def _group(call: Call, given: Mapping[str, Any], path: str, kept: GroupSpec | None) -> GroupSpec:
    fatigue = given.get("NotificationFatigue") or {}
    ways = given.get("AlarmWays") or [MAIL]
    found = GroupSpec(
        receivers=Receivers.OWNER if given.get("AlarmRecipientType") == 2 else Receivers.PEOPLE,
        people=given.get("AlarmRecipientIds") or [],
        emails=given.get("CustomEmails") or [],
        by_email=MAIL in ways,
        channels=_channels(call, given, ways, path, kept),
        quiet=[
            {
                "days": one["DaysOfWeek"],
                "start": one["StartTime"].isoformat(),
                "end": one["EndTime"].isoformat(),
            }
            for one in fatigue.get("QuietIntervals") or ()
        ],
        timezone="UTC+8",
        escalation=given.get("AlarmEscalationRecipientIds") or [],
    )
    numbers = {
        "notify_count": fatigue.get("NotifyCount"),
        "notify_minutes": fatigue.get("NotifyInterval"),
        "escalation_minutes": given.get("AlarmEscalationInterval"),
    }
    return dataclasses.replace(found, **{name: value for name, value in numbers.items() if value})


def _channels(
    call: Call, given: Mapping[str, Any], ways: Sequence[str], path: str, kept: GroupSpec | None
) -> list[int]:
    """Ids of channels for the ways that are no mail. Without addresses those of the group as it is stay."""
    addresses: dict[str, list[str]] = {}
    for hook in given.get("WebHooks") or ():
        addresses.setdefault(hook["AlarmWay"], []).extend(hook["WebHooks"])
    if strange := sorted(set(addresses) - set(ways)):
        raise bad_value(f"{path}.WebHooks", f"Way {strange[0]} is not among the AlarmWays.")
    present = channels.visible(call.user, Right.VIEW).filter(pk__in=kept.channels if kept else [])
    found: list[int] = []
    for way in ways:
        if way == MAIL:
            continue
        kind = WAYS[way]
        same = [channel.pk for channel in present if channel.kind == kind]
        if way not in addresses and not same:
            raise bad_value(f"{path}.WebHooks", f"Way {way} needs its addresses.")
        if way not in addresses:
            found += same
            continue
        with named(_NAMES, f"{path}.WebHooks"):
            made = channels.for_webhooks(call.user, call.project, kind, addresses[way])
        found += [channel.pk for channel in made]
    return found


@action("CreateOpsAlarmRule", Right.AUTHOR, **alarm_fields.new())
def create_ops_alarm_rule(call: Call) -> Any:
    spec = {"object_kind": ObjectKind.TASK, "level": Level.NORMAL, **_spec(call)}
    with named(_NAMES, "AlarmRuleName"):
        rule = rules.create(call.user, call.project, rules.RuleSpec(**spec), source="wedata")
    return {"AlarmRuleId": str(rule.pk)}


@action("UpdateOpsAlarmRule", Right.AUTHOR, **_ID, **RULE, Status=Whole(one_of=(0, 1)))
def update_ops_alarm_rule(call: Call) -> Any:
    rule = _find(call)
    with named(_NAMES, "AlarmRuleName"):
        rules.update(call.user, rule.pk, source="wedata", **_spec(call, rule))
    return {"Status": True}


@action("DeleteOpsAlarmRule", Right.AUTHOR, **_ID)
def delete_ops_alarm_rule(call: Call) -> Any:
    rule = _find(call)
    with named(_NAMES):
        rules.delete(call.user, rule.pk, source="wedata")
    return {"Status": True}


# What is there


@action("GetOpsAlarmRule", Right.VIEW, **_ID)
def get_ops_alarm_rule(call: Call) -> Any:
    return _show(_find(call))


def _show(rule: Rule) -> dict[str, Any]:
    limits = {
        name: [_shown_limit(one) for one in rule.limits if bool(one.get("reruns")) == reruns]
        for name, reruns in (("TimeOutExtInfo", False), ("DataBackfillOrRerunTimeOutExtInfo", True))
    }
    return {
        "AlarmRuleId": str(rule.pk),
        "AlarmRuleName": rule.name,
        "Description": rule.description,
        "MonitorObjectType": _TYPES[rule.object_kind],
        "MonitorObjectIds": sorted(str(target.object_id) for target in rule.targets.all()),
        "AlarmTypes": [_THEIRS[kind] for kind in rule.kinds],
        "Status": int(rule.enabled),
        "AlarmRuleDetail": {
            "Trigger": _TRIGGER_CODES[rule.trigger],
            "DataBackfillOrRerunTrigger": _TRIGGER_CODES[rule.rerun_trigger],
            **limits,
        },
        "AlarmLevel": rule.level,
        "OwnerUin": accounts.uin(rule.creator_id),
        "AlarmGroups": [_shown_group(group) for group in rule.groups.all()],
    }


def _shown_limit(one: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "RuleType": _LIMIT_CODES[LimitKind(one["kind"])],
        "Type": 2 if one.get("measure") == Measure.AVERAGE else 1,
    }
    if "clock" in one:
        hours, minutes = map(int, one["clock"].split(":"))
        return {**found, "Hour": hours, "Min": minutes, "ScheduleTimeZone": zone_text(one["timezone"])}
    if "minutes" in one:
        hours, minutes = divmod(one["minutes"], 60)
        return {**found, "Hour": hours, "Min": minutes}
    return found


def _shown_group(group: Any) -> dict[str, Any]:
    ways = [MAIL] if group.by_email else []
    ways += [
        _WAY_CODES[kind] for kind in sorted({one.kind for one in group.channels.all()}) if kind in _WAY_CODES
    ]
    return {
        "AlarmEscalationRecipientIds": [str(pk) for pk in group.escalation],
        "AlarmEscalationInterval": group.escalation_minutes,
        "NotificationFatigue": {
            "NotifyCount": group.notify_count,
            "NotifyInterval": group.notify_minutes,
            "QuietIntervals": [
                {"DaysOfWeek": one["days"], "StartTime": one["start"], "EndTime": one["end"]}
                for one in group.quiet
            ],
        },
        "AlarmWays": ways,
        "AlarmRecipientType": 2 if group.receivers == Receivers.OWNER else 1,
        "AlarmRecipientIds": sorted(str(person.pk) for person in group.people.all()),
        "CustomEmails": list(group.emails),
    }


_PERIODS = {"CreateTime": "created_at", "UpdateTime": "updated_at"}


@action(
    "ListOpsAlarmRules",
    Right.VIEW,
    MonitorObjectType=Whole(one_of=(*OBJECTS, 7)),
    TaskId=Id(),
    AlarmType=Text(most=100),
    AlarmLevel=Whole(one_of=tuple(Level.values)),
    AlarmRecipientId=Id(),
    Keyword=Text(),
    CreateUserUin=Id(),
    **{f"{name}{end}": Moment() for name in _PERIODS for end in ("From", "To")},
    **paging.fields(20),
)
def list_ops_alarm_rules(call: Call) -> Any:
    rows = rules.visible(call.user, with_parts=True).filter(project=call.project)
    if call["MonitorObjectType"] is not None:
        rows = rows.filter(object_kind=OBJECTS.get(call["MonitorObjectType"], ""))
    if call["TaskId"] is not None:
        task = Task.objects.filter(workflow__project=call.project, pk=call["TaskId"]).select_related(
            "workflow"
        )
        rows = rules.of_task(rows, call.found(task.first(), "task", call["TaskId"]))
    if call["AlarmType"]:
        rows = rows.filter(kinds__contains=[ALARM_TYPES.get(call["AlarmType"], "")])
    if call["AlarmRecipientId"] is not None:
        rows = rules.telling(rows, call["AlarmRecipientId"])
    if word := call["Keyword"]:
        number = int(word) if word.isdecimal() and len(word) < 19 else 0
        rows = rows.filter(Q(name__icontains=word) | Q(pk=number))
    columns = {"AlarmLevel": "level", "CreateUserUin": "creator"}
    rows = rows.filter(**{column: call[name] for name, column in columns.items() if call[name] is not None})
    for name, column in _PERIODS.items():
        for end, lookup in (("From", "gte"), ("To", "lte")):
            if (moment := call.instant(f"{name}{end}")) is not None:
                rows = rows.filter(**{f"{column}__{lookup}": moment})
    return paging.page(call, rows.order_by("name", "pk"), _show)


# Messages


def _message(call: Call, one: Message) -> dict[str, Any]:
    return {
        "AlarmMessageId": one.pk,
        "AlarmTime": call.told(one.sent_at or one.created_at),
        "TaskName": one.task_name,
        "TaskId": str(one.task_id),
        "CurRunDate": call.told(one.data_time),
        "AlarmReason": one.reason,
        "AlarmLevel": one.level,
        "AlarmRuleId": str(one.rule_id) if one.rule_id else None,
        "AlarmWays": [_WAY_CODES.get(way, way) for way in one.ways],
        "AlarmRecipients": list(one.receivers),
    }


@action(
    "ListAlarmMessages",
    Right.VIEW,
    StartTime=Moment(),
    EndTime=Moment(),
    AlarmLevel=Whole(one_of=tuple(Level.values)),
    AlarmRecipientId=Id(),
    **ZONE,
    **paging.fields(most=100),
)
def list_alarm_messages(call: Call) -> Any:
    rows = messages.visible(call.user).filter(project=call.project)
    for name, lookup in (("StartTime", "gte"), ("EndTime", "lte")):
        if (moment := call.instant(name)) is not None:
            rows = rows.filter(**{f"created_at__{lookup}": moment})
    if call["AlarmLevel"] is not None:
        rows = rows.filter(level=call["AlarmLevel"])
    if call["AlarmRecipientId"] is not None:
        rows = rows.filter(receiver_ids__contains=[call["AlarmRecipientId"]])
    return paging.page(call, rows, lambda one: _message(call, one))


@action("GetAlarmMessage", Right.VIEW, AlarmMessageId=Id(required=True), **ZONE)
def get_alarm_message(call: Call) -> Any:
    rows = messages.visible(call.user).filter(project=call.project, pk=call["AlarmMessageId"])
    return _message(call, call.found(rows.first(), "alarm message", call["AlarmMessageId"]))
