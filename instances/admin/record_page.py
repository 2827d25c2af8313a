"""The page of one operation record: what was asked for, how far it is, and what became of each instance, page by page.

An operation may be on 100,000 instances and more: outcomes are read by keyset, one page of them, never all.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances import operations
from instances.admin.looks import OPERATION_LOOKS, state_badge
from instances.admin.operate_words import option_words
from instances.engine.secrets import masked
from instances.engine.states import FINAL, State
from instances.insight.shown import hide_options
from instances.insight.workers import alive_workers
from instances.kinds import Kind, look_up
from instances.models import Instance, OperationItem, OperationRecord
from instances.models.operation import ItemOutcome, OperationState
from instances.record_filters import SOURCES, operator_of, visible_items
from instances.runners.masker import Masker
from weops.console.present import badge, plain_time, span, stamp
from weops.projects import access
from weops.projects.access import AnyUser

PAGE = 100
UNFINISHED = (OperationState.INIT, OperationState.RUNNING)
TONES = {"done": "green", "refused": "amber", "failed": "red", "cancelled": "grey"}
# What stands behind a number of instances.
COUNTED: dict[str, Any] = {
    "done": _("done"),
    "refused": _("refused"),
    "failed": _("failed"),
    "cancelled": _("cancelled"),
}


@dataclass(frozen=True)
class Share:
    """A part of the bar: one sort of outcome."""

    name: str
    count: int
    percent: str
    tone: str


@dataclass(frozen=True)
class Progress:
    """`live`: it will change by itself. `note` says how long it takes still, or why it does not move."""

    record: OperationRecord
    badge: SafeString
    live: bool
    settled: int
    percent: int
    shares: list[Share]
    note: str


@dataclass(frozen=True)
class Line:
    """The outcome on one instance. `after` is empty if its state is as `before`; `now` is its present state, which goes on
    by itself if it `moves`; `changes` are its columns before and after, as (name, before, after)."""

    item: OperationItem
    name: str
    data_time: str
    there: bool
    badge: SafeString
    before: SafeString
    after: SafeString
    now: SafeString
    moves: bool
    changes: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Outcomes:
    """A page of outcomes by instance id; `following` is the address of the next page, empty on the last."""

    lines: list[Line]
    outcome: str
    tabs: list[tuple[str, str, int, bool]]
    first: str
    following: str

    @property
    def live(self) -> bool:
        """Something that it was done to will change by itself."""
        return any(line.moves for line in self.lines)


@dataclass(frozen=True)
class RecordPage:
    record: OperationRecord
    kind: Kind
    operator: str
    source: str
    created: SafeString
    started: SafeString
    finished: SafeString
    took: str
    options: list[tuple[str, str]]
    progress: Progress
    outcomes: Outcomes
    undone_by: list[OperationRecord]
    may_cancel: bool
    may_undo: bool
    why_not_undoable: str
    undo_reason_required: bool


def build(record: OperationRecord, user: Any, query: QueryDict) -> RecordPage:
    """Reads the page; `query` has the page's parameters `outcome` and `after`."""
    on_instances = record.kind in operations.kinds()
    unfinished = record.state in UNFINISHED
    mask = hide_options([record])
    return RecordPage(
        record=record,
        kind=look_up(record.kind),
        operator=operator_of(record),
        source=SOURCES.get(record.source, record.source),
        created=stamp(record.created_at),
        started=stamp(record.started_at),
        finished=stamp(record.finished_at),
        took=span(record.finished_at - record.created_at) if record.finished_at else "",
        options=option_words(record.options),
        progress=progress(record),
        outcomes=outcomes(record, user, query, mask),
        undone_by=list(OperationRecord.objects.filter(undoes=record)),
        may_cancel=unfinished
        and on_instances
        and record.cancel_requested_at is None
        and operations.may_cancel(record, user),
        may_undo=may_undo(record, user),
        why_not_undoable=operations.why_not_undoable(record) if on_instances else "",
        undo_reason_required=on_instances and operations.get("undo").reason_required,
    )


def may_undo(record: OperationRecord, user: AnyUser) -> bool:
    """Whether it can be undone and the user has the rights to it anywhere; row by row they are judged when it is done."""
    if operations.why_not_undoable(record):
        return False
    undo = operations.get("undo")
    return all(
        access.has_anywhere(user, right) for right in undo.rights(undo.parse({"operation": record.pk}))
    )


def progress(record: OperationRecord) -> Progress:
    """How far it is, from its row alone."""
    counts = {name: getattr(record, name) for name in TONES}
    settled, live = sum(counts.values()), record.state in UNFINISHED
    total = max(record.total, settled, 1)
    return Progress(
        record=record,
        badge=badge(OPERATION_LOOKS, record.state),
        live=live,
        settled=settled,
        percent=100 * settled // total if live or record.total else 100,
        shares=[
            Share(COUNTED[name], count, f"{100 * count / total:.2f}", TONES[name])
            for name, count in counts.items()
        ],
        note=_note(record, settled, timezone.now()) if live else "",
    )


