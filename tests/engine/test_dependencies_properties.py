"""Every pair of cycles and every scope, against an oracle that is slow, obvious, and shares no code with them.

The oracle walks through time step by step, twice. On the upstream task's clock it asks of every time whether the
schedule means it (as the oracle of schedules does); on the downstream task's clock it notes the newest time that the
wall has shown so far. The minute, hour, day... of that time is the one that a moment belongs to. WEOPS_PROPERTY_EFFORT=20
runs twenty times as many examples, at random.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from instances.engine.dependencies import never_comes, required, scopes, upstream_data_times
from instances.engine.schedule import Cycle, Schedule
from tests.engine.test_schedule_properties import (
    ANCHORS,
    DAY,
    OFF_GRID,
    Event,
    Wanted,
    crontabs,
    day_schedules,
    effort,
    expected_events,
    hour_schedules,
    minute_schedules,
    numbers,
    subset,
    usable,
    walk,
)

PAIRS = list(product(Cycle, Cycle))
# What minutes alone can tell is looked at minute by minute over days, the rest by half hours over two years.
FINE_REACH, COARSE_REACH = 7 * DAY, 400 * DAY
FINE_UNITS = {"MINUTE", "HOUR", "DAY"}
UNITS = {"MINUTE": timedelta(minutes=1), "HOUR": timedelta(hours=1), "DAY": DAY}
MOST_STEPS = {"MINUTE": 4000, "HOUR": 70, "DAY": 3}


def floor(shown: datetime, unit: str) -> datetime:
    """The start of the unit on the wall clock."""
    if unit == "MINUTE":
        return shown.replace(second=0, microsecond=0)
    if unit == "HOUR":
        return shown.replace(minute=0, second=0, microsecond=0)
    start = datetime.combine(shown.date(), time())
    if unit == "WEEK":
        return start - shown.weekday() * DAY
    return start.replace(day=1 if unit != "DAY" else start.day, month=1 if unit == "YEAR" else start.month)


@dataclass(frozen=True, eq=False)
class Clock:
    """What the wall of a zone has shown at the latest, moment by moment."""

    moments: list[datetime]
    newest: list[datetime]

    def at(self, moment: datetime) -> datetime:
        return self.newest[bisect_right(self.moments, moment) - 1]

    @lru_cache(maxsize=1024)  # noqa: B019 - clocks are few, and kept anyway
    def units(self, unit: str) -> dict[datetime, datetime]:
        """The units that were really shown, in order, each with its first moment."""
        found: dict[datetime, datetime] = {}
        for moment, shown in zip(self.moments, self.newest, strict=True):
            found.setdefault(floor(shown, unit), moment)
        return found

    def landed(self, label: datetime, unit: str) -> datetime:
        """The unit itself, or the one in which the clock landed that jumped over it."""
        return label if label in self.units(unit) else min(u for u in self.units(unit) if u > label)

    def before(self, label: datetime, unit: str) -> datetime:
        return max(shown for shown in self.units(unit) if shown < label)

    def first_moment(self, label: datetime, unit: str) -> datetime:
        return self.units(unit)[label]


@lru_cache(maxsize=64)
def clock(zone: str, start: datetime, steps: int, minutes: int) -> Clock:
    newest: list[datetime] = []
    moments: list[datetime] = []
    for moment, shown in walk(zone, start, steps, minutes):
        moments.append(moment)
        newest.append(max(shown, newest[-1]) if newest else shown)
    return Clock(moments, newest)


def grain(cycle: Cycle) -> str:
    if cycle in (Cycle.MINUTE, Cycle.CRONTAB, Cycle.ONEOFF):
        return "MINUTE"
    return "HOUR" if cycle is Cycle.HOUR else "DAY"


def chosen(
    scope: str, wall: Clock, cycle: Cycle, at: datetime, events: list[datetime]
) -> list[datetime] | None:
    """The upstream data times that a scope without offsets means; None: the path does not tell."""

    def unit_of(moment: datetime, unit: str) -> datetime:
        return floor(wall.at(moment), unit)

    def within(unit: str, label: datetime) -> list[datetime]:
        return [event for event in events if unit_of(event, unit) == label]

    words = scope.split("_")
    if scope in ("RECENT_DATE", "CURRENT"):
        return [event for event in events if event <= at][-1:] or None
    if scope.endswith("_CYCLE"):
        return [event for event in events if unit_of(event, words[1]) < unit_of(at, words[1])][-1:] or None
    if scope.startswith("ALL_"):
        return within("YEAR", unit_of(at, "YEAR"))
    if words[0] == "CURRENT":
        return within(words[1], unit_of(at, words[1]))
    if scope in ("PREVIOUS_FRIDAY", "PREVIOUS_WEEKEND"):
        monday = wall.before(unit_of(at, "WEEK"), "WEEK")
        days = 4 if scope == "PREVIOUS_FRIDAY" else 6
        return within("DAY", wall.landed(monday + days * DAY, "DAY"))
    if scope.endswith("_OF_MONTH"):
        month = wall.before(unit_of(at, "MONTH"), "MONTH")
        days_of_it = [day for day in wall.units("DAY") if floor(day, "MONTH") == month]
        return within("DAY", days_of_it[-1 if "END" in words else 0])
    previous = wall.before(unit_of(at, words[1]), words[1])
    if "LATER" in words:
        begin = wall.first_moment(previous, words[1])
        return [event for event in events if begin < event <= at]
    return within(words[1], previous)


def at_offsets(
    scope: str, offsets: tuple[int, ...], wall: Clock, cycle: Cycle, at: datetime, events: list[datetime]
) -> list[tuple[datetime, bool]]:
    """What a range or a list means, and whether it exists."""
    kind, unit = scope.split("_")
    zero = floor(floor(wall.at(at), grain(cycle)), unit)

    def landed(step: int) -> datetime:
        return wall.landed(zero + step * UNITS[unit], unit)

    if kind == "RANGE":
        low, high = landed(offsets[0]), landed(offsets[1])
        return [(event, True) for event in events if low <= floor(wall.at(event), unit) <= high]
    found: dict[datetime, bool] = {}
    for label in map(landed, offsets):
        there = [event for event in events if floor(wall.at(event), unit) == label]
        found |= dict.fromkeys(there, True) or {wall.first_moment(label, unit): False}
    return sorted(found.items())


# What is drawn: an upstream schedule with its meaning, and a downstream cycle, zone and data time.


def patterns(cycle: Cycle, grid: int, near: date) -> st.SearchStrategy[tuple[Schedule, Wanted]]:
    if cycle is Cycle.MINUTE:
        return minute_schedules(grid)
    if cycle is Cycle.HOUR:
        return hour_schedules(grid)
    return crontabs(grid, near) if cycle is Cycle.CRONTAB else day_schedules(grid, near, cycle)


@st.composite
def upstreams(
    draw: st.DrawFn, cycle: Cycle, zone: str, grid: int, near: date, close: int
) -> tuple[Schedule, Wanted]:
    """`close`: effective periods and calendars lie within so many days of `near`."""
    centre = datetime.combine(near, time(), UTC)
    moments = numbers(-close * 48, close * 48).map(lambda n: centre + n * timedelta(minutes=30))
    if cycle is Cycle.ONEOFF:
        run_at = draw(moments)
        shown = run_at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        return Schedule(cycle, zone, run_at=run_at), lambda at: at == shown
    schedule, wanted = draw(patterns(cycle, grid, near))
    schedule = replace(schedule, timezone=zone, generation=draw(st.sampled_from(["T_PLUS_0", "T_PLUS_1"])))
    if draw(numbers(0, 3)) == 0:
        begin, end = sorted((draw(moments), draw(moments)))
        schedule = replace(schedule, effective_from=begin, effective_to=draw(st.sampled_from([end, None])))
    mode = draw(st.sampled_from(["", "", "RUN_ONLY", "SKIP"]))
    if mode == "":
        return schedule, wanted
    every, some = draw(numbers(2, 5)), draw(subset(0, 4))
    days = frozenset(near + n * DAY for n in range(-close, close + 1) if n % every in some)
    schedule = replace(schedule, calendar_mode=mode, calendar_dates=days)
    return schedule, lambda at: wanted(at) and (at.date() in days) == (mode == "RUN_ONLY")


class Case:
    """What was drawn; `events` are the upstream's data times on the path of `wall`."""

    def __init__(
        self,
        downstream: Schedule,
        data_time: datetime,
        upstream: Schedule,
        events: list[datetime],
        wall: Clock,
    ) -> None:
        self.downstream, self.data_time, self.upstream = downstream, data_time, upstream
        self.events, self.wall = events, wall

    def __repr__(self) -> str:
        return f"{self.downstream.to_dict()} {self.data_time} on {self.upstream.to_dict()}"

    def expect(self, scope: str, offsets: tuple[int, ...] = ()) -> list[tuple[datetime, bool]] | None:
        if self.upstream.cycle is Cycle.ONEOFF and scope == "CURRENT":
            return [(event, True) for event in self.events]
        cycle = self.downstream.cycle
        if offsets:
            return at_offsets(scope, offsets, self.wall, cycle, self.data_time, self.events)
        found = chosen(scope, self.wall, cycle, self.data_time, self.events)
        return None if found is None else [(event, True) for event in found]


