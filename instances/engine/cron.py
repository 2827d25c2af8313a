"""Crontab expressions, in two dialects, on the library cronsim (the only module that imports it).

    5 fields         minute hour day-of-month month day-of-week                  weekday 0 or 7 = Sunday
    6 or 7 fields    second minute hour day-of-month month day-of-week [year]    Quartz; weekday 1 = Sunday

Both are read here into one form: a set of times of day, and a day expression that cronsim walks on naive
local dates. Time zones and daylight saving are the caller's. In the 5-field dialect, when neither day field
starts with `*`, a day matches if either field does (classic cron); otherwise both must. Quartz wants `?` in
one of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from instances.language import gettext

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_MIDNIGHT = time(0, 0)
_MAX_CHARS = 250
_PROBE = date(2000, 1, 1)  # where the search for "does it ever match" begins

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}
_WEEKDAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_RANGES = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day-of-month": (1, 31),
    "month": (1, 12),
    "year": (1970, 2099),
}
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_TERM = re.compile(r"(?:(?P<star>\*)|(?P<first>[0-9A-Z]+)(?:-(?P<last>[0-9A-Z]+))?)(?:/(?P<step>[0-9]+))?\Z")
_SPECIAL_WEEKDAY = re.compile(r"(?P<day>[0-7]|[A-Z]{3})(?:(?P<last>L)|#(?P<nth>[1-5]))\Z")


class CronError(ValueError):
    """An expression that cannot be used; the message says what is wrong and what to write instead."""


@dataclass(frozen=True, slots=True)
class Crontab:
    """A parsed expression: `times` of day (ascending), on the days that `day_expression` matches, in `years`.

    `years` is None for any year. `words` describes it in English, without the years.
    """

    times: tuple[time, ...]
    day_expression: str
    years: frozenset[int] | None
    words: str

    def dates(self, start: date, backwards: bool = False) -> Iterator[date]:
        """Matching dates from `start` on (itself included), ascending, or descending if `backwards`."""
        if self.years is None:
            yield from _walk(self.day_expression, start, backwards)
            return
        for year in sorted(self.years, reverse=backwards):
            first, last = date(year, 1, 1), date(year, 12, 31)
            begin = min(start, last) if backwards else max(start, first)
            if not first <= begin <= last:
                continue
            for day in _walk(self.day_expression, begin, backwards):
                if day.year != year:
                    break
                yield day

    def matches(self, day: date) -> bool:
        if self.years is not None and day.year not in self.years:
            return False
        return next(_walk(self.day_expression, day), None) == day


def _walk(day_expression: str, start: date, backwards: bool = False) -> Iterator[date]:
    # cronsim answers strictly after (or before) the moment given, and gives up after 50 years without one.
    begin = datetime.combine(start, _MIDNIGHT) + (_SECOND if backwards else -_SECOND)
    try:
        for moment in CronSim(day_expression, begin, backwards):
            yield moment.date()
    except OverflowError:  # the end of the calendar
        return


@lru_cache(maxsize=4096)
def parse(expression: str) -> Crontab:
    """Read an expression of either dialect; raises CronError."""
    fields = expression.upper().split()
    if len(expression) > _MAX_CHARS:
        message = gettext("A crontab has at most %(most)s characters; this one has %(count)s.")
        raise CronError(message % {"most": _MAX_CHARS, "count": len(expression)})
    if len(fields) not in (5, 6, 7):
        raise CronError(_wrong_length(expression.strip(), len(fields)))
    quartz = len(fields) > 5
    if quartz:
        _check_quartz(fields[0], fields[3], fields[5])
        fields[3], fields[5] = ("*" if field == "?" else field for field in (fields[3], fields[5]))
    minute, hour, month_day, month, weekday = fields[1:6] if quartz else fields
    minute, hour = _numbers("minute", minute), _numbers("hour", hour)
    days = (
        f"{_numbers('day-of-month', month_day)} {_numbers('month', month)} {_weekdays(weekday, int(quartz))}"
    )
    years = _years(fields[6]) if len(fields) == 7 else None
    try:
        words = CronSim(f"{minute} {hour} {days}", datetime.combine(_PROBE, _MIDNIGHT)).explain()
        crontab = Crontab(_times(minute, hour), f"0 0 {days}", years, words)
    except CronSimError as error:  # fields were checked one by one, so this is a day that no month has
        raise CronError(_never(expression)) from error
    if next(crontab.dates(_PROBE if years is None else date(min(years), 1, 1)), None) is None:
        raise CronError(_never(expression))
    return crontab


def without_years(expression: str) -> str:
    """The same expression for any year (used to continue a schedule past its last year)."""
    return " ".join(expression.split()[:6])


def _never(expression: str) -> str:
    return gettext(
        "%(crontab)r never matches: there is no such date. Choose a day that the month has, or L."
    ) % {"crontab": expression}


def _wrong_length(expression: str, count: int) -> str:
    if expression.lower() in _MACROS:
        message = gettext("%(crontab)r is a nickname; write %(instead)r instead.")
        return message % {"crontab": expression, "instead": _MACROS[expression.lower()]}
    return gettext(
        "A crontab has 5 fields (minute hour day-of-month month day-of-week) or 7 (Quartz, with second first"
        " and year last); %(crontab)r has %(count)s. Write for example '30 2 * * *' or '0 30 2 * * ? *'."
    ) % {"crontab": expression, "count": count}


def _check_quartz(second: str, month_day: str, weekday: str) -> None:
    if second not in ("0", "00"):
        message = gettext("The second is %(second)r, but tasks are scheduled by the minute: write 0.")
        raise CronError(message % {"second": second})
    if (month_day == "?") == (weekday == "?"):
        raise CronError(
            gettext(
                "With a second (Quartz), exactly one of day-of-month %(day)r and day-of-week %(weekday)r"
                " must be ?, as in '0 0 2 * * ? *' or '0 0 2 ? * MON-FRI *'."
            )
            % {"day": month_day, "weekday": weekday}
        )


def _times(minute: str, hour: str) -> tuple[time, ...]:
    """Times of day, found by asking cronsim for one hour's minutes and one day's hours."""
    before = datetime.combine(_PROBE, _MIDNIGHT) - _SECOND
    minutes = _until(CronSim(f"{minute} 0 * * *", before), before + timedelta(hours=1))
    hours = _until(CronSim(f"0 {hour} * * *", before), before + _DAY)
    return tuple(time(h.hour, m.minute) for h in hours for m in minutes)


def _until(moments: CronSim, end: datetime) -> list[datetime]:
    found = []
    for moment in moments:
        if moment > end:
            break
        found.append(moment)
    return found


def _numbers(name: str, text: str) -> str:
    """One field other than day-of-week, checked term by term, names replaced by numbers."""
    return ",".join(_number_term(name, text, term) for term in text.split(","))


def _number_term(name: str, text: str, term: str) -> str:
    if name == "day-of-month" and term in ("L", "LW"):
        return term
    if term == "?":
        raise _bad(name, text, _not_quartz())
    if name == "day-of-month" and re.fullmatch(r"[0-9]+W|W[0-9]*|L-[0-9]+W?", term):
        advice = gettext(
            "nearest weekday (15W) and days before the last (L-3) are not supported; list the days."
        )
        raise _bad(name, text, advice)
    low, high = _RANGES[name]
    first, last, step = _bounds(name, text, term, _MONTHS if name == "month" else {}, low, high)
    if first > last:
        raise _bad(name, text, _backwards(f"{first}-{high},{low}-{last}"))
    if first == last:
        return str(first)
    body = "*" if term.startswith("*") else f"{first}-{last}"
    return f"{body}/{step}" if step > 1 else body


def _bounds(
    name: str, text: str, term: str, names: dict[str, int], low: int, high: int
) -> tuple[int, int, int]:
    """First, last and step of `*`, `a`, `a-b`, each with an optional `/step` (`a/step` runs to the end)."""
    match = _TERM.match(term)
    if match is None:
        raise _bad(name, text, _allowed(low, high, names))
    step = int(match["step"] or 1)
    if step < 1 or step > max(high - low, 1):
        raise _bad(name, text, gettext("a step must be 1 to %(most)s.") % {"most": high - low})
    if match["star"]:
        return low, high, step
    written = [end for end in (match["first"], match["last"]) if end]
    ends = [names[end] if end in names else int(end) if end.isdigit() else -1 for end in written]
    if not all(low <= end <= high for end in ends):
        raise _bad(name, text, _allowed(low, high, names))
    last = ends[1] if len(ends) == 2 else high if match["step"] else ends[0]
    return ends[0], last, step


def _allowed(low: int, high: int, names: dict[str, int]) -> str:
    values = {"low": low, "high": high, "two": f"{low},{low + 2}", "range": f"{low}-{high}"}
    if names:
        named = {"first": next(iter(names)), "last": list(names)[-1]}
        message = gettext(
            "write * or numbers %(low)s to %(high)s or %(first)s..%(last)s,"
            " as in %(two)s or %(range)s or */2."
        )
        return message % {**values, **named}
    return gettext("write * or numbers %(low)s to %(high)s, as in %(two)s or %(range)s or */2.") % values


def _not_quartz() -> str:
    return gettext("? is for a day field of a Quartz expression (6 or 7 fields); write *.")


def _backwards(instead: str) -> str:
    return gettext("a range must not go backwards; write %(instead)s.") % {"instead": instead}


def _bad(name: str, text: str, advice: str) -> CronError:
    values = {"field": name, "text": text, "advice": advice}
    return CronError(gettext("The %(field)s field %(text)r cannot be used: %(advice)s") % values)


def _weekdays(text: str, sunday: int) -> str:
    """The day-of-week field as cronsim reads it (0 = Sunday); `sunday` is the dialect's number of Sunday."""
    return ",".join(_weekday_term(text, term, sunday) for term in text.split(","))


