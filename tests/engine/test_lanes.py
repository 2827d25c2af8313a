"""Lanes: at most N at once, over tasks and resource groups; a free place is never left empty for long."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from instances.engine import generation, lanes, lifecycle
from instances.engine.dispatch import dispatch, follow
from instances.engine.lifecycle import Claimed, Touched
from instances.engine.lives import Life
from instances.models import Execution, Instance, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    _django_db_helper,
    age_leases,
    assert_sound,
    bad,
    due,
    family,
    fresh,
    good,
    ids,
    instances_of,
    settle,
    started,
    state,
)
from tests.engine.scenes import LANE, claims_of, in_lane, on, on_of

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class TestTheLimit:
    def test_so_many_are_on_at_once_in_the_order_of_the_queue(self) -> None:
        days = due(5)
        in_lane(days)
        assert on_of(days) == ids(days[:2])
        assert [fresh(day).queue for day in days] == ["taken", "taken", "gated", "gated", "gated"]
        assert set(Execution.objects.values_list("lane_place", flat=True)) == {1, 2}
        assert_sound()

    def test_it_stands_in_for_the_self_dependency(self) -> None:
        days = due(5, self_dependency="serial")
        in_lane(days, 3)
        assert on_of(days) == ids(days[:3])
        assert not Execution.objects.exclude(serial_task_id=None).exists()
        assert_sound()

    def test_it_holds_over_tasks_and_groups(self) -> None:
        tasks = [due(3, group=make.make_group(), self_dependency="serial") for _ in range(3)]
        for days in tasks:
            in_lane(days, 4)
        assert on() == 4
        assert_sound()

    def test_a_lane_for_each_operation_and_task_if_none_is_named(self) -> None:
        group = make.make_group(100)
        one, other = due(4, group=group), due(4, group=group)
        life = Life(parallelism=1)
        _, touched = lifecycle.rerun(ids(one[:2] + other[:2]), 5, life)
        touched.add(lifecycle.rerun(ids(one[2:] + other[2:]), 6, life)[1])
        assert len(touched.lanes) == 4
        settle(touched)
        assert [len(on_of(rows)) for rows in (one[:2], one[2:], other[:2], other[2:])] == [1] * 4
        assert_sound()

    def test_slots_of_the_group_count_as_well(self) -> None:
        days = due(5, group=make.make_group(1))
        in_lane(days, 3)
        assert on() == 1
        assert_sound()

    def test_retries_and_requeued_runs_need_a_place_too(self) -> None:
        days = due(4, retry_limit=3)
        claimed = lifecycle.claim(in_lane(days), "w1")
        first, second = sorted(claimed, key=lambda c: c.instance_id)
        settle(lifecycle.finish([bad(first)]))
        assert on_of(days) == ids(days[1:3])
        settle(lifecycle.retry_due())
        assert (state(days[0]), fresh(days[0]).queue, on()) == ("wait_run", "gated", 2)
        # The place goes to whoever is first in the queue: the retry.
        settle(
            lifecycle.finish([lifecycle.Result(second.execution_id, second.token, ok=False, requeue=True)])
        )
        assert on_of(days) == ids([days[0], days[2]])
        assert fresh(days[1]).queue == "gated"
        assert_sound()

    def test_children_released_into_the_lane_wait_for_a_place(self) -> None:
        tasks, child = family(1, days=4)
        generation.generate()
        harness.run_all(child)
        up, down = instances_of(tasks[0]), instances_of(child)
        number = 9
        lifecycle.rerun(ids(up), number)
        lifecycle.rerun(ids(down), number, Life(parallelism=1, lane=LANE))
        assert {state(row) for row in down} == {"wait_upstream"}
        settle(lifecycle.mark_success(ids(up))[1])
        assert on_of(down) == [down[0].pk]
        assert Counter(fresh(row).queue for row in down) == {"taken": 1, "gated": 3}
        harness.run_out()
        assert {state(row) for row in down} == {"success"}
        assert_sound()

    def test_a_smaller_limit_counts_what_is_on(self) -> None:
        """Some of the lane's instances are given a smaller limit while many of them run."""
        days = due(6)
        lifecycle.terminate(ids(days[4:]))
        claimed = lifecycle.claim(in_lane(days[:4], 4), "w1")
        assert in_lane(days[4:], 2) == []
        first, *rest = sorted(claimed, key=lambda c: c.instance_id)
        assert settle(lifecycle.finish([good(first)])) == []
        # Place 1 is free now, but three are on: nor does one that stands in the queue get it.
        Instance.objects.filter(pk__in=ids(days[4:])).update(queue="ready")
        assert dispatch(harness.groups(*days)) == []
        given = [len(settle(lifecycle.finish([good(c)]))) for c in rest]
        assert given == [0, 1, 1]
        assert_sound()

    def test_the_database_refuses_a_second_one_in_a_place(self) -> None:
        days = due(2)
        in_lane(days, 2)
        with pytest.raises(IntegrityError, match="execution_one_in_lane"), transaction.atomic():
            Execution.objects.filter(lane_place=2).update(lane_place=1)


