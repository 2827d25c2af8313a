"""What a run prints, cut to size: the log keeps a head, a rolling tail, and says what it left out between.

Per run at most `head` + `tail` bytes are kept (and held in memory: only the tail), whatever is printed.
Masking costs only for what is kept. Bytes stay bytes here; `decode` makes text of them for the database.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from instances.runners.base import OUTPUT, SYSTEM, LogSink
from instances.runners.masker import Masker

_PIECE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Caps:
    """Bytes; `rate` is bytes per second while the head is written (None: as fast as it comes)."""

    head: int = 8 * 1024 * 1024
    tail: int = 8 * 1024 * 1024
    line: int = 64 * 1024
    rate: int | None = None


def decode(data: bytes) -> str:
    """Text that PostgreSQL takes: invalid UTF-8 becomes U+FFFD, NUL is removed."""
    return data.decode("utf-8", "replace").replace("\0", "")


def human_size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


class OutputLog:
    """The way from a child's pipe to the log sink. Used by one thread.

    `feed` takes raw output, `say` writes a line of the platform's own, `finish` writes what is still kept.
    """

    def __init__(
        self, sink: LogSink, masker: Masker, caps: Caps, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sink = sink
        self._masker = masker
        self._caps = caps
        self._lines = _LineCutter(caps.line)
        self._rate = _RateCap(caps.rate, clock)
        self._head_left = caps.head
        self._tail: deque[bytearray] | None = None  # None while the head is not full
        self._tail_size = 0
        self._tail_dropped = 0
        self._rest = b""  # an unfinished UTF-8 character
        self._at_line_start = True

    def feed(self, data: bytes) -> None:
        while data and self._tail is None:
            part, data = data[: self._head_left], data[self._head_left :]
            self._feed_head(part)
            if self._head_left <= 0:
                self._start_tail()
        if data:
            self._feed_tail(data)

    def say(self, text: str) -> None:
        """One line of the platform's own; it never counts against the caps."""
        self._say(self._masker.mask_text(text))

    def finish(self) -> None:
        """Ends the log; call once."""
        if self._tail is None:
            self._report_rate(self._rate.settle())
            self._end_stream()
        else:
            self._write_tail(b"".join(self._tail))
            self._tail.clear()
        self._emit_rest()

    def _feed_head(self, data: bytes) -> None:
        resumes = self._rate.dropping
        data, overdue = self._rate.admit(data)
        self._report_rate(overdue)
        if resumes and data:
            data = self._masker.cut_start(data)
        self._head_left -= self._write(data)
        if self._rate.dropping:
            self._emit(self._masker.break_off())

    def _write(self, data: bytes) -> int:
        """Cuts lines, masks and writes; returns how many bytes of `data` were kept."""
        kept = 0
        for piece, left_out in self._lines.cut(data):
            kept += len(piece)
            self._emit(self._masker.feed(piece))
            if left_out:
                self._emit(self._masker.break_off())
                self._note_cut_line(left_out)
        return kept

    def _end_stream(self) -> None:
        self._emit(self._masker.break_off() if self._lines.cutting else self._masker.flush())
        self._note_cut_line(self._lines.finish())

    def _start_tail(self) -> None:
        self._report_rate(self._rate.settle())
        pending = self._masker.take_pending()
        self._tail = deque([bytearray(pending)])
        self._tail_size = len(pending)
        self._say(
            f"the log has reached {human_size(self._caps.head)}; from here on only the last "
            f"{human_size(self._caps.tail)} are kept, and shown when the run ends"
        )

    def _feed_tail(self, data: bytes) -> None:
        assert self._tail is not None
        self._tail_size += len(data)
        if self._tail and len(self._tail[-1]) + len(data) <= _PIECE:
            self._tail[-1] += data  # many small writes must not become many small objects
        else:
            self._tail.append(bytearray(data))
        while self._tail and self._tail_size - len(self._tail[0]) >= self._caps.tail:
            dropped = len(self._tail.popleft())
            self._tail_size -= dropped
            self._tail_dropped += dropped

    def _write_tail(self, data: bytes) -> None:
        over = max(0, len(data) - self._caps.tail)
        dropped = self._tail_dropped + over
        if dropped:
            kept = self._masker.cut_start(data[over:])
            dropped += len(data) - over - len(kept)
            data = kept
            self._emit(self._masker.break_off())
            self._note_cut_line(self._lines.finish())
            self._say(f"{human_size(dropped)} left out here")
        for start in range(0, len(data), _PIECE):
            self._write(data[start : start + _PIECE])
        self._end_stream()

    def _report_rate(self, dropped: int) -> None:
        if dropped:
            rate = human_size(self._caps.rate or 0)
            self._say(f"{human_size(dropped)} left out here (more than {rate} per second)")

    def _note_cut_line(self, left_out: int) -> None:
        if left_out:
            self._say(f"{human_size(left_out)} of this line left out")

    def _say(self, text: str) -> None:
        self._emit_rest()
        start = "" if self._at_line_start else "\n"
        self._sink.write(SYSTEM, f"{start}[weops] {text}\n".encode("utf-8", "replace"))
        self._at_line_start = True

    def _emit(self, data: bytes) -> None:
        data = self._rest + data
        cut = len(data) - _unfinished_character(data)
        self._rest = data[cut:]
        if cut:
            self._at_line_start = data[cut - 1] == 0x0A
            self._sink.write(OUTPUT, data[:cut])

    def _emit_rest(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._at_line_start = False
            self._sink.write(OUTPUT, rest)


class _LineCutter:
    """Cuts lines longer than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0  # of the current line so far
        self._left_out = 0  # of the current line; 0 while nothing is cut
        self.cutting = False

    def cut(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Pieces to keep, each with the number of bytes left out right after it, told at that line's end."""
        position = 0
        while position < len(data):
            if self.cutting:
                newline = data.find(b"\n", position)
                end = len(data) if newline < 0 else newline
                self._left_out += end - position
                position = end + 1  # the note that replaces the rest ends the line
                if newline >= 0:
                    yield b"", self.finish()
                continue
            room = self._limit - self._length
            if len(data) - position <= room:
                newline = data.rfind(b"\n", position)
                self._length = self._length + len(data) - position if newline < 0 else len(data) - newline - 1
                yield data[position:], 0
                return
            newline = data.rfind(b"\n", position, position + room + 1)
            end = position + room if newline < 0 else newline + 1
            self._length, self.cutting = (self._limit, True) if newline < 0 else (0, False)
            yield data[position:end], 0
            position = end

    def finish(self) -> int:
        """Bytes left out of the line that the stream ended in; also forgets that line."""
        left_out, self._left_out, self._length, self.cutting = self._left_out, 0, 0, False
        return left_out


class _RateCap:
    """Lets through `rate` bytes in each second and counts what it drops."""

    def __init__(self, rate: int | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._second = clock()
        self._used = 0
        self._dropped = 0

    @property
    def dropping(self) -> bool:
        return self._dropped > 0

    def admit(self, data: bytes) -> tuple[bytes, int]:
        """What may pass, and how many bytes were dropped in the seconds before (to be told now)."""
        if self._rate is None:
            return data, 0
        overdue = 0
        now = self._clock()
        if now - self._second >= 1.0:
            overdue, self._dropped, self._used, self._second = self._dropped, 0, 0, now
        kept = data[: max(0, self._rate - self._used)]
        self._used += len(kept)
        self._dropped += len(data) - len(kept)
        return kept, overdue

    def settle(self) -> int:
        dropped, self._dropped = self._dropped, 0
        return dropped


def _unfinished_character(data: bytes) -> int:
    """How many bytes at the end begin a UTF-8 character that is not complete (0 to 3)."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if size > back else 0
        if byte < 0x80:
            return 0
    return 0
