"""Undo: what has come of the operation meanwhile, for children, parents and events; and undo of freezing."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from events.models import Emitter, Wait
from instances.engine import generation, lifecycle
from instances.engine.lifecycle import Touched
from instances.engine.lives import Life
from instances.models import Edge, Instance, Task
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    HOUR,
    _django_db_helper,
    assert_sound,
    bad,
    due,
    family,
    fresh,
    good,
    history,
    instances_of,
    run_out,
    settle,
    started,
    state,
)
from tests.engine.scenes import UNDO, Done, brought_to, claims_of, edges_of, row_of
from tests.events import scene

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class TestChildren:
    """Of instances that were marked as successful: what they released goes back to waiting, unless it was claimed."""

    def _waiting(self, parents: int = 1) -> tuple[list[Instance], Instance]:
        tasks, child = family(parents)
        generation.generate()
        [down] = instances_of(child)
        return [instances_of(task)[0] for task in tasks], down

    @pytest.mark.parametrize("dispatched", [True, False])
    def test_released_and_not_claimed_they_wait_again(self, dispatched: bool) -> None:
        [up], down = self._waiting()
        done = Done("mark_success", up)
        assert state(down) == "wait_run"
        if dispatched:
            settle(done.touched)
            assert fresh(down).queue == "taken"
        assert done.undo()[2] == {}
        assert (state(up), state(down), fresh(down).pending_upstream) == ("wait_run", "wait_upstream", 1)
        assert fresh(down).ready_since is None
        assert history(down) == ["upstream_met", "undo"]
        assert_sound()
        run_out()
        assert (state(up), state(down), fresh(down).total_runs) == ("success", "success", 1)
        assert_sound()

    @pytest.mark.parametrize("end", [None, good, bad])
    def test_claimed_they_are_in_the_way(self, end: Callable[..., Any] | None) -> None:
        [up], down = self._waiting()
        done = Done("mark_success", up)
        settle(done.touched)
        [claimed] = claims_of()
        if end:
            lifecycle.finish([end(claimed)])
        assert done.undo() == ({}, Touched(), {up.pk: f"{down}, which it released, has been started since."})
        assert state(up) == "success"
        assert_sound()

    def test_a_child_that_still_waits_for_another_counts_again(self) -> None:
        ups, down = self._waiting(2)
        done = Done("mark_success", ups[0])
        assert fresh(down).pending_upstream == 1
        done.undo()
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 2)
        assert_sound()

    def test_a_child_that_was_ended_by_hand_keeps_its_end(self) -> None:
        [up], down = self._waiting()
        done = Done("mark_success", up)
        lifecycle.terminate([down.pk])
        done.undo()
        assert (state(up), state(down), fresh(down).pending_upstream) == ("wait_run", "failed", 1)
        assert_sound()

    def test_a_child_generated_since_waits_as_if_it_had_never_been_marked(self) -> None:
        [parent], child = family(1)
        Task.objects.filter(pk=child.pk).update(status="paused")
        generation.generate()
        [up] = instances_of(parent)
        done = Done("mark_success", up)
        Task.objects.filter(pk=child.pk).update(status="scheduling")
        generation.generate()
        [down] = instances_of(child)
        assert state(down) == "wait_run"
        done.undo()
        assert state(down) == "wait_upstream"
        assert_sound()

    def test_one_that_ran_on_an_earlier_success_keeps_what_it_got(self) -> None:
        [up], down = self._waiting()
        run_out()
        lifecycle.rerun([up.pk])
        lifecycle.terminate([up.pk])
        done = Done("mark_success", up)
        assert done.undo()[2] == {}
        assert (state(up), state(down)) == ("failed", "success")
        assert edges_of(down) == [(up.pk, False, True, False)]
        assert_sound()

    def test_a_new_life_that_counted_on_it_waits_again(self) -> None:
        [up], down = self._waiting()
        run_out()
        lifecycle.rerun([up.pk])
        lifecycle.terminate([up.pk])
        done = Done("mark_success", up)
        lifecycle.rerun([down.pk], None, Life(check_parents="all"))
        assert state(down) == "wait_run"
        assert done.undo()[2] == {}
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        assert_sound()

    def test_a_life_that_does_not_check_its_parents_is_left_alone(self) -> None:
        [up], down = self._waiting()
        lifecycle.terminate([down.pk])
        lifecycle.rerun([down.pk])
        done = Done("mark_success", up)
        settle(done.touched)
        claims_of()
        assert done.undo()[2] == {}
        assert (state(up), state(down)) == ("wait_run", "running")
        assert_sound()

    @pytest.mark.parametrize("order", [1, -1])
    def test_parent_and_child_of_one_operation(self, order: int) -> None:
        """In one call, or one after the other in either order."""
        [up], down = self._waiting()
        done = Done("mark_success", up, down)
        if order == 1:
            assert set(done.undo()[0]) == {up.pk, down.pk}
        assert order == 1 or [
            lifecycle.restore({pk: done.before[pk]}, {pk: done.after[pk]}, UNDO, "mark_success")[2]
            for pk in (down.pk, up.pk)
        ] == [{}, {}]
        assert (state(up), state(down), fresh(down).pending_upstream) == ("wait_run", "wait_upstream", 1)
        assert_sound()
        run_out()
        assert (state(up), state(down)) == ("success", "success")

    def test_its_place_in_a_lane_is_free_again(self) -> None:
        [up], down = self._waiting()
        [beside] = due()
        life = Life(parallelism=1, lane=-3)
        number = 5
        lifecycle.terminate([down.pk])
        lifecycle.rerun([up.pk], number)
        lifecycle.rerun([down.pk], number, life)
        assert state(down) == "wait_upstream"
        done = Done("mark_success", up)
        settle(done.touched)
        assert fresh(down).queue == "taken"
        settle(lifecycle.rerun([beside.pk], None, life)[1])
        assert fresh(beside).queue == "gated"
        settle(done.undo()[1])
        assert (state(down), fresh(beside).queue) == ("wait_upstream", "taken")
        assert_sound()


class TestParents:
    """Edges are counted anew: parents may have ended, or begun again, meanwhile."""

    def test_a_parent_has_ended_while_it_was_terminated(self) -> None:
        day = brought_to("wait_upstream")
        done = Done("terminate", day)
        lifecycle.mark_success(list(Edge.objects.values_list("upstream", flat=True)))
        changed, touched, _ = done.undo()
        assert (changed, state(day)) == ({day.pk: "failed"}, "wait_run")
        assert fresh(day).ready_since is not None
        assert len(settle(touched)) == 1
        assert_sound()

    def test_a_parent_has_begun_again_while_it_was_terminated(self) -> None:
        tasks, child = family(2)
        generation.generate()
        [one], [_], [down] = (instances_of(task) for task in (*tasks, child))
        lifecycle.mark_success([one.pk])
        assert fresh(down).pending_upstream == 1
        done = Done("terminate", down)
        lifecycle.rerun([one.pk])
        done.undo()
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 2)
        assert_sound()

    def test_a_dependency_removed_since_stays_removed(self) -> None:
        day = brought_to("wait_upstream")
        done = Done("terminate", day)
        lifecycle.remove_edges([day.pk], user_id=None, reason="gone")
        done.undo()
        assert (state(day), fresh(day).pending_upstream) == ("wait_run", 0)
        assert_sound()

    def test_a_success_that_was_rerun_releases_its_children_again(self) -> None:
        tasks, child = family(2)
        generation.generate()
        [one], [other], [down] = (instances_of(task) for task in (*tasks, child))
        lifecycle.mark_success([one.pk])
        done = Done("rerun", one)
        assert fresh(down).pending_upstream == 2
        lifecycle.mark_success([other.pk])
        assert state(down) == "wait_upstream"
        _, touched, _ = done.undo()
        assert (state(one), state(down)) == ("success", "wait_run")
        assert len(settle(touched)) == 1
        assert_sound()

    def test_a_new_life_that_was_released_and_not_claimed_can_be_undone(self) -> None:
        tasks, child = family(1)
        generation.generate()
        harness.run_all(child)
        [up], [down] = instances_of(tasks[0]), instances_of(child)
        before = row_of(down)
        done = Done("rerun", up, down)
        assert state(down) == "wait_upstream"
        [claimed] = started(up)
        settle(lifecycle.finish([good(claimed)]))
        assert (state(down), fresh(down).queue) == ("wait_run", "taken")
        changed, _, reasons = done.undo()
        assert (set(changed), set(reasons)) == ({down.pk}, {up.pk})
        assert row_of(down) == before
        assert edges_of(down) == [(up.pk, False, True, False)]
        assert_sound()

    def test_edges_count_as_they_did_in_the_life_before(self) -> None:
        tasks, child = family(2)
        generation.generate()
        harness.run_all(child)
        ups, [down] = [instances_of(task)[0] for task in tasks], instances_of(child)
        lifecycle.rerun([ups[0].pk], 1)
        lifecycle.mark_success([ups[0].pk])
        lifecycle.rerun([down.pk], 1)
        lifecycle.mark_success([down.pk])
        edges = edges_of(down)
        assert [waived for _, waived, _, _ in edges] == [False, True]
        done = Done("rerun", down, life=Life(check_parents="all"))
        assert [waived for _, waived, _, _ in edges_of(down)] == [False, False]
        done.undo()
        assert edges_of(down) == edges
        assert_sound()

    def test_an_edge_made_for_the_undone_life_counts_no_more(self) -> None:
        days = due(2)
        done = Done("rerun", *days, life=Life(self_dependency="orderly"))
        assert state(days[1]) == "wait_upstream"
        done.undo()
        assert [state(day) for day in days] == ["wait_run", "wait_run"]
        assert [waived for _, waived, _, _ in edges_of(days[1])] == [True]
        assert_sound()


class TestEvents:
    """What was waited for is waited for again; what a success has fired cannot be taken back."""

    def _listening(self) -> tuple[Any, Instance]:
        event = scene.make_event()
        task = harness.make_due(1)
        scene.listen(task, event, max_wait=2)
        generation.generate()
        [day] = instances_of(task)
        assert day.state == "wait_event"
        return event, day

    @pytest.mark.parametrize("kind", ["terminate", "mark_success"])
    def test_it_waits_again_as_long_as_it_still_had(self, kind: str) -> None:
        event, day = self._listening()
        done = Done(kind, day)
        assert Wait.objects.exclude(withdrawn_at=None).exists()
        # An hour of its waiting was left, and it was ended a day ago.
        ended = timezone.now() - DAY
        Wait.objects.update(withdrawn_at=ended, deadline=ended + HOUR)
        assert done.undo()[0] == {day.pk: done.after[day.pk]["state"]}
        assert state(day) == "wait_event"
        soon, late = timezone.now() + HOUR * 0.9, timezone.now() + HOUR * 1.1
        assert Wait.objects.filter(withdrawn_at=None, deadline__range=(soon, late)).exists()
        scene.assert_sound()
        scene.fire(event, "20130101")
        assert state(day) == "wait_run"
        assert_sound()

    def test_its_event_has_come_meanwhile(self) -> None:
        event, day = self._listening()
        done = Done("terminate", day)
        scene.fire(event, "20130101")
        assert state(day) == "failed"
        _, touched, _ = done.undo()
        assert state(day) == "wait_run"
        assert len(settle(touched)) == 1
        scene.assert_sound()
        assert_sound()

    def test_an_undone_life_waits_for_nothing(self) -> None:
        event, day = self._listening()
        lifecycle.mark_success([day.pk])
        done = Done("rerun", day)
        assert state(day) == "wait_event"
        done.undo()
        scene.assert_sound()
        scene.fire(event, "20130101")
        assert (state(day), fresh(day).life_round) == ("success", 0)
        assert_sound()

    def test_a_success_that_fired_cannot_be_taken_back(self) -> None:
        [day], [silent] = due(), due()
        Emitter.objects.create(task=day.task, event=scene.make_event())
        done = Done("mark_success", day, silent)
        changed, _, reasons = done.undo()
        assert changed == {silent.pk: "success"}
        assert reasons == {day.pk: f"The success of {day} has fired events; that cannot be undone."}
        assert_sound()
