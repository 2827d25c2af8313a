"""Random lineage for tests of selections: tasks, instances and edges as rows, and who is downstream of whom by brute force.

The graph of instances has no circle; that of their tasks may have one, as when definitions changed over time.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from hypothesis import strategies as st

from instances.engine.states import FINAL, State
from instances.models import Edge, Instance, Task
from tests import factories as make
from weops.projects.models import Project

START = dt.datetime(2026, 3, 25, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
MORE_THAN_A_STATE = {State.RUNNING: {"execution_id": 0}, State.TERMINATING: {"execution_id": 0}}


@dataclass(frozen=True)
class Arrow:
    """From parent to child, by their places in the lineage's list of instances."""

    parent: int
    child: int
    removed: bool = False
    waived: bool = False
    is_self: bool = False

    @property
    def counts(self) -> bool:
        return not (self.removed or self.is_self)


@dataclass(frozen=True)
class Sketch:
    """`workflows[w]` is a project's place, `tasks[t]` a workflow's, `nodes[n]` (task, day)."""

    workflows: tuple[int, ...]
    tasks: tuple[int, ...]
    nodes: tuple[tuple[int, int], ...]
    arrows: tuple[Arrow, ...]
    rerun_allowed: tuple[str, ...] = ()


@dataclass
class Lineage:
    """A sketch in the database."""

    sketch: Sketch
    projects: list[Project]
    tasks: list[Task]
    instances: list[Instance]
    place: dict[int, int] = field(default_factory=dict)

    def id(self, place: int) -> int:
        return self.instances[place].pk

    def ids(self, places: Iterable[int]) -> list[int]:
        return [self.id(place) for place in places]

    def project_of(self, place: int) -> int:
        return self.instances[place].project_id


@st.composite
def sketches(draw: Any) -> Sketch:
    workflows = draw(st.lists(st.integers(0, 1), min_size=1, max_size=3))
    tasks = draw(st.lists(st.integers(0, len(workflows) - 1), min_size=2, max_size=6))
    days = draw(st.integers(1, 3))
    nodes = draw(st.permutations([(task, day) for task in range(len(tasks)) for day in range(days)]))
    pair = st.tuples(st.integers(0, len(nodes) - 1), st.integers(0, len(nodes) - 1))
    kinds = st.sampled_from([{}, {}, {}, {"removed": True}, {"waived": True}])
    arrows = {}
    for (one, other), kind in draw(st.lists(st.tuples(pair, kinds), max_size=3 * len(nodes))):
        # Always from the earlier to the later one of a random order: no circle of instances.
        first, last = min(one, other), max(one, other)
        if nodes[first][0] != nodes[last][0]:
            arrows[first, last] = Arrow(first, last, **kind)
    for task in draw(st.sets(st.integers(0, len(tasks) - 1))):
        for day in range(1, days):
            first, last = nodes.index((task, day - 1)), nodes.index((task, day))
            arrows[first, last] = Arrow(first, last, is_self=True)
    return Sketch(tuple(workflows), tuple(tasks), tuple(nodes), tuple(arrows.values()))


def draw_up(sketch: Sketch, states: Sequence[State] = (State.FAILED,)) -> Lineage:
    """Writes the rows of a sketch; `states` are given to the instances in turn."""
    group = make.make_group()
    owner = make.make_user(make.DANA)
    projects = [make.make_project() for _ in range(max(sketch.workflows) + 1)]
    workflows = [make.make_workflow(projects[project]) for project in sketch.workflows]
    allowed = sketch.rerun_allowed or ("ALL",) * len(sketch.tasks)
    tasks = [
        make.make_task(workflows[workflow], group=group, owner=owner, rerun_allowed=rerun)
        for workflow, rerun in zip(sketch.tasks, allowed, strict=True)
    ]
    rows = [
        row(tasks[task], day, states[number % len(states)]) for number, (task, day) in enumerate(sketch.nodes)
    ]
    instances = Instance.objects.bulk_create(rows)
    Edge.objects.bulk_create(
        Edge(
            instance=instances[arrow.child],
            upstream_task_id=instances[arrow.parent].task_id,
            upstream_data_time=instances[arrow.parent].data_time,
            upstream=instances[arrow.parent],
            is_self=arrow.is_self,
            waived=arrow.waived,
            removed_at=timezone.now() if arrow.removed else None,
        )
        for arrow in sketch.arrows
    )
    places = {instance.pk: place for place, instance in enumerate(instances)}
    return Lineage(sketch, projects, tasks, instances, places)


