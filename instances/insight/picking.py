"""What lies downstream of chosen instances or tasks, as a graph in which some of it is picked. Only reads.

Bounded as the lineage is: never more than `MOST_NODES` nodes, one query for each layer that is opened. What the user cannot
see is not in it, and nothing behind that; what cannot be picked says why.
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from instances import operations
from instances.engine.backlog import array
from instances.insight.graph import Arrow, Graph, Node
from instances.insight.lineage import MOST_ARROWS, MOST_LAYERS, MOST_NODES, arrow_of, facts_of
from instances.insight.workflow_graph import TASK_MARKS, latest_of, node_of
from instances.models import Dependency, Edge, Instance, Task
from instances.operations.options import RerunOptions
from weops.console.present import plain_time
from weops.projects import access
from weops.projects.access import AnyUser, Right

# Chosen ones that stand in the graph; what follows the others is found in the list.
MOST_ROOTS = 200
# What a node does not show is counted up to this.
COUNTED = 100

_NEAR = """
SELECT e.instance_id FROM unnest(%(front)s::bigint[]) WITH ORDINALITY AS n (id, place)
JOIN instances_edge e ON e.upstream_id = n.id AND NOT e.is_self AND e.removed_at IS NULL
JOIN instances_instance i ON i.id = e.instance_id
WHERE (%(seen)s::bigint[] IS NULL OR i.project_id = ANY(%(seen)s::bigint[])) AND e.instance_id <> ALL(%(known)s::bigint[])
GROUP BY e.instance_id ORDER BY min(n.place), e.instance_id LIMIT %(most)s
"""
_BRANCH = """
WITH RECURSIVE down(id) AS (
    SELECT unnest(%(front)s::bigint[])
  UNION
    SELECT e.instance_id FROM down
    JOIN instances_edge e ON e.upstream_id = down.id AND NOT e.is_self AND e.removed_at IS NULL
    JOIN instances_instance i ON i.id = e.instance_id
    WHERE %(seen)s::bigint[] IS NULL OR i.project_id = ANY(%(seen)s::bigint[])
)
SELECT id FROM down LIMIT %(most)s
"""
_MORE = """
SELECT n.id, (SELECT count(*) FROM (
    SELECT 1 FROM instances_edge e JOIN instances_instance i ON i.id = e.instance_id
    WHERE e.upstream_id = n.id AND NOT e.is_self AND e.removed_at IS NULL AND e.instance_id <> ALL(%(known)s::bigint[])
      AND (%(seen)s::bigint[] IS NULL OR i.project_id = ANY(%(seen)s::bigint[])) LIMIT %(counted)s) c)
FROM unnest(%(front)s::bigint[]) AS n (id)
"""

# Of tasks: one is followed to what depends on it only where the user may operate, as a plan does.
_TASKS_NEAR = """
SELECT d.task_id FROM unnest(%(front)s::bigint[]) WITH ORDINALITY AS n (id, place)
JOIN instances_task u ON u.id = n.id JOIN instances_workflow uw ON uw.id = u.workflow_id
JOIN instances_dependency d ON d.upstream_id = n.id
JOIN instances_task t ON t.id = d.task_id JOIN instances_workflow w ON w.id = t.workflow_id
WHERE t.cycle_type <> 'ONEOFF' AND (%(may)s::bigint[] IS NULL OR uw.project_id = ANY(%(may)s::bigint[]))
  AND (%(seen)s::bigint[] IS NULL OR w.project_id = ANY(%(seen)s::bigint[])) AND d.task_id <> ALL(%(known)s::bigint[])
