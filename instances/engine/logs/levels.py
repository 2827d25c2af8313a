"""The level of a line, recognised from its text. Standard library only.

A line that names no level counts as info, unless it goes on with the one before it: indented lines, the frames of a stack
trace and empty lines have the level of what they belong to.
"""

import re
from collections.abc import Iterator
from enum import IntEnum


class Level(IntEnum):
    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


# What people choose from: a filter shows its level and those above it.
FILTERS = {
    "all": Level.TRACE,
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "warn": Level.WARN,
    "error": Level.ERROR,
}
# A level stands near the beginning of its line.
_LOOK = 200
_WORDS = {
    "trace": Level.TRACE,
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "notice": Level.INFO,
    "warn": Level.WARN,
    "warning": Level.WARN,
    "err": Level.ERROR,
    "error": Level.ERROR,
    "severe": Level.ERROR,
    "fatal": Level.ERROR,
    "critical": Level.ERROR,
    "panic": Level.ERROR,
    "emerg": Level.ERROR,
    "alert": Level.ERROR,
}
_ANY = "|".join(sorted(_WORDS, key=len, reverse=True))
_NAMED = re.compile(
    # ERROR, [error], "level": "error", level=error, error: at the beginning of the line.
    rf"(?<![\w.-])(?:{_ANY.upper()})(?![\w-])"
    rf"|\[(?i:{_ANY})\]"
    rf"|(?i:level|lvl|severity)[\"']?\s*[=:]\s*[\"']?(?i:{_ANY})\b"
    rf"|^\W*(?i:{_ANY})\s*[:\]]"
)
_LAST_WORD = re.compile(r"[A-Za-z]+(?=[^A-Za-z]*$)")
_RAISED = re.compile(
    r"Traceback \(most recent call last\)|Exception in thread |Caused by: |During handling of the above exception"
    r"|The above exception was the direct cause|panic: |[A-Za-z_][\w.$]*(?:Error|Exception)(?::|$)"
)
_GOES_ON = re.compile(r"\s|\.\.\. \d+ more|$")
_OURS = "[weops] "
_FAILED = re.compile(r"\[weops\] (?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  )?[A-Z][A-Z0-9_]+: ")
_ESCAPES = re.compile(r"\x1b\[[0-9;:]*m")
# Where none of these stands, a text has no level of its own and nothing that goes on.
_CANDIDATE = re.compile(
    rf"(?i:{_ANY}|exception|caused by|traceback)|^\[weops\] [A-Z]|^\[weops\] \d{{4}}", re.MULTILINE
)


def level_of(line: str, before: Level = Level.INFO) -> Level:
    """The level of one line (no line end), where the line before it had the level `before`."""
    line = line[:_LOOK]
    if "\x1b" in line:
        line = _ESCAPES.sub("", line)
    if line.startswith(_OURS):
        return Level.ERROR if _FAILED.match(line) else Level.INFO
    if _RAISED.match(line):
        return Level.ERROR
    if _GOES_ON.match(line) and before != Level.INFO:
        # An indented line may still name a level of its own.
        named = _NAMED.search(line) if line else None
        return _word(named[0]) if named else before
    named = _NAMED.search(line)
    return _word(named[0]) if named else Level.INFO


def _word(matched: str) -> Level:
    last = _LAST_WORD.search(matched)
    return _WORDS[last[0].lower()] if last else Level.INFO


def levels_of(lines: list[str], before: Level = Level.INFO) -> Iterator[Level]:
    """The level of each of the lines."""
    for line in lines:
        before = level_of(line, before)
        yield before


def summary(text: str, before: Level = Level.INFO) -> tuple[int, Level]:
    """(mask: bit `1 << level` for each level that a line of `text` has, the level in force at its end)."""
    if not text:
        return 0, before
    if before == Level.INFO and _CANDIDATE.search(text) is None:
        return 1 << Level.INFO, Level.INFO
    mask = 0
    for level in levels_of(text.removesuffix("\n").split("\n"), before):
        mask |= 1 << level
        before = level
    return mask, before


def at_least(level: Level) -> int:
    """The mask of the levels that a filter of `level` shows."""
    return sum(1 << one for one in Level if one >= level)
