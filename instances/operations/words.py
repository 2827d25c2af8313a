"""Numbers, lengths of time and rights in plain sentences, in the language of who reads them."""

from collections.abc import Callable, Iterable

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from instances import language
from weops.projects.access import RIGHT_WORDS, Right

_NOUNS: dict[str, Callable[[int], str]] = {
    "instance": lambda n: ngettext("%(count)s instance", "%(count)s instances", n),
    "task": lambda n: ngettext("%(count)s task", "%(count)s tasks", n),
    "run": lambda n: ngettext("%(count)s run", "%(count)s runs", n),
    "data time": lambda n: ngettext("%(count)s data time", "%(count)s data times", n),
    "step": lambda n: ngettext("%(count)s step", "%(count)s steps", n),
    "retry": lambda n: ngettext("%(count)s retry", "%(count)s retries", n),
    "minute": lambda n: ngettext("%(count)s minute", "%(count)s minutes", n),
    "hour": lambda n: ngettext("%(count)s hour", "%(count)s hours", n),
    "day": lambda n: ngettext("%(count)s day", "%(count)s days", n),
}


def counted(number: int, noun: str) -> str:
    """`1 instance`, `1,200 instances`; one of the nouns above."""
    return _NOUNS[noun](number) % {"count": f"{number:,}"}


def listed(words: Iterable[str], most: int = 5) -> str:
    """`a`, `a and b`, `a, b and c`; of more than `most` the first, and how many more."""
    words = list(words)
    if len(words) > most:
        words = [*words[:most], _("%(count)s more") % {"count": f"{len(words) - most:,}"}]
    return language.listed(words)


def rights_named(missing: Iterable[Right]) -> str:
    """`operate and override`."""
    return listed(str(RIGHT_WORDS[right]) for right in sorted(missing))


def about(seconds: float) -> str:
    """`less than a minute`, `12 minutes`, `1 hour 30 minutes`, `3 days 2 hours`: as exact as a guess deserves."""
    if seconds < 60:
        return _("less than a minute")
    minutes = round(seconds / 60)
    if minutes < 60:
        return counted(minutes, "minute")
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return _both(counted(hours, "hour"), minutes, "minute")
    days, hours = divmod(hours, 24)
    return _both(counted(days, "day"), hours, "hour")


def roughly(seconds: float) -> str:
    """`less than a minute`, `about 12 minutes`: for the middle of a sentence."""
    return about(seconds) if seconds < 60 else _("about %(time)s") % {"time": about(seconds)}


def _both(large: str, small: int, unit: str) -> str:
    if not small:
        return large
    return _("%(hours)s %(minutes)s") % {"hours": large, "minutes": counted(small, unit)}
