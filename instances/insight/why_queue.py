"""Causes while it waits for execution: turns, lanes, slots, workers. See `why`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from instances.engine.states import SelfDependency, State
from instances.insight import workers
from instances.insight.answers import Cause, Fix, Link
from instances.models import Execution, Instance
from weops.console.present import between, plain_time

if TYPE_CHECKING:
    from instances.insight.why import Case

MOST_NAMED = 5
# Instances before it in the queue that are counted.
MOST_BEFORE = 1000


def causes(case: Case) -> Iterator[Cause]:
    """Everything that keeps a due instance, which is not frozen, from being started. Seven queries at most."""
    instance = case.instance
    group = instance.resource_group
    here = Link("group", group.pk, group.name)
    if instance.queue != "taken":
        yield from _turn(case)
    if not group.enabled:
        yield Cause(
            "group_disabled",
            _("Resource group %(name)s is disabled; it starts nothing.") % {"name": group.name},
            since=case.since,
            links=(here,),
            fixes=(Fix("enable_group", _("Enable the resource group"), here),) if _administers(case) else (),
        )
    if instance.queue == "ready":
        yield from _slots(case, here)
    if not workers.alive(case.now, group.pk).exists():
        yield Cause(
            "no_worker",
            _("No live worker serves resource group %(name)s.") % {"name": group.name},
            since=case.since,
            lines=_last_seen(case),
            links=(Link("workers", None, _("Workers")),),
        )
    if instance.queue == "taken":
        yield _handed_over(case)


def _administers(case: Case) -> bool:
    return case.user is None or case.user.is_superuser


def _turn(case: Case) -> Iterator[Cause]:
    """Its serial task runs one at a time; its lane (of a rerun or backfill) so many."""
    instance = case.instance
    if instance.lane is not None:
        if instance.queue == "gated":
            yield _lane(case, instance.lane)
        return
    rule = instance.self_dependency or instance.task.self_dependency
    if rule == SelfDependency.PARALLEL and instance.queue != "gated":
        return
    holders = _named(case, workers.holding(serial_task_id=instance.task_id).exclude(instance=instance)[:1])
    if holders or instance.queue == "gated":
        yield Cause(
            "self_dependency",
            _("Another instance of this serial task runs first: one at a time."),
            since=instance.ready_since or case.since,
            lines=tuple(one.line for one in holders),
            links=_links(holders),
            fixes=_end(case, holders),
        )


def _lane(case: Case, lane: int) -> Cause:
    instance = case.instance
    rows = workers.holding(lane=lane)
    holders = _named(case, rows.order_by("id")[:MOST_NAMED])
    links = _links(holders)
    if instance.plan_id is not None:
        plan = Link("plan", instance.plan_id, _("Backfill plan #%(id)d") % {"id": instance.plan_id})
        links = (plan, *links)
    return Cause(
        "lane",
        _("Its rerun or backfill runs %(limit)d at a time, and so many are on.")
        % {"limit": instance.lane_limit or 1},
        since=instance.ready_since or case.since,
        lines=tuple(one.line for one in holders),
        links=links,
        fixes=_end(case, holders),
    )


def _slots(case: Case, here: Link) -> Iterator[Cause]:
    instance, group = case.instance, case.instance.resource_group
    rows = workers.holding(resource_group_id=group.pk)
    taken = rows.count()
    ready = max(instance.ready_since or case.since, instance.not_before)
    if taken < group.slots:
        before = _before(instance, case)
        counted = f"{before}+" if before >= MOST_BEFORE else str(before)
        yield Cause(
            "queued",
            _("It is ready; the next dispatch starts it.")
            if before == 0
            else _("It is ready; %(count)s stand before it in the queue.") % {"count": counted},
            since=ready,
            links=(here,),
        )
        return
    holders = _named(case, rows.order_by("run_started_at", "id")[:MOST_NAMED])
    lines = [one.line for one in holders]
    if taken > len(lines):
        lines.append(_("and %(count)d more") % {"count": taken - len(lines)})
    yield Cause(
        "group_full",
        _("Resource group %(name)s is full: %(taken)d of %(slots)d slots are taken.")
        % {"name": group.name, "taken": taken, "slots": group.slots},
        since=ready,
        lines=tuple(lines),
        links=(here, *_links(holders)),
        fixes=(
            *((Fix("more_slots", _("Give the group more slots"), here),) if _administers(case) else ()),
            *_end(case, holders),
        ),
    )


def _before(instance: Instance, case: Case) -> int:
    """Due instances before it in the queue of its group, `MOST_BEFORE` at most."""
    rows = Instance.objects.filter(
        resource_group=instance.resource_group_id,
        state=State.WAIT_RUN,
        queue="ready",
        frozen_at__isnull=True,
        not_before__lte=case.now,
    ).filter(
        Q(priority__gt=instance.priority)
        | Q(priority=instance.priority, planned_time__lt=instance.planned_time)
        | Q(priority=instance.priority, planned_time=instance.planned_time, pk__lt=instance.pk)
    )
    return rows[:MOST_BEFORE].count()


@dataclass(frozen=True)
class _Holder:
    """Who has the place: `line` tells it."""

    instance: Instance
    link: Link
    line: str


def _named(case: Case, rows: QuerySet[Execution]) -> list[_Holder]:
    found = []
    for execution in rows.select_related("instance__task").defer("instance__task__code", "parameters"):
        link = case.names.instance(execution.instance)
        since = execution.run_started_at
        text = _("runs for %(span)s") % {"span": between(since, case.now)} if since else _("handed over")
        found.append(_Holder(execution.instance, link, f"{link.title}: {text}"))
    return found


def _links(holders: list[_Holder]) -> tuple[Link, ...]:
    return tuple(one.link for one in holders if one.link.id is not None)


def _end(case: Case, holders: list[_Holder]) -> tuple[Fix, ...]:
    """Terminating what has held its place the longest."""
    return case.fixes("terminate", on=holders[0].instance) if holders else ()


def _last_seen(case: Case) -> tuple[str, ...]:
    silent = workers.WorkerProcess.objects.order_by("-seen_at").values_list("name", "seen_at", "stopping")
    return tuple(
        (_("%(name)s is stopping") if stopping else _("%(name)s was last seen at %(time)s"))
        % {"name": name, "time": plain_time(seen)}
        for name, seen, stopping in silent[:MOST_NAMED]
    )


def _handed_over(case: Case) -> Cause:
    instance = case.instance
    execution = Execution.objects.filter(pk=instance.execution_id or 0).only("hinted_at").first()
    hinted = execution.hinted_at if execution else None
    lines = (_("Workers were last told at %(time)s.") % {"time": plain_time(hinted)},) if hinted else ()
    return Cause(
        "handed_over",
        _("It has a slot and was handed to the workers; none has picked it up yet."),
        since=instance.ready_since or case.since,
        lines=lines,
        links=(Link("workers", None, _("Workers")),),
        fixes=case.fixes("terminate"),
    )