GROUP BY d.task_id ORDER BY min(n.place), d.task_id LIMIT %(most)s
"""
_TASKS_BRANCH = """
WITH RECURSIVE down(id, project_id) AS (
    SELECT t.id, w.project_id FROM unnest(%(front)s::bigint[]) AS n (id)
    JOIN instances_task t ON t.id = n.id JOIN instances_workflow w ON w.id = t.workflow_id
  UNION
    SELECT t.id, w.project_id FROM down JOIN instances_dependency d ON d.upstream_id = down.id
    JOIN instances_task t ON t.id = d.task_id JOIN instances_workflow w ON w.id = t.workflow_id
    WHERE t.cycle_type <> 'ONEOFF' AND (%(may)s::bigint[] IS NULL OR down.project_id = ANY(%(may)s::bigint[]))
      AND (%(seen)s::bigint[] IS NULL OR w.project_id = ANY(%(seen)s::bigint[]))
)
SELECT id FROM down LIMIT %(most)s
"""
_TASKS_MORE = """
SELECT n.id, (SELECT count(DISTINCT d.task_id) FROM instances_dependency d
    JOIN instances_task t ON t.id = d.task_id JOIN instances_workflow w ON w.id = t.workflow_id
    WHERE d.upstream_id = n.id AND t.cycle_type <> 'ONEOFF' AND d.task_id <> ALL(%(known)s::bigint[])
      AND (%(may)s::bigint[] IS NULL OR uw.project_id = ANY(%(may)s::bigint[]))
      AND (%(seen)s::bigint[] IS NULL OR w.project_id = ANY(%(seen)s::bigint[])))
