"""Dispatchers, ends and operations that meet in a lane: never more than N on, and nothing left behind."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from instances.engine import lanes, lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.lives import Life
from instances.models import Execution, Instance
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    _django_db_helper,
    assert_sound,
    bad,
    due,
    fresh,
    good,
    ids,
    overtake,
    race,
    settle,
)
from tests.engine.scenes import LANE, claims_of, in_lane, on, on_of

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class TestRaces:
    def test_two_groups_give_the_last_place(self) -> None:
        """The second waits for the first's lane, and then sees that the place is gone."""
        one, other = due(1, group=make.make_group(1)), due(1, group=make.make_group(1))
        lifecycle.rerun(ids(one + other), None, Life(parallelism=1, lane=LANE))
        Instance.objects.update(queue="ready")
        overtake(
            lambda: dispatch(harness.groups(*one)),
            lambda: dispatch(harness.groups(*other)),
        )
        assert on() == 1
        assert [fresh(row).queue for row in (*one, *other)] == ["taken", "gated"]
        assert_sound()

    def test_both_places_are_given_when_two_groups_meet(self) -> None:
        one, other = due(1, group=make.make_group(1)), due(1, group=make.make_group(1))
        lifecycle.rerun(ids(one + other), None, Life(parallelism=2, lane=LANE))
        Instance.objects.update(queue="ready")
        overtake(
            lambda: dispatch(harness.groups(*one)),
            lambda: dispatch(harness.groups(*other)),
        )
        assert on() == 2
        assert_sound()

    def test_a_place_that_is_freed_while_another_group_is_turned_away(self) -> None:
        """Turned away, but not committed: who frees the place waits for that, and lets it in."""
        one, other = due(1, group=make.make_group(1)), due(1, group=make.make_group(1))
        [execution] = in_lane(one, 1)
        [claimed] = lifecycle.claim([execution], "w1")
        lifecycle.rerun(ids(other), None, Life(parallelism=1, lane=LANE))
        Instance.objects.filter(pk=other[0].pk).update(queue="ready")
        overtake(
            lambda: dispatch(harness.groups(*other)),
            lambda: settle(lifecycle.finish([good(claimed)])),
        )
        assert on_of(other) == ids(other)
        assert_sound()

    @pytest.mark.parametrize("parallelism", [1, 3])
    def test_eight_dispatchers_and_four_groups(self, parallelism: int) -> None:
        """However they race: never more than N on, and in the end nothing is left behind."""
        groups = [make.make_group(20) for _ in range(4)]
        days = [day for group in groups for day in due(15, group=group, self_dependency="serial")]
        lifecycle.rerun(sorted(ids(days)), None, Life(parallelism=parallelism, lane=LANE))
        most: list[int] = []
        enough = threading.Event()

        def work(number: int) -> None:
            while not enough.is_set():
                hints = dispatch([groups[number % 4].pk], (), [LANE])
                claimed = lifecycle.claim([hint.execution_id for hint in hints], f"w{number}")
                while claimed:
                    results = [good(c) if c.execution_id % 5 else bad(c) for c in claimed]
                    following = settle(lifecycle.finish(results))
                    claimed = lifecycle.claim([hint.execution_id for hint in following], f"w{number}")

        def watch() -> None:
            try:
                with harness.watching() as watcher:
                    query = (
                        "SELECT count(*) FROM instances_execution WHERE lane = %s "
                        "AND state IN ('dispatched', 'running', 'stopping')"
                    )
                    while Instance.objects.filter(state="wait_run").exists():
                        most.append(watcher.one(query, LANE))
            finally:
                enough.set()

        race(watch, *[partial(work, number) for number in range(8)])
        assert max(most) <= parallelism
        assert set(Instance.objects.values_list("state", flat=True)) == {"success", "failed"}
        assert Execution.objects.filter(lane=LANE).count() == 60
        assert_sound()

    def test_nothing_is_left_behind_without_the_sweeper(self) -> None:
        """Everything that frees a place meets dispatchers; what was freed is used, by their own dispatches alone."""
        groups = [make.make_group(3) for _ in range(3)]
        days = [day for group in groups for day in due(20, group=group, retry_limit=1)]
        chosen = sorted(ids(days))
        touched = lifecycle.rerun(chosen, None, Life(parallelism=4, lane=LANE))[1]

        def work(worker: str) -> Callable[[], None]:
            def run() -> None:
                idle = 0
                hints = settle(touched)
                while idle < 3:
                    found = Execution.objects.filter(state="dispatched").values_list("id", flat=True)
                    claimed = lifecycle.claim([*found, *(hint.execution_id for hint in hints)], worker)
                    idle = 0 if claimed else idle + 1
                    results = [good(c) if c.execution_id % 3 else bad(c) for c in claimed]
                    hints = settle(lifecycle.finish(results))
                    hints += settle(lifecycle.retry_due())

            return run

        def meddle() -> None:
            for number in range(12):
                some = chosen[number::12]
                for operation in (lifecycle.freeze, lifecycle.thaw, lifecycle.terminate)[: 2 + number % 2]:
                    settle(operation(some)[1])

        race(work("w1"), work("w2"), work("w3"), meddle)
        assert_sound()
        # Whatever the last of them left dispatched is run by hand; each end lets the next in.
        claimed = claims_of(days)
        while claimed:
            settle(lifecycle.finish([good(c) for c in claimed]))
            settle(lifecycle.retry_due())
            claimed = claims_of(days)
        assert set(Instance.objects.values_list("state", flat=True)) <= {"success", "failed"}
        assert lanes.with_room() == set()
        assert_sound()
