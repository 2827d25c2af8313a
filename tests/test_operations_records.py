"""Operations on record: append-only by the database itself, safe against what people write, removed by retention only."""

import json
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from instances import operations
from instances.models import (
    FrozenBatch,
    FrozenRoots,
    FrozenSet,
    Instance,
    OperationItem,
    OperationRecord,
    StateChange,
    Task,
)
from instances.models.operation import OperationState
from instances.operations import records, retention
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper, due, ids
from tests.operating import begun, fresh, many, outcomes, unguarded

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

HOSTILE = [
    "<script>alert('x')</script>",
    "'; DROP TABLE instances_operationrecord; --",
    "%s %(ids)s {0} {name} ${yyyyMMdd}",
    "a\0b\x1b[2Jc\r\nd",
    "half \ud83d of a character",
    "=cmd|' /C calc'!A0",
    "long " * 5000,
    "\u202eright to left \N{PILE OF POO}",
]


def done_record(count: int = 2) -> OperationRecord:
    return operations.run("terminate", many(count), user=None, reason="first", source="api")


def execute(statement: str, *values: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


class TestAppendOnly:
    @pytest.mark.parametrize(
        "change",
        [
            "outcome = 'refused'",
            "message = 'x'",
            "before = NULL",
            "from_state = ''",
            "operation_id = operation_id",
        ],
    )
    def test_outcomes_never_change(self, change: str) -> None:
        done_record()
        with pytest.raises(DatabaseError, match="append-only: its rows never change"):
            execute(f"UPDATE instances_operationitem SET {change}")

    @pytest.mark.parametrize("table", ["operationitem", "operationrecord", "statechange"])
    def test_nothing_is_deleted(self, table: str) -> None:
        done_record()
        with pytest.raises(DatabaseError, match="append-only: only retention deletes"):
            execute(f"DELETE FROM instances_{table}")

    @pytest.mark.parametrize(
        "change",
        ["reason = 'another'", "kind = 'rerun'", "operator_name = 'eve'", "options = '{}'::jsonb || '{\"a\": 1}'", "total = 9",
         "source = 'x'", "created_at = now()", "undoes_id = id", "frozen_set_id = NULL"],
    )  # fmt: skip
    @pytest.mark.parametrize("finished", [True, False])
    def test_what_was_asked_for_never_changes(self, change: str, finished: bool) -> None:
        record = begun("terminate", many(2))
        if finished:
            operations.work(record.pk)
        with pytest.raises(DatabaseError, match="is on record"):
            execute(f"UPDATE instances_operationrecord SET {change} WHERE id = %s", record.pk)

    @pytest.mark.parametrize(
        "change", ["state = 'FAIL'", "done = 0", "refused = 7", "finished_at = now()", "moved_at = now()", "finished_at = NULL"]
    )  # fmt: skip
    def test_an_end_is_an_end(self, change: str) -> None:
        record = done_record()
        with pytest.raises(DatabaseError):
            execute(f"UPDATE instances_operationrecord SET {change} WHERE id = %s", record.pk)

    def test_nobody_takes_over_what_another_did(self) -> None:
        susan = make.make_user(make.SUSAN)
        record = operations.run("terminate", many(1), user=susan, reason="", source="api")
        eve = make.make_user(make.EVE)
        with pytest.raises(DatabaseError, match="never changes"):
            execute("UPDATE instances_operationrecord SET operator_id = %s WHERE id = %s", eve.pk, record.pk)

    def test_the_name_stays_when_the_account_is_removed(self) -> None:
        susan = make.make_user(make.SUSAN)
        record = operations.run("terminate", many(1), user=susan, reason="", source="api")
        preview = operations.preview("terminate", many(1), user=susan)
        susan.delete()
        assert (fresh(record).operator, fresh(record).operator_name) == (None, "susan")
        assert FrozenSet.objects.get(pk=preview.frozen.pk).user is None
        make.make_user("sue")
        with pytest.raises(operations.UnknownPreview):
            operations.apply(preview.token, user=make.make_user(make.SUSAN), reason="", source="api")

    def test_through_the_models_too(self) -> None:
        record = done_record()
        item = record.items.first()
        assert item is not None
        for attempt in (item.delete, item.save, record.delete, StateChange.objects.all().delete):
            with pytest.raises(DatabaseError), transaction.atomic():
                attempt()


class TestWhatPeopleWrite:
    @pytest.mark.parametrize("reason", HOSTILE)
    def test_hostile_reasons(self, reason: str) -> None:
        [day] = due()
        record = operations.run("terminate", [day.pk], user=None, reason=reason, source="api")
        kept = fresh(record).reason
        assert record.state == OperationState.SUCCESS
        assert len(kept) <= 4000
        assert "\0" not in kept
        if reason.isprintable() and len(reason) < 4000:
            assert kept == reason
        assert OperationRecord.objects.filter(reason=kept).exists()
        assert harness.state(day) == "failed"

    def test_hostile_parameters(self) -> None:
        [day] = due()
        hostile = "'; DROP TABLE x; -- %s {0}"
        options = {"parameters": {"day": hostile}}
        record = operations.run("rerun", [day.pk], user=None, reason="", source="api", options=options)
        assert fresh(record).options == {"parameters": {"day": hostile}}
        for text in ("\0", "\ud83d"):
            with pytest.raises(operations.OptionError):
                operations.preview("rerun", [day.pk], user=None, options={"parameters": {"day": text}})

    def test_hostile_names_in_what_is_said(self) -> None:
        [day] = due()
        Task.objects.update(name="%s{0}')--")
        operations.run("terminate", [day.pk], user=None, reason="", source="api")
        record = operations.run("terminate", [day.pk], user=None, reason="", source="api")
        assert record.items.get().message.startswith("%s{0}')-- 2013-01-01 00:00:00 is in state Failed")

    def test_images_are_plain_json(self) -> None:
        record = done_record()
        for item in record.items.all():
            assert json.loads(json.dumps(item.before)) == item.before


class TestNotes:
    def test_what_is_not_about_instances(self) -> None:
        dana = make.make_user(make.DANA)
        record = records.note("pause_task", user=dana, source="admin", reason="a\0b", options={"task": 7})
        record.refresh_from_db()
        assert (record.kind, record.operator, record.operator_name) == ("pause_task", dana, "dana")
        assert (record.state, record.reason, record.options) == (
            "SUCCESS",
            "a\N{REPLACEMENT CHARACTER}b",
            {"task": 7},
        )
        assert record.finished_at is not None
        assert not operations.cancel(record, None)
        assert operations.why_not_undoable(record) == "It is no operation on instances."

    def test_the_system_has_no_name(self) -> None:
        assert records.note("resume_task", user=None, source="system").operator_name == ""


class TestRetention:
    """As if days had passed: the clock is the database's."""

    @staticmethod
    def age(days: float) -> None:
        """Makes all that there is so many days older."""
        past = f"{days} days"
        with unguarded() as cursor:
            cursor.execute("UPDATE instances_frozenset SET created_at = created_at - %s::interval", [past])
            cursor.execute(
                "UPDATE instances_operationrecord SET created_at = created_at - %s::interval, "
                "finished_at = finished_at - %s::interval",
                [past, past],
            )

    def test_sets_that_nobody_applied(self) -> None:
        old = operations.preview("rerun", many(2), user=None, options={"scope": "with_downstream"})
        begun("rerun", many(1))
        self.age(1.01)
        new = operations.preview("terminate", many(2), user=None)
        retention.hourly(keep_days=400)
        assert not FrozenSet.objects.filter(pk=old.frozen.pk).exists()
        assert FrozenSet.objects.filter(pk=new.frozen.pk).exists()
        assert FrozenSet.objects.count() == 2
        assert FrozenBatch.objects.count() == 2
        assert not FrozenRoots.objects.exists()
        with pytest.raises(operations.UnknownPreview):
            operations.apply(old.token, user=None, reason="", source="api")

    def test_one_that_is_being_applied_stays(self) -> None:
        chosen = many(2)
        preview = operations.preview("rerun", chosen, user=None)
        self.age(1.01)
        with transaction.atomic():
            record = operations.apply(preview.token, user=None, reason="", source="api", background=True)
            assert harness.Racer(retention.remove_unapplied).result() == 0
        assert retention.remove_unapplied() == 0
        assert operations.work(record.pk)
        assert fresh(record).done == 2

    def test_ids_of_what_ended(self) -> None:
        ended = done_record()
        left = begun("terminate", many(2))
        self.age(0.9)
        retention.hourly(keep_days=400)
        assert FrozenBatch.objects.count() == 2
        self.age(0.2)
        retention.hourly(keep_days=400)
        assert list(FrozenBatch.objects.values_list("frozen_set_id", flat=True)) == [left.frozen_set_id]
        assert len(outcomes(ended)) == 2
        assert operations.work(left.pk)
        assert fresh(left).done == 2

    def test_records_end_at_last(self) -> None:
        ended = done_record(3)
        noted = records.note("pause_task", user=None, source="api")
        left = begun("terminate", many(1))
        self.age(11)
        retention.hourly(keep_days=12)
        assert OperationRecord.objects.filter(pk__in=[ended.pk, noted.pk, left.pk]).count() == 3
        retention.hourly(keep_days=10)
        found = OperationRecord.objects.filter(pk__in=[ended.pk, noted.pk, left.pk])
        assert list(found.values_list("pk", flat=True)) == [left.pk]
        assert not OperationItem.objects.exists()
        assert FrozenSet.objects.count() == 1
        assert Instance.objects.count() == 4

    def test_an_operation_stays_as_long_as_its_undo(self) -> None:
        first = operations.run("terminate", ids(due(2)), user=None, reason="", source="api")
        self.age(6)
        undone = operations.undo(first, user=None, reason="", source="api")
        self.age(6)
        retention.hourly(keep_days=10)
        assert OperationRecord.objects.filter(pk__in=[first.pk, undone.pk]).count() == 2
        self.age(6)
        retention.hourly(keep_days=10)
        assert not OperationRecord.objects.filter(pk__in=[first.pk, undone.pk]).exists()
