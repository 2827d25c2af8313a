"""From what a backfill plan was told to its runs: data times of each task, and the wave in which each is started.

The rhythm, calendar and execution window of a task's schedule hold; its effective period does not, for a backfill is about
the past, before the period too.

Waves follow data times (backwards for REVERSE). A run that waits for runs of other data times comes after all of them:
so a day that waits for its 24 hours comes after the last of them, and before the first hour of the next day. A wave has
one data time; a data time may have several waves.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from instances.engine.dependencies import topological_layers, upstream_data_times
from instances.engine.plan_spec import Order, PlanSpec
from instances.engine.schedule import Cycle, Occurrence, Schedule, occurrences
from instances.engine.states import SelfDependency
from instances.engine.zone import TICK, first_instant, wall, zone
from instances.language import gettext

# One plan; beyond it belongs into two.
MOST_RUNS = 500_000
_DAY = dt.timedelta(days=1)

# (position of its data time, how often it was put off there, position of its own data time)
_Place = tuple[int, int, int]


class PlanTooLarge(ValueError):
    """More runs than one plan may have."""

    def __init__(self) -> None:
        message = gettext(
            "The plan would have more than %(most)s runs; choose fewer tasks or shorter ranges."
        )
        super().__init__(message % {"most": f"{MOST_RUNS:,}"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A dependency between two tasks of a plan. `bits`, `timeout`: what its edges excuse (engine/trigger_policies.py), and
    after how many minutes."""

    upstream_id: int
    scope: str
    offsets: str = ""
    bits: int = 0
    timeout: int | None = None


@dataclass(slots=True)
class Runs:
    """Of one task, in order of data time; `waves[i]` is that of `occurrences[i]`."""

    occurrences: Sequence[Occurrence]
    waves: list[int]


@dataclass(slots=True)
class Expansion:
    """The runs of a plan by task, upstream tasks first."""

    runs: dict[int, Runs]
    data_times: int
    waves: int

    @property
    def total(self) -> int:
        return sum(len(runs.occurrences) for runs in self.runs.values())


@lru_cache(maxsize=10_000)
def unlimited(schedule: Schedule) -> Schedule:
    """The schedule without its effective period; equal ones are one object."""
    return replace(schedule, effective_from=None, effective_to=None)


def expand(
    spec: PlanSpec, schedules: Mapping[int, Schedule], rules: Mapping[int, Iterable[Rule]]
) -> Expansion:
    """The runs of the tasks in `schedules`. Raises PlanTooLarge, and DependencyError for a circle of `rules`."""
    found: dict[int, Sequence[Occurrence]] = {}
    left = MOST_RUNS
    for task_id, schedule in schedules.items():
        found[task_id] = _of_schedule(spec, schedule, left)
        left -= len(found[task_id])
    times = sorted({o.data_time for due in found.values() for o in due}, reverse=spec.order is Order.REVERSE)
    waits = {task: [rule for rule in rules.get(task, ()) if rule.upstream_id in found] for task in found}
    order = [task for layer in _layers(waits) for task in layer]
    places = _Places(spec, schedules, times)
    for task in order:
        places.add(task, found[task], waits[task])
    numbers = {place: number for number, place in enumerate(sorted(places.used()))}
    return Expansion(
        {task: Runs(found[task], [numbers[place] for place in places.of(task)]) for task in order},
        len(times),
        len(numbers),
    )


def _layers(waits: Mapping[int, Iterable[Rule]]) -> list[list[int]]:
    return topological_layers({task: [rule.upstream_id for rule in rules] for task, rules in waits.items()})


