"""Freezing a set: who is in it and in which order, for every scope and range, against brute force over random lineage."""

import tracemalloc
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instances.engine import generation
from instances.engine.states import State
from instances.models import Edge, FrozenSet, Instance, Task
from instances.operations.options import OptionError, Range, RerunOptions, Scope
from instances.operations.order import task_ranks
from instances.operations.selection import difference, freeze
from tests import factories as make
from tests import lineage
from tests.engine.harness import JANUARY, instances_of, make_due
from tests.lineage import Arrow, Lineage, Sketch, closure, draw_up, next_to, viewer_of

pytestmark = pytest.mark.django_db
RANGES = [Range.WORKFLOW, Range.PROJECT, Range.ALL]
DOWNSTREAM_SCOPES = [Scope.WITH_DOWNSTREAM, Scope.DOWNSTREAM]
# Rows go away with the example, so that fixtures of the whole function do not matter.
many_lineages = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def layers(frozen: FrozenSet) -> dict[int, int]:
    """{instance id: layer}, in the order of applying; checks the shape of the batches."""
    found: dict[int, int] = {}
    total = 0
    for number, batch in enumerate(frozen.batches.order_by("seq"), 1):
        assert batch.seq == number
        assert 1 <= len(batch.instance_ids) == len(batch.marks) == len(batch.layers) <= 1000
        assert batch.applied_at is None
        found |= dict(zip(batch.instance_ids, batch.layers, strict=True))
        total += len(batch.instance_ids)
    assert total == len(found) == frozen.total
    return found


def places(world: Lineage, frozen: FrozenSet) -> dict[int, int]:
    """{place: layer}, in the order of applying."""
    return {world.place[pk]: layer for pk, layer in layers(frozen).items()}


def left_out(frozen: FrozenSet) -> dict[str, int]:
    """{the beginning of why: count}."""
    return {line["why"].partition(":")[0]: line["count"] for line in frozen.summary["left_out"]}


def assert_ordered(world: Lineage, order: list[int]) -> None:
    """Every parent in the set comes before its children; without a circle of tasks: rank, data time, id."""
    position = {place: number for number, place in enumerate(order)}
    arrows = [
        arrow for arrow in world.sketch.arrows
        if arrow.counts and arrow.parent in position and arrow.child in position
    ]  # fmt: skip
    assert [a for a in arrows if position[a.parent] > position[a.child]] == []
    nodes = world.sketch.nodes
    ranks = lineage.longest_paths((nodes[a.parent][0], nodes[a.child][0]) for a in arrows)
    if ranks is not None:
        keys = {
            place: (ranks.get(nodes[place][0], 0), nodes[place][1], world.id(place)) for place in position
        }
        assert sorted(position, key=keys.__getitem__) == order


@many_lineages
@given(data=st.data(), sketch=lineage.sketches())
def test_downstream_is_what_brute_force_finds(data: st.DataObject, sketch: Sketch) -> None:
    with transaction.atomic():
        world = draw_up(sketch)
        roots = data.draw(st.sets(st.integers(0, len(sketch.nodes) - 1), max_size=4), label="roots")
        hidden = data.draw(st.sets(st.sampled_from([p.pk for p in world.projects])), label="hidden")
        user = viewer_of(*(p for p in world.projects if p.pk not in hidden))
        for reach in RANGES:
            expected = closure(world, roots, within=reach, hidden=hidden)
            for scope in DOWNSTREAM_SCOPES:
                options = RerunOptions(scope=scope, range=reach)
                frozen = freeze("rerun", world.ids(roots), user=user, options=options)
                found = places(world, frozen)
                assert found == {
                    place: layer for place, layer in expected.items() if layer or scope != Scope.DOWNSTREAM
                }
                assert_ordered(world, list(found))
                beside = next_to(world, expected)
                unseen = {place for place in beside if world.project_of(place) in hidden}
                assert [line["count"] for line in frozen.summary["left_out"]] == [
                    count for count in (
                        len({root for root in roots if world.project_of(root) in hidden}),
                        len(unseen - set(roots)) if reach == Range.ALL else 0,
                        len(beside - unseen),
                    ) if count
                ]  # fmt: skip
        transaction.set_rollback(True)


