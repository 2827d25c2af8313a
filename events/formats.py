"""Names, cycles, units and data times of events. Pure functions, standard library only.

A data time is a text of digits in the format of its event's cycle:

    DAY yyyyMMdd    HOUR yyyyMMddHH    MIN yyyyMMddHHmm    SECOND yyyyMMddHHmmss

It is what a clock on the wall shows, without a zone. Where it must be a datetime it is carried as if it were UTC.
"""

import datetime as dt
import re
from dataclasses import dataclass
from enum import StrEnum

# Data times that one range may have.
MOST_IN_RANGE = 100_000


class EventCycle(StrEnum):
    DAY = "DAY"
    HOUR = "HOUR"
    MIN = "MIN"
    SECOND = "SECOND"


class Unit(StrEnum):
    """Units of a time to live and of a maximum wait."""

    SECONDS = "SECONDS"
    MINUTES = "MINUTES"
    HOURS = "HOURS"
    DAYS = "DAYS"


FORMATS: dict[EventCycle, str] = {
    EventCycle.DAY: "yyyyMMdd",
    EventCycle.HOUR: "yyyyMMddHH",
    EventCycle.MIN: "yyyyMMddHHmm",
    EventCycle.SECOND: "yyyyMMddHHmmss",
}
STEPS: dict[EventCycle, dt.timedelta] = {
    EventCycle.DAY: dt.timedelta(days=1),
    EventCycle.HOUR: dt.timedelta(hours=1),
    EventCycle.MIN: dt.timedelta(minutes=1),
    EventCycle.SECOND: dt.timedelta(seconds=1),
}
_UNIT_SECONDS: dict[Unit, int] = {Unit.SECONDS: 1, Unit.MINUTES: 60, Unit.HOURS: 3600, Unit.DAYS: 86400}
_CYCLE_OF_LENGTH = {len(text): cycle for cycle, text in FORMATS.items()}
_EXAMPLE = dt.datetime(2026, 3, 25, 8, 30, tzinfo=dt.UTC)
_SEPARATORS = re.compile(r"[-/:. T_]")
_DIGITS = re.compile(r"[0-9]+\Z", re.ASCII)
NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,19}\Z")


def gettext_noop(message: str) -> str:
    """Marks a message for the catalogues of translations; `events.words` tells it in the reader's language."""
    return message


class DataTimeError(ValueError):
    """A data time that cannot be; `message`, filled in with `facts`, says what to write instead."""

    def __init__(self, message: str, **facts: str) -> None:
        super().__init__(message % facts)
        self.message, self.facts = message, facts


@dataclass(frozen=True, slots=True)
class Reading:
    """What somebody most likely meant by a text: a wall clock (as if UTC), as exact as the cycle."""

    cycle: EventCycle
    clock: dt.datetime


def _clock(digits: str) -> dt.datetime | None:
    """The wall clock of 8, 10, 12 or 14 digits, None if there is no such time."""
    parts = [digits[:4], *(digits[place : place + 2] for place in range(4, len(digits), 2))]
    try:
        return dt.datetime(*map(int, parts), tzinfo=dt.UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None


def parse(text: str, cycle: EventCycle) -> dt.datetime:
    """The wall clock (as if UTC) of a data time. Raises DataTimeError."""
    wanted = FORMATS[cycle]
    found = _clock(text) if _DIGITS.match(text) and len(text) == len(wanted) else None
    if found is None:
        example = format_clock(_EXAMPLE, cycle)
        raise DataTimeError(
            gettext_noop("%(text)r is no data time in the format %(wanted)s; write it as %(example)s."),
            text=text[:40],
            wanted=wanted,
            example=example,
        )
    return found


def format_clock(clock: dt.datetime, cycle: EventCycle) -> str:
    """The data time of a wall clock, whatever its zone says; what is finer than the cycle is dropped."""
    # Not strftime, which drops the leading zeros of early years on some systems.
    digits = f"{clock.year:04d}{clock.month:02d}{clock.day:02d}{clock.hour:02d}{clock.minute:02d}{clock.second:02d}"
    return digits[: len(FORMATS[cycle])]


def read(text: str) -> Reading | None:
    """Any data time that people write, separators or not, whatever its length; None if it is none."""
    digits = _SEPARATORS.sub("", text.strip())
    cycle = _CYCLE_OF_LENGTH.get(len(digits))
    if cycle is None or not _DIGITS.match(digits):
        return None
    clock = _clock(digits)
    return None if clock is None else Reading(cycle, clock)


def shifted(text: str, cycle: EventCycle, steps: int) -> str | None:
    """The data time so many cycles later; None beyond the calendar."""
    try:
        return format_clock(parse(text, cycle) + steps * STEPS[cycle], cycle)
    except OverflowError:
        return None


def span(first: str, last: str, cycle: EventCycle) -> list[str]:
    """Every data time from `first` to `last`, both included. Raises DataTimeError."""
    begin, end = parse(first, cycle), parse(last, cycle)
    if end < begin:
        raise DataTimeError(
            gettext_noop("The range ends at %(last)s, before it begins at %(first)s."), first=first, last=last
        )
    count = (end - begin) // STEPS[cycle] + 1
    if count > MOST_IN_RANGE:
        raise DataTimeError(
            gettext_noop("%(first)s to %(last)s are %(count)s data times; fire at most %(most)s at once."),
            first=first,
            last=last,
            count=f"{count:,}",
            most=f"{MOST_IN_RANGE:,}",
        )
    return [format_clock(begin + place * STEPS[cycle], cycle) for place in range(count)]


def length(amount: int, unit: str) -> dt.timedelta:
    """So many units as a duration."""
    return dt.timedelta(seconds=amount * _UNIT_SECONDS[Unit(unit)])


def words(amount: int | None, unit: str) -> str:
    """`1 day`, `30 minutes`; `no limit` for None. For what is kept; pages say it by `events.words.lasting`."""
    if amount is None:
        return "no limit"
    name = unit.lower()
    return f"{amount} {name[:-1] if amount == 1 else name}"


def pairs(text: str) -> list[tuple[str, str]]:
    """(event name, data time) each of `EventA,20220713;EventB,20220713;`, as written, each pair once, in order.

    A piece without a comma is a name without a data time: firing it is refused, and so somebody hears of it.
    """
    found: dict[tuple[str, str], None] = {}
    for piece in text.split(";"):
        if piece.strip():
            name, _, data_time = piece.partition(",")
            found[name.strip(), data_time.strip()] = None
    return list(found)
