"""What is to be seen of a For-each instance: its traversals, how far each has come, and the DAG of one. Only reads."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils.translation import gettext, gettext_noop

from instances.engine.states import InstanceType
from instances.insight.graph import MARKS, Arrow, Graph, Mark, Node
from instances.models import ForEachRun, Instance, Traversal
from instances.models.traversal import TraversalState
from weops.console.present import between, plain_time

# Traversals of a page.
PAGE = 50

_PROGRESS = """
SELECT c.traversal::int, count(*) FILTER (WHERE c.state = 'success'), count(*) FILTER (WHERE c.state = 'failed'),
       count(*) FILTER (WHERE c.state NOT IN ('success', 'failed', 'skipped')), count(*)
FROM instances_instance c WHERE c.for_each_id = %s AND c.traversal = ANY(%s::text[]) AND c.task_id = ANY(%s) GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """Instances of a traversal: of `tasks` inner tasks so many have succeeded, failed, or not ended yet."""

    tasks: int
    success: int = 0
    failed: int = 0
    open: int = 0
    made: int = 0


@dataclass(frozen=True, slots=True)
class ListedTraversal:
    """`is_old`: of an earlier life, whose array was longer."""

    row: Traversal
    progress: Progress
    is_old: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of traversals; `after`: the number that the next page begins behind, None if this is the last."""

    run: ForEachRun
    rows: list[ListedTraversal]
    after: int | None


def listed(instance_id: int, after: int = -1, states: Sequence[str] = (), limit: int = PAGE) -> Listed | None:
    """The traversals of an instance by their numbers, in three queries; None if it has never begun any."""
    run = ForEachRun.objects.filter(pk=instance_id).first()
    if run is None:
        return None
    rows = Traversal.objects.filter(for_each=instance_id, number__gt=after).order_by("number")
    if states:
        rows = rows.filter(state__in=states, execution_id=run.execution_id)
    found = list(rows[: limit + 1])
    shown = found[:limit]
    progress = _progress(run, [row.number for row in shown])
    more = shown[-1].number if len(found) > limit else None
    return Listed(
        run,
        [
            ListedTraversal(
                row, progress.get(row.number, Progress(len(run.dag))), row.execution_id != run.execution_id
            )
            for row in shown
        ],
        more,
    )


def _progress(run: ForEachRun, numbers: Sequence[int]) -> dict[int, Progress]:
    tasks = [task for task, _ in run.dag]
    with connection.cursor() as cursor:
        cursor.execute(_PROGRESS, [run.pk, [str(number) for number in numbers], tasks])
        return {number: Progress(len(tasks), *counts) for number, *counts in cursor.fetchall()}


@dataclass(slots=True)
class Step:
    """An inner task in the DAG of a traversal. `instance`: what runs of it, None if it has not begun; `layer`: how far it is from
    the beginning; `ups`: ids of the inner tasks that it follows; `after`, `before`: names of the steps that it follows, and of
    those that follow it."""

    task_id: int
    name: str
    layer: int
    instance: Instance | None
    ups: list[int] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A traversal's DAG, by layers: each step stands behind all those that it follows."""

    row: Traversal
    layers: list[list[Step]]
    is_old: bool


def drawn(instance_id: int, number: int) -> Drawn | None:
    """The DAG of a traversal as it is now, in four queries; None if there is no such traversal."""
    run = ForEachRun.objects.filter(pk=instance_id).first()
    row = Traversal.objects.filter(for_each=instance_id, number=number).first()
    if run is None or row is None:
        return None
    children: dict[int, Instance] = {
        child.task_id: child
        for child in Instance.objects.filter(for_each_id=instance_id, traversal=str(number)).select_related(
            "task"
        )
    }
    names = _names([task for task, _ in run.dag])
    steps: dict[int, Step] = {}
    for task, ups in run.dag:
        known = [steps[up] for up in ups if up in steps]
        layer = max((up.layer + 1 for up in known), default=0)
        steps[task] = Step(
            task,
            names.get(task, f"#{task}"),
            layer,
            children.get(task),
            [up.task_id for up in known],
            [up.name for up in known],
        )
        for up in known:
            up.before.append(steps[task].name)
    layers: list[list[Step]] = [
        [] for _ in range(max((step.layer for step in steps.values()), default=-1) + 1)
    ]
    for step in steps.values():
        layers[step.layer].append(step)
    return Drawn(row, layers, row.execution_id != run.execution_id)


NOT_BEGUN = "none"
_MARKS = MARKS | {NOT_BEGUN: Mark(gettext_noop("Not begun"), "grey", "·")}


def graph_of(found: Drawn, now: dt.datetime) -> Graph:
    """The DAG as a graph; its node ids are those of instances."""
    steps = [step for layer in found.layers for step in layer]
    nodes = [_node(step, now) for step in steps]
    arrows = [Arrow(f"t{up}", f"t{step.task_id}") for step in steps for up in step.ups]
    return Graph(nodes, arrows, marks=_MARKS).place()


def _node(step: Step, now: dt.datetime) -> Node:
    child = step.instance
    key = f"t{step.task_id}"
    if child is None:
        return Node(key, step.name, NOT_BEGUN, level=step.layer)
    running = child.start_time is not None and child.end_time is None
    facts = (
        (gettext("Start time"), plain_time(child.start_time)),
        (gettext("End time"), plain_time(child.end_time)),
        (gettext("Duration"), between(child.start_time, child.end_time, now if running else None)),
        (gettext("Error"), child.error_code),
    )
    return Node(
        key,
        step.name,
        child.state,
        child.pk,
        plain_time(child.start_time),
        level=step.layer,
        frozen=child.frozen_at is not None,
        facts=tuple(fact for fact in facts if fact[1]),
    )


def _names(task_ids: Sequence[int]) -> dict[int, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, name FROM instances_task WHERE id = ANY(%s)", [list(task_ids)])
        return dict(cursor.fetchall())


@dataclass(frozen=True, slots=True)
class Place:
    """Where an inner instance stands: in which traversal of which instance."""

    parent: Instance
    row: Traversal | None


def place_of(instance: Instance) -> Place | None:
    """Two queries for an inner instance, none for another."""
    if instance.for_each_id is None or instance.instance_type == InstanceType.TEST:
        return None
    parent = Instance.objects.select_related("task").filter(pk=instance.for_each_id).first()
    row = Traversal.objects.filter(for_each=instance.for_each_id, number=int(instance.traversal)).first()
    return Place(parent, row) if parent else None


def duration(row: Traversal, now: dt.datetime) -> dt.timedelta | None:
    if row.started_at is None:
        return None
    end: Any = row.ended_at or (now if row.state == TraversalState.ACTIVE else None)
    return end - row.started_at if end else None
