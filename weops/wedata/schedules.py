"""WeData writes every schedule as a cycle and a crontab expression; tasks here have a cycle and its columns. Both ways.

    DAY_CYCLE    0 30 2 * * ? *        every day at 02:30
    HOUR_CYCLE   0 15 0/3 * * ? *      every 3 hours from 00:15 on;  0 0 2,8 * * ? *  at 2 and 8
    MINUTE_CYCLE 0 0/5 * * * ? *       every 5 minutes
    WEEK_CYCLE   0 0 3 ? * MON,FRI *   MONTH_CYCLE 0 0 3 1,L * ? *   YEAR_CYCLE 0 0 3 1 6 ? *
    CRONTAB_CYCLE                      any expression, as it is
    ONEOFF_CYCLE 0 30 2 25 3 ? 2026    or the day of StartTime at the expression's time

Expressions have 7 or 6 fields as Quartz writes them, or 5.
"""

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from instances.engine.schedule import Cycle

DEFAULT_CRONTAB = "0 0 0 * * ? *"
_ANY = ("*", "?")
_EVERY_DAY = ("*", "?", "*/1", "1/1")
_DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
LAST_DAY = -1

Columns = dict[str, Any]


class CrontabError(ValueError):
    """An expression that is none of its cycle; the message says what to write."""


def columns(cycle: Cycle, expression: str) -> Columns:
    """Columns of a task for a cycle's expression; all of those that other cycles use are at their defaults.

    Raises CrontabError. One-off tasks need more than this: `oneoff`.
    """
    found: Columns = {
        "step": 1, "at": dt.time(0), "hours": [], "weekdays": [], "month_days": [], "months": [], "crontab": "", "run_at": None,
    }  # fmt: skip
    if cycle is Cycle.CRONTAB:
        return found | {"crontab": expression.strip()}
    return found | _READERS[cycle](_Fields(expression))


def oneoff(expression: str, start: dt.datetime | None) -> dt.datetime:
    """When a one-off task runs, on its own clock. Raises CrontabError."""
    fields = _Fields(expression or DEFAULT_CRONTAB)
    day, month, year = fields.month_day, fields.month, fields.year
    at = fields.time() if expression else dt.time(0)
    if day.isdecimal() and month.isdecimal() and year.isdecimal():
        try:
            return dt.datetime.combine(dt.date(int(year), int(month), int(day)), at)
        except ValueError:
            raise CrontabError(f"{expression!r} names a day that does not exist.") from None
    if start is None:
        raise CrontabError(
            "A one-off task needs its day: a StartTime, or an expression such as 0 30 2 25 3 ? 2026."
        )
    return start if not expression else max(start, dt.datetime.combine(start.date(), at))


def expression(task: Any, run_at: dt.datetime | None = None) -> str:
    """The crontab expression of a task's columns, with 7 fields. `run_at`: of a one-off task, on its own clock."""
    cycle = Cycle(task.cycle_type)
    minute, hour = task.at.minute, task.at.hour
    if cycle is Cycle.CRONTAB:
        return str(task.crontab)
    if cycle is Cycle.ONEOFF:
        if run_at is None:
            return ""
        return f"{run_at.second} {run_at.minute} {run_at.hour} {run_at.day} {run_at.month} ? {run_at.year}"
    if cycle is Cycle.MINUTE:
        return f"0 0/{task.step} * * * ? *"
    if cycle is Cycle.HOUR:
        hours = _joined(task.hours) if task.hours else f"{hour}/{task.step}"
        return f"0 {minute} {hours} * * ? *"
    if cycle is Cycle.WEEK:
        days = ",".join(_DAY_NAMES[day % 7] for day in task.weekdays)
        return f"0 {minute} {hour} ? * {days} *"
    days = ",".join("L" if day == LAST_DAY else str(day) for day in task.month_days) or "*"
    return f"0 {minute} {hour} {days} {_joined(task.months) or '*'} ? *"


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


class _Fields:
    """The fields of an expression by name. `sunday`: its number in the day-of-week field."""

    def __init__(self, expression: str) -> None:
        words = expression.upper().split()
        if not 5 <= len(words) <= 7:
            raise CrontabError(
                f"{expression[:80]!r} has {len(words)} fields; write 7, such as {DEFAULT_CRONTAB}."
            )
        self.expression = expression[:80]
        self.sunday = 0 if len(words) == 5 else 1
        if len(words) == 5:
            words = ["0", *words]
        self.second, self.minute, self.hour, self.month_day, self.month, self.weekday = words[:6]
        self.year = words[6] if len(words) == 7 else "*"
        if self.second != "0" and not (self.second.isdecimal() and int(self.second) == 0):
            raise CrontabError(
                f"{self.expression!r}: schedules are exact to the minute; write 0 as the second."
            )

    def wrong(self, cycle: Cycle, example: str) -> CrontabError:
        return CrontabError(
            f"{self.expression!r} is no schedule of {cycle.value}_CYCLE; write one such as {example}."
        )

    def time(self) -> dt.time:
        """One time of day. Raises CrontabError."""
        hours, minutes = numbers(self.hour, 0, 23), numbers(self.minute, 0, 59)
        if len(hours) != 1 or len(minutes) != 1:
            raise CrontabError(f"{self.expression!r}: write one hour and one minute.")
        return dt.time(hours[0], minutes[0])

    def days_are_free(self) -> bool:
        return (
            self.month_day in _EVERY_DAY and self.month in _ANY and self.weekday in _ANY and self.year in _ANY
        )


