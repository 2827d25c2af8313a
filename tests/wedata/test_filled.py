"""A tour of all that is read, in a world that has everything: what no answer ever fills is decided, field by field."""

from datetime import date
from types import SimpleNamespace

import pytest
from django.utils import timezone

from events.models import Consumption, EventInstance
from instances.models import BackfillPlan, BackfillRun, Instance, LogChunk, StateChange, Task
from tests import factories as make
from tests.admin.rows import make_edge, make_execution, make_instance
from tests.wedata import contract
from tests.wedata.examples import code
from tests.wedata.support import FILLED, V2021, V2025, InProject
from tests.wedata.test_alarms import asked
from tests.wedata.test_contract import ACTIONS
from weops.alarms.models import Message, Rule
from weops.projects.models import Folder

pytestmark = pytest.mark.django_db

# Models that no answer has at all: what they are about does not exist here, or is told elsewhere.
ABSENT = """
    AiOpsEventListenerDTO AiopsDLCResourceConfigDto AiopsScriptInfo AiopsSimpleTaskDto AlarmWayWebHook
    AttributeItemOpsDto BindProject ExtResourceFlagDto InTaskParameter LinkOpsDto MonitorWhiteTask
    ProjectInstanceStatisticsAlarmInfo ReconciliationStrategyInfo StrToStrMap TaskDataRegistry TaskExtOpsDto
    WorkflowSchedulerConfiguration
"""
# Fields of the others, and why.
FIELDS = {
    "AlarmGroup": "WebHooks",  # addresses of webhooks are secrets
    "AlarmMessage": "CustomEmails",  # among the recipients
    "AlarmRuleData": "BundleId BundleInfo",  # no bundles
    # what rules do not watch
    "AlarmRuleDetail": """
        MonitorWhiteTasks ProjectInstanceStatisticsAlarmInfoList ReconciliationExtInfo WorkflowCompletionTimeCycleExtInfo
        WorkflowExecutionFailureTrigger WorkflowExecutionSuccessTrigger WorkflowExecutionTrigger
    """,
    "BatchReturn": "ErrorDesc ErrorId",  # what fails is an error
    "DataBackfill": "IntegrationResourceGroupId",  # no integration tasks
    "EventCaseOpsDto": "ConsumerId Description",  # not known of a firing
    "EventDsDto": "BundleId BundleInfo Properties",  # no bundles
    "EventListenerDTO": "CreationTs",  # not known
    "EventListenerOpsDto": "CreationTimestamp",  # not known
    "EventOpsDto": "Properties",  # none
    # groups serve all projects, wherever they are
    "ExecutorResourceGroupInfo": "AssociateProjects AutoRenewEnabled Region SubNet VpcId",
    # workflows have no schedule
    "OpsWorkflowDetail": "CycleType EndTime InstanceInitStrategy SchedulerDesc StartTime StartupTime",
    "OutTaskParameter": "ParamValue",  # the code's
    "Project": "ProjectOwnerUin",  # no owner
    "ProjectUserRole": "AppId CreateTime IsCreator IsProjectOwner PhoneNum RootAccountId",  # no tenants
    "TaskBaseAttribute": "LastOpsTime LastOpsUserName",  # not known
    # no clusters
    "TaskConfiguration": """
        BrokerIp BundleId BundleInfo DataCluster SourceServiceType TargetServiceId TargetServiceName TargetServiceType
        YarnQueue
    """,
    "TaskDependDto": "DelayTime TaskAction",  # no delays
    # see GetTask
    "TaskOpsDto": """
        BrokerIp BundleId BundleInfo ClusterId Creator Crontab CycleNum CycleStep CycleUnit DLCResourceConfig DelayTime
        DependencyRel DependencyWorkflow EndDate EventListenerConfig EventListenerInfos EventPublisherConfig ExtResourceFlag
        FirstRunTime FirstSubmitTime LastSchedulerCommitTime Layer LeftCoordinate MaxDateTime MinDateTime NewParentTaskInfos
        NormalizedJobStartTime OwnId ParentTaskInfos Privilege Privileges ProductName ProxyTaskId ProxyTaskTypeId
        RealWorkflowId ResourceGroup ScriptInfo SelfWorkFlowDependType ShowWorkflow SourceServiceType StartDate StartupTime
        TargetServiceId TargetServiceType TaskAction TaskExtDTO TaskExtInfo TaskLinkInfo TasksStr TenantId TopCoordinate
        UpdateUser UpdateUserId UserId VirtualTaskId VirtualTaskStatus YarnQueue
    """,
    # names of older versions; what goes by itself
    "TaskSchedulerConfiguration": """
        DownStreamDependencyConfigList ExecutionTTL MaxRetryAttempts ParamTaskInList RetryWait RunPriority ScheduleRunType
        TaskOutputRegistryList WaitExecutionTotalTTL
    """,
    "TaskTypeOpsDto": "TypeSort",  # none
    "TaskVersion": "ApproveStatus ApproveUserUin Status",  # no approval
    "TaskVersionDetail": "ApproveStatus ApproveTime ApproveUserUin",  # no approval
    "TimeOutStrategyInfo": "AlarmTriggerFrequency Second Times",  # no streams
    "WorkflowDetail": "BundleId BundleInfo WorkflowSchedulerConfiguration",  # no bundles, no schedule
}