def events_of(schedule: Schedule, wanted: Wanted, path: list[tuple[datetime, datetime]]) -> list[datetime]:
    if schedule.cycle is Cycle.ONEOFF:
        return [schedule.run_at] if schedule.run_at else []
    begin, end = schedule.effective_from, schedule.effective_to
    events: Iterable[Event] = expected_events(schedule.cycle, path, wanted)
    return [
        e.data_time for e in events if not (begin and e.scheduled < begin) and not (end and e.scheduled > end)
    ]


@st.composite
def cases(draw: st.DrawFn, down: Cycle, up: Cycle, grid: int, reach: timedelta) -> Case:
    zones = sorted(set(ANCHORS) - (OFF_GRID if grid > 1 else set()))
    zone = draw(st.sampled_from(zones))
    # Mostly the same zone: two clocks are the exception.
    upstream_zone = draw(st.sampled_from([zone, zone, *zones]))
    near = date.fromisoformat(draw(st.sampled_from(ANCHORS[zone])))
    upstream, wanted = draw(upstreams(up, upstream_zone, grid, near, 4 if grid == 1 else 190))
    assume(usable(upstream))
    start, steps = datetime.combine(near, time(), UTC) - reach, 2 * reach // timedelta(minutes=grid)
    wall = clock(zone, start, steps, grid)
    close = DAY if grid == 1 else 20 * DAY
    low, high = (bisect_left(wall.moments, start + reach + way * close) for way in (-1, 1))
    unit = grain(down)
    starts = sorted({wall.first_moment(label, unit) for label in wall_units(wall, low, high, unit, draw)})
    events = events_of(upstream, wanted, walk(upstream_zone, start, steps, grid))
    return Case(Schedule(down, zone), draw(st.sampled_from(starts)), upstream, events, wall)


