"""Everything the page of one instance shows, read with a fixed number of queries whatever its history."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from events.admin.waits import WaitRow, waits_of
from instances.admin.buttons import Button, buttons
from instances.admin.detail_edges import (
    Neighbour,
    counted_edges,
    downstream_edges,
    neighbour,
    upstream_of,
)
from instances.admin.detail_task import Definition, definition_of
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
from instances.engine.diagnosis import line_of_code
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

MOST_EXECUTIONS = MOST_CHANGES = 200


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


TABS: dict[str, Any] = {
    "log": _("Execution logs"),
    "lineage": _("Instance lineage"),
    "records": _("Operation records"),
    "task": _("Task"),
}


@dataclass
class Page:
    """What the template shows. Counts are texts that stop at a cap.

    What stands in the head is read at once; the rest when a tab shows it, so that each tab costs what is in it alone.
    """

    instance: Instance
    user: AnyUser
    asked: Mapping[str, str]
    now: dt.datetime
    tab: str
    executions_found: list[Execution]
    selected: Execution | None
    upstream: list[Neighbour]
    overlays: list[SafeString]
    buttons: list[Button]

    @property
    def state(self) -> State:
        return State(self.instance.state)

    # The head

    @property
    def badge(self) -> SafeString:
        return state_badge(self.instance.state, self.instance.error_code, self.instance.error_message)

    @property
    def data_time(self) -> SafeString:
        return stamp(self.instance.data_time, self.instance.task.timezone, named=True)

    @property
    def task_type(self) -> SafeString:
        return type_cell(self.instance.task_type)

    @property
    def duration(self) -> str:
        now = self.now if self.state in ACTIVE else None
        return between(self.instance.start_time, self.instance.end_time, now)

    @cached_property
    def folder(self) -> str:
        return folder_paths([self.instance.folder_id]).get(self.instance.folder_id or 0, "")

    @property
    def live(self) -> bool:
        """It will change by itself."""
        return self.state not in FINAL or _ends(self.selected)

    @property
    def zone(self) -> str:
        return timezone.get_current_timezone_name()

    @cached_property
    def why(self) -> list[ShownCause]:
        return of_page(self.instance, self.user)

    @property
    def error(self) -> Error | None:
        return explain(self.instance.error_code)

    @property
    def may_edit(self) -> bool:
        """Whether there is code, which the user may change."""
        rights = access.rights(self.user, self.instance.project_id)
        return bool(self.instance.task.code) and Right.AUTHOR in rights

    @property
    def code_line(self) -> int | None:
        """The line of the code as it is now at which the instance failed; None if not known, or if the code may have
        changed since."""
        ran = self.executions_found[0].version_id if self.executions_found else None
        if ran != self.instance.task.current_version_id:
            return None
        return line_of_code(self.instance.error_message)

    @property
    def times(self) -> list[tuple[str, SafeString]]:
        return _times(self.instance)

    @cached_property
    def place(self) -> Place | None:
        """Of an instance inside a For-each one."""
        return place_of(self.instance)

    @property
    def tabs(self) -> list[tuple[str, str, bool]]:
        """(name, title, whether it is shown)"""
        return [(name, str(title), name == self.tab) for name, title in TABS.items()]

    # Execution logs

    @property
    def executions(self) -> list[ExecutionRow]:
        return [_row(one, self.selected, self.now) for one in self.executions_found[:MOST_EXECUTIONS]]

    @property
    def more_executions(self) -> bool:
        return len(self.executions_found) > MOST_EXECUTIONS

    @property
    def phases(self) -> list[Phase]:
        return phases(self.instance, self.selected, self.now)

    @cached_property
    def ran(self) -> Shown:
        return shown(self.instance, self.selected)

    @cached_property
    def waiting_log(self) -> str:
        """The log so far of a life that has no execution yet."""
        if not _waits_without_execution(self.instance, self.selected):
            return ""
        return str(self.ran.hidden(logs.of_waiting(self.instance)))

    @property
    def code(self) -> str:
        return self.ran.code

    @property
    def language(self) -> str:
        """What the code is written in, for its colours."""
        return language_of(self.instance.task_type)

    @property
    def code_problem(self) -> str:
        return self.ran.problem

    @property
    def parameters(self) -> list[tuple[str, str, str]]:
        """(name, value as the run got it, as it is written if that differs)"""
        return _parameters(self.selected, self.ran)

    @property
    def outputs(self) -> list[tuple[str, str]]:
        return sorted(self.ran.outputs.items())

    @cached_property
    def traversals(self) -> Panel | None:
        """Of a For-each instance."""
        given = self.asked.get
        return panel(self.instance, given("after", ""), given("traversals", ""), self.ran.mask)

    @cached_property
    def events(self) -> list[WaitRow]:
        return waits_of(self.instance.pk, self.user)

    @cached_property
    def upstream_count(self) -> str:
        return counted_edges([one.edge for one in self.upstream], Edge.objects.filter(instance=self.instance))

    # Lineage

    @cached_property
    def downstream(self) -> list[Neighbour]:
        visible = access.project_ids(self.user, Right.VIEW)
        edges = downstream_edges(Edge.objects.filter(upstream=self.instance))
        return [neighbour(edge, edge.instance, edge.instance.task, visible) for edge in edges]

    @cached_property
    def downstream_count(self) -> str:
        return capped(capped_count(Edge.objects.filter(upstream=self.instance)), COUNT_CAP)

    # Operation records

    @cached_property
    def changes(self) -> list[Happening]:
        return _changes(self.instance)

    @cached_property
    def operations(self) -> list[Done]:
        return _operations(self.instance, self.ran)

    # Task

    @cached_property
    def definition(self) -> Definition:
        return definition_of(self.instance.task)


def build(instance: Instance, user: AnyUser, asked: Mapping[str, str] | None = None) -> Page:
    """The page of `instance`. `asked`: its address's parameters: `tab`; `execution` is shown, or else the one of now or the
    last; `traversals` (a state) and `after` choose a page of traversals."""
    asked = asked or {}
    executions = list(
        Execution.objects.filter(instance=instance)
        .select_related("version")
        .order_by("-life_round", "-try_number", "-id")[: MOST_EXECUTIONS + 1]
    )
    upstream = upstream_of(instance, user)
    seen = acknowledgements([instance.pk]).get(instance.pk)
    tab = asked.get("tab", "")
    return Page(
        instance=instance,
        user=user,
        asked=asked,
        now=timezone.now(),
        tab=tab if tab in TABS else next(iter(TABS)),
        executions_found=executions,
        selected=_selected(instance, executions, asked.get("execution", "")),
        upstream=upstream,
        overlays=[badge for badge in (frozen_badge(instance), acknowledged_badge(seen)) if badge],
        buttons=buttons(instance, user, [one.edge for one in upstream], seen),
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