def test_what_no_answer_fills(world: SimpleNamespace) -> None:
    for filled in FILLED.values():
        filled.clear()
    tour(world)
    unfilled: set[tuple[str, str]] = set()
    for version, name in ACTIONS:
        unfilled |= contract.reachable(version, f"{name}Response") - FILLED[version]
    never = {(model, field) for model, fields in FIELDS.items() for field in fields.split()}
    assert {model for model, _ in unfilled} == {*ABSENT.split(), *FIELDS}
    assert {(model, field) for model, field in unfilled if model not in ABSENT.split()} == never


def tour(world: SimpleNamespace) -> None:
    susan, petra = world.door(make.SUSAN), world.cast[make.PETRA]
    made = susan("CreateProject", Project={"ProjectName": "toured"})["ProjectId"]
    susan("UpdateProject", ProjectId=made, Description="x")
    susan("GetProject", ProjectId=made)
    susan("DisableProject", ProjectId=made)
    susan("EnableProject", ProjectId=made)
    susan("DeleteProject", ProjectId=made)
    call = InProject(susan, world.ours.id)
    call("GetProject")
    call("ListProjectRoles")
    call("CreateProjectMember", UserUins=[str(world.cast[make.EVE].pk)], RoleIds=["308335260945326080"])
    call("ListProjectMembers")
    susan("ListProjects")
    susan("ListResourceGroups")
    task = define(world, call)
    run(world, call, task)
    tell(world, call)
    listen(world, call, task)
    call("UpdateOpsTasksOwner", TaskIds=[task], OwnerUin=str(petra.pk))
    operate(world, call, task)


