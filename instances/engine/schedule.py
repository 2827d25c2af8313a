"""From a schedule to data times: pure functions of a schedule and the clock times given. The front door.

A schedule is a pattern of local dates and times of day. Each match happens at one instant (see `zone.py` for
daylight saving), the *scheduled time*, and belongs to one *data time*, the identity of the run:

    MINUTE, CRONTAB, ONEOFF     the scheduled time itself
    HOUR                        the start of the local hour of the scheduled time
    DAY, WEEK, MONTH, YEAR      the start of the local day that the schedule names

Matches that daylight saving moves onto one data time are one occurrence; a time that the clock really shows
wins over one moved out of a gap. Scheduled times and data times both ascend, so every function seeks to where
it is asked to begin and costs what it produces. Schedules must be valid (`validate`); times given must be
aware, and times returned are in UTC.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from . import cron
from .schedule_rules import errors, times_of_day, validate
from .schedule_types import CalendarMode, Cycle, Generation, Occurrence, Schedule, ScheduleError
from .schedule_words import describe
from .zone import TICK, day_start, first_instant, latest_wall, wall, zone

__all__ = [
    "Cycle",
    "Occurrence",
    "Schedule",
    "ScheduleError",
    "data_times",
    "describe",
    "due",
    "errors",
    "first_data_time",
    "is_data_time",
    "latest_occurrence",
    "next_occurrence",
    "occurrences",
    "previous_data_time",
    "validate",
]

_DAY = timedelta(days=1)
_FIRST_DATE, _LAST_DATE = date(1, 1, 3), date(9999, 12, 29)  # room for offsets at both ends of the calendar
_BEGINNING = datetime(1, 1, 4, tzinfo=UTC)


def occurrences(schedule: Schedule, after: datetime, until: datetime) -> Iterator[Occurrence]:
    """Every occurrence with a planned time in (after, until], ascending, lazily."""
    until = _utc(until)
    for occurrence in _planned_after(schedule, _utc(after)):
        if occurrence.planned_time > until:
            return
        yield occurrence


def next_occurrence(schedule: Schedule, after: datetime) -> Occurrence | None:
    """The first occurrence planned after `after`; None when the schedule has ended. Memoised."""
    return _next_occurrence(schedule, _utc(after))


def latest_occurrence(schedule: Schedule, after: datetime, until: datetime) -> Occurrence | None:
    """The last occurrence planned in (after, until], found from the end: what "latest only" catch-up runs."""
    after, until = _utc(after), _utc(until)
    for slot in _effective_until(schedule, until):
        planned = _planned(schedule, slot)
        if planned <= until:
            return Occurrence(slot.data_time, planned) if planned > after else None
    return None


def planned_time(schedule: Schedule, data_time: datetime) -> datetime | None:
    """When the instance of this data time is to run; None if the schedule has no such data time."""
    data_time = _utc(data_time)
    slot = next(_effective_before(schedule, data_time), None)
    return _planned(schedule, slot) if slot is not None and slot.data_time == data_time else None


def due(
    schedule: Schedule, after: datetime, until: datetime, latest_only: bool = False
) -> Iterator[Occurrence]:
    """What to generate for (after, until]: everything that was missed, or only the latest of it."""
    if not latest_only:
        yield from occurrences(schedule, after, until)
    elif latest := latest_occurrence(schedule, after, until):
        yield latest


def data_times(schedule: Schedule, first: datetime, last: datetime) -> list[datetime]:
    """Every data time in [first, last], ascending, whenever it is planned to run."""
    return list(_data_times(schedule, _utc(first), _utc(last)))


def is_data_time(schedule: Schedule, data_time: datetime) -> bool:
    data_time = _utc(data_time)
    return next(_data_times(schedule, data_time, data_time), None) is not None


def first_data_time(schedule: Schedule, since: datetime) -> datetime | None:
    """The first data time from `since` (inclusive) on; None when the schedule has ended."""
    since = _utc(since)
    slots = _effective_after(schedule, since - TICK)
    return next((slot.data_time for slot in slots if slot.data_time >= since), None)


def previous_data_time(schedule: Schedule, data_time: datetime) -> datetime | None:
    """The last data time before `data_time` (which need not be one itself); None if there is none."""
    before = _utc(data_time) - TICK
    return next((slot.data_time for slot in _effective_before(schedule, before)), None)


class _Slot(NamedTuple):
    """One match of the pattern; `exists` is False if daylight saving moved it out of a gap."""

    data_time: datetime
    scheduled: datetime
    exists: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a schedule needs again and again, worked out once."""

    tz: ZoneInfo
    times: tuple[time, ...]
    crontab: cron.Crontab | None
    run_only: tuple[date, ...] | None