def numbers(text: str, low: int, high: int, names: Sequence[str] = ()) -> list[int]:
    """The numbers of a field, ascending: `*`, `2,8`, `0-5`, `*/2`, `3/4`; `names` count from `low`. Raises CrontabError."""
    found: set[int] = set()
    for term in text.split(","):
        body, _, step = term.partition("/")
        first, dash, last = body.partition("-")
        begin = low if body in _ANY else _number(first, names, low)
        end = _number(last, names, low) if dash else (high if body in _ANY or step else begin)
        by = _number(step, (), low) if step else 1
        if not (low <= begin <= end <= high) or by < 1:
            raise CrontabError(f"{text[:80]!r}: write numbers from {low} to {high}.")
        found |= set(range(begin, end + 1, by))
    return sorted(found)


def _number(text: str, names: Sequence[str], low: int) -> int:
    if text in names:
        return names.index(text) + low
    if not text.isdecimal() or len(text) > 4:
        raise CrontabError(f"{text[:80]!r} is no number of a crontab field.")
    return int(text)


def _minute(fields: _Fields) -> Columns:
    found = numbers(fields.minute, 0, 59)
    step = found[1] - found[0] if len(found) > 1 else 60
    regular = not 60 % step and found == list(range(0, 60, step))
    if not regular or step == 60 or fields.hour not in _ANY or not fields.days_are_free():
        raise fields.wrong(Cycle.MINUTE, "0 0/5 * * * ? *, with a divisor of 60")
    return {"step": step}


def _hour(fields: _Fields) -> Columns:
    minutes, hours = numbers(fields.minute, 0, 59), numbers(fields.hour, 0, 23)
    if len(minutes) != 1 or not fields.days_are_free():
        raise fields.wrong(Cycle.HOUR, "0 0 0/2 * * ? * or 0 0 2,8 * * ? *")
    first, steps = hours[0], {after - before for before, after in pairwise(hours)}
    # Regular to the end of the day: a step. All else is a choice of hours.
    if len(steps) == 1 and hours[-1] + min(steps) > 23:
        return {"step": min(steps), "at": dt.time(first, minutes[0])}
    return {"hours": hours, "at": dt.time(0, minutes[0])}


def _day(fields: _Fields) -> Columns:
    if not fields.days_are_free():
        raise fields.wrong(Cycle.DAY, "0 30 2 * * ? *")
    return {"at": fields.time()}


def _week(fields: _Fields) -> Columns:
    if fields.month_day not in _EVERY_DAY or fields.month not in _ANY or fields.weekday in _ANY:
        raise fields.wrong(Cycle.WEEK, "0 0 3 ? * MON,FRI *")
    # 5 fields: Sunday is 0 and 7; Quartz: Sunday is 1.
    days = numbers(fields.weekday, fields.sunday, 7, _DAY_NAMES)
    found = {(day - fields.sunday) % 7 or 7 for day in days}
    return {"at": fields.time(), "weekdays": sorted(found)}


def _month_days(fields: _Fields, cycle: Cycle, example: str) -> list[int]:
    if fields.weekday not in _ANY or fields.month_day == "?" or fields.year not in _ANY:
        raise fields.wrong(cycle, example)
    terms = fields.month_day.split(",")
    plain = ",".join(term for term in terms if term != "L")
    days = numbers(plain, 1, 31) if plain else []
    return days + ([LAST_DAY] if "L" in terms else [])


def _month(fields: _Fields) -> Columns:
    example = "0 0 3 1,L * ? *"
    if fields.month not in _ANY:
        raise fields.wrong(Cycle.MONTH, example)
    return {"at": fields.time(), "month_days": _month_days(fields, Cycle.MONTH, example)}


def _year(fields: _Fields) -> Columns:
    example = "0 0 3 1 6 ? *"
    if fields.month in _ANY:
        raise fields.wrong(Cycle.YEAR, example)
    return {
        "at": fields.time(),
        "month_days": _month_days(fields, Cycle.YEAR, example),
        "months": numbers(fields.month, 1, 12, _MONTH_NAMES),
    }


def _oneoff(fields: _Fields) -> Columns:
    # Its moment is `run_at`, which `oneoff` reads; a time of day besides is refused.
    fields.time()
    return {}


_READERS = {
    Cycle.MINUTE: _minute,
    Cycle.HOUR: _hour,
    Cycle.DAY: _day,
    Cycle.WEEK: _week,
    Cycle.MONTH: _month,
    Cycle.YEAR: _year,
    Cycle.ONEOFF: _oneoff,
}
