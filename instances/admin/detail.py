"""Everything the page of one instance shows, read with a fixed number of queries whatever its history."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from events.admin.waits import WaitRow, waits_of
from instances.admin.buttons import Button, buttons
from instances.admin.looks import (
    OPERATION_LOOKS,
    STATE_LOOKS,
    execution_badge,
    language_of,
    move_words,
    run_type_words,
    state_badge,
    type_cell,
)
from instances.admin.operate_words import in_a_line
from instances.admin.overlays import acknowledged_badge, frozen_badge
from instances.admin.traversals import Panel, panel
from instances.admin.why import ShownCause, of_page
from instances.engine import logs
from instances.engine.errors import Error, explain
from instances.engine.states import ACTIVE, FINAL, WAITING, ExecutionState, State
from instances.insight.shown import Shown, shown
from instances.insight.traversals import Place, place_of
from instances.kinds import look_up
from instances.models import Edge, Execution, Instance, OperationItem, StateChange
from instances.operations.acknowledging import acknowledgements
from instances.record_filters import SOURCES, operator_of
from weops.console.folders import folder_paths
from weops.console.paging import COUNT_CAP, capped_count
from weops.console.present import badge, between, capped, stamp
from weops.projects import access
from weops.projects.access import AnyUser, Right

MOST_EXECUTIONS = MOST_EDGES = MOST_CHANGES = 200


@dataclass(frozen=True)
class Phase:
    """One of the three phases of an execution. `tone`: done, active, failed, or empty when it has not begun."""

    title: Any
    icon: str
    start: SafeString
    end: SafeString
    duration: str
    tone: str


@dataclass(frozen=True)
class ExecutionRow:
    execution: Execution
    badge: SafeString
    run_type: str
    started: SafeString
    waited: str
    queued: str
    ran: str
    selected: bool


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


@dataclass(frozen=True)
class Happening:
    at: SafeString
    move: str
    before: str
    after: SafeString
    error_code: str
    execution_id: int | None
    operation_id: int | None


@dataclass(frozen=True)
class Done:
    """An operation on this instance, and what became of it."""

    item: OperationItem
    title: str
    operator: str
    source: str
    options: str
    badge: SafeString
    at: SafeString


@dataclass
class Page:
    """What the template shows. Counts are texts that stop at a cap."""

    instance: Instance
    badge: SafeString
    data_time: SafeString
    task_type: SafeString
    duration: str
    folder: str
    live: bool
    zone: str
    why: list[ShownCause]
    error: Error | None
    executions: list[ExecutionRow]
    more_executions: bool
    selected: Execution | None
    phases: list[Phase]
    # The log so far of a life that has no execution yet.
    waiting_log: str
    code: str
    # What the code is written in, for its colours.
    language: str
    code_problem: str
    # (name, value as the run got it, as it is written if that differs)
    parameters: list[tuple[str, str, str]]
    outputs: list[tuple[str, str]]
    events: list[WaitRow]
    upstream: list[Neighbour]
    upstream_count: str
    downstream: list[Neighbour]
    downstream_count: str
    changes: list[Happening]
    operations: list[Done]
    overlays: list[SafeString]
    buttons: list[Button]
    times: list[tuple[str, SafeString]] = field(default_factory=list)
    # Of a For-each instance, and of one inside it.
    traversals: Panel | None = None
    place: Place | None = None


def build(instance: Instance, user: AnyUser, asked: Mapping[str, str] | None = None) -> Page:
    """Reads the page of `instance`. `asked`: its address's parameters: `execution` is shown, or else the one of now or the
    last; `traversals` (a state) and `after` choose a page of traversals."""
    asked = asked or {}
    execution_id = asked.get("execution", "")
    now = timezone.now()
    executions = list(
        Execution.objects.filter(instance=instance)
        .select_related("version")
        .order_by("-life_round", "-try_number", "-id")[: MOST_EXECUTIONS + 1]
    )
    selected = _selected(instance, executions, execution_id)
    ran = shown(instance, selected)
    visible = access.project_ids(user, Right.VIEW)
    upstream = upstream_of(instance, user)
    edges = [one.edge for one in upstream]
    events = waits_of(instance.pk, user)
    seen = acknowledgements([instance.pk]).get(instance.pk)
    below = Edge.objects.filter(upstream=instance)
    state = State(instance.state)
    return Page(
        instance=instance,
        badge=state_badge(instance.state, instance.error_code, instance.error_message),
        data_time=stamp(instance.data_time, instance.task.timezone, named=True),
        task_type=type_cell(instance.task_type),
        duration=between(instance.start_time, instance.end_time, now if state in ACTIVE else None),
        folder=folder_paths([instance.folder_id]).get(instance.folder_id or 0, ""),
        live=state not in FINAL or _ends(selected),
        zone=timezone.get_current_timezone_name(),
        why=of_page(instance, user),
        error=explain(instance.error_code),
        executions=[_row(one, selected, now) for one in executions[:MOST_EXECUTIONS]],
        more_executions=len(executions) > MOST_EXECUTIONS,
        selected=selected,
        phases=phases(instance, selected, now),
        waiting_log=ran.hidden(logs.of_waiting(instance))
        if _waits_without_execution(instance, selected)
        else "",
        code=ran.code,
        language=language_of(instance.task_type),
        code_problem=ran.problem,
        parameters=_parameters(selected, ran),
        outputs=sorted(ran.outputs.items()),
        events=events,
        upstream=upstream,
        upstream_count=_counted(edges, Edge.objects.filter(instance=instance)),
        downstream=[
            _neighbour(edge, edge.instance, edge.instance.task, visible) for edge in _downstream_edges(below)
        ],
        downstream_count=capped(capped_count(below), COUNT_CAP),
        changes=_changes(instance),
        operations=_operations(instance, ran),
        overlays=[badge for badge in (frozen_badge(instance), acknowledged_badge(seen)) if badge],
        buttons=buttons(instance, user, edges, seen),
        times=_times(instance),
        traversals=panel(instance, asked.get("after", ""), asked.get("traversals", ""), ran.mask),
        place=place_of(instance),
    )


def _selected(instance: Instance, executions: list[Execution], wanted: str) -> Execution | None:
    """The execution asked for, else the present one, else the newest. One further back than the list is read."""
    by_id = {execution.pk: execution for execution in executions}
    if wanted.isdecimal() and len(wanted) <= 18:
        found = by_id.get(int(wanted))
        if found is None and len(executions) > MOST_EXECUTIONS:
            found = (
                Execution.objects.filter(instance=instance, pk=int(wanted)).select_related("version").first()
            )
        if found is not None:
            return found
    return by_id.get(instance.execution_id or 0) or (executions[0] if executions else None)


def _ends(execution: Execution | None) -> bool:
    return execution is not None and execution.state in (ExecutionState.STOPPING, ExecutionState.DELEGATED)


def _parameters(execution: Execution | None, ran: Shown) -> list[tuple[str, str, str]]:
    """(name, value, how it was written or where it came from)"""
    given = (execution.inherited or {}) if execution else {}

    def note(name: str, text: str) -> str:
        if name in given:
            return gettext("output of %(task)s") % {"task": given[name]["from"]}
        return text if text != ran.parameters[name] else ""

    return [(name, ran.parameters[name], note(name, text)) for name, text in sorted(ran.written.items())]


def _row(execution: Execution, selected: Execution | None, now: dt.datetime) -> ExecutionRow:
    open_until = None if execution.ended_at else now
    queue_end = execution.run_started_at or execution.ended_at
    return ExecutionRow(
        execution=execution,
        badge=execution_badge(execution.state, execution.error_code, execution.error_message),
        run_type=run_type_words(execution.run_type),
        started=stamp(execution.run_started_at),
        waited=between(
            execution.wait_started_at, execution.queue_started_at or execution.ended_at, open_until
        ),
        queued=between(execution.queue_started_at, queue_end, open_until),
        ran=between(execution.run_started_at, execution.run_ended_at or execution.ended_at, open_until),
        selected=selected is not None and execution.pk == selected.pk,
    )


def _waits_without_execution(instance: Instance, execution: Execution | None) -> bool:
    """Whether its present life waits and has no execution yet."""
    if State(instance.state) not in WAITING:
        return False
    return execution is None or (
        execution.ended_at is not None and execution.life_round < instance.life_round
    )


def phases(instance: Instance, execution: Execution | None, now: dt.datetime) -> list[Phase]:
    """The three phases of `execution`; of the life that is waiting now if it has no execution yet."""
    if _waits_without_execution(instance, execution):
        ready = instance.ready_since if instance.state == State.WAIT_RUN else None
        spans = [(instance.wait_since, ready), (ready, None), (None, None)]
        return [_phase(index, begin, end, now, failed=False) for index, (begin, end) in enumerate(spans)]
    if execution is None:
        return [_phase(index, None, None, now, failed=False) for index in range(3)]
    ended = execution.ended_at
    failed = execution.state in (ExecutionState.FAILED, ExecutionState.CANCELLED)
    run_end = execution.run_ended_at or ended
    spans = [
        (execution.wait_started_at, execution.queue_started_at or ended),
        (execution.queue_started_at, execution.run_started_at or ended),
        (execution.run_started_at, run_end if execution.run_started_at else None),
    ]
    last = max((index for index, (begin, _) in enumerate(spans) if begin), default=0)
    return [
        _phase(index, begin, end, now, failed=failed and index == last)
        for index, (begin, end) in enumerate(spans)
    ]


_PHASES = (
    (_("Waiting for events and upstream"), "account_tree"),
    (_("Waiting for execution"), "hourglass_top"),
    (_("Running"), "play_circle"),
)


def _phase(
    index: int, begin: dt.datetime | None, end: dt.datetime | None, now: dt.datetime, *, failed: bool
) -> Phase:
    title, icon = _PHASES[index]
    tone = "" if begin is None else "failed" if failed else "done" if end else "active"
    return Phase(title, icon, stamp(begin), stamp(end if begin else None), between(begin, end, now), tone)


def upstream_of(instance: Instance, user: AnyUser) -> list[Neighbour]:
    """The first of what it waits for, in one query, those that still count first."""
    visible = access.project_ids(user, Right.VIEW)
    edges = _upstream_edges(instance)[:MOST_EDGES]
    return [_neighbour(edge, edge.upstream, edge.upstream_task, visible) for edge in edges]


def _upstream_edges(instance: Instance) -> QuerySet[Edge]:
    """What it waits for, those that still count first."""
    rows = Edge.objects.filter(instance=instance).select_related(
        "upstream_task__workflow", "upstream", "removed_by"
    )
    rows = rows.only(
        "instance_id",
        "upstream_data_time",
        "is_self",
        "satisfied_at",
        "waived",
        "excused",
        "rules",
        "removed_at",
        "removed_by__username",
        "removed_reason",
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


def _downstream_edges(rows: QuerySet[Edge]) -> list[Edge]:
    rows = rows.select_related("instance__task__workflow", "removed_by").only(
        "upstream_id",
        "upstream_data_time",
        "is_self",
        "satisfied_at",
        "waived",
        "excused",
        "rules",
        "removed_at",
        "removed_by__username",
        "removed_reason",
        "instance__state",
        "instance__error_code",
        "instance__data_time",
        "instance__task__name",
        "instance__task__timezone",
        "instance__task__workflow__project_id",
    )
    return list(rows.order_by("instance_id")[:MOST_EDGES])


def _counted(edges: list[Edge], rows: QuerySet[Edge]) -> str:
    return capped(len(edges) if len(edges) < MOST_EDGES else capped_count(rows), COUNT_CAP)


def _neighbour(edge: Edge, other: Instance | None, task: Any, visible: list[int] | None) -> Neighbour:
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


def _changes(instance: Instance) -> list[Happening]:
    rows = StateChange.objects.filter(instance_id=instance.pk).order_by("-id")[:MOST_CHANGES]
    return [
        Happening(
            at=stamp(row.at),
            move=move_words(row.move),
            before=STATE_LOOKS[row.from_state].text if row.from_state in STATE_LOOKS else row.from_state,
            after=_past(row.to_state),
            error_code=row.error_code,
            execution_id=row.execution_id,
            operation_id=row.operation_id,
        )
        for row in rows
    ]


def _past(state: str) -> SafeString:
    return state_badge(state) if state in STATE_LOOKS else SafeString("")


def _operations(instance: Instance, ran: Shown) -> list[Done]:
    rows = (
        OperationItem.objects.filter(instance_id=instance.pk)
        .select_related("operation__operator")
        .defer("before", "after")
        .order_by("-id")
    )
    return [
        Done(
            item=item,
            title=look_up(item.operation.kind).title,
            operator=operator_of(item.operation),
            source=str(SOURCES.get(item.operation.source, item.operation.source)),
            options=in_a_line(ran.hidden(item.operation.options)),
            badge=badge(OPERATION_LOOKS, item.outcome),
            at=stamp(item.operation.created_at),
        )
        for item in rows[:MOST_CHANGES]
    ]


def _times(instance: Instance) -> list[tuple[str, SafeString]]:
    return [
        (gettext("Planned time"), stamp(instance.planned_time)),
        (gettext("Start time"), stamp(instance.start_time)),
        (gettext("End time"), stamp(instance.end_time)),
        (gettext("Generated"), stamp(instance.created_at)),
    ]
