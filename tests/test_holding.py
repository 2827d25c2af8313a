"""Freezing and thawing through the door of operations: options, refusals, the subtree, the thaw time, undo, rights."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from instances import operations
from instances.engine import generation, lifecycle, maintenance
from instances.engine.states import LABELS, State
from instances.models import Instance, OperationRecord
from instances.operations import OptionError
from tests import factories as make
from tests import operating
from tests.engine import harness
from tests.engine.harness import (
    HOUR,
    _django_db_helper,
    assert_sound,
    due,
    fresh,
    good,
    ids,
    make_due,
    started,
    state,
)
from tests.factories import DANA, OMAR, PETRA, SUSAN

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
SOON = dt.timedelta(hours=1)


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def do(kind: str, instances: list[Instance], user: Any = None, **options: Any) -> OperationRecord:
    return operations.run(kind, ids(instances), user=user, reason="hold", source="api", options=options)


def frozen(instance: Instance) -> bool:
    return fresh(instance).frozen_at is not None


def at(moment: dt.datetime) -> str:
    return moment.isoformat()


class TestFreeze:
    def test_it_is_not_started_until_it_is_thawed(self) -> None:
        held, other = due(2)
        assert do("freeze", [held]).state == "SUCCESS"
        assert [claimed.instance_id for claimed in started(held, other)] == [other.pk]
        assert do("thaw", [held]).state == "SUCCESS"
        assert fresh(held).queue == "taken", "thawing dispatches it"
        assert_sound()

    def test_before_and_after_are_on_record(self) -> None:
        [day] = due()
        until = timezone.now() + SOON
        item = do("freeze", [day], thaw_at=at(until)).items.get()
        assert (item.from_state, item.to_state) == ("wait_run", "wait_run")
        assert item.before is not None
        assert item.after is not None
        assert (item.before["frozen_at"], item.before["thaw_at"]) == (None, None)
        assert dt.datetime.fromisoformat(item.after["thaw_at"]) == until
        assert fresh(day).thaw_at == until

    def test_a_new_time_takes_the_place_of_the_old(self) -> None:
        [day] = due()
        do("freeze", [day])
        since = fresh(day).frozen_at
        until = timezone.now() + SOON
        assert do("freeze", [day], thaw_at=at(until)).done == 1
        assert (fresh(day).frozen_at, fresh(day).thaw_at) == (since, until)
        again = do("freeze", [day], thaw_at=at(until))
        assert again.refused == 1
        assert f"is frozen already, until {until:%Y-%m-%d %H:%M:%S} UTC" in operating.messages(again)[day.pk]

    def test_twice_by_hand(self) -> None:
        [day] = due()
        do("freeze", [day])
        assert (
            "is frozen already, until it is thawed by hand" in operating.messages(do("freeze", [day]))[day.pk]
        )

    def test_only_what_has_not_begun(self) -> None:
        days = due(4, group=make.make_group(1))
        started(days[0])
        lifecycle.mark_success([days[1].pk])
        lifecycle.terminate([days[2].pk])
        record = do("freeze", days)
        assert list(operating.outcomes(record).values()) == ["refused", "refused", "refused", "done"]
        said = list(operating.messages(record).values())
        for message, now in zip(said, (State.RUNNING, State.SUCCESS, State.FAILED), strict=False):
            assert f"is in state {LABELS[now]}: freeze is allowed only from" in message
            assert LABELS[State.WAIT_RUN] in message

    def test_it_thaws_by_itself(self) -> None:
        [day] = due()
        do("freeze", [day], thaw_at=at(timezone.now() + SOON))
        Instance.objects.filter(pk=day.pk).update(thaw_at=timezone.now() - dt.timedelta(seconds=1))
        maintenance.sweep()
        assert not frozen(day)
        assert fresh(day).queue == "taken"
        assert_sound()

    def test_undo_thaws_it(self) -> None:
        days = due(2)
        record = do("freeze", days)
        assert operations.why_not_undoable(record) == ""
        assert operations.undo(record, user=None, reason="", source="api").done == 2
        assert not any(frozen(day) for day in days)
        assert_sound()

    def test_a_time_that_passed_before_its_batch_came_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [day] = due()
        later = timezone.now() + 2 * SOON
        record = operating.begun("freeze", [day.pk], options={"thaw_at": at(later - SOON)})
        monkeypatch.setattr(timezone, "now", lambda: later)
        operations.work(record.pk)
        assert "was to thaw has passed" in operating.messages(record)[day.pk]
        assert not frozen(day)


class TestSubtree:
    def chain(self) -> tuple[list[Instance], Instance]:
        """Instances of three tasks in a row, the last one in another project; and of one beside them."""
        rows = []
        workflow = make.make_workflow()
        last = None
        for place in range(3):
            task = make.make_task(
                make.make_workflow() if place == 2 else workflow, effective_to=harness.JANUARY + HOUR
            )
            if last is not None:
                make.depend(task, last)
            make.submit(task, since=harness.JANUARY - HOUR)
            rows.append(task)
            last = task
        beside = make_due(workflow=workflow)
        generation.generate()
        return [harness.instances_of(task)[0] for task in rows], harness.instances_of(beside)[0]

    def test_all_that_lies_downstream_over_projects(self) -> None:
        chain, beside = self.chain()
        record = do("freeze", chain[:1], subtree=True)
        assert record.options == {"subtree": True}
        assert record.done == 3
        assert all(frozen(row) for row in chain)
        assert not frozen(beside)

    def test_by_default_the_chosen_alone(self) -> None:
        chain, _ = self.chain()
        do("freeze", chain[:1])
        assert [frozen(row) for row in chain] == [True, False, False]

    def test_the_preview_says_how_many(self) -> None:
        chain, _ = self.chain()
        preview = operations.preview("freeze", ids(chain[:1]), user=None, options={"subtree": True})
        assert preview.summary["total"] == 3
        assert not any(frozen(row) for row in chain)
        record = operations.apply(preview.token, user=None, reason="", source="api")
        assert set(operating.outcomes(record)) == set(ids(chain))

    def test_what_its_user_may_not_operate_on_stays(self) -> None:
        chain, _ = self.chain()
        omar = make.make_user(OMAR, project=chain[0].project)
        do("freeze", chain[:1], omar, subtree=True)
        assert [frozen(row) for row in chain] == [True, True, False]

    def test_frozen_children_are_held_when_their_parent_succeeds(self) -> None:
        chain, _ = self.chain()
        do("freeze", chain[1:2], subtree=True)
        [claimed] = [one for one in started(*chain) if one.instance_id == chain[0].pk]
        lifecycle.finish([good(claimed)])
        assert (state(chain[1]), frozen(chain[1])) == ("wait_run", True)
        assert started(*chain) == []
        assert_sound()


class TestThaw:
    def test_what_is_not_frozen_is_refused(self) -> None:
        held, free = due(2)
        do("freeze", [held])
        record = do("thaw", [held, free])
        assert operating.outcomes(record) == {held.pk: "done", free.pk: "refused"}
        assert operating.messages(record)[free.pk] == f"{fresh(free)} is not frozen."

    def test_whatever_the_state(self) -> None:
        [day] = due()
        do("freeze", [day])
        lifecycle.terminate([day.pk])
        assert do("thaw", [day]).done == 1
        assert not frozen(day)


class TestRightsAndOptions:
    @pytest.mark.parametrize("kind", ["freeze", "thaw"])
    def test_every_role(self, kind: str) -> None:
        [day] = due()
        for name, user in make.make_cast(day.project).items():
            lifecycle.thaw([day.pk])
            if kind == "thaw":
                lifecycle.freeze([day.pk])
            may = name in {OMAR, DANA, PETRA, SUSAN}
            assert do(kind, [day], user).done == int(may), name
            assert frozen(day) == (may == (kind == "freeze")), name

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"subtree": "yes"}, "subtree"),
            ({"thaw_at": "tomorrow"}, "thaw_at"),
            ({"thaw_at": "2099-01-01 00:00:00"}, "thaw_at"),
            ({"thaw_at": "2013-01-01T00:00:00+00:00"}, "thaw_at"),
            ({"thaw_at": 7}, "thaw_at"),
            ({"until": "2099-01-01T00:00:00+00:00"}, "until"),
        ],
    )
    def test_what_cannot_be_asked_for(self, options: dict[str, Any], field: str) -> None:
        [day] = due()
        with pytest.raises(OptionError) as caught:
            do("freeze", [day], **options)
        assert caught.value.field == field
        assert not OperationRecord.objects.filter(kind="freeze").exists()

    def test_thaw_has_no_options(self) -> None:
        with pytest.raises(OptionError, match="there are none"):
            do("thaw", [], subtree=True)

    def test_options_are_kept_as_they_are_read(self) -> None:
        freeze = operations.get("freeze")
        given = {"subtree": True, "thaw_at": "2099-01-01T08:00:00+08:00"}
        kept = freeze.as_json(freeze.parse(given))
        assert kept == {"subtree": True, "thaw_at": "2099-01-01T00:00:00+00:00"}
        assert freeze.parse(kept) == freeze.parse(given)
        assert freeze.as_json(freeze.parse({})) == {}