FROM unnest(%(front)s::bigint[]) AS n (id)
JOIN instances_task u ON u.id = n.id JOIN instances_workflow uw ON uw.id = u.workflow_id
"""


@dataclass(frozen=True)
class Opened:
    """How much of it is wanted: `layers` behind the chosen ones, what follows each of `ids`, and all that follows each of
    `branches`."""

    layers: int = 1
    ids: Collection[int] = ()
    branches: Collection[int] = ()


@dataclass(frozen=True)
class _Statements:
    """How to get from ids to what follows them. `seen`, `may`: the projects that the user sees, and may operate; None: all."""

    near: str
    branch: str
    more: str
    seen: list[int] | None
    may: list[int] | None

    def ask(self, statement: str, front: Sequence[int], **params: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(
                statement,
                {"front": array(front), "seen": self.seen, "may": self.may, "counted": COUNTED} | params,
            )
            return cursor.fetchall()


@dataclass
class _Walk:
    """Ids that are found so far, the chosen ones first."""

    statements: _Statements
    found: dict[int, None]
    looked: set[int] = field(default_factory=set)
    full: bool = False

    def open(self, opened: Opened) -> None:
        front = list(self.found)
        for _layer in range(min(opened.layers, MOST_LAYERS)):
            front = self._layer(front)
        # One that is opened may bring in another that is opened, too.
        while front := [pk for pk in opened.ids if pk in self.found and pk not in self.looked]:
            self._layer(front)
        if branches := [pk for pk in opened.branches if pk in self.found]:
            found = self.statements.ask(self.statements.branch, branches, most=len(branches) + MOST_NODES + 1)
            self._add([pk for (pk,) in found if pk not in self.found])

    def _layer(self, front: list[int]) -> list[int]:
        self.looked.update(front)
        if not front or self.full:
            return []
        near = self.statements.ask(
            self.statements.near, front, known=array(self.found), most=MOST_NODES - len(self.found) + 1
        )
        return self._add([pk for (pk,) in near])

    def _add(self, new: list[int]) -> list[int]:
        room = max(0, MOST_NODES - len(self.found))
        self.full = self.full or len(new) > room
        self.found |= dict.fromkeys(new[:room])
        return new[:room]

    def more(self) -> dict[int, int]:
        """{id: how many of those that follow it are not in the graph}"""
        return dict(self.statements.ask(self.statements.more, list(self.found), known=array(self.found)))


def instances_downstream(roots: Sequence[int], user: AnyUser, opened: Opened) -> Graph:
    """The instances that follow the `roots` (which `user` sees), to be picked for a rerun."""
    seen = access.project_ids(user, Right.VIEW)
    shown = roots[:MOST_ROOTS]
    walk = _Walk(_Statements(_NEAR, _BRANCH, _MORE, seen, None), dict.fromkeys(shown))
    walk.open(opened)
    rows = Instance.objects.filter(pk__in=walk.found).select_related("task", "project", "workflow")
    by_id = rows.defer("task__code", "task__parameters", "overrides", "project__parameters").in_bulk()
    edges = Edge.objects.filter(instance__in=walk.found, upstream__in=walk.found, is_self=False)
    edges = edges.filter(removed_at__isnull=True).order_by("instance_id", "upstream_id")
    arrows = [arrow_of(edge, f"i{edge.upstream_id}") for edge in edges.select_related(None)[:MOST_ARROWS]]
    refused = operations.get("rerun").refusals(list(by_id.values()), RerunOptions())
    now = dt.datetime.now(dt.UTC)
    picking = _Picking(set(shown), walk.more(), user)
    nodes = [
        picking.finish(_instance_node(by_id[pk], refused.get(pk, ""), now), pk, by_id[pk].project)
        for pk in walk.found
        if pk in by_id
    ]
    return _finished(Graph(nodes, arrows), walk, len(roots))


def _instance_node(row: Instance, refused: str, now: dt.datetime) -> Node:
    facts = [*facts_of(row, now), (_("Refused as it is now"), refused)]
    return Node(
        key=f"i{row.pk}",
        id=row.pk,
        title=row.task.name,
        subtitle=plain_time(row.data_time, row.task.timezone)
        + (f" · {row.traversal}" if row.traversal else ""),
        state=row.state,
        frozen=row.frozen_at is not None,
        facts=tuple(fact for fact in facts if fact[1]),
    )


def tasks_downstream(roots: Sequence[int], user: AnyUser, opened: Opened) -> Graph:
    """The tasks that follow the `roots` (which `user` may operate), to be picked for a backfill."""
    shown = roots[:MOST_ROOTS]
    seen, may = access.project_ids(user, Right.VIEW), access.project_ids(user, Right.OPERATE)
    walk = _Walk(_Statements(_TASKS_NEAR, _TASKS_BRANCH, _TASKS_MORE, seen, may), dict.fromkeys(shown))
    walk.open(opened)
    by_id = Task.objects.filter(pk__in=walk.found).select_related("workflow__project").defer("code").in_bulk()
    links = Dependency.objects.filter(task__in=walk.found, upstream__in=walk.found).order_by(
        "task_id", "upstream_id"
    )
    pairs = dict.fromkeys(links.values_list("upstream_id", "task_id")[:MOST_ARROWS])
    arrows = [Arrow(f"t{first}", f"t{then}") for first, then in pairs]
    latest = latest_of(list(by_id))
    picking = _Picking(set(shown), walk.more(), user)
    nodes = [
        picking.finish(node_of(by_id[pk], latest, by_id[pk].workflow.name), pk, by_id[pk].workflow.project)
        for pk in walk.found
        if pk in by_id
    ]
    return _finished(Graph(nodes, arrows, marks=TASK_MARKS), walk, len(roots))


@dataclass(frozen=True)
class _Picking:
    """Which nodes are chosen already, which can be picked, and how many more follow each."""

    roots: set[int]
    more: Mapping[int, int]
    user: AnyUser

    def finish(self, node: Node, pk: int, project: Any) -> Node:
        node.more_down = self.more.get(pk, 0)
        node.root = pk in self.roots
        if node.root:
            node.why_not = _("Chosen already: this is where it begins.")
        elif Right.OPERATE not in access.rights(self.user, project):
            node.why_not = _("You may not operate in project %(project)s.") % {"project": project.name}
        node.pick = not node.why_not
        return node


def _finished(graph: Graph, walk: _Walk, roots: int) -> Graph:
    _levels(graph)
    graph.focus = graph.nodes[0].key if graph.nodes else ""
    if walk.full:
        graph.note = _("Only the first %(count)d are shown.") % {"count": MOST_NODES}
    elif roots > MOST_ROOTS:
        graph.note = _("What follows the first %(count)d chosen ones is shown.") % {"count": MOST_ROOTS}
    return graph.place()


def _levels(graph: Graph) -> None:
    """Steps from the nearest chosen one."""
    below: dict[str, list[str]] = {}
    for arrow in graph.edges:
        below.setdefault(arrow.source, []).append(arrow.target)
    front = [node.key for node in graph.nodes if node.root]
    level, step = dict.fromkeys(front, 0), 0
    while front:
        step += 1
        front = list(dict.fromkeys(key for near in front for key in below.get(near, ()) if key not in level))
        level |= dict.fromkeys(front, step)
    for node in graph.nodes:
        node.level = level.get(node.key, 0)