def wall_units(wall: Clock, low: int, high: int, unit: str, draw: st.DrawFn) -> list[datetime]:
    """A few units shown between two places of the path."""
    return [floor(wall.newest[draw(numbers(low, high))], unit) for _ in range(3)]


def check(case: Case, scope: str, expected: list[tuple[datetime, bool]] | None, offsets: str = "") -> None:
    found = required(scope, case.downstream, case.data_time, case.upstream, offsets)
    if expected is None:
        # The last one before is older than the path, whose first day is left out; or there never was any.
        assert all(found.data_time < case.wall.moments[0] + 2 * DAY for found in found)
        return
    assert [tuple(one) for one in found] == expected
    for one in found:
        assert never_comes(case.upstream, one.data_time) is not one.exists


def is_fine(scope: str, up: Cycle) -> bool:
    if scope in ("RECENT_DATE", "CURRENT"):
        return up in (Cycle.MINUTE, Cycle.HOUR, Cycle.DAY, Cycle.CRONTAB, Cycle.ONEOFF)
    words = scope.split("_")
    return words[-1] in FINE_UNITS or (words[1] in FINE_UNITS and words[0] != "ALL")


FINE = [pair for pair in PAIRS if any(is_fine(scope, pair[1]) for scope in scopes(*pair))]
COARSE = [pair for pair in PAIRS if not all(is_fine(scope, pair[1]) for scope in scopes(*pair))]


def named(pair: tuple[Cycle, Cycle]) -> str:
    return f"{pair[0]}_on_{pair[1]}"