@many_lineages
@given(data=st.data(), sketch=lineage.sketches())
def test_hand_picked_instances_must_be_downstream(data: st.DataObject, sketch: Sketch) -> None:
    with transaction.atomic():
        world = draw_up(sketch)
        some = st.sets(st.integers(0, len(sketch.nodes) - 1), min_size=1, max_size=4)
        roots, picked = data.draw(some, label="roots"), data.draw(some, label="picked")
        everything = closure(world, roots)
        for scope in DOWNSTREAM_SCOPES:
            options = RerunOptions(scope=scope, range=Range.CHOSEN, chosen=tuple(sorted(world.ids(picked))))
            wanted = set(picked) | (set(roots) if scope == Scope.WITH_DOWNSTREAM else set())
            wrong = [
                world.id(place) for place in picked
                if place not in everything or (scope == Scope.DOWNSTREAM and everything[place] == 0)
            ]  # fmt: skip
            if wrong:
                with pytest.raises(OptionError, match=f"^Instance {min(wrong)} is not downstream") as refused:
                    freeze("rerun", world.ids(roots), user=None, options=options)
                assert refused.value.field == "chosen"
            else:
                found = places(world, freeze("rerun", world.ids(roots), user=None, options=options))
                assert found == {place: everything[place] for place in wanted}
                assert_ordered(world, list(found))
        transaction.set_rollback(True)


@many_lineages
@given(data=st.data(), sketch=lineage.sketches())
def test_chosen_instances_alone_are_ordered_too(data: st.DataObject, sketch: Sketch) -> None:
    with transaction.atomic():
        world = draw_up(sketch)
        roots = data.draw(st.sets(st.integers(0, len(sketch.nodes) - 1)), label="roots")
        found = places(world, freeze("rerun", world.ids(roots), user=None, options={}))
        assert found == dict.fromkeys(roots, 0)
        assert_ordered(world, list(found))
        transaction.set_rollback(True)


def simple(*arrows: Arrow, tasks: tuple[int, ...], workflows: tuple[int, ...] = (0,)) -> Lineage:
    """One instance of each task, in its workflow."""
    return draw_up(Sketch(workflows, tasks, tuple((task, 0) for task in range(len(tasks))), arrows))


def downstream(world: Lineage, *roots: int, user: object = None, **options: object) -> FrozenSet:
    options = {"scope": "with_downstream", "range": "all", **options}
    return freeze("rerun", world.ids(roots), user=user, options=options)  # type: ignore[arg-type]


# Who is chosen


@pytest.mark.parametrize("kind", ["terminate", "rerun"])
def test_a_query_is_frozen_as_it_matches_now(kind: str) -> None:
    task = make.make_task()
    rows = [lineage.row(task, day, State.FAILED if day % 2 else State.SUCCESS) for day in range(6)]
    rows = Instance.objects.bulk_create(rows)
    failed = Instance.objects.filter(state="failed", task__name=task.name)
    expected = [row.pk for row in rows if row.state == "failed"]
    for query in (
        failed,
        failed.select_related("task").order_by("-data_time"),
        failed.distinct().order_by("task__name", "-id")[:3],
        failed.filter(task__workflow__tasks__isnull=False),
        failed.only("state"),
        failed | failed.none(),
    ):
        frozen = freeze(kind, query, user=None)
        assert list(layers(frozen)) == expected, query.query
        assert frozen.summary == {"left_out": []}
    Instance.objects.filter(pk=expected[0]).update(state="success")
    Instance.objects.filter(pk=rows[0].pk).update(state="failed")
    assert list(layers(FrozenSet.objects.latest("id"))) == expected


