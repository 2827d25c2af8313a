"""What is found in the logs of children that really fail."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from instances.engine import diagnosis, errors
from instances.engine.diagnosis import Diagnosis, diagnose
from instances.engine.supervise import Tail
from instances.runners.base import Control, Limits, Outcome, Runner
from instances.runners.host import Host
from instances.runners.python import PythonRunner
from instances.runners.shell import ShellRunner
from instances.runners.sql import SqlRunner
from tests.runners.support import Sink, spec

Told = Callable[..., Diagnosis]


@pytest.fixture
def told(host: Host) -> Told:
    """Runs it and says what it failed of, as a worker does."""

    def run(runner: type, code: str, **fields: Any) -> Diagnosis:
        ran: Runner = runner(host)
        tail = Tail(Sink())
        outcome: Outcome = ran.run(spec(code, ran.type, **fields), tail, Control())
        assert not outcome.ok, tail.text()
        return diagnose(ran.type, outcome.error_code, outcome.message, tail.text())

    return run


@pytest.mark.parametrize(
    ("code", "found", "words"),
    [
        (
            "x = 1\nprint(x)\nraise ValueError('no rows')",
            "PYTHON_EXCEPTION",
            "ValueError: no rows (line 3 of the code; exit",
        ),
        ("import json\njson.loads('{')", "PYTHON_EXCEPTION", "(line 2 of the code; exit code 1)"),
        (
            "import no_such_module_of_ours",
            "MODULE_NOT_FOUND",
            "No module named 'no_such_module_of_ours' (line 1",
        ),
        ("open('/no/such/file')", "FILE_NOT_FOUND", "'/no/such/file' (line 1"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 1), 5)", "CONNECTION_REFUSED", "(line 2"),
        ("import socket\nsocket.getaddrinfo('no-such-host.invalid', 80)", "HOST_UNKNOWN", "(line 2"),
        ("f = open('/dev/full', 'w')\nf.write('x' * 100000)\nf.flush()", "DISK_FULL", "No space left"),
        (
            "import sqlite3\nsqlite3.connect(':memory:').execute('SELECT * FROM nowhere')",
            "TABLE_NOT_FOUND",
            "nowhere",
        ),
        ("import sys\nsys.exit(3)", "EXIT_NONZERO", "exit code 3"),
        ("import sys\nprint('ValueError: only printed')\nsys.exit(3)", "EXIT_NONZERO", "exit code 3"),
    ],
)
def test_python(told: Told, code: str, found: str, words: str) -> None:
    said = told(PythonRunner, code)
    assert said.code == found, said
    assert words in said.line


def test_python_at_its_limits(told: Told) -> None:
    files = told(PythonRunner, "held = [open('/dev/null') for _ in range(99)]", limits=Limits(files=32))
    assert (files.code, "Too many open files" in files.line) == ("TOO_MANY_FILES", True)
    memory = told(PythonRunner, "x = bytearray(8_000_000_000)", limits=Limits(memory=200_000_000))
    assert memory.code == "OUT_OF_MEMORY", memory


@pytest.mark.parametrize(
    ("code", "found", "words"),
    [
        (
            "echo fine\nno_such_program_of_ours --now",
            "COMMAND_NOT_FOUND",
            "no_such_program_of_ours: command not found on line 2",
        ),
        (
            "cat /no/such/file",
            "FILE_NOT_FOUND",
            "cat: /no/such/file: No such file or directory (exit code 1)",
        ),
        ("exec 3<>/dev/tcp/127.0.0.1/1", "CONNECTION_REFUSED", "Connection refused"),
        ("printf x > /dev/full", "DISK_FULL", "No space left on device"),
        ("cat /no/such/file; seq 30; exit 4", "EXIT_NONZERO", "exit code 4"),
        (
            f"{sys.executable} -c 'import no_such_module_of_ours'",
            "MODULE_NOT_FOUND",
            "no_such_module_of_ours",
        ),
        ("exit 7", "EXIT_NONZERO", "exit code 7"),
    ],
)
def test_shell(told: Told, code: str, found: str, words: str) -> None:
    said = told(ShellRunner, code)
    assert said.code == found, said
    assert words in said.line


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("SELECT * FROM nowhere", "TABLE_NOT_FOUND"),
        ("SELECT nobody FROM pg_class", "COLUMN_NOT_FOUND"),
        ("SELEC 1", "SQL_SYNTAX"),
        ("CREATE TEMP TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (1)", "DUPLICATE_KEY"),
        ("CREATE TEMP TABLE t (a int NOT NULL); INSERT INTO t VALUES (NULL)", "CONSTRAINT_VIOLATED"),
        ("SET statement_timeout = '50ms'; SELECT pg_sleep(10)", "STATEMENT_TIMEOUT"),
        ("CREATE ROLE nobody_of_ours; SET ROLE nobody_of_ours; SELECT * FROM pg_authid", "NO_RIGHTS"),
        ("SELECT 1 / 0", "SQL_ERROR"),
    ],
)
def test_postgresql(told: Told, code: str, found: str) -> None:
    said = told(SqlRunner, code, data_source_url=os.environ["DATABASE_URL"])
    assert said.code == found, said
    assert said.line.startswith("statement "), "the server's own words stay"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("SELECT * FROM nowhere", "TABLE_NOT_FOUND"),
        ("CREATE TABLE t (a INT); SELECT nobody FROM t", "COLUMN_NOT_FOUND"),
        ("SELEC 1", "SQL_SYNTAX"),
    ],
)
def test_duckdb(told: Told, code: str, found: str) -> None:
    assert told(SqlRunner, code, data_source_url="duckdb:///:memory:").code == found


def test_a_data_source_that_does_not_let_us_in(told: Told) -> None:
    assert (
        told(SqlRunner, "SELECT 1", data_source_url="postgresql://u:p@127.0.0.1:1/x").code
        == "CONNECTION_REFUSED"
    )
    assert (
        told(SqlRunner, "SELECT 1", data_source_url="postgresql://u:p@no-such-host.invalid/x").code
        == "HOST_UNKNOWN"
    )


def test_what_says_more_than_a_log_is_left_alone(told: Told) -> None:
    said = told(ShellRunner, "echo 'No space left on device'; sleep 600", run_timeout=0.5, kill_grace=0.1)
    assert said.code == "RUN_TIMEOUT"
    assert diagnose("SQL", "TERMINATED", "why", "Connection refused") == Diagnosis("TERMINATED", "why")


def test_only_the_end_is_kept_and_secrets_are_masked(host: Host) -> None:
    tail = Tail(Sink())
    code = 'seq 200000; echo "$TOKEN: Connection refused" >&2; exit 1'
    ShellRunner(host).run(spec(code, secrets={"TOKEN": "correct-horse"}), tail, Control())
    assert len(tail.text()) <= diagnosis.KEPT_BYTES
    assert tail.text().endswith("***: Connection refused\n")
    assert len(tail._kept) <= 5 * diagnosis.KEPT_BYTES


@pytest.mark.parametrize("piece", ["a", "Catalog Exception: Table with name ", "line 1: "])
def test_a_long_line_costs_little(piece: str) -> None:
    tail = piece * (diagnosis.KEPT_BYTES // len(piece))
    began = time.process_time()
    for code in ("COMMAND_NOT_FOUND", "EXIT_NONZERO"):
        assert diagnose("SHELL", code, "why", tail) == Diagnosis(code, "why")
    assert time.process_time() - began < 2, "no lease of the worker is renewed meanwhile"


def test_every_rule_has_a_text() -> None:
    assert set(diagnosis.codes()) <= set(errors.CATALOGUE)
    assert (errors.told("DISK_FULL", "line") or {})["message"] == "line"
    assert errors.told("") is None
