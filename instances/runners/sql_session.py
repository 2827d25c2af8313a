"""One connection to a data source that can always be interrupted.

psycopg's high-level calls wait inside themselves; here the run's own thread waits in one poll() on the
connection's socket and on a wake-up descriptor, so that a cancel or a timeout is acted upon at once, while
connecting too, and results are read in pieces whatever their size. Stopping a statement escalates like
stopping a process: cancel (repeated, since one that arrives between two statements is lost), after the grace
pg_terminate_backend, at last closing the socket.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator

import psycopg
from psycopg import pq

from instances.runners.base import Control

_RESEND_SECONDS = 0.5
_CANCEL_TIMEOUT = 2.0
_TERMINATE_SECONDS = 5.0
_LEAST_GRACE = 1.0  # a cancel needs a round trip, so even "at once" gives it that
_CHUNK_ROWS = 500
_COPY = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH)


class Unreachable(Exception):
    """No connection, or it broke; the text is the server's or libpq's."""


class Stopped(Exception):
    """Given up because of a cancel or timeout; the text says what became of the statement."""


class Unsupported(Exception):
    """The statement wants to talk to a client in a way that a task is not; the connection is closed."""


class StopWatch:
    """When a run has to stop: its control's cancel or its timeout, whichever is first."""

    def __init__(self, control: Control, timeout: float | None, grace: float) -> None:
        self._control = control
        self._grace = grace
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._due = ""
        self._wake = -1

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with self._control.listen(lambda: os.eventfd_write(self._wake, 1)):
                yield
        finally:
            os.close(self._wake)

    @property
    def due(self) -> str:
        """ "" while the run may go on, then "timeout" or the control's reason; never changes again."""
        if not self._due:
            if self._control.reason is not None:
                self._due = self._control.reason
            elif self._deadline is not None and time.monotonic() >= self._deadline:
                self._due = "timeout"
        return self._due

    @property
    def grace(self) -> float:
        return max(_LEAST_GRACE, self._control.grace(self._grace))

    def wait(self, fd: int, events: int, until: float | None = None) -> bool:
        """True when `fd` is ready; False at `until`, and when there is news about stopping."""
        deadlines = [d for d in (until, None if self._due else self._deadline) if d is not None]
        timeout = max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None
        poller = select.poll()
        poller.register(fd, events)
        poller.register(self._wake, select.POLLIN)
        ready = {found for found, _ in poller.poll(timeout)}
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        return fd in ready


