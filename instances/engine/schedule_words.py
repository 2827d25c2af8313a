"""A schedule in plain words, for lists, pages and logs."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from instances.language import gettext, listed, ngettext

from . import cron, cron_words
from .schedule_types import CalendarMode, Cycle, Generation, Schedule
from .weekdays import MONTHS, WEEKDAYS


def describe(schedule: Schedule) -> str:
    """One line such as "every day at 02:30 (Asia/Shanghai)". The schedule must be valid."""
    said = _window(schedule, _WORDS[schedule.cycle](schedule))
    said = gettext("%(schedule)s (%(zone)s)") % {"schedule": said, "zone": schedule.timezone}
    if schedule.calendar_mode in (CalendarMode.RUN_ONLY, CalendarMode.SKIP):
        count = len(schedule.calendar_dates)
        said = _calendar(schedule, count) % {"schedule": said, "count": count}
    if schedule.effective_from:
        start = _local(schedule, schedule.effective_from)
        said = gettext("%(schedule)s, from %(start)s") % {"schedule": said, "start": start}
    if schedule.effective_to:
        end = _local(schedule, schedule.effective_to)
        said = gettext("%(schedule)s, until %(end)s") % {"schedule": said, "end": end}
    if schedule.generation == Generation.T_PLUS_1:
        said = gettext("%(schedule)s, run one cycle later (T+1)") % {"schedule": said}
    return said


def _calendar(schedule: Schedule, count: int) -> str:
    if schedule.calendar_mode == CalendarMode.RUN_ONLY:
        return ngettext(
            "%(schedule)s, only on the %(count)s date of its calendar",
            "%(schedule)s, only on the %(count)s dates of its calendar",
            count,
        )
    return ngettext(
        "%(schedule)s, except on the %(count)s date of its calendar",
        "%(schedule)s, except on the %(count)s dates of its calendar",
        count,
    )


def _oneoff(schedule: Schedule) -> str:
    if not schedule.run_at:
        return gettext("never")
    return gettext("once, at %(time)s") % {"time": _local(schedule, schedule.run_at)}


def _minute(schedule: Schedule) -> str:
    if schedule.step == 1:
        return gettext("every minute")
    return gettext("every %(count)s minutes") % {"count": schedule.step}


def _hour(schedule: Schedule) -> str:
    minute, first = schedule.at.minute, schedule.at.hour
    if schedule.hours:
        times = listed(f"{hour:02}:{minute:02}" for hour in schedule.hours)
        return gettext("every day at %(times)s") % {"times": times}
    values = {"count": schedule.step, "minute": minute, "start": f"{schedule.at:%H:%M}"}
    if schedule.step == 1:
        if first:
            return gettext("every hour at minute %(minute)s, from %(start)s on each day") % values
        return gettext("every hour at minute %(minute)s") % values
    return gettext("every %(count)s hours from %(start)s on each day") % values


def _day(schedule: Schedule) -> str:
    return gettext("every day at %(times)s") % {"times": f"{schedule.at:%H:%M}"}


def _week(schedule: Schedule) -> str:
    days = listed(gettext(WEEKDAYS[day]) for day in schedule.weekdays)
    return gettext("every %(weekdays)s at %(time)s") % {"weekdays": days, "time": f"{schedule.at:%H:%M}"}


def _month(schedule: Schedule) -> str:
    values = {"days": _days(schedule), "time": f"{schedule.at:%H:%M}"}
    return gettext("every month on %(days)s at %(time)s") % values


def _year(schedule: Schedule) -> str:
    months = listed(gettext(MONTHS[month]) for month in schedule.months)
    values = {"days": _days(schedule), "months": months, "time": f"{schedule.at:%H:%M}"}
    return gettext("every year on %(days)s of %(months)s at %(time)s") % values


def _crontab(schedule: Schedule) -> str:
    crontab = cron.parse(schedule.crontab)
    words = cron_words.in_words(crontab)
    said = gettext("crontab %(crontab)s: %(words)s") % {
        "crontab": schedule.crontab,
        "words": words[:1].lower() + words[1:],
    }
    if not crontab.years:
        return said
    years = listed(map(str, sorted(crontab.years)))
    return gettext("%(schedule)s in %(years)s") % {"schedule": said, "years": years}


def _window(schedule: Schedule, said: str) -> str:
    start, end = schedule.window_start, schedule.window_end
    values = {
        "schedule": said,
        "start": f"{start:%H:%M}" if start is not None else "",
        "end": f"{end:%H:%M}" if end is not None else "",
    }
    if start and end:
        if start > end:
            return gettext("%(schedule)s, between %(start)s and %(end)s of the next day") % values
        return gettext("%(schedule)s, between %(start)s and %(end)s") % values
    if start is not None:
        return gettext("%(schedule)s, not before %(start)s") % values
    return said if end is None else gettext("%(schedule)s, not after %(end)s") % values


def _days(schedule: Schedule) -> str:
    numbers = [str(day) for day in schedule.month_days if day > 0]
    last = -1 in schedule.month_days
    if not numbers:
        return gettext("the last day") if last else ""
    days = ngettext("day %(days)s", "days %(days)s", len(numbers)) % {"days": listed(numbers)}
    return gettext("%(days)s and the last day") % {"days": days} if last else days


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
