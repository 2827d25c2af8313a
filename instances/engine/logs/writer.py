"""Writing logs: one thread of a worker writes the output of all its runs, another seals what has ended."""

import io
import logging
import queue
import threading
import time
from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.db import connection

from instances.engine.logs import blocks
from instances.engine.logs.sealing import seal, store_file

log = logging.getLogger(__name__)

# At most so long until output can be read. For half of it an open log collects: a short run then needs no chunk at all.
FLUSH_SECONDS = 0.3
MANY_PIECES = 100
# Bytes that wait in memory for the database, over all runs of a worker; beyond that, children wait on their pipes.
MOST_BUFFERED = 16 * 2**20
# Ended logs that wait for the sealer, so that a worker with more runs than it can seal does not grow.
MOST_TO_SEAL = 1_000
# Characters of one chunk.
CHUNK = 256 * 1024


@dataclass(slots=True)
class _Open:
    """A log that is being written."""

    execution_id: int
    decoder: IncrementalDecoder = field(default_factory=lambda: getincrementaldecoder("utf-8")("replace"))
    pending: list[str] = field(default_factory=list)
    # When the oldest pending piece came, monotonic seconds.
    since: float = 0.0
    # What comes before the output has been composed.
    has_head: bool = False
    # Chunks were sent to the database, whether or not it answered.
    has_chunks: bool = False
    # The file of a log that was sealed without ever having had a chunk.
    file: str = ""
    seq: int = 0
    written: int = 0
    # Line ends in what was written.
    lines: int = 0
    bytes: int = 0
    closed: bool = False
    # Somebody else writes on: it is neither counted nor sealed here.
    handed_on: bool = False


class Sink:
    """Where one run's output goes; takes bytes from the run's thread."""

    def __init__(self, writer: "LogWriter", entry: _Open) -> None:
        self._writer, self._entry = writer, entry
        self._at_line_start = True

    def write(self, stream: str, data: bytes) -> None:
        """Adds output, UTF-8 bytes. Blocks while the worker holds too much that the database has not taken."""
        if data:
            self._at_line_start = data.endswith(b"\n")
        self._writer.add(self._entry, data)

    def line(self, text: str) -> None:
        """A line of the engine's own; one that the task has not ended is ended first."""
        start = "" if self._at_line_start else "\n"
        self.write("engine", f"{start}[weops] {text}\n".encode("utf-8", "replace"))

    def close(self) -> None:
        """No more will come: the rest is flushed and the log is sealed, soon, in the background."""
        self._writer.close(self._entry)

    def hand_on(self, seconds: float = 10.0) -> None:
        """Somebody else goes on with this log (`appending`): waits until what was written is stored, for so long at most."""
        self._writer.hand_on(self._entry, seconds)


_INSERT = """
INSERT INTO instances_logchunk (execution_id, seq, start, line, text)
SELECT c.* FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bigint[], %s::text[])
  AS c(execution_id, seq, start, line, text)
JOIN instances_execution e ON e.id = c.execution_id
-- Again after a commit whose answer got lost: the same text from the same place, and what was printed since.
ON CONFLICT (execution_id, seq) DO UPDATE SET start = excluded.start, line = excluded.line, text = excluded.text
"""
_COUNT = """
UPDATE instances_execution e
SET log_lines = c.lines, log_bytes = c.bytes, log_file = CASE WHEN e.log_file = '' THEN c.file ELSE e.log_file END
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[]) AS c(id, lines, bytes, file) WHERE e.id = c.id
"""


