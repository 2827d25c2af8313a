"""The tasks of a workflow and how they depend on one another, with how the latest instance of each stands. Only reads."""

import datetime as dt

from django.db import connection
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from events.models import Emitter
from instances.engine.states import TaskStatus
from instances.insight.graph import LOCKED, MARKS, Arrow, Graph, Mark, Node
from instances.insight.names import Names
from instances.models import Dependency, Task, Workflow
from weops.console.present import clock
from weops.projects.access import AnyUser

MOST_TASKS = 1_000
MOST_OTHERS = 200
NEVER_RAN = "none"
TASK_MARKS = MARKS | {NEVER_RAN: Mark(gettext_noop("No instance yet"), "grey", "·")}
_STATUS = {
    TaskStatus.SCHEDULING: "",
    TaskStatus.PAUSED: gettext_lazy("paused"),
    TaskStatus.OFFLINE: gettext_lazy("offline"),
}

_LATEST = """
SELECT t.id, i.id, i.state, i.data_time FROM unnest(%(tasks)s::bigint[]) AS t (id) CROSS JOIN LATERAL (
    SELECT i.id, i.state, i.data_time FROM instances_instance i WHERE i.task_id = t.id AND i.instance_type <> 'test'
    ORDER BY i.data_time DESC LIMIT 1) i
"""


def workflow_graph(workflow: Workflow, user: AnyUser | None = None) -> Graph:
    """Its tasks, and the tasks of other workflows next to them, by a dependency or by an event that one fires and the
    other listens to. Five queries. Node ids are those of tasks."""
    names = Names.of(user)
    tasks = list(workflow.tasks.order_by("name").defer("code")[: MOST_TASKS + 1])
    full = len(tasks) > MOST_TASKS
    tasks = tasks[:MOST_TASKS]
    own = {task.pk for task in tasks}
    rows = Dependency.objects.filter(task__in=own) | Dependency.objects.filter(upstream__in=own)
    links = list(rows.order_by("task_id", "upstream_id", "id").distinct()[: 5 * MOST_TASKS])
    pairs = [(link.upstream_id, link.task_id) for link in links]
    fired = _by_event(own)
    pairs += [(source, target) for source, target, *_event in fired]
    others = sorted({pk for pair in pairs for pk in pair} - own)[:MOST_OTHERS]
    near = list(Task.objects.filter(pk__in=others).select_related("workflow").defer("code").order_by("pk"))
    latest = latest_of([*own, *(task.pk for task in near if names.sees(task.workflow.project_id))])
    nodes = [node_of(task, latest, "") for task in tasks]
    for task in near:
        if names.sees(task.workflow.project_id):
            nodes.append(node_of(task, latest, task.workflow.name))
        else:
            nodes.append(Node(key=f"t{task.pk}", title=_("Another project"), state=LOCKED, locked=True))
    arrows = [
        Arrow(f"t{link.upstream_id}", f"t{link.task_id}", "plain", f"{link.scope} {link.offsets}".strip())
        for link in links
    ]
    arrows += [
        Arrow(
            f"t{source}",
            f"t{target}",
            "event",
            name if names.sees(project) else _("Event of another project"),
        )
        for source, target, name, project in fired
    ]
    note = _("Only the first %(count)d tasks are shown.") % {"count": MOST_TASKS} if full else ""
    return Graph(nodes, arrows, note=note, marks=TASK_MARKS).place()


def _by_event(tasks: set[int]) -> list[tuple[int, int, str, int]]:
    """(task that fires it, task that listens, event, its project) where one of the two is among `tasks`."""
    rows = Emitter.objects.filter(
        Q(task__in=tasks, event__listeners__isnull=False) | Q(event__listeners__task__in=tasks)
    )
    found = rows.values_list("task_id", "event__listeners__task_id", "event__name", "event__project_id")
    return list(
        found.order_by("task_id", "event__listeners__task_id", "event__name").distinct()[: 5 * MOST_TASKS]
    )


def latest_of(task_ids: list[int]) -> dict[int, tuple[int, str, dt.datetime]]:
    """{task id: (id, state and data time of its latest instance)}"""
    with connection.cursor() as cursor:
        cursor.execute(_LATEST, {"tasks": task_ids})
        return {task: (pk, state, data_time) for task, pk, state, data_time in cursor.fetchall()}


def node_of(task: Task, latest: dict[int, tuple[int, str, dt.datetime]], workflow: str) -> Node:
    """`workflow`: its name if it is to be shown, else empty."""
    found = latest.get(task.pk)
    state, data_time = (found[1], found[2]) if found else (NEVER_RAN, None)
    status = str(_STATUS.get(TaskStatus(task.status), ""))
    shown = [workflow, task.get_cycle_type_display(), status]
    return Node(
        key=f"t{task.pk}",
        id=task.pk,
        title=task.name,
        subtitle=" · ".join(part for part in shown if part),
        state=state,
        facts=tuple(
            fact
            for fact in (
                (_("Task type"), task.get_task_type_display()),
                (_("Cycle type"), task.get_cycle_type_display()),
                (_("Status"), task.get_status_display()),
                (_("Latest data time"), clock(data_time, task.timezone)),
            )
            if fact[1]
        ),
    )
