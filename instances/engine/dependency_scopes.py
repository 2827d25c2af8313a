"""The scopes of dependencies: which ones each pair of cycles may have, in words, and their offsets.

`D` is the data time of the downstream instance. A scope means the same for every pair that has it; the empty scope is
the first of its pair. `dependencies.py` is the front door. Pure functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from instances.engine.schedule_types import Cycle
from instances.language import either, gettext
from instances.language import gettext_noop as _

# An offset reaches so many units at most, and a range is no longer: a month of minutes.
MOST_OFFSET: Final = 44_640
RANGE, LIST = "RANGE_", "LIST_"
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


class DependencyError(ValueError):
    """A scope or offsets that a pair of cycles cannot have, or a circle; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Scope:
    """`dimension`: the unit it is counted in, which WeData's API calls MainCyclicConfig. `text` follows "waits for"."""

    dimension: str
    text: str

    @property
    def words(self) -> str:
        """`text` in the language of who reads it."""
        return gettext(self.text)


SCOPES: Final[dict[str, Scope]] = {
    "CURRENT_MINUTE": Scope("MINUTE", _("the minute of D")),
    "PREVIOUS_MINUTE_CYCLE": Scope("MINUTE", _("its last data time before D")),
    "CURRENT_HOUR": Scope("HOUR", _("the hour of D")),
    "PREVIOUS_HOUR": Scope("HOUR", _("the hour before that of D")),
    "PREVIOUS_HOUR_LATER_OFFSET_MINUTE": Scope(
        "HOUR", _("the hour before that of D, but for its first instant, and up to D: (-60m, 0]")
    ),
    "PREVIOUS_HOUR_CYCLE": Scope("HOUR", _("its last data time before D")),
    "CURRENT_DAY": Scope("DAY", _("the day of D")),
    "PREVIOUS_DAY": Scope("DAY", _("the day before that of D")),
    "PREVIOUS_DAY_LATER_OFFSET_HOUR": Scope(
        "DAY", _("the day before that of D, but for its first instant, and up to D: (-24h, 0]")
    ),
    "PREVIOUS_DAY_LATER_OFFSET_MINUTE": Scope(
        "DAY", _("the day before that of D, but for its first instant, and up to D: (-1440m, 0]")
    ),
    "ALL_DAY_OF_YEAR": Scope("DAY", _("every day of the year of D")),
    "RECENT_DATE": Scope("DAY", _("its latest data time up to D")),
    "CURRENT_WEEK": Scope("WEEK", _("the week of D, Monday to Sunday")),
    "PREVIOUS_WEEK": Scope("WEEK", _("the week before that of D, Monday to Sunday")),
    "PREVIOUS_FRIDAY": Scope("WEEK", _("Friday of the week before that of D")),
    "PREVIOUS_WEEKEND": Scope("WEEK", _("Sunday of the week before that of D")),
    "CURRENT_MONTH": Scope("MONTH", _("the month of D")),
    "PREVIOUS_MONTH": Scope("MONTH", _("the month before that of D")),
    "PREVIOUS_BEGIN_OF_MONTH": Scope("MONTH", _("the first day of the month before that of D")),
    "PREVIOUS_END_OF_MONTH": Scope("MONTH", _("the last day of the month before that of D")),
    "ALL_MONTH_OF_YEAR": Scope("MONTH", _("every month of the year of D")),
    "CURRENT_YEAR": Scope("YEAR", _("the year of D")),
    "CURRENT": Scope(
        "CRONTAB", _("its latest data time up to D; of a one-off task the one it has, whenever that is")
    ),
    "RANGE_MINUTE": Scope(
        "RANGE_MINUTE", _("the minutes from the first offset to the second, counted from D")
    ),
    "LIST_MINUTE": Scope("LIST_MINUTE", _("exactly the minutes at the offsets, counted from D")),
    "RANGE_HOUR": Scope("RANGE_HOUR", _("the hours from the first offset to the second, counted from D")),
    "LIST_HOUR": Scope("LIST_HOUR", _("exactly the hours at the offsets, counted from D")),
    "RANGE_DAY": Scope("RANGE_DAY", _("the days from the first offset to the second, counted from D")),
    "LIST_DAY": Scope("LIST_DAY", _("exactly the days at the offsets, counted from D")),
}

_MINUTES, _HOURS, _DAYS = "RANGE_MINUTE LIST_MINUTE", "RANGE_HOUR LIST_HOUR", "RANGE_DAY LIST_DAY"
_DAY_OF_WEEK = "PREVIOUS_WEEK PREVIOUS_FRIDAY PREVIOUS_WEEKEND CURRENT_WEEK CURRENT_DAY PREVIOUS_DAY"
_DAY_OF_MONTH = "PREVIOUS_MONTH PREVIOUS_END_OF_MONTH CURRENT_MONTH CURRENT_DAY PREVIOUS_DAY"
_MONTH_OF_YEAR = (
    "ALL_MONTH_OF_YEAR CURRENT_MONTH PREVIOUS_MONTH PREVIOUS_END_OF_MONTH PREVIOUS_BEGIN_OF_MONTH"
)

