"""What an instance waits for and what waits for it, level by level: one query each, up to a number of instances.

Instances of projects that the user does not see are named by their task's number only, and nothing behind them is looked at.
"""

from dataclasses import dataclass, field
from typing import Any

from instances.models import Edge, Instance
from weops.projects import access
from weops.projects.access import AnyUser, Right

MOST_LEVELS = 20
MOST_EDGES = 2_000


@dataclass
class Lineage:
    """`nodes`: {id: node}; `cut`: there is more than is shown."""

    nodes: dict[int, dict[str, Any]] = field(default_factory=dict)
    edges: list[dict[str, Any]] = field(default_factory=list)
    cut: bool = False


def walk(root: Instance, user: AnyUser, direction: str, levels: int) -> Lineage:
    """`direction`: upstream or downstream. Level 0 is the root itself."""
    visible = access.project_ids(user, Right.VIEW)
    found = Lineage(nodes={root.pk: _node(root, 0, visible)})
    layer = [root.pk]
    for level in range(1, levels + 1):
        layer = _next(found, layer, level, direction, visible)
        if not layer or found.cut:
            break
    return found


def _next(
    found: Lineage, layer: list[int], level: int, direction: str, visible: list[int] | None
) -> list[int]:
    """Adds the instances next to those of the layer; the ids of those that are new and may be looked behind."""
    up = direction == "upstream"
    here, there = ("instance", "upstream") if up else ("upstream", "instance")
    rows = Edge.objects.filter(**{f"{here}__in": layer}).select_related(
        f"{there}__task", f"{there}__project", "upstream_task__workflow"
    )
    rows = rows.order_by(here, "instance_id", "upstream_task_id", "upstream_data_time")
    room = MOST_EDGES - len(found.edges)
    edges = list(rows[: room + 1])
    if len(edges) > room:
        found.cut, edges = True, edges[:room]
    new = []
    for edge in edges:
        other: Instance | None = getattr(edge, there)
        found.edges.append(_edge(edge, visible))
        if other is not None and other.pk not in found.nodes:
            found.nodes[other.pk] = _node(other, level if not up else -level, visible)
            if visible is None or other.project_id in visible:
                new.append(other.pk)
    return new


def _node(one: Instance, level: int, visible: list[int] | None) -> dict[str, Any]:
    hidden = visible is not None and one.project_id not in visible
    return {
        "id": one.pk,
        "level": level,
        "task": one.task_id,
        "task_name": None if hidden else one.task.name,
        "project_name": None if hidden else one.project.name,
        "data_time": one.data_time,
        "state": one.state,
        "error_code": "" if hidden else one.error_code,
        "hidden": hidden,
    }


def _edge(edge: Edge, visible: list[int] | None) -> dict[str, Any]:
    hidden = visible is not None and edge.upstream_task.workflow.project_id not in visible
    return {
        "instance": edge.instance_id,
        "upstream": edge.upstream_id,
        "upstream_task": edge.upstream_task_id,
        "upstream_task_name": None if hidden else edge.upstream_task.name,
        "upstream_data_time": edge.upstream_data_time,
        "is_self": edge.is_self,
        "satisfied_at": edge.satisfied_at,
        "waived": edge.waived,
        "removed_at": edge.removed_at,
    }
