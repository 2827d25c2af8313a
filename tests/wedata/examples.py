"""One request of each action that would be answered, as far as its fields go, for tests that go through all of them."""

import base64
from typing import Any

from tests.wedata.support import V2021, V2025


def code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def requests(of: Any, user_id: int) -> dict[tuple[str, str], dict[str, Any]]:
    """{(version, action): its fields}, about what the project `of` has; `user_id` is anybody's."""
    task, instance, workflow = str(of.task.pk), str(of.instance.pk), str(of.workflow.pk)
    member, folder = str(user_id), str(of.folder.pk)
    role = ["308335260945326080"]
    new: dict[str, dict[str, Any]] = {
        "GetProject": {},
        "UpdateProject": {"Description": "x"},
        "DeleteProject": {},
        "EnableProject": {},
        "DisableProject": {},
        "CreateProjectMember": {"UserUins": [member], "RoleIds": role},
        "DeleteProjectMember": {"UserUins": [member]},
        "ListProjectMembers": {},
        "ListProjectRoles": {},
        "GrantMemberProjectRole": {"UserUin": member, "RoleIds": role},
        "RemoveMemberProjectRole": {"UserUin": member, "RoleIds": role},
        "CreateWorkflow": {"WorkflowName": "made_here"},
        "GetWorkflow": {"WorkflowId": workflow},
        "ListWorkflows": {},
        "UpdateWorkflow": {"WorkflowId": workflow, "WorkflowDesc": "x"},
        "DeleteWorkflow": {"WorkflowId": workflow},
        "CreateWorkflowFolder": {"ParentFolderPath": "/", "FolderName": "made_here"},
        "UpdateWorkflowFolder": {"FolderId": folder, "FolderName": "renamed"},
        "DeleteWorkflowFolder": {"FolderId": folder},
        "ListWorkflowFolders": {},
        "CreateTaskFolder": {
            "ParentTaskFolderPath": "/",
            "TaskFolderName": "made_here",
            "WorkflowId": workflow,
        },
        "ListTaskFolders": {"WorkflowId": workflow},
        "CreateTask": {
            "TaskBaseAttribute": {"TaskName": "made_here", "TaskTypeId": "35", "WorkflowId": workflow},
            "TaskConfiguration": {"CodeContent": code("echo"), "ResourceGroup": str(of.group.pk)},
            "TaskSchedulerConfiguration": {},
        },
        "GetTask": {"TaskId": task},
        "GetTaskCode": {"TaskId": task},
        "ListTasks": {},
        "UpdateTask": {"TaskId": task, "Task": {"TaskBaseAttribute": {"TaskDescription": "x"}}},
        "UpdateTaskPartially": {
            "TaskId": task,
            "NewSetting": {"TaskBaseAttribute": {"TaskDescription": "x"}},
        },
        "DeleteTask": {"TaskId": task},
        "SubmitTask": {"TaskId": task},
        "ListTaskVersions": {"TaskId": task},
        "GetTaskVersion": {"TaskId": task},
        "ListUpstreamTasks": {"TaskId": task},
        "ListDownstreamTasks": {"TaskId": task},
        "ListOpsTasks": {},
        "GetOpsTask": {"TaskId": task},
        "GetOpsTaskCode": {"TaskId": task},
        "ListOpsWorkflows": {},
        "GetOpsWorkflow": {"WorkflowId": workflow},
        "ListUpstreamOpsTasks": {"TaskId": task},
        "ListDownstreamOpsTasks": {"TaskId": task},
        "PauseOpsTasksAsync": {"TaskIds": [task]},
        "StartOpsTasks": {"TaskIds": [task]},
        "StopOpsTasksAsync": {"TaskIds": [task]},
        "UpdateOpsTasksOwner": {"TaskIds": [task], "OwnerUin": member},
        "ListTaskInstances": {},
        "GetTaskInstance": {"InstanceKey": instance},
        "GetTaskInstanceLog": {"InstanceKey": instance},
        "ListTaskInstanceExecutions": {"InstanceKey": instance},
        "ListUpstreamTaskInstances": {"InstanceKey": instance},
        "ListDownstreamTaskInstances": {"InstanceKey": instance},
        "KillTaskInstancesAsync": {"InstanceKeyList": [instance]},
        "RerunTaskInstancesAsync": {"InstanceKeyList": [instance]},
        "SetSuccessTaskInstancesAsync": {"InstanceKeyList": [instance]},
        "GetOpsAsyncJob": {"AsyncId": "1"},
        "CreateDataBackfillPlan": {
            "TaskIds": [task],
            "DataBackfillRangeList": [{"StartDate": "2026-01-01", "EndDate": "2026-01-03"}],
        },
        "GetDataBackfillPlan": {"DataBackfillPlanId": "1"},
        "ListDataBackfillInstances": {"DataBackfillPlanId": "1"},
        "DeleteDataBackfillPlanAsync": {"DataBackfillPlanId": "1"},
        "CreateOpsAlarmRule": {
            "AlarmRuleName": "made_here",
            "MonitorObjectIds": [task],
            "AlarmTypes": ["failure"],
            "AlarmGroups": [{"AlarmRecipientType": 2}],
        },
        "GetOpsAlarmRule": {"AlarmRuleId": "1"},
        "ListOpsAlarmRules": {"TaskId": task},
        "UpdateOpsAlarmRule": {"AlarmRuleId": "1", "Status": 0},
        "DeleteOpsAlarmRule": {"AlarmRuleId": "1"},
        "ListAlarmMessages": {},
        "GetAlarmMessage": {"AlarmMessageId": "1"},
    }
    old: dict[str, dict[str, Any]] = {
        "RegisterEvent": {"Name": "made", "EventSubType": "DAY", "EventBroadcastType": "BROADCAST"},
        "RegisterDsEvent": {"Name": "made", "EventSubType": "DAY"},
        "RegisterEventListener": {"Key": task, "EventName": "ready"},
        "RegisterDsEventListener": {"Key": task, "EventName": "ready"},
        "TriggerEvent": {"Name": "ready", "Dimension": "20260325"},
        "TriggerDsEvent": {"EventCaseList": [{"Name": "ready", "Dimension": "20260325"}]},
        "DescribeEvent": {"EventName": "ready"},
        "DescribeEventCases": {},
        "DescribeEventConsumeTasks": {"EventCaseId": "1"},
    }
    found = {(V2025, name): {"ProjectId": of.id, **given} for name, given in new.items()}
    found |= {(V2021, name): {"ProjectId": of.id, **given} for name, given in old.items()}
    found[V2025, "ListProjects"] = {}
    found[V2025, "ListResourceGroups"] = {}
    found[V2025, "CreateProject"] = {"Project": {"ProjectName": "made_here"}}
    return found