class LogWriter:
    """One thread of a worker that writes the output of all its runs, a statement a beat.

    `heads(ids)` gives what comes before the output of executions, {id: text}, asked once for each that prints anything.
    """

    def __init__(self, heads: Callable[[Sequence[int]], dict[int, str]] = lambda _ids: {}) -> None:
        self._heads = heads
        self._open: dict[int, _Open] = {}
        self._buffered = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="log-writer", daemon=True)
        # Ended logs with chunks: to pack a large one takes longer than other runs' lines may wait.
        self._to_seal: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._sealer = threading.Thread(target=self._seal_ended, name="log-sealer", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._sealer.start()

    def stop(self, timeout: float = 10) -> None:
        """Writes what is left and ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        self._thread.join(timeout)
        self._to_seal.put(None)
        # What is not sealed in time stays in chunks, and maintenance seals it.
        self._sealer.join(max(0.0, deadline - time.monotonic()))

    def sink(self, execution_id: int) -> Sink:
        entry = _Open(execution_id)
        with self._changed:
            self._open[execution_id] = entry
        return Sink(self, entry)

    def add(self, entry: _Open, data: bytes) -> None:
        with self._changed:
            while self._buffered > MOST_BUFFERED and not self._stopping:
                self._changed.wait(1)
            # PostgreSQL's text holds no NUL.
            text = entry.decoder.decode(data).replace("\0", "\N{REPLACEMENT CHARACTER}")
            if not entry.pending:
                entry.since = time.monotonic()
            entry.pending.append(text)
            entry.bytes += len(data)
            self._buffered += len(data)

    def close(self, entry: _Open) -> None:
        with self._changed:
            self._end(entry)
            self._changed.notify_all()

    def hand_on(self, entry: _Open, seconds: float) -> None:
        with self._changed:
            entry.handed_on = True
            self._end(entry)
            self._changed.notify_all()
            self._changed.wait_for(lambda: entry.execution_id not in self._open, seconds)

    def _end(self, entry: _Open) -> None:
        if not entry.closed:
            # What is left of a character that never ended.
            entry.pending.append(entry.decoder.decode(b"", True))
            entry.closed = True

    def _loop(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._stopping or any(e.closed for e in self._open.values()),
                        FLUSH_SECONDS / 2,
                    )
                    stopping = self._stopping
                try:
                    self._flush()
                except Exception as error:  # whatever it is: without this thread every run would stand still
                    log.warning("logs wait for the database: %s", error)
                    connection.close()
                    time.sleep(min(FLUSH_SECONDS * 3, 1))
                if stopping and not self._open:
                    return
                if stopping:
                    self._stop_open()
        finally:
            connection.close()

    def _stop_open(self) -> None:
        with self._changed:
            for entry in self._open.values():
                self._end(entry)

    def _flush(self) -> None:
        """Writes what is pending; what cannot be written stays pending."""
        with self._changed:
            old = time.monotonic() - FLUSH_SECONDS / 2
            batch = [
                (entry, "".join(entry.pending), entry.closed)
                for entry in self._open.values()
                if entry.closed or (entry.pending and (entry.since < old or len(entry.pending) > MANY_PIECES))
            ]
            for entry, _, _ in batch:
                entry.pending = []
        if not batch:
            # Between runs the connection goes back to the pool: an idle worker needs few.
            connection.close()
            return
        try:
            batch = self._headed(batch)
            self._write(batch)
        except Exception:
            with self._changed:
                for entry, text, _ in batch:
                    entry.pending.insert(0, text)
            raise
        done = [entry for entry, _, closed in batch if closed]
        with self._changed:
            self._buffered = sum(len(part) for e in self._open.values() for part in e.pending)
            for entry in done:
                self._open.pop(entry.execution_id, None)
            self._changed.notify_all()
        for entry in done:
            # What comes faster than it can be sealed stays in chunks, and maintenance seals it.
            if entry.has_chunks and not entry.handed_on and self._to_seal.qsize() < MOST_TO_SEAL:
                self._to_seal.put(entry.execution_id)

    def _headed(self, batch: list[tuple[_Open, str, bool]]) -> list[tuple[_Open, str, bool]]:
        """The batch, with what comes before the output where the output begins."""
        new = [entry.execution_id for entry, text, _ in batch if text and not entry.has_head]
        heads = self._heads(new) if new else {}
        headed = []
        for entry, text, closed in batch:
            if text and not entry.has_head:
                text = heads.get(entry.execution_id, "") + text
                # Also when it cannot be written now: it is part of what stays pending.
                entry.has_head = True
            headed.append((entry, text, closed))
        return headed

    def _write(self, batch: list[tuple[_Open, str, bool]]) -> None:
        rows = []
        for entry, text, closed in batch:
            if entry.file or (closed and not entry.handed_on and self._stored_whole(entry, text)):
                continue
            seq, start, line = entry.seq, entry.written, entry.lines
            for offset in range(0, len(text), CHUNK):
                piece = text[offset : offset + CHUNK]
                rows.append((entry.execution_id, seq, start, line, piece))
                seq, start, line = seq + 1, start + len(piece), line + piece.count("\n")
            entry.has_chunks |= bool(text)
        ended = [
            (entry, text) for entry, text, closed in batch if closed and entry.bytes and not entry.handed_on
        ]
        with connection.cursor() as cursor:
            if rows:
                cursor.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)])
            if ended:
                counts = ((e.execution_id, e.lines + text.count("\n"), e.bytes, e.file) for e, text in ended)
                cursor.execute(_COUNT, [list(column) for column in zip(*counts, strict=True)])
        for entry, text, _ in batch:
            entry.seq += -(-len(text) // CHUNK)
            entry.written += len(text)
            entry.lines += text.count("\n")

    def _stored_whole(self, entry: _Open, text: str) -> bool:
        """A short run's log becomes a file at once. When the storage fails it goes the way of longer ones."""
        if entry.has_chunks or not 0 < len(text) <= CHUNK:
            return False
        file = io.BytesIO()
        chars = blocks.pack([text], file)
        try:
            entry.file = store_file(entry.execution_id, chars, file)
        except Exception as error:  # storages raise errors of their own
            log.warning("log of execution %d cannot be stored yet: %s", entry.execution_id, error)
        return bool(entry.file)

    def _seal_ended(self) -> None:
        """A thread of its own. What fails stays in chunks; maintenance seals what is left over."""
        while True:
            execution_id = self._to_seal.get()
            try:
                if execution_id is None:
                    return
                seal(execution_id)
            except Exception as error:  # storages raise errors of their own; the chunks stay until one works
                log.warning("log of execution %d is not sealed yet: %s", execution_id, error)
                connection.close()
            finally:
                if self._to_seal.empty():
                    connection.close()
