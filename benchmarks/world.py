"""The tasks that benchmarks run: written as sets, since thousands are wanted and only their running is measured."""

import datetime as dt
import itertools
import os
from collections.abc import Sequence

from django.db import connection

from instances.engine.schedule import Cycle, next_occurrence
from instances.models import Dependency, Task, TaskVersion, Workflow
from weops.projects.models import Project, ResourceGroup

# Ids name Celery queues: far from those of anybody else who uses the broker.
_group_ids = itertools.count(100_000_000 + os.getpid() * 100)
_names = itertools.count(1)


def make_group(slots: int) -> ResourceGroup:
    return ResourceGroup.objects.create(pk=next(_group_ids), name=f"group{next(_names)}", slots=slots)


def make_tasks(
    count: int,
    group: ResourceGroup,
    since: dt.datetime,
    *,
    until: dt.datetime | None = None,
    cycle: Cycle = Cycle.HOUR,
    code: str = "",
) -> list[Task]:
    """`count` parallel tasks in UTC: SHELL when there is code, VIRTUAL (no-op) otherwise. Not scheduled yet.

    What is planned after `since`, and not after `until`, will be generated once `schedule` is called.
    """
    project = Project.objects.create(name=f"project{next(_names)}")
    workflow = Workflow.objects.create(project=project, name="benchmark")
    kind = "SHELL" if code else "VIRTUAL"
    tasks = Task.objects.bulk_create(
        Task(
            workflow=workflow,
            name=f"task{place}",
            task_type=kind,
            code=code,
            resource_group=group,
            self_dependency="parallel",
            retry_limit=0,
            cycle_type=cycle,
            timezone="UTC",
            generated_until=since,
            effective_to=until,
        )
        for place in range(count)
    )
    TaskVersion.objects.bulk_create(
        TaskVersion(task=task, number=1, task_type=kind, code=code, definition={"timezone": "UTC"})
        for task in tasks
    )
    return tasks


def depend(pairs: Sequence[tuple[Task, Task, str]]) -> None:
    """(downstream, upstream, scope) each."""
    Dependency.objects.bulk_create(
        Dependency(task=task, upstream=upstream, scope=scope) for task, upstream, scope in pairs
    )


def schedule(tasks: Sequence[Task]) -> None:
    """From now on they are due as they are planned. All of them have the same schedule."""
    since = tasks[0].generated_until
    assert since is not None
    following = next_occurrence(tasks[0].schedule(), since)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE instances_task t SET status = 'scheduling', current_version_id = v.id, next_due_at = %s "
            "FROM instances_taskversion v WHERE v.task_id = t.id AND t.id = ANY(%s)",
            [following.planned_time if following else None, [task.pk for task in tasks]],
        )
        cursor.execute("ANALYZE instances_task, instances_taskversion, instances_dependency")


def clear() -> None:
    """Removes every task and all that came of it, so that no benchmark pays for another."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE projects_project, projects_resourcegroup, instances_statechange, instances_frozenset, "
            "instances_taskplace CASCADE"
        )