@lru_cache(maxsize=4096)
def _plan(schedule: Schedule) -> _Plan:
    only = schedule.calendar_mode == CalendarMode.RUN_ONLY
    run_only = tuple(sorted(schedule.calendar_dates)) if only else None
    crontab = cron.parse(schedule.crontab) if schedule.cycle is Cycle.CRONTAB else None
    times = () if schedule.cycle is Cycle.ONEOFF else times_of_day(schedule)
    return _Plan(zone(schedule.timezone), times, crontab, run_only)


def _utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"{moment} has no UTC offset; give an aware datetime.")
    return moment.astimezone(UTC)


# Occurrences: slots inside the effective period, each with its planned time.


@lru_cache(maxsize=16384)
def _next_occurrence(schedule: Schedule, after: datetime) -> Occurrence | None:
    return next(_planned_after(schedule, after), None)


def _planned_after(schedule: Schedule, after: datetime) -> Iterator[Occurrence]:
    """Occurrences planned after `after`, without an end."""
    if schedule.generation == Generation.T_PLUS_0:
        for slot in _effective_after(schedule, after):
            yield Occurrence(slot.data_time, slot.scheduled)
        return
    # T+1: the one scheduled last is planned at the next scheduled time, so it belongs here too.
    slots = chain(islice(_effective_until(schedule, after), 1), _effective_after(schedule, after))
    current = next(slots, None)
    if current is None:
        return
    for following in slots:
        yield Occurrence(current.data_time, following.scheduled)
        current = following
    if (planned := _planned(schedule, current)) > after:
        yield Occurrence(current.data_time, planned)


def _planned(schedule: Schedule, slot: _Slot) -> datetime:
    """When a slot is to run. The last T+1 slot of an effective period runs as if the period went on; the last
    one of a calendar or of the crontab's years runs as if every day and year counted.
    """
    if schedule.generation == Generation.T_PLUS_0:
        return slot.scheduled
    if following := next(_slots_after(schedule, slot.scheduled), None):
        return following.scheduled
    any_year = cron.without_years(schedule.crontab)
    endless = replace(schedule, crontab=any_year, calendar_mode="", calendar_dates=frozenset())
    return next(_slots_after(endless, slot.scheduled), slot).scheduled


def _effective_after(schedule: Schedule, after: datetime) -> Iterator[_Slot]:
    """Slots scheduled after `after` and inside the effective period, ascending."""
    begin, end = schedule.effective_from, schedule.effective_to
    if begin is not None:
        after = max(after, _utc(begin) - TICK)
    for slot in _slots_after(schedule, after):
        if end is not None and slot.scheduled > end:
            return
        yield slot


def _effective_before(schedule: Schedule, data_time: datetime) -> Iterator[_Slot]:
    """Slots with a data time up to `data_time` and inside the effective period, descending."""
    begin, end = schedule.effective_from, schedule.effective_to
    # A data time is never later than its scheduled time, so the end of the period bounds both.
    for slot in _slots_before(schedule, data_time if end is None else min(data_time, _utc(end))):
        if begin is not None and slot.scheduled < begin:
            return
        if end is None or slot.scheduled <= end:
            yield slot


