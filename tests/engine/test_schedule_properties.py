"""Schedules against an oracle that is slow, obvious, and shares no code with them.

The oracle walks UTC step by step, looks at the clock on the wall, and asks of every time that the wall shows
for the first time, or jumps over, whether the schedule means it. Its local times come from zoneinfo alone.
WEOPS_PROPERTY_EFFORT=20 runs twenty times as many examples, at random.
"""

from __future__ import annotations

import calendar
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instances.engine.schedule import (
    Cycle,
    Occurrence,
    Schedule,
    data_times,
    describe,
    due,
    first_data_time,
    is_data_time,
    latest_occurrence,
    next_occurrence,
    occurrences,
    previous_data_time,
    validate,
)

EFFORT = int(os.environ.get("WEOPS_PROPERTY_EFFORT", "1"))
DAY = timedelta(days=1)

# Zones and local days near which their clocks do something; the last of each is an ordinary day.
ANCHORS = {
    "America/New_York": ["2024-03-10", "2024-11-03", "2024-02-29"],
    "Europe/London": ["2024-03-31", "2024-10-27", "2023-12-31"],
    "Asia/Shanghai": ["2024-02-28", "2026-01-01"],
    "America/Sao_Paulo": ["2018-11-04", "2018-02-18", "2024-04-30"],  # changes at midnight
    "Australia/Lord_Howe": ["2024-10-06", "2024-04-07", "2024-07-01"],  # changes by 30 minutes
    "Pacific/Apia": ["2011-12-30", "2012-04-01", "2024-06-30"],  # left out a whole day
    "America/Nuuk": ["2024-03-30", "2024-10-26", "2024-07-01"],  # changes from 23:00 to 00:00
    "America/St_Johns": ["2008-03-09", "2008-11-02", "2024-07-01"],  # changed at 00:01
    "Pacific/Kwajalein": ["1969-09-30", "1993-08-21", "2024-07-01"],  # lived one day twice, left out another
    "Africa/Casablanca": ["2024-03-10", "2024-04-14", "2024-07-01"],
}
OFF_GRID = {"America/St_Johns"}


def effort(examples: int) -> Callable:
    return settings(
        max_examples=examples * EFFORT,
        derandomize=EFFORT == 1,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        database=None,
    )


# The oracle.


@dataclass(frozen=True)
class Event:
    data_time: datetime
    scheduled: datetime
    real: bool


@lru_cache(maxsize=64)
def walk(zone: str, start: datetime, steps: int, minutes: int) -> list[tuple[datetime, datetime]]:
    """(UTC, wall clock) of every `minutes` minutes."""
    tz, moments = ZoneInfo(zone), []
    for step in range(steps):
        moment = start + timedelta(minutes=minutes * step)
        moments.append((moment, moment.astimezone(tz).replace(tzinfo=None)))
    return moments


def expected_events(
    cycle: Cycle, path: list[tuple[datetime, datetime]], wanted: Callable[[datetime], bool]
) -> list[Event]:
    """What a schedule means, one event for each data time, where `wanted` judges a time on the wall.

    The first local day of the path is left out, because it may have begun before the path did.
    """
    step = path[1][0] - path[0][0]
    days_that_exist = {shown.date() for _, shown in path} - {path[0][1].date()}
    found: dict[datetime, Event] = {}
    first_of_hour: dict[tuple[date, int], datetime] = {}
    first_of_day: dict[date, datetime] = {}
    newest = path[0][1] - step
    for moment, shown in path:
        hour_start = first_of_hour.setdefault((shown.date(), shown.hour), moment)
        first_of_day.setdefault(shown.date(), moment)
        while newest < shown:  # times that the wall shows for the first time, or jumped over
            newest += step
            if newest.date() not in days_that_exist or not wanted(newest):
                continue
            if cycle in (Cycle.MINUTE, Cycle.CRONTAB):
                data_time = moment
            elif cycle is Cycle.HOUR:
                data_time = hour_start
            else:
                data_time = first_of_day[newest.date()]
            event = Event(data_time, moment, real=newest == shown)
            if data_time not in found or (event.real and not found[data_time].real):
                found[data_time] = event
    return list(found.values())