def define(world: SimpleNamespace, call: InProject) -> str:
    folder = call("CreateWorkflowFolder", ParentFolderPath="/", FolderName="etl")["FolderId"]
    call("UpdateWorkflowFolder", FolderId=folder, FolderName="etl2")
    call("ListWorkflowFolders")
    workflow = call(
        "CreateWorkflow", WorkflowName="toured", WorkflowParams=[{"ParamKey": "a", "ParamValue": "b"}]
    )["WorkflowId"]
    call("UpdateWorkflow", WorkflowId=workflow, WorkflowDesc="x")
    call("GetWorkflow", WorkflowId=workflow)
    call("ListWorkflows")
    in_task = call("CreateTaskFolder", ParentTaskFolderPath="/", TaskFolderName="t", WorkflowId=workflow)[
        "TaskFolderId"
    ]
    call("ListTaskFolders", WorkflowId=workflow)
    call(
        "RegisterEvent", V2021, Name="ready", EventSubType="DAY", EventBroadcastType="SINGLE", Description="x"
    )
    source = make.make_data_source(world.ours.project, "postgresql://u:p@localhost/x")
    calendar = make.make_calendar(project=world.ours.project, name="days")
    calendar.dates = [date(2027, 1, 1)]
    calendar.save()
    task = call(
        "CreateTask",
        TaskBaseAttribute={
            "TaskName": "toured", "TaskTypeId": "35", "WorkflowId": workflow, "TaskFolderPath": "/t", "TaskDescription": "x",
        },
        TaskConfiguration={
            "CodeContent": code("echo"), "ResourceGroup": str(world.ours.group.pk),
            "TaskSchedulingParameterList": [{"ParamKey": "a", "ParamValue": "b"}],
            "TaskExtConfigurationList": [{"ParamKey": "events_variable", "ParamValue": "EVENTS"}],
        },
        TaskSchedulerConfiguration={
            "CalendarOpen": "1", "CalendarId": str(calendar.pk), "ExecutionTTLMinute": 5,
            "ParamTaskOutList": [{"ParamKey": "rows"}],
            "UpstreamDependencyConfigList": [
                {"TaskId": str(world.ours.task.pk), "MainCyclicConfig": "LIST_DAY", "Offset": "-1", "DependencyStrategy": {
                    "PollingNullStrategy": "EXECUTING", "TaskDependencyExecutingStrategies": ["PARENT_TIMEOUT"],
                    "TaskDependencyExecutingTimeoutValue": 5,
                }},
            ],
            "EventListenerList": [{"EventName": "ready"}],
        },
    )["TaskId"]  # fmt: skip
    call("SubmitTask", TaskId=task, VersionRemark="x")
    child = call(
        "CreateTask",
        TaskBaseAttribute={"TaskName": "child", "TaskTypeId": "21", "WorkflowId": workflow, "TaskFolderPath": "/t"},
        TaskConfiguration={
            "CodeContent": code("SELECT 1"), "ResourceGroup": str(world.ours.group.pk), "SourceServiceId": str(source.pk),
        },
        TaskSchedulerConfiguration={"UpstreamDependencyConfigList": [{"TaskId": task}]},
    )["TaskId"]  # fmt: skip
    call("SubmitTask", TaskId=child)
    call("UpdateTask", TaskId=task, Task={"TaskBaseAttribute": {"TaskDescription": "y"}})
    call("UpdateTaskPartially", TaskId=task, NewSetting={"TaskBaseAttribute": {"TaskDescription": "z"}})
    for one in (task, child):
        for name in ("GetTask", "GetTaskCode", "GetOpsTask", "GetOpsTaskCode", "ListTaskVersions", "GetTaskVersion",
                     "ListUpstreamTasks", "ListDownstreamTasks", "ListUpstreamOpsTasks", "ListDownstreamOpsTasks"):  # fmt: skip
            call(name, TaskId=one)
    call("ListTasks")
    spare = call("CreateWorkflow", WorkflowName="spare")["WorkflowId"]
    call("DeleteWorkflow", WorkflowId=spare)
    call("DeleteWorkflowFolder", FolderId=folder)
    assert Folder.objects.filter(pk=in_task).exists()
    return str(task)


def run(world: SimpleNamespace, call: InProject, task: str) -> None:
    row = Task.objects.get(pk=task)
    instance = make_instance(row, "failed", error_message="It broke.", total_runs=1)
    execution = make_execution(instance, "failed", log_bytes=4)
    LogChunk.objects.create(execution=execution, seq=0, start=0, text="log\n")
    StateChange.objects.create(instance_id=instance.pk, move="fail", from_state="running", to_state="failed")
    make_edge(instance, world.ours.instance, satisfied_at=timezone.now())
    make_edge(make_instance(row, after=1), instance, satisfied_at=timezone.now())
    # A life that goes on has more of its log to come.
    running = make_instance(row, "running", after=2)
    make_execution(running, "running")
    for key in (str(instance.pk), str(running.pk)):
        for name in ("GetTaskInstance", "GetTaskInstanceLog", "ListTaskInstanceExecutions", "ListUpstreamTaskInstances",
                     "ListDownstreamTaskInstances"):  # fmt: skip
            call(name, InstanceKey=key)
    call("ListTaskInstances")
    call("ListOpsTasks")
    call("ListDownstreamOpsTasks", TaskId=str(world.ours.task.pk))
    call("ListOpsWorkflows")
    call("GetOpsWorkflow", WorkflowId=str(row.workflow_id))
    Task.objects.filter(workflow=row.workflow).update(folder=world.ours.folder)
    row.workflow.folder = world.ours.folder
    row.workflow.save()
    call("ListOpsWorkflows")
    call("GetOpsWorkflow", WorkflowId=str(row.workflow_id))
    plans = [
        call(
            "CreateDataBackfillPlan", TaskIds=[str(world.ours.task.pk)], RedefineParamList=[{"K": "a", "V": "b"}],
            DataBackfillRangeList=[{"StartDate": "2026-01-01", "EndDate": "2026-01-01", **hours}], **more,
        )["DataBackfillPlanId"]
        for hours, more in (
            ({}, {"RedefineParallelNum": 2, "SchedulerResourceGroupId": str(world.ours.group.pk)}),
            ({"ExecutionStartTime": "00:00", "ExecutionEndTime": "12:00"},
             {"RedefineSelfWorkflowDependency": "yes", "RedefineCycleType": "MONTH_CYCLE"}),
        )
    ]  # fmt: skip
    started = BackfillRun.objects.filter(plan=plans[0]).first()
    assert started is not None
    assert started.instance_id is not None
    Instance.objects.filter(pk=started.instance_id).update(
        state="success", start_time=timezone.now(), end_time=timezone.now(), pending_upstream=0
    )
    BackfillPlan.objects.filter(pk=plans[0]).update(finished_at=timezone.now())
    for plan in plans:
        call("GetDataBackfillPlan", DataBackfillPlanId=plan)
        call("ListDataBackfillInstances", DataBackfillPlanId=plan)
    call("DeleteDataBackfillPlanAsync", DataBackfillPlanId=plans[0])


