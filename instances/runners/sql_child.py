"""The process that runs an SQL task on anything that SQLAlchemy has a driver for (see `own`); `sql` itself runs PostgreSQL.

The driver may hang wherever it likes: terminating kills this process, and with it the connection.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from sqlalchemy import create_engine, exc
from sqlalchemy.engine import Connection, CursorResult, Engine, make_url
from sqlalchemy.pool import NullPool

from instances.runners.environment import DATA_SOURCE_VARIABLE
from instances.runners.own import fail
from instances.runners.sql_split import Statement, split
from instances.runners.table import cell, format_table

SHOWN_ROWS = 100
_CHUNK_ROWS = 500
_NUMBERS = frozenset({"int", "float", "Decimal"})


def main(job: Mapping[str, Any]) -> None:
    statements = split(job["code"])
    engine = _engine()
    try:
        connection = engine.connect()
    except exc.SQLAlchemyError as error:
        fail("DATA_SOURCE_UNREACHABLE", f"the data source cannot be reached: {_words(error)}")
    except (ImportError, OSError) as error:
        fail("DATA_SOURCE_UNREACHABLE", f"the data source cannot be reached: {error}")
    with connection:
        _run(connection, statements, autocommit=job["autocommit"])


def _engine() -> Engine:
    try:
        url = make_url(os.environ[DATA_SOURCE_VARIABLE])
        return create_engine(url, poolclass=NullPool)
    except exc.NoSuchModuleError:
        name = make_url(os.environ[DATA_SOURCE_VARIABLE]).drivername
        fail(
            "MISSING_DRIVER",
            f"no driver for {name}:// URLs; install its SQLAlchemy dialect on the workers",
        )
    except ImportError as error:
        fail("MISSING_DRIVER", f"the driver of the data source is not installed on this worker: {error}")
    except (exc.SQLAlchemyError, ValueError, TypeError):
        # The parser's own words may quote the password.
        fail(
            "MISSING_DATA_SOURCE",
            "the data source's URL cannot be used (are / : @ % of its password percent-encoded?)",
        )


def _run(connection: Connection, statements: list[Statement], *, autocommit: bool) -> None:
    total = len(statements)
    for number, statement in enumerate(statements, start=1):
        place = f"statement {number} of {total} (line {statement.line})"
        print(f"-- {place}: {cell(statement.text.partition(chr(10))[0])}")
        began = time.monotonic()
        try:
            said = _execute(connection, statement.text)
            if autocommit:
                connection.commit()
        except (exc.SQLAlchemyError, ValueError, TypeError) as error:
            _failed(error, place)
        print(f"{said} ({_duration(time.monotonic() - began)})")
    try:
        connection.commit()
    except exc.SQLAlchemyError as error:
        _failed(error, "COMMIT")


def _execute(connection: Connection, text: str) -> str:
    """Runs it as it is: neither `:name` nor `%` of it is a parameter. What to say of it; its rows are printed."""
    options = {"no_parameters": True, "stream_results": True}
    with connection.exec_driver_sql(text, execution_options=options) as result:
        if not result.returns_rows:
            return "done" if result.rowcount < 0 else f"{result.rowcount} rows"
        return _show(result)


def _show(result: CursorResult[Any]) -> str:
    names = [cell(str(name)) for name in result.keys()]  # noqa: SIM118 - no mapping
    kept: list[list[str]] = []
    right = [False] * len(names)
    count = 0
    while rows := result.fetchmany(_CHUNK_ROWS):
        if not count:
            right = [type(value).__name__ in _NUMBERS for value in rows[0]]
        kept += [
            [cell(None if value is None else str(value)) for value in row]
            for row in rows[: SHOWN_ROWS - len(kept)]
        ]
        count += len(rows)
    print(format_table(names, kept, right), end="")
    print(f"({count:,} rows; the first {SHOWN_ROWS} are shown)" if count > len(kept) else f"({count} rows)")
    return "done"


def _failed(error: Exception, place: str) -> NoReturn:
    code = "DATA_SOURCE_UNREACHABLE" if getattr(error, "connection_invalidated", False) else "SQL_ERROR"
    fail(code, f"{place}: {_words(error)}")


def _words(error: Exception) -> str:
    """The driver's own words, without the statement that SQLAlchemy adds to them."""
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {' '.join(str(original).split())}"[:2000]


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
