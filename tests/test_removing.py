"""Removing dependencies: chosen ones or all, of one instance, for ever; counted, named when refused, never undone."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from instances import operations
from instances.engine import generation, lifecycle
from instances.models import Edge, Instance, OperationRecord, Task
from instances.operations import OptionError, ReasonRequired
from tests import factories as make
from tests import operating
from tests.engine import harness
from tests.engine.harness import JANUARY, _django_db_helper, assert_sound, fresh, ids, state
from tests.factories import DANA, OMAR, PETRA, SUSAN

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
STAMP = "2013-01-01T00:00:00+00:00"


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


@pytest.fixture
def family() -> tuple[list[Task], Instance]:
    """Three parents and the child that waits for all of them."""
    parents, child = harness.family(3)
    generation.generate()
    return parents, harness.instances_of(child)[0]


def edge(task: Task, data_time: str = STAMP) -> dict[str, Any]:
    return {"task": task.pk, "data_time": data_time}


def remove(
    instances: list[Instance], user: Any = None, reason: str = "late", **options: Any
) -> OperationRecord:
    return operations.run(
        "remove_dependency", ids(instances), user=user, reason=reason, source="api", options=options
    )


def removed(instance: Instance) -> set[int]:
    """Upstream tasks of its removed edges."""
    rows = Edge.objects.filter(instance=instance, removed_at__isnull=False)
    return set(rows.values_list("upstream_task", flat=True))


class TestRemove:
    def test_chosen_ones_stop_counting(self, family: tuple[list[Task], Instance]) -> None:
        [one, two, three], child = family
        omar = make.make_user(OMAR, project=child.project)
        record = remove([child], omar, edges=[edge(one), edge(two)])
        assert record.state == "SUCCESS"
        assert operating.messages(record)[child.pk] == "2 dependencies removed."
        assert removed(child) == {one.pk, two.pk}
        assert (state(child), fresh(child).pending_upstream) == ("wait_upstream", 1)
        row = Edge.objects.get(instance=child, upstream_task=one)
        assert (row.removed_by, row.removed_reason) == (omar, "late")
        assert remove([child], omar, edges=[edge(three)]).done == 1
        assert state(child) == "wait_run"
        assert_sound()

    def test_all_that_it_waits_for(self, family: tuple[list[Task], Instance]) -> None:
        [one, two, three], child = family
        lifecycle.mark_success(ids(harness.instances_of(one)))
        record = remove([child], all=True)
        assert operating.messages(record)[child.pk] == "2 dependencies removed."
        assert removed(child) == {two.pk, three.pk}
        assert fresh(child).queue == "taken", "it is released, and dispatched"
        assert_sound()

    def test_one_is_one(self, family: tuple[list[Task], Instance]) -> None:
        [one, *_], child = family
        assert operating.messages(remove([child], edges=[edge(one)]))[child.pk] == "1 dependency removed."

    def test_what_is_left_of_the_chosen(self, family: tuple[list[Task], Instance]) -> None:
        [one, two, _], child = family
        remove([child], edges=[edge(one)])
        record = remove([child], edges=[edge(one), edge(two), edge(two)])
        assert operating.messages(record)[child.pk] == "1 dependency removed."

    def test_others_keep_theirs(self, family: tuple[list[Task], Instance]) -> None:
        parents, child = family
        other = make.make_task(child.workflow, effective_to=JANUARY + harness.HOUR)
        make.depend(other, parents[0])
        make.submit(other, since=JANUARY - harness.HOUR)
        generation.generate()
        remove([child], edges=[edge(parents[0])])
        [bystander] = harness.instances_of(other)
        assert removed(bystander) == set()
        assert state(bystander) == "wait_upstream"

    def test_in_any_state_and_for_every_later_life(self, family: tuple[list[Task], Instance]) -> None:
        parents, child = family
        lifecycle.terminate([child.pk])
        assert remove([child], edges=[edge(parents[0]), edge(parents[1])]).done == 1
        assert state(child) == "failed"
        operations.run(
            "rerun", [child.pk], user=None, reason="", source="api", options={"check_parents": "all"}
        )
        assert (state(child), fresh(child).pending_upstream) == ("wait_upstream", 1)
        lifecycle.mark_success(ids(harness.instances_of(parents[2])))
        assert state(child) == "wait_run"
        assert removed(child) == {parents[0].pk, parents[1].pk}
        assert_sound()

    def test_a_parent_that_ends_at_the_same_moment(self) -> None:
        for _ in range(4):
            parents, child_task = harness.family(2)
            generation.generate()
            [child] = harness.instances_of(child_task)
            ends = [ids(harness.instances_of(task)) for task in parents]
            harness.race(
                partial(lifecycle.mark_success, ends[0]),
                partial(remove, [child], all=True),
                partial(lifecycle.mark_success, ends[1]),
            )
            assert state(child) == "wait_run"
            assert_sound()


class TestRefused:
    def test_one_that_does_not_exist_is_named(self, family: tuple[list[Task], Instance]) -> None:
        [one, *_], child = family
        record = remove([child], edges=[edge(child.task), edge(one, "2013-01-02T00:00:00+00:00")])
        assert operating.outcomes(record) == {child.pk: "refused"}
        said = operating.messages(record)[child.pk]
        assert f"it does not depend on {child.task.name} 2013-01-01 00:00:00 UTC" in said
        assert f"it does not depend on {one.name} 2013-01-02 00:00:00 UTC" in said
        assert removed(child) == set()

    def test_an_unknown_task(self, family: tuple[list[Task], Instance]) -> None:
        _, child = family
        record = remove([child], edges=[{"task": 10**12, "data_time": STAMP}])
        assert f"task #{10**12}" in operating.messages(record)[child.pk]

    def test_removed_already(self, family: tuple[list[Task], Instance]) -> None:
        [one, *_], child = family
        omar = make.make_user(OMAR, project=child.project)
        remove([child], omar, edges=[edge(one)])
        said = operating.messages(remove([child], edges=[edge(one)]))[child.pk]
        assert f"{one.name} 2013-01-01 00:00:00 UTC was removed by omar already, at" in said

    def test_nothing_to_wait_for(self, family: tuple[list[Task], Instance]) -> None:
        parents, child = family
        [parent] = harness.instances_of(parents[0])
        said = operating.messages(remove([parent, child], all=True))
        assert said[parent.pk] == f"{parent} waits for nothing: it has no open dependency to remove."
        assert said[child.pk] == "3 dependencies removed."

    def test_a_preview_says_the_same_in_few_statements(self, django_assert_max_num_queries: Any) -> None:
        parents, child = harness.family(1, 40)
        generation.generate()
        rows = harness.instances_of(child)
        options = {"edges": [edge(parents[0])]}
        with django_assert_max_num_queries(40):
            preview = operations.preview("remove_dependency", ids(rows), user=None, options=options)
        assert (preview.summary["allowed"], preview.summary["refused"]) == (1, 39)
        record = operations.apply(preview.token, user=None, reason="late", source="api")
        assert (record.done, record.refused) == (1, 39)

    def test_it_cannot_be_undone(self, family: tuple[list[Task], Instance]) -> None:
        _, child = family
        record = remove([child], all=True)
        assert "cannot be undone" in operations.why_not_undoable(record)
        with pytest.raises(operations.NotUndoable):
            operations.undo(record, user=None, reason="", source="api")


class TestRightsAndOptions:
    def test_every_role(self) -> None:
        parents, child_task = harness.family(6)
        generation.generate()
        [child] = harness.instances_of(child_task)
        for parent, (name, user) in zip(parents, make.make_cast(child.project).items(), strict=True):
            may = name in {OMAR, DANA, PETRA, SUSAN}
            assert remove([child], user, edges=[edge(parent)]).done == int(may), name
            assert (parent.pk in removed(child)) == may, name

    def test_it_needs_the_right_to_override(self) -> None:
        operation = operations.get("remove_dependency")
        assert operation.rights(operation.parse({"all": True})) == {"override"}

    def test_a_reason_is_required(self, family: tuple[list[Task], Instance]) -> None:
        _, child = family
        with pytest.raises(ReasonRequired):
            remove([child], reason=" ", all=True)
        assert removed(child) == set()

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"all": False},
            {"all": "yes"},
            {"edges": []},
            {"edges": "all"},
            {"edges": [5]},
            {"edges": [{"task": 1}]},
            {"edges": [{"task": "1", "data_time": STAMP}]},
            {"edges": [{"task": True, "data_time": STAMP}]},
            {"edges": [{"task": 1, "data_time": "2013-01-01"}]},
            {"edges": [{"task": 1, "data_time": None}]},
            {"edges": [{"task": 2**63, "data_time": STAMP}]},
            {"edges": [{"task": 1, "data_time": STAMP, "more": 1}]},
            {"edges": [{"task": 1, "data_time": STAMP}], "all": True},
            {"edges": [{"task": 1, "data_time": STAMP}] * 1001},
            {"every": True},
        ],
    )
    def test_what_cannot_be_asked_for(self, options: dict[str, Any]) -> None:
        with pytest.raises(OptionError):
            operations.get("remove_dependency").parse(options)

    def test_options_are_kept_as_they_are_read(self) -> None:
        operation = operations.get("remove_dependency")
        given = {"edges": [{"task": 7, "data_time": "2013-01-01T08:00:00+08:00"}]}
        kept = operation.as_json(operation.parse(given))
        assert kept == {"edges": [{"task": 7, "data_time": STAMP}]}
        assert operation.as_json(operation.parse({"all": True})) == {"all": True}
