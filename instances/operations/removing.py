"""Remove dependency: chosen edges of an instance, or all, stop counting for ever; they stay on the graph, marked."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from django.contrib.postgres.functions import TransactionNow
from django.db.models import Count
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from instances.engine import lifecycle
from instances.models import Edge, Instance, OperationRecord, Task
from instances.operations.base import Changed, InstanceOperation, register
from instances.operations.parsing import OptionError, flag, moment, only
from weops.projects.access import Right

MOST_EDGES = 1_000
# Edges that a refusal names.
NAMED = 5

# Task and data time of the upstream instance.
EdgeKey = tuple[int, dt.datetime]


@dataclass(frozen=True, slots=True)
class RemoveOptions:
    """Which edges; None: all that count and have not succeeded."""

    edges: tuple[EdgeKey, ...] | None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """`{"edges": [{"task": id, "data_time": ISO text with a zone}, ...]}` or `{"all": true}`."""
        only(given, ("edges", "all"))
        every, chosen = flag(given, "all"), given.get("edges")
        if every and chosen:
            raise OptionError("edges", _("Choose dependencies, or all of them; not both."))
        if every:
            return cls(None)
        if not isinstance(chosen, list | tuple) or not 0 < len(chosen) <= MOST_EDGES:
            message = _(
                'Write a list of up to %(most)s dependencies, each as {"task": id, "data_time": time}, '
                "or choose all."
            )
            raise OptionError("edges", message % {"most": f"{MOST_EDGES:,}"})
        return cls(tuple(dict.fromkeys(_edge(one) for one in chosen)))

    def as_json(self) -> dict[str, Any]:
        """What `parse` takes."""
        if self.edges is None:
            return {"all": True}
        return {"edges": [{"task": task, "data_time": time.isoformat()} for task, time in self.edges]}


def _edge(given: Any) -> EdgeKey:
    if not isinstance(given, Mapping) or set(given) != {"task", "data_time"}:
        raise OptionError("edges", _('Write each dependency as {"task": id, "data_time": time}.'))
    task_id, data_time = given["task"], moment(given, "data_time")
    if type(task_id) is not int or not 0 < task_id < 2**63 or data_time is None:
        raise OptionError("edges", _("Write the id of the upstream task and its data time, both."))
    return task_id, data_time


@register
class RemoveDependency(InstanceOperation):
    """On the chosen instances only; what others wait for stays."""

    kind = "remove_dependency"
    right = Right.OVERRIDE
    reason_required = True
    locks_parents = True
    undoable = False
    why_not_undoable = gettext_noop(
        "Removing a dependency cannot be undone: it stays removed in every later life."
    )

    def parse(self, given: Mapping[str, Any]) -> RemoveOptions:
        return RemoveOptions.parse(given)

    def refusals(self, instances: Sequence[Instance], options: RemoveOptions) -> dict[int, str]:
        """Those of which no chosen edge is left to remove; each message names the edges."""
        edges = _edges([instance.pk for instance in instances], options)
        names = _names(options)
        found = {}
        for instance in instances:
            own = edges[instance.pk]
            if any(_removable(edge, options) for edge in own.values()):
                continue
            if options.edges is None:
                message = _("%(instance)s waits for nothing: it has no open dependency to remove.")
                found[instance.pk] = message % {"instance": instance}
            else:
                said = _why_none(own, options.edges, names.get(instance.project_id, {}))
                found[instance.pk] = f"{instance}: {said}"
        return found

    def refusal(self, instance: Instance, options: RemoveOptions) -> str:
        return self.refusals([instance], options).get(instance.pk, "")

    def change(self, ids: Sequence[int], record: OperationRecord, options: RemoveOptions) -> Changed:
        states, touched = lifecycle.remove_edges(
            ids, record.pk, edges=options.edges, user_id=record.operator_id, reason=record.reason
        )
        # Edges bear the time of the transaction that removed them: this one.
        removed = Edge.objects.filter(instance_id__in=list(states), removed_at=TransactionNow())
        counts = removed.values("instance_id").annotate(edges=Count("*")).values_list("instance_id", "edges")
        said = {
            pk: ngettext("%(count)s dependency removed.", "%(count)s dependencies removed.", n) % {"count": n}
            for pk, n in counts
        }
        return Changed(states, touched, said)


def _edges(ids: Sequence[int], options: RemoveOptions) -> dict[int, dict[EdgeKey, Edge]]:
    """{instance id: its edges that the options can mean}, in one query."""
    rows = Edge.objects.filter(instance_id__in=ids).select_related("removed_by")
    if options.edges is None:
        rows = rows.filter(removed_at__isnull=True, satisfied_at__isnull=True, waived=False)
    else:
        tasks, times = zip(*options.edges, strict=True)
        rows = rows.filter(upstream_task_id__in=set(tasks), upstream_data_time__in=set(times))
    found: dict[int, dict[EdgeKey, Edge]] = defaultdict(dict)
    for edge in rows:
        found[edge.instance_id][edge.upstream_task_id, edge.upstream_data_time] = edge
    return found


def _removable(edge: Edge, options: RemoveOptions) -> bool:
    key = (edge.upstream_task_id, edge.upstream_data_time)
    return edge.removed_at is None and (options.edges is None or key in options.edges)


def _names(options: RemoveOptions) -> dict[int, dict[int, str]]:
    """{project id: {id: name}} of the chosen upstream tasks.

    Anybody can write down any number: a refusal, which is read by all who see the instance, names tasks of its own project
    only.
    """
    tasks = {task for task, _time in options.edges or ()}
    found: dict[int, dict[int, str]] = defaultdict(dict)
    rows = Task.objects.filter(pk__in=tasks).values_list("workflow__project_id", "pk", "name")
    for project_id, pk, name in rows:
        found[project_id][pk] = name
    return found


def _why_none(own: Mapping[EdgeKey, Edge], chosen: Sequence[EdgeKey], names: Mapping[int, str]) -> str:
    said = []
    for key in chosen[:NAMED]:
        task, time = key
        known = names.get(task) or _("task #%(id)s") % {"id": task}
        name = f"{known} {time:%Y-%m-%d %H:%M:%S %Z}"
        edge = own.get(key)
        if edge is None:
            said.append(_("it does not depend on %(task)s") % {"task": name})
        else:
            by = edge.removed_by.get_username() if edge.removed_by else _("the system")
            message = _("%(task)s was removed by %(user)s already, at %(time)s")
            at = f"{edge.removed_at:%Y-%m-%d %H:%M:%S %Z}"
            said.append(message % {"task": name, "user": by, "time": at})
    if len(chosen) > NAMED:
        said.append(_("and %(count)d more") % {"count": len(chosen) - NAMED})
    return _("nothing is left to remove: %(why)s.") % {"why": "; ".join(said)}
