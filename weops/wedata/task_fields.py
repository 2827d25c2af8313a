"""The fields of a task in requests, with their limits; and which column of ours each of them is."""

import datetime as dt
from typing import Any

from instances.engine.states import SelfDependency
from instances.engine.trigger_policies import Policy
from instances.models.choices import Generation, RerunAllowed
from weops.wedata import codes, dependencies, schedules
from weops.wedata.fields import (
    MOST_CODE,
    Clock,
    Field,
    Id,
    Ignored,
    Many,
    Model,
    Moment,
    Refused,
    Text,
    Whole,
)

BASE, CODE, SCHEDULE = "TaskBaseAttribute", "TaskConfiguration", "TaskSchedulerConfiguration"
# Of the API, for tasks that are made through it.
DEFAULTS: dict[str, Any] = {
    "CycleType": "DAY_CYCLE",
    "CrontabExpression": schedules.DEFAULT_CRONTAB,
    "EndTime": dt.datetime(2099, 12, 31, 23, 59, 59),  # noqa: DTZ001 - on the task's own clock
    "SelfDepend": "serial",
    "AllowRedoType": "ALL",
    "InitStrategy": "T_PLUS_0",
    "ScheduleType": 0,
    "RunPriorityType": 6,
    "RetryWaitMinute": 5,
    "MaxRetryNumber": 4,
}
_YEARS = 60 * 24 * 366
_PAIR = {"ParamKey": Text(required=True, most=100), "ParamValue": Text(most=100_000, default="")}
_ELSEWHERE = "Tasks run on the workers of their resource group; leave it out."
_STRATEGY = Model(
    name="DependencyStrategyTask",
    fields={
        "PollingNullStrategy": Text(one_of=("EXECUTING", "WAITING")),
        "TaskDependencyExecutingStrategies": Many(
            of=Text(one_of=("NOT_EXIST", "PARENT_EXPIRED", "PARENT_TIMEOUT")), most=3
        ),
        "TaskDependencyExecutingTimeoutValue": Whole(least=1, most=_YEARS),
    },
)
_EDGE = Model(
    name="DependencyTaskBrief",
    fields={
        "TaskId": Id(required=True),
        "MainCyclicConfig": Text(one_of=dependencies.MAIN),
        "SubordinateCyclicConfig": Text(one_of=dependencies.SUBORDINATE),
        "Offset": Text(most=200),
        "DependencyStrategy": _STRATEGY,
    },
)
_LISTENER = Model(
    name="EventListener",
    fields={
        "EventName": Text(required=True, most=40),
        "EventSubType": Text(most=20),
        "EventBroadcastType": Text(most=20),
        "PropertiesList": Many(of=Model(name="ParamInfo", fields=_PAIR), most=20),
    },
)
# What a run writes of itself; how it comes by the value is its code's.
_OUT = Model(
    name="OutTaskParameter", fields={"ParamKey": Text(required=True, most=128), "ParamValue": Ignored()}
)
_IN = Model(
    name="InTaskParameter",
    fields={
        "ParamKey": Text(required=True, most=128),
        "ParamDesc": Ignored(),
        "FromTaskId": Id(),
        "FromParamKey": Text(most=128),
        "Type": Text(one_of=("TASK", "CONSTANT"), default="TASK"),
    },
)
CONFIGURATION: dict[str, Field] = {
    "ResourceGroup": Id(),
    "CodeContent": Text(most=MOST_CODE),
    "TaskExtConfigurationList": Many(of=Model(name="TaskExtParameter", fields=_PAIR), most=200),
    "DataCluster": Refused(why="There are no clusters to choose; leave it out."),
    "BrokerIp": Refused(why=_ELSEWHERE, nothing=("any",)),
    "YarnQueue": Refused(why=_ELSEWHERE),
    "SourceServiceId": Id(),
    "TargetServiceId": Refused(why="A task works on one data source, its SourceServiceId; leave it out."),
    "TaskSchedulingParameterList": Many(of=Model(name="TaskSchedulingParameter", fields=_PAIR), most=200),
    "BundleId": Ignored(),
    "BundleInfo": Ignored(),
}
# Of the saved task, which scripts read, change and send back: what is told there says nothing here.
SAVED_CONFIGURATION: dict[str, Field] = CONFIGURATION | {
    name: Ignored()
    for name in (
        *("SourceServiceType", "SourceServiceName", "TargetServiceType", "TargetServiceName"),
        "ResourceGroupName",
    )
}
SCHEDULING: dict[str, Field] = {
    "CycleType": Text(one_of=tuple(codes.CYCLES)),
    "ScheduleTimeZone": Text(most=60),
    "CrontabExpression": Text(most=200),
    "StartTime": Moment(),
    "EndTime": Moment(),
    "ExecutionStartTime": Clock(),
    "ExecutionEndTime": Clock(),
    "CalendarOpen": Text(one_of=("0", "1")),
    "CalendarId": Id(),
    "SelfDepend": Text(one_of=tuple(SelfDependency)),
    "UpstreamDependencyConfigList": Many(of=_EDGE, most=1000),
    "EventListenerList": Many(of=_LISTENER, most=100),
    "AllowRedoType": Text(one_of=tuple(RerunAllowed.values)),
    "ParamTaskOutList": Many(of=_OUT, most=100),
    "ParamTaskInList": Many(of=_IN, most=100),
    "TaskOutputRegistryList": Ignored(type="list of TaskDataRegistry"),
    "InitStrategy": Text(one_of=tuple(Generation.values)),
    "ScheduleType": Whole(one_of=(0, 1)),
    "RunPriorityType": Whole(one_of=tuple(codes.PRIORITIES)),
    "RetryWaitMinute": Whole(least=0, most=_YEARS),
    "MaxRetryNumber": Whole(least=0, most=100),
    "ExecutionTTLMinute": Whole(least=-1, most=_YEARS),
    "WaitExecutionTotalTTLMinute": Whole(least=-1, most=_YEARS),
    "DependencyTriggerPolicy": Text(one_of=tuple(Policy)),
    "MinuteOffset": Refused(type="int", why="Minute tasks start at minute 0 of the hour.", nothing=(0,)),
    # As versions of the API before this one had them.
    "ScheduleRunType": Whole(one_of=(0, 1)),
    "RunPriority": Whole(one_of=tuple(codes.PRIORITIES)),
    "RetryWait": Whole(least=0, most=_YEARS),
    "MaxRetryAttempts": Whole(least=0, most=100),
    "ExecutionTTL": Whole(least=-1, most=_YEARS),
    "WaitExecutionTotalTTL": Whole(least=-1, most=_YEARS),
    "AllowDownstreamDependency": Whole(one_of=(0, 1)),
}
SAVED_SCHEDULING: dict[str, Field] = SCHEDULING | {
    "CalendarName": Ignored(),
    # Whoever waits for it says so itself.
    "DownstreamDependencyConfigList": Ignored(type="list of DependencyTaskBrief"),
    "DownStreamDependencyConfigList": Ignored(type="?"),
}
OLD_NAMES = {
    "ScheduleType": "ScheduleRunType",
    "RunPriorityType": "RunPriority",
    "RetryWaitMinute": "RetryWait",
    "MaxRetryNumber": "MaxRetryAttempts",
    "ExecutionTTLMinute": "ExecutionTTL",
    "WaitExecutionTotalTTLMinute": "WaitExecutionTotalTTL",
}
# Our columns under the names of the API, for errors.
NAMES = {
    "name": f"{BASE}.TaskName",
    "workflow": f"{BASE}.WorkflowId",
    "owner": f"{BASE}.OwnerUin",
    "description": f"{BASE}.TaskDescription",
    "folder": f"{BASE}.TaskFolderPath",
    "task_type": f"{BASE}.TaskTypeId",
    "code": f"{CODE}.CodeContent",
    "parameters": f"{CODE}.TaskSchedulingParameterList",
    "settings": f"{CODE}.TaskExtConfigurationList",
    "resource_group": f"{CODE}.ResourceGroup",
    "data_source": f"{CODE}.SourceServiceId",
    **dict.fromkeys(
        ("step", "at", "hours", "weekdays", "month_days", "months", "crontab", "run_at"),
        f"{SCHEDULE}.CrontabExpression",
    ),
    "cycle_type": f"{SCHEDULE}.CycleType",
    "timezone": f"{SCHEDULE}.ScheduleTimeZone",
    "effective_from": f"{SCHEDULE}.StartTime",
    "effective_to": f"{SCHEDULE}.EndTime",
    "window_start": f"{SCHEDULE}.ExecutionStartTime",
    "window_end": f"{SCHEDULE}.ExecutionEndTime",
    "calendar": f"{SCHEDULE}.CalendarId",
    "calendar_mode": f"{SCHEDULE}.CalendarOpen",
    "dependencies": f"{SCHEDULE}.UpstreamDependencyConfigList",
    "listeners": f"{SCHEDULE}.EventListenerList",
    "retry_limit": f"{SCHEDULE}.MaxRetryNumber",
    "retry_wait": f"{SCHEDULE}.RetryWaitMinute",
    "self_dependency": f"{SCHEDULE}.SelfDepend",
    "trigger_policy": f"{SCHEDULE}.DependencyTriggerPolicy",
    "outputs": f"{SCHEDULE}.ParamTaskOutList",
}
