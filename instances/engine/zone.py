"""Wall clocks: from a local time that somebody wrote down to the one instant at which it happens.

Two rules hold everywhere. A local time that does not exist (clocks went forward) happens at the first instant
after the gap; a local time that exists twice (clocks went back) happens once, the first time. With them the
step from wall time to instant never goes backwards, which `schedule.py` relies on to seek instead of walk.
"""

from __future__ import annotations

import difflib
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from instances.language import either, gettext

TICK = datetime.resolution
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_MIDNIGHT = time(0, 0)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every IANA zone name that this machine (or the package tzdata) knows."""
    return frozenset(available_timezones())


def zone_problem(name: object) -> str:
    """What is wrong with a zone name and what to write instead, or an empty string."""
    if isinstance(name, str) and name in zone_names():
        return ""
    close = difflib.get_close_matches(str(name), sorted(zone_names()), n=3)
    if close:
        message = gettext("There is no time zone %(name)r; did you mean %(names)s?")
        return message % {"name": name, "names": either(close)}
    message = gettext("There is no time zone %(name)r; write an IANA name such as Asia/Shanghai.")
    return message % {"name": name}


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of a name; raises ValueError with advice for a name that does not exist."""
    if problem := zone_problem(name):
        raise ValueError(problem)
    return ZoneInfo(name)


def wall(tz: ZoneInfo, instant: datetime) -> datetime:
    """What the clock on the wall shows at an (aware) instant: a naive datetime."""
    return instant.astimezone(tz).replace(tzinfo=None)


def latest_wall(tz: ZoneInfo, instant: datetime) -> datetime:
    """A wall time that no clock has shown later than, up to an instant.

    After clocks went back the wall shows less than it showed before, so the offsets of the two days before
    count too (two, because zones have moved by a whole day).
    """
    return max(wall(tz, instant - days) + days for days in (0 * _DAY, _DAY, 2 * _DAY))


@lru_cache(maxsize=16384)
def first_instant(tz: ZoneInfo, local: datetime) -> tuple[datetime, bool]:
    """The instant (UTC) at which a naive local time happens, and whether the clock really shows that time.

    False means that the time falls into a gap, and the instant is the first one after the gap.
    """
    instant = local.replace(tzinfo=tz, fold=0).astimezone(UTC)
    if instant.astimezone(tz).replace(tzinfo=None) == local:
        return instant, True
    # In a gap, fold 0 counts with the offset before it and fold 1 with the one after; the change is between.
    late, before = instant, local.replace(tzinfo=tz, fold=0).utcoffset()
    early = local.replace(tzinfo=tz, fold=1).astimezone(UTC) - _SECOND
    while late - early > _SECOND:
        middle = (early + (late - early) / 2).replace(microsecond=0)
        if middle.astimezone(tz).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0), False


@lru_cache(maxsize=16384)
def day_start(tz: ZoneInfo, day: date) -> datetime | None:
    """The first instant (UTC) of a local day: 00:00, or the end of the gap that swallowed it.

    None for a day that the zone left out (Pacific/Apia has no 30 December 2011).
    """
    instant, exists = first_instant(tz, datetime.combine(day, _MIDNIGHT))
    return instant if exists or wall(tz, instant).date() == day else None
