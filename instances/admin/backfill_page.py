"""The page of one backfill plan: how far it is, its data times with a cell for each run, and lists of runs by state.

A plan may have 500,000 runs: pages are read by keyset, never all of it.
"""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from instances.admin.record_page import Share
from instances.engine.plan_spec import PlanSpec
from instances.kept_words import told
from instances.kinds import look_up
from instances.models import BackfillPlan, BackfillRun, OperationRecord, Task
from instances.models.backfill import PlanState, RunState
from instances.models.choices import SELF_DEPENDENCIES
from instances.operations import backfill
from instances.operations.backfill_options import LABELS
from instances.operations.words import about
from weops.console.present import Look, badge, plain_time, span, stamp
from weops.projects import access
from weops.projects.access import AnyUser, Right
from weops.projects.models import ResourceGroup

DATA_TIMES, RUNS = 50, 100
# So many tasks have a column of their own.
MOST_COLUMNS = 24

PLAN_LOOKS: dict[str, Look] = {
    state.value: Look(tone, icon, state.label)
    for state, tone, icon in (
        (PlanState.PREPARING, "slate", "hourglass_top"),
        (PlanState.RUNNING, "blue", "progress_activity"),
        (PlanState.PAUSED, "amber", "pause_circle"),
        (PlanState.STOPPING, "orange", "stop_circle"),
        (PlanState.SUCCESS, "green", "check_circle"),
        (PlanState.PARTLY, "amber", "rule"),
        (PlanState.FAILED, "red", "error"),
        (PlanState.STOPPED, "grey", "cancel"),
    )
}
# In the order of a bar: what went well first, what is left last.
RUN_LOOKS: dict[str, Look] = {
    state.value: Look(tone, icon, state.label)
    for state, tone, icon in (
        (RunState.SUCCESS, "green", "check_circle"),
        (RunState.ACTIVE, "blue", "progress_activity"),
        (RunState.FAILED, "red", "error"),
        (RunState.BLOCKED, "orange", "block"),
        (RunState.REFUSED, "amber", "do_not_disturb_on"),
        (RunState.STOPPED, "grey", "cancel"),
        (RunState.PENDING, "slate", "schedule"),
        (RunState.SKIPPED, "slate", "remove"),
    )
}


@dataclass(frozen=True)
class Progress:
    """`live`: it will change by itself. `note` says how long it takes still, or why it stands as it does."""

    plan: BackfillPlan
    badge: SafeString
    live: bool
    shares: list[Share]
    note: str


@dataclass(frozen=True)
class Cell:
    """One run in the grid; None stands for a task without this data time."""

    look: Look
    instance_id: int | None
    title: str


@dataclass(frozen=True)
class Row:
    data_time: str
    shares: list[Share]
    said: str
    cells: list[Cell | None]


@dataclass(frozen=True)
class Line:
    """One run in a list by state."""

    run: BackfillRun
    task: str
    data_time: str
    badge: SafeString
    took: str


@dataclass(frozen=True)
class Runs:
    """The grid (`rows`), or with a state chosen the list (`lines`). `hidden`: tasks without a column."""

    state: str
    tabs: list[tuple[str, str, int, bool]]
    columns: list[Task] = field(default_factory=list)
    hidden: int = 0
    rows: list[Row] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    first: str = ""
    following: str = ""


@dataclass(frozen=True)
class PlanPage:
    plan: BackfillPlan
    operator: str
    created: SafeString
    finished: SafeString
    took: str
    zone: str
    facts: list[tuple[str, str]]
    progress: Progress
    runs: Runs
    # (record, its operation in words)
    records: list[tuple[OperationRecord, str]]
    may_pause: bool
    may_resume: bool
    may_stop: bool


def build(plan: BackfillPlan, user: AnyUser, query: QueryDict) -> PlanPage:
    """Reads the page; `query` has its parameters `state` and `after`."""
    spec = PlanSpec.from_json(plan.options)
    tasks = _tasks(plan, user)
    zone = _zone(spec, tasks)
    may = plan.unfinished and backfill.may_steer(plan, user)
    return PlanPage(
        plan=plan,
        operator=plan.created_by_name or gettext("(system)"),
        created=stamp(plan.created_at),
        finished=stamp(plan.finished_at),
        took=span(plan.finished_at - plan.created_at) if plan.finished_at else "",
        zone=zone,
        facts=_facts(spec, tasks, len(plan.task_ids)),
        progress=progress(plan),
        runs=_runs(plan, tasks, zone, query),
        records=[
            (record, look_up(record.kind).title)
            for record in OperationRecord.objects.filter(options__plan=plan.pk).order_by("id")[:20]
        ]
        if plan.operation_id
        else [],
        may_pause=may and plan.state in (PlanState.PREPARING, PlanState.RUNNING),
        may_resume=may and plan.state == PlanState.PAUSED,
        may_stop=may and plan.state != PlanState.STOPPING,
    )