def test_the_first_of_an_ordered_query() -> None:
    task = make.make_task()
    rows = Instance.objects.bulk_create(lineage.row(task, day) for day in range(5))
    newest = Instance.objects.filter(task=task).order_by("-data_time")
    assert list(layers(freeze("terminate", newest[:2], user=None))) == [rows[3].pk, rows[4].pk]
    one_a_task = newest.order_by("task_id", "-data_time").distinct("task_id")
    assert list(layers(freeze("terminate", one_a_task, user=None))) == [rows[4].pk]


@pytest.mark.parametrize("kind", ["terminate", "rerun"])
def test_nothing_is_a_set_too(kind: str) -> None:
    nothing: list[Any] = [[], Instance.objects.none(), Instance.objects.filter(pk__in=[])]
    for roots in nothing:
        frozen = freeze(kind, roots, user=None)
        assert (frozen.total, layers(frozen), frozen.summary) == (0, {}, {"left_out": []})


@pytest.mark.parametrize("kind", ["terminate", "rerun"])
def test_ids_twice_unknown_and_unseen(kind: str) -> None:
    """Whether an id does not exist or is none of the user's business makes no difference to see."""
    world = simple(tasks=(0, 1), workflows=(0, 1))
    seen, unseen = world.ids((0, 1))
    frozen = freeze(kind, [seen, unseen, seen, 10**15, -1, 2**70], user=viewer_of(world.projects[0]))
    assert list(layers(frozen)) == [seen]
    assert frozen.summary["left_out"] == [
        {"why": "4 chosen instances are in projects that you cannot see, or not there any more.", "count": 4}
    ]


@pytest.mark.parametrize("kind", ["terminate", "rerun"])
def test_a_query_with_rows_that_the_user_does_not_see(kind: str) -> None:
    world = simple(tasks=(0, 1), workflows=(0, 1))
    frozen = freeze(kind, Instance.objects.all(), user=viewer_of(world.projects[1]))
    assert (list(layers(frozen)), frozen.user) == ([world.id(1)], frozen.user)
    assert frozen.summary["left_out"] == [
        {"why": "1 chosen instance is in projects that you cannot see, or not there any more.", "count": 1}
    ]
    everything = freeze(kind, Instance.objects.all(), user=make.make_user(make.SUSAN))
    assert list(layers(everything)) == world.ids((0, 1))
    nothing = freeze(kind, Instance.objects.all(), user=make.make_user(make.EVE))
    assert (nothing.total, nothing.summary["left_out"][0]["count"]) == (0, 2)


@pytest.mark.parametrize("roots", [["1"], [True], [1.0], [None]])
def test_ids_are_whole_numbers(roots: list[int]) -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        freeze("terminate", roots, user=None)


def test_instances_are_chosen_and_nothing_else() -> None:
    with pytest.raises(TypeError, match="instances are chosen, not Task"):
        freeze("terminate", Task.objects.all(), user=None)  # type: ignore[arg-type]


def test_options_that_cannot_be() -> None:
    with pytest.raises(OptionError):
        freeze("rerun", [], user=None, options={"scope": "everything"})
    assert not FrozenSet.objects.exists()


# What is written down


def test_marks_are_state_life_and_retries() -> None:
    task = make.make_task()
    [one, other] = Instance.objects.bulk_create(
        [lineage.row(task, 0, State.FAILED, life_round=2, tries=3), lineage.row(task, 1, State.WAIT_RUN)]
    )
    [batch] = freeze("terminate", [other.pk, one.pk], user=None).batches.all()
    assert (batch.instance_ids, batch.marks) == ([one.pk, other.pk], ["failed:2:3", "wait_run:0:0"])


@pytest.mark.parametrize("kind", ["terminate", "rerun"])
def test_batches_of_a_thousand_in_order(kind: str) -> None:
    task = make.make_task()
    rows = Instance.objects.bulk_create(lineage.row(task, day) for day in range(2500, 0, -1))
    frozen = freeze(kind, Instance.objects.all(), user=None)
    assert [len(batch.instance_ids) for batch in frozen.batches.order_by("seq")] == [1000, 1000, 500]
    # A rerun goes from the oldest data time on, all else from the lowest id on.
    expected = sorted(rows, key=lambda row: row.pk if kind == "terminate" else row.data_time)
    assert list(layers(frozen)) == [row.pk for row in expected]