def _succeed(claimed: Claimed) -> Touched:
    return lifecycle.finish([good(claimed)])


def _fail(claimed: Claimed) -> Touched:
    return lifecycle.finish([bad(claimed)])


def _terminate(claimed: Claimed) -> Touched:
    touched = lifecycle.terminate([claimed.instance_id])[1]
    assert settle(touched) == [], "the child is not dead yet"
    return lifecycle.finish([bad(claimed, "TERMINATED")])


def _mark_success(claimed: Claimed) -> Touched:
    touched = lifecycle.mark_success([claimed.instance_id])[1]
    assert settle(touched) == [], "the child is not dead yet"
    return lifecycle.finish([bad(claimed, "TERMINATED")])


def _mark_and_rerun_elsewhere(claimed: Claimed) -> Touched:
    """Its next life is in no lane; its dying child still holds the place."""
    lifecycle.mark_success([claimed.instance_id])
    assert settle(lifecycle.rerun([claimed.instance_id])[1]) == []
    touched = lifecycle.finish([bad(claimed, "TERMINATED")])
    lifecycle.terminate([claimed.instance_id])
    return touched


def _lose(claimed: Claimed) -> Touched:
    age_leases(claimed.execution_id)
    return lifecycle.expire(harness.lease_seconds())


def _operate(operation: Callable[[list[int]], tuple[dict[int, str], Touched]], claimed: int) -> Touched:
    return operation([claimed])[1]


RUN_ENDINGS = [_succeed, _fail, _terminate, _mark_success, _mark_and_rerun_elsewhere, _lose]


