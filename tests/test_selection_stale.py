"""What has changed since a set was frozen, one sort after the other, and all sorts at random against brute force."""

import json
from dataclasses import replace

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instances.engine.states import State
from instances.models import Edge, FrozenSet, Instance
from instances.operations.options import Range, RerunOptions, Scope
from instances.operations.selection import Difference, difference, freeze
from tests import factories as make
from tests import lineage
from tests.lineage import Arrow, Lineage, Sketch, closure, draw_up, viewer_of
from weops.projects.models import Member

pytestmark = pytest.mark.django_db


def in_a_row(*workflows: int, length: int = 3) -> Lineage:
    """One instance of each of some tasks, each waiting for the one before."""
    arrows = tuple(Arrow(place, place + 1) for place in range(length - 1))
    nodes = tuple((task, 0) for task in range(length))
    return draw_up(Sketch(workflows or (0,), tuple(range(len(workflows))) or (0,) * length, nodes, arrows))


def rerun(world: Lineage, *roots: int, user: object = None, **options: object) -> FrozenSet:
    options = {"scope": "with_downstream", "range": "all", **options}
    return freeze("rerun", world.ids(roots), user=user, options=options)  # type: ignore[arg-type]


def title(world: Lineage, place: int) -> str:
    """Its name, as it is said to people."""
    instance = world.instances[place]
    return f"{instance.task.name} 2026-03-25 00:00:00"


def now(frozen: FrozenSet) -> Difference:
    """As another request would find it: nothing of the user is remembered."""
    return difference(FrozenSet.objects.get(pk=frozen.pk))


def join(world: Lineage, parent: int, child: Instance) -> Edge:
    upstream = world.instances[parent]
    return Edge.objects.create(
        instance=child,
        upstream_task_id=upstream.task_id,
        upstream_data_time=upstream.data_time,
        upstream=upstream,
    )


def cut(world: Lineage, parent: int, child: int) -> None:
    edges = Edge.objects.filter(instance=world.instances[child], upstream=world.instances[parent])
    assert edges.update(removed_at=timezone.now()) == 1


def counts(found: Difference) -> tuple[int, int, int, int]:
    return found.changed_count, found.gone_count, found.joined_count, found.left_count


@pytest.mark.parametrize("kind", ["terminate", "rerun"])
def test_nothing_has_changed(kind: str) -> None:
    world = in_a_row()
    frozen = freeze(kind, world.ids(range(3)), user=None)
    Instance.objects.update(priority=3, total_runs=7, error_message="other words")
    found = now(frozen)
    assert not found
    assert found == Difference()
    assert found.sentences() == []


@pytest.mark.parametrize(
    ("change", "mark", "said"),
    [
        ({"state": "wait_run", "end_time": None}, "wait_run:1:2", "was Failed, is Waiting for execution"),
        ({"life_round": 2, "tries": 0}, "failed:2:0", "is Failed in another life"),
        ({"tries": 3}, "failed:1:3", "is Failed after 3 retries, not 2"),
        ({"tries": 1}, "failed:1:1", "is Failed after 1 retry, not 2"),
    ],
)
def test_a_mark_has_changed(change: dict[str, object], mark: str, said: str) -> None:
    world = in_a_row()
    Instance.objects.update(life_round=1, tries=2)
    frozen = freeze("terminate", world.ids(range(3)), user=None)
    Instance.objects.filter(pk=world.id(1)).update(**change)
    found = now(frozen)
    assert found
    assert counts(found) == (1, 0, 0, 0)
    [changed] = found.changed
    assert (changed.id, changed.name, changed.then, changed.now) == (
        world.id(1), title(world, 1), "failed:1:2", mark,
    )  # fmt: skip
    assert found.sentences() == [f"1 instance has changed: {title(world, 1)} {said}."]


def test_of_many_changes_a_hundred_are_named_in_the_order_of_applying() -> None:
    task = make.make_task()
    rows = Instance.objects.bulk_create(lineage.row(task, day) for day in range(150, 0, -1))
    frozen = freeze("rerun", Instance.objects.all(), user=None)
    Instance.objects.update(state="success")
    found = now(frozen)
    assert found.changed_count == 150
    assert [one.id for one in found.changed] == [row.pk for row in reversed(rows)][:100]
    [sentence] = found.sentences()
    assert sentence.startswith(
        f"150 instances have changed: {task.name} 2026-03-26 00:00:00 was Failed, is Success; "
    )
    assert sentence.endswith("; 145 more.")