def row(task: Task, day: int, state: State = State.FAILED, **columns: Any) -> Instance:
    """An unsaved instance of `task`, `day` days after START, with what the database wants of its state."""
    now = timezone.now()
    data_time = START + day * DAY
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
        "owner": task.owner,
        "resource_group": task.resource_group,
        "priority": task.priority,
        "state": state,
        "wait_since": now,
        "created_at": now,
        "pending_upstream": 1 if state == State.WAIT_UPSTREAM else 0,
        "start_time": now if state in (*FINAL, State.RUNNING, State.TERMINATING) else None,
        "end_time": now if state in FINAL else None,
        **MORE_THAN_A_STATE.get(state, {}),
    }
    return Instance(**{**defaults, **columns})


# What the database should find, by brute force


def closure(
    lineage: Lineage, roots: Iterable[int], *, within: str = "all", hidden: Iterable[int] = ()
) -> dict[int, int]:
    """{place: layer}, the roots being layer 0. `within`: workflow, project or all; hidden projects are not entered."""
    hidden = set(hidden)
    layers = {root: 0 for root in roots if lineage.project_of(root) not in hidden}
    children: dict[int, list[int]] = defaultdict(list)
    for arrow in lineage.sketch.arrows:
        if arrow.counts:
            children[arrow.parent].append(arrow.child)
    frontier, layer = set(layers), 0
    while frontier:
        layer += 1
        reached = {
            child
            for parent in frontier
            for child in children[parent]
            if child not in layers and lineage.project_of(child) not in hidden
            and (within == "all" or _home(lineage, parent, within) == _home(lineage, child, within))
        }  # fmt: skip
        layers |= dict.fromkeys(reached, layer)
        frontier = reached
    return layers


def _home(lineage: Lineage, place: int, within: str) -> int:
    instance = lineage.instances[place]
    return instance.workflow_id if within == "workflow" else instance.project_id


def next_to(lineage: Lineage, inside: Iterable[int]) -> set[int]:
    """Places that are direct children of `inside`, and not in it."""
    inside = set(inside)
    return {a.child for a in lineage.sketch.arrows if a.counts and a.parent in inside} - inside


def longest_paths(pairs: Iterable[tuple[int, int]]) -> dict[int, int] | None:
    """{node: edges of the longest path that ends there}; None if there is a circle."""
    pairs = set(pairs)
    lengths = dict.fromkeys({node for pair in pairs for node in pair}, 0)
    for _ in range(len(lengths) + 1):
        longer = {child: lengths[parent] + 1 for parent, child in pairs if lengths[child] <= lengths[parent]}
        if not longer:
            return lengths
        for parent, child in pairs:
            lengths[child] = max(lengths[child], lengths[parent] + 1)
    return None


def viewer_of(*projects: Project) -> User:
    """A new user who sees these projects and no others."""
    user = make.make_user(make.unique("viewer"))
    for project in projects:
        make.make_user(user.get_username(), project=project, role="viewer")
    return user


def many_rows(tasks: int, days: int) -> list[int]:
    """Ids of tasks in a row; each instance waits for that of the task before, of its day."""
    group, workflow = make.make_group(), make.make_workflow()
    made = [make.make_task(workflow, group=group) for _ in range(tasks)]
    pattern = Instance.objects.bulk_create([row(made[0], 0)])[0]
    columns = [
        f.column for f in Instance._meta.concrete_fields if f.column not in ("id", "task_id", "data_time")
    ]
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO instances_instance (task_id, data_time, {names}) "
            f"SELECT t.id, data_time + day * interval '1 day', {names} FROM instances_instance i "
            "CROSS JOIN generate_series(1, %s) AS day CROSS JOIN unnest(%s::bigint[]) AS t(id) WHERE i.id = %s",
            [days, [task.pk for task in made], pattern.pk],
        )
        cursor.execute("DELETE FROM instances_instance WHERE id = %s", [pattern.pk])
        cursor.execute(
            "INSERT INTO instances_edge (instance_id, upstream_task_id, upstream_data_time, upstream_id) "
            "SELECT c.id, u.task_id, u.data_time, u.id FROM unnest(%s::bigint[]) WITH ORDINALITY AS child(id, number) "
            "JOIN unnest(%s::bigint[]) WITH ORDINALITY AS parent(id, number) ON child.number = parent.number + 1 "
            "JOIN instances_instance c ON c.task_id = child.id "
            "JOIN instances_instance u ON u.task_id = parent.id AND u.data_time = c.data_time",
            [[task.pk for task in made]] * 2,
        )
        cursor.execute("ANALYZE instances_instance, instances_edge")
    return [task.pk for task in made]