def _effective_until(schedule: Schedule, until: datetime) -> Iterator[_Slot]:
    """Slots scheduled up to `until` and inside the effective period, descending."""
    return (slot for slot in _effective_before(schedule, until) if slot.scheduled <= until)


def _data_times(schedule: Schedule, first: datetime, last: datetime) -> Iterator[datetime]:
    # Whoever has a data time from `first` on is scheduled from `first` on.
    for slot in _effective_after(schedule, first - TICK):
        if slot.data_time > last:
            return
        if slot.data_time >= first:
            yield slot.data_time


# Slots: the matches of the pattern, one for each data time, without an effective period.


def _slots_after(schedule: Schedule, after: datetime) -> Iterator[_Slot]:
    """Slots scheduled after `after`, ascending."""
    if schedule.cycle is Cycle.ONEOFF:
        return iter([slot for slot in _oneoff(schedule) if slot.scheduled > after])
    slots = _merge(_matches_after(schedule, max(after, _BEGINNING)))
    return (slot for slot in slots if slot.scheduled > after)


def _slots_before(schedule: Schedule, data_time: datetime) -> Iterator[_Slot]:
    """Slots with a data time up to `data_time`, descending."""
    if schedule.cycle is Cycle.ONEOFF:
        return iter([slot for slot in _oneoff(schedule) if slot.data_time <= data_time])
    if data_time < _BEGINNING:
        return iter(())
    slots = _merge(_matches_before(schedule, data_time))
    return (slot for slot in slots if slot.data_time <= data_time)


def _oneoff(schedule: Schedule) -> list[_Slot]:
    if schedule.run_at is None:
        return []
    moment = _utc(schedule.run_at)
    day = wall(zone(schedule.timezone), moment).date()
    return [_Slot(moment, moment, True)] if _calendar_allows(schedule, day) else []


def _merge(matches: Iterator[_Slot]) -> Iterator[_Slot]:
    """One slot for each data time. Matches of one data time are neighbours, because both times ascend."""
    for _, same in groupby(matches, key=attrgetter("data_time")):
        yield _preferred(same)


def _preferred(same: Iterator[_Slot]) -> _Slot:
    first = next(same)
    return first if first.exists else next((slot for slot in same if slot.exists), first)


def _matches_after(schedule: Schedule, after: datetime) -> Iterator[_Slot]:
    """At least the matches scheduled after `after`: nothing on the wall up to its time happens later."""
    plan = _plan(schedule)
    begin = wall(plan.tz, after)
    times = plan.times[bisect_right(plan.times, begin.time()) :]
    for day in _dates(schedule, plan, begin.date()):
        for moment in times if day == begin.date() else plan.times:
            if slot := _slot(schedule.cycle, plan.tz, day, moment):
                yield slot


def _matches_before(schedule: Schedule, data_time: datetime) -> Iterator[_Slot]:
    """At least the matches with a data time up to `data_time`, descending, the last data time complete."""
    plan = _plan(schedule)
    end = latest_wall(plan.tz, data_time)
    if schedule.cycle is Cycle.HOUR:
        end = end.replace(minute=59, second=59)
    exact = schedule.cycle in (Cycle.MINUTE, Cycle.HOUR, Cycle.CRONTAB)
    times = plan.times[: bisect_right(plan.times, end.time())] if exact else plan.times
    for day in _dates(schedule, plan, end.date(), backwards=True):
        for moment in reversed(times if day == end.date() else plan.times):
            if slot := _slot(schedule.cycle, plan.tz, day, moment):
                yield slot


