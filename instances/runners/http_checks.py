"""What an HTTP task expects of its answer: statuses such as `200-299, 304`, and checks such as `data.state == "done"`."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from instances.language import gettext

_CHECK: Final = re.compile(
    r"\s*(?P<path>\S+)\s+(?P<word>==|!=|<=|>=|<|>|contains)\s+(?P<value>.+?)\s*\Z", re.DOTALL
)
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(-?[0-9]{1,6})\]")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MISSING: Final = object()


class CheckError(ValueError):
    """It cannot be read; the text says how to write it."""


@dataclass(frozen=True, slots=True)
class Check:
    path: str
    word: str
    value: Any

    def __str__(self) -> str:
        return f"{self.path} {self.word} {json.dumps(self.value, ensure_ascii=False)}"


def statuses_of(text: str) -> list[tuple[int, int]]:
    """[(first, last)]. Raises CheckError."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-5][0-9][0-9])\s*(?:-\s*([1-5][0-9][0-9])\s*)?", part)
        if match is None:
            message = gettext("%(text)r is no status; write them as 200-299, 304")
            raise CheckError(message % {"text": part.strip()[:40]})
        first = int(match[1])
        found.append((first, int(match[2] or first)))
    return found


def checks_of(lines: Iterable[str]) -> list[Check]:
    """Raises CheckError."""
    return [_check(line) for line in lines]


def _check(line: str) -> Check:
    match = _CHECK.match(line)
    if match is None:
        message = gettext('%(text)r cannot be read; write it as data.state == "done"')
        raise CheckError(message % {"text": line[:80]})
    steps(match["path"])
    try:
        value = json.loads(match["value"])
    except ValueError:
        # What is filled in when it runs may well be a number: judged then.
        if "${" in match["value"]:
            value = match["value"]
        else:
            message = gettext("%(text)r in %(line)r is no JSON value; write a text in double quotes")
            raise CheckError(message % {"text": match["value"][:40], "line": line[:80]}) from None
    return Check(match["path"], match["word"], value)


def steps(path: str) -> list[str | int]:
    """`data.items[0].id` -> ["data", "items", 0, "id"]; a leading `$` is left out. Raises CheckError."""
    rest = path.removeprefix("$")
    found: list[str | int] = []
    while rest:
        match = _STEP.match(rest)
        if match is None:
            message = gettext("%(text)r is no path; write it as data.items[0].id")
            raise CheckError(message % {"text": path[:80]})
        found.append(match[1] if match[1] is not None else int(match[2]))
        rest = rest[match.end() :]
    return found


def look_up(document: Any, path: str) -> Any:
    """The value there; `MISSING` where there is none."""
    for step in steps(path):
        try:
            if isinstance(step, int) != isinstance(document, list):
                return MISSING
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return document


def problem(check: Check, status: int, body: str) -> str:
    """Why the answer does not pass, "" when it does."""
    if check.path == "status":
        found: Any = status
    elif check.path == "body":
        found = body
    else:
        try:
            found = look_up(json.loads(body), check.path)
        except (ValueError, RecursionError):
            return f"{check}: the answer is no JSON"
    if found is MISSING:
        return f"{check}: the answer has nothing at {check.path}"
    try:
        passed = _passes(check, found)
    except TypeError:
        passed = False
    shown = json.dumps(found, ensure_ascii=False)
    return "" if passed else f"{check}: it is {shown if len(shown) <= 200 else shown[:199] + '…'}"


def _passes(check: Check, found: Any) -> bool:
    if check.word == "contains":
        return check.value in found
    if check.word in ("==", "!="):
        # true is not 1 here.
        same = found == check.value and isinstance(found, bool) == isinstance(check.value, bool)
        return same if check.word == "==" else not same
    return bool(_COMPARE[check.word](found, check.value))