def _tasks(plan: BackfillPlan, user: AnyUser) -> list[Task]:
    """Those that the user sees, in the order of the plan."""
    rows = Task.objects.filter(pk__in=plan.task_ids).select_related("workflow__project")
    place = {pk: number for number, pk in enumerate(plan.task_ids)}
    seen = access.within(rows, user, "workflow__project_id", Right.VIEW)
    return sorted(seen, key=lambda task: place[task.pk])


def _zone(spec: PlanSpec, tasks: list[Task]) -> str:
    """The zone in which its data times are shown: the plan's, or its tasks' if that is one."""
    zones = {task.timezone for task in tasks}
    return spec.timezone or (zones.pop() if len(zones) == 1 else "UTC")


def _facts(spec: PlanSpec, tasks: list[Task], total: int) -> list[tuple[str, str]]:
    """What the plan was told, without what is as by default."""
    chosen = [task.name for task in tasks if task.pk in spec.tasks]
    behind = [task.name for task in tasks if task.pk in spec.downstream]
    facts = [
        (gettext("Tasks"), _some(chosen)),
        (gettext("Downstream"), _some(behind)),
        (gettext("In projects you cannot see"), ""),
    ]
    if total > len(tasks):
        facts[-1] = (gettext("In projects you cannot see"), _tasks_said(total - len(tasks)))
    ranges = [_from_to(first, last) if first != last else f"{first}" for first, last in spec.ranges]
    facts.append(
        (gettext("Days"), ", ".join((_some(ranges), spec.timezone or gettext("in the zone of each task"))))
    )
    if spec.window_start and spec.window_end:
        facts.append((gettext("Window"), _from_to(f"{spec.window_start:%H:%M}", f"{spec.window_end:%H:%M}")))
    if spec.first_of_month:
        facts.append((gettext("Day tasks"), gettext("on the 1st of each month")))
    facts += [
        (gettext("What is run"), gettext(LABELS[spec.reprocess])),
        (gettext("Order"), gettext(LABELS[spec.order])),
    ]
    if spec.parallelism:
        facts.append((gettext("Data times at once"), str(spec.parallelism)))
    facts.append((gettext("Self-dependency"), str(dict(SELF_DEPENDENCIES).get(spec.self_dependency, ""))))
    facts.append((gettext("When a data time fails"), gettext(LABELS[spec.on_failure])))
    facts.append(
        (
            gettext("Parents outside the plan"),
            gettext("count") if spec.check_parents else gettext("are not checked"),
        )
    )
    facts.append(
        (gettext("Events"), gettext("are ignored") if spec.ignore_events else gettext("are waited for"))
    )
    if spec.resource_group_id:
        group = ResourceGroup.objects.filter(pk=spec.resource_group_id).first()
        facts.append((gettext("Resource group"), group.name if group else gettext("removed since")))
    for label, pairs in (
        (gettext("Parameters"), spec.parameters),
        (gettext("Application parameters"), spec.application_parameters),
    ):
        facts.append((label, _some([f"{name} = {value}" for name, value in pairs.items()])))
    return [(label, value) for label, value in facts if value]


def _some(words: list[str], most: int = 12) -> str:
    shown = ", ".join(word[:100] for word in words[:most])
    if len(words) <= most:
        return shown
    return gettext("%(words)s and %(number)s more") % {"words": shown, "number": len(words) - most}


def _from_to(first: Any, last: Any) -> str:
    return gettext("%(first)s to %(last)s") % {"first": first, "last": last}


def _tasks_said(count: int) -> str:
    return ngettext("%(count)s task", "%(count)s tasks", count) % {"count": f"{count:,}"}


# Progress


def progress(plan: BackfillPlan) -> Progress:
    counts = {state: getattr(plan, state) for state in RunState.values if state != RunState.SKIPPED}
    return Progress(
        plan=plan,
        badge=badge(PLAN_LOOKS, plan.state),
        live=plan.unfinished,
        shares=shares(counts),
        note=_note(plan),
    )


