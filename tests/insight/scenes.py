"""Instances that hang together, made by the engine."""

from typing import Any

from instances.engine import generation
from instances.models import Instance, Task, Workflow
from tests import factories as make
from tests.engine.harness import HOUR, JANUARY, instances_of


def chain(length: int, workflow: Workflow | None = None, **columns: Any) -> list[Instance]:
    """Instances of one day, each of which waits for the one before it."""
    workflow, group = workflow or make.make_workflow(), make.make_group()
    tasks: list[Task] = []
    for _ in range(length):
        task = make.make_task(workflow, group=group, effective_to=JANUARY + HOUR, **columns)
        if tasks:
            make.depend(task, tasks[-1])
        make.submit(task, since=JANUARY - HOUR)
        tasks.append(task)
    generation.generate()
    return [instances_of(task)[0] for task in tasks]


def move(instance: Instance, workflow: Workflow) -> None:
    """As if the instance and its task had always belonged to another workflow."""
    Task.objects.filter(pk=instance.task_id).update(workflow=workflow)
    Instance.objects.filter(pk=instance.pk).update(project=workflow.project, workflow=workflow)
