"""The overview: what runs, what failed, who works. A handful of capped queries, whatever the size of the tables."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from instances.admin.looks import STATE_LOOKS, state_badge
from instances.engine.states import ACTIVE, State
from instances.filters import ALL_STATES, count_states
from instances.insight.workers import ALIVE
from instances.models import Instance, WorkerProcess
from weops.console.paging import COUNT_CAP, time_limit
from weops.console.present import Look, between, capped, stamp, zone_name
from weops.projects import access

DAY = dt.timedelta(hours=24)
MOST_ROWS = 12
# Instances that the last 24 hours are looked for among.
NEWEST = 50_000
SECONDS = 10


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


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the index page shows, added to its context."""
    now = timezone.now()
    rows = access.within(Instance.objects.order_by(), request.user, "project_id")
    context |= {
        "title": "Overview",
        "zone_name": zone_name(),
        "allowed": access.has_anywhere(request.user, access.Right.VIEW),
        "workers": _workers(now),
    }
    try:
        with time_limit(SECONDS):
            context |= _figures(rows, now)
    except OperationalError:
        context["problem"] = (
            f"The figures took longer than {SECONDS} seconds to read; the instance list still works."
        )
    return context


def _figures(rows: QuerySet[Instance], now: dt.datetime) -> dict[str, Any]:
    counts = count_states(rows)
    planned = _planned_since(now - DAY, now, rows)
    return {
        "tiles": [_tile(state, counts.get(state, 0)) for state in ALL_STATES],
        "planned": [_tile(state, planned[state]) for state in ALL_STATES if planned.get(state)],
        "planned_total": sum(planned.values()),
        "running": _rows(rows.filter(state__in=ACTIVE).order_by("-data_time", "-id"), now),
        "failed": _rows(rows.filter(state=State.FAILED).order_by("-data_time", "-id"), now),
        "running_address": _list_address(state="running"),
        "failed_address": _list_address(state="failed"),
    }


def _planned_since(begin: dt.datetime, end: dt.datetime, rows: QuerySet[Instance]) -> dict[str, int]:
    """{state: rows planned from `begin` to `end`}, among the newest of the whole table.

    Nothing indexes the planned time, but what was planned lately was also generated lately.
    """
    newest = Instance.objects.order_by("-id").values("id")[:NEWEST]
    counted = rows.filter(pk__in=newest, planned_time__gte=begin, planned_time__lte=end)
    return dict(counted.values_list("state").annotate(n=Count("pk")))


def _tile(state: str, count: int) -> Tile:
    return Tile(STATE_LOOKS[state], capped(count, COUNT_CAP), count, _list_address(state=state))


def _list_address(**parameters: str) -> str:
    return f"{reverse('admin:instances_instance_changelist')}?{urlencode(parameters)}"


def _rows(found: QuerySet[Instance], now: dt.datetime) -> list[Row]:
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
    )[:MOST_ROWS]
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
    }
