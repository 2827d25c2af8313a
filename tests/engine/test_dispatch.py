"""Dispatch: who gets a slot, in which order, and what an execution is frozen with."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from instances import task_operations
from instances.engine import generation, lifecycle, maintenance
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Claimed, Touched
from instances.models import Execution, Instance, Task
from instances.models.choices import Priority
from instances.task_operations import Pause
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    JANUARY,
    _django_db_helper,
    age_leases,
    assert_sound,
    bad,
    due,
    fresh,
    good,
    ids,
    instances_of,
    make_due,
    settle,
    started,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def dispatched(*instances: Instance) -> list[Instance]:
    """The instances that get a slot now, in the order of their hints."""
    hints = dispatch(harness.groups(*instances))
    of = dict(Execution.objects.filter(pk__in=[h.execution_id for h in hints]).values_list("pk", "instance"))
    by_pk = {instance.pk: instance for instance in instances}
    return [by_pk[of[hint.execution_id]] for hint in hints]


class TestOrder:
    def test_priority_then_planned_time_then_age(self) -> None:
        group = make.make_group(100)
        low, high, medium = (
            due(3, group=group, priority=priority)
            for priority in (Priority.LOW, Priority.HIGH, Priority.MEDIUM)
        )
        assert dispatched(*low, *high, *medium) == [*high, *medium, *low]

    def test_few_slots_go_to_the_first(self) -> None:
        group = make.make_group(2)
        late = due(2, group=group, since=JANUARY + 10 * DAY)
        early = due(1, group=group)
        assert dispatched(*late, *early) == [early[0], late[0]]
        assert dispatched(*late, *early) == []

    def test_hints_of_a_large_batch_are_in_order(self) -> None:
        group = make.make_group(1000)
        days = [row for n in range(8) for row in due(40, group=group, priority=1 + n % 3)]
        expected = sorted(days, key=lambda row: (-row.priority, row.planned_time, row.pk))
        assert dispatched(*days) == expected

    @pytest.mark.parametrize("joins", ["nestloop", "hashjoin", "mergejoin"])
    def test_of_a_serial_task_the_first_in_order_runs(self, joins: str) -> None:
        """Also when many of several serial tasks are met in one pass, whatever way the planner joins them."""
        group = make.make_group(200)
        tasks = [due(8, group=group, self_dependency="serial") for _ in range(4)]
        with transaction.atomic(), connection.cursor() as cursor:
            for other in {"nestloop", "hashjoin", "mergejoin"} - {joins}:
                cursor.execute(f"SET LOCAL enable_{other} = off")
            first = dispatched(*[row for rows in tasks for row in rows])
        assert first == [rows[0] for rows in tasks]
        assert_sound()

    def test_not_before_its_time(self) -> None:
        [day] = due()
        Instance.objects.filter(pk=day.pk).update(not_before=dt.datetime.now(dt.UTC) + DAY)
        assert dispatched(day) == []

    def test_all_free_slots_are_given_however_many(self) -> None:
        group = make.make_group(4000)
        due(2500, group=group, since=dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
        assert len(dispatch([group.pk])) == 2500


class TestGroups:
    def test_a_disabled_group_starts_nothing_until_it_is_enabled(self) -> None:
        [day] = due(self_dependency="serial")
        group = day.resource_group
        group.enabled = False
        group.save(update_fields=["enabled"])
        assert dispatch([group.pk]) == []
        with harness.captured_hints() as sent:
            maintenance.sweep()
            assert sent == []
            group.enabled = True
            group.save(update_fields=["enabled"])
            maintenance.sweep()
            assert len(sent) == 1

    def test_fewer_slots_than_are_taken_is_no_error(self) -> None:
        days = due(4, group=make.make_group(3))
        claimed = started(*days)
        group = days[0].resource_group
        group.slots = 1
        group.save(update_fields=["slots"])
        assert settle(lifecycle.finish([good(claimed[0])])) == []
        assert settle(lifecycle.finish([good(claimed[1])])) == []
        assert len(settle(lifecycle.finish([good(claimed[2])]))) == 1

    def test_one_group_does_not_take_from_another(self) -> None:
        [one], [other] = due(), due()
        assert dispatched(one) == [one]
        assert dispatched(other) == [other]


def _fail(claimed: Claimed) -> Touched:
    return lifecycle.finish([bad(claimed)])


def _succeed(claimed: Claimed) -> Touched:
    return lifecycle.finish([good(claimed)])


def _requeue_and_end(claimed: Claimed) -> Touched:
    touched = lifecycle.finish(
        [lifecycle.Result(claimed.execution_id, claimed.token, ok=False, requeue=True)]
    )
    touched.add(lifecycle.terminate([claimed.instance_id])[1])
    return touched


def _terminate(claimed: Claimed) -> Touched:
    touched = lifecycle.terminate([claimed.instance_id])[1]
    touched.add(lifecycle.finish([bad(claimed, "TERMINATED")]))
    return touched


def _mark_success(claimed: Claimed) -> Touched:
    touched = lifecycle.mark_success([claimed.instance_id])[1]
    assert dispatch([claimed.group_id], touched.serial_tasks) == [], "the child is not dead yet"
    touched.add(lifecycle.finish([bad(claimed, "TERMINATED")]))
    return touched


def _lose(claimed: Claimed) -> Touched:
    age_leases(claimed.execution_id)
    return lifecycle.expire(harness.lease_seconds())


ENDINGS = [_succeed, _fail, _requeue_and_end, _terminate, _mark_success, _lose]


class TestSerial:
    @pytest.mark.parametrize("end", ENDINGS, ids=[end.__name__.strip("_") for end in ENDINGS])
    def test_the_next_gets_its_turn_however_the_one_before_ends(
        self, end: Callable[[Claimed], Touched]
    ) -> None:
        days = due(5, self_dependency="serial")
        ran = []
        claimed = started(*days)
        while claimed:
            [one] = claimed
            ran.append(one.instance_id)
            claimed = lifecycle.claim([hint.execution_id for hint in settle(end(one))], "w1")
        assert ran == [day.pk for day in days]
        assert_sound()

    @pytest.mark.parametrize("operation", [lifecycle.terminate, lifecycle.mark_success])
    def test_the_next_gets_its_turn_when_a_dispatched_one_is_taken_away(
        self, operation: Callable[..., Any]
    ) -> None:
        days = due(3, self_dependency="serial")
        assert dispatched(*days) == [days[0]]
        assert len(settle(operation([days[0].pk])[1])) == 1
        assert fresh(days[1]).queue == "taken"
        assert_sound()

    def test_a_rerun_takes_its_place_in_the_order_again(self) -> None:
        days = due(3, self_dependency="serial")
        assert dispatched(*days) == [days[0]]
        assert len(settle(lifecycle.rerun([days[0].pk])[1])) == 1
        assert [fresh(day).queue for day in days] == ["taken", "gated", "gated"]
        assert_sound()

    def test_a_waiting_retry_holds_nobody_up(self) -> None:
        days = due(2, self_dependency="serial", retry_limit=1, retry_wait=DAY)
        assert len(settle(_fail(started(*days)[0]))) == 1
        assert [fresh(day).state for day in days] == ["failed_retry", "wait_run"]
        assert fresh(days[1]).queue == "taken"

    def test_a_lost_turn_is_found_by_the_sweeper(self) -> None:
        days = due(3, self_dependency="serial")
        # The worker died between its report and the dispatch that should follow.
        _succeed(started(*days)[0])
        assert dispatch(harness.groups(*days)) == []
        with harness.captured_hints() as sent:
            maintenance.sweep()
        assert len(sent) == 1
        assert fresh(days[1]).queue == "taken"

    def test_the_sweeper_finds_every_task_that_stands_still_and_no_other(self) -> None:
        group = make.make_group(100)
        still = [due(3, group=group, self_dependency="serial") for _ in range(5)]
        moving = [due(3, group=group, self_dependency="serial") for _ in range(5)]
        claimed = started(still[0][0])
        ended = [one for one in claimed if one.task_id in {days[0].task_id for days in still}]
        lifecycle.finish([good(one) for one in ended])
        with harness.captured_hints() as sent:
            maintenance.sweep()
        assert len(sent) == 5
        assert [[fresh(day).queue for day in days] for days in moving] == [["taken", "gated", "gated"]] * 5
        assert_sound()

    def test_serial_tasks_do_not_hold_up_others(self) -> None:
        group = make.make_group(3)
        many = due(50, group=group, self_dependency="serial", priority=Priority.HIGH)
        [other] = due(group=group, priority=Priority.LOW)
        assert dispatched(*many, other) == [many[0], other]

    def test_a_task_made_parallel_frees_all_its_instances(self) -> None:
        days = due(6, self_dependency="serial")
        [claimed] = started(*days)
        Task.objects.filter(pk=days[0].task_id).update(self_dependency="parallel")
        assert len(settle(_succeed(claimed))) == 5
        assert_sound()

    def test_one_whose_old_child_still_dies_does_not_use_up_the_turn(self) -> None:
        days = due(4, self_dependency="serial")
        lifecycle.terminate(ids(days[1:]))
        [dying] = started(*days)
        lifecycle.mark_success([days[0].pk])
        # Its old child runs beside the order; the next life of it is serial again, like the others.
        Execution.objects.update(serial_task_id=None)
        lifecycle.rerun(ids(days))
        [claimed] = started(*days)
        assert [fresh(day).queue for day in days] == ["gated", "taken", "gated", "gated"]
        settle(_succeed(claimed))
        assert [fresh(day).queue for day in days[2:]] == ["taken", "gated"]
        [claimed] = lifecycle.claim(
            list(Execution.objects.filter(state="dispatched").values_list("id", flat=True)), "w1"
        )
        lifecycle.finish([bad(dying)])
        settle(_succeed(claimed))
        assert [fresh(days[0]).queue, fresh(days[3]).queue] == ["taken", "gated"]
        assert_sound()

    def test_marked_and_rerun_lives_wait_for_their_own_children_only(self) -> None:
        """Parallel: each new life waits until the child of its old one is dead, and starts as soon as it is."""
        days = due(3)
        claimed = {c.instance_id: c for c in started(*days)}
        lifecycle.mark_success(harness.ids(days))
        assert settle(lifecycle.rerun(harness.ids(days))[1]) == []
        for day in reversed(days):
            assert len(settle(_fail(claimed[day.pk]))) == 1
            assert fresh(day).queue == "taken"
        assert_sound()


class TestSnapshot:
    """Code and parameters freeze when a life is first dispatched; a new life takes what is defined by then."""

    def _task(self) -> Task:
        return make_due(
            1, code="echo ${word} ${place}", parameters={"word": "one", "place": "here"}, retry_limit=9
        )

    def _change(self, task: Task) -> None:
        task.code, task.parameters = "echo again ${word}", {"word": "two", "place": "here"}
        task.save()
        make.submit(task)

    def test_layers_of_parameters(self) -> None:
        project = make.make_project(
            parameters={"a": "project", "b": "project", "c": "project", "d": "project"}
        )
        workflow = make.make_workflow(project, parameters={"b": "workflow", "c": "workflow", "d": "workflow"})
        task = make_due(1, workflow=workflow, code="true", parameters={"c": "task", "d": "task"})
        generation.generate()
        [day] = instances_of(task)
        Instance.objects.filter(pk=day.pk).update(overrides={"d": "operation"})
        [claimed] = started(day)
        assert claimed.parameters == {"a": "project", "b": "workflow", "c": "task", "d": "operation"}

    def test_a_retry_keeps_them(self) -> None:
        task = self._task()
        generation.generate()
        [day] = instances_of(task)
        [first] = started(day)
        self._change(task)
        touched = lifecycle.finish([bad(first)])
        assert touched.retry_now
        [second] = lifecycle.claim([h.execution_id for h in settle(lifecycle.retry_due())], "w1")
        assert (second.version_id, second.parameters) == (first.version_id, first.parameters)
        assert (second.life_round, second.try_number) == (0, 1)

    def test_a_requeued_run_keeps_them(self) -> None:
        task = self._task()
        generation.generate()
        [day] = instances_of(task)
        [first] = started(day)
        self._change(task)
        lifecycle.finish([lifecycle.Result(first.execution_id, first.token, ok=False, requeue=True)])
        [second] = started(day)
        assert (second.version_id, second.parameters) == (first.version_id, first.parameters)
        assert (second.life_round, second.try_number) == (0, 0)
        assert (fresh(day).tries, fresh(day).total_runs) == (0, 2)

    def test_a_new_life_takes_the_present_ones(self) -> None:
        task = self._task()
        generation.generate()
        [day] = instances_of(task)
        [first] = started(day)
        self._change(task)
        lifecycle.finish([good(first)])
        lifecycle.rerun([day.pk])
        [second] = started(day)
        assert second.version_id == task.current_version_id
        assert second.parameters == {"word": "two", "place": "here"}
        assert (second.life_round, second.try_number, second.run_type) == (1, 0, "RERUN")

    def test_what_is_saved_but_not_submitted_does_not_run(self) -> None:
        task = self._task()
        generation.generate()
        Task.objects.filter(pk=task.pk).update(parameters={"word": "draft"}, code="echo draft")
        [claimed] = started(*instances_of(task))
        assert claimed.parameters["word"] == "one"

    def test_an_instance_with_a_version_of_its_own_runs_that(self) -> None:
        task = self._task()
        old = task.current_version_id
        generation.generate()
        [day] = instances_of(task)
        self._change(task)
        Instance.objects.filter(pk=day.pk).update(version=old)
        [claimed] = started(day)
        assert (claimed.version_id, claimed.parameters["word"]) == (old, "one")


class TestDryRun:
    def test_a_dry_run_is_instant_and_succeeds_without_running(self) -> None:
        [day] = due(dry_run=True, code="exit 1")
        [hint] = dispatch(harness.groups(day))
        assert hint.instant
        [claimed] = lifecycle.claim([hint.execution_id], "w1")
        assert claimed.instant
        assert Execution.objects.get().dry_run

    def test_virtual_tasks_are_instant_shell_tasks_are_not(self) -> None:
        [virtual], [shell] = due(), due(code="true")
        assert [hint.instant for hint in dispatch(harness.groups(virtual))] == [True]
        assert [hint.instant for hint in dispatch(harness.groups(shell))] == [False]

    def test_switching_it_off_counts_for_what_is_dispatched_later(self) -> None:
        days = due(2, dry_run=True, group=make.make_group(1))
        assert started(*days)[0].dry_run
        Task.objects.filter(pk=days[0].task_id).update(dry_run=False)
        lifecycle.terminate([days[0].pk])
        task_operations.apply(Pause(), [days[0].task_id], user=None)
        with harness.captured_hints():
            age_leases(*Execution.objects.values_list("pk", flat=True))
            settle(lifecycle.expire(harness.lease_seconds()))
        assert [e.dry_run for e in Execution.objects.order_by("id")] == [True, False]


class TestLostHints:
    def test_they_are_sent_again_until_somebody_claims(self) -> None:
        [day] = due()
        [hint] = dispatch(harness.groups(day))
        assert maintenance.lost_hints(older_than=3600) == []
        assert maintenance.lost_hints(older_than=0) == [hint]
        assert maintenance.lost_hints(older_than=3600) == []
        lifecycle.claim([hint.execution_id], "w1")
        assert maintenance.lost_hints(older_than=0) == []

    def test_two_sweepers_send_each_once(self) -> None:
        days = due(20, group=make.make_group(20))
        dispatch(harness.groups(*days))
        Execution.objects.update(hinted_at=JANUARY)
        sent = harness.race(*[lambda: maintenance.lost_hints(older_than=60)] * 3)
        assert sum(len(hints) for hints in sent) == 20
