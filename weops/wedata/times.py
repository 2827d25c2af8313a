"""Times of the API: texts without a zone, told in the zone that the request names, by default UTC+8."""

import datetime as dt
import re
from zoneinfo import ZoneInfo

from instances.engine.zone import zone, zone_names
from weops.wedata.errors import bad_value

FORMAT = "%Y-%m-%d %H:%M:%S"
DEFAULT = "UTC+8"
_OFFSET = re.compile(r"(?:UTC|GMT)(?:([+-])(\d{1,2})(?::(\d{2}))?)?\Z", re.ASCII)
_ETC = re.compile(r"Etc/GMT([+-])(\d{1,2})\Z", re.ASCII)
# Whole days around the calendar's ends have no time in every zone.
_EARLIEST, _LATEST = dt.datetime(1, 1, 3, tzinfo=dt.UTC), dt.datetime(9999, 12, 29, tzinfo=dt.UTC)


def _offset(text: str) -> dt.timedelta | None:
    found = _OFFSET.match(text)
    if not found:
        return None
    sign, hours, minutes = found[1] or "+", int(found[2] or 0), int(found[3] or 0)
    length = dt.timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or length > dt.timedelta(hours=14):
        return None
    return -length if sign == "-" else length


def read_zone(text: str | None, field: str = "TimeZone") -> dt.tzinfo:
    """The zone that a request tells its times in: `UTC+8`, `UTC-5`, `UTC+5:30`, or an IANA name."""
    name = text or DEFAULT
    if (offset := _offset(name)) is not None:
        return dt.timezone(offset)
    if name in zone_names():
        return zone(name)
    raise bad_value(field, f"{name[:60]!r} is no time zone; write one such as UTC+8, or Asia/Shanghai.")


def schedule_zone(text: str | None, field: str) -> str:
    """The IANA name of a task's zone: `UTC+8` is Etc/GMT-8, which is that offset all year round."""
    name = text or DEFAULT
    if name in zone_names() and not _OFFSET.match(name):
        return name
    offset = _offset(name)
    hours, rest = divmod(offset, dt.timedelta(hours=1)) if offset is not None else (0, dt.timedelta(1))
    if offset is None or rest or hours < -12:
        raise bad_value(
            field,
            f"{name[:60]!r} cannot be scheduled by; write UTC-12 to UTC+14, or an IANA name such as Asia/Kolkata.",
        )
    return f"Etc/GMT{'-' if hours > 0 else '+'}{abs(hours)}" if hours else "UTC"


def zone_text(name: str) -> str:
    """A task's zone as the API writes it: what `schedule_zone` reads."""
    if name == "UTC":
        return "UTC+0"
    if found := _ETC.match(name):
        return f"UTC{'-' if found[1] == '+' else '+'}{int(found[2])}"
    return name


def aware(clock: dt.datetime, tz: dt.tzinfo) -> dt.datetime:
    """The instant (UTC) of a time that was read without a zone."""
    return clock.replace(tzinfo=tz).astimezone(dt.UTC)


def told(instant: dt.datetime | None, tz: dt.tzinfo) -> str | None:
    """`yyyy-MM-dd HH:mm:ss` in the zone; None for None."""
    if instant is None:
        return None
    moment = min(max(instant, _EARLIEST), _LATEST).astimezone(tz)
    # Not strftime, which drops the leading zeros of early years on some systems.
    return moment.replace(tzinfo=None, microsecond=0).isoformat(" ")


def zone_of(name: str) -> ZoneInfo:
    """A task's own zone."""
    return zone(name)