def test_what_was_asked_for_is_kept() -> None:
    user = make.make_user(make.SUSAN)
    options = RerunOptions(scope=Scope.DOWNSTREAM, range=Range.CHOSEN, chosen=())
    world = simple(Arrow(0, 1), tasks=(0, 0))
    frozen = downstream(world, 0, user=user, scope="downstream", range="chosen", chosen=[world.id(1)])
    frozen = FrozenSet.objects.get(pk=frozen.pk)
    assert (frozen.kind, frozen.user, frozen.total) == ("rerun", user, 1)
    assert RerunOptions.parse(frozen.options).chosen == (world.id(1),)
    assert options.scope == RerunOptions.parse(frozen.options).scope
    assert [roots.instance_ids for roots in frozen.roots.all()] == [[world.id(0)]]


def test_one_set_after_another_in_one_transaction() -> None:
    world = simple(Arrow(0, 1), tasks=(0, 0))
    with transaction.atomic():
        first, second = downstream(world, 0), downstream(world, 1)
    assert (list(places(world, first)), list(places(world, second))) == ([0, 1], [1])
    assert not difference(first)


# What lies downstream


def test_a_range_holds_for_every_step() -> None:
    """What is behind another workflow is made from what is not rerun; a root of that workflow lets it in."""
    world = simple(Arrow(0, 1), Arrow(1, 2), Arrow(0, 3), tasks=(0, 1, 0, 0), workflows=(0, 0))
    assert places(world, downstream(world, 0, range="workflow")) == {0: 0, 3: 1}
    assert places(world, downstream(world, 0, 1, range="workflow")) == {0: 0, 1: 0, 3: 1}
    assert places(world, downstream(world, 0, range="project")) == {0: 0, 1: 1, 3: 1, 2: 2}
    why = downstream(world, 0, range="workflow").summary["left_out"]
    assert why == [{"why": "1 downstream instance is left out: in other workflows.", "count": 1}]


def test_reached_from_two_roots_it_is_in_if_either_allows_it() -> None:
    world = simple(Arrow(0, 2), Arrow(1, 2), tasks=(0, 1, 1), workflows=(0, 1))
    for reach in RANGES:
        assert places(world, downstream(world, 0, 1, range=reach)) == {0: 0, 1: 0, 2: 1}


def test_nobody_walks_through_what_he_cannot_see() -> None:
    world = simple(Arrow(0, 1), Arrow(1, 2), tasks=(0, 1, 0), workflows=(0, 1))
    user = viewer_of(world.projects[0])
    frozen = downstream(world, 0, user=user)
    assert places(world, frozen) == {0: 0}
    assert frozen.summary["left_out"] == [
        {
            "why": "1 downstream instance is in projects that you cannot see; what follows from there is left out too.",
            "count": 1,
        }
    ]
    for picked in world.ids((1, 2)):
        with pytest.raises(OptionError, match=f"Instance {picked} is not downstream"):
            downstream(world, 0, user=user, range="chosen", chosen=[picked])


def test_removed_edges_and_the_next_period_do_not_lead_downstream_waived_ones_do() -> None:
    removed, waived = Arrow(0, 1, removed=True), Arrow(0, 2, waived=True)
    world = simple(removed, waived, Arrow(0, 3, is_self=True), tasks=(0, 0, 0, 0))
    assert places(world, downstream(world, 0)) == {0: 0, 2: 1}


def test_generated_instances() -> None:
    """An orderly daily task and one of another project that waits for it: a day of the first leads to its own day only."""
    parent = make_due(3, self_dependency="orderly")
    child = make.make_task(effective_to=parent.effective_to)
    make.depend(child, parent)
    make.submit(child, since=JANUARY - lineage.DAY)
    generation.generate()
    days, others = instances_of(parent), instances_of(child)
    found = freeze("rerun", [days[0].pk], user=None, options={"scope": "with_downstream", "range": "all"})
    assert layers(found) == {days[0].pk: 0, others[0].pk: 1}
    everything = freeze("rerun", Instance.objects.all(), user=None)
    assert list(layers(everything)) == [row.pk for row in days + others]


