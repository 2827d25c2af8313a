"""One short answer to "why is it not running": the nearest cause, from what its page has read already."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import Q

from instances.engine.states import ACTIVE, FINAL, HOLDING_SLOT, LABELS, State
from instances.models import Edge, Execution, Instance, WorkerProcess
from weops.console.present import plain_time, span

# A worker that was not seen for so long is dead or deaf.
ALIVE = dt.timedelta(seconds=15)
MOST_NAMED = 5


@dataclass(frozen=True)
class Answer:
    tone: str
    icon: str
    title: str
    lines: tuple[str, ...] = ()


def alive_workers(now: dt.datetime) -> int:
    """Workers that were seen within `ALIVE` and take work."""
    return WorkerProcess.objects.filter(Q(seen_at__gte=now - ALIVE), stopping=False).count()


def slots_taken(group_id: int) -> int:
    """Executions that hold a slot of the resource group now."""
    return Execution.objects.filter(
        resource_group_id=group_id, state__in=[s.value for s in HOLDING_SLOT]
    ).count()


def answer(
    instance: Instance, edges: list[tuple[str, Edge]], events: list[str], now: dt.datetime
) -> Answer | None:
    """Why the instance does not run; None if nothing keeps it.

    `edges`: what it waits for with the names to show, those that count first. `events`: a line for each that it waits for.
    """
    state = State(instance.state)
    if instance.frozen_at is not None and state not in FINAL and state not in ACTIVE:
        return _frozen(instance)
    if state == State.WAIT_EVENT:
        return _events(events)
    if state == State.WAIT_UPSTREAM:
        return _upstream(instance, edges)
    if state == State.FAILED_RETRY:
        return Answer(
            "amber", "replay", f"The last try failed; the next is due at {_at(instance.not_before)}."
        )
    if state == State.WAIT_RUN:
        return _execution(instance, now)
    return None


def _events(lines: list[str]) -> Answer:
    count = f"{len(lines)} events that have" if len(lines) > 1 else "an event that has"
    return Answer(
        "violet", "notifications_paused", f"It waits for {count} not come yet.", tuple(lines[:MOST_NAMED])
    )


def _at(moment: dt.datetime) -> str:
    return plain_time(moment)


def _frozen(instance: Instance) -> Answer:
    until = f"at {_at(instance.thaw_at)}, or by hand before" if instance.thaw_at else "by hand"
    return Answer("cyan", "ac_unit", f"It is frozen: it is not started until it is thawed {until}.")


def _upstream(instance: Instance, edges: list[tuple[str, Edge]]) -> Answer:
    open_edges = [
        (name, edge)
        for name, edge in edges
        if edge.satisfied_at is None and edge.removed_at is None and not edge.waived
    ]
    count = instance.pending_upstream
    lines = []
    for name, edge in open_edges[:MOST_NAMED]:
        other = edge.upstream
        state = LABELS[State(other.state)] if other else "not generated yet"
        when = plain_time(edge.upstream_data_time, edge.upstream_task.timezone)
        lines.append(f"{'its own previous data time' if edge.is_self else name} {when}: {state}")
    if count > len(lines):
        lines.append(f"and {count - len(lines)} more, see Upstream below")
    noun = "instance" if count == 1 else "instances"
    return Answer("slate", "account_tree", f"It waits for {count} upstream {noun}.", tuple(lines))


def _execution(instance: Instance, now: dt.datetime) -> Answer:
    if instance.not_before > now:
        ahead = span(instance.not_before - now)
        return Answer(
            "cyan", "schedule", f"Not due yet: it may start at {_at(instance.not_before)}, in {ahead}."
        )
    if instance.queue == "gated":
        return Answer(
            "cyan", "linear_scale", "Another instance of this serial task runs first: one at a time."
        )
    group = instance.resource_group
    if not group.enabled:
        return Answer("amber", "block", f"Resource group {group} is disabled; it starts nothing.")
    if alive_workers(now) == 0:
        return Answer("red", "memory", "No worker is alive; start one, or look at Workers.")
    if instance.queue == "taken":
        return Answer(
            "cyan", "outgoing_mail", "It has a slot and was handed to the workers; one will pick it up."
        )
    taken = slots_taken(group.pk)
    if taken >= group.slots:
        return Answer(
            "amber", "tune", f"Resource group {group} is full: {taken} of {group.slots} slots are taken."
        )
    return Answer(
        "cyan", "hourglass_top", "It is ready; it starts when those before it in the queue have started."
    )