def test_instances_are_gone() -> None:
    world = in_a_row()
    frozen = freeze("terminate", world.ids(range(3)), user=None)
    Instance.objects.filter(pk__in=world.ids((0, 2))).delete()
    found = now(frozen)
    assert counts(found) == (0, 2, 0, 0)
    assert [one.id for one in found.gone] == world.ids((0, 2))
    assert found.sentences() == [f"2 instances are not there any more: #{world.id(0)}; #{world.id(2)}."]


def test_one_that_is_gone_has_not_left_too_but_what_was_behind_it_has() -> None:
    world = in_a_row()
    frozen = rerun(world, 0)
    Instance.objects.filter(pk=world.id(1)).delete()
    found = now(frozen)
    assert counts(found) == (0, 1, 0, 1)
    assert [one.id for one in found.left] == [world.id(2)]


@pytest.mark.parametrize("scope", ["with_downstream", "downstream"])
def test_an_instance_has_come_downstream(scope: str) -> None:
    world = in_a_row()
    frozen = rerun(world, 0, scope=scope)
    [new] = Instance.objects.bulk_create([lineage.row(world.tasks[2], 1)])
    assert not now(frozen)
    join(world, 1, new)
    found = now(frozen)
    assert counts(found) == (0, 0, 1, 0)
    assert [one.id for one in found.joined] == [new.pk]
    assert found.sentences() == [
        f"1 instance is downstream since: {world.tasks[2].name} 2026-03-26 00:00:00."
    ]


def test_what_comes_downstream_of_the_chosen_alone_does_not_matter() -> None:
    world = in_a_row()
    frozen = rerun(world, 0, scope="this", range="workflow")
    join(world, 0, world.instances[2])
    assert not now(frozen)


def test_what_comes_outside_the_range_does_not_matter() -> None:
    world = in_a_row(0, 0, 1)
    frozen = rerun(world, 0, range="project")
    [new] = Instance.objects.bulk_create([lineage.row(world.tasks[2], 1)])
    join(world, 0, new)
    assert not now(frozen)


@pytest.mark.parametrize("scope", ["with_downstream", "downstream"])
def test_an_instance_has_left_downstream(scope: str) -> None:
    world = in_a_row()
    frozen = rerun(world, 0, scope=scope)
    cut(world, 0, 1)
    found = now(frozen)
    assert counts(found) == (0, 0, 0, 2)
    assert [one.id for one in found.left] == world.ids((1, 2))
    assert found.sentences() == [f"2 instances left the downstream: {title(world, 1)}; {title(world, 2)}."]


def test_one_path_of_two_is_enough() -> None:
    world = in_a_row()
    join(world, 0, world.instances[2])
    frozen = rerun(world, 0)
    cut(world, 1, 2)
    assert not now(frozen)


def test_a_waived_edge_leads_downstream_as_before() -> None:
    world = in_a_row()
    frozen = rerun(world, 0)
    Edge.objects.update(waived=True, satisfied_at=timezone.now())
    assert not now(frozen)


def test_hand_picked_ones_can_leave_and_nobody_joins_them() -> None:
    world = in_a_row(length=4)
    frozen = rerun(world, 0, range="chosen", chosen=[world.id(2)])
    [new] = Instance.objects.bulk_create([lineage.row(world.tasks[2], 1)])
    join(world, 1, new)
    assert not now(frozen)
    cut(world, 1, 2)
    found = now(frozen)
    assert counts(found) == (0, 0, 0, 1)
    assert [one.id for one in found.left] == [world.id(2)]


def test_roots_that_are_not_rerun_themselves_may_change_but_not_go() -> None:
    world = in_a_row()
    frozen = rerun(world, 0, scope="downstream")
    Instance.objects.filter(pk=world.id(0)).update(state="success", life_round=5)
    assert not now(frozen)
    Instance.objects.filter(pk=world.id(0)).delete()
    assert counts(now(frozen)) == (0, 0, 0, 2)


