"""Words for people out of modules that know no Django, said in the language of who reads them.

Nobody reads in a child process, in a worker, or before Django has started: there it is English. Standard library only.
"""

from collections.abc import Iterable
from typing import Protocol


class Speaker(Protocol):
    """What `django.utils.translation` is."""

    def gettext(self, message: str) -> str: ...

    def ngettext(self, singular: str, plural: str, number: int) -> str: ...

    def get_language(self) -> str | None: ...


class _English:
    def gettext(self, message: str) -> str:
        return message

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        return singular if number == 1 else plural

    def get_language(self) -> str | None:
        return "en"


_speaker: Speaker = _English()


def speak_through(speaker: Speaker) -> None:
    """Called once, when Django has started."""
    global _speaker
    _speaker = speaker


def gettext_noop(text: str) -> str:
    """Marks a text of a table for the catalogue; whoever shows it translates it."""
    return text


def gettext(message: str) -> str:
    return _speaker.gettext(message)


def ngettext(singular: str, plural: str, number: int) -> str:
    return _speaker.ngettext(singular, plural, number)


def current() -> str:
    """The code of the language that is spoken now."""
    return _speaker.get_language() or "en"


def is_english() -> bool:
    return current().startswith("en")


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; at least one."""
    said, *rest = words
    for place, word in enumerate(rest, 1):
        joined = gettext("%(words)s and %(last)s") if place == len(rest) else gettext("%(words)s, %(last)s")
        said = joined % {"words": said, "last": word}
    return said


def listed_plainly(words: Iterable[str]) -> str:
    """`a`, `a, b`, `a, b, c`; at least one."""
    said, *rest = words
    for word in rest:
        said = gettext("%(words)s, %(last)s") % {"words": said, "last": word}
    return said


def either(words: Iterable[str]) -> str:
    """`a`, `a or b`, `a or b or c`; at least one."""
    said, *rest = words
    for word in rest:
        said = gettext("%(words)s or %(last)s") % {"words": said, "last": word}
    return said