@pytest.mark.parametrize("pair", FINE, ids=named)
def test_every_scope_minute_by_minute(pair: tuple[Cycle, Cycle]) -> None:
    down, up = pair

    @given(cases(down, up, 1, FINE_REACH), st.data())
    @effort(8)
    def agrees(case: Case, data: st.DataObject) -> None:
        for scope in (scope for scope in scopes(down, up) if is_fine(scope, up)):
            offsets: tuple[int, ...] = ()
            if scope.startswith(("RANGE_", "LIST_")):
                most = MOST_STEPS[scope.split("_")[1]]
                steps = numbers(-2, 1) | numbers(-most, most)
                size = 2 if scope.startswith("RANGE_") else data.draw(numbers(1, 3))
                offsets = tuple(sorted(data.draw(steps) for _ in range(size)))
            check(case, scope, case.expect(scope, offsets), ",".join(map(str, offsets)))

    agrees()


@pytest.mark.parametrize("pair", COARSE, ids=named)
def test_every_scope_over_two_years(pair: tuple[Cycle, Cycle]) -> None:
    down, up = pair

    @given(cases(down, up, 30, COARSE_REACH))
    @effort(5)
    def agrees(case: Case) -> None:
        for scope in (scope for scope in scopes(down, up) if not is_fine(scope, up)):
            check(case, scope, case.expect(scope))

    agrees()


# Laws that hold whatever the clocks do.


OFFSET_PAIRS = [
    (down, up, unit) for (down, up), unit in product(PAIRS, UNITS) if f"LIST_{unit}" in scopes(down, up)
]


@pytest.mark.parametrize(("down", "up", "unit"), OFFSET_PAIRS)
def test_a_range_is_its_list_without_what_never_comes(down: Cycle, up: Cycle, unit: str) -> None:
    @given(cases(down, up, 1, FINE_REACH), numbers(-40, 20), numbers(0, 30))
    @effort(5)
    def agrees(case: Case, first: int, more: int) -> None:
        last = first + more
        at = (case.downstream, case.data_time, case.upstream)
        ranged = upstream_data_times(f"RANGE_{unit}", *at, f"{first},{last}")
        listed = required(f"LIST_{unit}", *at, ",".join(map(str, range(first, last + 1))))
        assert list(ranged) == [one.data_time for one in listed if one.exists]
        current = f"CURRENT_{unit}"
        if current in scopes(down, up):
            zero = upstream_data_times(f"RANGE_{unit}", *at, "0,0")
            assert upstream_data_times(current, *at) == zero

    agrees()


@pytest.mark.parametrize(
    ("down", "up", "scope"),
    [
        (Cycle.HOUR, Cycle.MINUTE, "PREVIOUS_HOUR_LATER_OFFSET_MINUTE"),
        (Cycle.HOUR, Cycle.MINUTE, "PREVIOUS_HOUR"),
        (Cycle.HOUR, Cycle.MINUTE, "CURRENT_HOUR"),
        (Cycle.DAY, Cycle.MINUTE, "PREVIOUS_DAY_LATER_OFFSET_MINUTE"),
        (Cycle.DAY, Cycle.HOUR, "PREVIOUS_DAY_LATER_OFFSET_HOUR"),
        (Cycle.DAY, Cycle.HOUR, "PREVIOUS_DAY"),
        (Cycle.DAY, Cycle.HOUR, "CURRENT_DAY"),
    ],
)
def test_hours_and_days_share_out_what_is_shorter(down: Cycle, up: Cycle, scope: str) -> None:
    """Over the data times of a task without gaps, each upstream data time is waited for exactly once."""

    @given(cases(down, up, 1, FINE_REACH))
    @effort(10)
    def agrees(case: Case) -> None:
        wall, unit = case.wall, grain(down)
        days = DAY * (1 if down is Cycle.HOUR else 3)
        moments = [
            wall.first_moment(label, unit)
            for label in wall.units(unit)
            if abs(wall.first_moment(label, unit) - case.data_time) <= days
        ]
        found = [
            event
            for moment in moments
            for event in upstream_data_times(scope, case.downstream, moment, case.upstream)
        ]
        if found:
            assert found == [event for event in case.events if found[0] <= event <= found[-1]]
            inner = [event for event in case.events if moments[1] <= event < moments[-2]]
            assert set(inner) <= set(found)

    agrees()
