"""Operations in the background: the thread that applies them, hints through the broker, and processes that get killed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from instances.engine import hints
from instances.models import Instance, OperationRecord, StateChange
from instances.models.operation import OperationState
from instances.operations import applying, records
from instances.operations.worker import Applier
from tests.engine import harness
from tests.engine.harness import _django_db_helper, assert_sound, until
from tests.operating import applying_process, assert_counted, begun, environment, fresh, many
from tests.stack import PROJECT, Program, Stack
from weops.celery import CONTROL, app

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def applier() -> Iterator[Applier]:
    started = Applier(turn_seconds=0)
    yield started
    assert started.stop(harness.PATIENCE)


def ended(record: OperationRecord) -> bool:
    return fresh(record).finished_at is not None


class TestTheThread:
    def test_it_applies_to_the_end(self, applier: Applier) -> None:
        record = begun("rerun", many(6), 2)
        applier.take(record.pk)
        until(lambda: ended(record))
        assert fresh(record).state == OperationState.SUCCESS

    def test_operations_take_turns(self, applier: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
        """A small one that comes later does not wait for the end of a big one."""
        big, small = begun("rerun", many(40), 1), begun("rerun", many(1))
        order: list[int] = []
        advance = applying.advance

        def noted(operation_id: int, *rest: object) -> applying.Progress:
            if not order:
                applier.take(small.pk)
            order.append(operation_id)
            return advance(operation_id, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(applying, "advance", noted)
        applier.take(big.pk)
        until(lambda: ended(big) and ended(small))
        assert order[:2] == [big.pk, small.pk]
        assert order.count(small.pk) == 1

    def test_the_same_one_a_hundred_times(self, applier: Applier) -> None:
        record = begun("rerun", many(10), 1)
        for _ in range(100):
            applier.take(record.pk)
        until(lambda: ended(record))
        assert set(Instance.objects.values_list("life_round", flat=True)) == {1}

    def test_one_that_breaks_stops_no_other(self, applier: Applier) -> None:
        applier.take(10**15)
        record = begun("rerun", many(2))
        applier.take(record.pk)
        until(lambda: ended(record))

    def test_a_lost_connection_is_no_end(self, applier: Applier) -> None:
        first, second = begun("rerun", many(1)), begun("rerun", many(1))
        applier.take(first.pk)
        until(lambda: ended(first))
        with harness.watching() as watcher:
            watcher.hang_up()
        harness.reconnect()

        def sent_again() -> bool:
            """As the sweep does: it may have met a connection that was hung up."""
            applier.take(second.pk)
            return ended(second)

        until(sent_again)

    def test_stopped_it_takes_nothing_more(self) -> None:
        record = begun("rerun", many(2), 1)
        applier = Applier()
        assert applier.stop()
        applier.take(record.pk)
        assert fresh(record).state == OperationState.INIT

    def test_it_stops_between_two_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        record = begun("rerun", many(50), 1)
        applier, step = Applier(turn_seconds=60), applying._step

        def stopping(*given: object) -> object:
            done = step(*given)  # type: ignore[arg-type]
            if fresh(record).done == 3:
                harness.Racer(applier.stop)
                until(lambda: applier._stopping)
            return done

        monkeypatch.setattr(applying, "_step", stopping)
        applier.take(record.pk)
        until(lambda: applier._stopping)
        assert applier.stop(harness.PATIENCE)
        assert (fresh(record).state, fresh(record).done) == (OperationState.RUNNING, 3)


@pytest.mark.slow
class TestProcesses:
    @pytest.fixture(autouse=True)
    def _no_messages(self) -> None:
        """What an earlier test's beat sent must not make a tick here."""
        app.control.purge()

    def test_killed_midway_it_is_carried_on_and_each_instance_is_done_once(self) -> None:
        """Twenty thousand instances; two processes die by kill -9 in the middle, two others finish it together."""
        chosen = many(1000, tasks=20)
        assert len(chosen) == 20_000
        record = begun("rerun", chosen)
        for least in (3000, 8000):
            victim = applying_process(record)
            try:
                until(lambda: fresh(record).done >= least, 60)  # noqa: B023 - called at once
            finally:
                os.kill(victim.pid, signal.SIGKILL)
                victim.wait()
            _no_connection_is_left()
            assert least <= fresh(record).done < 20_000
            assert_counted(record)
        assert records.stalled(0) == [record.pk]
        finishers = [applying_process(record) for _ in range(2)]
        assert [one.wait(120) for one in finishers] == [0, 0]
        last = fresh(record)
        assert (last.state, last.done, last.refused, last.failed) == (OperationState.SUCCESS, 20_000, 0, 0)
        assert set(Instance.objects.values_list("life_round", flat=True)) == {1}
        assert StateChange.objects.filter(operation_id=record.pk).count() == 20_000
        assert_counted(record)
        assert_sound()

    def test_a_control_worker_applies_what_a_door_asked_for(self, tmp_path: Path) -> None:
        """From the hint through the broker to the end; and what lost its hint is found by the tick."""
        hinted, lost = begun("rerun", many(20), 5), begun("terminate", many(20), 5)
        with Stack(tmp_path) as stack:
            hints.operations.send([hinted.pk])
            stack.control()
            until(lambda: ended(hinted), 60)
            assert fresh(hinted).done == 20
            assert fresh(lost).state == OperationState.INIT
            stack.beat()
            until(lambda: ended(lost), 60)
            assert fresh(lost).done == 20

    @pytest.mark.parametrize("server", ["weops.asgi", "weops.wsgi"])
    def test_the_web_server_sends_hints(self, server: str) -> None:
        """An operation that a page leaves to the background begins at once: its message is in the queue."""
        record = begun("rerun", many(1))
        code = (
            f"import {server}; from instances.engine import hints; hints.operations.send([{record.pk}]);"
            "assert hints.executions.connected"
        )
        subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), check=True, timeout=60)
        with app.connection_for_read() as broker, broker.SimpleQueue(app.amqp.queues[CONTROL]) as queue:
            message = queue.get(timeout=10)
            message.ack()
        assert message.payload[0] == [record.pk]

    def test_a_killed_control_worker_is_followed_by_another(self, tmp_path: Path) -> None:
        record = begun("rerun", many(1000, tasks=3), 30)
        with Stack(tmp_path) as stack:
            first = stack.control("first")
            stack.beat()
            until(lambda: fresh(record).done >= 500, 60)
            first.kill()
            assert not ended(record)
            stack.control("second")
            until(lambda: ended(record), 120)
        last = fresh(record)
        assert (last.state, last.done) == (OperationState.SUCCESS, 3000)
        assert_counted(record)

    def test_ticks_do_not_wait_for_an_operation(self, tmp_path: Path) -> None:
        """While an operation is on (it waits for a row that somebody holds), what becomes due is generated as ever."""
        ids = many(10)
        record = begun("rerun", ids, 2)
        with Stack(tmp_path) as stack:
            with held(ids[-1]):
                control, beat = stack.control(), stack.beat()
                eventually(lambda: fresh(record).done == 8, control, beat)
                task = harness.make_due(3)
                eventually(lambda: len(harness.instances_of(task)) == 3, control, beat)
                assert not ended(record)
            eventually(lambda: ended(record), control, beat)
        assert fresh(record).state == OperationState.SUCCESS
        assert_counted(record)


@contextlib.contextmanager
def held(instance_id: int) -> Iterator[None]:
    """Somebody else's transaction that holds the instance's row."""
    with psycopg.connect(**{**connection.get_connection_params(), "autocommit": False}) as holder:
        holder.execute("SET idle_in_transaction_session_timeout = 0")
        holder.execute("SELECT id FROM instances_instance WHERE id = %s FOR UPDATE", [instance_id])
        yield


def eventually(probe: Callable[[], bool], *programs: Program) -> None:
    """Waits until it is so; the programs' logs say why it is not."""
    try:
        until(probe, 60)
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *(program.text() for program in programs)])) from error


def _no_connection_is_left() -> None:
    """The server has noticed that the killed process is gone, and rolled its transaction back."""
    with harness.watching() as watcher:
        own = harness.backend_id()
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid NOT IN (pg_backend_pid(), %s) AND xact_start IS NOT NULL"
        )
        until(lambda: watcher.one(query, own) == 0)
