"""Undo as every door calls it: what can be undone, by whom, once; what is put back and what is refused, with its reason."""

from collections.abc import Iterator

import pytest

from instances import operations
from instances.engine import lifecycle
from instances.models import Instance, OperationRecord
from instances.models.operation import OperationState
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper, assert_sound, due, started
from tests.operating import (
    assert_counted,
    begun,
    fresh,
    many,
    messages,
    one_batch,
    outcomes,
    split,
    two_projects,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with harness.captured_hints():
        yield


def run(kind: str, chosen: list[int], **given: object) -> OperationRecord:
    return operations.run(kind, chosen, **{"user": None, "reason": "r", "source": "api", **given})  # type: ignore[arg-type]


def undo(record: OperationRecord) -> OperationRecord:
    return operations.undo(record, user=None, reason="a mistake", source="api")


def states() -> list[str]:
    return list(Instance.objects.order_by("id").values_list("state", flat=True))


@pytest.mark.parametrize("kind", ["terminate", "mark_success", "rerun"])
def test_instances_go_back_to_what_they_were(kind: str) -> None:
    chosen = many(3)
    run("terminate", chosen[:1])
    if kind == "terminate":
        chosen = chosen[1:]
    record = run(kind, chosen)
    undone = undo(record)
    assert states() == ["failed", "wait_run", "wait_run"]
    assert (undone.kind, undone.undoes, undone.reason, undone.state) == (
        "undo",
        record,
        "a mistake",
        "SUCCESS",
    )
    assert list(outcomes(undone)) == chosen
    assert_counted(undone)
    assert_sound()


def test_only_what_was_done_is_undone() -> None:
    chosen = many(3)
    lifecycle.terminate(chosen[1:2])
    record = run("terminate", chosen)
    undone = undo(record)
    assert list(outcomes(undone)) == [chosen[0], chosen[2]]
    assert states() == ["wait_run", "failed", "wait_run"]


def test_what_has_gone_on_since_is_refused_with_its_reason() -> None:
    chosen = many(3, group=make.make_group(1))
    record = run("rerun", chosen)
    [claimed] = lifecycle.claim(
        list(harness.Execution.objects.filter(state="dispatched").values_list("id", flat=True)), "w1"
    )
    undone = undo(record)
    assert (undone.state, undone.done, undone.refused) == (OperationState.PART_SUCCESS, 2, 1)
    assert messages(undone)[claimed.instance_id]
    assert harness.state(Instance.objects.get(pk=claimed.instance_id)) == "running"
    assert_sound()


def test_a_run_that_was_killed_does_not_come_back() -> None:
    [day] = due()
    started(day)
    record = run("terminate", [day.pk])
    undone = undo(record)
    assert (undone.state, undone.refused) == (OperationState.FAIL, 1)
    assert harness.state(day) == "terminating"


def test_it_is_undone_once() -> None:
    record = run("terminate", many(2))
    first = undo(record)
    why = f"It was undone already, by operation #{first.pk}."
    assert operations.why_not_undoable(record) == why
    with pytest.raises(operations.NotUndoable, match=why):
        undo(record)


def test_two_who_undo_at_once() -> None:
    record = run("terminate", many(2))

    def attempt() -> object:
        try:
            return undo(record)
        except operations.NotUndoable as error:
            return str(error)

    answers = harness.race(attempt, attempt)
    assert sorted(isinstance(answer, str) for answer in answers) == [False, True]
    assert OperationRecord.objects.filter(undoes=record).count() == 1


def test_what_cannot_be_undone_says_why() -> None:
    chosen = many(3)
    unfinished = begun("terminate", chosen, 1)
    one_batch(unfinished)
    assert "can be cancelled" in operations.why_not_undoable(fresh(unfinished))
    operations.cancel(unfinished, None)
    operations.work(unfinished.pk)
    assert operations.why_not_undoable(fresh(unfinished)) == ""
    nothing = run("terminate", chosen[:1])
    assert operations.why_not_undoable(nothing) == "It changed nothing."
    undone = undo(fresh(unfinished))
    assert "cannot be undone" in operations.why_not_undoable(undone)
    assert "cannot be undone" in operations.get("remove_dependency").why_not_undoable
    for record in (nothing, undone):
        with pytest.raises(operations.NotUndoable):
            undo(record)


def test_a_preview_of_an_undo() -> None:
    record = run("mark_success", many(2))
    preview = operations.preview_undo(record, user=None)
    assert (preview.frozen.kind, preview.summary["total"]) == ("undo", 2)
    assert states() == ["success"] * 2
    undone = operations.apply(preview.token, user=None, reason="", source="api")
    assert (undone.undoes, undone.done, states()) == (record, 2, ["wait_run"] * 2)
    assert operations.apply(preview.token, user=None, reason="", source="api").pk == undone.pk


def test_a_preview_of_an_undo_that_somebody_else_did_meanwhile() -> None:
    record = run("mark_success", many(2))
    preview = operations.preview_undo(record, user=None)
    undo(record)
    with pytest.raises(operations.NotUndoable):
        operations.apply(preview.token, user=None, reason="", source="api")


def test_it_needs_the_rights_of_what_it_undoes() -> None:
    omar, here, there = two_projects()
    vera = make.make_user(make.VERA, project=Instance.objects.get(pk=here[0]).project)
    record = run("mark_success", here + there, user=omar)
    refused = operations.undo(record, user=vera, reason="", source="api")
    # She sees one of the two projects, and may override in neither.
    assert (refused.total, refused.done, refused.refused) == (3, 0, 3)
    assert "the right to override" in messages(refused)[here[0]]
    # That spends nothing: who may can still do it.
    assert operations.undo(record, user=omar, reason="", source="api").done == 6


def test_batch_by_batch() -> None:
    record = run("terminate", many(5))
    undone = operations.undo(record, user=None, reason="", source="api", background=True)
    split(undone, 2)
    assert not one_batch(undone)
    assert states() == ["wait_run"] * 2 + ["failed"] * 3
    assert operations.work(undone.pk)
    assert states() == ["wait_run"] * 5
    assert_counted(undone)
    assert_sound()
