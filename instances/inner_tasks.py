"""Inner tasks of For-each tasks: which of them are in its DAG, and what makes one unusable. Only reads.

An inner task is in the DAG once it has been submitted, alone or with its For-each task, until it is taken offline.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from events.models import Emitter, Listener
from instances.engine.states import TaskStatus
from instances.models import Dependency, Task
from instances.models.choices import RerunAllowed
from instances.runners.for_each import ForEachRunner

FOR_EACH = ForEachRunner.type
# Parameters that each traversal gives its inner tasks.
ITEM, INDEX = "item", "index"


def members(task: Task) -> QuerySet[Task]:
    """The inner tasks that are in the DAG of a For-each task as it is saved, those that a submit will add included."""
    drafts = Q(status=TaskStatus.OFFLINE, current_version=None)
    return Task.objects.filter(Q(for_each=task) & (drafts | Q(status=TaskStatus.SCHEDULING))).order_by("pk")


def described(task: Task) -> list[dict[str, Any]]:
    """The DAG as a version keeps it: [{"task": {"id", "name"}, "after": [ids]}]; empty for other types."""
    if task.task_type != FOR_EACH or task.pk is None:
        return []
    rows = list(members(task).values_list("pk", "name"))
    known = {pk for pk, _name in rows}
    after: defaultdict[int, list[int]] = defaultdict(list)
    for pk, upstream in Dependency.objects.filter(task__in=known, upstream__in=known).values_list(
        "task_id", "upstream_id"
    ):
        after[pk].append(upstream)
    return [{"task": {"id": pk, "name": name}, "after": sorted(after[pk])} for pk, name in rows]


def faults(task: Task) -> Iterator[tuple[str, str]]:
    """(column, message) of what is wrong with a For-each task's inner tasks, or with `task` as one of them."""
    if task.task_type == FOR_EACH:
        if task.for_each_id is not None:
            yield "task_type", _("A For-each task cannot be inside another one; choose another type.")
    elif task.pk is not None and task.inner_tasks.exists():
        message = _("%(task)s has inner tasks, so it must stay a For-each task; delete or move them first.")
        yield "task_type", message % {"task": task.name}
    if task.for_each is not None:
        yield from _as_inner(task, task.for_each)


def _as_inner(task: Task, outer: Task) -> Iterator[tuple[str, str]]:
    if outer.pk == task.pk or outer.task_type != FOR_EACH:
        yield "for_each", _("%(task)s is no For-each task; choose one that is.") % {"task": outer.name}
    if outer.workflow_id != task.workflow_id:
        message = _("%(task)s belongs to another workflow; choose one of %(workflow)s.")
        yield "for_each", message % {"task": outer.name, "workflow": task.workflow}
    if task.rerun_allowed != RerunAllowed.ALL:
        message = _("An inner task is rerun with its traversal; choose that it always may be.")
        yield "rerun_allowed", message
    if task.pk is not None:
        if Listener.objects.filter(task_id=task.pk).exists():
            yield "for_each", _("An inner task cannot listen to events; let its For-each task do so.")
        if Emitter.objects.filter(task_id=task.pk).exists():
            yield "for_each", _("An inner task cannot fire events; let its For-each task do so.")


def dependency_faults(task: Task, dependencies: Iterable[Dependency]) -> Iterator[str]:
    """Inner tasks follow tasks of the same For-each task; others never wait for an inner one."""
    for row in dependencies:
        upstream = row.upstream
        if task.for_each_id is not None and upstream.for_each_id != task.for_each_id:
            message = _(
                "%(task)s is no task inside the same For-each task; let the For-each task wait for it instead."
            )
        elif task.for_each_id is not None and (row.scope or row.offsets):
            message = _(
                "%(task)s: tasks of one traversal have the same data time; clear the scope and the offsets."
            )
        elif task.for_each_id is None and upstream.for_each_id is not None:
            message = _("%(task)s is an inner task; wait for its For-each task %(outer)s instead.")
        else:
            continue
        yield message % {"task": upstream.name, "outer": upstream.for_each}
