"""Reading logs: by characters, by lines, from the end, by text. Every answer is bounded in size and in time."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from instances.engine.logs.levels import FILTERS, Level, at_least, level_of
from instances.engine.logs.sources import Segment, Source, source_of
from instances.engine.logs.timeline import heads
from instances.models import Execution

# Lines of one page at most, and seconds that one question may take.
MOST_LINES = 5000
SECONDS = 3.0
_PIECE = 1024 * 1024
# Characters of the lines of one page, about.
MOST_CHARS = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogPage:
    """`text` from the cursor asked for; read on at `next_cursor`; `done` when no more will ever come."""

    text: str
    next_cursor: int
    done: bool


@dataclass(frozen=True, slots=True)
class Line:
    """`number` counts from 1; `start`: characters before it; `level`: trace, debug, info, warn, error; `text` has no line
    end; `ended` tells that it has one, so that it will never grow."""

    number: int
    start: int
    text: str
    level: str
    ended: bool = True


@dataclass(frozen=True, slots=True)
class LinesPage:
    """Lines in their order. `next_line`: where to ask on, None at the end of a log to which nothing will be added.
    `previous_line`: what to pass to `before` for those above, None at the beginning. `next_cursor`: the character where
    `next_line` begins, at which a follower goes on. `total`: lines that there are now. `partial`: the time was over, and
    there may be more between `previous_line` and `next_line`. `at_end`: all that there is now was looked at, though a last
    line without an end is the next one still."""

    lines: list[Line]
    next_line: int | None
    previous_line: int | None
    next_cursor: int
    total: int
    partial: bool = False
    at_end: bool = False


def read(execution: Execution, cursor: int = 0, limit: int = 256 * 1024) -> LogPage:
    """Up to `limit` characters of the log from `cursor` on; never skips or repeats one. Raises OSError."""
    source = source_of(execution)
    size = source.chars
    parts: list[str] = []
    position = cursor
    if cursor < size:
        for segment in source.from_char(cursor):
            piece = segment.load()[max(0, position - segment.start) :][: limit - (position - cursor)]
            parts.append(piece)
            position += len(piece)
            if position - cursor >= limit:
                break
    return LogPage("".join(parts), position, done=source.complete and position >= size)


def pieces(execution: Execution) -> Iterator[str]:
    """The whole log as it is now, in pieces of bounded size: for a download. Raises OSError."""
    page = read(execution, 0, _PIECE)
    if not page.text and not page.done:
        yield waiting(execution)
    while page.text:
        yield page.text
        page = read(execution, page.next_cursor, _PIECE)


def waiting(execution: Execution) -> str:
    """The composed lines of an execution that has written nothing yet: shown until its own first line comes."""
    return heads([execution.pk]).get(execution.pk, "")


def lines(execution: Execution, first: int = 1, count: int = 500, level: str = "all") -> LinesPage:
    """Up to `count` lines from line `first` on, of at least the level. Raises OSError; ValueError for an unknown level."""
    return _forward(source_of(execution), first, count, level)


def before(execution: Execution, line: int, count: int = 500, level: str = "all") -> LinesPage:
    """The last `count` lines before line `line`."""
    return _backward(source_of(execution), line, count, level)


def tail(execution: Execution, count: int = 500, level: str = "all") -> LinesPage:
    """The last `count` lines of at least the level."""
    source = source_of(execution)
    return _backward(source, source.total + 1, count, level)


def search(
    execution: Execution,
    text: str,
    first: int = 1,
    count: int = 200,
    level: str = "all",
    seconds: float = SECONDS,
) -> LinesPage:
    """Lines from `first` on that hold `text`, whatever the case. `next_line` past `total`: all were seen."""
    if not text:
        raise ValueError("write what to search for")
    return _forward(source_of(execution), first, count, level, text.lower(), seconds)


def first_error(execution: Execution, first: int = 1, level: str = "error") -> LinesPage:
    """The first line from `first` on of at least the level: a page of one line, or of none."""
    return _forward(source_of(execution), first, 1, level)


def _least(level: str) -> Level:
    try:
        return FILTERS[level]
    except KeyError:
        raise ValueError(f"level is one of {', '.join(FILTERS)}, not {level!r}") from None


def _forward(
    source: Source, first: int, count: int, level: str, needle: str = "", seconds: float = SECONDS
) -> LinesPage:
    first, count = max(1, first), max(1, min(count, MOST_LINES))
    scan = _Scan(source, first, source.total + 1, _least(level), needle, seconds)
    found: list[Line] = []
    chars = 0
    for line in scan:
        found.append(line)
        chars += len(line.text)
        if len(found) >= count or chars > MOST_CHARS:
            scan.pass_by(line)
            break
    end = scan.number > source.total
    return LinesPage(
        found,
        None if end and source.complete else scan.number,
        first if first > 1 else None,
        scan.char,
        source.total,
        scan.late,
        scan.at_end,
    )


def _backward(source: Source, line: int, count: int, level: str, seconds: float = SECONDS) -> LinesPage:
    """Looks at a window before the line, and at ever wider ones while too few of its lines pass the filter."""
    count, least = max(1, min(count, MOST_LINES)), _least(level)
    line = max(1, min(line, source.total + 1))
    deadline = time.monotonic() + seconds
    reach = count
    while True:
        first = max(1, line - reach)
        scan = _Scan(source, first, line, least, "", deadline - time.monotonic())
        # The first window is looked at whatever it takes.
        found = deque(scan, maxlen=count)
        wide = first == 1 or len(found) >= count or least == Level.TRACE
        if wide or scan.late or time.monotonic() > deadline:
            break
        reach *= 8
    kept = _fitting(found)
    previous = kept[0].number if kept and (len(found) >= count or first > 1) else first
    return LinesPage(
        kept,
        None if line > source.total and source.complete else scan.number,
        previous if previous > 1 else None,
        scan.char,
        source.total,
        scan.late or not wide,
        scan.at_end,
    )


def _fitting(found: Iterable[Line]) -> list[Line]:
    """The last of the lines that a page has room for."""
    kept: list[Line] = []
    chars = 0
    for line in reversed(list(found)):
        chars += len(line.text)
        if kept and chars > MOST_CHARS:
            break
        kept.append(line)
    kept.reverse()
    return kept


class _Scan:
    """Goes through the lines `first` to before `stop` of a log and yields those that pass. `number`, `char`: the line it
    would look at next and where that begins; `late`: the time was over before the end."""

    def __init__(
        self, source: Source, first: int, stop: int, least: Level, needle: str, seconds: float
    ) -> None:
        self._source, self._first, self._stop = source, first, stop
        self._least, self._needle = least, needle
        self._deadline = time.monotonic() + seconds
        self.number, self.char, self.late = first, 0, False
        self._saw_last = False

    @property
    def at_end(self) -> bool:
        """Whether all lines that there are have been looked at."""
        return self._saw_last or self.number > self._source.total

    def pass_by(self, line: Line) -> None:
        """The caller has seen this line and stops here."""
        self._saw_last = not line.ended
        # A last line that may still grow is looked at again.
        passed = line.ended or self._source.complete
        self.number = line.number + passed
        self.char = line.start + (len(line.text) + line.ended if passed else 0)

    def __iter__(self) -> Iterator[Line]:
        if self._first >= self._stop:
            self.char = self._start_of(self._first)
            return
        begun, begun_at, level = "", 0, Level.INFO
        looked = False
        for segment in self._source.from_line(self._first):
            if looked and time.monotonic() > self._deadline:
                self.late = True
                return
            if segment.carry is not None and not begun:
                level = segment.carry
            if not begun and self._is_of_no_interest(segment):
                self._skip(segment)
                continue
            looked = True
            text = segment.load()
            if self._needle and not begun and self._needle not in text.lower() and text.endswith("\n"):
                self._skip(segment, text)
                continue
            at, number = (begun_at, segment.line + 1) if begun else (segment.start, segment.line + 1)
            *whole, begun = (begun + text).split("\n")
            for one in whole:
                if number >= self._stop:
                    return
                level = level_of(one, level)
                following = at + len(one) + 1
                if number >= self._first:
                    self.number, self.char = number + 1, following
                    if self._passes(one, level):
                        yield Line(number, at, one, level.name.lower())
                at, number = following, number + 1
            begun_at = at
        # Less than the log holds: it was sealed meanwhile, and is looked at again from here.
        is_last = begun_at + len(begun) >= self._source.chars
        if begun and is_last and self._first <= number < self._stop:
            self.number, self.char, self._saw_last = number, begun_at, True
            level = level_of(begun, level)
            if self._passes(begun, level):
                yield Line(number, begun_at, begun, level.name.lower(), ended=False)
            if self._source.complete:
                self.number, self.char = number + 1, begun_at + len(begun)

    def _passes(self, text: str, level: Level) -> bool:
        return level >= self._least and (not self._needle or self._needle in text.lower())

    def _is_of_no_interest(self, segment: Segment) -> bool:
        """Whether the index says that no line of it passes."""
        if segment.mask is None or segment.lines is None or self._least == Level.TRACE:
            return False
        following = segment.line + segment.lines + 1
        # A last line without an end is looked at.
        inside = following <= self._stop and following != self._source.total
        return inside and not segment.mask & at_least(self._least)

    def _skip(self, segment: Segment, text: str | None = None) -> None:
        ends = text.count("\n") if text is not None else segment.lines or 0
        self.number = max(self.number, segment.line + ends + 1)
        self.char = segment.start + (len(text) if text is not None else segment.chars or 0)

    def _start_of(self, number: int) -> int:
        """The character at which a line begins; the end of the log for a line after the last."""
        for segment in self._source.from_line(number):
            text, line = segment.load(), segment.line + 1
            place = 0
            while line < number:
                place = text.find("\n", place) + 1
                if not place:
                    break
                line += 1
            if line == number:
                return segment.start + place
        return self._source.chars


def line_ends_before(execution: Execution, cursor: int) -> int:
    """Line ends before character `cursor`: the number of the line there, less one. Raises OSError."""
    source = source_of(execution)
    for segment in source.from_char(cursor):
        return segment.line + segment.load()[: max(0, cursor - segment.start)].count("\n")
    return source.total
