"""SQL tasks on a real PostgreSQL, the one that DATABASE_URL names."""

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from instances.runners.base import Control, Outcome
from instances.runners.host import Host
from instances.runners.sql import SqlRunner
from tests.runners.support import PATIENCE, Background, Sink, spec

BASE_URL = os.environ["DATABASE_URL"]


@pytest.fixture
def admin() -> Iterator[psycopg.Connection]:
    with psycopg.connect(BASE_URL, autocommit=True) as connection:
        yield connection


@pytest.fixture
def url(admin: psycopg.Connection) -> Iterator[str]:
    """A data source with an empty schema of its own."""
    schema = f"runner_{uuid.uuid4().hex[:12]}"
    admin.execute(f"CREATE SCHEMA {schema}")
    joint = "&" if "?" in BASE_URL else "?"
    yield f"{BASE_URL}{joint}options=-csearch_path%3D{schema}"
    admin.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def sql(url: str) -> Callable[..., tuple[Outcome, Sink]]:
    def run(code: str, **fields: Any) -> tuple[Outcome, Sink]:
        log, runner = Sink(), SqlRunner(Host(connect_seconds=5))
        return runner.run(spec(code, "SQL", **{"data_source_url": url, **fields}), log, Control()), log

    return run


@pytest.fixture
def background(url: str) -> Callable[..., Background]:
    def start(code: str, **fields: Any) -> Background:
        return Background(SqlRunner(Host()), spec(code, "SQL", **{"data_source_url": url, **fields}))

    return start


def backends(admin: psycopg.Connection, run: Background) -> list[tuple]:
    name = f"weops execution {run.spec.execution_id}"
    return admin.execute(
        "SELECT state, query FROM pg_stat_activity WHERE application_name = %s", [name]
    ).fetchall()


def busy(admin: psycopg.Connection, run: Background, text: str) -> bool:
    return any(state == "active" and text in query for state, query in backends(admin, run))


def test_statements_and_rows(sql):
    outcome, log = sql(
        "create table t (id int, name text);\n"
        "insert into t select n, 'row ' || n from generate_series(1, 3) n;\n"
        "select id, name, null as nothing, 12.50 as price, '漢字' as wide from t order by id;\n"
        "select 1 where false"
    )
    assert outcome == Outcome(True)
    assert (
        log.output.replace(" ms)", ")").splitlines()[4:11]
        == """\
-- statement 3 of 4 (line 3): select id, name, null as nothing, 12.50 as price, '漢字' as wide from t order by id
id | name  | nothing | price | wide
---+-------+---------+-------+-----
 1 | row 1 | NULL    | 12.50 | 漢字
 2 | row 2 | NULL    | 12.50 | 漢字
 3 | row 3 | NULL    | 12.50 | 漢字
(3 rows)""".splitlines()
    )
    for status in ("CREATE TABLE (", "INSERT 0 3 (", "SELECT 3 (", "SELECT 0 (", "(0 rows)"):
        assert status in log.output


def test_only_the_first_rows_are_shown_but_all_are_read(sql):
    outcome, log = sql(
        "create sequence s; select n, nextval('s') from generate_series(1, 100000) n; select last_value from s"
    )
    assert outcome.ok
    assert "(100,000 rows; the first 100 are shown)" in log.output
    assert "100 |     100" in log.output
    assert "101 |     101" not in log.output
    assert "    100000\n(1 row)" in log.output


def test_values_that_python_has_no_type_for(sql):
    outcome, log = sql(
        "select 'infinity'::timestamp, '0044-03-15 BC'::date, 'NaN'::numeric, '\\x00ff'::bytea, "
        "array[1,2], repeat('x', 5000) as long, E'two\\nlines' as lines"
    )
    assert outcome.ok
    for shown in ("infinity", "0044-03-15 BC", "NaN", "\\x00ff", "{1,2}", "xxx…", "two\\nlines"):
        assert shown in log.output


def test_notices_are_logged(sql):
    outcome, log = sql(
        "do $$ begin raise notice 'one; two %', 3; raise warning 'careful' using hint = 'so'; end $$"
    )
    assert outcome.ok
    assert "NOTICE:  one; two 3\n" in log.output
    assert "WARNING:  careful\nHINT:  so\n" in log.output


