"""The file of a sealed log: gzip members that can be read one by one (docs/adr/0015-logs.md). No database here.

    block, block, ...           each a member of its own, about BLOCK characters, cut at a line end
    index, ...                  empty members; their extra field (subfield WI) holds one record a block
    sizes, ...                  the same (subfield WB) with the bytes of each block's text; older files have none
    trailer                     an empty member of fixed size; its extra field (subfield WT) says where the index begins

A log of at most BLOCK characters is one ordinary member, without index and trailer.
"""

import gzip
import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

from instances.engine.logs.levels import Level, summary
from instances.engine.logs.ranges import Ranged

# Characters of one block.
BLOCK = 512 * 1024
_LEVEL_OF_COMPRESSION = 5
# Of a block: bytes in the file, characters, line ends, level in force at its beginning, mask of its levels.
_RECORD = struct.Struct("<IIIBBxx")
# Where the index begins, characters, line ends, blocks, whether the last line has no end.
_TRAILER = struct.Struct("<QQQIB")
_HEAD = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
_EMPTY = b"\x03\x00" + b"\x00" * 8
_RECORDS_A_MEMBER = 4000
_SIZE = struct.Struct("<I")
_TRAILER_SIZE = len(_HEAD) + 2 + 4 + _TRAILER.size + len(_EMPTY)
# One read brings the trailer and, of all but huge logs, the index.
_TAIL = 64 * 1024


def _note(kind: bytes, data: bytes) -> bytes:
    """An empty gzip member with a subfield: nothing for those who only unpack."""
    field = kind + struct.pack("<H", len(data)) + data
    return _HEAD + struct.pack("<H", len(field)) + field + _EMPTY


def _pack(text: str) -> bytes:
    return gzip.compress(text.encode("utf-8", "replace"), compresslevel=_LEVEL_OF_COMPRESSION, mtime=0)


