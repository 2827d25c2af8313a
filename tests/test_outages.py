"""The broker and the database die, lose their memory, hang and come back while work is in flight.

The servers are the test's own, so that they can be killed. docs/failures.md has the list.
"""

import datetime as dt
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from pytest_django.plugin import DjangoDbBlocker

from instances.engine.states import ExecutionState, State
from instances.models import Execution, Instance
from tests import factories
from tests.stack import (
    DAY,
    LONG_LEASE,
    SHORT_LEASE,
    Ledger,
    Stack,
    check_books,
    daily,
    dead,
    executions,
    of_tasks,
    on_database,
    over,
    states,
    swept,
    tick,
    until,
    world,
)
from weops.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, processes

pytestmark = pytest.mark.slow


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def family(server: EmbeddedServer) -> list[psutil.Process]:
    return processes.in_folder(server.data, server.process_name)


def crash(server: EmbeddedServer, number: signal.Signals) -> None:
    """Ends the server's main process by a signal and waits for the end of all of it."""
    main = server.process()
    assert main is not None
    main.send_signal(number)
    until(lambda: server.process() is None and not family(server), f"the end of {server.name}", 20)


def steps(ledger: Ledger, gate: str = "go") -> str:
    """Code that waits at a gate in its first try, and at none in the next."""
    return "\n".join(
        [
            ledger.note("begin"),
            f"if [ $WEOPS_TRY = 0 ]; then {ledger.gate(gate)}; fi",
            ledger.note("end"),
        ]
    )


# The broker


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "broker")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_broker(
    tmp_path: Path, settings: Any, transactional_db: None, valkey: EmbeddedValkey
) -> Iterator[Stack]:
    with world(tmp_path, settings, broker=valkey.url) as made:
        yield made


def test_broker_killed_and_wiped_while_work_is_in_flight(
    own_broker: Stack, valkey: EmbeddedValkey, ledger: Ledger
) -> None:
    group = factories.make_group(4)
    task = daily(16, group=group, code=steps(ledger))
    after = factories.make_task(effective_from=DAY, effective_to=DAY + dt.timedelta(days=16, seconds=-1))
    factories.depend(after, task)
    factories.submit(after, since=DAY - dt.timedelta(seconds=1))
    own_broker.beat()
    own_broker.control()
    own_broker.until_ready(own_broker.worker("A"), own_broker.worker("B"))
    until(lambda: len(ledger.entries("begin")) == 4, "four runs")

    crash(valkey, signal.SIGKILL)
    valkey.forget()
    ledger.open("go")
    until(lambda: len(ledger.entries("end")) >= 4, "runs that end without a broker")
    late = daily(4, code=ledger.note("late"))
    valkey.start()
    until(lambda: len(of_tasks(late)) == 4 and over(task, after, late), "the end of all instances")

    assert states(task, after, late) == {State.SUCCESS}
    assert len(executions(task)) == len(ledger.entries("end")) == 16
    assert len(executions(after)) == 16
    assert len(ledger.entries("late")) == 4
    assert ledger.once("begin")
    assert [program.name for program in own_broker.programs if not program.alive] == []
    check_books()


def test_workers_that_hear_nothing_still_take_work(
    own_broker: Stack, valkey: EmbeddedValkey, ledger: Ledger
) -> None:
    first, second = own_broker.worker("A"), own_broker.worker("B")
    own_broker.until_ready(first, second)
    crash(valkey, signal.SIGKILL)
    # The test's own ticks hint at another broker, to which nobody listens.
    task = daily(10, code=ledger.note("ran"))
    after = factories.make_task(
        code=ledger.note("ran"),
        effective_from=DAY,
        effective_to=DAY + dt.timedelta(days=10, seconds=-1),
    )
    factories.depend(after, task)
    factories.submit(after, since=DAY - dt.timedelta(seconds=1))
    tick()
    until(swept(lambda: over(task, after)), "the end of all instances")
    assert states(task, after) == {State.SUCCESS}
    assert len(executions(task, after)) == len(ledger.entries("ran")) == 20
    assert ledger.once("ran")
    # Nor does the missing broker keep them from stopping.
    first.terminate()
    second.terminate()
    assert (first.ended(), second.ended()) == (0, 0)
    check_books()


# The database