def test_one_transaction(sql, admin, url):
    outcome, log = sql("create table t (a int);\ninsert into t values (1);\n\ninsert into t\n  values ('x')")
    assert (outcome.ok, outcome.error_code, outcome.exit_code) == (False, "SQL_ERROR", None)
    assert outcome.message.startswith("statement 3 of 3 (line 4): 22P02: invalid input syntax")
    assert outcome.message.endswith("at line 5 column 11")
    assert "LINE 5, COLUMN 11" in log.output
    outcome, _ = sql("select * from t")  # nothing of it was kept
    assert "42P01" in outcome.message


def test_an_error_that_shows_only_at_commit(sql):
    outcome, log = sql(
        "create table t (a int primary key deferrable initially deferred); insert into t values (1), (1)"
    )
    assert outcome.error_code == "SQL_ERROR"
    assert outcome.message.startswith("COMMIT: 23505: ")
    assert "DETAIL:  Key (a)=(1) already exists." in log.output


def test_a_script_may_commit_itself(sql):
    outcome, _ = sql("create table t (a int); commit; insert into t values (1); select 1/0")
    assert "22012" in outcome.message
    outcome, log = sql("select count(*) from t")
    assert "    0\n(1 row)" in log.output  # what came after its COMMIT was one transaction again


def test_autocommit(sql):
    assert "25001" in sql("vacuum")[0].message
    outcome, _ = sql("create table t (a int); vacuum t; select 1/0", settings={"autocommit": True})
    assert "22012" in outcome.message
    assert sql("select * from t")[0].ok


def test_percent_signs_and_dollars_are_taken_literally(sql):
    outcome, log = sql("select '100%s %(a)s $1' as text")
    assert outcome.ok
    assert "100%s %(a)s $1" in log.output


@pytest.mark.parametrize(
    "code", ["copy pg_class to stdout", "create temp table landing (a text); copy landing from stdin"]
)
def test_copy_through_the_client_is_refused(sql, code):
    outcome, _ = sql(f"select 1; {code}; select 2")
    assert outcome.error_code == "SQL_ERROR"
    assert "COPY from or to the client is not possible" in outcome.message


def test_an_open_quote_is_an_error_before_anything_runs(sql):
    outcome, log = sql("create table t (a int);\nselect 'x")
    assert outcome.error_code == "SQL_ERROR"
    assert "line 2: a string that begins here is never closed" in outcome.message
    assert log.pieces == []


def test_secrets_are_masked(sql):
    outcome, log = sql(
        "select 'sesame-open' as word; select 'sesame-open'::int", secrets={"W": "sesame-open"}
    )
    assert outcome.error_code == "SQL_ERROR"
    assert "sesame" not in log.text + outcome.message
    assert "***" in outcome.message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "names no data source"),
        ("joe:hunter22@db/x", "has no scheme"),
        ("postgresql:///x", "names no host"),
        ("postgresql://joe:hunter22%zz@db/x", "cannot be parsed"),
        ("postgresql://joe:hun/ter22@db/x", "cannot be parsed"),
        ("postgresql://joe:hun@ter22@db/x", "cannot be parsed"),
        ("postgresql://joe:hunter22@db:54x2/x", "cannot be parsed"),
        ("postgresql://joe:hunter22@db/x?nonsense=1", "cannot be parsed"),
    ],
)
def test_unusable_data_sources(sql, url, words):
    outcome, log = sql("select 1", data_source_url=url)
    assert outcome.error_code == "MISSING_DATA_SOURCE"
    assert words in outcome.message
    assert "hun" not in outcome.message + log.text
    assert "ter22" not in outcome.message + log.text


def test_the_workers_own_pg_variables_are_not_used(sql, monkeypatch, url):
    monkeypatch.setenv("PGPASSWORD", "of-the-worker")
    monkeypatch.setenv("PGPORT", "1")
    parameters = conninfo.conninfo_to_dict(url)
    if "port" in parameters:
        assert sql("select 1")[0].ok
    outcome, _ = sql("select 1", data_source_url="postgresql://nobody@127.0.0.1:1/x")
    assert "port 1 failed" in outcome.message


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_nobody_listens(sql):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outcome, log = sql("select 1", data_source_url=f"postgresql://joe:hunter22@127.0.0.1:{port}/x")
    assert outcome.error_code == "DATA_SOURCE_UNREACHABLE"
    assert "Connection refused" in outcome.message
    assert "Connection refused" in log.output
    assert "hunter22" not in outcome.message + log.text


