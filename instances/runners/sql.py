"""SQL: a script of statements on the task's data source, in one transaction.

PostgreSQL (`postgresql://`) is spoken to from the worker itself, which can cancel a statement on the server at any moment.
Everything else that SQLAlchemy has a driver for runs in a child process: see `sql_child`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import conninfo, pq

from instances.language import gettext
from instances.runners import exits, own
from instances.runners.base import (
    DATA_SOURCE_UNREACHABLE,
    MISSING_DATA_SOURCE,
    MISSING_DRIVER,
    SQL_ERROR,
    Control,
    LogSink,
    Outcome,
    RunSpec,
    TaskType,
    cancelled_outcome,
    timeout_outcome,
)
from instances.runners.caps import OutputLog
from instances.runners.environment import secret_values
from instances.runners.host import Host
from instances.runners.masker import Masker
from instances.runners.process import run_program
from instances.runners.settings_schema import gettext_noop as _
from instances.runners.settings_schema import settings, switch
from instances.runners.sql_session import SqlSession, Stopped, StopWatch, Unreachable, Unsupported
from instances.runners.sql_split import SqlSyntaxError, Statement, split
from instances.runners.table import CELL_WIDTH, cell, format_table

SCHEMES = ("postgresql", "postgres")
SHOWN_ROWS = 100
_NUMERIC_OIDS = frozenset({20, 21, 23, 26, 700, 701, 790, 1700})
_LOST = ("08", "57P01", "57P02", "57P03")  # SQLSTATEs of a server that goes away
_ROLLBACK_SECONDS = 5.0
_PORTS = re.compile(r"[0-9,]*")


class SqlRunner(TaskType):
    """The setting `autocommit` (true) runs each statement on its own, for those that refuse a transaction
    (VACUUM, CREATE DATABASE, CREATE INDEX CONCURRENTLY)."""

    type = "SQL"
    label = _("SQL")
    icon = "database"
    code_is = _("SQL statements for the task's data source, separated by semicolons.")
    language = "sql"
    schema = settings(
        autocommit=switch(
            _("Each statement on its own"),
            _("Without a transaction around all of them, for statements such as VACUUM that refuse one."),
        )
    )
    codes = (MISSING_DATA_SOURCE, MISSING_DRIVER, DATA_SOURCE_UNREACHABLE, SQL_ERROR)
    data_source = True

    def __init__(self, host: Host) -> None:
        self._host = host

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        problems = [problem] if (problem := exits.unusable(code)) else []
        try:
            # $${ is how a literal ${ is written in code; as SQL it would open a dollar quote.
            if not split(code.replace("$${", "${")) and not problems:
                problems.append(gettext("the code holds no statement"))
        except SqlSyntaxError as error:
            problems.append(str(error))
        return problems

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        if control.reason is not None:
            return cancelled_outcome(control.reason, how="it had not started")
        masker = Masker(secret_values(spec))
        stop = StopWatch(control, spec.run_timeout, spec.kill_grace)
        try:
            statements = split(spec.code)
            if not is_postgresql(spec.data_source_url):
                return self._in_child(spec, log, control)
            parameters = connection_parameters(spec)
        except SqlSyntaxError as error:
            return Outcome(False, error_code=SQL_ERROR, message=f"42601: {error}")
        except DataSourceError as error:
            return Outcome(False, error_code=MISSING_DATA_SOURCE, message=str(error))
        output = OutputLog(log, masker, self._host.caps)
        seconds = float(parameters.pop("connect_timeout", 0) or self._host.connect_seconds)
        session = SqlSession(
            conninfo.make_conninfo("", **parameters),
            stop,
            lambda text: output.feed(f"{text}\n".encode()),
        )
        with stop.watching():
            try:
                outcome = _Script(session, statements, spec, output, stop).run(seconds)
            finally:
                session.close()
        output.finish()
        return Outcome(outcome.ok, None, None, outcome.error_code, masker.mask_text(outcome.message))

    def _in_child(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        if scheme_of(spec.data_source_url) is None:
            text = "the data source's URL has no scheme; write it as postgresql://user:password@host/name"
            return Outcome(False, error_code=MISSING_DATA_SOURCE, message=text)
        job = {"code": spec.code, "autocommit": bool(spec.settings.get("autocommit", False))}
        program = own.program("instances.runners.sql_child", job)
        return run_program(program, spec, log, control, self._host, exits.judge)


def scheme_of(url: str) -> str | None:
    """`duckdb` of `duckdb:///file`; None if there is none that could be one."""
    scheme, mark, _rest = url.strip().partition("://")
    return scheme if mark and re.fullmatch(r"[A-Za-z][A-Za-z0-9_+.-]*", scheme) else None


def is_postgresql(url: str) -> bool:
    """Whether the worker speaks to it itself; also of no URL, which it says more about."""
    return not url.strip() or scheme_of(url) in SCHEMES


class DataSourceError(ValueError):
    """No data source, or none that can be used; the text never holds its password."""


def connection_parameters(spec: RunSpec) -> dict[str, Any]:
    """libpq's parameters for the data source. Raises DataSourceError."""
    url = spec.data_source_url.strip()
    if not url:
        raise DataSourceError("the task names no data source, and an SQL task needs one")
    try:
        parameters = conninfo.conninfo_to_dict(url)
        float(parameters.get("connect_timeout") or 0)
        # A / or @ in the password moves a part of it here, and libpq's messages quote hosts and ports.
        if "@" in str(parameters.get("host")) or not _PORTS.fullmatch(str(parameters.get("port") or "")):
            raise ValueError("not a host and port")
    except (psycopg.ProgrammingError, ValueError):
        # The parser's own words may quote the password.
        text = "the data source's URL cannot be parsed (is a / : @ or % in its password percent-encoded?)"
        raise DataSourceError(text) from None
    if not (parameters.get("host") or parameters.get("hostaddr")):
        raise DataSourceError("the data source's URL names no host")
    # What the URL leaves open must not come from the worker's own PG* variables or password file.
    parameters.setdefault("port", "5432")
    if "password" not in parameters:
        parameters.update(password="", passfile="/nonexistent/pgpass")
    for name, value in (("keepalives_idle", "30"), ("keepalives_interval", "10"), ("keepalives_count", "3")):
        parameters.setdefault(name, value)
    return {
        **parameters,
        "client_encoding": "UTF8",
        "application_name": f"weops execution {spec.execution_id}",
    }


