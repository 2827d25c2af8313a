"""The lineage of an instance as a graph: what it waits for and who waits for it, layer by layer. Only reads.

Costs what it shows: one query a layer, four more for all nodes together; never more than `MOST_NODES` nodes.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from django.db import connection
from django.utils.translation import gettext as _

from instances import operations
from instances.engine.states import State
from instances.insight.graph import LOCKED, MISSING, Arrow, Graph, Node, levels_from
from instances.insight.names import Names
from instances.models import Edge, Instance, Task
from weops.console.present import between, plain_time
from weops.projects import access
from weops.projects.access import AnyUser

MOST_NODES = 1_000
MOST_LAYERS = 30
# Neighbours of one node that a layer brings; the rest is counted on the node, up to COUNTED.
FAN = 60
COUNTED = 1_000
MOST_ARROWS = 5_000
_OFFERED = ("rerun", "terminate", "mark_success", "freeze", "thaw", "remove_dependency", "acknowledge")

_ABOVE = """
SELECT n.id, e.upstream_id FROM unnest(%(front)s::bigint[]) WITH ORDINALITY AS n (id, place) CROSS JOIN LATERAL (
    SELECT e.upstream_id FROM instances_edge e WHERE e.instance_id = n.id AND e.upstream_id IS NOT NULL
    ORDER BY (e.satisfied_at IS NULL AND e.removed_at IS NULL AND NOT e.waived) DESC, e.upstream_data_time, e.upstream_task_id
    LIMIT %(fan)s) e ORDER BY n.place
"""
_BELOW = """
SELECT n.id, e.instance_id FROM unnest(%(front)s::bigint[]) WITH ORDINALITY AS n (id, place) CROSS JOIN LATERAL (
    SELECT e.instance_id FROM (SELECT e.instance_id FROM instances_edge e WHERE e.upstream_id = n.id LIMIT %(counted)s) e
    ORDER BY e.instance_id LIMIT %(fan)s) e ORDER BY n.place
"""
_COUNTS = """
SELECT n.id, (SELECT count(*) FROM (SELECT 1 FROM instances_edge e WHERE e.instance_id = n.id LIMIT %(counted)s) c),
       (SELECT count(*) FROM (SELECT 1 FROM instances_edge e WHERE e.upstream_id = n.id LIMIT %(counted)s) c)