def test_the_user_sees_more_or_less_than_before() -> None:
    world = in_a_row(0, 1, 1)
    user = viewer_of(*world.projects)
    frozen = rerun(world, 0, user=user)
    Member.objects.filter(user=user, project=world.projects[1]).delete()
    found = now(frozen)
    assert counts(found) == (0, 2, 0, 0), "gone, as if they were not there: not even named"
    assert [one.name for one in found.gone] == [f"#{world.id(1)}", f"#{world.id(2)}"]
    narrow = rerun(world, 0, user=type(user).objects.get(pk=user.pk))
    assert (narrow.total, bool(now(narrow))) == (1, False)
    make.make_user(user.get_username(), project=world.projects[1], role="viewer")
    assert counts(now(narrow)) == (0, 0, 2, 0)


def test_a_subtree_is_compared_too() -> None:
    world = in_a_row()
    frozen = freeze("freeze", [world.id(0)], user=None, options={"subtree": True})
    cut(world, 1, 2)
    assert counts(now(frozen)) == (0, 0, 0, 1)


def test_it_can_be_sent_as_json() -> None:
    world = in_a_row()
    frozen = rerun(world, 0)
    cut(world, 1, 2)
    Instance.objects.filter(pk=world.id(0)).update(tries=1)
    sent = json.loads(json.dumps(now(frozen).as_json()))
    assert sent["changed"] == [
        {"id": world.id(0), "name": title(world, 0), "then": "failed:0:0", "now": "failed:0:1"}
    ]
    assert (sent["changed_count"], sent["left_count"], len(sent["sentences"])) == (1, 1, 2)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), sketch=lineage.sketches())
def test_whatever_changes_is_found(data: st.DataObject, sketch: Sketch) -> None:
    """Edges are removed and put back, states change, instances go; the closure before and after says what to find."""
    with transaction.atomic():
        world = draw_up(sketch)
        every = st.sets(st.integers(0, len(sketch.nodes) - 1), max_size=3)
        roots = data.draw(every, label="roots")
        reach = data.draw(st.sampled_from([Range.WORKFLOW, Range.PROJECT, Range.ALL]), label="range")
        scope = data.draw(st.sampled_from([Scope.WITH_DOWNSTREAM, Scope.DOWNSTREAM]), label="scope")
        frozen = freeze("rerun", world.ids(roots), user=None, options=RerunOptions(scope=scope, range=reach))
        before = members(world, roots, reach, scope)

        some = st.sets(st.sampled_from(sketch.arrows), max_size=3) if sketch.arrows else st.just(set())
        turned = data.draw(some, label="turned")
        arrows = [replace(a, removed=not a.removed) if a in turned else a for a in sketch.arrows]
        for arrow in turned:
            edges = Edge.objects.filter(instance=world.id(arrow.child), upstream=world.id(arrow.parent))
            edges.update(removed_at=None if arrow.removed else timezone.now())
        changed, gone = data.draw(every, label="changed"), data.draw(every, label="gone")
        Instance.objects.filter(pk__in=world.ids(changed)).update(state=State.SUCCESS)
        Instance.objects.filter(pk__in=world.ids(gone)).delete()
        left_over = [a for a in arrows if not {a.parent, a.child} & gone]
        world.sketch = replace(sketch, arrows=tuple(left_over))
        after = members(world, roots - gone, reach, scope)

        found = now(frozen)
        assert {one.id for one in found.changed} == set(world.ids(before & changed - gone))
        assert {one.id for one in found.gone} == set(world.ids(before & gone))
        assert {one.id for one in found.joined} == set(world.ids(after - before))
        assert {one.id for one in found.left} == set(world.ids(before - after - gone))
        assert bool(found) == bool(before & (changed | gone) or before ^ after)
        transaction.set_rollback(True)


def members(world: Lineage, roots: set[int], reach: Range, scope: Scope) -> set[int]:
    layers = closure(world, roots, within=reach)
    return {place for place, layer in layers.items() if layer or scope == Scope.WITH_DOWNSTREAM}
