"""The engine tests once more, on servers that others run: PostgreSQL with RabbitMQ, then PostgreSQL with Redis.

WEOPS_TEST_SERVICES=1 asks for it; WEOPS_TEST_DATABASE_URL, WEOPS_TEST_AMQP_URL and WEOPS_TEST_REDIS_URL name other
servers than those of this machine. The database's user must be allowed to make databases.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
from kombu import Connection
from psycopg import sql

DATABASE_URL = os.environ.get("WEOPS_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
AMQP_URL = os.environ.get("WEOPS_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS_URL = os.environ.get("WEOPS_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")

PROJECT = Path(__file__).resolve().parent.parent
PASS_SECONDS = 1500
# What shows a difference between brokers; the rest of the engine never meets one.
ABOUT_BROKERS = "beats or hints or queues or two_days"
# What Celery declares for remote control and for delays, neither of which is used, beside our default exchange.
_DELAYED = [f"celery_delayed_{place}" for place in range(28)]
EXCHANGES = [
    *("celeryev", "celery.pidbox", "reply.celery.pidbox", "weops.control", "celery_delayed_delivery"),
    *_DELAYED,
]
QUEUES = ["weops.control", *_DELAYED]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("WEOPS_TEST_SERVICES") != "1",
        reason="WEOPS_TEST_SERVICES=1 runs the engine tests on a system PostgreSQL, RabbitMQ and Redis",
    ),
]


@pytest.fixture
def database() -> Iterator[str]:
    """URL of a database of our own name, which need not exist: Django tests in `test_` and that name."""
    name = f"weops_services_{os.getpid()}"
    test_name = f"test_{name}"
    with psycopg.connect(DATABASE_URL, autocommit=True) as server:
        assert server.info.server_version >= 150000, "PostgreSQL 15 or newer is needed"
        yield urlunsplit(urlsplit(DATABASE_URL)._replace(path=f"/{name}"))
        found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [test_name]).fetchone()
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(test_name))
        server.execute(drop)
        assert found is None, "the tests left their database behind"


def engine_tests(database: str, broker: str, *words: str) -> str:
    """Runs pytest with these servers; the line that sums it up. Fails with its output."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WEOPS_TEST_", "PYTEST_", "WEOPS_PG_"))
    }
    environment |= {"DATABASE_URL": database, "CELERY_BROKER_URL": broker}
    command = [sys.executable, "-m", "pytest", "-m", "engine", "-q", "--maxfail=3", *words]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=PASS_SECONDS
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    summary = done.stdout.strip().splitlines()[-1]
    passed = re.search(r"(\d+) passed", summary)
    assert passed, output
    assert int(passed[1]) > 0
    return summary


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}", flush=True)


@pytest.fixture
def rabbitmq() -> Iterator[str]:
    """URL of the server, which keeps nothing that was not there before."""

    def missing(kind: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if not declared(kind, name)]

    def declared(kind: str, name: str) -> bool:
        with Connection(AMQP_URL) as broker, broker.channel() as channel:
            try:
                if kind == "queue":
                    channel.queue_declare(name, passive=True)
                else:
                    channel.exchange_declare(name, "direct", passive=True)
            except broker.channel_errors:
                return False
            return True

    queues, exchanges = missing("queue", QUEUES), missing("exchange", EXCHANGES)
    yield AMQP_URL
    with Connection(AMQP_URL) as broker, broker.channel() as channel:
        for name in queues:
            channel.queue_delete(name)
        for name in exchanges:
            channel.exchange_delete(name)


def test_engine_on_postgresql_and_rabbitmq(
    database: str, rabbitmq: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, f"PostgreSQL and RabbitMQ: {engine_tests(database, rabbitmq)}")


def test_engine_on_postgresql_and_redis(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    with redis.Redis.from_url(REDIS_URL) as server:
        before = set(server.keys())
        try:
            say(capsys, f"PostgreSQL and Redis: {engine_tests(database, REDIS_URL, '-k', ABOUT_BROKERS)}")
        finally:
            left = set(server.keys()) - before
            # Kombu's own notes of who listens outlive a listener that was killed, as do hints that nobody took.
            notes = {key for key in left if key.startswith(b"_kombu.binding") or key == b"weops.control"}
            if notes:
                server.delete(*notes)
        assert left == notes


_DECLARE = """
import sys
from weops.celery import app, group_queue, publish
from instances.engine.hints import Hint
group_id = int(sys.argv[1])
publish([Hint(1, group_id, instant=False)])
app.send_task("weops.tick", queue="weops.control", expires=1)
"""


def test_queues_of_rabbitmq_are_quorum_queues(rabbitmq: str) -> None:
    group_id = 2_000_000_000 + os.getpid()
    environment = os.environ | {"CELERY_BROKER_URL": rabbitmq}
    command = [sys.executable, "-c", _DECLARE, str(group_id)]
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, timeout=60)
    with Connection(rabbitmq) as broker:

        def declare(name: str, kind: str) -> None:
            broker.channel().queue_declare(
                name, durable=True, auto_delete=False, arguments={"x-queue-type": kind}
            )

        try:
            for name in ("weops.control", f"weops.g.{group_id}"):
                # The server refuses to declare a queue as another kind than it is.
                declare(name, "quorum")
                with pytest.raises(broker.channel_errors, match="x-queue-type"):
                    declare(name, "classic")
        finally:
            broker.channel().queue_delete(f"weops.g.{group_id}")
