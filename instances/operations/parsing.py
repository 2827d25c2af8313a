"""Options as doors send them, JSON-like, read one by one; each wrong one is an OptionError that says what to write."""

import datetime as dt
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from instances.language import listed_plainly
from instances.runners import spark_parameters

# What is kept on record of every operation, shown in lists, and copied to each instance has an end.
MOST_TEXTS, MOST_CHARS = 200, 128 * 1024
MOST_SAID = 500
# Times that can be told in every time zone, and that databases and browsers know.
EARLIEST, LATEST = dt.datetime(1900, 1, 1, tzinfo=dt.UTC), dt.datetime(9000, 1, 1, tzinfo=dt.UTC)


class OptionError(ValueError):
    """An option that cannot be: `field` names it, the message says what to write instead."""

    def __init__(self, field: str, message: str) -> None:
        # It repeats what was sent, however long that was.
        super().__init__(message if len(message) <= MOST_SAID else f"{message[:MOST_SAID]} ...")
        self.field = str(field)[:100]


class ForbiddenOption(OptionError):
    """An option that exists, for others: the user lacks a right."""


def only(given: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses an option that is none of `known`."""
    if unknown := sorted(set(given) - set(known)):
        message = _("There is no option %(name)r; there are none.")
        if known:
            message = _("There is no option %(name)r; there are %(known)s.")
        raise OptionError(unknown[0], message % {"name": unknown[0], "known": ", ".join(known)})


def application_parameters(given: Mapping[str, Any]) -> dict[str, str]:
    """Spark's configuration for one run. Only what cannot run code: whoever asks need not be allowed to edit tasks."""
    found = texts(given, "application_parameters")
    if why := spark_parameters.fault(found):
        raise OptionError("application_parameters", why)
    return found


def one_of(kind: type[StrEnum], given: Mapping[str, Any], name: str, default: Any) -> Any:
    """A member of the enumeration `kind`."""
    value = given.get(name, default)
    try:
        return kind(value)
    except ValueError:
        message = _("%(value)r is none of %(known)s.")
        raise OptionError(name, message % {"value": value, "known": listed_plainly(kind)}) from None


def flag(given: Mapping[str, Any], name: str) -> bool:
    """True or false; false if it is not given."""
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise OptionError(name, _("%(value)r is neither true nor false.") % {"value": value})
    return value


def texts(given: Mapping[str, Any], name: str) -> dict[str, str]:
    """Names and values, up to MOST_TEXTS of them with MOST_CHARS characters in all; empty if it is not given."""
    value = given.get(name) or {}
    if not isinstance(value, Mapping) or not all(
        storable(key) and key and storable(text) for key, text in value.items()
    ):
        raise OptionError(name, _("Write names and their values, both as texts."))
    if len(value) > MOST_TEXTS or sum(len(key) + len(text) for key, text in value.items()) > MOST_CHARS:
        message = _(
            "Write at most %(names)s names, with %(characters)s characters in all of them and their values."
        )
        raise OptionError(name, message % {"names": MOST_TEXTS, "characters": f"{MOST_CHARS:,}"})
    return dict(value)


def storable(value: Any) -> bool:
    """Whether it is a text that the database can hold as it is: no NUL, no half character."""
    return isinstance(value, str) and "\0" not in value and not any(0xD800 <= ord(c) < 0xE000 for c in value)


def moment(given: Mapping[str, Any], name: str) -> dt.datetime | None:
    """A time with its zone, from an ISO text or as it is, in UTC; None if it is not given or empty.

    It lies between EARLIEST and LATEST: one at the end of the calendar could be written down, and not shown in any zone.
    """
    value = given.get(name)
    if value is None or value == "":
        return None
    try:
        found = value if isinstance(value, dt.datetime) else parse_datetime(value)
        if found is not None and found.tzinfo is not None and EARLIEST <= found <= LATEST:
            return found.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    message = _("%(value)r is no time; write one with its zone, such as 2026-03-25T08:00:00+00:00.")
    raise OptionError(name, message % {"value": value})
