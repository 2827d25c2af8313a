"""Where the text of a log is, behind one face: sealed blocks, chunks of a run that is on, or lines composed from rows."""

import datetime as dt
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol
from weakref import WeakKeyDictionary

from django.core.files.storage import Storage, storages
from django.db.models import BigIntegerField, Func, QuerySet, Sum, Window
from django.db.models.functions import Length, Right
from django.utils import timezone

from instances.engine.logs import blocks, timeline
from instances.engine.logs.levels import Level
from instances.engine.logs.ranges import open_ranged
from instances.models import Execution, LogChunk

# An execution that ended so long ago writes nothing any more, whatever became of its worker.
SETTLED = dt.timedelta(seconds=60)
# One that was found lost writes nothing soon after: a worker that lives has killed its child long before its lease ran out.
LOST_SETTLED = dt.timedelta(seconds=2)
# How far a reader of chunks looks back for the line that a stack trace belongs to.
_CHUNKS_BACK, _CHARS_BACK = 16, 16 * 1024
_BYTES = Func("text", function="octet_length", output_field=BigIntegerField())
# Indexes of sealed files that a process remembers.
_REMEMBERED = 64


@dataclass(slots=True)
class Segment:
    """A piece of a log. `start`, `line`: characters and line ends before it. `carry`: the level in force where it begins,
    None if unknown; `mask`: the levels of its lines, None if unknown."""

    start: int
    line: int
    load: Callable[[], str]
    carry: Level | None = None
    mask: int | None = None
    # Line ends and characters in it, where they are known without its text.
    lines: int | None = None
    chars: int | None = None


class Source(Protocol):
    """A log as it is now. `complete`: nothing will ever be added. `chars`, `total`: characters and lines there are, one
    that has no end yet included."""

    complete: bool
    chars: int
    total: int

    def from_char(self, char: int) -> Iterator[Segment]:
        """The segments from the one that holds character `char` on."""

    def from_line(self, line: int) -> Iterator[Segment]:
        """Segments from one on in which, or after which, line `line` (from 1) begins."""


class ByteSource(Source, Protocol):
    """The same, by bytes of UTF-8."""

    def size(self) -> int:
        """Bytes of all of it."""

    def from_byte(self, byte: int) -> tuple[int, Iterator[Segment]]:
        """(bytes before them, the segments from the one that holds byte `byte` on)."""


def source_of(execution: Execution) -> ByteSource:
    """The log of an execution; raises OSError when its sealed file cannot be read."""
    if execution.log_file:
        return Sealed(execution.log_file)
    live = Live(execution)
    if live.stored:
        return live
    # No chunks: there never were any, or they have been sealed since the execution was loaded.
    execution.refresh_from_db(fields=["log_file", "log_bytes", "ended_at"])
    if execution.log_file:
        return Sealed(execution.log_file)
    if live.complete and execution.ended_at is not None and not execution.log_bytes:
        return Composed(execution)
    return live


class Sealed:
    """A file in the storage 'logs'."""

    complete = True

    def __init__(self, name: str) -> None:
        storage = storages["logs"]
        self._name = name
        self._file = open_ranged(storage, name)
        self._index = _index(storage, name, lambda: blocks.read_index(self._file))
        self.chars = self._index.chars[-1]
        self.total = self._index.lines[-1] + self._index.open

    def from_char(self, char: int) -> Iterator[Segment]:
        return self._from(self._index.block_at_char(char))

    def from_line(self, line: int) -> Iterator[Segment]:
        return self._from(self._index.block_at_line(line))

    def size(self) -> int:
        return self._sizes()[-1]

    def from_byte(self, byte: int) -> tuple[int, Iterator[Segment]]:
        sizes = self._sizes()
        number = min(max(bisect_right(sizes, byte) - 1, 0), self._index.blocks - 1)
        return sizes[number], self._from(number)

    def _sizes(self) -> tuple[int, ...]:
        """Bytes before each block; a file of an older release is read for it, block by block."""
        if self._index.sizes is None:
            found = (len(segment.load().encode()) for segment in self._from(0))
            self._index = replace(self._index, sizes=tuple(accumulate(found, initial=0)))
            _remember(storages["logs"], self._name, self._index)
        assert self._index.sizes is not None
        return self._index.sizes

    def _from(self, first: int) -> Iterator[Segment]:
        index = self._index
        for number in range(first, index.blocks):
            yield Segment(
                index.chars[number],
                index.lines[number],
                lambda number=number: blocks.read_block(self._file, index, number),  # type: ignore[misc]
                index.carries[number],
                index.masks[number],
                index.lines[number + 1] - index.lines[number],
                index.chars[number + 1] - index.chars[number],
            )


_indexes: WeakKeyDictionary[Storage, dict[str, blocks.Index]] = WeakKeyDictionary()


def _index(storage: Storage, name: str, read: Callable[[], blocks.Index]) -> blocks.Index:
    """The index of a file, read once; the name of a sealed file never gets another content."""
    found = _indexes.setdefault(storage, {}).get(name)
    if found is None:
        found = read()
        # A log of one block is its own index: not worth the memory.
        if found.whole is None:
            _remember(storage, name, found)
    return found


def _remember(storage: Storage, name: str, index: blocks.Index) -> None:
    known = _indexes.setdefault(storage, {})
    while name not in known and len(known) >= _REMEMBERED:
        known.pop(next(iter(known)), None)
    known[name] = index


