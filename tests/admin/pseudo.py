"""A language in which every message stands between brackets, so that what is not marked for translation can be found."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.utils import translation

_OPEN, _CLOSE = "⟦", "⟧"
_WORDS = ("title", "aria-label", "placeholder", "alt", "data-empty", "label")
# Not for people, or in a language of its own.
_SILENT = {"script", "style", "code", "pre", "textarea", "noscript"}
# A message may hold these; no message reaches over the border of any other element.
_INLINE = {"a", "b", "strong", "em", "i", "code", "span", "br"}
_VOID = {
    "input",
    "br",
    "hr",
    "img",
    "link",
    "meta",
    "path",
    "col",
    "source",
    "wbr",
    "base",
    "area",
    "rect",
    "line",
}


def speak(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, until the test ends, translations are brackets around the message."""

    def bracketed(function: Any) -> Any:
        return lambda *given, **named: f"{_OPEN}{function(*given, **named)}{_CLOSE}"

    spoken: Any = vars(translation)["_trans"]
    for name in ("gettext", "pgettext", "ngettext", "npgettext"):
        # Asking for it makes Django load the functions that follow the language.
        monkeypatch.setattr(spoken, name, bracketed(getattr(spoken, name)))


def unmarked(html: str) -> list[str]:
    """The texts and attributes for people that hold a letter outside brackets, with the brackets' content left out."""
    reader = _Reader()
    reader.feed(html)
    return [text for text in reader.found if re.search(r"[^\W\d_]{2}", text)]


def outside(text: str) -> str:
    """What stands outside brackets, which may stand inside each other; a bracket that was cut off reaches to the end."""
    return _outside(text, 0)[0]


def _outside(text: str, depth: int) -> tuple[str, int]:
    """`depth`: how many brackets are open before it; and after it."""
    kept = []
    for sign in text:
        if sign == _OPEN:
            depth += 1
        elif sign == _CLOSE:
            depth = max(0, depth - 1)
        elif depth == 0:
            kept.append(sign)
    return " ".join("".join(kept).split()), depth


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._stack: list[tuple[str, bool]] = []
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        classes = (given.get("class") or "").split()
        silent = (
            self._silent or tag in _SILENT or "material-symbols-outlined" in classes or "wo-code" in classes
        )
        if not silent:
            self.found += [outside(given[name] or "") for name in _WORDS if name in given]
            if tag == "input" and given.get("type") in ("submit", "button"):
                self.found.append(outside(given.get("value") or ""))
        if tag not in _INLINE:
            self._depth = 0
        if tag not in _VOID:
            self._stack.append((tag, silent))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _INLINE:
            self._depth = 0
        while self._stack and self._stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._silent:
            text, self._depth = _outside(data, self._depth)
            self.found.append(text)

    @property
    def _silent(self) -> bool:
        return bool(self._stack) and self._stack[-1][1]


def sentences(found: list[str], data: re.Pattern[str]) -> Iterator[str]:
    """Those of `found` in which a word is left when what is `data` is taken out."""
    for text in found:
        if re.search(r"[^\W\d_]{2}", data.sub("", text)):
            yield text