def _weekday_term(text: str, term: str, sunday: int) -> str:
    name = "day-of-week"
    if term == "?":
        raise _bad(name, text, _not_quartz())
    if term == "L":
        advice = gettext("write which weekday of the month is meant, as in FRIL (or L in day-of-month).")
        raise _bad(name, text, advice)
    names = {day: number + sunday for day, number in _WEEKDAYS.items()}
    low, high = sunday, 7
    if special := _SPECIAL_WEEKDAY.match(term):
        first, _, _ = _bounds(name, text, special["day"], names, low, high)
        return f"{(first - sunday) % 7}{'L' if special['last'] else '#' + special['nth']}"
    first, last, step = _bounds(name, text, term, names, low, high)
    if term.startswith("*"):
        return f"*/{step}" if step > 1 else "*"  # a leading star decides how the two day fields combine
    if last < first:
        last += 7  # a range may wrap around the week: FRI-MON
    elif "-" not in term and "/" in term:
        last = max(first, sunday + 6)
    numbers = dict.fromkeys((day - sunday) % 7 for day in range(first, last + 1, step))
    return ",".join(map(str, numbers))


def _years(text: str) -> frozenset[int] | None:
    if text == "*":
        return None
    years: set[int] = set()
    low, high = _RANGES["year"]
    for term in text.split(","):
        first, last, step = _bounds("year", text, term, {}, low, high)
        if first > last:
            raise _bad("year", text, _backwards(f"{last}-{first}"))
        years.update(range(first, last + 1, step))
    return frozenset(years)
