"""A schedule in plain English, for lists, pages and logs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from . import cron
from .schedule_types import CalendarMode, Cycle, Generation, Schedule

_WEEKDAYS = ("", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("", "January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def describe(schedule: Schedule) -> str:
    """One line such as "every day at 02:30 (Asia/Shanghai)". The schedule must be valid."""
    text = f"{_WORDS[schedule.cycle](schedule)}{_window(schedule)} ({schedule.timezone})"
    if schedule.calendar_mode == CalendarMode.RUN_ONLY:
        text += f", only on {_dates(schedule)} of its calendar"
    elif schedule.calendar_mode == CalendarMode.SKIP:
        text += f", except on {_dates(schedule)} of its calendar"
    if schedule.effective_from:
        text += f", from {_local(schedule, schedule.effective_from)}"
    if schedule.effective_to:
        text += f", until {_local(schedule, schedule.effective_to)}"
    return f"{text}, run one cycle later (T+1)" if schedule.generation == Generation.T_PLUS_1 else text


def _oneoff(schedule: Schedule) -> str:
    return f"once, at {_local(schedule, schedule.run_at)}" if schedule.run_at else "never"


def _minute(schedule: Schedule) -> str:
    return "every minute" if schedule.step == 1 else f"every {schedule.step} minutes"


def _hour(schedule: Schedule) -> str:
    minute, first = schedule.at.minute, schedule.at.hour
    if schedule.hours:
        return f"every day at {_list(f'{hour:02}:{minute:02}' for hour in schedule.hours)}"
    if schedule.step == 1:
        start = f", from {schedule.at:%H:%M} on each day" if first else ""
        return f"every hour at minute {minute}{start}"
    return f"every {schedule.step} hours from {schedule.at:%H:%M} on each day"


def _day(schedule: Schedule) -> str:
    return f"every day at {schedule.at:%H:%M}"


def _week(schedule: Schedule) -> str:
    return f"every {_list(_WEEKDAYS[day] for day in schedule.weekdays)} at {schedule.at:%H:%M}"


def _month(schedule: Schedule) -> str:
    return f"every month on {_days(schedule)} at {schedule.at:%H:%M}"


def _year(schedule: Schedule) -> str:
    months = _list(_MONTHS[month] for month in schedule.months)
    return f"every year on {_days(schedule)} of {months} at {schedule.at:%H:%M}"


def _crontab(schedule: Schedule) -> str:
    crontab = cron.parse(schedule.crontab)
    words = crontab.words[:1].lower() + crontab.words[1:]
    years = f" in {_list(map(str, sorted(crontab.years)))}" if crontab.years else ""
    return f"crontab {schedule.crontab}: {words}{years}"


def _window(schedule: Schedule) -> str:
    start, end = schedule.window_start, schedule.window_end
    if start and end:
        return f", between {start:%H:%M} and {end:%H:%M}{' of the next day' if start > end else ''}"
    if start is not None:
        return f", not before {start:%H:%M}"
    return "" if end is None else f", not after {end:%H:%M}"


def _days(schedule: Schedule) -> str:
    numbers = [str(day) for day in schedule.month_days if day > 0]
    days = f"{'day' if len(numbers) == 1 else 'days'} {_list(numbers)}" if numbers else ""
    if -1 not in schedule.month_days:
        return days
    return f"{days} and the last day" if days else "the last day"


def _dates(schedule: Schedule) -> str:
    count = len(schedule.calendar_dates)
    return f"the {count} {'date' if count == 1 else 'dates'}"


def _list(items: Iterable[str]) -> str:
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def _local(schedule: Schedule, moment: datetime) -> str:
    return f"{moment.astimezone(ZoneInfo(schedule.timezone)):%Y-%m-%d %H:%M}"


_WORDS = {
    Cycle.ONEOFF: _oneoff,
    Cycle.MINUTE: _minute,
    Cycle.HOUR: _hour,
    Cycle.DAY: _day,
    Cycle.WEEK: _week,
    Cycle.MONTH: _month,
    Cycle.YEAR: _year,
    Cycle.CRONTAB: _crontab,
}