def _slot(cycle: Cycle, tz: ZoneInfo, day: date, moment: time) -> _Slot | None:
    """Where a local date and time of day happens; None on a date that the zone left out."""
    local = datetime.combine(day, moment)
    scheduled, exists = first_instant(tz, local)
    start = day_start(tz, day) if cycle in _DAILY or not exists else scheduled
    if start is None:
        return None
    if cycle in _DAILY:
        return _Slot(start, scheduled, exists)
    if cycle is Cycle.HOUR:
        shown = local if exists else wall(tz, scheduled)
        return _Slot(first_instant(tz, shown.replace(minute=0, second=0))[0], scheduled, exists)
    return _Slot(scheduled, scheduled, exists)


_DAILY = frozenset({Cycle.DAY, Cycle.WEEK, Cycle.MONTH, Cycle.YEAR})


# Dates: the days of the pattern.


def _dates(schedule: Schedule, plan: _Plan, start: date, backwards: bool = False) -> Iterator[date]:
    """The local dates of a schedule from `start` on, in either direction."""
    if not plan.times or (backwards and start < _FIRST_DATE) or (not backwards and start > _LAST_DATE):
        return iter(())
    start = min(max(start, _FIRST_DATE), _LAST_DATE)
    if plan.run_only is not None:  # walk the calendar's dates: there may be few of them, or none
        chosen = plan.run_only
        begin, end = (
            (0, bisect_right(chosen, start)) if backwards else (bisect_left(chosen, start), len(chosen))
        )
        walk = range(begin, end)[:: -1 if backwards else 1]
        return (chosen[index] for index in walk if _day_matches(schedule, plan, chosen[index]))
    days: Iterator[date]
    if plan.crontab is not None:
        days = plan.crontab.dates(start, backwards)
    elif schedule.cycle in (Cycle.MONTH, Cycle.YEAR):
        days = _month_dates(schedule, start, backwards)
    else:
        days = _every_date(start, backwards)
        if schedule.cycle is Cycle.WEEK:
            days = (day for day in days if day.isoweekday() in schedule.weekdays)
    return (day for day in days if _calendar_allows(schedule, day))


def _calendar_allows(schedule: Schedule, day: date) -> bool:
    if schedule.calendar_mode == CalendarMode.NONE:
        return True
    return (day in schedule.calendar_dates) == (schedule.calendar_mode == CalendarMode.RUN_ONLY)


def _every_date(start: date, backwards: bool) -> Iterator[date]:
    step, end = (-_DAY, _FIRST_DATE) if backwards else (_DAY, _LAST_DATE)
    while start != end:
        yield start
        start += step


def _month_dates(schedule: Schedule, start: date, backwards: bool) -> Iterator[date]:
    index, step = start.year * 12 + start.month - 1, -1 if backwards else 1
    while _FIRST_DATE.year <= index // 12 <= _LAST_DATE.year:
        year, month = index // 12, index % 12 + 1
        if schedule.cycle is Cycle.MONTH or month in schedule.months:
            for day in _chosen_days(schedule.month_days, year, month)[::step]:
                if (day <= start) if backwards else (day >= start):
                    yield day
        index += step


@lru_cache(maxsize=4096)
def _chosen_days(month_days: tuple[int, ...], year: int, month: int) -> tuple[date, ...]:
    last = monthrange(year, month)[1]
    numbers = {last if day == -1 else day for day in month_days}
    return tuple(date(year, month, day) for day in sorted(numbers) if day <= last)


def _day_matches(schedule: Schedule, plan: _Plan, day: date) -> bool:
    """Whether the pattern, without its calendar, has this date."""
    if not _FIRST_DATE <= day <= _LAST_DATE:
        return False
    if plan.crontab is not None:
        return plan.crontab.matches(day)
    if schedule.cycle is Cycle.WEEK:
        return day.isoweekday() in schedule.weekdays
    if schedule.cycle is Cycle.YEAR and day.month not in schedule.months:
        return False
    if schedule.cycle in (Cycle.MONTH, Cycle.YEAR):
        return day in _chosen_days(schedule.month_days, day.year, day.month)
    return True