def tell(world: SimpleNamespace, call: InProject) -> None:
    rule = call("CreateOpsAlarmRule", **asked(world))["AlarmRuleId"]
    call("UpdateOpsAlarmRule", AlarmRuleId=rule, Status=1)
    call("GetOpsAlarmRule", AlarmRuleId=rule)
    call("ListOpsAlarmRules")
    one = Message.objects.create(
        rule=Rule.objects.get(), rule_name="x", project=world.ours.project, instance_id=world.ours.instance.pk, life_round=0,
        task_id=world.ours.task.pk, task_name="x", data_time=world.ours.instance.data_time, occasion="failure", kind="failure",
        level=3, reason="It failed.", receivers=["dana"], ways=["email"],
    )  # fmt: skip
    call("GetAlarmMessage", AlarmMessageId=str(one.pk))
    call("ListAlarmMessages")
    call("DeleteOpsAlarmRule", AlarmRuleId=rule)


def listen(world: SimpleNamespace, call: InProject, task: str) -> None:
    call("RegisterDsEvent", V2021, Name="later", EventSubType="DAY", ValidConsumeCount=1, Description="x")
    call("RegisterEventListener", V2021, Key=task, EventName="later", Properties='{"maxWaitEventTime":1}')
    properties = [{"ParamKey": "maxWaitEventTime", "ParamValue": "3"}]
    call("RegisterDsEventListener", V2021, Key=task, EventName="later", Properties=properties)
    call("TriggerEvent", V2021, Name="later", Dimension="20260301")
    call(
        "TriggerDsEvent",
        V2021,
        EventCaseList=[{"Name": "later", "Dimension": day} for day in ("20260302", "2026")],
    )
    case = EventInstance.objects.order_by("id").first()
    assert case is not None
    EventInstance.objects.filter(pk=case.pk).update(
        state="consuming", consumed_at=timezone.now(), consumers=1
    )
    served = Instance.objects.filter(task=int(task)).first()
    assert served is not None
    Consumption.objects.create(event_instance=case, instance=served, single=False)
    call("DescribeEvent", V2021, EventName="later")
    call("DescribeEventCases", V2021)
    source = make.make_data_source(world.ours.project, "postgresql://u:p@localhost/y")
    Task.objects.filter(pk=task).update(data_source=source)
    call("DescribeEventConsumeTasks", V2021, EventCaseId=str(case.pk))
    Task.objects.filter(pk=task).update(data_source=None)


def operate(world: SimpleNamespace, call: InProject, task: str) -> None:
    key = str(world.ours.instance.pk)
    answers = [
        call(name, InstanceKeyList=[key])
        for name in (
            "KillTaskInstancesAsync",
            "KillTaskInstancesAsync",
            "RerunTaskInstancesAsync",
            "SetSuccessTaskInstancesAsync",
        )
    ]
    answers += [call("PauseOpsTasksAsync", TaskIds=[task])]
    call("StartOpsTasks", TaskIds=[task])
    answers += [call("StopOpsTasksAsync", TaskIds=[task])]
    for answer in answers:
        call("GetOpsAsyncJob", AsyncId=answer["AsyncId"])
    workflow = call("GetTask", TaskId=task)["TaskBaseAttribute"]["WorkflowId"]
    spare = call(
        "CreateTask",
        TaskBaseAttribute={"TaskName": "spare", "TaskTypeId": "35", "WorkflowId": workflow},
        TaskConfiguration={"ResourceGroup": str(world.ours.group.pk), "CodeContent": code("echo")},
    )["TaskId"]
    call("DeleteTask", TaskId=spare)
    member = str(world.cast[make.EVE].pk)
    call("GrantMemberProjectRole", UserUin=member, RoleIds=["308335260676890624"])
    call("RemoveMemberProjectRole", UserUin=member, RoleIds=["308335260676890624"])
    call("DeleteProjectMember", UserUins=[member])
    assert V2025 in FILLED
