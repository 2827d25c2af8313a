"""Batches: each applied exactly once, whoever comes to it; what is refused, cancelled, withdrawn or broken on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, OperationalError, connection

from instances import operations
from instances.engine import hints, lifecycle
from instances.models import FrozenBatch, Instance, OperationRecord, StateChange
from instances.models.operation import ItemOutcome, OperationState
from instances.operations import applying, records
from instances.operations.applying import Progress
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper, assert_sound, due, ids
from tests.operating import (
    assert_counted,
    begun,
    fresh,
    many,
    messages,
    one_batch,
    outcomes,
    two_projects,
    unguarded,
)
from weops.projects.models import Member

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
DONE, REFUSED, FAILED, CANCELLED = ItemOutcome.values


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with harness.captured_hints():
        yield


@pytest.fixture
def hinted() -> Iterator[list[int]]:
    """Operations that the background was told of."""
    found: list[int] = []
    before = hints.operations.register(found.extend)
    yield found
    hints.operations.register(before)


@contextmanager
def broken(constraint: str) -> Iterator[None]:
    """Inside, the database refuses instances that violate `constraint`."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE instances_instance ADD CONSTRAINT broken CHECK ({constraint}) NOT VALID")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE instances_instance DROP CONSTRAINT broken")


def lives() -> list[int]:
    return list(Instance.objects.order_by("id").values_list("life_round", flat=True))


class TestOneAfterTheOther:
    def test_batch_by_batch_in_their_order(self) -> None:
        chosen = many(5)
        record = begun("rerun", chosen, 2)
        assert (record.state, record.started_at, record.total) == (OperationState.INIT, None, 5)
        assert not one_batch(record)
        assert lives() == [1, 1, 0, 0, 0]
        first = fresh(record)
        assert (first.state, first.done, first.finished_at) == (OperationState.RUNNING, 2, None)
        assert first.started_at is not None
        assert not one_batch(record)
        assert lives() == [1, 1, 1, 1, 0]
        assert fresh(record).started_at == first.started_at
        assert OperationRecord.objects.filter(pk=record.pk, moved_at__gt=first.moved_at).exists()
        assert one_batch(record)
        assert (fresh(record).state, fresh(record).done) == (OperationState.SUCCESS, 5)
        assert_counted(record)
        assert_sound()

    def test_a_finished_one_is_left_alone(self) -> None:
        record = begun("rerun", many(2))
        assert operations.work(record.pk)
        ended = fresh(record)
        assert operations.work(record.pk)
        assert fresh(record).finished_at == ended.finished_at
        assert lives() == [1, 1]

    def test_images_are_on_record(self) -> None:
        [day] = due()
        record = begun("rerun", [day.pk])
        operations.work(record.pk)
        item = record.items.get()
        assert item.before is not None
        assert item.after is not None
        assert (item.before["state"], item.before["life_round"]) == ("wait_run", 0)
        assert (item.after["state"], item.after["life_round"]) == ("wait_run", 1)

    def test_a_set_of_nothing(self) -> None:
        record = begun("terminate", [])
        assert operations.work(record.pk)
        assert fresh(record).state == OperationState.SUCCESS

    def test_time_is_kept(self) -> None:
        record = begun("rerun", many(6), 2)
        assert applying.advance(record.pk, 0) is Progress.MORE
        assert applying.advance(record.pk, 60, lambda: True) is Progress.MORE
        assert lives() == [1, 1, 1, 1, 0, 0]
        assert applying.advance(record.pk, 60) is Progress.FINISHED

    def test_two_processes_take_turns(self) -> None:
        record = begun("rerun", many(60), 1)
        answers = harness.race(*[lambda: operations.work(record.pk)] * 3)
        assert answers == [True, True, True]
        assert lives() == [1] * 60
        assert fresh(record).done == 60
        assert_counted(record)

    def test_who_finds_another_at_work_goes_away(self) -> None:
        record = begun("rerun", many(4), 2)

        def meanwhile() -> Any:
            return applying.advance(record.pk, 60)

        with harness.transaction.atomic():
            applying._apply_next(record.pk, True, applying.Care.WHOLE)
            assert harness.Racer(meanwhile).result() is Progress.ELSEWHERE
        assert lives() == [1, 1, 0, 0]
        assert meanwhile() is Progress.FINISHED

    def test_dispatch_follows_each_batch(self) -> None:
        chosen = many(4, group=make.make_group(10))
        with harness.captured_hints() as sent:
            record = begun("rerun", chosen, 2)
            one_batch(record)
            assert len(sent) == 4
            operations.work(record.pk)
        # The second batch takes back what the first one's dispatch gave its instances, and gives them a slot again.
        assert len(sent) == 6
        assert_sound()


