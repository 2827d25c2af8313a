"""Dependencies between tasks: which upstream data times an instance waits for, and circles among tasks.

A dependency has a scope, such as CURRENT_DAY (`dependency_scopes.py`). A scope names units of time around the
downstream data time D: minutes, hours, days, weeks, months, years on the wall clock of the downstream task's zone.

- A unit lasts from its first instant to the first instant of the next one. So a day on which clocks change has its 23
  or 25 hours, an hour that is repeated is one hour, and every instant belongs to exactly one unit.
- "Previous" is the unit before it that the clock really showed.
- Offsets are counted on the wall clock: the hour -1 of 04:00 is 03:00. What clocks jumped over is, as in schedules, the
  unit in which they landed.
- The upstream's own schedule decides which data times exist in the units; if there are none, there is nothing to wait
  for. Only a list names its units one by one: one without a data time is required all the same, and never comes.

Pure functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from instances.engine.dependency_scopes import (
    DependencyError,
    canonical,
    offsets_of,
    problem,
    scopes,
    takes_offsets,
)
from instances.engine.schedule import Cycle, Schedule, data_times, is_data_time, previous_data_time
from instances.engine.zone import TICK, first_instant, wall, zone
from instances.language import gettext

__all__ = [
    "DependencyError",
    "Required",
    "canonical",
    "find_cycle",
    "never_comes",
    "problem",
    "required",
    "scopes",
    "takes_offsets",
    "topological_layers",
    "upstream_data_times",
]

K = TypeVar("K")


class Required(NamedTuple):
    """An upstream data time (UTC) that is waited for. `exists`: the upstream's schedule has it."""

    data_time: datetime
    exists: bool


def required(
    scope: str, downstream: Schedule, data_time: datetime, upstream: Schedule, offsets: str = ""
) -> tuple[Required, ...]:
    """What the downstream instance of `data_time` waits for, ascending.

    Of the downstream only its cycle and zone count. An empty scope is the default of the two cycles; `offsets` belong
    to ranges and lists. Raises DependencyError for what the two cycles cannot have.
    """
    if data_time.tzinfo is None:
        raise ValueError("data_time must carry a time zone")
    if message := problem(scope, downstream.cycle, upstream.cycle, offsets):
        raise DependencyError(message)
    scope = scope or scopes(downstream.cycle, upstream.cycle)[0]
    at = _Downstream(zone(downstream.timezone), data_time, downstream.cycle)
    if not takes_offsets(scope):
        return tuple(Required(found, True) for found in _RULES[scope](at, upstream))
    kind, _, unit = scope.lower().partition("_")
    numbers = offsets_of(scope, offsets)
    if kind == "range":
        begin, end = at.offset(unit, numbers[0]).begin, at.offset(unit, numbers[1]).end
        return tuple(Required(found, True) for found in data_times(upstream, begin, end - TICK))
    return _listed(at, upstream, unit, numbers)


def upstream_data_times(
    scope: str, downstream: Schedule, data_time: datetime, upstream: Schedule, offsets: str = ""
) -> tuple[datetime, ...]:
    """The data times alone of what is `required`."""
    return tuple(found for found, _ in required(scope, downstream, data_time, upstream, offsets))


def never_comes(upstream: Schedule, data_time: datetime) -> bool:
    """Whether the upstream's schedule, as it is now, has no such data time: nobody will generate that instance."""
    return not is_data_time(upstream, data_time)


class _Span(NamedTuple):
    """A unit of time: [begin, end)."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class _Downstream:
    """A downstream instance, and the units of time around its data time."""

    tz: ZoneInfo
    data_time: datetime
    cycle: Cycle

    def current(self, unit: str) -> _Span:
        return _span(self.tz, self.label(unit), unit)

    def label(self, unit: str) -> datetime:
        """The local time at which the data time's own unit begins, whether or not the clock showed it."""
        return _floor(_floor(wall(self.tz, self.data_time), _GRAIN[self.cycle]), unit)

    def previous_label(self, unit: str) -> datetime:
        """The local begin of the unit before that which the clock really showed."""
        return _floor(wall(self.tz, self.current(unit).begin - TICK), unit)

    def offset(self, unit: str, steps: int) -> _Span:
        return _span(self.tz, _step(self.label(unit), unit, steps), unit)


