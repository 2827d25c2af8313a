"""Preview, then apply: what was shown is what is done, by whom it was shown to, once, as long as nothing has changed."""

from typing import Any
from uuid import uuid4

import pytest

from instances import operations
from instances.engine import lifecycle
from instances.models import FrozenSet, Instance, OperationRecord, StateChange
from instances.models.operation import OperationState
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper, assert_sound, due, ids
from tests.operating import assert_counted, many, outcomes, two_projects

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
ASKED: dict[str, Any] = {"user": None, "reason": "because", "source": "api"}


def states() -> list[Any]:
    return list(Instance.objects.order_by("id").values_list("id", "state", "life_round", "queue"))


def test_a_preview_changes_nothing_but_writes_down_the_set() -> None:
    days = due(3)
    before = states()
    preview = operations.preview("terminate", ids(days), user=None)
    assert states() == before
    assert not StateChange.objects.exists()
    assert not OperationRecord.objects.filter(frozen_set__isnull=False).exists()
    frozen = FrozenSet.objects.get(token=preview.token)
    assert (frozen.kind, frozen.total, frozen.user) == ("terminate", 3, None)
    assert frozen.summary == preview.summary
    assert preview.summary["allowed"] == 3


def test_what_was_previewed_is_what_is_done() -> None:
    """The same instances, the same refusals; also for what matches the filter only since."""
    days = due(4)
    lifecycle.terminate([days[1].pk])
    matching = Instance.objects.filter(workflow=days[0].workflow)
    preview = operations.preview("terminate", matching, user=None)
    [late] = due(workflow=days[0].workflow)
    assert matching.count() == 5
    record = operations.apply(preview.token, **ASKED)
    assert outcomes(record) == dict(zip(ids(days), ["done", "refused", "done", "done"], strict=True))
    summary = preview.summary
    assert (summary["total"], summary["allowed"], summary["refused"]) == (4, record.done, record.refused)
    [refusal] = summary["refusals"]
    assert [one["id"] for one in refusal["examples"]] == [days[1].pk]
    assert harness.state(late) == "wait_run"
    assert (record.reason, record.source, record.frozen_set) == ("because", "api", preview.frozen)
    assert_counted(record)
    assert_sound()


def test_a_second_apply_gives_the_same_record_and_does_nothing() -> None:
    days = due(2)
    preview = operations.preview("rerun", ids(days), user=None)
    first = operations.apply(preview.token, **ASKED)
    second = operations.apply(preview.token, **{**ASKED, "reason": "again"})
    assert first.pk == second.pk
    assert second.reason == "because"
    assert {day.life_round for day in Instance.objects.all()} == {1}


def test_two_who_apply_the_same_token_at_once() -> None:
    days = due(2)
    preview = operations.preview("rerun", ids(days), user=None)
    first, second = harness.race(
        lambda: operations.apply(preview.token, **ASKED), lambda: operations.apply(preview.token, **ASKED)
    )
    assert first.pk == second.pk
    assert OperationRecord.objects.filter(frozen_set__isnull=False).count() == 1
    assert {day.life_round for day in Instance.objects.all()} == {1}


def test_a_stale_preview_is_refused_with_the_difference() -> None:
    days = due(3)
    preview = operations.preview("mark_success", ids(days), user=None)
    lifecycle.terminate([days[1].pk])
    with pytest.raises(operations.StalePreview) as caught:
        operations.apply(preview.token, **ASKED)
    [changed] = caught.value.difference.changed
    assert (changed.id, changed.then, changed.now) == (days[1].pk, "wait_run:0:0", "failed:0:0")
    assert [day.state for day in map(harness.fresh, days)] == ["wait_run", "failed", "wait_run"]
    assert not OperationRecord.objects.filter(frozen_set__isnull=False).exists()
    # Nothing is spent by it: when all is as it was, it could be applied; a new preview always can.
    fresh_one = operations.preview("mark_success", ids(days), user=None)
    assert operations.apply(fresh_one.token, **ASKED).state == OperationState.SUCCESS


