"""Differences of texts: of code line by line, of logs where they first part. Standard library only."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from instances.language import gettext, ngettext

# Longer texts are compared only so far: a diff takes the square of the lines at worst.
MOST_LINES = 3000
# Pairs of equal lines, one in each text, that are looked at.
MOST_PAIRS = 50_000
AROUND = 3


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a diff. `kind`: same, removed, added, or skipped (`text` says how many lines). Numbers from 1."""

    kind: str
    old: int | None
    new: int | None
    text: str


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Where two logs first differ. Lines are (number, text); `old_at`, `new_at`: numbers of the first that differ, None:
    the log ends there."""

    old: list[tuple[int, str]]
    new: list[tuple[int, str]]
    old_at: int | None
    new_at: int | None


def diff(old: str, new: str) -> list[Row]:
    """A unified diff with some lines around each change; empty if the texts are the same."""
    if old == new:
        return []
    before, after = old.splitlines(), new.splitlines()
    cut = max(len(before), len(after)) > MOST_LINES
    before, after = before[:MOST_LINES], after[:MOST_LINES]
    rows: list[Row] = []
    shown = 0
    for group in SequenceMatcher(None, before, after, _is_costly(before, after)).get_grouped_opcodes(AROUND):
        begin = group[0][1]
        if begin > shown:
            rows.append(Row("skipped", None, None, _same(begin - shown)))
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                pairs = zip(range(old_from, old_to), range(new_from, new_to), strict=True)
                rows += [Row("same", one + 1, two + 1, after[two]) for one, two in pairs]
                continue
            rows += [Row("removed", n + 1, None, before[n]) for n in range(old_from, old_to)]
            rows += [Row("added", None, n + 1, after[n]) for n in range(new_from, new_to)]
        shown = group[-1][2]
    if len(before) > shown and rows:
        rows.append(Row("skipped", None, None, _same(len(before) - shown)))
    if cut:
        message = gettext("only the first %(count)s lines were compared")
        rows.append(Row("skipped", None, None, message % {"count": MOST_LINES}))
    if not rows:
        rows.append(Row("skipped", None, None, gettext("only line ends differ")))
    return rows


def _same(count: int) -> str:
    said = ngettext("%(count)s line is the same", "%(count)s lines are the same", count)
    return said % {"count": count}


_OURS = "[weops] "
_ESCAPES = re.compile(r"\x1b\[[0-9;:]*[A-Za-z]")
# What differs between any two runs: in this order, for a number is part of all of them.
_VARIABLE = (
    (re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"), "<id>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{7,}\b"), "<id>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<id>"),
    (re.compile(r"(?:/[\w.@%+~=-]+){2,}/?"), "<path>"),
    (
        re.compile(
            r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\b"
        ),
        "<time>",
    ),
    (re.compile(r"\d+(?:[.,:/T-]\d+)*(?:Z\b|%|\s?(?:[mun]?s|[KMGT]i?B?|B|h|min)\b)?"), "<n>"),
    (re.compile(r"(?:<time>|<n>)(?:[\s,:]*(?:<time>|<n>|UTC|GMT|[AP]M\b))+"), "<n>"),
    (re.compile(r"\s+"), " "),
)


def _is_costly(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether lines that stand there again and again must be passed over: with them a diff takes the cube at worst, and while it
    does, the web process answers nobody."""
    counts = Counter(before)
    return sum(counts[line] for line in after) > MOST_PAIRS


def normal(line: str) -> str:
    """The line without what differs between any two runs: times, numbers, ids, paths, colours."""
    line = _ESCAPES.sub("", line.rsplit("\r", 1)[-1] if line.rstrip("\r").find("\r") >= 0 else line)
    for pattern, word in _VARIABLE:
        line = pattern.sub(word, line)
    return line.strip()


def first_difference(old: Sequence[str], new: Sequence[str], most: int = 12) -> FirstDifference | None:
    """Where the lines of two logs first part, times, numbers, ids and paths left aside; None if they never do.

    Lines of the platform's own, which begin with [weops], and empty lines do not count.
    """
    one, two = _counted(old), _counted(new)
    place = next(
        (n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a[2] != b[2]), min(len(one), len(two))
    )
    if place == len(one) == len(two):
        return None
    start = max(0, place - AROUND)
    return FirstDifference(
        [(number, text) for number, text, _ in one[start : place + most]],
        [(number, text) for number, text, _ in two[start : place + most]],
        one[place][0] if place < len(one) else None,
        two[place][0] if place < len(two) else None,
    )


def _counted(lines: Sequence[str]) -> list[tuple[int, str, str]]:
    return [
        (number, line, normal(line))
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith(_OURS)
    ]
