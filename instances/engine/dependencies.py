"""Dependencies between tasks: which upstream data times an instance waits for, and circles among tasks.

A dependency has a scope, such as CURRENT_DAY: an interval of time around the downstream data time D, counted
in whole hours, days, months... on the wall clock of the downstream task's zone, so that a day on which clocks
change has its 23 or 25 hours. The upstream's own schedule decides which data times exist in it; if there are
none, there is nothing to wait for. The scopes of each pair of cycles stand in one table, `_SCOPES`, the
default first. Pure functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from instances.engine.schedule import Cycle, Schedule, data_times, is_data_time, previous_data_time
from instances.engine.zone import TICK, first_instant, wall, zone

K = TypeVar("K")


class DependencyError(ValueError):
    """A scope that a pair of cycles does not have, or a circle; the message says what to do."""


def scopes(downstream: Cycle, upstream: Cycle) -> tuple[str, ...]:
    """The scopes that a dependency between two cycles may have, the default first; none: it cannot exist."""
    return tuple(_SCOPES.get((downstream, upstream), ()))


def problem(scope: str, downstream: Cycle, upstream: Cycle) -> str:
    """What is wrong with a scope (empty: the default) and what to choose instead, or an empty text."""
    known = scopes(downstream, upstream)
    if not known:
        possible = ", ".join(cycle for cycle in Cycle if scopes(downstream, cycle))
        return f"A {downstream} task cannot wait for a {upstream} task; it can wait for: {possible}."
    if scope and scope not in known:
        return f"{scope[:60]!r} is no scope of {downstream} on {upstream}; choose {' or '.join(known)}."
    return ""


def upstream_data_times(
    scope: str, downstream: Schedule, data_time: datetime, upstream: Schedule
) -> tuple[datetime, ...]:
    """The upstream data times (UTC, ascending) that the downstream instance of `data_time` waits for.

    Of the downstream only its cycle and zone count. An empty scope is the default of the two cycles. Raises
    DependencyError for a scope that the two cycles do not have.
    """
    if data_time.tzinfo is None:
        raise ValueError("data_time must carry a time zone")
    if message := problem(scope, downstream.cycle, upstream.cycle):
        raise DependencyError(message)
    rules = _SCOPES[downstream.cycle, upstream.cycle]
    rule = rules[scope] if scope else next(iter(rules.values()))
    return tuple(rule(_Downstream(downstream.timezone, data_time), upstream))


@dataclass(frozen=True, slots=True)
class _Downstream:
    """A downstream instance: its zone and data time, and the local times around it."""

    timezone: str
    data_time: datetime

    def start(self, unit: str, steps: int = 0) -> datetime:
        """The instant when the hour, day, week... of the data time starts, or the one so many steps later.

        A start that the clocks jumped over is the first instant after the jump.
        """
        tz = zone(self.timezone)
        local = _step(_floor(wall(tz, self.data_time), unit), unit, steps)
        return first_instant(tz, local)[0]


Rule = Callable[[_Downstream, Schedule], Iterable[datetime]]


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


def _within(unit: str, steps: int) -> Rule:
    """[start, end) of one unit, counted from the data time's own: 0 is it, -1 the one before."""

    def rule(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
        begin, end = at.start(unit, steps), at.start(unit, steps + 1)
        return data_times(upstream, begin, end - TICK) if begin < end else ()

    return rule


def _up_to(unit: str, steps: int) -> Rule:
    """(start, D]: from after a unit's start (counted as above) up to the data time itself."""

    def rule(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
        return data_times(upstream, at.start(unit, steps) + TICK, at.data_time)

    return rule


def _end_of(unit: str, steps: int) -> Rule:
    """The last day of a unit."""

    def rule(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
        end = at.start(unit, steps + 1)
        return data_times(upstream, _Downstream(at.timezone, end - TICK).start("day"), end - TICK)

    return rule


def _latest(at: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    """The upstream's data time at D, or else its last one before D."""
    if is_data_time(upstream, at.data_time):
        return (at.data_time,)
    before = previous_data_time(upstream, at.data_time)
    return () if before is None else (before,)


def _only(_: _Downstream, upstream: Schedule) -> Iterable[datetime]:
    """The one data time of a one-off task, whenever it is."""
    return data_times(upstream, upstream.run_at, upstream.run_at) if upstream.run_at else ()


_SCOPES: dict[tuple[Cycle, Cycle], dict[str, Rule]] = {
    (Cycle.ONEOFF, Cycle.ONEOFF): {"CURRENT": _only},
    (Cycle.CRONTAB, Cycle.CRONTAB): {"CURRENT": _latest},
    (Cycle.MINUTE, Cycle.MINUTE): {"CURRENT_MINUTE": _within("minute", 0)},
    (Cycle.HOUR, Cycle.HOUR): {"CURRENT_HOUR": _within("hour", 0)},
    (Cycle.DAY, Cycle.DAY): {"CURRENT_DAY": _within("day", 0)},
    (Cycle.WEEK, Cycle.WEEK): {"CURRENT_WEEK": _within("week", 0)},
    (Cycle.MONTH, Cycle.MONTH): {"CURRENT_MONTH": _within("month", 0)},
    (Cycle.YEAR, Cycle.YEAR): {"CURRENT_YEAR": _within("year", 0)},
    (Cycle.DAY, Cycle.HOUR): {
        "PREVIOUS_DAY_LATER_OFFSET_HOUR": _up_to("day", -1),
        "PREVIOUS_DAY": _within("day", -1),
        "CURRENT_DAY": _within("day", 0),
    },
    (Cycle.MONTH, Cycle.DAY): {
        "PREVIOUS_MONTH": _within("month", -1),
        "CURRENT_MONTH": _within("month", 0),
        "PREVIOUS_END_OF_MONTH": _end_of("month", -1),
        "CURRENT_DAY": _within("day", 0),
        "PREVIOUS_DAY": _within("day", -1),
    },
}


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
        raise DependencyError(f"There is a circle: {path}. Remove one of its dependencies.")
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
