"""Freezing a set: who is in it and in which order, for every scope and range, against brute force over random lineage."""

from collections.abc import Iterable
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instances.engine.states import State
from instances.models import FrozenSet, Instance, Task
from instances.operations.options import OptionError, Range, RerunOptions, Scope
from instances.operations.order import task_ranks
from instances.operations.selection import freeze
from tests import factories as make
from tests import lineage
from tests.lineage import Arrow, Lineage, Sketch, closure, draw_up, viewer_of

pytestmark = pytest.mark.django_db
RANGES = [Range.WORKFLOW, Range.PROJECT, Range.ALL]
DOWNSTREAM_SCOPES = [Scope.WITH_DOWNSTREAM, Scope.DOWNSTREAM]
# Rows go away with the example, so that fixtures of the whole function do not matter.
many_lineages = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


def left_out(frozen: FrozenSet) -> list[int]:
    return [line["count"] for line in frozen.summary["left_out"]]


def assert_ordered(world: Lineage, order: list[int]) -> None:
    """Every parent in the set comes before its children; without a circle of tasks: rank, data time, id."""
    position = {world.place[pk]: number for number, pk in enumerate(order)}
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
        assert sorted(position, key=keys.__getitem__) == [world.place[pk] for pk in order]


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
                found = layers(frozen)
                assert {world.place[pk]: layer for pk, layer in found.items()} == {
                    place: layer for place, layer in expected.items() if layer or scope != Scope.DOWNSTREAM
                }
                assert_ordered(world, list(found))
        transaction.set_rollback(True)


@many_lineages
@given(data=st.data(), sketch=lineage.sketches())
def test_hand_picked_instances_must_be_downstream(data: st.DataObject, sketch: Sketch) -> None:
    with transaction.atomic():
        world = draw_up(sketch)
        places = st.sets(st.integers(0, len(sketch.nodes) - 1), min_size=1, max_size=4)
        roots, picked = data.draw(places, label="roots"), data.draw(places, label="picked")
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
                found = layers(freeze("rerun", world.ids(roots), user=None, options=options))
                assert {world.place[pk]: layer for pk, layer in found.items()} == {
                    place: everything[place] for place in wanted
                }
                assert_ordered(world, list(found))
        transaction.set_rollback(True)


@many_lineages
@given(data=st.data(), sketch=lineage.sketches())
def test_chosen_instances_alone_are_ordered_too(data: st.DataObject, sketch: Sketch) -> None:
    with transaction.atomic():
        world = draw_up(sketch)
        roots = data.draw(st.sets(st.integers(0, len(sketch.nodes) - 1)), label="roots")
        found = layers(freeze("rerun", world.ids(roots), user=None, options={}))
        assert {world.place[pk]: layer for pk, layer in found.items()} == dict.fromkeys(roots, 0)
        assert_ordered(world, list(found))
        transaction.set_rollback(True)