def _note(record: OperationRecord, settled: int, now: dt.datetime) -> str:
    if record.cancel_requested_at is not None:
        return gettext("It was cancelled and stops after the batch that is being applied.")
    moved, started = record.moved_at, record.started_at
    if moved is None or started is None:
        silent = now - record.created_at > dt.timedelta(seconds=15)
        if silent and not alive_workers(now):
            return gettext("No worker is alive; it begins when one is started.")
        return gettext("It waits for a worker.")
    if now - moved > dt.timedelta(minutes=1):
        return gettext("It has not moved for %(time)s; a worker will go on with it.") % {
            "time": span(now - moved)
        }
    gone = (moved - started).total_seconds()
    left = gone * (record.total - settled) / settled if settled else 0
    if not gone:
        return ""
    return gettext("About %(time)s left.") % {"time": span(dt.timedelta(seconds=max(left, 1)))}


def outcomes(record: OperationRecord, user: AnyUser, query: QueryDict, mask: Masker) -> Outcomes:
    """The page that begins after the instance with the id `after`, of one sort of `outcome` or of all. `mask` hides what is
    secret in it."""
    chosen = query.get("outcome", "")
    rows = visible_items(user).filter(operation=record).order_by("instance_id")
    if chosen in ItemOutcome.values:
        rows = rows.filter(outcome=chosen)
    else:
        chosen = ""
    after = query.get("after", "")
    if after.isdecimal() and len(after) <= 18:
        rows = rows.filter(instance_id__gt=int(after))
    found = list(rows[: PAGE + 1])
    shown = found[:PAGE]
    more = {"outcome": chosen, "after": shown[-1].instance_id} if len(found) > PAGE else None
    return Outcomes(
        lines=_lines(shown, mask),
        outcome=chosen,
        tabs=_tabs(record, chosen),
        first=_address({"outcome": chosen}) if after else "",
        following=_address(more) if more else "",
    )


def _tabs(record: OperationRecord, chosen: str) -> list[tuple[str, str, int, bool]]:
    """(address, label, count, whether it is the chosen one), those without outcomes left out."""
    counted = [(str(one.value), str(one.label), getattr(record, one.value)) for one in ItemOutcome]
    tabs = [("", gettext("All"), sum(one[2] for one in counted)), *counted]
    return [
        (_address({"outcome": name}), label, count, name == chosen)
        for name, label, count in tabs
        if count or name == chosen
    ]


def _address(parameters: dict[str, Any]) -> str:
    query = QueryDict(mutable=True)
    query.update({name: str(value) for name, value in parameters.items() if value})
    return f"?{query.urlencode()}#outcomes"


def named_instances(ids: list[int]) -> dict[int, Instance]:
    """{id: instance with its state, the name and zone of its task, and its project's name}, in one query."""
    rows = Instance.objects.filter(pk__in=ids).select_related("task", "project")
    found: QuerySet[Instance] = rows.only(
        "data_time", "state", "error_code", "task__name", "task__timezone", "project__name"
    )
    return {row.pk: row for row in found}


def _lines(items: list[OperationItem], mask: Masker) -> list[Line]:
    instances = named_instances([item.instance_id for item in items])
    return [_line(item, instances.get(item.instance_id), mask) for item in items]


def _line(item: OperationItem, instance: Instance | None, mask: Masker) -> Line:
    zone = instance.task.timezone if instance else ""
    return Line(
        item=item,
        name=instance.task.name if instance else gettext("Instance %(id)s") % {"id": item.instance_id},
        data_time=f"{plain_time(instance.data_time, zone)} {zone}" if instance else gettext("removed since"),
        there=instance is not None,
        badge=badge(OPERATION_LOOKS, item.outcome),
        before=state_badge(item.from_state) if item.from_state else SafeString(""),
        after=state_badge(item.to_state) if item.to_state not in ("", item.from_state) else SafeString(""),
        now=state_badge(instance.state, instance.error_code) if instance else SafeString(""),
        moves=instance is not None
        and item.outcome == ItemOutcome.DONE
        and State(instance.state) not in FINAL,
        changes=changes(masked(item.before, mask), masked(item.after, mask)),
    )


def changes(before: Any, after: Any) -> list[tuple[str, str, str]]:
    """What differs between two images of an instance: (column in words, before, after)."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    names = [name for name in after if before.get(name) != after[name]]
    return [(_column(name), _shown(before.get(name)), _shown(after[name])) for name in names]


# What an image of an instance holds, in words.
_COLUMNS: dict[str, Any] = {
    "state": _("state"),
    "life_round": _("life round"),
    "tries": _("tries"),
    "total_runs": _("total runs"),
    "run_type": _("run type"),
    "not_before": _("not before"),
    "wait_since": _("wait since"),
    "wait_deadline": _("wait deadline"),
    "ready_since": _("ready since"),
    "start_time": _("start time"),
    "end_time": _("end time"),
    "error_code": _("error code"),
    "error_message": _("error message"),
    "execution_id": _("execution id"),
    "version_id": _("version id"),
    "overrides": _("overrides"),
    "application_parameters": _("application parameters"),
    "self_dependency": _("self dependency"),
    "lane": _("lane"),
    "lane_limit": _("lane limit"),
    "plan_id": _("plan id"),
    "resource_group_id": _("resource group id"),
    "priority": _("priority"),
    "frozen_at": _("frozen at"),
    "thaw_at": _("thaw at"),
    "pending_upstream": _("pending upstream"),
    "open": _("open"),
    "waived": _("waived"),
    "excused": _("excused"),
    "at": _("at"),
}


def _column(name: str) -> str:
    return str(_COLUMNS.get(name, name.replace("_", " ")))


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return str(value)[:200]