class SqlSession:
    """`connect` first, `close` at the end; in between `execute`. One thread."""

    def __init__(self, conninfo: str, stop: StopWatch, on_notice: Callable[[str], None]) -> None:
        self._conninfo = conninfo
        self._stop = stop
        self._on_notice = on_notice
        self._pgconn: pq.abc.PGconn | None = None
        self._connection: psycopg.Connection | None = None
        self._stop_by = 0.0  # when the grace is over; 0 while nothing is being stopped
        self._next_cancel = 0.0
        self._terminated = False
        self._give_up = 0.0  # set while rolling back: stopping is then no concern any more, this time is

    @property
    def in_transaction(self) -> bool:
        status = self._need().transaction_status
        return status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

    def roll_back(self, seconds: float) -> None:
        """So that locks are gone when the run is over; if it takes too long, closing the connection has to
        do."""
        if self._pgconn is None or self._pgconn.status != pq.ConnStatus.OK or not self.in_transaction:
            return
        self._give_up = time.monotonic() + seconds
        try:
            self.execute("ROLLBACK", lambda result: None)
        except (Unreachable, Stopped):
            self.close()

    def connect(self, seconds: float) -> None:
        """Raises Unreachable and Stopped."""
        deadline = time.monotonic() + seconds
        pgconn = self._pgconn = pq.PGconn.connect_start(self._conninfo.encode())
        while True:
            status = pgconn.connect_poll() if pgconn.status != pq.ConnStatus.BAD else pq.PollingStatus.FAILED
            if status == pq.PollingStatus.OK:
                break
            if status == pq.PollingStatus.FAILED:
                raise Unreachable(_text(pgconn.error_message))
            self._stop.wait(pgconn.socket, _events(status), deadline)
            if self._stop.due:
                raise Stopped("it was still connecting")
            if time.monotonic() >= deadline:
                raise Unreachable(f"no connection within {seconds:g} s")
        pgconn.nonblocking = 1
        self._connection = psycopg.Connection(pgconn)
        self._connection.add_notice_handler(self._notice)

    def execute(self, sql: str, on_result: Callable[[pq.abc.PGresult], None]) -> None:
        """Runs one statement; large results arrive as several. Raises Unreachable, Stopped and
        Unsupported; an error of the statement is a result."""
        pgconn = self._need()
        try:
            pgconn.send_query_params(sql.encode(), None)
            if psycopg.capabilities.has_stream_chunked():
                pgconn.set_chunked_rows_mode(_CHUNK_ROWS)
            else:
                pgconn.set_single_row_mode()
            self._flush(pgconn)
            while (result := self._next_result(pgconn)) is not None:
                if result.status in _COPY:
                    self.close()  # nothing less ends a COPY that is under way
                    raise Unsupported("COPY from or to the client is not possible in an SQL task")
                on_result(result)
        except psycopg.OperationalError as error:
            if self._stop.due:
                raise Stopped("its connection was ended") from error
            raise Unreachable(str(error).strip() or _text(pgconn.error_message)) from error

    def close(self) -> None:
        if self._pgconn is not None:
            self._pgconn.finish()

    def _need(self) -> pq.abc.PGconn:
        assert self._pgconn is not None, "connect first"
        return self._pgconn

    def _flush(self, pgconn: pq.abc.PGconn) -> None:
        while pgconn.flush():
            if self._wait(pgconn, select.POLLIN | select.POLLOUT):
                pgconn.consume_input()

    def _next_result(self, pgconn: pq.abc.PGconn) -> pq.abc.PGresult | None:
        while pgconn.is_busy():
            if self._wait(pgconn, select.POLLIN):
                pgconn.consume_input()
        return pgconn.get_result()

    def _wait(self, pgconn: pq.abc.PGconn, events: int) -> bool:
        if self._give_up:
            if time.monotonic() >= self._give_up:
                raise Unreachable("no answer to ROLLBACK")
            return self._stop.wait(pgconn.socket, events, self._give_up)
        until = min(self._next_cancel, self._stop_by) if self._stop_by else None
        ready = self._stop.wait(pgconn.socket, events, until)
        if self._stop.due:
            self._press(pgconn)
        return ready

    def _press(self, pgconn: pq.abc.PGconn) -> None:
        """One step of stopping the statement, when its time has come."""
        now = time.monotonic()
        if not self._stop_by:
            self._stop_by = now + self._stop.grace
        elif not self._terminated:
            self._stop_by = min(self._stop_by, now + self._stop.grace)
        if now >= self._stop_by:
            if self._terminated:
                raise Stopped("the server did not confirm its end; the connection was closed")
            self._terminated = True
            self._stop_by = now + _TERMINATE_SECONDS
            self._next_cancel = self._stop_by
            self._terminate_backend(pgconn.backend_pid)
        elif now >= self._next_cancel and not self._terminated:
            assert self._connection is not None
            with contextlib.suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
            self._next_cancel = time.monotonic() + _RESEND_SECONDS

    def _terminate_backend(self, backend_pid: int) -> None:
        """For a statement that catches query_canceled; a role may end its own backends."""
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(self._conninfo, connect_timeout=2, autocommit=True) as other,
        ):
            other.execute("SELECT pg_terminate_backend(%s)", [backend_pid])

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        lines = [f"{notice.severity}:  {notice.message_primary}"]
        lines += [f"DETAIL:  {notice.message_detail}"] if notice.message_detail else []
        lines += [f"HINT:  {notice.message_hint}"] if notice.message_hint else []
        self._on_notice("\n".join(lines))


def _events(status: int) -> int:
    return select.POLLIN if status == pq.PollingStatus.READING else select.POLLOUT


def _text(message: bytes) -> str:
    return message.decode("utf-8", "replace").strip()