# What a data time names of the wall clock: a day's first instant is the whole day, even if it is shown as 01:00.
_GRAIN: dict[Cycle, str] = {
    **dict.fromkeys((Cycle.MINUTE, Cycle.CRONTAB, Cycle.ONEOFF), "minute"),
    Cycle.HOUR: "hour",
    **dict.fromkeys((Cycle.DAY, Cycle.WEEK, Cycle.MONTH, Cycle.YEAR), "day"),
}


def _span(tz: ZoneInfo, label: datetime, unit: str) -> _Span:
    """The unit that begins at a local time; if clocks jumped over all of it, the one in which they landed."""
    begin, end = first_instant(tz, label)[0], first_instant(tz, _step(label, unit, 1))[0]
    if begin == end:
        end = first_instant(tz, _step(_floor(wall(tz, begin), unit), unit, 1))[0]
    return _Span(begin, end)


def _floor(local: datetime, unit: str) -> datetime:
    """The start of the minute, hour, day, week (Monday), month or year of a local time."""
    if unit == "minute":
        return local.replace(second=0, microsecond=0)
    if unit == "hour":
        return local.replace(minute=0, second=0, microsecond=0)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if unit == "year" else day


def _step(local: datetime, unit: str, steps: int) -> datetime:
    """A floored local time, `steps` units later."""
    if unit in ("month", "year"):
        year, month0 = divmod(local.year * 12 + local.month - 1 + steps * (12 if unit == "year" else 1), 12)
        return local.replace(year=year, month=month0 + 1)
    return local + steps * timedelta(**{unit + "s": 1})


# Rules: from a downstream instance and an upstream schedule to data times.

Rule = Callable[[_Downstream, Schedule], Iterable[datetime]]


def _within(upstream: Schedule, span: _Span) -> Iterable[datetime]:
    return data_times(upstream, span.begin, span.end - TICK)