class TestTheNext:
    @pytest.mark.parametrize("end", RUN_ENDINGS, ids=[end.__name__.strip("_") for end in RUN_ENDINGS])
    def test_it_is_let_in_however_the_one_before_ends(self, end: Callable[[Claimed], Touched]) -> None:
        days = due(5)
        ran = []
        claimed = lifecycle.claim(in_lane(days, 1), "w1")
        while claimed:
            [one] = claimed
            ran.append(one.instance_id)
            claimed = lifecycle.claim([hint.execution_id for hint in settle(end(one))], "w1")
        assert ran == ids(days)
        assert_sound()

    @pytest.mark.parametrize(
        "operation",
        [
            lifecycle.terminate,
            lifecycle.mark_success,
            lifecycle.freeze,
            partial(lifecycle.rerun, operation=3),
        ],
        ids=["terminate", "mark_success", "freeze", "rerun"],
    )
    def test_it_is_let_in_when_a_dispatched_one_is_taken_away(self, operation: Callable[..., Any]) -> None:
        days = due(3)
        in_lane(days, 1)
        settle(operation([days[0].pk])[1])
        assert days[1].pk in on_of(days)
        assert on() == 1
        assert_sound()

    def test_it_may_belong_to_another_group(self) -> None:
        one, other = due(1, group=make.make_group(1)), due(1, group=make.make_group(1))
        [execution] = in_lane(one, 1)
        assert in_lane(other, 1) == []
        [claimed] = lifecycle.claim([execution], "w1")
        touched = lifecycle.finish([good(claimed)])
        assert other[0].resource_group_id not in touched.groups
        assert len(settle(touched)) == 1
        assert on_of(other) == ids(other)
        assert_sound()

    def test_a_full_group_does_not_keep_the_place_from_another(self) -> None:
        """First in the lane is one whose group has no slot; the place goes to one whose group has."""
        full, free = make.make_group(1), make.make_group(1)
        blocker, [first], [second] = due(1, group=full), due(1, group=full), due(1, group=free)
        running = due(1, group=make.make_group(1))
        [claimed] = lifecycle.claim(in_lane(running, 1), "w1")
        started(*blocker)
        in_lane([first, second], 1)
        assert [fresh(first).queue, fresh(second).queue] == ["gated", "gated"]
        settle(lifecycle.finish([good(claimed)]))
        assert on_of([first, second]) == [second.pk]
        assert_sound()

    @pytest.mark.parametrize(
        "go_away",
        [lifecycle.terminate, lifecycle.mark_success, lifecycle.freeze, lifecycle.rerun],
        ids=["terminate", "mark_success", "freeze", "rerun"],
    )
    def test_the_one_let_in_goes_away_and_the_next_takes_the_place(self, go_away: Callable[..., Any]) -> None:
        """Let in, it waits for a slot of its group; when it leaves the lane there, its turn is not lost."""
        # With statistics of empty tables the planner once chose a plan that let in two.
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE instances_instance, instances_execution")
        [running] = due(1, group=make.make_group(1))
        [claimed] = lifecycle.claim(in_lane([running], 1), "w1")
        group = make.make_group(1)
        [blocker] = started(*due(1, group=group))
        days = due(2, group=group)
        in_lane(days, 1)
        settle(lifecycle.finish([good(claimed)]))
        assert [fresh(day).queue for day in days] == ["ready", "gated"]
        settle(go_away([days[0].pk])[1])
        assert fresh(days[1]).queue == "ready"
        lifecycle.terminate([pk for pk in ids(days[:1]) if go_away is lifecycle.rerun])
        settle(lifecycle.finish([good(blocker)]))
        assert on_of(days) == [days[1].pk]
        assert_sound()

    def test_a_life_begins_in_the_lane_when_its_old_child_is_dead(self) -> None:
        [day] = due()
        [claimed] = started(day)
        lifecycle.mark_success([day.pk])
        assert in_lane([day]) == []
        assert len(settle(lifecycle.finish([bad(claimed)]))) == 1
        assert on() == 1
        assert_sound()

    def test_one_whose_old_child_still_dies_keeps_no_place_from_others(self) -> None:
        days = due(3)
        lifecycle.terminate(ids(days[1:]))
        [claimed] = started(days[0])
        lifecycle.mark_success([days[0].pk])
        in_lane(days, 1)
        assert on_of(days) == ids(days[:2]), "the old child, and the next of the lane"
        settle(lifecycle.finish([bad(claimed)]))
        assert on_of(days) == [days[1].pk]
        settle(lifecycle.finish([good(c) for c in claims_of(days)]))
        assert on_of(days) == [days[0].pk]
        assert_sound()

    def test_a_lost_turn_is_found_by_the_sweeper(self) -> None:
        days = due(3)
        [claimed] = lifecycle.claim(in_lane(days, 1), "w1")
        # The worker died between its report and the dispatch that should follow.
        lifecycle.finish([good(claimed)])
        assert dispatch(harness.groups(*days)) == []
        assert lanes.with_room() == {LANE}
        with harness.captured_hints() as sent:
            harness.maintenance.sweep()
        assert len(sent) == 1
        assert lanes.with_room() == set()
        assert_sound()

    def test_lives_that_nobody_dispatched_are_found_too(self) -> None:
        days = due(3)
        lifecycle.rerun(ids(days), None, Life(parallelism=2, lane=LANE))
        with harness.captured_hints() as sent:
            harness.maintenance.sweep()
        assert len(sent) == 2
        assert_sound()

    def test_the_sweeper_costs_lanes_and_not_instances(self) -> None:
        days = due(60, group=make.make_group(100))
        for number in range(6):
            in_lane(days[number * 10 : number * 10 + 10], 1, LANE - number)
        claimed = started(days[0])
        assert claimed == []
        assert lanes.with_room() == set()
        lifecycle.finish([good(c) for c in claims_of(days)][:2])
        assert len(lanes.with_room()) == 2
        assert_sound()

    def test_lanes_do_not_hold_up_others(self) -> None:
        group = make.make_group(3)
        many = due(50, group=group, priority=3)
        [other] = due(group=group, priority=1)
        _, touched = lifecycle.rerun(ids(many), None, Life(parallelism=1, lane=LANE))
        touched.groups.add(group.pk)
        assert len(follow(touched)) == 2
        assert on_of([*many, other]) == [many[0].pk, other.pk]
        assert_sound()


def test_rows_without_a_lane_cost_no_statement_more() -> None:
    """The way that everything goes: one statement for the group, one for its slots, one that gives them."""
    days = due(3, group=make.make_group(5))
    Task.objects.update(wait_timeout=DAY)
    statements: list[str] = []

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        dispatch(harness.groups(*days))
    kinds = [" ".join(sql.split())[:24] for sql in statements if "SAVEPOINT" not in sql]
    assert len(kinds) == 4, kinds
