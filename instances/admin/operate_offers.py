"""What the options of an operation offer to choose from: parameters of the chosen tasks, downstream instances, edges.

Everything here is bounded: it helps to fill in a form, and judges nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import connection
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from instances.admin.detail_edges import Neighbour, upstream_of
from instances.admin.looks import state_badge
from instances.admin.operate_choice import Choice
from instances.engine.parameters import ParameterError, merge, resolve
from instances.inner_tasks import FOR_EACH
from instances.models import Instance, Task
from instances.models.definition import parameter_layers
from weops.console.present import plain_time
from weops.projects import access
from weops.projects.access import AnyUser, Right

# Chosen instances that are looked at for offers, their tasks, and downstream instances that can be picked by hand.
MOST_ROOTS = 1_000
MOST_TASKS = 200
MOST_CANDIDATES = 300
# Those that are picked on the graph, beside them.
MOST_PICKED = 1_000


@dataclass(frozen=True)
class Parameter:
    """A name with its value of today; `note` says how it reads for the instance, or that tasks differ."""

    name: str
    value: str
    note: str


def parameters(choice: Choice) -> list[Parameter]:
    """Parameters of the chosen instances' tasks, with those of their workflows and projects, by name."""
    some = choice.rows.order_by("-data_time", "-id").values("task_id")[:MOST_ROOTS]
    tasks = list(Task.objects.filter(pk__in=some).select_related("workflow__project")[:MOST_TASKS])
    return parameters_of(tasks, _as_read(choice.only, tasks))


def parameters_of(tasks: Sequence[Task], read: Mapping[str, str] | None = None) -> list[Parameter]:
    """Parameters of the first tasks (each with its workflow and project), by name. `read`: how they read for one instance."""
    values: dict[str, list[str]] = {}
    for task in tasks[:MOST_TASKS]:
        for name, value in merge(*parameter_layers(task)).items():
            values.setdefault(name, []).append(value)
    return [
        Parameter(name, found[0], _note(name, found, read or {})) for name, found in sorted(values.items())
    ]


def any_for_each(choice: Choice) -> bool:
    """Whether one of the chosen instances that are looked at has traversals."""
    some = choice.rows.order_by("-data_time", "-id").values("task_id")[:MOST_ROOTS]
    return Task.objects.filter(pk__in=some, task_type=FOR_EACH).exists()


def _as_read(instance: Instance | None, tasks: list[Task]) -> dict[str, str]:
    """What the values are for the one chosen instance, time expressions filled in."""
    if instance is None or not tasks:
        return {}
    try:
        return resolve(
            merge(*parameter_layers(tasks[0])),
            data_time=instance.data_time,
            timezone=instance.task.timezone,
            scheduled_time=instance.planned_time,
        )
    except ParameterError:
        return {}


def _note(name: str, found: list[str], read: Mapping[str, str]) -> str:
    if len(set(found)) > 1:
        return gettext("%(value)s (other tasks differ)") % {"value": found[0]}
    if name in read and read[name] != found[0]:
        return f"{found[0]} = {read[name]}"
    return found[0]


@dataclass(frozen=True)
class Candidate:
    """A downstream instance that can be picked, or cannot be, which `why_not` says."""

    pk: int
    name: str
    project: str
    data_time: str
    badge: SafeString
    picked: bool
    why_not: str


_DOWNSTREAM = """
WITH RECURSIVE down(id) AS (
    SELECT e.instance_id FROM instances_edge e JOIN instances_instance i ON i.id = e.instance_id
    WHERE e.upstream_id = ANY(%(roots)s) AND NOT e.is_self AND e.removed_at IS NULL
      AND (%(seen)s::bigint[] IS NULL OR i.project_id = ANY(%(seen)s::bigint[]))
  UNION
    SELECT e.instance_id FROM down JOIN instances_edge e ON e.upstream_id = down.id AND NOT e.is_self AND e.removed_at IS NULL
    JOIN instances_instance i ON i.id = e.instance_id
    WHERE %(seen)s::bigint[] IS NULL OR i.project_id = ANY(%(seen)s::bigint[])
)
SELECT id FROM down WHERE NOT id = ANY(%(roots)s) LIMIT %(most)s
"""


def root_ids(choice: Choice) -> list[int]:
    """The chosen instances that are looked at, the latest first."""
    return list(choice.rows.order_by("-data_time", "-id").values_list("pk", flat=True)[:MOST_ROOTS])


def candidates(choice: Choice, user: AnyUser, picked: set[int]) -> tuple[list[Candidate], bool]:
    """Instances downstream of the chosen ones that `user` sees, nearest first, with those that are `picked` farther away;
    and whether there are more of them."""
    seen = access.project_ids(user, Right.VIEW)
    with connection.cursor() as cursor:
        cursor.execute(_DOWNSTREAM, {"roots": root_ids(choice), "seen": seen, "most": MOST_CANDIDATES + 1})
        ids = [pk for (pk,) in cursor.fetchall()]
    more, near = len(ids) > MOST_CANDIDATES, dict.fromkeys(ids[:MOST_CANDIDATES])
    wanted = [*near, *sorted(picked - near.keys())[:MOST_PICKED]]
    rows = access.within(Instance.objects.all(), user, "project_id").in_bulk(wanted)
    tasks = Task.objects.select_related("workflow__project").in_bulk({row.task_id for row in rows.values()})
    found = [_candidate(rows[pk], tasks[rows[pk].task_id], pk in picked, user) for pk in wanted if pk in rows]
    return found, more


def _candidate(row: Instance, task: Task, picked: bool, user: AnyUser) -> Candidate:
    may = Right.OPERATE in access.rights(user, row.project_id)
    project = task.workflow.project.name
    return Candidate(
        pk=row.pk,
        name=task.name,
        project=project,
        data_time=f"{plain_time(row.data_time, task.timezone)} {task.timezone}",
        badge=state_badge(row.state, row.error_code),
        picked=picked,
        why_not="" if may else gettext("You may not operate in project %(project)s.") % {"project": project},
    )


@dataclass(frozen=True)
class EdgeOffer:
    """An upstream edge of the instance; `value` is what the form sends for it."""

    neighbour: Neighbour
    value: str
    picked: bool

    @property
    def removable(self) -> bool:
        return self.neighbour.edge.removed_at is None


def edges(instance: Instance, user: AnyUser, picked: set[str]) -> list[EdgeOffer]:
    """What the instance waits for: what counts first, what was removed last."""
    found = [_edge(one, picked) for one in upstream_of(instance, user)]
    return sorted(found, key=lambda one: not one.removable)


def _edge(one: Neighbour, picked: set[str]) -> EdgeOffer:
    value = f"{one.edge.upstream_task_id}@{one.edge.upstream_data_time.isoformat()}"
    return EdgeOffer(one, value, value in picked)