class TestInTheBackground:
    def test_one_batch_is_applied_at_once(self, hinted: list[int]) -> None:
        record = operations.run("rerun", many(3), user=None, reason="", source="api")
        assert record.state == OperationState.SUCCESS
        assert hinted == []

    def test_more_is_left_to_a_worker(self, hinted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(operations.asking, "SMALL", 2)
        record = operations.run("rerun", many(3), user=None, reason="", source="api")
        assert (record.state, hinted) == (OperationState.INIT, [record.pk])
        assert lives() == [0, 0, 0]

    def test_a_door_may_choose(self, hinted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        given: dict[str, Any] = {"user": None, "reason": "", "source": "api"}
        late = operations.run("rerun", many(1), **given, background=True)
        assert (late.state, hinted) == (OperationState.INIT, [late.pk])
        monkeypatch.setattr(operations.asking, "SMALL", 2)
        soon = operations.run("rerun", many(3), **given, background=False)
        assert (soon.state, soon.done) == (OperationState.SUCCESS, 3)

    def test_a_dead_broker_costs_time_only(self) -> None:
        def dead(_: Any) -> None:
            raise ConnectionError("no broker")

        before = hints.operations.register(dead)
        try:
            record = operations.run("rerun", many(2), user=None, reason="", source="api", background=True)
        finally:
            hints.operations.register(before)
        assert record.state == OperationState.INIT
        assert records.stalled(0) == [record.pk]

    def test_what_stands_still_is_found(self) -> None:
        record = begun("rerun", many(4), 2)
        assert records.stalled(60) == []
        assert records.stalled(0) == [record.pk]
        one_batch(record)
        assert records.stalled(60) == []
        assert records.stalled(0) == [record.pk]
        operations.work(record.pk)
        assert records.stalled(0) == []

    def test_records_about_tasks_are_nobody_to_go_on_with(self) -> None:
        records.note("pause_task", user=None, source="api")
        OperationRecord.objects.create(kind="later", source="api")
        assert records.stalled(0) == []


class TestRefusals:
    def test_they_name_the_instance_its_state_and_what_is_allowed(self) -> None:
        days = due(2)
        lifecycle.terminate([days[0].pk])
        record = begun("terminate", ids(days))
        operations.work(record.pk)
        assert outcomes(record) == {days[0].pk: REFUSED, days[1].pk: DONE}
        assert fresh(record).state == OperationState.PART_SUCCESS
        message = messages(record)[days[0].pk]
        assert message.startswith(
            f"{days[0]} is in state Failed: terminate is allowed only from Wait for event"
        )
        item = record.items.get(instance_id=days[0].pk)
        assert (item.from_state, item.to_state, item.before) == ("failed", "", None)

    def test_all_refused_is_a_failure(self) -> None:
        days = due(2)
        lifecycle.terminate(ids(days))
        record = operations.run("terminate", ids(days), user=None, reason="", source="api")
        assert (record.state, record.refused) == (OperationState.FAIL, 2)

    def test_gone_since_it_was_frozen(self) -> None:
        chosen = many(2)
        record = begun("rerun", chosen)
        Instance.objects.filter(pk=chosen[0]).delete()
        operations.work(record.pk)
        assert messages(record) == {chosen[0]: "There is no such instance any more.", chosen[1]: ""}
        assert_counted(record)

    @pytest.mark.parametrize(
        ("allowed", "state", "done"),
        [
            ("NONE", "failed", False),
            ("NONE", "success", False),
            ("FAILURE", "failed", True),
            ("FAILURE", "success", False),
            ("FAILURE", "wait_run", False),
            ("ALL", "success", True),
        ],
    )
    def test_a_task_may_not_want_reruns(self, allowed: str, state: str, done: bool) -> None:
        [day] = due(rerun_allowed=allowed)
        if state != "wait_run":
            (lifecycle.terminate if state == "failed" else lifecycle.mark_success)([day.pk])
        record = operations.run("rerun", [day.pk], user=None, reason="", source="api")
        assert (record.done, record.refused) == (int(done), int(not done))
        if not done:
            assert ("does not allow" if allowed == "NONE" else "only after a failure") in messages(record)[
                day.pk
            ]
            assert str(day) in messages(record)[day.pk]
        assert harness.fresh(day).life_round == int(done)

    def test_other_operations_do_not_care_about_reruns(self) -> None:
        [day] = due(rerun_allowed="NONE")
        assert operations.run("terminate", [day.pk], user=None, reason="", source="api").done == 1


class TestCancel:
    def test_midway(self) -> None:
        chosen = many(6)
        record = begun("rerun", chosen, 2)
        one_batch(record)
        assert operations.cancel(record, None)
        assert operations.work(record.pk)
        assert list(outcomes(record).values()) == [DONE] * 2 + [CANCELLED] * 4
        assert lives() == [1, 1, 0, 0, 0, 0]
        ended = fresh(record)
        assert (ended.state, ended.done, ended.cancelled) == (OperationState.PART_SUCCESS, 2, 4)
        assert "before its turn" in messages(record)[chosen[5]]
        assert_counted(record)

    def test_before_it_began(self) -> None:
        record = begun("rerun", many(2))
        assert operations.cancel(record, None)
        operations.work(record.pk)
        assert (fresh(record).state, fresh(record).cancelled) == (OperationState.FAIL, 2)

    def test_a_second_time_and_too_late(self) -> None:
        record = begun("rerun", many(2))
        assert operations.cancel(record, None)
        assert not operations.cancel(record, None)
        operations.work(record.pk)
        assert not operations.cancel(fresh(record), None)
        late = operations.run("rerun", many(1), user=None, reason="", source="api")
        assert not operations.cancel(late, None)
        assert fresh(late).cancel_requested_at is None

    def test_it_is_on_record_who_asked(self, hinted: list[int]) -> None:
        susan = make.make_user(make.SUSAN)
        record = begun("rerun", many(2))
        hinted.clear()
        assert operations.cancel(record, susan)
        assert (fresh(record).cancel_requested_by, hinted) == (susan, [record.pk])

    def test_it_waits_for_the_batch_that_is_on_and_stops_the_next(self) -> None:
        record = begun("rerun", many(4), 2)
        harness.overtake(
            lambda: applying._apply_next(record.pk, True, applying.Care.WHOLE),
            lambda: operations.cancel(record, None),
        )
        operations.work(record.pk)
        assert lives() == [1, 1, 0, 0]

    def test_who_may(self) -> None:
        omar, here, there = two_projects()
        record = begun("mark_success", here + there, user=omar)
        project = Instance.objects.get(pk=here[0]).project
        cast = make.make_cast(project)
        for name in (make.EVE, make.VERA, make.DANA):
            # Dana may mark instances of one of the two projects only.
            assert not operations.may_cancel(record, cast[name])
            with pytest.raises(PermissionDenied):
                operations.cancel(record, cast[name])
        make.make_user(make.DANA, project=Instance.objects.get(pk=there[0]).project)
        dana, closed = make.User.objects.get(username=make.DANA), make.make_user(make.SUSAN)
        assert operations.may_cancel(record, dana)
        assert operations.may_cancel(record, closed)
        closed.is_active = False
        assert not operations.may_cancel(record, closed)
        assert operations.cancel(record, omar)


class TestRights:
    def test_withdrawn_midway(self) -> None:
        omar, here, there = two_projects()
        record = begun("terminate", here + there, 1, user=omar)
        one_batch(record)
        Member.objects.filter(user=omar, project=Instance.objects.get(pk=here[0]).project_id).delete()
        operations.work(record.pk)
        assert list(outcomes(record).values()) == [DONE, REFUSED, REFUSED, DONE, DONE, DONE]
        project = Instance.objects.get(pk=here[0]).project
        assert messages(record)[here[1]] == f"omar does not have the right to operate in project {project}."
        assert_counted(record)

    def test_a_lower_role_midway(self) -> None:
        omar, here, _ = two_projects()
        record = begun("mark_success", here, 1, user=omar)
        one_batch(record)
        Member.objects.filter(user=omar).update(role="viewer")
        operations.work(record.pk)
        assert list(outcomes(record).values()) == [DONE, REFUSED, REFUSED]
        assert "the right to override" in messages(record)[here[2]]

    def test_an_account_that_is_closed_midway(self) -> None:
        susan = make.make_user(make.SUSAN)
        chosen = many(3)
        record = begun("rerun", chosen, 1, user=susan)
        one_batch(record)
        make.User.objects.filter(pk=susan.pk).update(is_active=False)
        operations.work(record.pk)
        assert lives() == [1, 0, 0]
        assert messages(record)[chosen[1]] == "The account susan is closed."

    def test_an_account_that_is_removed_midway(self) -> None:
        """Its operation is not the system's then, which may do everything."""
        susan = make.make_user(make.SUSAN)
        record = begun("rerun", many(3), 1, user=susan)
        one_batch(record)
        susan.delete()
        operations.work(record.pk)
        assert lives() == [1, 0, 0]
        ended = fresh(record)
        assert (ended.operator, ended.operator_name, ended.refused) == (None, "susan", 2)
        assert ended.frozen_set is not None

    def test_viewers_are_refused(self) -> None:
        _, here, _ = two_projects()
        vera = make.make_user(make.VERA, project=Instance.objects.get(pk=here[0]).project)
        record = operations.run("terminate", here, user=vera, reason="", source="api")
        assert (record.state, record.refused) == (OperationState.FAIL, 3)

    def test_other_parameters_are_an_override(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from weops.projects import access

        omar, here, _ = two_projects()
        monkeypatch.setitem(access.RIGHTS, "operator", access.RIGHTS["viewer"] | {access.Right.OPERATE})
        given: dict[str, Any] = {"user": omar, "reason": "", "source": "api"}
        assert operations.run("rerun", here, **given).done == 3
        record = operations.run("rerun", here, **given, options={"parameters": {"day": "x"}})
        assert (record.done, record.refused) == (0, 3)
        assert "the right to override" in messages(record)[here[0]]


class TestErrors:
    def test_one_bad_row_fails_alone(self) -> None:
        chosen = many(9)
        record = begun("rerun", chosen, 5)
        with broken(f"id <> {chosen[3]} OR life_round = 0"):
            operations.work(record.pk)
        assert outcomes(record) == {pk: FAILED if pk == chosen[3] else DONE for pk in chosen}
        assert lives() == [1, 1, 1, 0, 1, 1, 1, 1, 1]
        assert "An error inside WeOps" in messages(record)[chosen[3]]
        assert "broken" in messages(record)[chosen[3]]
        assert (fresh(record).state, fresh(record).failed) == (OperationState.PART_SUCCESS, 1)
        assert StateChange.objects.filter(move="rerun").count() == 8
        assert_counted(record)
        assert_sound()

    def test_rows_that_fail_only_when_the_transaction_ends(self) -> None:
        """A deferred constraint speaks at the commit, where nobody could tell whose fault it is."""
        chosen = many(4)
        record = begun("rerun", chosen)
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN IF NEW.id = {chosen[1]} THEN RAISE EXCEPTION 'too late'; END IF; RETURN NULL; END $$;"
                "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON instances_instance "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()"
            )
        try:
            operations.work(record.pk)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TRIGGER late ON instances_instance; DROP FUNCTION late()")
        assert list(outcomes(record).values()) == [DONE, FAILED, DONE, DONE]
        assert lives() == [1, 0, 1, 1]

    def test_an_error_in_the_program_is_on_record_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chosen = many(4)
        rerun = lifecycle.rerun

        def clumsy(ids: Any, *rest: Any) -> Any:
            if chosen[2] in ids:
                raise ZeroDivisionError("half of nothing")
            return rerun(ids, *rest)

        record = begun("rerun", chosen)
        monkeypatch.setattr(lifecycle, "rerun", clumsy)
        operations.work(record.pk)
        assert list(outcomes(record).values()) == [DONE, DONE, FAILED, DONE]
        assert "half of nothing" in messages(record)[chosen[2]]

    def test_what_cannot_be_applied_at_all_ends_as_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        record = begun("rerun", many(3), 2)

        def broken_lock(*_: Any, **__: Any) -> Any:
            raise TypeError("no locks today")

        monkeypatch.setattr(lifecycle, "hold", broken_lock)
        assert operations.work(record.pk)
        assert list(outcomes(record).values()) == [FAILED] * 3
        assert lives() == [0, 0, 0]
        assert fresh(record).state == OperationState.FAIL

    def test_a_kind_that_is_no_more(self) -> None:
        record = begun("rerun", many(2))
        with unguarded() as cursor:
            cursor.execute("UPDATE instances_operationrecord SET kind = 'retired'")
        assert operations.work(record.pk)
        assert fresh(record).failed == 2

    @pytest.mark.parametrize("error", [psycopg.errors.AdminShutdown, psycopg.OperationalError])
    def test_a_database_that_goes_away_is_waited_for(
        self, error: type[Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chosen = many(4)
        record = begun("rerun", chosen, 2)
        one_batch(record)
        rerun = lifecycle.rerun

        def away(*_: Any) -> Any:
            raise OperationalError("gone") from error("gone")

        monkeypatch.setattr(lifecycle, "rerun", away)
        with pytest.raises(OperationalError):
            operations.work(record.pk)
        assert (fresh(record).state, len(outcomes(record))) == (OperationState.RUNNING, 2)
        monkeypatch.setattr(lifecycle, "rerun", rerun)
        assert operations.work(record.pk)
        assert lives() == [1] * 4

    def test_a_door_gives_the_record_though_the_database_was_too_busy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [day] = due()

        def busy(*_: Any) -> Any:
            raise OperationalError("busy") from psycopg.errors.DeadlockDetected("busy")

        with monkeypatch.context() as patched:
            patched.setattr(lifecycle, "terminate", busy)
            record = operations.run("terminate", [day.pk], user=None, reason="", source="api")
        assert record.state in (OperationState.INIT, OperationState.RUNNING)
        assert operations.work(record.pk)
        assert harness.state(day) == "failed"

    def test_a_deadlock_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rerun, calls = lifecycle.rerun, []

        def unlucky(*given: Any) -> Any:
            calls.append(1)
            if len(calls) < 3:
                raise OperationalError("deadlock") from psycopg.errors.DeadlockDetected("deadlock")
            return rerun(*given)

        monkeypatch.setattr(lifecycle, "rerun", unlucky)
        record = operations.run("rerun", many(2), user=None, reason="", source="api")
        assert (record.state, record.done, len(calls)) == (OperationState.SUCCESS, 2, 3)

    def test_a_batch_that_takes_too_long_is_done_in_halves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rerun, sizes = lifecycle.rerun, []

        def slow(ids: Any, *rest: Any) -> Any:
            sizes.append(len(ids))
            if len(ids) > 2:
                raise OperationalError("slow") from psycopg.errors.QueryCanceled("slow")
            return rerun(ids, *rest)

        monkeypatch.setattr(lifecycle, "rerun", slow)
        record = operations.run("rerun", many(4), user=None, reason="", source="api")
        assert (record.done, sizes) == (4, [4, 4, 2, 2])

    def test_a_batch_is_all_or_nothing(self) -> None:
        """What cannot be written down is not done."""
        record = begun("rerun", many(2))
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE instances_operationitem ADD CONSTRAINT broken CHECK (false) NOT VALID"
            )
        try:
            with pytest.raises(DatabaseError):
                operations.work(record.pk)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE instances_operationitem DROP CONSTRAINT broken")
        assert lives() == [0, 0]
        assert not FrozenBatch.objects.exclude(applied_at=None).exists()
        assert operations.work(record.pk)
        assert lives() == [1, 1]


def test_a_quick_worker_does_not_change_what_is_on_record() -> None:
    """It claims what the first batch made ready before the second is applied."""
    chosen = many(4)
    record = begun("rerun", chosen, 2)

    def quick(ready: Any) -> None:
        lifecycle.claim([hint.execution_id for hint in ready], "quick")

    before = hints.executions.register(quick)
    try:
        operations.work(record.pk)
    finally:
        hints.executions.register(before)
    # The second half ran by the time its turn came.
    assert list(outcomes(record).values()) == [DONE, DONE, REFUSED, REFUSED]
    assert set(record.items.filter(outcome=DONE).values_list("to_state", flat=True)) == {"wait_run"}
