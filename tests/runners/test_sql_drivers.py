"""SQL tasks on databases other than PostgreSQL: DuckDB really, and what is said where there is no driver."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from instances.runners.base import Control, Outcome
from instances.runners.host import Host
from instances.runners.sql import SqlRunner
from tests.runners.support import Background, Sink, marked, spec


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    assert marked(host.guardian.token) == []
    host.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path}/warehouse.duckdb"


@pytest.fixture
def sql(host: Host, url: str) -> Callable[..., tuple[Outcome, Sink]]:
    def run(code: str, **fields: Any) -> tuple[Outcome, Sink]:
        log = Sink()
        what = spec(code, "SQL", **{"data_source_url": url, **fields})
        return SqlRunner(host).run(what, log, Control()), log

    return run


def read(url: str, query: str) -> list[tuple]:
    with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
        return connection.execute(query).fetchall()


def test_statements_results_and_a_commit(sql, url):
    outcome, log = sql(
        "CREATE TABLE flights (day DATE, delay INT, note TEXT);\n"
        "INSERT INTO flights SELECT DATE '2013-01-01', i, '100 % :late' FROM range(250) t(i);\n"
        "SELECT delay, note FROM flights ORDER BY delay;\nSELECT NULL AS nothing"
    )
    assert outcome.ok, outcome
    assert "-- statement 3 of 4 (line 3): SELECT delay, note" in log.output
    assert "(250 rows; the first 100 are shown)" in log.output
    assert "   99 | 100 % :late" in log.output
    assert "NULL" in log.output
    assert read(url, "SELECT count(*), sum(delay) FROM flights") == [(250, 31125)]


def test_an_error_leaves_nothing_behind(sql, url):
    outcome, _ = sql("CREATE TABLE t (a INT);\nINSERT INTO t VALUES (1);\nSELECT * FROM nowhere")
    assert outcome.error_code == "SQL_ERROR"
    assert outcome.message.startswith("statement 3 of 3 (line 3): CatalogException: ")
    assert "nowhere does not exist" in outcome.message
    assert read(url, "SELECT count(*) FROM duckdb_tables()") == [(0,)]


def test_each_statement_on_its_own(sql, url):
    outcome, _ = sql("CREATE TABLE t (a INT); SELECT * FROM nowhere", settings={"autocommit": True})
    assert outcome.error_code == "SQL_ERROR"
    assert read(url, "SELECT count(*) FROM t") == [(0,)]


def test_terminating_kills_a_statement_that_runs(host, url):
    endless = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1"
    run = Background(SqlRunner(host), spec(endless, "SQL", data_source_url=url, kill_grace=0.2))
    run.log.wait_for("-- statement 1 of 1")
    run.control.cancel("terminate")
    assert run.outcome().error_code == "TERMINATED"


def test_a_timeout(sql):
    endless = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1"
    assert sql(endless, run_timeout=2.5, kill_grace=0.2)[0].error_code == "RUN_TIMEOUT"


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("nosuchdb://joe:s3cret-word@host/x", "MISSING_DRIVER", "no driver for nosuchdb:// URLs"),
        (
            "mysql+pymysql://joe:s3cret-word@127.0.0.1:1/x",
            "MISSING_DRIVER",
            "is not installed on this worker",
        ),
        ("duckdb:////no/such/folder/s3cret-word.db", "DATA_SOURCE_UNREACHABLE", "cannot be reached"),
        ("no url at all s3cret-word", "MISSING_DATA_SOURCE", "has no scheme"),
        ("postgresql+psycopg://joe:s3cret-word@127.0.0.1:1/x", "DATA_SOURCE_UNREACHABLE", "refused"),
    ],
)
def test_data_sources_that_cannot_be_used(sql, address, code, words):
    outcome, log = sql("SELECT 1", data_source_url=address)
    assert outcome.error_code == code
    assert words in outcome.message
    if "@" in address:
        assert "s3cret-word" not in outcome.message + log.text