def test_connecting_has_a_timeout(sql, deaf):
    source = f"postgresql://joe:hunter22@127.0.0.1:{deaf}/x?connect_timeout=0.3"
    outcome, _ = sql("select 1", data_source_url=source)
    assert outcome.error_code == "DATA_SOURCE_UNREACHABLE"
    assert "no connection within 0.3 s" in outcome.message


def test_cancel_while_connecting(deaf):
    log, control = Sink(), Control()
    done: list[Outcome] = []
    runner = SqlRunner(Host(connect_seconds=1000))
    what = spec("select 1", "SQL", data_source_url=f"postgresql://joe@127.0.0.1:{deaf}/x")
    thread = threading.Thread(target=lambda: done.append(runner.run(what, log, control)))
    thread.start()
    control.cancel("terminate")
    thread.join(PATIENCE)
    assert done[0].error_code == "TERMINATED"


def test_wrong_password_or_database(sql, url):
    broken = conninfo.conninfo_to_dict(url)
    query = f"?host={broken['host']}&port={broken.get('port', 5432)}"
    outcome, _ = sql("select 1", data_source_url=f"postgresql://{broken['user']}:no@/no-such-database{query}")
    assert outcome.error_code == "DATA_SOURCE_UNREACHABLE"
    assert "no-such-database" in outcome.message or "password" in outcome.message


@pytest.mark.parametrize(
    ("reason", "error_code"),
    [("terminate", "TERMINATED"), ("lease_lost", "LEASE_LOST"), ("shutdown", "WORKER_SHUTDOWN")],
)
def test_cancel_reaches_the_server(background, admin, eventually, reason, error_code):
    run = background("create table t (a int); insert into t values (1); select pg_sleep(1000)")
    eventually(lambda: busy(admin, run, "pg_sleep"))
    run.control.cancel(reason)
    outcome = run.outcome()
    assert outcome.error_code == error_code
    assert "statement 3 of 3 (line 1) was cancelled on the server" in outcome.message
    eventually(lambda: backends(admin, run) == [])
    assert "57014" in run.log.output


def test_locks_are_gone_when_the_run_is_over(background, admin, eventually, url, sql):
    assert sql("create table t (a int)")[0].ok
    run = background("lock table t; select pg_sleep(1000)")
    eventually(lambda: busy(admin, run, "pg_sleep"))
    run.control.cancel("terminate")
    run.outcome()
    with psycopg.connect(url) as other:
        other.execute("lock table t nowait")


def test_timeout(sql, admin):
    outcome, _ = sql("select pg_sleep(1000)", run_timeout=0.3)
    assert outcome.error_code == "RUN_TIMEOUT"
    assert "timeout of 0.3 s; statement 1 of 1 (line 1) was cancelled on the server" in outcome.message


def test_timeout_between_many_short_statements(sql):
    outcome, _ = sql("select pg_sleep(0.01);" * 1000, run_timeout=0.5)
    assert outcome.error_code == "RUN_TIMEOUT"


def test_a_statement_that_refuses_to_be_cancelled(background, admin, eventually):
    """As a process that ignores SIGTERM is killed, so is its backend ended."""
    run = background(
        "do $$ begin loop begin perform pg_sleep(1000); exception when query_canceled then null; end; end loop;"
        " end $$",
        kill_grace=1.0,
    )
    eventually(lambda: busy(admin, run, "pg_sleep"))
    run.control.cancel("terminate")
    outcome = run.outcome()
    assert outcome.error_code == "TERMINATED"
    eventually(lambda: backends(admin, run) == [])


def test_a_result_without_end_can_be_cancelled(background):
    run = background("select n from generate_series(1, 1000000000000) n")
    run.log.wait_for("statement 1 of 1")
    run.control.cancel("terminate")
    assert run.outcome().error_code == "TERMINATED"


def test_a_connection_that_is_lost(background, admin, eventually):
    run = background("select pg_sleep(1000)")
    eventually(lambda: busy(admin, run, "pg_sleep"))
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
        [f"weops execution {run.spec.execution_id}"],
    )
    outcome = run.outcome()
    assert outcome.error_code == "DATA_SOURCE_UNREACHABLE"
    assert "statement 1 of 1" in outcome.message
