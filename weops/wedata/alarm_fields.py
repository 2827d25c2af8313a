"""The fields of alarm rules in requests, and their codes."""

from weops.alarms.kinds import ChannelKind, Kind, Level, ObjectKind, Trigger
from weops.wedata.fields import Clock, Field, Id, Many, Model, Refused, Text, Whole

ALARM_TYPES: dict[str, str] = {
    "failure": Kind.FAILURE,
    "overtime": Kind.OVERTIME,
    "success": Kind.SUCCESS,
    "backTrackingOrRerunFailure": Kind.RERUN_FAILURE,
    "backTrackingOrRerunSuccess": Kind.RERUN_SUCCESS,
}
OBJECTS: dict[int, str] = {1: ObjectKind.TASK, 2: ObjectKind.WORKFLOW, 3: ObjectKind.PROJECT}
TRIGGERS: dict[int, str] = {1: Trigger.FIRST, 2: Trigger.FINAL}
MAIL = "1"
WAYS: dict[str, str] = {
    "6": ChannelKind.WEBHOOK,
    "7": ChannelKind.WECOM,
    "8": ChannelKind.FEISHU,
    "9": ChannelKind.DINGTALK,
    "10": ChannelKind.SLACK,
    "11": ChannelKind.TEAMS,
}
_NO_STREAMS = "It is for streaming tasks, which do not run here; leave it out."
_LIMIT = Model(
    name="TimeOutStrategyInfo",
    fields={
        "RuleType": Whole(required=True, one_of=(1, 2, 3, 4)),
        "Type": Whole(one_of=(1, 2), default=1),
        "Hour": Whole(least=0, most=744),
        "Min": Whole(least=0, most=59),
        "ScheduleTimeZone": Text(most=60),
        "Second": Refused(type="int", why=_NO_STREAMS, nothing=(0,)),
        "Times": Refused(type="int", why=_NO_STREAMS, nothing=(0,)),
        "AlarmTriggerFrequency": Refused(type="int", why=_NO_STREAMS, nothing=(0,)),
    },
)
_NO_PROJECT_STATISTICS = (
    "Rules watch tasks, workflows and projects, not the numbers of their failures; leave it out."
)
_NO_WORKFLOW_RUNS = "Workflows have no runs of their own here; let the rule watch the workflow's tasks."
_NO_EXCEPTIONS = "A rule watches all that it names; name tasks in place of their workflow to leave some out."
DETAIL = Model(
    name="AlarmRuleDetail",
    fields={
        "Trigger": Whole(one_of=tuple(TRIGGERS)),
        "DataBackfillOrRerunTrigger": Whole(one_of=tuple(TRIGGERS)),
        "TimeOutExtInfo": Many(of=_LIMIT, most=20),
        "DataBackfillOrRerunTimeOutExtInfo": Many(of=_LIMIT, most=20),
        "ProjectInstanceStatisticsAlarmInfoList": Refused(
            type="list of ProjectInstanceStatisticsAlarmInfo", why=_NO_PROJECT_STATISTICS
        ),
        "ReconciliationExtInfo": Refused(
            type="list of ReconciliationStrategyInfo",
            why="There are no integration tasks here; leave it out.",
        ),
        "MonitorWhiteTasks": Refused(type="list of MonitorWhiteTask", why=_NO_EXCEPTIONS),
        "WorkflowCompletionTimeCycleExtInfo": Refused(
            type="list of TimeOutStrategyInfo", why=_NO_WORKFLOW_RUNS
        ),
        "WorkflowExecutionTrigger": Refused(type="int", why=_NO_WORKFLOW_RUNS, nothing=(0,)),
        "WorkflowExecutionFailureTrigger": Refused(type="int", why=_NO_WORKFLOW_RUNS, nothing=(0,)),
        "WorkflowExecutionSuccessTrigger": Refused(type="int", why=_NO_WORKFLOW_RUNS, nothing=(0,)),
    },
)
_QUIET = Model(
    name="AlarmQuietInterval",
    fields={
        "DaysOfWeek": Many(of=Whole(least=1, most=7), required=True, most=7),
        "StartTime": Clock(required=True, seconds=True),
        "EndTime": Clock(required=True, seconds=True),
    },
)
_FATIGUE = Model(
    name="NotificationFatigue",
    fields={
        "NotifyCount": Whole(least=1, most=100),
        "NotifyInterval": Whole(least=1, most=10_080),
        "QuietIntervals": Many(of=_QUIET, most=20),
    },
)
_HOOKS = Model(
    name="AlarmWayWebHook",
    fields={
        "AlarmWay": Text(required=True, one_of=tuple(WAYS)),
        "WebHooks": Many(of=Text(required=True, most=2000), required=True, most=20),
    },
)
_GROUP = Model(
    name="AlarmGroup",
    fields={
        "AlarmEscalationRecipientIds": Many(of=Id(), most=100),
        "AlarmEscalationInterval": Whole(least=1, most=10_080),
        "NotificationFatigue": _FATIGUE,
        "AlarmWays": Many(of=Text(one_of=(MAIL, *WAYS)), most=10),
        "WebHooks": Many(of=_HOOKS, most=20),
        "AlarmRecipientType": Whole(one_of=(1, 2)),
        "AlarmRecipientIds": Many(of=Id(), most=100),
        "CustomEmails": Many(of=Text(most=320), most=100),
    },
)
# Of a rule that is changed: what is not given stays as it is.
RULE: dict[str, Field] = {
    "AlarmRuleName": Text(most=100),
    "MonitorObjectIds": Many(of=Id(), most=1000),
    "MonitorObjectType": Whole(one_of=tuple(OBJECTS)),
    "AlarmTypes": Many(of=Text(one_of=tuple(ALARM_TYPES)), most=10),
    "AlarmRuleDetail": DETAIL,
    "AlarmLevel": Whole(one_of=tuple(Level.values)),
    "AlarmGroups": Many(of=_GROUP, most=10),
    "Description": Text(most=2000),
}


def new() -> dict[str, Field]:
    """Of a rule that is made."""
    return RULE | {
        "AlarmRuleName": Text(required=True, most=100),
        "MonitorObjectIds": Many(of=Id(), required=True, most=1000),
        "AlarmTypes": Many(of=Text(one_of=tuple(ALARM_TYPES)), required=True, most=10),
        "AlarmGroups": Many(of=_GROUP, required=True, most=10),
    }
