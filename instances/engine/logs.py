"""Logs of executions: chunks in PostgreSQL while they run, one sealed compressed file when they have ended.

A cursor is a number of characters from the log's beginning; it stays right after the log is sealed. Log I/O never
takes part in a transaction that changes a state.
"""

import datetime as dt
import gzip
import logging
import threading
import time
from codecs import IncrementalDecoder, getincrementaldecoder
from dataclasses import dataclass, field

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection, transaction
from django.utils import timezone

from instances.models import Execution, LogChunk

log = logging.getLogger(__name__)

# At most so long until output can be read. For half of it an open log collects: a short run then needs no chunk at all.
FLUSH_SECONDS = 0.3
MANY_PIECES = 100
# Bytes that wait in memory for the database, over all runs of a worker; beyond that, children wait on their pipes.
MOST_BUFFERED = 16 * 2**20
# An execution that ended so long ago writes nothing any more, whatever became of its worker.
SETTLED = dt.timedelta(seconds=60)
# First key of the advisory lock of one who seals a log; the second is the execution.
_SEALING = 0x5EA1
# Characters of one chunk.
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogPage:
    """`text` from the cursor asked for; read on at `next_cursor`; `done` when no more will ever come."""

    text: str
    next_cursor: int
    done: bool


def read(execution: Execution, cursor: int = 0, limit: int = 256 * 1024) -> LogPage:
    """Up to about `limit` characters of the log from `cursor` on; never skips or repeats one."""
    if execution.log_file:
        text = _sealed_text(execution.log_file)
        part = text[cursor : cursor + limit]
        return LogPage(part, cursor + len(part), done=cursor + len(part) >= len(text))
    # Judged before the chunks are read, so that none of them can come later.
    complete = _complete(execution)
    parts: list[str] = []
    position = cursor
    # The chunk that holds the cursor is the last that starts at or before it.
    chunks = LogChunk.objects.filter(execution=execution)
    first = chunks.filter(start__lte=cursor).order_by("-start").values_list("seq", flat=True).first() or 0
    for start, text in (
        chunks.filter(seq__gte=first).order_by("seq").values_list("start", "text").iterator(chunk_size=8)
    ):
        piece = text[max(0, position - start) :][: limit - (position - cursor)]
        parts.append(piece)
        position += len(piece)
        if position - cursor >= limit:
            break
    if not parts:
        # No chunks: there never were any, or they have been sealed since the execution was loaded.
        execution.refresh_from_db(fields=["log_file"])
        if execution.log_file:
            return read(execution, cursor, limit)
    return LogPage("".join(parts), position, done=complete and position - cursor < limit)


def _complete(execution: Execution) -> bool:
    """Whether all that will ever be written is there: the result may be known before the last lines are written.

    The writer counts the bytes when it has written all of them; one that was killed never does.
    """
    if execution.ended_at is None:
        return False
    if execution.run_started_at is None or execution.dry_run or execution.log_bytes:
        return True
    return timezone.now() - execution.ended_at > SETTLED


def _sealed_text(name: str) -> str:
    with storages["logs"].open(name, "rb") as file:
        return gzip.decompress(file.read()).decode()