def test_an_upstream_that_does_not_exist_yet_is_nobody() -> None:
    world = simple(Arrow(0, 1), tasks=(0, 0))
    Edge.objects.update(upstream=None)
    assert places(world, downstream(world, 0)) == {0: 0}


def test_a_subtree_is_held_over_all_projects() -> None:
    world = simple(Arrow(1, 0), Arrow(0, 2), tasks=(1, 0, 2), workflows=(0, 1, 2))
    frozen = freeze("freeze", [world.id(1)], user=None, options={"subtree": True})
    assert list(layers(frozen).items()) == [(world.id(0), 1), (world.id(1), 0), (world.id(2), 2)]
    alone = freeze("freeze", [world.id(1)], user=None, options={"subtree": False})
    assert list(layers(alone)) == [world.id(1)]


# The order


def test_definitions_that_changed_over_time() -> None:
    """On the first day b waits for a, on the second a waits for b; c waits for both, both wait for z."""
    a, b, c, z = range(4)
    nodes = tuple((task, day) for day in range(2) for task in (c, b, a, z))
    at = {node: place for place, node in enumerate(nodes)}
    arrows = [Arrow(at[a, 0], at[b, 0]), Arrow(at[b, 1], at[a, 1])]
    for day in range(2):
        arrows += [Arrow(at[z, day], at[a, day]), Arrow(at[z, day], at[b, day])]
        arrows += [Arrow(at[a, day], at[c, day]), Arrow(at[b, day], at[c, day])]
    world = draw_up(Sketch((0,), (0, 0, 0, 0), nodes, tuple(arrows)))
    order = [nodes[place] for place in places(world, downstream(world, at[z, 0], at[z, 1]))]
    assert order == [(z, 0), (z, 1), (a, 0), (b, 1), (b, 0), (a, 1), (c, 0), (c, 1)]


def test_instances_in_a_circle_are_in_the_set_all_the_same() -> None:
    world = simple(Arrow(0, 1), Arrow(1, 2), Arrow(2, 1), Arrow(2, 3), tasks=(0, 0, 0, 0))
    found = places(world, downstream(world, 0))
    assert found == {0: 0, 1: 1, 2: 2, 3: 3}
    assert (next(iter(found)), list(found)[-1]) == (0, 3)


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16))
def test_ranks_of_tasks(pairs: set[tuple[int, int]]) -> None:
    ranks, circular = task_ranks(pairs)
    assert ranks.keys() == {task for pair in pairs for task in pair}
    for parent, child in pairs:
        assert ranks[parent] < ranks[child] or {parent, child} <= circular
    assert bool(circular) == (lineage.longest_paths(pairs) is None)
    assert len({ranks[task] for task in circular}) <= 1


# Size


def test_twenty_thousand_do_not_go_through_python() -> None:
    """Forty tasks in a row, five hundred days: chosen by a query, and found downstream."""
    tasks = lineage.many_rows(tasks=40, days=500)
    first = Instance.objects.filter(task=tasks[0])
    tracemalloc.start()
    try:
        chosen = freeze("terminate", Instance.objects.filter(task__in=tasks), user=None)
        options = {"scope": "downstream", "range": "all"}
        found = freeze("rerun", first, user=None, options=options)
        changes = difference(found)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (chosen.total, found.total, bool(changes)) == (20_000, 19_500, False)
    assert peak < 1_000_000
    last = found.batches.order_by("seq").last()
    assert last is not None
    assert (last.seq, set(last.layers)) == (20, {39})
    assert set(Instance.objects.filter(pk__in=last.instance_ids).values_list("task", flat=True)) == {
        tasks[-1]
    }
