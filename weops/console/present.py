"""How values look on pages: times, durations, badges. Everything is escaped here or by the template, never trusted."""

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.urls import get_script_prefix, reverse
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import pgettext


def _nothing() -> SafeString:
    return format_html('<span class="wo-nothing" aria-label="{}">–</span>', pgettext("no value", "none"))


NOTHING: Any = lazy(_nothing, SafeString)()


@dataclass(frozen=True)
class Look:
    """Colour, icon (Material Symbols) and text (translated late) of a state: never colour alone."""

    tone: str
    icon: str
    text: Any


def badge(looks: dict[str, Look], value: str, *, title: Any = "") -> SafeString:
    """A pill with icon and text; `title` shows on hover and is read out by screen readers."""
    look = looks.get(value) or Look("grey", "help", value)
    spin = " wo-spin" if look.icon == "progress_activity" else ""
    return format_html(
        '<span class="wo-badge wo-{}" title="{}"><span class="material-symbols-outlined wo-icon{}" '
        'aria-hidden="true">{}</span>{}</span>',
        look.tone,
        title or look.text,
        spin,
        look.icon,
        look.text,
    )


@lru_cache(maxsize=256)
def known_zone(name: str) -> ZoneInfo | None:
    """The time zone called `name`, if there is one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def zone(name: str) -> dt.tzinfo:
    """The time zone called `name`; UTC for a name that no longer exists."""
    return known_zone(name) or dt.UTC


# An id that no row has, in the address of a page of any of them.
_ANY = 10**18 - 1


@lru_cache(maxsize=64)
def _page_of_any(name: str, prefix: str) -> str:
    return reverse(name, args=(_ANY,))


def page_of(name: str, pk: int) -> str:
    """`reverse(name, args=(pk,))`, put together without going through all addresses again: lists call it for each row."""
    return _page_of_any(name, get_script_prefix()).replace(str(_ANY), str(pk))


def zone_name() -> str:
    """The name of the zone that pages show times in."""
    return timezone.get_current_timezone_name()


def offset() -> str:
    """How far the zone of the page is from UTC just now: `UTC+01:00`."""
    sign = f"{timezone.localtime():%z}"
    return f"UTC{sign[:3]}:{sign[3:5]}"


def plain_time(value: dt.datetime | None, in_zone: str = "") -> str:
    """yyyy-MM-dd HH:mm:ss in the zone `in_zone`, or in the zone of the page; empty for None."""
    if value is None:
        return ""
    try:
        local = value.astimezone(zone(in_zone)) if in_zone else timezone.localtime(value)
    except OverflowError:
        # At the ends of the calendar the clocks of other zones are beyond it; one such row must not cost the whole page.
        local = value
    return f"{local:%Y-%m-%d %H:%M:%S}"


def clock(value: dt.datetime | None, in_zone: str) -> str:
    """`plain_time` in the zone of a task, whose name follows where it is not the zone of the page."""
    if value is None:
        return ""
    return f"{plain_time(value, in_zone)}{'' if in_zone == zone_name() else f' {in_zone}'}"


def stamp(value: dt.datetime | None, in_zone: str = "", *, named: bool | None = None) -> SafeString:
    """A time as `plain_time` writes it, with its zone and its exact UTC value on hover.

    `named`: with the name of the zone beside it; None: if that is not the zone of the page.
    """
    if value is None:
        return NOTHING
    exact = f"{in_zone or zone_name()}; {value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    if named is None:
        named = in_zone not in ("", zone_name())
    suffix = format_html(' <span class="wo-dim">{}</span>', in_zone or zone_name()) if named else ""
    # Digits and what stands between them; the suffix is escaped.
    return SafeString(
        f'<time class="wo-time" datetime="{value.isoformat()}" title="{exact}">{plain_time(value, in_zone)}</time>{suffix}'
    )


def span(length: dt.timedelta | None) -> str:
    """A duration for people: 0.42s, 7s, 3m 05s, 2h 00m 09s, 1d 03h 00m."""
    if length is None:
        return ""
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.2f}s"
    whole = int(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days}d {hours:02}h {minutes:02}m"
    if hours:
        return f"{hours}h {minutes:02}m {rest:02}s"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def between(start: dt.datetime | None, end: dt.datetime | None, now: dt.datetime | None = None) -> str:
    """The duration from `start` to `end`, or to `now` while there is no end; empty without a start."""
    if start is None:
        return ""
    until = end or now
    return span(until - start) if until else ""


def copy_button(value: Any, label: Any) -> SafeString:
    """Puts `value` on the clipboard; `label` says so to those who hover or listen."""
    said = escape(label)
    return SafeString(
        f'<button type="button" class="wo-copy" data-copy="{escape(value)}" title="{said}" aria-label="{said}">'
        '<span class="material-symbols-outlined wo-icon" aria-hidden="true">content_copy</span></button>'
    )


def capped(count: int, cap: int, more: bool = False) -> str:
    """`10,000+` for a count that stopped at its cap; `1,234+` for one that ended before it (`more`)."""
    return f"{cap:,}+" if count > cap else f"{count:,}{'+' if more else ''}"


def or_nothing(value: Any) -> Any:
    return NOTHING if value in (None, "") else value