class _Places:
    """Where each run stands in the order of starting; tasks are added upstream first."""

    def __init__(
        self, spec: PlanSpec, schedules: Mapping[int, Schedule], times: Sequence[dt.datetime]
    ) -> None:
        self._schedules = schedules
        self._orderly = spec.self_dependency == SelfDependency.ORDERLY
        self._base = {time: base for base, time in enumerate(times)}
        self._places: dict[int, dict[dt.datetime, _Place]] = {}

    def add(self, task: int, due: Sequence[Occurrence], waits: Sequence[Rule]) -> None:
        places = self._places[task] = {}
        before: _Place | None = None
        for occurrence in due:
            time = occurrence.data_time
            base = self._base[time]
            place = (base, 0, base)
            for rule in waits:
                place = max(place, self._after(rule, self._schedules[task], time, base))
            if self._orderly and before is not None:
                place = max(place, _behind(before, base))
            before = places[time] = place

    def _after(self, rule: Rule, downstream: Schedule, time: dt.datetime, base: int) -> _Place:
        """The first place at which all that the rule waits for is started."""
        place = (base, 0, base)
        upstream = self._places[rule.upstream_id]
        schedule = unlimited(self._schedules[rule.upstream_id])
        for parent_time in needed(rule, downstream, time, schedule):
            parent = upstream.get(parent_time)
            if parent is not None:
                place = max(place, parent if parent_time == time else _behind(parent, base))
        return place

    def of(self, task: int) -> Iterable[_Place]:
        return self._places[task].values()

    def used(self) -> set[_Place]:
        return {place for places in self._places.values() for place in places.values()}


def _behind(place: _Place, base: int) -> _Place:
    return (place[0], place[1] + 1, base)


def needed(
    rule: Rule, downstream: Schedule, time: dt.datetime, upstream: Schedule
) -> tuple[dt.datetime, ...]:
    """The upstream data times that the downstream run of `time` waits for, ascending.

    Where that can be none but its own, the upstream's schedule is not asked whether it has it: the plan knows.
    """
    if _own_only(rule.scope, downstream, upstream):
        return (time,)
    return _needed(rule, downstream, time, upstream)


def _own_only(scope: str, downstream: Schedule, upstream: Schedule) -> bool:
    """Whether the unit of the scope has one data time at most: that of the downstream run."""
    cycle = downstream.cycle
    return (
        cycle is upstream.cycle
        and cycle in (Cycle.MINUTE, Cycle.HOUR, Cycle.DAY)
        and scope in ("", f"CURRENT_{cycle}")
        and downstream.timezone == upstream.timezone
    )


@lru_cache(maxsize=50_000)
def _needed(
    rule: Rule, downstream: Schedule, time: dt.datetime, upstream: Schedule
) -> tuple[dt.datetime, ...]:
    return upstream_data_times(rule.scope, downstream, time, upstream, rule.offsets)


# Data times of one schedule


def _of_schedule(spec: PlanSpec, schedule: Schedule, most: int) -> Sequence[Occurrence]:
    """What the plan asks of a task with this schedule, in order of data time."""
    found: list[Occurrence] = []
    wanted = _filter(spec, schedule)
    for begin, end in periods(spec, schedule):
        for occurrence in _between(unlimited(schedule), begin, end, spec.until):
            if wanted(occurrence.data_time):
                if len(found) == most:
                    raise PlanTooLarge
                found.append(occurrence)
    return found


def periods(spec: PlanSpec, schedule: Schedule) -> list[tuple[dt.datetime, dt.datetime]]:
    """The instants of the plan's ranges, first and last inclusive: whole days on the plan's or the task's clock."""
    tz = zone(spec.timezone or schedule.timezone)

    def midnight(day: dt.date) -> dt.datetime:
        return first_instant(tz, dt.datetime.combine(day, dt.time()))[0]

    return [(midnight(first), midnight(last + _DAY) - TICK) for first, last in spec.ranges]


def _between(
    schedule: Schedule, begin: dt.datetime, end: dt.datetime, until: dt.datetime
) -> Iterator[Occurrence]:
    """Occurrences with a data time in [begin, end] that are planned up to `until`."""
    # Nobody is planned before his data time.
    for occurrence in occurrences(schedule, begin - TICK, until):
        if occurrence.data_time > end:
            return
        if occurrence.data_time >= begin:
            yield occurrence


def _filter(spec: PlanSpec, schedule: Schedule) -> Callable[[dt.datetime], bool]:
    """Which data times the plan's window and its monthly redefinition leave."""
    if schedule.cycle is Cycle.DAY and spec.first_of_month:
        own = zone(schedule.timezone)
        return lambda time: wall(own, time).day == 1
    start, end = spec.window_start, spec.window_end
    if schedule.cycle in (Cycle.MINUTE, Cycle.HOUR) and start is not None and end is not None:
        tz = zone(spec.timezone or schedule.timezone)
        return lambda time: start <= wall(tz, time).time() <= end
    return lambda _time: True