def shares(counts: dict[str, int]) -> list[Share]:
    """The parts of a bar, those without a run left out."""
    total = sum(counts.values())
    return [
        Share(look.text.lower(), counts[state], f"{100 * counts[state] / total:.3f}", look.tone)
        for state, look in RUN_LOOKS.items()
        if counts.get(state)
    ]


def _note(plan: BackfillPlan) -> str:
    if plan.message:
        return told(plan.message)
    if plan.state == PlanState.PREPARING:
        return gettext("Its runs are being written down.")
    if plan.state == PlanState.RUNNING and plan.prepared_at and plan.success:
        gone = (timezone.now() - plan.prepared_at).total_seconds()
        left = gone * (plan.total - plan.complete) / plan.complete
        said = about(left)
        return gettext("%(time)s left, at the pace so far.") % {"time": f"{said[0].upper()}{said[1:]}"}
    return ""


# Runs


def _runs(plan: BackfillPlan, tasks: list[Task], zone: str, query: QueryDict) -> Runs:
    state = query.get("state", "")
    if state in RunState.values:
        return _list(plan, tasks, zone, state, query.get("after", ""))
    return _grid(plan, tasks, zone, query.get("after", ""))


def _tabs(plan: BackfillPlan, chosen: str) -> list[tuple[str, str, int, bool]]:
    """(address, label, count, whether it is the chosen one)"""
    tabs = [(_address(), gettext("By data time"), plan.data_times, chosen == "")]
    for state, look in RUN_LOOKS.items():
        count = getattr(plan, state)
        if count or state == chosen:
            tabs.append((_address(state=state), look.text, count, state == chosen))
    return tabs


def _address(**parameters: Any) -> str:
    query = QueryDict(mutable=True)
    query.update({name: str(value) for name, value in parameters.items() if value})
    return f"?{query.urlencode()}#runs"


def _grid(plan: BackfillPlan, tasks: list[Task], zone: str, mark: str) -> Runs:
    after = _moment(mark)
    found = backfill.by_data_time(plan, after, DATA_TIMES + 1)
    shown = found[:DATA_TIMES]
    columns = tasks[:MOST_COLUMNS]
    cells = _cells(plan, columns, [one.data_time for one in shown], zone)
    return Runs(
        state="",
        tabs=_tabs(plan, ""),
        columns=columns,
        hidden=len(tasks) - len(columns),
        rows=[
            Row(
                plain_time(one.data_time, zone),
                shares(one.counts),
                ", ".join(f"{share.count:,} {share.name}" for share in shares(one.counts)),
                [cells.get((task.pk, one.data_time)) for task in columns],
            )
            for one in shown
        ],
        first=_address() if after else "",
        following=_address(after=shown[-1].data_time.isoformat()) if len(found) > DATA_TIMES else "",
    )


def _moment(mark: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(mark)
        return moment.astimezone(dt.UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _cells(
    plan: BackfillPlan, tasks: list[Task], data_times: list[dt.datetime], zone: str
) -> dict[tuple[int, dt.datetime], Cell]:
    names = {task.pk: task.name for task in tasks}
    rows = BackfillRun.objects.filter(plan=plan, data_time__in=data_times, task__in=names)
    found = {}
    for run in rows:
        look = RUN_LOOKS[run.state]
        title = f"{names[run.task_id]} {plain_time(run.data_time, zone)}: {look.text}. {told(run.message)}"[
            :500
        ]
        found[run.task_id, run.data_time] = Cell(look, run.instance_id, title.strip())
    return found


def _list(plan: BackfillPlan, tasks: list[Task], zone: str, state: str, after: str) -> Runs:
    names = {task.pk: task.name for task in tasks}
    rows = BackfillRun.objects.filter(plan=plan, state=state, task__in=names).order_by("id")
    if after.isdecimal() and len(after) <= 18:
        rows = rows.filter(id__gt=int(after))
    found = list(rows[: RUNS + 1])
    shown = found[:RUNS]
    return Runs(
        state=state,
        tabs=_tabs(plan, state),
        lines=[
            Line(
                run,
                names[run.task_id],
                plain_time(run.data_time, zone),
                badge(RUN_LOOKS, run.state),
                span(run.ended_at - run.started_at) if run.ended_at and run.started_at else "",
            )
            for run in shown
        ],
        first=_address(state=state) if after else "",
        following=_address(state=state, after=shown[-1].pk) if len(found) > RUNS else "",
    )
