"""A day, a workflow's day or a backfill plan on one time line, with the chain that decides when it is done. Only reads."""

import datetime as dt
from dataclasses import dataclass, field

from django.db.models import QuerySet

from instances.engine.states import WAITING, State
from instances.insight.critical import Outlook, outlook
from instances.insight.forecast import Standing, durations
from instances.models import Edge, Instance

# Instances that are looked at, and rows of a page.
MOST = 2_000
MOST_EDGES = 20_000
PAGE = 100


@dataclass(frozen=True)
class Bar:
    """One instance. It waited from `waited` to `began`, ran until `ended`; `expected`: `ended` is a forecast, and `began`
    of one that waits, too. `critical`: it is on the chain that ends last."""

    instance: Instance
    waited: dt.datetime | None
    began: dt.datetime | None
    ended: dt.datetime | None
    expected: bool
    critical: bool


@dataclass
class Gantt:
    """`bars`: those of the page. `begin`, `end`: of the time line. `done`: when all of it is or is expected to be done;
    `path`: the instances of the critical path, the first first."""

    bars: list[Bar] = field(default_factory=list)
    begin: dt.datetime | None = None
    end: dt.datetime | None = None
    done: dt.datetime | None = None
    path: list[Instance] = field(default_factory=list)
    count: int = 0
    pages: int = 1
    capped: bool = False


def of_rows(rows: QuerySet[Instance], now: dt.datetime, page: int = 1) -> Gantt:
    """The time line of `rows`, MOST of them at most; three queries."""
    found = list(
        rows.select_related("task", "workflow")
        .only(
            "state", "data_time", "traversal", "not_before", "wait_since", "start_time", "end_time", "error_code",
            "planned_time", "frozen_at", "task__name", "task__timezone", "workflow__name", "project_id",
        )
        .order_by("data_time", "id")[: MOST + 1]
    )  # fmt: skip
    capped, found = len(found) > MOST, found[:MOST]
    if not found:
        return Gantt()
    ids = [one.pk for one in found]
    edges = (
        Edge.objects.filter(instance__in=ids, upstream__in=ids, removed_at__isnull=True, waived=False)
        .order_by("instance_id", "upstream_id")
        .values_list("upstream_id", "instance_id")[:MOST_EDGES]
    )
    typical = durations(one.task_id for one in found if one.state not in _ENDED)
    runs = {one.pk: typical[one.task_id].run for one in found if one.task_id in typical}
    ahead = outlook({one.pk: Standing.of(one) for one in found}, runs, edges, now)
    bars = [_bar(one, ahead, runs.get(one.pk), now) for one in found]
    bars.sort(key=lambda bar: (bar.began or bar.waited or now, bar.instance.pk))
    pages = (len(bars) + PAGE - 1) // PAGE
    page = min(max(1, page), pages)
    shown = bars[(page - 1) * PAGE : page * PAGE]
    times = [time for bar in shown for time in (bar.waited, bar.began, bar.ended) if time]
    by_id = {one.pk: one for one in found}
    return Gantt(
        bars=shown,
        begin=min(times, default=now),
        end=max([*times, now] if any(bar.expected for bar in shown) else times, default=now),
        done=ahead.end,
        path=[by_id[pk] for pk in ahead.path],
        count=len(found),
        pages=pages,
        capped=capped,
    )


_ENDED = (State.SUCCESS, State.FAILED, State.SKIPPED)


def _bar(one: Instance, ahead: Outlook, run: dt.timedelta | None, now: dt.datetime) -> Bar:
    finish = ahead.finish.get(one.pk)
    critical = one.pk in ahead.path
    if one.state in _ENDED:
        began = one.start_time or one.end_time
        waited = min(one.wait_since, began) if began else None
        return Bar(one, waited, began, one.end_time, expected=False, critical=critical)
    if one.state in WAITING or one.state == State.FAILED_RETRY:
        starts = max(now, finish - (run or dt.timedelta(0))) if finish else now
        return Bar(
            one, min(one.wait_since, starts), starts, finish or starts, expected=True, critical=critical
        )
    began = one.start_time or now
    return Bar(
        one, min(one.wait_since, began), began, max(finish or now, began), expected=True, critical=critical
    )
