"""A crontab in the words of a reader: the library's own in English, made of its fields here in every other language."""

from __future__ import annotations

from collections.abc import Iterable

from instances import language
from instances.language import gettext, listed, ngettext

from .cron import Crontab
from .weekdays import MONTHS, WEEKDAYS

_DAY = 24 * 60
# So many times of a day, or years, are told one by one.
_FEW = 6


def in_words(crontab: Crontab) -> str:
    """Without its years, like `Crontab.words`."""
    if language.is_english():
        return crontab.words
    month_day, month, weekday = crontab.day_expression.split()[2:]
    parts = [_months(month), _days(month_day, weekday), _times(crontab)]
    return " ".join(filter(None, parts))


def _times(crontab: Crontab) -> str:
    minutes = [one.hour * 60 + one.minute for one in crontab.times]
    gap = _DAY // len(minutes)
    steps = {later - before for before, later in zip(minutes, [*minutes[1:], minutes[0] + _DAY], strict=True)}
    if steps == {gap} and gap == 1:
        return gettext("every minute")
    if steps == {gap} and gap < 60 and not minutes[0]:
        return gettext("every %(count)s minutes") % {"count": gap}
    if steps == {60}:
        return gettext("every hour at minute %(minute)s") % {"minute": minutes[0]}
    told = [f"{one:%H:%M}" for one in crontab.times]
    if len(told) <= _FEW:
        return gettext("at %(times)s") % {"times": listed(told)}
    return gettext("at %(count)s times of the day, the first at %(first)s, the last at %(last)s") % {
        "count": len(told),
        "first": told[0],
        "last": told[-1],
    }


def _months(field: str) -> str:
    numbers = _numbers(field, 1, 12)
    if len(numbers) == 12:
        return ""
    return gettext("in %(months)s") % {"months": listed(gettext(MONTHS[number]) for number in numbers)}


def _days(month_day: str, weekday: str) -> str:
    """The two day fields: both must fit, or either, as in `cron`."""
    by_month, by_week = _month_days(month_day), _week_days(weekday)
    if not by_month or not by_week:
        return by_month or by_week
    if month_day.startswith("*") or weekday.startswith("*"):
        return gettext("on %(month_days)s if it is a %(weekdays)s") % {
            "month_days": by_month,
            "weekdays": by_week,
        }
    return language.either([by_month, by_week])


def _month_days(field: str) -> str:
    if field == "*":
        return ""
    special = {"L": gettext("the last day"), "LW": gettext("the last weekday")}
    terms = field.split(",")
    numbers = _numbers(",".join(term for term in terms if term not in special), 1, 31)
    said = [special[term] for term in terms if term in special]
    if numbers:
        days = ngettext("day %(days)s", "days %(days)s", len(numbers)) % {"days": listed(_runs(numbers))}
        said.insert(0, days)
    return listed(said)


def _week_days(field: str) -> str:
    if field == "*":
        return ""
    said = []
    for term in field.split(","):
        if term.endswith("L"):
            said.append(gettext("the last %(weekday)s of the month") % {"weekday": _weekday(int(term[0]))})
        elif "#" in term:
            values = {"weekday": _weekday(int(term[0])), "number": term[2]}
            said.append(gettext("%(weekday)s number %(number)s of the month") % values)
        else:
            said += [_weekday(number) for number in _numbers(term, 0, 6)]
    return listed(said)


def _weekday(number: int) -> str:
    return gettext(WEEKDAYS[number or 7])


def _numbers(field: str, low: int, high: int) -> list[int]:
    """What the terms `*`, `a`, `a-b`, each with an optional step, stand for."""
    found: set[int] = set()
    for term in filter(None, field.split(",")):
        body, _, step = term.partition("/")
        first, _, last = body.partition("-")
        begin, end = (low, high) if body == "*" else (int(first), int(last or first))
        found.update(range(begin, end + 1, int(step or 1)))
    return sorted(found)


def _runs(numbers: Iterable[int]) -> list[str]:
    """`3`, `5-9`: three and more in a row are told by their ends."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [
        text
        for run in runs
        for text in ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(number) for number in run])
    ]