@pytest.fixture(scope="module")
def postgres_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    # Not `fast`: what it has committed must survive a crash.
    server = EmbeddedPostgres(tmp_path_factory.mktemp("database"), fast=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres(
    postgres_home: EmbeddedPostgres, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[EmbeddedPostgres]:
    """A server whose database is this process's too, empty but for the tables."""
    postgres_home.start()
    with django_db_blocker.unblock(), on_database(postgres_home.url):
        call_command("migrate", verbosity=0)
        yield postgres_home
        call_command("flush", verbosity=0, interactive=False)


@pytest.fixture
def own_database(
    tmp_path: Path, settings: Any, postgres: EmbeddedPostgres, request: pytest.FixtureRequest
) -> Iterator[Stack]:
    """On that database; a test may ask for another lease, in seconds."""
    lease = getattr(request, "param", LONG_LEASE)
    with world(tmp_path, settings, lease=lease, database=postgres.url) as made:
        yield made


def test_database_crashes_and_comes_back_while_work_runs(
    own_database: Stack, postgres: EmbeddedPostgres, ledger: Ledger
) -> None:
    group = factories.make_group(4)
    task = daily(16, group=group, code=steps(ledger))
    after = factories.make_task(effective_from=DAY, effective_to=DAY + dt.timedelta(days=16, seconds=-1))
    factories.depend(after, task)
    factories.submit(after, since=DAY - dt.timedelta(seconds=1))
    own_database.beat()
    own_database.control()
    own_database.until_ready(own_database.worker("A"), own_database.worker("B"))
    until(lambda: len(ledger.entries("begin")) == 4, "four runs")

    crash(postgres, signal.SIGQUIT)
    ledger.open("go")
    until(lambda: len(ledger.entries("end")) == 4, "runs that end without a database")
    back = restart(postgres)
    until(lambda: over(task, after), "the end of all instances")

    assert states(task, after) == {State.SUCCESS}
    assert len(executions(task)) == len(ledger.entries("end")) == 16
    assert len(executions(after)) == 16
    assert ledger.once("begin")
    # They are known to have ended when they did, not when the database could be told.
    first = Execution.objects.filter(pk__in=[entry[0] for entry in ledger.entries("end")[:4]])
    assert first.filter(run_ended_at__lt=back).count() == 4
    assert [program.name for program in own_database.programs if not program.alive] == []
    check_books()


def restart(postgres: EmbeddedPostgres) -> dt.datetime:
    """Starts it again, with this process's connection; when it answered."""
    postgres.start()
    back = dt.datetime.now(dt.UTC)

    def answers() -> bool:
        try:
            return Instance.objects.exists()
        except OperationalError:
            connection.close()
            return False

    until(answers, "this process's own connection")
    return back


@pytest.mark.parametrize("own_database", [SHORT_LEASE], indirect=True, ids=[""])
@pytest.mark.parametrize("how", ["stopped", "silent"])
def test_database_away_for_longer_than_a_lease(
    own_database: Stack, postgres: EmbeddedPostgres, ledger: Ledger, how: str
) -> None:
    retried = daily(3, code=steps(ledger, "never"), retry_limit=1)
    final = daily(code=steps(ledger, "never"))
    own_database.beat()
    own_database.control()
    own_database.until_ready(own_database.worker("A"), own_database.worker("B"))
    until(lambda: len(ledger.entries("begin")) == 4, "four runs")

    frozen = family(postgres)
    if how == "stopped":
        crash(postgres, signal.SIGQUIT)
    else:
        for process in frozen:
            process.suspend()
    try:
        # Before anybody else may have their work: while there is nobody to ask.
        until(lambda: dead(ledger.pids()), "the end of all children", 10)
    finally:
        if how == "silent":
            for process in frozen:
                process.resume()
    restart(postgres)
    until(lambda: over(retried, final), "the end of all instances")

    assert states(retried) == {State.SUCCESS}
    assert states(final) == {State.FAILED}
    codes = [execution.error_code for execution in executions(retried, final) if execution.try_number == 0]
    assert len(codes) == 4
    assert set(codes) <= {"LOST", "LEASE_LOST"}
    assert len(executions(retried)) == 6
    assert len(ledger.entries("end")) == 3
    assert ledger.once("begin")
    assert not Execution.objects.filter(state=ExecutionState.RUNNING).exists()
    assert [program.name for program in own_database.programs if not program.alive] == []
    check_books()


def test_page_of_failures_names_every_test_and_no_other() -> None:
    tests = Path(__file__).resolve().parent
    page = (tests.parent / "docs" / "failures.md").read_text(encoding="utf-8")
    code = "".join(
        (tests / name).read_text(encoding="utf-8") for name in ("test_failures.py", "test_outages.py")
    )
    shown = set(re.findall(r"`(test_\w+)`", page))
    assert shown == set(re.findall(r"^def (test_\w+)", code, re.MULTILINE)) - {
        "test_page_of_failures_names_every_test_and_no_other"
    }
