"""What a new life waits for: docs/adr/0009-lives.md."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import transaction

from instances.engine import generation, lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.lives import Life
from instances.models import (
    Edge,
    Execution,
    FrozenBatch,
    FrozenSet,
    Instance,
    OperationItem,
    OperationRecord,
    Task,
)
from instances.models.operation import ItemOutcome
from tests.engine import harness
from tests.engine.harness import (
    _django_db_helper,
    assert_sound,
    bad,
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
from tests.engine.scenes import operation, pair

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def edge_of(instance: Instance) -> Edge:
    return Edge.objects.get(instance=instance, is_self=False)


class TestParents:
    """Which edges count: those to what got a new life in the same operation, else as the options say."""

    def test_by_default_no_parent_is_checked(self) -> None:
        up, down = pair()
        lifecycle.rerun([up.pk])
        changed, touched = lifecycle.rerun([down.pk])
        assert changed == {down.pk: "success"}
        row = fresh(down)
        assert (row.state, row.pending_upstream, row.life_round) == ("wait_run", 0, 1)
        assert edge_of(down).waived
        assert row.resource_group_id in touched.groups
        assert_sound()

    def test_all_parents_count_if_asked_and_are_satisfied_by_what_they_are_now(self) -> None:
        up, down = pair()
        lifecycle.rerun([down.pk], None, Life(check_parents="all"))
        assert state(down) == "wait_run"
        assert edge_of(down).satisfied_at is not None
        lifecycle.rerun([up.pk])
        assert state(down) == "wait_run", "released, it keeps what it got"
        lifecycle.rerun([down.pk], None, Life(check_parents="all"))
        assert (state(down), fresh(down).pending_upstream, fresh(down).ready_since) == (
            "wait_upstream",
            1,
            None,
        )
        assert_sound()
        harness.run_all(down.task)
        assert (state(down), history(down)[-3:]) == ("success", ["upstream_met", "claim", "succeed"])
        assert_sound()

    def test_a_waived_edge_does_not_release_twice(self) -> None:
        """The parent that is not waited for ends: it satisfies its edge and counts nothing down."""
        tasks, child = family(2)
        generation.generate()
        [one], [other], [down] = (instances_of(task) for task in (*tasks, child))
        lifecycle.terminate(ids([down, one]))
        number = operation()
        with transaction.atomic():
            lifecycle.rerun(ids([one, down]), number)
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        claimed = {c.instance_id: c for c in started(one)}
        lifecycle.finish([good(claimed[other.pk])])
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        assert not Edge.objects.filter(instance=down, satisfied_at=None, waived=True).exists()
        lifecycle.finish([good(claimed[one.pk])])
        assert state(down) == "wait_run"
        assert_sound()

    def test_the_next_life_decides_anew(self) -> None:
        up, down = pair()
        lifecycle.rerun([down.pk])
        assert edge_of(down).waived
        lifecycle.rerun([up.pk])
        lifecycle.rerun([down.pk], None, Life(check_parents="all"))
        assert not edge_of(down).waived
        assert state(down) == "wait_upstream"
        assert_sound()

    @pytest.mark.parametrize("together", [True, False])
    def test_what_gets_a_new_life_in_the_same_operation_counts(self, together: bool) -> None:
        up, down = pair()
        number = operation()
        if together:
            lifecycle.rerun(ids([up, down]), number)
        else:
            lifecycle.rerun([up.pk], number)
            lifecycle.rerun([down.pk], number)
        assert (state(up), state(down)) == ("wait_run", "wait_upstream")
        harness.run_all(up.task)
        assert (state(up), state(down), fresh(down).life_round) == ("success", "success", 1)
        assert_sound()

    def test_a_parent_of_the_same_operation_that_was_quicker_is_satisfied(self) -> None:
        up, down = pair()
        number = operation()
        lifecycle.rerun([up.pk], number)
        lifecycle.finish([good(started(up)[0])])
        lifecycle.rerun([down.pk], number)
        assert state(down) == "wait_run"
        assert not edge_of(down).waived
        assert_sound()

    def test_a_parent_of_the_same_operation_that_failed_meanwhile_counts(self) -> None:
        up, down = pair()
        number = operation()
        lifecycle.rerun([up.pk], number)
        lifecycle.finish([bad(started(up)[0])])
        lifecycle.rerun([down.pk], number)
        assert state(down) == "wait_upstream"
        assert_sound()

    def test_another_operation_is_not_the_same(self) -> None:
        up, down = pair()
        lifecycle.rerun([up.pk], operation())
        lifecycle.rerun([down.pk], operation())
        assert state(down) == "wait_run"
        assert_sound()

    def _operation_on(self, *batches: Sequence[Instance], applied: int) -> int:
        """An operation on a set of these batches; the first `applied` of them are done with."""
        frozen = FrozenSet.objects.create(kind="rerun")
        for seq, rows in enumerate(batches):
            FrozenBatch.objects.create(
                frozen_set=frozen,
                seq=seq,
                instance_ids=ids(rows),
                marks=[""] * len(rows),
                layers=[0] * len(rows),
                applied_at=harness.JANUARY if seq < applied else None,
            )
        return OperationRecord.objects.create(kind="rerun", source="api", frozen_set=frozen).pk

    def test_chosen_parents_count_though_they_were_refused(self) -> None:
        """In the selection: by an outcome of an earlier batch, or in the batch that is being applied."""
        tasks, child = family(3)
        generation.generate()
        harness.run_all(*tasks)
        [refused], [beside], [outside], [down] = (instances_of(task) for task in (*tasks, child))
        lifecycle.rerun(ids([refused, beside, outside]))
        lifecycle.claim([hint.execution_id for hint in dispatch(harness.groups(refused))], "w1")
        number = self._operation_on([refused], [beside, down], [outside], applied=1)
        OperationItem.objects.create(operation_id=number, instance_id=refused.pk, outcome=ItemOutcome.REFUSED)
        lifecycle.rerun([down.pk], number, Life(check_parents="selection"))
        counting = Edge.objects.filter(instance=down, waived=False).values_list("upstream_id", flat=True)
        assert set(counting) == {refused.pk, beside.pk}
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 2)
        assert_sound()

    def test_a_removed_edge_counts_in_no_life(self) -> None:
        up, down = pair()
        lifecycle.rerun([up.pk])
        lifecycle.remove_edges(
            [down.pk], edges=[(up.task_id, up.data_time)], user_id=None, reason="wrong table"
        )
        number = operation()
        lifecycle.rerun(ids([up, down]), number, Life(check_parents="all"))
        assert state(down) == "wait_run"
        assert_sound()

    def test_a_parent_that_was_never_generated_counts_if_asked(self) -> None:
        [parent], child = family(1)
        Task.objects.filter(pk=parent.pk).update(status="paused")
        generation.generate()
        [down] = instances_of(child)
        lifecycle.terminate([down.pk])
        lifecycle.rerun([down.pk])
        assert state(down) == "wait_run"
        lifecycle.rerun([down.pk], None, Life(check_parents="all"))
        assert state(down) == "wait_upstream"
        Task.objects.filter(pk=parent.pk).update(status="scheduling")
        generation.generate()
        harness.run_all(parent)
        assert state(down) == "success"
        assert_sound()

    def test_children_that_wait_are_opened_again_and_waived_ones_are_not(self) -> None:
        tasks, child = family(2)
        generation.generate()
        [one], [other], [down] = (instances_of(task) for task in (*tasks, child))
        lifecycle.mark_success([one.pk])
        assert fresh(down).pending_upstream == 1
        lifecycle.rerun([one.pk])
        assert fresh(down).pending_upstream == 2
        # Now a life that waits for the second parent only.
        lifecycle.mark_success([one.pk])
        lifecycle.terminate(ids([down, other]))
        lifecycle.rerun(ids([other, down]), operation())
        lifecycle.rerun([one.pk])
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        assert_sound()

    def test_of_two_parents_that_begin_again_only_the_one_that_counts_is_opened(self) -> None:
        tasks, child = family(3)
        generation.generate()
        ups, [down] = [instances_of(task)[0] for task in tasks], instances_of(child)
        lifecycle.mark_success(ids(ups[:2]))
        lifecycle.terminate(ids([ups[1], ups[2], down]))
        lifecycle.rerun(ids([ups[1], ups[2], down]), operation())
        lifecycle.mark_success([ups[1].pk])
        assert fresh(down).pending_upstream == 1
        lifecycle.rerun(ids(ups[:2]))
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 2)
        waived = Edge.objects.get(instance=down, upstream=ups[0])
        assert (waived.waived, waived.satisfied_at is None) == (True, False)
        assert_sound()


class TestPrevious:
    """The self edge of orderly tasks: the previous period counts if it is in the operation, or if asked for."""

    def _days(self, self_dependency: str = "orderly") -> list[Instance]:
        days = due(3, self_dependency=self_dependency)
        lifecycle.mark_success(ids(days))
        return days

    def test_one_day_of_an_orderly_task_is_rerun_at_once(self) -> None:
        days = self._days()
        lifecycle.rerun([days[0].pk])
        lifecycle.rerun([days[1].pk], operation(), Life(check_parents="all"))
        assert state(days[1]) == "wait_run"
        assert_sound()

    def test_the_previous_period_counts_if_asked_for(self) -> None:
        days = self._days()
        lifecycle.rerun([days[0].pk])
        lifecycle.rerun([days[1].pk], operation(), Life(check_previous=True))
        assert state(days[1]) == "wait_upstream"
        assert_sound()

    def test_days_of_one_operation_follow_one_another(self) -> None:
        days = self._days()
        lifecycle.rerun(ids(days), operation())
        assert [state(day) for day in days] == ["wait_run", "wait_upstream", "wait_upstream"]
        harness.run_all(days[0].task)
        runs = Execution.objects.filter(life_round=1).order_by("run_started_at")
        assert [run.instance_id for run in runs] == ids(days)
        assert_sound()

    @pytest.mark.parametrize("life", [Life(self_dependency="serial"), Life(self_dependency="parallel")])
    def test_another_self_dependency_waives_the_edge(self, life: Life) -> None:
        days = self._days()
        lifecycle.rerun(ids(days), operation(), life)
        assert {state(day) for day in days} == {"wait_run"}
        parallel = life.self_dependency == "parallel"
        assert len(dispatch(harness.groups(*days))) == (3 if parallel else 1)
        assert_sound()

    def test_a_parallelism_stands_in_for_it(self) -> None:
        days = self._days()
        _, touched = lifecycle.rerun(ids(days), operation(), Life(parallelism=2))
        assert {state(day) for day in days} == {"wait_run"}
        assert len(settle(touched)) == 2
        assert_sound()

    @pytest.mark.parametrize("was", ["serial", "parallel"])
    def test_any_task_can_be_told_to_be_orderly(self, was: str) -> None:
        days = self._days(was)
        number = operation()
        lifecycle.rerun(ids(days), number, Life(self_dependency="orderly"))
        assert [state(day) for day in days] == ["wait_run", "wait_upstream", "wait_upstream"]
        harness.run_all(days[0].task)
        assert [state(day) for day in days] == ["success"] * 3
        # And is what it was in the life after that.
        lifecycle.rerun(ids(days), operation())
        assert {state(day) for day in days} == {"wait_run"}
        assert_sound()

    def test_told_to_be_orderly_but_refused_it_waits_for_nothing_new(self) -> None:
        days = self._days("parallel")
        Task.objects.update(rerun_allowed="NONE")
        assert lifecycle.rerun(ids(days), operation(), Life(self_dependency="orderly"))[0] == {}
        assert {fresh(day).pending_upstream for day in days} == {0}
        assert_sound()


class TestRaces:
    def test_a_parent_that_ends_first_is_seen_as_successful(self) -> None:
        up, down = pair()
        lifecycle.rerun([up.pk])
        [claimed] = started(up)
        overtake(
            lambda: lifecycle.finish([good(claimed)]),
            lambda: lifecycle.rerun([down.pk], None, Life(check_parents="all")),
        )
        assert (state(down), fresh(down).pending_upstream) == ("wait_run", 0)
        assert_sound()

    def test_a_parent_that_ends_second_sees_the_edge(self) -> None:
        up, down = pair()
        lifecycle.rerun([up.pk])
        [claimed] = started(up)
        overtake(
            lambda: lifecycle.rerun([down.pk], None, Life(check_parents="all")),
            lambda: lifecycle.finish([good(claimed)]),
        )
        assert (state(down), history(down)[-1]) == ("wait_run", "upstream_met")
        assert_sound()

    def test_a_parent_that_ends_while_its_edge_is_waived(self) -> None:
        up, down = pair()
        lifecycle.rerun([up.pk])
        lifecycle.rerun([down.pk], None, Life(check_parents="all"))
        lifecycle.terminate([down.pk])
        [claimed] = started(up)
        overtake(lambda: lifecycle.rerun([down.pk]), lambda: lifecycle.finish([good(claimed)]))
        assert (state(down), fresh(down).pending_upstream) == ("wait_run", 0)
        assert edge_of(down).satisfied_at is not None
        assert_sound()

    def test_a_parent_that_is_generated_meanwhile(self) -> None:
        [parent], child = family(1)
        Task.objects.filter(pk=parent.pk).update(status="paused")
        generation.generate()
        [down] = instances_of(child)
        lifecycle.terminate([down.pk])
        lifecycle.rerun([down.pk])
        Task.objects.filter(pk=parent.pk).update(status="scheduling")
        overtake(
            lambda: lifecycle.rerun([down.pk], None, Life(check_parents="all")),
            generation.generate,
        )
        harness.run_all(parent)
        assert state(down) == "success"
        assert_sound()

    def test_reruns_of_a_chain_meet_its_runs(self) -> None:
        tasks, child = family(3, days=20, group_slots=8)
        generation.generate()
        parents = [row for task in tasks for row in instances_of(task)]
        children = instances_of(child)
        group = child.resource_group_id

        def work(worker: str) -> Any:
            def run() -> None:
                for _ in range(30):
                    claimed = lifecycle.claim([h.execution_id for h in dispatch([group])], worker)
                    settle(lifecycle.finish([good(c) if c.execution_id % 4 else bad(c) for c in claimed]))

            return run

        def rerun() -> None:
            for number in range(12):
                chosen = ids(parents[number::12] + children[number::6])
                life = Life(check_parents=("none", "all")[number % 2], parallelism=(None, 3)[number // 2 % 2])
                settle(lifecycle.rerun(sorted(chosen), None, life)[1])

        race(work("w1"), work("w2"), rerun)
        assert_sound()
        # And nothing was lost: once no parent stands in the way, everything runs to its end.
        lifecycle.mark_success(list(Instance.objects.filter(state="failed").values_list("id", flat=True)))
        harness.run_out()
        assert set(Instance.objects.values_list("state", flat=True)) == {"success"}
        assert_sound()
