"""Rows that the pages show, made without the engine: what matters here is how they look, not how they came to be."""

import datetime as dt
from typing import Any

from django.utils import timezone

from instances.engine.states import State
from instances.models import Edge, Execution, Instance, Task
from tests import factories
from weops.alarms import channels, rules
from weops.alarms.models import Message
from weops.alarms.rules import GroupSpec, RuleSpec

START = dt.datetime(2026, 3, 25, tzinfo=dt.UTC)
HOSTILE = "<script>alert('x')</script>"
_ENDED = {State.FAILED, State.SUCCESS, State.SKIPPED, State.FAILED_RETRY}


def make_instance(task: Task, state: str = State.WAIT_RUN, *, after: int = 0, **columns: Any) -> Instance:
    """An instance of `task`, `after` days after START, with what the database wants of its state."""
    now = timezone.now()
    data_time = START + dt.timedelta(days=after)
    began = now - dt.timedelta(minutes=5)
    defaults: dict[str, Any] = {
        "task": task,
        "data_time": data_time,
        "planned_time": data_time,
        "not_before": data_time,
        "instance_type": "periodic",
        "cycle_type": task.cycle_type,
        "task_type": task.task_type,
        "project": task.workflow.project,
        "workflow": task.workflow,
        "folder": task.folder,
        "owner": task.owner,
        "resource_group": task.resource_group,
        "priority": task.priority,
        "state": state,
        "pending_upstream": 1 if state == State.WAIT_UPSTREAM else 0,
        "version": task.current_version,
    }
    if state in _ENDED:
        defaults |= {"start_time": began, "end_time": now}
    if state in (State.RUNNING, State.TERMINATING):
        defaults |= {"start_time": began, "execution_id": 0}
    return Instance.objects.create(**{**defaults, **columns})


def make_execution(instance: Instance, state: str = "success", **columns: Any) -> Execution:
    """An execution of `instance`; the newest made is the instance's present one."""
    now = timezone.now()
    ended = None if state in ("dispatched", "running", "stopping") else now
    defaults: dict[str, Any] = {
        "instance": instance,
        "life_round": instance.life_round,
        "try_number": instance.tries,
        "state": state,
        "resource_group": instance.resource_group,
        "version": instance.version,
        "wait_started_at": now - dt.timedelta(minutes=9),
        "queue_started_at": now - dt.timedelta(minutes=6),
        "run_started_at": now - dt.timedelta(minutes=5),
        "run_ended_at": ended,
        "ended_at": ended,
    }
    execution = Execution.objects.create(**{**defaults, **columns})
    Instance.objects.filter(pk=instance.pk).update(execution_id=execution.pk)
    instance.execution_id = execution.pk
    return execution


def make_edge(instance: Instance, upstream: Instance | Task, **columns: Any) -> Edge:
    """`instance` waits for `upstream`: an instance, or a task whose instance is not generated yet."""
    task = upstream.task if isinstance(upstream, Instance) else upstream
    return Edge.objects.create(
        instance=instance,
        upstream_task=task,
        upstream_data_time=upstream.data_time if isinstance(upstream, Instance) else instance.data_time,
        upstream=upstream if isinstance(upstream, Instance) else None,
        **columns,
    )


def alarm_rows(instance: Instance) -> dict[str, Any]:
    """An alarm channel, a rule that tells it, and a message of that rule, of the instance's project."""
    project = instance.task.workflow.project
    boss = factories.make_user(factories.SUSAN)
    channel = channels.save(
        boss,
        project,
        name=factories.unique("hook"),
        kind="webhook",
        address="https://example.com/s3cret-path",
    )
    group = GroupSpec(receivers="owner", channels=[channel.pk])
    rule = rules.create(
        boss,
        project,
        RuleSpec(
            name=factories.unique("rule"),
            object_kind="task",
            object_ids=[instance.task_id],
            kinds=["failure"],
            groups=[group],
        ),
    )
    message = Message.objects.create(
        rule=rule,
        rule_name=rule.name,
        project=project,
        instance_id=instance.pk,
        task_id=instance.task_id,
        task_name=instance.task.name,
        data_time=instance.data_time,
        life_round=0,
        occasion="failure",
        kind="failure",
        level=3,
        reason="EXIT_NONZERO: it <b>failed</b>",
    )
    return {"alarms.channel": channel, "alarms.rule": rule, "alarms.message": message}
