"""The words of a schedule: Cycle, Schedule, Occurrence, ScheduleError. `schedule.py` is the front door."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any

from instances.language import gettext, listed_plainly
from instances.language import gettext_noop as _


class Cycle(StrEnum):
    ONEOFF = "ONEOFF"
    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"
    CRONTAB = "CRONTAB"


class Generation(StrEnum):
    T_PLUS_0 = "T_PLUS_0"
    T_PLUS_1 = "T_PLUS_1"


class CalendarMode(StrEnum):
    NONE = ""
    RUN_ONLY = "RUN_ONLY"
    SKIP = "SKIP"


class ScheduleError(ValueError):
    """A schedule that cannot be used: which field, what is wrong, and what to write instead."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


# The fields that each cycle reads; every cycle also reads the ones in _COMMON.
_COMMON = {"cycle", "timezone", "generation"}
_COMMON |= {"effective_from", "effective_to", "calendar_mode", "calendar_dates"}
CYCLE_FIELDS: dict[Cycle, frozenset[str]] = {
    Cycle.ONEOFF: frozenset(_COMMON | {"run_at"}),
    Cycle.MINUTE: frozenset(_COMMON | {"step", "window_start", "window_end"}),
    Cycle.HOUR: frozenset(_COMMON | {"step", "hours", "at", "window_start", "window_end"}),
    Cycle.DAY: frozenset(_COMMON | {"at"}),
    Cycle.WEEK: frozenset(_COMMON | {"at", "weekdays"}),
    Cycle.MONTH: frozenset(_COMMON | {"at", "month_days"}),
    Cycle.YEAR: frozenset(_COMMON | {"at", "month_days", "months"}),
    Cycle.CRONTAB: frozenset(_COMMON | {"crontab"}),
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a task is due. Hashable: equal schedules share memoised results (so share calendar objects too).

    cycle           what repeats
    timezone        IANA name; every local time and date below is on this zone's wall clock
    step            MINUTE: a divisor of 60 below it; HOUR: every n hours (1..23) of the day from `at.hour` on
    at              time of day, whole minutes; HOUR: the minute of the hour, and the first hour of a step
    hours           HOUR: chosen hours 0..23 instead of a step
    weekdays        WEEK: 1 (Monday) .. 7
    month_days      MONTH, YEAR: 1..31, -1 = last day of the month; a month without the day is left out
    months          YEAR: 1..12
    crontab         CRONTAB: 5 fields, or Quartz (second first, 6 or 7 fields)
    run_at          ONEOFF: aware
    effective_from, effective_to    aware, both inclusive, tested against the scheduled time
    window_start, window_end        MINUTE, HOUR: inclusive times of day; a start after the end wraps midnight
    calendar_mode   RUN_ONLY or SKIP the `calendar_dates`, tested against the local date as scheduled
    generation      T_PLUS_1 plans each run at the scheduled time of the following one

    Collections may be given in any form and order. Construction raises ScheduleError for an unknown word
    (cycle, generation, calendar mode) and for lists that cannot be sorted; `errors` judges the rest.
    """

    cycle: Cycle
    timezone: str = "UTC"
    step: int = 1
    at: time = time(0, 0)
    hours: tuple[int, ...] = ()
    weekdays: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    months: tuple[int, ...] = ()
    crontab: str = ""
    run_at: datetime | None = None
    effective_from: datetime | None = None
    effective_to: datetime | None = None
    window_start: time | None = None
    window_end: time | None = None
    calendar_mode: str = CalendarMode.NONE
    calendar_dates: frozenset[date] = frozenset()
    generation: str = Generation.T_PLUS_0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cycle", _word("cycle", Cycle, self.cycle))
        object.__setattr__(self, "generation", _word("generation", Generation, self.generation))
        object.__setattr__(self, "calendar_mode", _word("calendar_mode", CalendarMode, self.calendar_mode))
        object.__setattr__(self, "calendar_dates", frozenset(self.calendar_dates))
        for name in ("hours", "weekdays", "month_days", "months"):
            object.__setattr__(self, name, _in_order(name, getattr(self, name)))
        object.__setattr__(self, "crontab", " ".join((self.crontab or "").split()))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schedule:
        """Read what `to_dict` wrote; absent and null fields take their defaults. Raises ScheduleError."""
        if unknown := sorted(set(data) - {f.name for f in fields(cls)}):
            raise ScheduleError(unknown[0], gettext("There is no such field in a schedule."))
        if not data.get("cycle"):
            known = listed_plainly(Cycle)
            raise ScheduleError("cycle", gettext("Write one of %(values)s.") % {"values": known})
        return cls(**{name: _READERS[name](name, value) for name, value in data.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe: the cycle, the time zone and the fields that differ from their defaults."""
        always = {"cycle", "timezone"}
        values = ((f.name, getattr(self, f.name), f.default) for f in fields(self))
        return {name: _plain(value) for name, value, default in values if name in always or value != default}

    def trimmed(self) -> Schedule:
        """The same schedule without the fields that its cycle does not read, as a form leaves them behind."""
        keep = CYCLE_FIELDS[self.cycle]
        unread: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name not in keep}
        return replace(self, **unread)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One due run: its data time (its identity) and the time at which it is to run; both aware, in UTC."""

    data_time: datetime
    planned_time: datetime


def _word(field: str, words: type[StrEnum], value: object) -> StrEnum:
    try:
        return words(str(value))
    except ValueError:
        known = listed_plainly(word.value or gettext("nothing") for word in words)
        message = gettext("%(value)r is not known; write one of %(values)s.")
        raise ScheduleError(field, message % {"value": value, "values": known}) from None


def _in_order(field: str, values: Iterable[int]) -> tuple[int, ...]:
    try:
        return tuple(sorted(set(values)))
    except TypeError:
        message = gettext("%(value)r is not a list of whole numbers.")
        raise ScheduleError(field, message % {"value": values}) from None


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, time):
        return value.isoformat("minutes" if not (value.second or value.microsecond) else "auto")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(day.isoformat() for day in value)
    return list(value) if isinstance(value, tuple) else value


def _reader(kind: type, parse: Callable[[str], Any], shape: str) -> Callable[[str, Any], Any]:
    def read(field: str, value: Any) -> Any:
        if isinstance(value, kind) and (kind is not date or not isinstance(value, datetime)):
            return value
        try:
            return parse(value)
        except (TypeError, ValueError):
            message = gettext("%(value)r cannot be read; write %(shape)s.")
            raise ScheduleError(field, message % {"value": value, "shape": gettext(shape)}) from None

    return read


def _read_text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ScheduleError(field, gettext("%(value)r is not text.") % {"value": value})
    return value


def _read_int(field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ScheduleError(field, gettext("%(value)r is not a whole number.") % {"value": value})
    return value


def _read_all(field: str, value: Any, read: Callable[[str, Any], Any]) -> list[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise ScheduleError(field, gettext("%(value)r is not a list.") % {"value": value})
    return [read(field, item) for item in value]


def _read_ints(field: str, value: Any) -> list[int]:
    return _read_all(field, value, _read_int)


_read_time = _reader(time, time.fromisoformat, _("a time of day such as 02:30"))
_read_date = _reader(date, date.fromisoformat, _("a date such as 2026-03-25"))
_read_datetime = _reader(
    datetime, datetime.fromisoformat, _("a time with its offset, such as 2026-03-25T02:30:00+08:00")
)


def _read_dates(field: str, value: Any) -> frozenset[date]:
    # A calendar that is a frozenset already is kept as it is, so that many schedules can share the object.
    return value if isinstance(value, frozenset) else frozenset(_read_all(field, value, _read_date))


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "cycle": _read_text,
    "timezone": _read_text,
    "step": _read_int,
    "at": _read_time,
    "hours": _read_ints,
    "weekdays": _read_ints,
    "month_days": _read_ints,
    "months": _read_ints,
    "crontab": _read_text,
    "run_at": _read_datetime,
    "effective_from": _read_datetime,
    "effective_to": _read_datetime,
    "window_start": _read_time,
    "window_end": _read_time,
    "calendar_mode": _read_text,
    "calendar_dates": _read_dates,
    "generation": _read_text,
}