def expected_occurrences(schedule: Schedule, events: list[Event], unbounded: list[Event]) -> list[Occurrence]:
    """`unbounded` are the events without a calendar: there the last T+1 run of a calendar goes."""
    result = []
    for index, event in enumerate(events):
        begin, end = schedule.effective_from, schedule.effective_to
        if (begin and event.scheduled < begin) or (end and event.scheduled > end):
            continue
        planned: datetime | None = event.scheduled
        if schedule.generation == "T_PLUS_1":
            following = events[index + 1 : index + 2]
            if not following and schedule.calendar_mode == "RUN_ONLY":
                following = [e for e in unbounded if e.scheduled > event.scheduled]
            planned = following[0].scheduled if following else None
        if planned is not None:
            result.append(Occurrence(event.data_time, planned))
    return result


# Schedules, each with its meaning in the oracle's terms.

Wanted = Callable[[datetime], bool]
numbers = st.integers


def subset(low: int, high: int, most: int = 4) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(numbers(low, high), min_size=1, max_size=most)


def perhaps(number: int) -> st.SearchStrategy[frozenset[int]]:
    return st.sampled_from([frozenset({number}), frozenset()])


# Clocks change at night, so look there more often.
hours_of_day = st.sampled_from([23, 0, 1, 2, 3]) | numbers(0, 23)


def in_window(start: time | None, end: time | None, at: time) -> bool:
    if start is None or end is None:
        return (start is None or at >= start) and (end is None or at <= end)
    return start <= at <= end if start <= end else (at >= start or at <= end)


def day_is(days: frozenset[int], shown: datetime) -> bool:
    last = calendar.monthrange(shown.year, shown.month)[1]
    return shown.day in days or (-1 in days and shown.day == last)


@st.composite
def windows(draw: st.DrawFn, grid: int) -> tuple[time | None, time | None]:
    ends = st.none() | st.builds(time, hours_of_day, st.sampled_from(range(0, 60, grid)))
    return draw(ends), draw(ends)


@st.composite
def minute_schedules(draw: st.DrawFn, grid: int) -> tuple[Schedule, Wanted]:
    step = draw(st.sampled_from([n for n in (1, 2, 3, 5, 10, 12, 15, 20, 30) if n % grid == 0]))
    start, end = draw(windows(grid))
    schedule = Schedule(Cycle.MINUTE, step=step, window_start=start, window_end=end)
    return schedule, lambda shown: shown.minute % step == 0 and in_window(start, end, shown.time())


@st.composite
def hour_schedules(draw: st.DrawFn, grid: int) -> tuple[Schedule, Wanted]:
    minute, (start, end) = draw(st.sampled_from(range(0, 60, grid))), draw(windows(grid))
    if draw(st.booleans()):
        hours = draw(subset(0, 23)) | draw(subset(0, 3))
        schedule = Schedule(Cycle.HOUR, at=time(0, minute), hours=tuple(hours))
    else:
        first, step = draw(hours_of_day), draw(numbers(1, 4) | numbers(5, 23))
        hours = frozenset(hour for hour in range(24) if hour >= first and (hour - first) % step == 0)
        schedule = Schedule(Cycle.HOUR, at=time(first, minute), step=step)
    schedule = replace(schedule, window_start=start, window_end=end)
    return (
        schedule,
        lambda shown: shown.minute == minute and shown.hour in hours and in_window(start, end, shown.time()),
    )


@st.composite
def day_schedules(
    draw: st.DrawFn, grid: int, near: date, cycle: Cycle | None = None
) -> tuple[Schedule, Wanted]:
    at = time(draw(hours_of_day), draw(st.sampled_from(range(0, 60, grid))))
    cycle = cycle or draw(st.sampled_from([Cycle.DAY, Cycle.DAY, Cycle.WEEK, Cycle.MONTH, Cycle.YEAR]))
    schedule = Schedule(cycle, at=at)
    if cycle is Cycle.DAY:
        return schedule, lambda shown: shown.time() == at
    if cycle is Cycle.WEEK:
        weekdays = draw(subset(1, 7)) | draw(perhaps(near.isoweekday()))
        schedule = replace(schedule, weekdays=tuple(weekdays))
        return schedule, lambda shown: shown.time() == at and shown.isoweekday() in weekdays
    days = draw(subset(1, 31)) | draw(perhaps(near.day)) | draw(perhaps(-1))
    schedule = replace(schedule, month_days=tuple(days))
    if cycle is Cycle.MONTH:
        return schedule, lambda shown: shown.time() == at and day_is(days, shown)
    months = draw(subset(1, 12)) | draw(perhaps(near.month))
    schedule = replace(schedule, months=tuple(months))
    return schedule, lambda shown: shown.time() == at and shown.month in months and day_is(days, shown)


