"""What a new life runs, where and beside whom, and who may have one: docs/adr/0009-lives.md."""

import datetime as dt
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
    Execution,
    Instance,
    StateChange,
    Task,
)
from instances.models.choices import Priority
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
    ids,
    instances_of,
    make_due,
    settle,
    started,
    state,
)
from tests.engine.scenes import operation, pair

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


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
