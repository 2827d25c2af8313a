"""A script of PostgreSQL's SQL -> its statements, each with its place in the script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from instances.language import gettext

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<string>[eE]'[^'\\]*(?:(?:''|\\.)[^'\\]*)*' | '[^']*(?:''[^']*)*')
    | (?P<name>"[^"]*(?:""[^"]*)*")
    | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<other>\d[\w.]*|.)
    """,
    re.VERBOSE | re.DOTALL,
)
# Spark: backslashes escape in strings, double quotes are strings, too, names stand in backticks, nothing in dollars.
_SPARK_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<string>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*")
    | (?P<name>`[^`]*(?:``[^`]*)*`)
    | (?P<word>[^\W\d]\w*)
    | (?P<other>\d[\w.]*|.)
    """,
    re.VERBOSE | re.DOTALL,
)
POSTGRESQL, SPARK = _TOKEN, _SPARK_TOKEN
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class SqlSyntaxError(ValueError):
    """Something is left open; the text says what and on which line it began."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`text` without the semicolon; `offset` in characters and `line` (from 1) of its start in the script."""

    text: str
    offset: int
    line: int

    def position(self, character: int) -> tuple[int, int]:
        """Line in the script and column, both from 1, of the statement's n-th character (from 1)."""
        before = self.text[: character - 1]
        line = self.line + before.count("\n")
        return line, len(before) - before.rfind("\n")


def split(script: str, dialect: re.Pattern[str] = POSTGRESQL) -> list[Statement]:
    """Raises SqlSyntaxError. Knows strings, quoted names, dollar quotes, nested comments, brackets (rules
    hold several statements in them) and SQL-standard function bodies (BEGIN ATOMIC ... END)."""
    return list(_statements(script, dialect))


def _statements(script: str, dialect: re.Pattern[str]) -> Iterator[Statement]:
    start = end = -1  # of the statement being read: its first token, and behind its last
    words: list[str] = []
    depth = blocks = 0
    line, counted = 1, 0
    for kind, begin, stop in _tokens(script, dialect):
        piece = script[begin:stop]
        if piece == ";" and depth <= 0 and blocks == 0:
            if start >= 0:
                line, counted = line + script.count("\n", counted, start), start
                yield Statement(script[start:end], start, line)
            start, depth, words = -1, 0, []
            continue
        if start < 0:
            start = begin
        end = stop
        if piece in "()":
            depth += 1 if piece == "(" else -1
        elif kind == "word":
            word = piece.lower()
            if len(words) < 4:
                words.append(word)
            blocks = max(0, blocks + _block_change(words, word, blocks))
    if start >= 0:
        yield Statement(script[start:end], start, line + script.count("\n", counted, start))


def _block_change(words: list[str], word: str, blocks: int) -> int:
    """How a word changes the nesting of blocks in the body of a CREATE FUNCTION or PROCEDURE."""
    if words[:1] != ["create"] or not {"function", "procedure"} & set(words[1:]):
        return 0
    if word == "begin" or (word == "case" and blocks):
        return 1
    return -1 if word == "end" else 0


def _tokens(script: str, dialect: re.Pattern[str]) -> Iterator[tuple[str, int, int]]:
    """(kind, begin, end) of everything that is not blank or comment."""
    position = 0
    while match := dialect.match(script, position):
        kind, begin, position = str(match.lastgroup), match.start(), match.end()
        if kind == "comment":
            position = _comment_end(script, begin)
        elif kind == "dollar":
            close = script.find(match.group(), position)
            if close < 0:
                raise _unclosed(script, begin, gettext("the dollar quote %(text)s") % {"text": match.group()})
            yield kind, begin, (position := close + len(match.group()))
        elif kind == "other" and match.group() in ("'\"`" if dialect is SPARK else "'\""):
            what = gettext("a string") if match.group() == "'" else gettext("a quoted name")
            raise _unclosed(script, begin, what)
        elif kind != "space":
            yield kind, begin, position


def _comment_end(script: str, begin: int) -> int:
    """Comments nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(script, begin):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise _unclosed(script, begin, gettext("a comment"))


def _unclosed(script: str, begin: int, what: str) -> SqlSyntaxError:
    line = script.count("\n", 0, begin) + 1
    message = gettext("line %(line)s: %(what)s that begins here is never closed")
    return SqlSyntaxError(message % {"line": line, "what": what})