@st.composite
def fields(draw: st.DrawFn, low: int, high: int, grid: int = 1) -> tuple[str, frozenset[int]]:
    """The text of one crontab field, and the numbers that it means."""
    shape = draw(
        st.sampled_from(
            ["*", "list", "range", "*/n", "a-b/n", "a/n"] if high > 3 else ["list", "range", "a-b/n"]
        )
    )
    every = frozenset(range(low, high + 1))
    if shape == "*" and grid == 1:
        return "*", every
    if shape == "list" or grid > 1:
        chosen = draw(st.frozensets(st.sampled_from(range(low, high + 1, grid)), min_size=1, max_size=4))
        return ",".join(map(str, sorted(chosen))), chosen
    step = draw(numbers(1, high - low))
    if shape == "*/n":
        return f"*/{step}", frozenset(range(low, high + 1, step))
    first, last = sorted((draw(numbers(low, high)), draw(numbers(low, high))))
    if shape == "range":
        return f"{first}-{last}", frozenset(range(first, last + 1))
    if shape == "a-b/n":
        return f"{first}-{last}/{step}", frozenset(range(first, last + 1, step))
    return f"{first}/{step}", frozenset(range(first, high + 1, step))


NAMES = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@st.composite
def weekday_fields(draw: st.DrawFn, sunday: int) -> tuple[str, Wanted]:
    shape = draw(st.sampled_from(["numbers", "names", "wrap", "last", "nth"]))
    one = draw(numbers(0, 6))
    text = draw(st.sampled_from([NAMES[one], str(one + sunday)]))
    if shape == "last":
        return (
            f"{text}L",
            lambda shown: (
                shown.isoweekday() % 7 == one
                and shown.day + 7 > calendar.monthrange(shown.year, shown.month)[1]
            ),
        )
    if shape == "nth":
        nth = draw(numbers(1, 5))
        return (
            f"{text}#{nth}",
            lambda shown: shown.isoweekday() % 7 == one and (shown.day - 1) // 7 + 1 == nth,
        )
    if shape == "wrap":
        length = draw(numbers(1, 6))
        days = frozenset((one + extra) % 7 for extra in range(length + 1))
        return f"{NAMES[one]}-{NAMES[(one + length) % 7]}", lambda shown: shown.isoweekday() % 7 in days
    chosen = draw(subset(0, 6))
    words = [NAMES[day] if shape == "names" else str(day + sunday) for day in sorted(chosen)]
    if sunday == 0 and shape == "numbers":
        words = ["7" if word == "0" else word for word in words]
    return ",".join(words), lambda shown: shown.isoweekday() % 7 in chosen


@st.composite
def crontabs(draw: st.DrawFn, grid: int, near: date) -> tuple[Schedule, Wanted]:
    (minute, minutes), (hour, hours) = draw(fields(0, 59, grid)), draw(fields(0, 23) | fields(0, 3))
    month, months = draw(fields(1, 12))
    if near.month not in months and draw(numbers(0, 3)):
        month, months = "*", frozenset(range(1, 13))
    month_day, days = draw(fields(1, 31) | st.just(("L", frozenset({-1}))))
    quartz = draw(st.booleans())
    weekday, weekday_is = draw(weekday_fields(1 if quartz else 0))
    by = draw(st.sampled_from(["day", "weekday", "both", "neither", "neither"]))
    any_day = "?" if quartz else "*"
    if by == "neither":
        month_day, weekday, day_matches = any_day, "*", lambda shown: True
    elif by == "weekday" or (quartz and by == "both"):
        month_day, day_matches = any_day, weekday_is
    elif by == "day":
        weekday, day_matches = any_day, lambda shown: day_is(days, shown)
    elif month_day.startswith("*"):
        day_matches = lambda shown: day_is(days, shown) and weekday_is(shown)  # noqa: E731
    else:
        day_matches = lambda shown: day_is(days, shown) or weekday_is(shown)  # noqa: E731
    text = f"{minute} {hour} {month_day} {month} {weekday}"

    def wanted(shown: datetime) -> bool:
        on_time = shown.minute in minutes and shown.hour in hours and shown.month in months
        return on_time and day_matches(shown)

    return Schedule(Cycle.CRONTAB, crontab=f"0 {text} *" if quartz else text), wanted


