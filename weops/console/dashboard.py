"""The overview: what runs, what failed, who works. A handful of capped queries, whatever the size of the tables."""

import datetime as dt
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import OperationalError
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from instances.admin.looks import OPERATION_LOOKS, STATE_LOOKS, state_badge
from instances.engine.states import ACTIVE, State
from instances.insight import overview
from instances.insight.workers import ALIVE
from instances.kinds import look_up
from instances.models import FigureMark, Instance, OperationRecord, WorkerProcess
from instances.reading import count, page_ids
from instances.reading_ways import ALL_STATES
from instances.record_filters import operator_of, visible_records
from weops.alarms.models import Pulse
from weops.console.paging import COUNT_CAP, time_limit
from weops.console.present import Look, badge, between, capped, span, stamp, zone_name
from weops.projects import access

MOST_ROWS = 10
MOST_PROJECTS = 8
MOST_OPERATIONS = 8
SECONDS = 10
# Colours of the chart, which knows no classes; the same in light and dark.
_GOOD, _BAD = "#17b26a", "#f04438"


@dataclass(frozen=True)
class Tile:
    look: Look
    count: str
    number: int
    address: str


@dataclass(frozen=True)
class Row:
    name: str
    project: str
    address: str
    badge: SafeString
    data_time: SafeString
    since: SafeString
    duration: str
    error_code: str


@dataclass(frozen=True)
class ProjectRow:
    """A project's instances planned today; `bar`: its states with their tiles."""

    name: str
    total: int
    address: str
    bar: list[Tile]


@dataclass(frozen=True)
class DayRow:
    day: dt.date
    succeeded: int
    failed: int
    succeeded_address: str
    failed_address: str


@dataclass(frozen=True)
class TaskRow:
    figure: overview.TaskFigure
    address: str
    failed_address: str
    average: str
    longest: str


@dataclass(frozen=True)
class OperationRow:
    title: str
    icon: str
    operator: str
    address: str
    badge: SafeString
    at: SafeString
    total: int


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the index page shows, added to its context. As many queries with few instances as with ten million."""
    now = timezone.now()
    rows = access.within(Instance.objects.filter(for_each_id=None).order_by(), request.user, "project_id")
    context |= {
        "title": _("Overview"),
        "zone_name": zone_name(),
        "allowed": access.has_anywhere(request.user, access.Right.VIEW),
        "workers": _workers(now),
        "tick": _tick(now),
    }
    try:
        with time_limit(SECONDS):
            context |= _figures(rows, now)
            context |= _past(request, now)
    except OperationalError:
        context["problem"] = _(
            "The figures took longer than %(seconds)d seconds to read; the instance list still works."
        ) % {"seconds": SECONDS}
    return context


def _figures(rows: QuerySet[Instance], now: dt.datetime) -> dict[str, Any]:
    counts = count(rows, COUNT_CAP)
    return {
        "tiles": [
            _tile(state, counts.found.get(state, 0), more=state in counts.more) for state in ALL_STATES
        ],
        "running": _rows(rows.filter(state__in=ACTIVE), now),
        "failed": _rows(rows.filter(state=State.FAILED), now),
        "running_address": _list_address(state="running"),
        "failed_address": _list_address(state="failed"),
    }


def _past(request: HttpRequest, now: dt.datetime) -> dict[str, Any]:
    """Today by project, the last days, tasks, operations, resource groups."""
    projects = access.project_ids(request.user, access.Right.VIEW)
    # The history is counted by days of the server: they stay those of its zone, and so do the addresses below.
    today = timezone.localdate(now, timezone.get_default_timezone())
    by_project = overview.today_by_project(projects, now)
    planned: Counter[str] = Counter()
    for states in by_project.values():
        planned.update(states)
    days = [_day(day) for day in overview.trend(projects, today)]
    mark = FigureMark.objects.filter(pk=1).values_list("at", flat=True).first()
    return {
        "planned": [_tile(state, planned[state]) for state in ALL_STATES if planned.get(state)],
        "planned_total": sum(planned.values()),
        "projects": [_project(*item) for item in list(by_project.items())[:MOST_PROJECTS]],
        "days": list(reversed(days)),
        "chart": _chart(days),
        "chart_options": json.dumps(_CHART_OPTIONS),
        "days_zone": timezone.get_default_timezone_name(),
        "figures_at": stamp(mark) if mark else None,
        "slowest": [_task(figure, today) for figure in overview.slowest(projects, today)],
        "failing": [_task(figure, today) for figure in overview.failing(projects, today)],
        "latest": _operations(request),
        "groups": overview.groups(),
    }


def _project(project: tuple[int, str], states: dict[str, int]) -> ProjectRow:
    number, name = project
    tiles = [_tile(state, states[state], project=str(number)) for state in ALL_STATES if states.get(state)]
    return ProjectRow(name, sum(states.values()), _list_address(project=str(number)), tiles)


def _day(day: overview.Day) -> DayRow:
    span = {"start_from": f"{day.day}T00:00", "start_to": f"{day.day + dt.timedelta(days=1)}T00:00"}
    return DayRow(
        day.day,
        day.succeeded,
        day.failed,
        _list_address(state="success", **span),
        _list_address(state="failed", **span),
    )


_CHART_OPTIONS: dict[str, Any] = {
    "maintainAspectRatio": False,
    "animation": False,
    "plugins": {"legend": {"display": True, "position": "bottom"}},
    "scales": {
        "x": {"stacked": True},
        "y": {"stacked": True, "beginAtZero": True, "ticks": {"precision": 0}},
    },
}


def _chart(days: list[DayRow]) -> str:
    return json.dumps(
        {
            "labels": [f"{day.day:%m-%d}" for day in days],
            "datasets": [
                {"label": _("Success"), "data": [day.succeeded for day in days], "backgroundColor": _GOOD},
                {"label": _("Failed"), "data": [day.failed for day in days], "backgroundColor": _BAD},
            ],
        }
    )


def _task(figure: overview.TaskFigure, today: dt.date) -> TaskRow:
    since = f"{today - dt.timedelta(days=6)}T00:00"
    of_task = {"q": f"#{figure.task_id}", "start_from": since}
    return TaskRow(
        figure,
        _list_address(**of_task),
        _list_address(state="failed", **of_task),
        span(dt.timedelta(seconds=figure.average)),
        span(dt.timedelta(seconds=figure.longest)),
    )


def _operations(request: HttpRequest) -> list[OperationRow]:
    rows = visible_records(OperationRecord.objects.select_related("operator"), request.user)
    found = []
    for record in rows.defer("options").order_by("-id")[:MOST_OPERATIONS]:
        kind = look_up(record.kind)
        found.append(
            OperationRow(
                title=kind.title,
                icon=kind.icon,
                operator=operator_of(record),
                address=reverse("admin:instances_operationrecord_change", args=(record.pk,)),
                badge=badge(OPERATION_LOOKS, record.state),
                at=stamp(record.created_at),
                total=record.total,
            )
        )
    return found


def _tick(now: dt.datetime) -> dict[str, Any]:
    """When beat's tick last ran; `late`: it stands still."""
    at = Pulse.objects.filter(name="tick").values_list("at", flat=True).first()
    late = at is None or (now - at).total_seconds() > max(30, 5 * float(settings.WEOPS_TICK_SECONDS))
    return {"at": stamp(at) if at else None, "late": late, "ago": span(now - at) if at else ""}