# downstream <- upstream, the default first. WeData's table; what crontabs and one-off tasks add to it is ADR 11.
_TABLE: Final[dict[Cycle, dict[Cycle, str]]] = {
    Cycle.MINUTE: {
        Cycle.MINUTE: f"CURRENT_MINUTE PREVIOUS_MINUTE_CYCLE {_MINUTES}",
        Cycle.HOUR: f"CURRENT_HOUR {_HOURS}",
        Cycle.DAY: f"CURRENT_DAY {_DAYS}",
        Cycle.WEEK: "CURRENT_WEEK",
        Cycle.MONTH: "CURRENT_MONTH",
        Cycle.YEAR: "CURRENT_YEAR",
        Cycle.CRONTAB: f"RECENT_DATE CURRENT_HOUR CURRENT_DAY {_DAYS}",
        Cycle.ONEOFF: "CURRENT CURRENT_DAY",
    },
    Cycle.HOUR: {
        Cycle.MINUTE: f"PREVIOUS_HOUR_LATER_OFFSET_MINUTE PREVIOUS_HOUR CURRENT_HOUR {_MINUTES}",
        Cycle.HOUR: f"CURRENT_HOUR PREVIOUS_HOUR_CYCLE {_HOURS}",
        Cycle.DAY: f"CURRENT_DAY {_DAYS}",
        Cycle.WEEK: "CURRENT_WEEK",
        Cycle.MONTH: "CURRENT_MONTH",
        Cycle.YEAR: "CURRENT_YEAR",
        Cycle.CRONTAB: f"RECENT_DATE CURRENT_HOUR PREVIOUS_HOUR CURRENT_DAY {_DAYS}",
        Cycle.ONEOFF: "CURRENT CURRENT_DAY",
    },
    Cycle.DAY: {
        Cycle.MINUTE: f"PREVIOUS_DAY_LATER_OFFSET_MINUTE PREVIOUS_DAY CURRENT_DAY {_MINUTES}",
        Cycle.HOUR: f"PREVIOUS_DAY_LATER_OFFSET_HOUR PREVIOUS_DAY CURRENT_DAY {_HOURS}",
        Cycle.DAY: f"CURRENT_DAY {_DAYS}",
        Cycle.WEEK: "CURRENT_WEEK RECENT_DATE",
        Cycle.MONTH: "CURRENT_MONTH RECENT_DATE",
        Cycle.YEAR: "CURRENT_YEAR RECENT_DATE",
        Cycle.CRONTAB: f"CURRENT_DAY PREVIOUS_DAY RECENT_DATE {_DAYS}",
        Cycle.ONEOFF: "CURRENT CURRENT_DAY",
    },
    Cycle.WEEK: {
        Cycle.MINUTE: f"PREVIOUS_WEEK CURRENT_WEEK {_MINUTES}",
        Cycle.HOUR: f"PREVIOUS_WEEK CURRENT_WEEK {_HOURS}",
        Cycle.DAY: f"{_DAY_OF_WEEK} {_DAYS}",
        Cycle.WEEK: "CURRENT_WEEK RECENT_DATE",
        Cycle.MONTH: "CURRENT_MONTH RECENT_DATE",
        Cycle.YEAR: "CURRENT_YEAR",
        Cycle.CRONTAB: f"CURRENT_WEEK PREVIOUS_WEEK CURRENT_DAY PREVIOUS_DAY RECENT_DATE {_DAYS}",
        Cycle.ONEOFF: "CURRENT CURRENT_WEEK",
    },
    Cycle.MONTH: {
        Cycle.MINUTE: f"PREVIOUS_MONTH CURRENT_MONTH {_MINUTES}",
        Cycle.HOUR: f"PREVIOUS_MONTH CURRENT_MONTH {_HOURS}",
        Cycle.DAY: f"{_DAY_OF_MONTH} {_DAYS}",
        Cycle.WEEK: "PREVIOUS_MONTH CURRENT_MONTH RECENT_DATE",
        Cycle.MONTH: "CURRENT_MONTH RECENT_DATE",
        Cycle.YEAR: "CURRENT_YEAR",
        Cycle.CRONTAB: f"CURRENT_MONTH PREVIOUS_MONTH CURRENT_DAY PREVIOUS_DAY RECENT_DATE {_DAYS}",
        Cycle.ONEOFF: "CURRENT CURRENT_MONTH",
    },
    Cycle.YEAR: {
        Cycle.MINUTE: f"CURRENT_YEAR {_MINUTES}",
        Cycle.HOUR: f"CURRENT_YEAR {_HOURS}",
        Cycle.DAY: f"ALL_DAY_OF_YEAR CURRENT_DAY PREVIOUS_DAY {_DAYS}",
        Cycle.WEEK: "CURRENT_YEAR",
        Cycle.MONTH: f"{_MONTH_OF_YEAR} RECENT_DATE",
        Cycle.YEAR: "CURRENT_YEAR RECENT_DATE",
        Cycle.CRONTAB: f"CURRENT_YEAR CURRENT_DAY PREVIOUS_DAY RECENT_DATE {_DAYS}",
        Cycle.ONEOFF: "CURRENT CURRENT_YEAR",
    },
    Cycle.CRONTAB: {
        Cycle.MINUTE: f"RECENT_DATE CURRENT_HOUR PREVIOUS_HOUR CURRENT_DAY PREVIOUS_DAY {_MINUTES}",
        Cycle.HOUR: f"RECENT_DATE CURRENT_HOUR CURRENT_DAY PREVIOUS_DAY {_HOURS}",
        Cycle.DAY: f"CURRENT_DAY PREVIOUS_DAY RECENT_DATE {_DAYS}",
        Cycle.WEEK: "CURRENT_WEEK RECENT_DATE",
        Cycle.MONTH: "CURRENT_MONTH RECENT_DATE",
        Cycle.YEAR: "CURRENT_YEAR RECENT_DATE",
        Cycle.CRONTAB: "CURRENT",
        Cycle.ONEOFF: "CURRENT CURRENT_DAY",
    },
    Cycle.ONEOFF: {
        Cycle.MINUTE: "CURRENT_DAY",
        Cycle.HOUR: "CURRENT_DAY",
        Cycle.DAY: "CURRENT_DAY",
        Cycle.WEEK: "CURRENT_WEEK",
        Cycle.MONTH: "CURRENT_MONTH",
        Cycle.YEAR: "CURRENT_YEAR",
        Cycle.CRONTAB: "CURRENT_DAY RECENT_DATE",
        Cycle.ONEOFF: "CURRENT CURRENT_DAY",
    },
}
_PAIRS: Final = {(below, above): tuple(_TABLE[below][above].split()) for below in Cycle for above in Cycle}