def test_an_instance_that_is_gone_makes_it_stale() -> None:
    days = due(2)
    preview = operations.preview("terminate", ids(days), user=None)
    Instance.objects.filter(pk=days[0].pk).delete()
    with pytest.raises(operations.StalePreview) as caught:
        operations.apply(preview.token, **ASKED)
    assert [one.id for one in caught.value.difference.gone] == [days[0].pk]


def test_only_who_was_shown_it_may_apply_it() -> None:
    omar, here, _ = two_projects()
    susan = make.make_user(make.SUSAN)
    preview = operations.preview("terminate", here, user=omar)
    for stranger in (None, susan, make.make_user(make.EVE)):
        with pytest.raises(operations.UnknownPreview):
            operations.apply(preview.token, user=stranger, reason="", source="api")
    assert operations.apply(preview.token, user=omar, reason="", source="api").operator == omar


def test_nobody_else_learns_that_a_token_exists() -> None:
    with pytest.raises(operations.UnknownPreview) as unknown:
        operations.apply(uuid4(), **ASKED)
    omar, here, _ = two_projects()
    theirs = operations.preview("terminate", here, user=omar)
    with pytest.raises(operations.UnknownPreview) as foreign:
        operations.apply(theirs.token, **ASKED)
    assert str(unknown.value) == str(foreign.value)


def test_what_one_cannot_see_is_not_in_the_set() -> None:
    omar, here, there = two_projects()
    foreign = many(2)
    preview = operations.preview("terminate", here + foreign + there, user=omar)
    assert preview.summary["total"] == len(here + there)
    assert "foreign" not in str(preview.summary)
    assert sum(row["count"] for row in preview.summary["left_out"]) == 2
    record = operations.apply(preview.token, user=omar, reason="", source="api")
    assert list(outcomes(record)) == sorted(here + there)


@pytest.mark.parametrize("reason", ["", "   ", "\n\t"])
@pytest.mark.parametrize(("kind", "options"), [("remove_dependency", {"all": True}), ("acknowledge", {})])
def test_some_need_a_reason(kind: str, options: dict[str, Any], reason: str) -> None:
    days = due(1)
    preview = operations.preview(kind, ids(days), user=None, options=options)
    with pytest.raises(operations.ReasonRequired, match="needs a reason"):
        operations.apply(preview.token, user=None, reason=reason, source="api")
    with pytest.raises(operations.ReasonRequired):
        operations.run(kind, ids(days), user=None, reason=reason, source="api", options=options)
    assert not OperationRecord.objects.filter(frozen_set__isnull=False).exists()


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("terminate", {"force": True}, "force"),
        ("rerun", {"scope": "everything"}, "scope"),
        ("rerun", {"chosen": [1]}, "chosen"),
    ],
)
def test_wrong_options_are_refused_at_once(kind: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(operations.OptionError) as caught:
        operations.preview(kind, [], user=None, options=options)
    assert caught.value.field == field
    with pytest.raises(operations.OptionError):
        operations.run(kind, [], user=None, reason="r", source="api", options=options)
    assert not FrozenSet.objects.exists()


def test_an_undo_is_of_a_record_not_of_instances() -> None:
    with pytest.raises(operations.NotUndoable, match="by its record"):
        operations.preview("undo", [], user=None, options={"operation": 1})
    with pytest.raises(operations.NotUndoable, match="by its record"):
        operations.run("undo", [], user=None, reason="r", source="api", options={"operation": 1})
    assert not FrozenSet.objects.exists()


def test_unknown_kinds() -> None:
    with pytest.raises(KeyError, match="unknown operation 'explode'"):
        operations.preview("explode", [], user=None)


def test_a_preview_that_was_begun_by_a_process_that_died_is_carried_on() -> None:
    """Whoever sends the token again gets it done, not just the record."""
    days = due(2)
    preview = operations.preview("rerun", ids(days), user=None)
    waiting = operations.apply(preview.token, **ASKED, background=True)
    assert waiting.state == OperationState.INIT
    again = operations.apply(preview.token, **ASKED)
    assert (again.pk, again.state, again.done) == (waiting.pk, OperationState.SUCCESS, 2)
