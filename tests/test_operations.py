"""Operations as every door calls them: what is recorded, what is refused, what goes on though something fails."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import connection

from instances import operations
from instances.engine import hints, lifecycle, states
from instances.engine.dispatch import dispatch
from instances.engine.hints import Hint
from instances.engine.states import Operation
from instances.models import Execution, Instance, OperationItem, OperationRecord
from instances.models.operation import ItemOutcome, OperationState
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper, assert_sound, due, fresh, good, ids, started

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def outcomes(record: OperationRecord) -> list[tuple[int, str]]:
    return list(record.items.values_list("instance_id", "outcome"))


def test_the_record_says_who_when_what_and_why() -> None:
    days = due(3)
    omar = make.make_user(make.OMAR, project=days[0].project)
    record = operations.run("terminate", ids(days), user=omar, reason="ticket 7", source="admin")
    record = OperationRecord.objects.get(pk=record.pk)
    assert (record.kind, record.operator, record.operator_name, record.reason, record.source) == (
        "terminate", omar, "omar", "ticket 7", "admin",
    )  # fmt: skip
    assert (record.state, record.total, record.done, record.refused, record.failed) == (
        OperationState.SUCCESS, 3, 3, 0, 0,
    )  # fmt: skip
    assert record.finished_at is not None
    assert record.finished_at >= record.created_at
    assert record.started_at is not None
    assert outcomes(record) == [(day.pk, ItemOutcome.DONE) for day in days]


def test_refused_rows_are_listed_and_the_others_proceed() -> None:
    days = due(4)
    lifecycle.terminate([days[0].pk, days[2].pk])
    record = operations.run("terminate", ids(days), user=None, reason="", source="api")
    assert (record.state, record.done, record.refused) == (OperationState.PART_SUCCESS, 2, 2)
    refused = OperationItem.objects.filter(outcome=ItemOutcome.REFUSED)
    assert [item.instance_id for item in refused] == [days[0].pk, days[2].pk]
    assert all("is in state Failed: terminate is allowed only from" in item.message for item in refused)
    assert all(str(day) in item.message for day, item in zip((days[0], days[2]), refused, strict=True))


def test_ids_twice_and_ids_that_are_no_instances() -> None:
    [day] = due()
    record = operations.run("rerun", [day.pk, 10**12, day.pk], user=None, reason="", source="api")
    assert (record.total, record.done, record.refused) == (1, 1, 0)
    assert fresh(day).life_round == 1
    assert record.frozen_set is not None
    assert [row["count"] for row in record.frozen_set.summary["left_out"]] == [1]


def test_nothing_chosen_is_no_error() -> None:
    record = operations.run("rerun", [], user=None, reason="", source="api")
    assert (record.state, record.total) == (OperationState.SUCCESS, 0)


def test_an_operation_that_does_not_exist() -> None:
    with pytest.raises(KeyError, match=r"known: .*mark_success, .*rerun, .*terminate"):
        operations.run("explode", [], user=None, reason="", source="api")


def test_thousands_in_batches(sent: list[Any]) -> None:
    group = make.make_group(50)
    days = due(1200, group=group, since=harness.JANUARY - 1500 * harness.DAY)
    operations.run("mark_success", ids(days), user=None, reason="", source="admin", background=False)
    sent.clear()
    record = operations.run("rerun", ids(days), user=None, reason="", source="admin", background=False)
    assert (record.state, record.done) == (OperationState.SUCCESS, 1200)
    assert (
        record.items.filter(outcome=ItemOutcome.DONE, from_state="success", to_state="wait_run").count()
        == 1200
    )
    assert len(sent) == 50
    assert_sound()


def test_what_became_ready_is_dispatched(sent: list[Any]) -> None:
    days = due(2, group=make.make_group(1))
    dispatch(harness.groups(*days))
    operations.run("terminate", [days[0].pk], user=None, reason="", source="admin")
    assert len(sent) == 1
    assert fresh(days[1]).queue == "taken"
    assert_sound()


def test_marking_a_parent_starts_its_children(sent: list[Any]) -> None:
    workflow = make.make_workflow()
    parent, child = harness.make_due(1, workflow=workflow), harness.make_due(1, workflow=workflow)
    make.depend(child, parent)
    harness.generation.generate()
    [row] = harness.instances_of(child)
    operations.run("mark_success", ids(harness.instances_of(parent)), user=None, reason="", source="admin")
    assert [hint.group_id for hint in sent] == [child.resource_group_id]
    assert fresh(row).state == "wait_run"


def test_the_record_tells_what_the_operation_did_not_what_came_after() -> None:
    """A quick worker has claimed the new life before the operation looks at it again."""
    days = due(3)

    def quick(ready: Sequence[Hint]) -> None:
        lifecycle.claim([hint.execution_id for hint in ready], "quick")

    before = hints.executions.register(quick)
    try:
        record = operations.run("rerun", ids(days), user=None, reason="", source="admin")
    finally:
        hints.executions.register(before)
    assert {fresh(day).state for day in days} == {"running"}
    assert set(record.items.values_list("from_state", "to_state")) == {("wait_run", "wait_run")}


def test_a_dead_broker_makes_no_operation_fail() -> None:
    [day] = due()

    def broken(_: Any) -> None:
        raise ConnectionError("no broker")

    before = hints.executions.register(broken)
    try:
        record = operations.run("rerun", [day.pk], user=None, reason="", source="admin")
    finally:
        hints.executions.register(before)
    assert record.state == OperationState.SUCCESS
    assert fresh(day).queue == "taken"


def test_what_was_done_is_recorded_though_dispatch_fails() -> None:
    """The change is committed by then; the sweeper dispatches."""
    days = due(2)
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE instances_execution ADD CONSTRAINT none CHECK (state <> 'dispatched') NOT VALID"
        )
    try:
        record = operations.run("rerun", ids(days), user=None, reason="", source="admin")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE instances_execution DROP CONSTRAINT none")
    assert {fresh(day).life_round for day in days} == {1}
    assert (record.state, record.done, record.failed) == (OperationState.SUCCESS, 2, 0)
    assert outcomes(record) == [(day.pk, ItemOutcome.DONE) for day in days]


def test_allowed_states_come_from_the_table() -> None:
    for kind in (Operation.TERMINATE, Operation.RERUN, Operation.MARK_SUCCESS):
        assert operations.get(kind).allowed_from() == states.sources(kind)


def test_a_running_one_is_recorded_as_terminating() -> None:
    days = due(2, group=make.make_group(1))
    [claimed] = started(*days)
    record = operations.run("terminate", ids(days), user=None, reason="", source="admin")
    assert list(record.items.values_list("from_state", "to_state")) == [
        ("running", "terminating"),
        ("wait_run", "failed"),
    ]
    lifecycle.finish([good(claimed)])
    assert set(Instance.objects.values_list("state", flat=True)) == {"failed"}
    assert not Execution.objects.filter(state__in=["dispatched", "running", "stopping"]).exists()
    assert_sound()