def scopes(downstream: Cycle, upstream: Cycle) -> tuple[str, ...]:
    """The scopes that a dependency between two cycles may have, the default first."""
    return _PAIRS[downstream, upstream]


def takes_offsets(scope: str) -> bool:
    """Whether it is a range or a list."""
    return scope.startswith((RANGE, LIST))


def problem(scope: str, downstream: Cycle, upstream: Cycle, offsets: str = "") -> str:
    """What is wrong with a scope (empty: the default) and its offsets, and what to write instead; or an empty text."""
    known = scopes(downstream, upstream)
    if scope and scope not in known:
        message = gettext("%(scope)r is no scope of %(cycle)s on %(upstream)s; choose %(scopes)s.")
        return message % {
            "scope": scope[:60],
            "cycle": downstream,
            "upstream": upstream,
            "scopes": either(known),
        }
    try:
        offsets_of(scope or known[0], offsets)
    except DependencyError as error:
        return str(error)
    return ""


@lru_cache(maxsize=4096)
def offsets_of(scope: str, text: str) -> tuple[int, ...]:
    """The numbers in `text`, such as "-1,0": of a range its ends, of a list its members in order, else none.

    Raises DependencyError for what the scope cannot have.
    """
    if not takes_offsets(scope):
        if text.strip():
            message = gettext("%(scope)s takes no offsets; clear them, or choose a range or a list.")
            raise DependencyError(message % {"scope": scope})
        return ()
    words = text.split(",") if text.strip() else []
    is_range = scope.startswith(RANGE)
    if not all(_NUMBER.fullmatch(word.strip()) for word in words):
        raise _offset_error(
            _("%(text)r are no offsets: write whole %(units)s with commas between, such as -1,0."),
            scope,
            text,
        )
    numbers = [int(word) for word in words]
    if is_range and (len(numbers) != 2 or numbers[0] > numbers[1]):
        raise _offset_error(
            _("%(scope)s takes two offsets in %(units)s, the earlier first, such as -1,0."), scope, text
        )
    if not numbers:
        raise _offset_error(
            _("%(scope)s takes the %(units)s to wait for, counted from D, such as -1 or -7,-1."), scope, text
        )
    if max(map(abs, numbers)) > MOST_OFFSET or (is_range and numbers[1] - numbers[0] > MOST_OFFSET):
        raise _offset_error(
            _(
                "%(scope)s %(text)s reaches too far: offsets, and the length of a range, "
                "are at most %(most)s %(units)s."
            ),
            scope,
            text,
        )
    return tuple(numbers) if is_range else tuple(sorted(set(numbers)))


_UNITS: Final = {"MINUTE": _("minutes"), "HOUR": _("hours"), "DAY": _("days")}


def _offset_error(message: str, scope: str, text: str) -> DependencyError:
    values = {
        "scope": scope,
        "text": text[:60],
        "units": gettext(_UNITS[scope.partition("_")[2]]),
        "most": f"{MOST_OFFSET:,}",
    }
    return DependencyError(gettext(message) % values)


def canonical(scope: str, text: str) -> str:
    """Offsets as they are kept: "+0, -7" of a list becomes "-7,0". Raises DependencyError like `offsets_of`."""
    return ",".join(map(str, offsets_of(scope, text)))