class BlockWriter:
    """Writes a sealed log to `file` from pieces of text in constant memory. `chars`, `lines`: what it has got so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending: list[str] = []
        self._held = 0
        self._records: list[bytes] = []
        self._sizes: list[bytes] = []
        self._written = 0
        self._carry = Level.INFO
        self._open = False
        self.chars = self.lines = 0

    def add(self, text: str) -> None:
        self._pending.append(text)
        self._held += len(text)
        self.chars += len(text)
        self.lines += text.count("\n")
        while self._held > BLOCK:
            whole = "".join(self._pending)
            cut = whole.rfind("\n", 0, BLOCK) + 1 or BLOCK
            self._block(whole[:cut])
            self._pending, self._held = [whole[cut:]], len(whole) - cut

    def finish(self) -> None:
        rest = "".join(self._pending)
        if not self._records:
            self._file.write(_pack(rest))
            return
        if rest:
            self._block(rest)
        start = self._written
        for first in range(0, len(self._records), _RECORDS_A_MEMBER):
            self._file.write(_note(b"WI", b"".join(self._records[first : first + _RECORDS_A_MEMBER])))
        for first in range(0, len(self._sizes), _RECORDS_A_MEMBER):
            self._file.write(_note(b"WB", b"".join(self._sizes[first : first + _RECORDS_A_MEMBER])))
        self._file.write(
            _note(b"WT", _TRAILER.pack(start, self.chars, self.lines, len(self._records), self._open))
        )

    def _block(self, text: str) -> None:
        packed = _pack(text)
        self._file.write(packed)
        mask, after = summary(text, self._carry)
        self._records.append(_RECORD.pack(len(packed), len(text), text.count("\n"), self._carry, mask))
        self._sizes.append(_SIZE.pack(len(text.encode("utf-8", "replace"))))
        self._written += len(packed)
        self._carry = after
        self._open = not text.endswith("\n")


def pack(pieces: Iterable[str], file: BinaryIO) -> int:
    """Writes a whole log to `file`; the number of its characters."""
    writer = BlockWriter(file)
    for piece in pieces:
        writer.add(piece)
    writer.finish()
    return writer.chars


@dataclass(frozen=True, slots=True)
class Index:
    """Where the blocks of a file lie. Entry n of `offsets`, `chars` and `lines` is what comes before block n; each has one
    more entry than there are blocks, the total. `open`: the last line has no end. `whole`: the text, of a file without an
    index. `sizes`: bytes of text before each block, None if the file does not tell."""

    offsets: tuple[int, ...]
    chars: tuple[int, ...]
    lines: tuple[int, ...]
    carries: tuple[Level, ...]
    masks: tuple[int, ...]
    open: bool
    whole: str | None = None
    sizes: tuple[int, ...] | None = None

    @property
    def blocks(self) -> int:
        return len(self.carries)

    def block_at_char(self, char: int) -> int:
        return min(max(bisect_right(self.chars, char) - 1, 0), self.blocks - 1)

    def block_at_line(self, line: int) -> int:
        """The block to read from for line `line` (from 1): it holds the line end before it."""
        return min(max(bisect_left(self.lines, line - 1) - 1, 0), self.blocks - 1)


def read_index(file: Ranged) -> Index:
    """Of a sealed file; raises OSError when it cannot be read or is damaged."""
    try:
        start = max(0, file.size - _TAIL)
        tail = file.read(start, file.size - start)
        found = _trailer(tail)
        if found is None:
            data = tail if start == 0 else file.read(0, file.size)
            text = gzip.decompress(data).decode("utf-8", "replace")
            mask, _ = summary(text)
            sizes = (0, len(text)), (0, text.count("\n"))
            is_open = bool(text) and not text.endswith("\n")
            in_bytes = (0, len(text.encode()))
            return Index((0, file.size), *sizes, (Level.INFO,), (mask,), is_open, text, in_bytes)
        begin, chars, lines, count, is_open = found
        notes = (
            tail[begin - start : -_TRAILER_SIZE] if begin >= start else file.read(begin, file.size - begin)
        )
        return _parsed(notes, count, chars, lines, is_open)
    except (EOFError, zlib.error, struct.error, gzip.BadGzipFile) as error:
        raise OSError(f"the stored log is damaged: {error}") from error


def read_block(file: Ranged, index: Index, number: int) -> str:
    """The text of one block; raises OSError."""
    if index.whole is not None:
        return index.whole
    try:
        data = file.read(index.offsets[number], index.offsets[number + 1] - index.offsets[number])
        return gzip.decompress(data).decode("utf-8", "replace")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(f"the stored log is damaged: {error}") from error


def _trailer(tail: bytes) -> tuple[int, int, int, int, bool] | None:
    data = tail[-_TRAILER_SIZE:]
    if len(data) < _TRAILER_SIZE or not data.startswith(_HEAD) or data[12:14] != b"WT":
        return None
    start, chars, lines, count, is_open = _TRAILER.unpack_from(data, 16)
    return start, chars, lines, count, bool(is_open)


def _parsed(notes: bytes, count: int, chars: int, lines: int, is_open: bool) -> Index:
    records: list[tuple[int, int, int, int, int]] = []
    place = 0
    while len(records) < count:
        (length,) = struct.unpack_from("<H", notes, place + 14)
        place += 16
        records += _RECORD.iter_unpack(notes[place : place + length])
        place += length + len(_EMPTY)
    sizes: list[int] = []
    while len(sizes) < count and notes[place + 12 : place + 14] == b"WB":
        (length,) = struct.unpack_from("<H", notes, place + 14)
        place += 16
        sizes += (size for (size,) in _SIZE.iter_unpack(notes[place : place + length]))
        place += length + len(_EMPTY)
    columns = list(zip(*records, strict=True))
    offsets, chars_before, lines_before = (tuple(accumulate(column, initial=0)) for column in columns[:3])
    index = Index(
        offsets,
        chars_before,
        lines_before,
        tuple(Level(carry) for carry in columns[3]),
        tuple(columns[4]),
        is_open,
        sizes=tuple(accumulate(sizes, initial=0)) if len(sizes) == count else None,
    )
    if (index.chars[-1], index.lines[-1]) != (chars, lines):
        raise OSError("the stored log is damaged: its index does not fit")
    return index