class Live:
    """Chunks, and the ending that a worker which was killed could not write."""

    def __init__(self, execution: Execution) -> None:
        self._chunks = LogChunk.objects.filter(execution=execution)
        # Judged before the chunks are looked at, so that none of them can come later.
        self.complete = is_complete(execution)
        last = self._chunks.order_by("-seq").values_list("seq", "start", "line", "text").first()
        self.stored = last is not None
        self._last, start, line, text = last or (-1, 0, 0, "")
        self._stored_chars, self._stored_lines = start + len(text), line + text.count("\n")
        self._ending = ""
        if self.stored and self.complete and is_abandoned(execution):
            self._ending = timeline.ending(execution, at_line_start=text.endswith("\n"))
        last_text = self._ending or text
        self.chars = self._stored_chars + len(self._ending)
        self.total = self._stored_lines + self._ending.count("\n") + _is_open(last_text)

    def from_char(self, char: int) -> Iterator[Segment]:
        if char >= self._stored_chars and self._ending:
            return iter([self._ending_segment()])
        return self._from(self._chunks.filter(start__lte=char))

    def from_line(self, line: int) -> Iterator[Segment]:
        return self._from(self._chunks.filter(line__lt=line - 1), look_back=True)

    def size(self) -> int:
        return self._bytes_before(self._last + 1) + len(self._ending.encode())

    def from_byte(self, byte: int) -> tuple[int, Iterator[Segment]]:
        stored = self._bytes_before(self._last + 1)
        if byte >= stored and self._ending:
            return stored, iter([self._ending_segment()])
        # The lengths alone are read, and no text.
        before = Window(Sum(_BYTES), order_by="seq") - _BYTES
        rows = self._chunks.filter(seq__lte=self._last).annotate(before=before).order_by("seq")
        first, known = 0, 0
        for seq, size in rows.values_list("seq", "before").iterator(chunk_size=2000):
            if size > byte:
                break
            first, known = seq, int(size)
        return known, self._from(self._chunks.filter(seq__lte=first))

    def _bytes_before(self, seq: int) -> int:
        rows = self._chunks.filter(seq__lt=seq)
        found = rows.aggregate(size=Sum(_BYTES))
        return int(found["size"] or 0)

    def _from(self, before: QuerySet[LogChunk], *, look_back: bool = False) -> Iterator[Segment]:
        first = before.order_by("-seq").values_list("seq", flat=True).first() or 0
        earlier = self._earlier(first) if look_back else ""
        rows = self._chunks.filter(seq__gte=first, seq__lte=self._last).order_by("seq")
        expected = first
        for seq, start, line, text in rows.values_list("seq", "start", "line", "text").iterator(chunk_size=8):
            if seq != expected:
                return  # sealed meanwhile: the reader comes again, and finds the file
            expected += 1
            if earlier:
                text, start, line, earlier = (
                    earlier + text,
                    start - len(earlier),
                    line - earlier.count("\n"),
                    "",
                )
            yield Segment(start, line, lambda text=text: text)  # type: ignore[misc]
        if self._ending and expected == self._last + 1:
            yield self._ending_segment()

    def _earlier(self, seq: int) -> str:
        """What comes before a chunk, from the beginning of a line on: the level of a line may be that of lines before."""
        rows = self._chunks.filter(seq__gte=seq - _CHUNKS_BACK, seq__lt=seq).order_by("-seq")
        rows = rows.annotate(length=Length("text"), end=Right("text", _CHARS_BACK))
        text = ""
        for start, length, end in rows.values_list("start", "length", "end"):
            text = end + text
            if not start and length == len(end):
                return text
            if len(text) >= _CHARS_BACK:
                break
        return text[text.find("\n") + 1 :] if "\n" in text else ""

    def _ending_segment(self) -> Segment:
        return Segment(self._stored_chars, self._stored_lines, lambda: self._ending)


class Composed:
    """The log of an execution that wrote nothing: all of it made from rows."""

    complete = True

    def __init__(self, execution: Execution) -> None:
        self._text = timeline.whole(execution)
        self.chars = len(self._text)
        self.total = self._text.count("\n") + _is_open(self._text)

    def from_char(self, char: int) -> Iterator[Segment]:
        return iter([Segment(0, 0, lambda: self._text, Level.INFO)])

    from_line = from_char

    def size(self) -> int:
        return len(self._text.encode())

    def from_byte(self, byte: int) -> tuple[int, Iterator[Segment]]:
        return 0, self.from_char(0)


def _is_open(text: str) -> bool:
    """Whether it ends in the middle of a line."""
    return bool(text) and not text.endswith("\n")


def is_complete(execution: Execution) -> bool:
    """Whether all that will ever be written is there: the result may be known before the last lines are written.

    The writer counts the bytes when it has written all of them; one that was killed never does.
    """
    if execution.ended_at is None:
        return False
    if execution.run_started_at is None or execution.dry_run or execution.log_bytes:
        return True
    return _is_settled(execution) or _is_instant(execution)


def is_abandoned(execution: Execution) -> bool:
    """Whether it ran and its worker never wrote how it ended."""
    return execution.run_started_at is not None and not execution.log_bytes and _is_settled(execution)


def _is_settled(execution: Execution) -> bool:
    if execution.ended_at is None:
        return False
    wait = LOST_SETTLED if execution.error_code == "LOST" else SETTLED
    return timezone.now() - execution.ended_at > wait


def _is_instant(execution: Execution) -> bool:
    return execution.instance.task_type == "VIRTUAL"