class _Failed(Exception):
    """A statement failed; carries the outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class _Script:
    """Runs the statements in order and writes what each gave."""

    def __init__(
        self,
        session: SqlSession,
        statements: list[Statement],
        spec: RunSpec,
        output: OutputLog,
        stop: StopWatch,
    ) -> None:
        self._session = session
        self._statements = statements
        self._spec = spec
        self._output = output
        self._stop = stop
        self._autocommit = bool(spec.settings.get("autocommit", False))
        self._now = "connecting"

    def run(self, connect_seconds: float) -> Outcome:
        try:
            self._session.connect(connect_seconds)
            self._run_all()
        except Stopped as stopped:
            return self._stopped(f"{self._now}: {stopped}")
        except Unreachable as error:
            text = f"the data source cannot be reached ({self._now}): {' '.join(str(error).split())}"
            self._write(text)
            return Outcome(False, error_code=DATA_SOURCE_UNREACHABLE, message=text)
        except Unsupported as error:
            self._write(str(error))
            return Outcome(False, error_code=SQL_ERROR, message=f"{self._now}: 0A000: {error}")
        except _Failed as failed:
            self._session.roll_back(_ROLLBACK_SECONDS)
            if self._stop.due:
                return self._stopped(f"{self._now} was cancelled on the server")
            return failed.outcome
        return Outcome(True)

    def _run_all(self) -> None:
        total = len(self._statements)
        for number, statement in enumerate(self._statements, start=1):
            self._check_stop()
            self._now = f"statement {number} of {total} (line {statement.line})"
            self._write(f"-- {self._now}: {cell(statement.text.partition(chr(10))[0])}")
            # Also after a COMMIT of the script's own: what follows it is one transaction again.
            if not self._autocommit and not self._session.in_transaction:
                self._execute(Statement("BEGIN", 0, 1), _Rows(), located=False)
            self._statement(statement)
        self._check_stop()
        if not self._autocommit and self._session.in_transaction:
            self._now = "COMMIT"  # may fail too: deferred constraints are checked now
            self._execute(Statement("COMMIT", 0, 1), _Rows(), located=False)

    def _check_stop(self) -> None:
        if self._stop.due:
            self._session.roll_back(_ROLLBACK_SECONDS)
            raise Stopped("what follows was not begun")

    def _statement(self, statement: Statement) -> None:
        started = time.monotonic()
        rows = _Rows()
        self._execute(statement, rows)
        self._output.feed(rows.text().encode())
        self._write(f"{rows.tag or 'done'} ({_duration(time.monotonic() - started)})")

    def _execute(self, statement: Statement, rows: _Rows, located: bool = True) -> None:
        failures: list[Outcome] = []

        def take(result: pq.abc.PGresult) -> None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                failures.append(self._failure(result, statement, located))
            else:
                rows.add(result)

        self._session.execute(statement.text, take)
        if failures:
            raise _Failed(failures[0])

    def _write(self, line: str) -> None:
        self._output.feed(f"{line}\n".encode())

    def _failure(self, result: pq.abc.PGresult, statement: Statement, located: bool) -> Outcome:
        def part(name: pq.DiagnosticField) -> str:
            return (result.error_field(name) or b"").decode("utf-8", "replace")

        field = pq.DiagnosticField
        state, primary = part(field.SQLSTATE), part(field.MESSAGE_PRIMARY)
        lines = [f"{part(field.SEVERITY)}:  {state}: {primary}"]
        for label, name in (
            ("DETAIL", field.MESSAGE_DETAIL),
            ("HINT", field.MESSAGE_HINT),
            ("CONTEXT", field.CONTEXT),
        ):
            lines += [f"{label}:  {part(name)}"] if part(name) else []
        place = ""
        if located and (position := part(field.STATEMENT_POSITION)):
            line, column = statement.position(int(position))
            place = f", at line {line} column {column}"
            lines.append(f"LINE {line}, COLUMN {column}")
        self._write("\n".join(lines))
        code = DATA_SOURCE_UNREACHABLE if state.startswith(_LOST) else SQL_ERROR
        return Outcome(False, error_code=code, message=f"{self._now}: {state}: {primary}{place}")

    def _stopped(self, how: str) -> Outcome:
        self._output.say(f"stopped: {how}")
        if self._stop.due == "timeout" and self._spec.run_timeout is not None:
            return timeout_outcome(self._spec.run_timeout, how=how)
        return cancelled_outcome(self._stop.due, how=how)


class _Rows:
    """What a statement gave: counts all rows, keeps the first few."""

    def __init__(self) -> None:
        self.tag = ""
        self._names: list[str] = []
        self._right: list[bool] = []
        self._kept: list[list[str]] = []
        self._count = 0

    def add(self, result: pq.abc.PGresult) -> None:
        self.tag = (result.command_status or b"").decode() or self.tag
        if result.nfields and not self._names:
            columns = range(result.nfields)
            self._names = [
                cell((result.fname(column) or b"").decode("utf-8", "replace")) for column in columns
            ]
            self._right = [result.ftype(column) in _NUMERIC_OIDS for column in columns]
        for row in range(min(result.ntuples, SHOWN_ROWS - len(self._kept)) if result.nfields else 0):
            values = (result.get_value(row, column) for column in range(result.nfields))
            self._kept.append([cell(None if value is None else _decode(value)) for value in values])
        self._count += result.ntuples

    def text(self) -> str:
        """ "" for a statement without a result."""
        if not self._names:
            return ""
        table = format_table(self._names, self._kept, self._right)
        if self._count > len(self._kept):
            return f"{table}({self._count:,} rows; the first {len(self._kept)} are shown)\n"
        return f"{table}({self._count} row{'' if self._count == 1 else 's'})\n"


def _decode(value: bytes) -> str:
    # Four bytes at most a character: a huge value is not decoded in full for a cell of 200.
    return value[: 4 * (CELL_WIDTH + 1)].decode("utf-8", "replace")


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
