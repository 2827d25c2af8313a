"""What a new life waits for, runs, and with whom: docs/adr/0009-lives.md."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import transaction

from instances import definitions
from instances.engine import generation, lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.generation import Wanted
from instances.engine.lives import Life
from instances.engine.states import InstanceType
from instances.models import (
    Edge,
    Execution,
    FrozenBatch,
    FrozenSet,
    Instance,
    OperationItem,
    OperationRecord,
    StateChange,
    Task,
)
from instances.models.choices import Priority
from instances.models.operation import ItemOutcome
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
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
    make_due,
    overtake,
    race,
    settle,
    started,
    state,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def operation() -> int:
    return OperationRecord.objects.create(kind="rerun", source="api").pk


def pair() -> tuple[Instance, Instance]:
    """A parent and its child, both successful."""
    [parent], child = family(1)
    generation.generate()
    harness.run_all(parent)
    [up], [down] = instances_of(parent), instances_of(child)
    assert (state(up), state(down)) == ("success", "success")
    return up, down


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


class TestPermission:
    @pytest.mark.parametrize(
        ("allowed", "expected"),
        [
            ("ALL", {"success", "failed", "failed_retry", "wait_run"}),
            ("FAILURE", {"failed", "failed_retry"}),
            ("NONE", set()),
        ],
    )
    def test_the_task_says_which_instances_may_be_rerun(self, allowed: str, expected: set[str]) -> None:
        days = due(4, rerun_allowed=allowed, retry_limit=1, retry_wait=DAY, group=make.make_group(1))
        lifecycle.mark_success([days[0].pk])
        lifecycle.terminate([days[1].pk])
        [claimed] = started(*days)
        lifecycle.finish([bad(claimed)])
        states = {day.pk: state(day) for day in days}
        assert set(states.values()) == {"success", "failed", "failed_retry", "wait_run"}
        changed, _ = lifecycle.rerun(ids(days), operation())
        assert changed == {pk: old for pk, old in states.items() if old in expected}
        assert {pk: fresh(day).life_round for pk, day in zip(ids(days), days, strict=True)} == {
            pk: int(old in expected) for pk, old in states.items()
        }
        assert_sound()


class TestWhatItRuns:
    def _ran(self) -> Instance:
        """An instance that has run version 1; version 2 is there now, with other parameters."""
        task = make_due(1, code="echo ${word}", parameters={"word": "one", "place": "here"}, retry_limit=3)
        generation.generate()
        [day] = instances_of(task)
        lifecycle.finish([good(started(day)[0])])
        task.code, task.parameters = "echo again ${word}", {"word": "two", "place": "there", "more": "1"}
        task.save()
        definitions.submit(task, user=None)
        return day

    def test_latest_is_the_version_at_dispatch(self) -> None:
        day = self._ran()
        lifecycle.rerun([day.pk])
        task = Task.objects.get(pk=day.task_id)
        task.code = "echo third ${word}"
        task.save()
        definitions.submit(task, user=None)
        [claimed] = started(day)
        task.refresh_from_db()
        assert claimed.version_id == task.current_version_id
        assert claimed.parameters == {"word": "two", "place": "there", "more": "1"}

    def test_as_it_ran_is_version_and_parameters_of_the_last_run_under_the_override(self) -> None:
        day = self._ran()
        old = Execution.objects.get()
        lifecycle.rerun([day.pk], None, Life(code="as_it_ran", parameters={"place": "elsewhere"}))
        assert fresh(day).version_id == old.version_id
        [claimed] = started(day)
        assert claimed.version_id == old.version_id
        assert claimed.parameters == {"word": "one", "place": "elsewhere"}

    def test_as_it_ran_looks_past_lives_that_never_ran(self) -> None:
        day = self._ran()
        old = Execution.objects.get()
        lifecycle.rerun([day.pk])
        dispatch(harness.groups(day))
        lifecycle.terminate([day.pk])
        lifecycle.rerun([day.pk], None, Life(code="as_it_ran"))
        [claimed] = started(day)
        assert (claimed.version_id, claimed.parameters) == (old.version_id, old.parameters)

    def test_as_it_ran_of_one_that_never_ran_is_the_latest(self) -> None:
        [day] = due(code="true", parameters={"a": "b"})
        lifecycle.rerun([day.pk], None, Life(code="as_it_ran"))
        [claimed] = started(day)
        assert (claimed.version_id, claimed.parameters) == (day.task.current_version_id, {"a": "b"})

    def test_overrides_hold_for_one_life_and_all_its_tries(self) -> None:
        day = self._ran()
        life = Life(parameters={"word": "special"}, application_parameters={"spark.executor.cores": "4"})
        lifecycle.rerun([day.pk], None, life)
        [first] = started(day)
        assert (first.parameters["word"], first.parameters["place"]) == ("special", "there")
        settle(lifecycle.finish([bad(first)]))
        [second] = lifecycle.claim([h.execution_id for h in settle(lifecycle.retry_due())], "w1")
        assert (second.try_number, second.parameters) == (1, first.parameters)
        both = Execution.objects.filter(life_round=1).values_list("application_parameters", flat=True)
        assert list(both) == [{"spark.executor.cores": "4"}] * 2
        lifecycle.finish([good(second)])
        lifecycle.rerun([day.pk])
        assert (fresh(day).overrides, fresh(day).application_parameters) == ({}, {})
        [third] = started(day)
        assert third.parameters["word"] == "two"
        assert Execution.objects.get(pk=third.execution_id).application_parameters == {}

    def test_as_it_ran_keeps_the_application_parameters_too(self) -> None:
        day = self._ran()
        lifecycle.rerun([day.pk], None, Life(application_parameters={"a": "1", "b": "1"}))
        lifecycle.finish([good(started(day)[0])])
        lifecycle.rerun([day.pk], None, Life(code="as_it_ran", application_parameters={"b": "2"}))
        [claimed] = started(day)
        assert Execution.objects.get(pk=claimed.execution_id).application_parameters == {"a": "1", "b": "2"}


class TestWhere:
    def test_group_priority_plan_and_kind_of_run(self) -> None:
        [day] = due(priority=Priority.MEDIUM)
        other = make.make_group()
        life = Life(run_type="ADDITION", resource_group_id=other.pk, priority_offset=-10, plan_id=7)
        _, touched = lifecycle.rerun([day.pk], operation(), life)
        row = fresh(day)
        assert (row.resource_group_id, row.priority, row.plan_id, row.run_type) == (
            other.pk,
            -8,
            7,
            "ADDITION",
        )
        assert other.pk in touched.groups
        [claimed] = started(row)
        assert (claimed.group_id, claimed.run_type) == (other.pk, "ADDITION")
        lifecycle.finish([good(claimed)])
        lifecycle.rerun([day.pk])
        row = fresh(day)
        assert (row.resource_group_id, row.priority, row.plan_id) == (day.resource_group_id, 2, None)
        assert_sound()

    def test_a_serial_task_in_two_groups_hands_over_its_turn(self) -> None:
        """The one that waits lives in another group than the one that ends."""
        days = due(2, self_dependency="serial")
        lifecycle.rerun([days[1].pk], None, Life(resource_group_id=make.make_group().pk))
        [claimed] = started(days[0])
        assert dispatch(harness.groups(fresh(days[1]))) == []
        assert len(settle(lifecycle.finish([good(claimed)]))) == 1
        assert fresh(days[1]).queue == "taken"
        assert_sound()

    def test_told_to_be_serial_many_follow_one_another(self) -> None:
        days = due(4)
        lifecycle.rerun(ids(days), operation(), Life(self_dependency="serial"))
        ran = []
        claimed = started(*days)
        while claimed:
            [one] = claimed
            ran.append(one.instance_id)
            claimed = lifecycle.claim(
                [hint.execution_id for hint in settle(lifecycle.finish([good(one)]))], "w1"
            )
        assert ran == ids(days)
        assert_sound()

    def test_told_to_be_parallel_one_runs_beside_its_serial_task(self) -> None:
        days = due(3, self_dependency="serial")
        lifecycle.rerun([days[2].pk], None, Life(self_dependency="parallel"))
        assert {c.instance_id for c in started(*days)} == {days[0].pk, days[2].pk}
        assert_sound()

    @pytest.mark.parametrize("self_dependency", ["parallel", "serial"])
    def test_a_life_that_waits_for_its_own_dying_child_starts_when_that_is_dead(
        self, self_dependency: str
    ) -> None:
        days = due(3, self_dependency="serial")
        [claimed] = started(*days)
        lifecycle.mark_success([days[0].pk])
        life = Life(self_dependency=self_dependency)
        assert settle(lifecycle.rerun([days[0].pk], None, life)[1]) == []
        given = settle(lifecycle.finish([bad(claimed)]))
        assert fresh(days[0]).queue == "taken"
        assert len(given) == (2 if self_dependency == "parallel" else 1)
        assert_sound()


class TestTheLife:
    @pytest.mark.parametrize(
        "options",
        [
            {"check_parents": "some"},
            {"code": "newest"},
            {"self_dependency": "random"},
            {"parallelism": 0},
            {"parallelism": 2, "self_dependency": "serial"},
            {"lane": -1},
            {"lane": 5, "parallelism": 2},
        ],
    )
    def test_options_that_cannot_be(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError):
            Life(**options)

    def test_the_history_says_which_operation_and_where_it_went(self) -> None:
        up, down = pair()
        number = operation()
        lifecycle.rerun(ids([up, down]), number)
        rows = StateChange.objects.filter(operation_id=number).values_list("move", "from_state", "to_state")
        assert sorted(rows) == [("rerun", "success", "wait_run"), ("rerun", "success", "wait_upstream")]

    def test_the_waiting_timeout_begins_anew(self) -> None:
        up, down = pair()
        Task.objects.filter(pk=down.task_id).update(wait_timeout=DAY)
        lifecycle.rerun(ids([up, down]), operation())
        row = fresh(down)
        assert row.wait_deadline == row.wait_since + DAY


class TestFresh:
    """Instances generated in the same transaction: their first life is decided with the new lives of the others."""

    def _make(self, task: Task, data_time: dt.datetime) -> Instance:
        wanted = Wanted(
            task.pk, task.schedule(), data_time, data_time, instance_type=InstanceType.SUPPLEMENTARY
        )
        generation.create([wanted])
        return Instance.objects.get(pk=wanted.instance_id)

    def test_parents_and_children_old_and_new(self) -> None:
        [parent], child = family(1)
        generation.generate()
        harness.run_all(parent)
        [old_up], [old_down] = instances_of(parent), instances_of(child)
        life = Life(run_type="ADDITION", plan_id=3, priority_offset=-10)
        with transaction.atomic():
            generation.lock()
            # A day earlier: both are missing. And of a third task, that waits for what existed already.
            up = self._make(parent, old_up.data_time - DAY)
            down = self._make(child, old_up.data_time - DAY)
            assert state(down) == "wait_upstream"
            changed, touched = lifecycle.rerun(
                ids([old_up, old_down]), operation(), life, fresh=ids([up, down])
            )
        assert changed == {old_up.pk: "success", old_down.pk: "success"}
        assert touched.instances == 4
        assert [state(row) for row in (up, down, old_up, old_down)] == ["wait_run", "wait_upstream"] * 2
        for row in (up, down):
            new = fresh(row)
            assert (new.life_round, new.plan_id, new.priority, new.run_type) == (0, 3, -8, "ADDITION")
        harness.run_all(parent)
        assert {state(row) for row in (up, down, old_up, old_down)} == {"success"}
        assert_sound()

    def test_parents_outside_are_waived_and_those_of_the_same_plan_count(self) -> None:
        [one, other], child = family(2)
        generation.generate()
        [mine], [foreign] = instances_of(one), instances_of(other)
        day = mine.data_time
        Instance.objects.filter(task=child).delete()
        life = Life(run_type="ADDITION", plan_id=4)
        lifecycle.rerun([mine.pk], operation(), life)
        with transaction.atomic():
            generation.lock()
            down = self._make(child, day)
            assert fresh(down).pending_upstream == 2
            lifecycle.rerun([], operation(), life, fresh=[down.pk])
        assert (state(down), fresh(down).pending_upstream) == ("wait_upstream", 1)
        lifecycle.mark_success([mine.pk])
        assert (state(down), state(foreign)) == ("wait_run", "wait_run")
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