def _current(unit: str, at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    return _within(upstream, at.current(unit))


def _previous(unit: str, at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    return _within(upstream, _span(at.tz, at.previous_label(unit), unit))


def _later(unit: str, at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    """(begin of the previous unit, D]."""
    begin = _span(at.tz, at.previous_label(unit), unit).begin
    return data_times(upstream, begin + TICK, at.data_time)


def _day_of_previous_week(days: int, at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    """`days` after Monday."""
    return _within(upstream, _span(at.tz, _step(at.previous_label("week"), "day", days), "day"))


def _first_day_of_previous_month(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    return _within(upstream, _span(at.tz, at.previous_label("month"), "day"))


def _last_day_of_previous_month(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    last = wall(at.tz, at.current("month").begin - TICK)
    return _within(upstream, _span(at.tz, _floor(last, "day"), "day"))


def _last_before(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    before = previous_data_time(upstream, at.data_time)
    return () if before is None else (before,)


def _latest(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    latest = previous_data_time(upstream, at.data_time + TICK)
    return () if latest is None else (latest,)


def _latest_or_only(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    if upstream.cycle is not Cycle.ONEOFF:
        return _latest(at, upstream)
    return data_times(upstream, upstream.run_at, upstream.run_at) if upstream.run_at else ()


_RULES: dict[str, Rule] = {
    "CURRENT_MINUTE": partial(_current, "minute"),
    "PREVIOUS_MINUTE_CYCLE": _last_before,
    "CURRENT_HOUR": partial(_current, "hour"),
    "PREVIOUS_HOUR": partial(_previous, "hour"),
    "PREVIOUS_HOUR_LATER_OFFSET_MINUTE": partial(_later, "hour"),
    "PREVIOUS_HOUR_CYCLE": _last_before,
    "CURRENT_DAY": partial(_current, "day"),
    "PREVIOUS_DAY": partial(_previous, "day"),
    "PREVIOUS_DAY_LATER_OFFSET_HOUR": partial(_later, "day"),
    "PREVIOUS_DAY_LATER_OFFSET_MINUTE": partial(_later, "day"),
    "ALL_DAY_OF_YEAR": partial(_current, "year"),
    "RECENT_DATE": _latest,
    "CURRENT_WEEK": partial(_current, "week"),
    "PREVIOUS_WEEK": partial(_previous, "week"),
    "PREVIOUS_FRIDAY": partial(_day_of_previous_week, 4),
    "PREVIOUS_WEEKEND": partial(_day_of_previous_week, 6),
    "CURRENT_MONTH": partial(_current, "month"),
    "PREVIOUS_MONTH": partial(_previous, "month"),
    "PREVIOUS_BEGIN_OF_MONTH": _first_day_of_previous_month,
    "PREVIOUS_END_OF_MONTH": _last_day_of_previous_month,
    "ALL_MONTH_OF_YEAR": partial(_current, "year"),
    "CURRENT_YEAR": partial(_current, "year"),
    "CURRENT": _latest_or_only,
}


def _listed(at: _Downstream, upstream: Schedule, unit: str, numbers: Iterable[int]) -> tuple[Required, ...]:
    """Every unit of a list: its data times, or else its begin, which never comes."""
    found: dict[datetime, bool] = {}
    for span in dict.fromkeys(at.offset(unit, number) for number in numbers):
        existing = dict.fromkeys(_within(upstream, span), True)
        found |= existing or {span.begin: False}
    return tuple(Required(data_time, exists) for data_time, exists in sorted(found.items()))


def find_cycle(edges: Mapping[K, Iterable[K]], start: K | None = None) -> list[K] | None:
    """A path [a, b, c, a] along the edges that ends where it begins, or None.

    With `start`, the shortest one through it; without, the first that a walk in the given order meets. The
    same input in the same order gives the same answer; depth and size are bounded by memory only.
    """
    return _first_circle(edges) if start is None else _circle_through(edges, start)


def topological_layers(edges: Mapping[K, Iterable[K]]) -> list[list[K]]:
    """In layers: those that point at nothing, then those that point at earlier layers only, and so on.

    With `edges` from each task to the tasks that it waits for, a layer can run when those before it are done.
    Nodes keep the order in which they were first named. Raises DependencyError for a circle, naming its path.
    """
    targets = {node: tuple(dict.fromkeys(pointed_at)) for node, pointed_at in edges.items()}
    pointed_by: dict[K, list[K]] = {}
    for node, pointed_at in targets.items():
        pointed_by.setdefault(node, [])
        for target in pointed_at:
            pointed_by.setdefault(target, []).append(node)
    rank = {node: index for index, node in enumerate(pointed_by)}
    unmet = {node: len(targets.get(node, ())) for node in rank}
    layers: list[list[K]] = []
    layer = [node for node in rank if not unmet[node]]
    while layer:
        layers.append(layer)
        ready: list[K] = []
        for met in layer:
            for node in pointed_by[met]:
                unmet[node] -= 1
                if not unmet[node]:
                    ready.append(node)
        layer = sorted(ready, key=rank.__getitem__)
    if any(unmet.values()):
        path = " -> ".join(map(str, find_cycle(targets) or ()))
        message = gettext("There is a circle: %(path)s. Remove one of its dependencies.")
        raise DependencyError(message % {"path": path})
    return layers


def _first_circle(edges: Mapping[K, Iterable[K]]) -> list[K] | None:
    finished: set[K] = set()
    for root in edges:
        if root in finished:
            continue
        path, on_path = [root], {root}
        walks = [iter(edges[root])]
        while walks:
            target = next((t for t in walks[-1] if t not in finished), None)
            if target is None:
                walks.pop()
                on_path.remove(path[-1])
                finished.add(path.pop())
            elif target in on_path:
                return [*path[path.index(target) :], target]
            else:
                path.append(target)
                on_path.add(target)
                walks.append(iter(edges.get(target, ())))
    return None


def _circle_through(edges: Mapping[K, Iterable[K]], start: K) -> list[K] | None:
    came_from: dict[K, K] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for target in edges.get(node, ()):
            if target == start:
                path = [start]
                while node != start:
                    path.append(node)
                    node = came_from[node]
                return [start, *reversed(path[1:]), start]
            if target not in came_from:
                came_from[target] = node
                queue.append(target)
    return None