def seal(execution_id: int) -> None:
    """Moves an ended execution's chunks into one compressed file. Safe to repeat, and to call twice at once: while
    somebody else seals the same log this returns at once, and maintenance finds what may be left.

    The transaction holds only the lock (the state of the execution is not touched): two who wrote the same file would
    delete it for each other.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_SEALING, execution_id % 2**31])
        if not cursor.fetchone()[0]:
            return
        left = _seal(execution_id)
    # Only when the row's new name is committed; a crash before leaves a file that nobody names, and no log is lost.
    remove(left)


def _seal(execution_id: int) -> list[str]:
    """Stores the log and says so in the row; the names of the files that it replaced."""
    chunks = LogChunk.objects.filter(execution_id=execution_id)
    rows = list(chunks.order_by("seq").values_list("seq", "start", "text"))
    sealed = Execution.objects.filter(pk=execution_id).values_list("log_file", flat=True).first()
    if not rows or sealed is None:
        return []
    # A worker that was believed dead may write after its log was sealed.
    before = _sealed_text(sealed)[: rows[0][1]] if sealed else ""
    text = before + "".join(text for _, _, text in rows)
    name = _file_name(execution_id)
    stored = _store(name, text)
    Execution.objects.filter(pk=execution_id).update(log_file=stored)
    chunks.filter(seq__lte=rows[-1][0]).delete()
    # The one it replaces, or one whose writer died before it could say so.
    return sorted({name, sealed} - {stored, ""})


def _file_name(execution_id: int) -> str:
    # Folders of a thousand, so that none grows without end.
    return f"{execution_id // 1_000_000}/{execution_id // 1000 % 1000:03}/{execution_id}.log.gz"


def _store(name: str, text: str) -> str:
    """Writes a whole log as a compressed file; the name that the storage gave it."""
    return storages["logs"].save(name, ContentFile(gzip.compress(text.encode(), compresslevel=5, mtime=0)))


def remove(names: list[str]) -> None:
    """Deletes sealed logs; one that is gone already is no error."""
    for name in names:
        storages["logs"].delete(name)


@dataclass(slots=True)
class _Open:
    """A log that is being written."""

    execution_id: int
    decoder: IncrementalDecoder = field(default_factory=lambda: getincrementaldecoder("utf-8")("replace"))
    pending: list[str] = field(default_factory=list)
    # When the oldest pending piece came, monotonic seconds.
    since: float = 0.0
    # Chunks were sent to the database, whether or not it answered.
    has_chunks: bool = False
    # The file of a log that was sealed without ever having had a chunk.
    file: str = ""
    seq: int = 0
    written: int = 0
    lines: int = 0
    bytes: int = 0
    closed: bool = False


class Sink:
    """Where one run's output goes; takes bytes from the run's thread."""

    def __init__(self, writer: "LogWriter", entry: _Open) -> None:
        self._writer, self._entry = writer, entry

    def write(self, stream: str, data: bytes) -> None:
        """Adds output. Blocks while the worker holds too much that the database has not taken."""
        self._writer.add(self._entry, data)

    def line(self, text: str) -> None:
        """A line of the engine's own."""
        self.write("engine", f"[weops] {text}\n".encode("utf-8", "replace"))

    def close(self) -> None:
        """No more will come: the rest is flushed and the log is sealed, soon, in the background."""
        self._writer.close(self._entry)


_INSERT = """
INSERT INTO instances_logchunk (execution_id, seq, start, text)
SELECT c.* FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::text[]) AS c(execution_id, seq, start, text)
JOIN instances_execution e ON e.id = c.execution_id
-- Again after a commit whose answer got lost: the same text from the same place, and what was printed since.
ON CONFLICT (execution_id, seq) DO UPDATE SET start = excluded.start, text = excluded.text
"""
_COUNT = """
UPDATE instances_execution e
SET log_lines = c.lines, log_bytes = c.bytes, log_file = CASE WHEN e.log_file = '' THEN c.file ELSE e.log_file END
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[]) AS c(id, lines, bytes, file) WHERE e.id = c.id
"""


class LogWriter:
    """One thread of a worker that writes the output of all its runs, a statement a beat."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._buffered = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="log-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 10) -> None:
        """Writes what is left and ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout)

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
            entry.lines += text.count("\n")
            self._buffered += len(data)

    def close(self, entry: _Open) -> None:
        with self._changed:
            self._end(entry)
            self._changed.notify_all()

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
            self._seal(entry)

    def _write(self, batch: list[tuple[_Open, str, bool]]) -> None:
        rows = []
        for entry, text, closed in batch:
            if entry.file or (closed and self._stored_whole(entry, text)):
                continue
            seq, start = entry.seq, entry.written
            for offset in range(0, len(text), CHUNK):
                piece = text[offset : offset + CHUNK]
                rows.append((entry.execution_id, seq, start, piece))
                seq, start = seq + 1, start + len(piece)
            entry.has_chunks |= bool(text)
        ended = [entry for entry, _, closed in batch if closed and entry.bytes]
        with connection.cursor() as cursor:
            if rows:
                cursor.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)])
            if ended:
                columns = zip(*((e.execution_id, e.lines, e.bytes, e.file) for e in ended), strict=True)
                cursor.execute(_COUNT, [list(column) for column in columns])
        for entry, text, _ in batch:
            entry.seq += -(-len(text) // CHUNK)
            entry.written += len(text)

    def _stored_whole(self, entry: _Open, text: str) -> bool:
        """A short run's log becomes a file at once. When the storage fails it goes the way of longer ones."""
        if entry.has_chunks or not 0 < len(text) <= CHUNK:
            return False
        try:
            entry.file = _store(_file_name(entry.execution_id), text)
        except Exception as error:  # storages raise errors of their own
            log.warning("log of execution %d cannot be stored yet: %s", entry.execution_id, error)
        return bool(entry.file)

    def _seal(self, entry: _Open) -> None:
        """The run may not have ended in the database yet; maintenance seals what is left over."""
        if not entry.has_chunks:
            return
        try:
            seal(entry.execution_id)
        except Exception as error:  # storages raise errors of their own; the chunks stay until one works
            log.warning("log of execution %d is not sealed yet: %s", entry.execution_id, error)
