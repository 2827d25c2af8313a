"""A worker that loses its lease, its database or a message: its children die in time, and no result is lost."""

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from instances.engine import lifecycle, maintenance
from instances.engine import runtime as runtime_module
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Result
from instances.engine.runtime import Runtime
from instances.models import Instance, Lease
from tests.engine import harness
from tests.engine.harness import (
    Racer,
    _django_db_helper,
    age_leases,
    assert_sound,
    due,
    fresh,
    state,
    until,
)
from tests.engine.workers import Gate, begin, dead, gate, in_background, log_of, sent, worker

__all__ = ["_django_db_helper", "begin", "gate", "sent", "worker"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class TestLeases:
    def test_heartbeats_keep_a_run_alive_beyond_its_lease(
        self, begin: Any, gate: Gate, settings: Any
    ) -> None:
        settings.WEOPS_LEASE_SECONDS = 2
        worker = begin()
        [day] = due(code=gate.code)
        racer = in_background(worker, day)
        gate.wait()
        began = Lease.objects.get().heartbeat_at

        def outlived() -> bool:
            assert lifecycle.expire(2).instances == 0
            return Lease.objects.get().heartbeat_at - began > dt.timedelta(seconds=3)

        until(outlived)
        gate.open()
        racer.result()
        assert state(day) == "success"

    def test_a_worker_that_lost_its_lease_kills_the_child_and_changes_nothing(
        self, begin: Any, gate: Gate, settings: Any
    ) -> None:
        settings.WEOPS_LEASE_SECONDS = 1
        worker = begin()
        [day] = due(code=gate.code)
        racer = in_background(worker, day)
        pid = gate.wait()
        # As the sweeper sees a worker that was away: here it is only quicker than the next renewal.
        with harness.transaction.atomic():
            age_leases(*Lease.objects.values_list("pk", flat=True))
            assert lifecycle.expire(harness.lease_seconds()).instances == 1
        racer.result()
        assert dead(pid)
        assert (fresh(day).state, fresh(day).error_code) == ("failed", "LOST")
        assert_sound()

    def test_a_worker_whose_database_is_silent_kills_the_child_in_time(
        self, begin: Any, gate: Gate, settings: Any
    ) -> None:
        settings.WEOPS_LEASE_SECONDS = 1
        worker = begin()
        [day] = due(code=gate.code)
        racer = in_background(worker, day)
        pid = gate.wait()
        with harness.transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE instances_lease IN EXCLUSIVE MODE")
            until(lambda: dead(pid))
        racer.result()
        assert fresh(day).error_code in ("LEASE_LOST", "LOST")
        assert_sound()

    def test_a_claim_whose_answer_got_lost_is_not_kept_alive(
        self, begin: Any, gate: Gate, settings: Any
    ) -> None:
        """The lease is in the worker's name, but nobody runs it: it must expire while the worker goes on."""
        settings.WEOPS_LEASE_SECONDS = 1
        worker = begin()
        [busy], [lost] = due(code=gate.code), due(code="true", retry_limit=1)
        racer = in_background(worker, busy)
        gate.wait()
        harness.started(lost, worker="tester")
        until(lambda: lifecycle.expire(1).instances)
        assert [fresh(busy).state, fresh(lost).state] == ["running", "failed_retry"]
        gate.open()
        racer.result()
        assert state(busy) == "success"

    def test_work_without_a_hint_is_found(
        self, begin: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.WEOPS_HINT_SECONDS = 0.01
        monkeypatch.setattr(runtime_module, "POLL_SECONDS", 0.05)
        [day] = due(code="true")
        begin()
        dispatch(harness.groups(day))
        until(lambda: state(day) == "success")

    def test_work_is_found_though_its_hint_is_sent_again_and_again(
        self, begin: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A worker that is deaf: the sweeper's hints are always young, and nobody ever hears one."""
        settings.WEOPS_HINT_SECONDS = 0.2
        monkeypatch.setattr(runtime_module, "POLL_SECONDS", 0.05)
        [day] = due(code="true")
        begin()
        dispatch(harness.groups(day))

        def swept() -> bool:
            maintenance.lost_hints(older_than=0)
            return state(day) == "success"

        until(swept)


class TestDatabaseFails:
    def _blocked_then_killed(self, blocking: str, during: Callable[[], Racer[Any]]) -> None:
        """Runs `during` against a lock, and ends the session that waits for it."""
        with harness.watching() as watcher:
            with harness.transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(blocking)
                racer = during()
                watcher.until_blocked_by(harness.backend_id())
                assert watcher.one(
                    "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted "
                    "AND pg_blocking_pids(pid) @> ARRAY[%s::int]",
                    harness.backend_id(),
                )
            racer.result()

    def test_while_a_result_is_reported(self, worker: Runtime) -> None:
        [day] = due(code="echo done")
        ids = [hint.execution_id for hint in dispatch(harness.groups(day))]
        claimed = lifecycle.claim(ids, worker.worker)
        self._blocked_then_killed(
            f"SELECT 1 FROM instances_instance WHERE id = {day.pk} FOR UPDATE",
            lambda: Racer(lambda: worker._work(claimed)),
        )
        assert state(day) == "success"
        assert harness.history(day) == ["claim", "succeed"]
        assert_sound()

    def test_before_a_run_has_begun(self, worker: Runtime) -> None:
        """Nothing of it has run, so nothing has failed."""
        [day] = due(code="echo done", retry_limit=0)
        ids = [hint.execution_id for hint in dispatch(harness.groups(day))]
        self._blocked_then_killed("LOCK TABLE instances_taskversion", lambda: Racer(lambda: worker.take(ids)))
        assert (fresh(day).state, fresh(day).error_message) == ("success", "")
        assert_sound()

    def test_while_it_is_claimed(self, worker: Runtime) -> None:
        [day] = due(code="echo done")
        ids = [hint.execution_id for hint in dispatch(harness.groups(day))]
        self._blocked_then_killed(
            f"SELECT 1 FROM instances_instance WHERE id = {day.pk} FOR UPDATE",
            lambda: Racer(lambda: worker.take(ids)),
        )
        assert state(day) == "wait_run"
        worker.take(ids)
        assert state(day) == "success"

    def test_while_children_run(self, begin: Any, gate: Gate, settings: Any) -> None:
        """The server ends every session, those that rest in the pool too: found dead one by one, with longer and longer
        pauses, they would cost more time than a lease has."""
        settings.WEOPS_LEASE_SECONDS = 10
        worker = begin()
        [day] = due(code=gate.code)
        racer = in_background(worker, day)
        pid = gate.wait()
        meet = threading.Barrier(12)

        def use_a_connection() -> None:
            harness.backend_id()
            meet.wait(harness.PATIENCE)

        harness.race(*[use_a_connection] * 12)
        connection.close()
        with harness.watching() as watcher:
            watcher.hang_up()
            renewed = "SELECT heartbeat_at FROM instances_lease"
            before = watcher.one(renewed)
            until(lambda: watcher.one(renewed) > before, seconds=8)
        assert not dead(pid)
        gate.open()
        racer.result()
        assert state(day) == "success"
        assert "passed" in log_of(day)

    def test_a_message_that_it_cannot_hold(self) -> None:
        """Text from anywhere: a NUL or half a character must not keep a result, or those beside it, from being written."""
        days = due(2)
        one, two = harness.started(*days)
        lifecycle.finish(
            [
                Result(one.execution_id, one.token, ok=False, error_code="SQL_ERROR", message="a\0b\udc80c"),
                harness.good(two),
            ]
        )
        assert sorted(Instance.objects.values_list("state", flat=True)) == ["failed", "success"]
        assert fresh(days[0]).error_message.startswith("a")
