"""Removed dependencies: they count no more, for ever, on this instance only; and they stay on the graph, marked."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from instances.engine import generation, lifecycle
from instances.engine.lives import Life
from instances.engine.states import State
from instances.models import Edge, Instance, StateChange, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    _django_db_helper,
    assert_sound,
    due,
    family,
    fresh,
    good,
    history,
    ids,
    instances_of,
    overtake,
    race,
    settle,
    started,
    state,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def waiting(parents: int = 2) -> tuple[list[Instance], Instance]:
    """Parents and the child that waits for them."""
    tasks, child = family(parents)
    generation.generate()
    [down] = instances_of(child)
    return [instances_of(task)[0] for task in tasks], down


def remove(*instances: Instance, parents: list[Instance] | None = None, **values: Any) -> Any:
    edges = None if parents is None else [(up.task_id, up.data_time) for up in parents]
    values = {"edges": edges, "user_id": None, "reason": "not needed"} | values
    return lifecycle.remove_edges(ids(instances), **values)


class TestWhatCounts:
    def test_the_last_one_removed_releases_the_instance(self) -> None:
        ups, down = waiting()
        changed, touched = remove(down, parents=ups[:1])
        assert (changed, touched.groups) == ({down.pk: "wait_upstream"}, set())
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        changed, touched = remove(down, parents=ups[1:])
        assert (changed, touched.groups) == ({down.pk: "wait_upstream"}, harness.groups(down))
        assert (state(down), fresh(down).pending_upstream) == ("wait_run", 0)
        assert fresh(down).ready_since is not None
        assert settle(touched) != []
        assert history(down) == ["remove_dependency", "remove_dependency"]
        moves = StateChange.objects.filter(instance_id=down.pk).order_by("id")
        assert [(move.from_state, move.to_state) for move in moves] == [
            ("wait_upstream", "wait_upstream"),
            ("wait_upstream", "wait_run"),
        ]
        assert_sound()

    def test_all_means_what_counts_and_is_not_satisfied(self) -> None:
        ups, down = waiting(3)
        lifecycle.mark_success([ups[0].pk])
        remove(down)
        removed = Edge.objects.exclude(removed_at=None).values_list("upstream_id", flat=True)
        assert set(removed) == {ups[1].pk, ups[2].pk}
        assert state(down) == "wait_run"
        assert remove(down)[0] == {}
        assert_sound()

    def test_a_satisfied_one_can_be_chosen_and_changes_nothing_now(self) -> None:
        ups, down = waiting()
        lifecycle.mark_success([ups[0].pk])
        assert remove(down, parents=ups[:1])[0] == {down.pk: "wait_upstream"}
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        # But its parent's next life does not open it again.
        lifecycle.rerun([ups[0].pk])
        assert fresh(down).pending_upstream == 1
        assert_sound()

    def test_it_is_ignored_by_all_later_lives(self) -> None:
        ups, down = waiting()
        remove(down, parents=ups[:1])
        lifecycle.mark_success(ids([ups[1], down]))
        lifecycle.rerun([down.pk], None, Life(check_parents="all"))
        assert state(down) == "wait_run"
        lifecycle.rerun(ids([*ups, down]), 1)
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        assert_sound()

    def test_other_instances_of_the_task_keep_theirs(self) -> None:
        _, child = family(1, days=2)
        generation.generate()
        first, second = instances_of(child)
        remove(first)
        assert [state(first), state(second)] == ["wait_run", "wait_upstream"]
        assert_sound()

    def test_an_edge_to_what_was_never_generated(self) -> None:
        [parent], child = family(1)
        Task.objects.filter(pk=parent.pk).update(status="paused")
        generation.generate()
        [down] = instances_of(child)
        remove(down)
        assert state(down) == "wait_run"
        # Generated later, it is bound, and still does not count.
        Task.objects.filter(pk=parent.pk).update(status="scheduling")
        generation.generate()
        harness.run_all(parent)
        assert Edge.objects.get().upstream_id == instances_of(parent)[0].pk
        assert_sound()

    def test_the_period_before_of_an_orderly_task(self) -> None:
        days = due(2, self_dependency="orderly")
        remove(days[1])
        assert state(days[1]) == "wait_run"
        assert_sound()


class TestWho:
    def test_the_edge_says_who_when_and_why(self) -> None:
        ups, down = waiting(1)
        omar = make.make_user(make.OMAR)
        remove(down, user_id=omar.pk, reason="the source is gone")
        edge = Edge.objects.get()
        assert (edge.removed_by, edge.removed_reason) == (omar, "the source is gone")
        assert edge.removed_at is not None
        assert edge.satisfied_at is None
        # The first removal stands.
        assert remove(down, parents=ups, reason="again")[0] == {}
        assert Edge.objects.get().removed_reason == "the source is gone"

    @pytest.mark.parametrize("now", [s for s in State if s not in ("wait_event", "skipped", "wait_upstream")])
    def test_any_state_allows_it_and_keeps_its_state(self, now: State) -> None:
        ups, down = waiting(1)
        lifecycle.terminate([down.pk])
        if now != "failed":
            Task.objects.filter(pk=down.task_id).update(retry_limit=1, retry_wait=harness.DAY)
            lifecycle.rerun([down.pk])
        if now in ("running", "terminating", "failed_retry"):
            [claimed] = [c for c in started(down) if c.instance_id == down.pk]
            if now == "terminating":
                lifecycle.terminate([down.pk])
            elif now == "failed_retry":
                lifecycle.finish([harness.bad(claimed)])
        elif now == "success":
            lifecycle.mark_success([down.pk])
        assert state(down) == now
        assert remove(down, parents=ups)[0] == {down.pk: now}
        assert state(down) == now
        assert_sound()

    def test_a_frozen_one_is_released_and_not_dispatched(self) -> None:
        _, down = waiting()
        lifecycle.freeze([down.pk])
        settle(remove(down)[1])
        assert (state(down), fresh(down).queue) == ("wait_run", "ready")
        assert_sound()


class TestRaces:
    def test_a_parent_that_ends_first(self) -> None:
        """Its edge is satisfied by then, so nothing is left to remove."""
        [up], down = waiting(1)
        [claimed] = started(up)
        _, [(changed, _)] = overtake(lambda: lifecycle.finish([good(claimed)]), lambda: remove(down))
        assert changed == {}
        assert (state(down), history(down)) == ("wait_run", ["upstream_met"])
        assert_sound()

    def test_a_parent_that_ends_second(self) -> None:
        """It finds the edge removed, and counts nothing down."""
        ups, down = waiting(2)
        [claimed] = [c for c in started(ups[0]) if c.instance_id == ups[0].pk]
        overtake(lambda: remove(down, parents=ups[:1]), lambda: lifecycle.finish([good(claimed)]))
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        assert_sound()

    def test_the_other_parent_ends_meanwhile(self) -> None:
        """One edge is removed, the other satisfied: whichever comes last releases the child, once."""
        for remove_first in (True, False):
            harness.wipe()
            ups, down = waiting(2)
            claimed = {c.instance_id: c for c in started(*ups)}
            doors: list[Callable[[], Any]] = [
                partial(remove, down, parents=ups[:1]),
                partial(lifecycle.finish, [good(claimed[ups[1].pk])]),
            ]
            overtake(*(doors if remove_first else reversed(doors)))
            assert (state(down), fresh(down).pending_upstream) == ("wait_run", 0)
            assert [move for move in history(down) if move == "upstream_met"] == (
                ["upstream_met"] if remove_first else []
            )
            assert_sound()

    def test_two_people_remove_the_same(self) -> None:
        _, down = waiting(2)
        first, [second] = overtake(lambda: remove(down), lambda: remove(down))
        assert (list(first[0]), second[0]) == ([down.pk], {})
        assert history(down) == ["remove_dependency"]
        assert_sound()

    def test_removals_and_ends_in_threads(self) -> None:
        tasks, child = family(2, days=60, group_slots=500)
        generation.generate()
        downs = instances_of(child)
        claimed = started(*instances_of(tasks[0]))
        assert len(claimed) == 120

        def finish_all() -> None:
            for start in range(0, 120, 5):
                lifecycle.finish([good(c) for c in claimed[start : start + 5]])

        def remove_all() -> None:
            for number, down in enumerate(downs):
                parents = instances_of(tasks[number % 2])
                remove(down, parents=[parents[number]])

        race(finish_all, remove_all)
        assert {state(down) for down in downs} == {"wait_run"}
        released = StateChange.objects.filter(instance_id__in=ids(downs), to_state="wait_run").exclude(
            from_state="wait_run"
        )
        assert released.count() == 60, "each was released once"
        assert_sound()
