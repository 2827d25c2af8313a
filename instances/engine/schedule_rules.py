"""What makes a schedule unusable, field by field, in words that say what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import date, datetime, time
from functools import lru_cache

from instances import language
from instances.language import gettext, listed_plainly
from instances.language import gettext_noop as _

from . import cron
from .schedule_types import CYCLE_FIELDS, CalendarMode, Cycle, Generation, Schedule, ScheduleError
from .zone import zone_problem

LONGEST_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DIVISORS = tuple(n for n in range(1, 60) if 60 % n == 0)
_MAX_NAMED = 5


def errors(schedule: Schedule) -> list[ScheduleError]:
    """Everything that is wrong with a schedule, in the order of its fields; empty if it can be used."""
    order = {f.name: index for index, f in enumerate(fields(Schedule))}
    return sorted(_errors(schedule), key=lambda error: order[error.field])


def validate(schedule: Schedule) -> None:
    """Raise the first ScheduleError of a schedule that cannot be used."""
    for error in errors(schedule):
        raise error


def times_of_day(schedule: Schedule) -> tuple[time, ...]:
    """The local times at which a schedule other than ONEOFF is due on each of its days, ascending."""
    if schedule.cycle is Cycle.CRONTAB:
        return cron.parse(schedule.crontab).times
    if schedule.cycle is Cycle.MINUTE:
        times = [time(hour, minute) for hour in range(24) for minute in range(0, 60, schedule.step)]
    elif schedule.cycle is Cycle.HOUR:
        hours = schedule.hours or range(schedule.at.hour, 24, schedule.step)
        times = [time(hour, schedule.at.minute) for hour in hours]
    else:
        return (schedule.at,)
    start, end = schedule.window_start or time.min, schedule.window_end or time.max
    if start <= end:
        return tuple(t for t in times if start <= t <= end)
    return tuple(t for t in times if t >= start or t <= end)


def _errors(schedule: Schedule) -> Iterator[ScheduleError]:
    if problem := zone_problem(schedule.timezone):
        yield ScheduleError("timezone", problem)
    yield from _unread(schedule)
    yield from _period(schedule)
    yield from _calendar(schedule)
    yield from _CHECKS[schedule.cycle](schedule)


def _unread(schedule: Schedule) -> Iterator[ScheduleError]:
    """A field that the cycle does not read would look as if it were in force."""
    for f in fields(schedule):
        if f.name not in CYCLE_FIELDS[schedule.cycle] and getattr(schedule, f.name) != f.default:
            readers = listed_plainly(cycle for cycle, names in CYCLE_FIELDS.items() if f.name in names)
            message = gettext("A %(cycle)s schedule does not use this; clear it (used by %(cycles)s).")
            yield ScheduleError(f.name, message % {"cycle": schedule.cycle, "cycles": readers})


def _period(schedule: Schedule) -> Iterator[ScheduleError]:
    ends = schedule.effective_from, schedule.effective_to
    for name, value in zip(("effective_from", "effective_to"), ends, strict=True):
        if value is not None:
            yield from _aware(name, value)
    begin, end = ends
    if _is_aware(begin) and _is_aware(end) and begin and end and begin > end:
        message = gettext("The effective period ends before it begins; choose a later end.")
        yield ScheduleError("effective_to", message)


def _aware(name: str, value: object) -> Iterator[ScheduleError]:
    if not _is_aware(value):
        message = gettext("%(value)s has no UTC offset; write for example 2026-03-25T02:30:00+08:00.")
        yield ScheduleError(name, message % {"value": value})


def _is_aware(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _calendar(schedule: Schedule) -> Iterator[ScheduleError]:
    if schedule.calendar_dates and schedule.calendar_mode == CalendarMode.NONE:
        message = gettext("A calendar is chosen but not its use; write RUN_ONLY or SKIP.")
        yield ScheduleError("calendar_mode", message)
    if any(not isinstance(day, date) or isinstance(day, datetime) for day in schedule.calendar_dates):
        message = gettext("A calendar holds dates such as 2026-03-25, nothing else.")
        yield ScheduleError("calendar_dates", message)


def _numbers(
    name: str, values: tuple[int, ...], low: int, high: int, also: tuple[int, ...] = ()
) -> Iterator[ScheduleError]:
    wrong = [value for value in values if not (_is_int(value) and (low <= value <= high or value in also))]
    if wrong:
        message = (
            gettext(
                "%(values)s is out of range; write numbers from %(low)s to %(high)s or -1 for the last day."
            )
            if also
            else gettext("%(values)s is out of range; write numbers from %(low)s to %(high)s.")
        )
        yield ScheduleError(name, message % {"values": _listed(wrong[:_MAX_NAMED]), "low": low, "high": high})


def _listed(values: Iterable[object]) -> str:
    return listed_plainly(map(str, values))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _some(name: str, values: tuple[int, ...], what: str) -> Iterator[ScheduleError]:
    if not values:
        message = gettext("Nothing is chosen, so the task would never run; choose %(what)s.")
        yield ScheduleError(name, message % {"what": gettext(what)})


def _at(schedule: Schedule) -> Iterator[ScheduleError]:
    yield from _time_of_day("at", schedule.at)


def _time_of_day(name: str, value: time) -> Iterator[ScheduleError]:
    if not isinstance(value, time) or value.tzinfo is not None:
        message = gettext("Write a plain time of day such as 02:30; the zone is the schedule's own.")
        yield ScheduleError(name, message)
    elif value.second or value.microsecond:
        message = gettext("Tasks are scheduled by the minute; write %(time)s without seconds.")
        yield ScheduleError(name, message % {"time": f"{value:%H:%M}"})


def _window(schedule: Schedule) -> Iterator[ScheduleError]:
    for name, value in (("window_start", schedule.window_start), ("window_end", schedule.window_end)):
        if value is not None:
            yield from _time_of_day(name, value)


def _empty_window(schedule: Schedule) -> Iterator[ScheduleError]:
    if not times_of_day(schedule):
        message = gettext("No scheduled time falls into the execution window; widen it.")
        yield ScheduleError("window_start", message)


def _oneoff(schedule: Schedule) -> Iterator[ScheduleError]:
    if schedule.run_at is None:
        message = gettext("Write when the task is to run, for example 2026-03-25T02:30:00+08:00.")
        yield ScheduleError("run_at", message)
    else:
        yield from _aware("run_at", schedule.run_at)
    if schedule.generation == Generation.T_PLUS_1:
        message = gettext("A one-off task has no next cycle to run in; write T_PLUS_0.")
        yield ScheduleError("generation", message)


def _minute(schedule: Schedule) -> Iterator[ScheduleError]:
    wrong = list(_window(schedule))
    if not _is_int(schedule.step) or schedule.step not in _DIVISORS:
        message = gettext("%(step)s minutes do not divide an hour; write one of %(values)s.")
        values = {"step": schedule.step, "values": _listed(_DIVISORS)}
        wrong.append(ScheduleError("step", message % values))
    yield from wrong or _empty_window(schedule)


def _hour(schedule: Schedule) -> Iterator[ScheduleError]:
    wrong = [*_window(schedule), *_at(schedule), *_numbers("hours", schedule.hours, 0, 23)]
    if not _is_int(schedule.step) or not 1 <= schedule.step <= 23:
        message = gettext("%(step)s hours is out of range; write 1 to 23, or choose DAY for every 24.")
        wrong.append(ScheduleError("step", message % {"step": schedule.step}))
    elif schedule.hours and schedule.step != 1:
        message = gettext("Hours are chosen already; write 1, or clear them to use a step.")
        wrong.append(ScheduleError("step", message))
    yield from wrong or _empty_window(schedule)


def _week(schedule: Schedule) -> Iterator[ScheduleError]:
    yield from _at(schedule)
    yield from _some("weekdays", schedule.weekdays, _("weekdays, 1 (Monday) to 7 (Sunday)"))
    yield from _numbers("weekdays", schedule.weekdays, 1, 7)


def _month(schedule: Schedule) -> Iterator[ScheduleError]:
    yield from _at(schedule)
    yield from _some("month_days", schedule.month_days, _("days 1 to 31, or -1 for the last day"))
    yield from _numbers("month_days", schedule.month_days, 1, 31, also=(-1,))


def _year(schedule: Schedule) -> Iterator[ScheduleError]:
    wrong = [*_month(schedule), *_some("months", schedule.months, _("months 1 to 12"))]
    wrong += _numbers("months", schedule.months, 1, 12)
    yield from wrong
    if not wrong and min(schedule.month_days) > max(LONGEST_MONTH[month] for month in schedule.months):
        message = gettext("None of the months has such a day; choose an earlier day, or -1 for the last.")
        yield ScheduleError("month_days", message)


def _crontab(schedule: Schedule) -> Iterator[ScheduleError]:
    if message := _crontab_problem(schedule.crontab, language.current()):
        yield ScheduleError("crontab", message)


@lru_cache(maxsize=1024)
def _crontab_problem(expression: str, language: str) -> str:
    """In the language that is spoken now, which is named for the cache's sake."""
    try:
        cron.parse(expression)
    except cron.CronError as error:
        return str(error)
    return ""


_CHECKS = {
    Cycle.ONEOFF: _oneoff,
    Cycle.MINUTE: _minute,
    Cycle.HOUR: _hour,
    Cycle.DAY: _at,
    Cycle.WEEK: _week,
    Cycle.MONTH: _month,
    Cycle.YEAR: _year,
    Cycle.CRONTAB: _crontab,
}
