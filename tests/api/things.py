"""A row of every noun in one project, for tests that try every address."""

from types import SimpleNamespace
from typing import Any

from events.models import EventInstance, Listener, Stray
from instances.models import ForEachRun, Instance, OperationRecord, Traversal
from instances.operations import backfill
from tests import factories
from tests.admin.rows import make_execution, make_instance
from tests.events.scene import fire, make_event
from weops.alarms import channels, rules
from weops.alarms.groups import GroupSpec
from weops.alarms.models import Message, Rule
from weops.projects.models import Member


def make_alarm(failed: Instance, rule: Rule | None = None, **values: Any) -> Message:
    """A message that this instance has failed."""
    return Message.objects.create(
        **{
            "rule": rule,
            "rule_name": rule.name if rule else "a rule that is gone",
            "project": failed.project,
            "instance_id": failed.pk,
            "task_id": failed.task_id,
            "task_name": failed.task.name,
            "data_time": failed.data_time,
            "life_round": failed.life_round,
            "occasion": "failure",
            "kind": "failure",
            "level": 1,
            "reason": "It ended with 1.",
            **values,
        }
    )


def make_traversed(workflow: Any, item: str = "north") -> Instance:
    """A For-each instance that runs, with one traversal of two inner tasks, the first of which has succeeded."""
    outer = factories.make_task(workflow, task_type="FOR_EACH", code=f'["{item}"]')
    first, second = (factories.make_task(workflow, for_each=outer) for _ in range(2))
    found = make_instance(outer, "running", execution_id=0)
    now = found.created_at
    run = ForEachRun.objects.create(
        instance=found,
        execution_id=0,
        spec={},
        dag=[[first.pk, []], [second.pk, [first.pk]]],
        parameters={},
        total=1,
        active=1,
        started_at=now,
    )
    Traversal.objects.create(
        for_each=found, number=0, execution_id=run.execution_id, item=item, state="active", started_at=now
    )
    make_instance(first, "success", for_each_id=found.pk, traversal="0")
    return found


def things(world: Any, side: Any) -> SimpleNamespace:
    """Ids by noun, of the project of `side`."""
    project, task = side.project, side.task
    event = make_event(project, "ready")
    fired = EventInstance.objects.get(pk=fire(event).event_instances[0])
    other = factories.make_task(side.workflow)
    failed = make_instance(other, "failed")
    admin = world.cast[factories.SUSAN]
    channel = channels.save(
        admin, project, name=f"{project.name}_chat", kind="webhook", address="https://chat.example/secret"
    )
    rule = rules.create(
        admin,
        project,
        rules.RuleSpec(
            name=f"{project.name}_rule",
            object_kind="task",
            object_ids=[task.pk],
            kinds=["failure"],
            groups=[GroupSpec(channels=[channel.pk])],
        ),
    )
    record = OperationRecord.objects.create(kind="rerun", source="admin", project_ids=[project.pk])
    return SimpleNamespace(
        projects=project.pk,
        members=Member.objects.get_or_create(project=project, user=factories.make_user("guest"))[0].pk,
        folders=side.folder.pk,
        resource_groups=side.group.pk,
        calendars=side.calendar.pk,
        secrets=side.secret.pk,
        data_sources=side.source.pk,
        users=world.cast[factories.VERA].pk,
        workflows=side.workflow.pk,
        tasks=task.pk,
        versions=side.version.pk,
        dependencies=factories.depend(other, task).pk,
        instances=side.instance.pk,
        failed=failed.pk,
        executions=make_execution(side.instance, "failed").pk,
        operations=record.pk,
        backfills=backfill.create(
            {"tasks": [task.pk], "ranges": [{"first": "2013-01-01", "last": "2013-01-01"}]},
            user=None,
            source="api",
        ).pk,
        events=event.pk,
        listeners=Listener.objects.create(task=other, event=event).pk,
        event_instances=fired.pk,
        stray=Stray.objects.create(
            firing=fired.firing, name="redy", data_time="20260325", reason=Stray.Reason.UNKNOWN
        ).pk,
        for_each_instances=make_traversed(side.workflow).pk,
        alarm_rules=rule.pk,
        alarm_channels=channel.pk,
        alarm_messages=make_alarm(failed, rule).pk,
        empty_folder=type(side.folder).objects.create(project=project, name="empty").pk,
        empty_workflow=factories.make_workflow(project).pk,
        empty_group=factories.make_group().pk,
        empty_project=factories.make_project().pk,
        free_event=make_event(project, "unused").pk,
        draft=factories.make_task(factories.make_workflow(project)).pk,
        free_secret=factories.make_secret(project).pk,
    )