@st.composite
def cases(draw: st.DrawFn, grid: int, span: timedelta) -> tuple[Schedule, Wanted, Wanted, datetime]:
    """A schedule, its meaning, its meaning without the calendar, and the instant around which to look."""
    zone = draw(st.sampled_from(sorted(set(ANCHORS) - (OFF_GRID if grid > 1 else set()))))
    near = date.fromisoformat(draw(st.sampled_from(ANCHORS[zone])))
    centre = datetime.combine(near, time(0), tzinfo=UTC)
    kinds = [day_schedules(grid, near), day_schedules(grid, near), crontabs(grid, near), hour_schedules(grid)]
    if grid == 1:
        kinds += [minute_schedules(grid), minute_schedules(grid)]
    schedule, wanted = draw(st.one_of(kinds))
    schedule = replace(schedule, timezone=zone, generation=draw(st.sampled_from(["T_PLUS_0", "T_PLUS_1"])))
    close = span // DAY
    before, after = numbers(-close * 96, 0), numbers(0, close * 96)
    if draw(numbers(0, 3)) == 0:
        begin, end = (centre + draw(some) * timedelta(minutes=15) for some in (before, after))
        schedule = replace(schedule, effective_from=begin)
        if draw(st.booleans()):
            schedule = replace(schedule, effective_to=end)
    mode = draw(st.sampled_from(["", "", "RUN_ONLY", "SKIP"]))
    if mode == "":
        return schedule, wanted, wanted, centre
    cycle, chosen = draw(numbers(2, 5)), draw(subset(0, 4))  # every so many days
    days = frozenset(near + n * DAY for n in range(-close, close + 1) if n % cycle in chosen)
    schedule = replace(schedule, calendar_mode=mode, calendar_dates=days)
    return schedule, lambda at: wanted(at) and (at.date() in days) == (mode == "RUN_ONLY"), wanted, centre


def usable(schedule: Schedule) -> bool:
    """A window without a time, or a day that no month has, is refused; other tests look at that."""
    try:
        validate(schedule)
    except ValueError:
        return False
    return True


def compare(
    schedule: Schedule,
    wanted: Wanted,
    unbounded: Wanted,
    path: list[tuple[datetime, datetime]],
    a: datetime,
    b: datetime,
) -> None:
    """Every function of the module against the oracle, over (a, b], well inside the path."""
    events = expected_events(schedule.cycle, path, wanted)
    all_events = expected_events(schedule.cycle, path, unbounded) if schedule.calendar_mode else events
    expected = expected_occurrences(schedule, events, all_events)
    if schedule.generation == "T_PLUS_1" and events:
        a = max(a, events[0].scheduled)  # the oracle has not seen what came before its first event
        b = max(a, b)
    between = [o for o in expected if a < o.planned_time <= b]
    assert list(occurrences(schedule, a, b)) == between
    if between:
        assert next_occurrence(schedule, a) == between[0]
        assert latest_occurrence(schedule, a, b) == between[-1]
        assert list(due(schedule, a, b, latest_only=True)) == between[-1:]
    else:
        assert latest_occurrence(schedule, a, b) is None
    begin, end = schedule.effective_from, schedule.effective_to
    inside = [e for e in events if not (begin and e.scheduled < begin) and not (end and e.scheduled > end)]
    assert data_times(schedule, a, b) == [e.data_time for e in inside if a <= e.data_time <= b]
    earlier = [e.data_time for e in inside if e.data_time < b]
    previous = previous_data_time(schedule, b)
    if earlier:
        assert previous == earlier[-1]
    else:
        assert previous is None or previous < path[0][0] + DAY  # before the first whole day


def probe(
    schedule: Schedule, wanted: Wanted, path: list[tuple[datetime, datetime]], centre: datetime
) -> None:
    """Ask from many instants around a change of the clock, the repeated and the missing hour included."""
    events = expected_events(schedule.cycle, path, wanted)
    for minutes in range(-36 * 60, 36 * 60, 47):
        moment = centre + timedelta(minutes=minutes)
        earlier = [e for e in events if e.data_time < moment]
        assert previous_data_time(schedule, moment) == earlier[-1].data_time
        following = next(e for e in events if e.scheduled > moment)
        assert next_occurrence(schedule, moment) == Occurrence(following.data_time, following.scheduled)
        latest = [e for e in events if e.scheduled <= moment][-1]
        assert latest_occurrence(schedule, path[0][0], moment) == Occurrence(
            latest.data_time, latest.scheduled
        )
        assert is_data_time(schedule, moment) == any(e.data_time == moment for e in events)


