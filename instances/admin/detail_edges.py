"""What an instance waits for, and what waits for it, as lists that show no more than the user may see."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from instances.admin.looks import state_badge
from instances.models import Edge, Instance
from weops.console.paging import COUNT_CAP, capped_count
from weops.console.present import capped, stamp
from weops.projects import access
from weops.projects.access import AnyUser, Right

MOST_EDGES = 200


@dataclass(frozen=True)
class Neighbour:
    """An instance up or down the line; `name` hides what belongs to a project that the user cannot see."""

    name: str
    data_time: SafeString
    badge: SafeString | None
    pk: int | None
    hidden: bool
    edge: Edge
    satisfied: SafeString
    removed: SafeString


def upstream_of(instance: Instance, user: AnyUser) -> list[Neighbour]:
    """The first of what it waits for, in one query, those that still count first."""
    visible = access.project_ids(user, Right.VIEW)
    edges = _upstream_edges(instance)[:MOST_EDGES]
    return [neighbour(edge, edge.upstream, edge.upstream_task, visible) for edge in edges]


# What the tables of both sides show of an edge itself.
_OF_EDGE = (
    "upstream_data_time",
    "is_self",
    "satisfied_at",
    "waived",
    "excused",
    "rules",
    "removed_at",
    "removed_by__username",
    "removed_reason",
)


def _upstream_edges(instance: Instance) -> QuerySet[Edge]:
    """What it waits for, those that still count first."""
    rows = Edge.objects.filter(instance=instance).select_related(
        "upstream_task__workflow", "upstream", "removed_by"
    )
    rows = rows.only(
        *_OF_EDGE,
        "instance_id",
        "upstream_task__name",
        "upstream_task__timezone",
        "upstream_task__workflow__project_id",
        "upstream__state",
        "upstream__error_code",
        "upstream__data_time",
    )
    counts = Q(satisfied_at__isnull=True, removed_at__isnull=True, waived=False)
    met = Case(When(counts, then=Value(0)), default=Value(1), output_field=IntegerField())
    return rows.annotate(met=met).order_by("met", "upstream_task_id", "upstream_data_time")


def downstream_edges(rows: QuerySet[Edge]) -> list[Edge]:
    rows = rows.select_related("instance__task__workflow", "removed_by").only(
        *_OF_EDGE,
        "upstream_id",
        "instance__state",
        "instance__error_code",
        "instance__data_time",
        "instance__task__name",
        "instance__task__timezone",
        "instance__task__workflow__project_id",
    )
    return list(rows.order_by("instance_id")[:MOST_EDGES])


def counted_edges(edges: list[Edge], rows: QuerySet[Edge]) -> str:
    return capped(len(edges) if len(edges) < MOST_EDGES else capped_count(rows), COUNT_CAP)


def neighbour(edge: Edge, other: Instance | None, task: Any, visible: list[int] | None) -> Neighbour:
    hidden = visible is not None and task.workflow.project_id not in visible
    data_time = other.data_time if other is not None else edge.upstream_data_time
    return Neighbour(
        name=gettext("Task #%(id)s of another project") % {"id": task.pk} if hidden else task.name,
        data_time=stamp(data_time, task.timezone, named=True),
        badge=state_badge(other.state, "" if hidden else other.error_code) if other is not None else None,
        pk=other.pk if other is not None and not hidden else None,
        hidden=hidden,
        edge=edge,
        satisfied=stamp(edge.satisfied_at),
        removed=stamp(edge.removed_at),
    )