def _tile(state: str, number: int, *, more: bool = False, **parameters: str) -> Tile:
    """`more`: not all could be counted."""
    shown = capped(number, COUNT_CAP, more)
    return Tile(STATE_LOOKS[state], shown, number, _list_address(state=state, **parameters))


def _list_address(**parameters: str) -> str:
    return f"{reverse('admin:instances_instance_changelist')}?{urlencode(parameters)}"


def _rows(rows: QuerySet[Instance], now: dt.datetime) -> list[Row]:
    """The newest of them."""
    found = rows.filter(pk__in=page_ids(rows, MOST_ROWS)).order_by("-data_time", "-id")
    shown = found.select_related("task", "project").only(
        "state",
        "data_time",
        "start_time",
        "end_time",
        "error_code",
        "error_message",
        "task__name",
        "task__timezone",
        "project__name",
    )
    return [
        Row(
            name=instance.task.name,
            project=instance.project.name,
            address=reverse("admin:instances_instance_change", args=(instance.pk,)),
            badge=state_badge(instance.state, instance.error_code, instance.error_message),
            data_time=stamp(instance.data_time, instance.task.timezone, named=True),
            since=stamp(instance.end_time or instance.start_time),
            duration=between(instance.start_time, instance.end_time, now),
            error_code=instance.error_code,
        )
        for instance in shown
    ]


def _workers(now: dt.datetime) -> dict[str, Any]:
    alive = list(WorkerProcess.objects.filter(Q(seen_at__gte=now - ALIVE)).order_by("name"))
    taking = [worker for worker in alive if not worker.stopping]
    return {
        "alive": len(taking),
        "stopping": len(alive) - len(taking),
        "slots": sum(worker.slots for worker in taking),
        "busy": sum(worker.busy for worker in alive),
        "rows": [
            {"worker": worker, "share": round(100 * worker.busy / worker.slots) if worker.slots else 0}
            for worker in alive[:MOST_ROWS]
        ],
    }