def at(hour: int, minute: int) -> Wanted:
    return lambda shown: (shown.hour, shown.minute) == (hour, minute)


FREQUENT: list[tuple[Schedule, Wanted]] = [
    (Schedule(Cycle.MINUTE, step=5), lambda shown: shown.minute % 5 == 0),
    (Schedule(Cycle.HOUR), lambda shown: shown.minute == 0),
    (Schedule(Cycle.HOUR, at=time(0, 45)), lambda shown: shown.minute == 45),
    (
        Schedule(Cycle.HOUR, hours=(2, 23), at=time(0, 15)),
        lambda shown: shown.hour in (2, 23) and shown.minute == 15,
    ),
    *((Schedule(Cycle.DAY, at=time(*hm)), at(*hm)) for hm in ((0, 0), (0, 30), (1, 30), (2, 15), (23, 30))),
    (Schedule(Cycle.CRONTAB, crontab="10,50 * * * *"), lambda shown: shown.minute in (10, 50)),
]


@pytest.mark.parametrize("zone", ANCHORS)
def test_frequent_schedules_around_every_change(zone):
    for day in ANCHORS[zone]:
        centre = datetime.fromisoformat(day).replace(tzinfo=UTC)
        path = walk(zone, centre - 5 * DAY, 10 * 1440, 1)
        for schedule, wanted in FREQUENT:
            probe(replace(schedule, timezone=zone), wanted, path, centre)


@given(case=cases(grid=1, span=3 * DAY), ends=st.tuples(numbers(0, 2 * 1440), numbers(0, 2 * 1440)))
@effort(250)
def test_every_minute_around_changes_of_the_clock(case, ends):
    schedule, wanted, unbounded, centre = case
    if not usable(schedule):
        return
    path = walk(schedule.timezone, centre - 4 * DAY, 8 * 1440, 1)
    a, b = centre - 2 * DAY + timedelta(minutes=ends[0]), centre + 2 * DAY - timedelta(minutes=ends[1])
    compare(schedule, wanted, unbounded, path, a, b)


@given(case=cases(grid=30, span=200 * DAY), ends=st.tuples(numbers(0, 170 * 48), numbers(0, 170 * 48)))
@effort(80)
def test_every_half_hour_over_more_than_a_year(case, ends):
    schedule, wanted, unbounded, centre = case
    if not usable(schedule):
        return
    path = walk(schedule.timezone, centre - 200 * DAY, 400 * 48, 30)
    a, b = (
        centre - 170 * DAY + timedelta(minutes=30 * ends[0]),
        centre + 170 * DAY - timedelta(minutes=30 * ends[1]),
    )
    compare(schedule, wanted, unbounded, path, a, b)


@given(case=cases(grid=1, span=20 * DAY), hours=st.lists(numbers(0, 40 * 24), min_size=3, max_size=3))
@effort(150)
def test_laws(case, hours):
    schedule, _, _, centre = case
    if not usable(schedule):
        return
    a, b, c = (centre - 20 * DAY + timedelta(hours=hour) for hour in sorted(hours))
    whole = list(occurrences(schedule, a, c))
    assert whole == list(occurrences(schedule, a, b)) + list(occurrences(schedule, b, c))
    planned = [o.planned_time for o in whole]
    identities = [o.data_time for o in whole]
    assert planned == sorted(set(planned))
    assert identities == sorted(set(identities))
    assert all(o.data_time <= o.planned_time for o in whole)
    if whole:
        assert next_occurrence(schedule, a) == whole[0]
        assert latest_occurrence(schedule, a, c) == whole[-1]
        assert data_times(schedule, identities[0], identities[-1]) == identities
    for earlier, later in pairwise(identities):
        assert previous_data_time(schedule, later) == earlier
        assert first_data_time(schedule, earlier + timedelta(seconds=1)) == later
        assert first_data_time(schedule, later) == later
    for identity in identities[:20]:
        assert is_data_time(schedule, identity)
        assert is_data_time(schedule, identity + timedelta(seconds=1)) is False
    assert Schedule.from_dict(schedule.to_dict()) == schedule
    assert schedule.trimmed() == schedule
    assert schedule.timezone in describe(schedule)