FROM unnest(%(ids)s::bigint[]) AS n (id)
"""


@dataclass
class _Walk:
    """What is found so far: {id: project}. `looked`: (id, upward?) whose neighbours in that direction have been read."""

    names: Names
    found: dict[int, int]
    looked: set[tuple[int, bool]] = field(default_factory=set)
    full: bool = False
    deeper: bool = False

    def step(self, front: Sequence[int], upward: bool) -> list[int]:
        """Adds the neighbours of `front`; the new ones that one may look behind."""
        # Behind what the reader cannot see nothing is told.
        front = [pk for pk in front if (pk, upward) not in self.looked and self.names.sees(self.found[pk])]
        if not front or self.full:
            return []
        with connection.cursor() as cursor:
            cursor.execute(_ABOVE if upward else _BELOW, {"front": front, "fan": FAN, "counted": COUNTED})
            near = list(dict.fromkeys(pk for _from, pk in cursor.fetchall()))
        self.looked |= {(pk, upward) for pk in front}
        new = [pk for pk in near if pk not in self.found]
        room = MOST_NODES - len(self.found)
        self.full = self.full or len(new) > room
        projects = dict(Instance.objects.filter(pk__in=new[:room]).values_list("pk", "project_id"))
        self.found |= {pk: projects[pk] for pk in new if pk in projects}
        return [pk for pk in near if pk in self.found]


def lineage(
    instance: Instance,
    user: AnyUser | None = None,
    *,
    up: int = 1,
    down: int = 1,
    open_up: Collection[int] = (),
    open_down: Collection[int] = (),
) -> Graph:
    """The instance with `up` layers of what it waits for and `down` of what waits for it (0 to MOST_LAYERS), placed.

    `open_up`, `open_down`: ids of instances in the graph whose neighbours are to be in it, too. What belongs to projects
    that `user` cannot see stands as a locked node without a name, and nothing behind it is told.
    """
    walk = _Walk(Names.of(user), {instance.pk: instance.project_id})
    for layers, upward in ((up, True), (down, False)):
        front = [instance.pk]
        for _layer in range(min(layers, MOST_LAYERS)):
            front = walk.step(front, upward)
        walk.deeper = walk.deeper or (bool(front) and layers >= MOST_LAYERS)
    for opened, upward in ((open_up, True), (open_down, False)):
        # One that is opened may bring in another that is opened, too.
        left = list(opened)
        while front := [pk for pk in left if pk in walk.found]:
            left = [pk for pk in left if pk not in walk.found]
            walk.step(front, upward)
    return _graph(instance, walk, user)


def _graph(instance: Instance, walk: _Walk, user: AnyUser | None) -> Graph:
    ids = list(walk.found)
    rows = Instance.objects.filter(pk__in=ids).select_related("task", "project", "workflow")
    by_id = {
        row.pk: row
        for row in rows.defer("task__code", "task__parameters", "overrides", "project__parameters")
    }
    edges = list(
        Edge.objects.filter(instance__in=ids)
        .filter(upstream__in=ids)
        .only(
            "instance_id",
            "upstream_id",
            "satisfied_at",
            "removed_at",
            "waived",
            "removed_reason",
            "is_self",
            "upstream_task_id",
            "upstream_data_time",
        )
        .order_by("instance_id", "upstream_id")[:MOST_ARROWS]
    )
    missing = _missing(walk, by_id)
    now = dt.datetime.now(dt.UTC)
    nodes = [_node(by_id[pk], walk.names, user, now) for pk in ids if pk in by_id]
    nodes += _missing_nodes(missing, walk.names)
    arrows = [arrow_of(edge, f"i{edge.upstream_id}") for edge in edges]
    arrows += [arrow_of(edge, _missing_key(edge)) for edge in missing]
    _count_more(nodes, arrows, walk)
    focus = f"i{instance.pk}"
    levels = levels_from(focus, arrows)
    for node in nodes:
        node.level = levels.get(node.key, 0)
    return Graph(nodes, arrows, focus=focus, note=_note(walk, len(edges))).place()


def _note(walk: _Walk, edges: int) -> str:
    if walk.full or edges >= MOST_ARROWS:
        return _("Only the first %(count)d instances are shown.") % {"count": MOST_NODES}
    if walk.deeper:
        return _("Only the first %(count)d layers are shown; open more at its ends.") % {"count": MOST_LAYERS}
    return ""


def _missing(walk: _Walk, by_id: dict[int, Instance]) -> list[Edge]:
    """Dependencies, of instances whose upstream is shown, on what is not generated yet."""
    asked = [
        pk for pk, upward in walk.looked if upward and pk in by_id and walk.names.sees(by_id[pk].project_id)
    ]
    rows = Edge.objects.filter(instance__in=asked, upstream__isnull=True).order_by(
        "upstream_data_time", "upstream_task_id", "instance_id"
    )
    return list(rows[: max(0, MOST_NODES - len(by_id))])


def _missing_key(edge: Edge) -> str:
    return f"m{edge.upstream_task_id}-{int(edge.upstream_data_time.timestamp())}"


def _missing_nodes(edges: list[Edge], names: Names) -> list[Node]:
    tasks = Task.objects.filter(pk__in={edge.upstream_task_id for edge in edges}).select_related("workflow")
    by_id = tasks.defer("code").in_bulk()
    found: dict[str, Node] = {}
    for edge in edges:
        task = by_id.get(edge.upstream_task_id)
        if task is None:
            continue
        seen = names.sees(task.workflow.project_id)
        found[_missing_key(edge)] = Node(
            key=_missing_key(edge),
            title=task.name if seen else _("Another project"),
            subtitle=plain_time(edge.upstream_data_time, task.timezone),
            state=MISSING if seen else LOCKED,
            locked=not seen,
        )
    return list(found.values())


def _node(row: Instance, names: Names, user: AnyUser | None, now: dt.datetime) -> Node:
    key = f"i{row.pk}"
    if not names.sees(row.project_id):
        return Node(key=key, title=_("Another project"), state=LOCKED, locked=True)
    rights = access.rights(user, row.project_id) if user is not None else access.EVERY_RIGHT
    return Node(
        key=key,
        id=row.pk,
        title=row.task.name,
        subtitle=plain_time(row.data_time, row.task.timezone)
        + (f" · {row.traversal}" if row.traversal else ""),
        state=row.state,
        frozen=row.frozen_at is not None,
        operations=tuple(kind for kind in _OFFERED if _may(kind, row, rights)),
        facts=tuple(fact for fact in facts_of(row, now) if fact[1]),
    )


def _may(kind: str, row: Instance, rights: frozenset[access.Right]) -> bool:
    operation = operations.get(kind)
    if operation.right not in rights:
        return False
    if kind == "thaw":
        return row.frozen_at is not None
    if kind == "acknowledge":
        return row.state == State.FAILED
    return row.state in operation.allowed_from() and not (kind == "freeze" and row.frozen_at is not None)


def facts_of(row: Instance, now: dt.datetime) -> list[tuple[str, str]]:
    running = row.start_time is not None and row.end_time is None
    return [
        (_("Project"), row.project.name),
        (_("Workflow"), row.workflow.name),
        (_("Data time"), f"{plain_time(row.data_time, row.task.timezone)} {row.task.timezone}"),
        (_("Planned time"), plain_time(row.planned_time)),
        (_("Start time"), plain_time(row.start_time)),
        (_("End time"), plain_time(row.end_time)),
        (_("Duration"), between(row.start_time, row.end_time, now if running else None)),
        (_("Frozen since"), plain_time(row.frozen_at)),
        (_("Error"), row.error_code),
    ]


def arrow_of(edge: Edge, source: str) -> Arrow:
    if edge.removed_at is not None:
        title = _("removed at %(time)s") % {"time": plain_time(edge.removed_at)}
        return Arrow(source, f"i{edge.instance_id}", "removed", title)
    if edge.waived:
        return Arrow(source, f"i{edge.instance_id}", "waived", _("not checked in this life"))
    if edge.satisfied_at is not None:
        return Arrow(source, f"i{edge.instance_id}", "met", "")
    return Arrow(source, f"i{edge.instance_id}", "open", _("still waited for"))


def _count_more(nodes: list[Node], arrows: list[Arrow], walk: _Walk) -> None:
    """Tells each node how many neighbours are not in the graph."""
    open_nodes = {node.key: node for node in nodes if node.id is not None}
    shown_up, shown_down = Counter(a.target for a in arrows), Counter(a.source for a in arrows)
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"ids": [node.id for node in open_nodes.values()], "counted": COUNTED})
        for pk, above, below in cursor.fetchall():
            node = open_nodes[f"i{pk}"]
            node.more_up = max(0, above - shown_up[node.key])
            node.more_down = max(0, below - shown_down[node.key])
