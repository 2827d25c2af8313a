"""How long a previewed rerun is expected to take: from the history of its tasks, and the arithmetic by hand."""

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from instances import operations
from instances.engine.states import State
from instances.models import Execution, Instance, Task
from instances.operations.expected import Expected, Load, average_seconds, expect
from instances.operations.preview import summary
from instances.operations.selection import freeze
from instances.operations.words import about, counted, listed, roughly
from tests import factories as make
from tests import lineage
from tests.lineage import Arrow, Sketch, draw_up

database = pytest.mark.django_db


def ran(instance: Instance, seconds: float, state: str = "success", **columns: Any) -> Execution:
    ended = timezone.now()
    return Execution.objects.create(
        **{
            "instance": instance,
            "life_round": instance.executions.count(),
            "try_number": 0,
            "state": state,
            "resource_group": instance.resource_group,
            "run_started_at": ended - dt.timedelta(seconds=seconds),
            "run_ended_at": ended,
            "ended_at": ended,
            **columns,
        }
    )


def days(task: Task, number: int) -> list[Instance]:
    return Instance.objects.bulk_create(lineage.row(task, day) for day in range(number))


# Averages


@database
def test_the_last_ten_successful_runs_count() -> None:
    task = make.make_task()
    for day, instance in enumerate(days(task, 15)):
        ran(instance, 1000 if day < 5 else 10 + day % 2)
    assert average_seconds([task.pk]) == {task.pk: pytest.approx(10.5, abs=0.01)}


@database
def test_failed_dry_and_older_runs_of_one_instance_do_not_count() -> None:
    task = make.make_task()
    first, second, third = days(task, 3)
    ran(first, 500)
    ran(first, 20)
    ran(first, 900, state="failed")
    ran(second, 700, dry_run=True)
    ran(third, 700, state="cancelled")
    assert average_seconds([task.pk]) == {task.pk: pytest.approx(20, abs=0.01)}


@database
def test_only_lately_counts() -> None:
    task, silent = make.make_task(), make.make_task()
    rows = days(task, 101)
    ran(rows[0], 60)
    assert average_seconds([task.pk, silent.pk]) == {}
    ran(rows[1], 60)
    assert average_seconds([task.pk, silent.pk]).keys() == {task.pk}


# Arithmetic


def test_a_chain_of_parents_and_children() -> None:
    loads = {task: Load(1, None, {1: 1}) for task in (1, 2, 3)}
    found = expect(loads, [(1, 2), (2, 3), (1, 3)], {1: 10.0, 2: 20.0, 3: 5.0}, {1: 16})
    assert found == Expected(35.0, 35.0, 3, 0)


def test_serial_tasks_run_one_instance_after_another() -> None:
    """The parent's first run, thirty of the serial task, the child's last one."""
    loads = {1: Load(30, None, {1: 30}), 2: Load(30, 1, {1: 30}), 3: Load(30, None, {1: 30})}
    found = expect(loads, [(1, 2), (2, 3)], {1: 10.0, 2: 60.0, 3: 5.0}, {1: 1000})
    assert found.wall_seconds == 10 + 30 * 60 + 5


def test_so_many_at_once() -> None:
    found = expect({1: Load(7, 3, {1: 7})}, [], {1: 60.0}, {1: 1000})
    assert found == Expected(420.0, 180.0, 7, 0)


def test_a_small_group_takes_longer_than_any_chain() -> None:
    loads = {1: Load(100, None, {1: 60, 2: 40})}
    assert expect(loads, [], {1: 10.0}, {1: 2, 2: 4}).wall_seconds == 300


def test_tasks_without_history_take_no_time_and_are_counted() -> None:
    loads = {1: Load(3, None, {1: 3}), 2: Load(5, None, {1: 5}), 3: Load(1, None, {1: 1})}
    found = expect(loads, [(1, 2), (2, 3)], {1: 10.0, 3: 10.0}, {1: 100})
    assert found == Expected(40.0, 20.0, 4, 5)


def test_nothing_takes_no_time() -> None:
    assert expect({}, [], {}, {}) == Expected(0.0, 0.0, 0, 0)


def test_a_circle_of_tasks_is_no_endless_path() -> None:
    loads = {task: Load(1, None, {1: 1}) for task in (1, 2, 3)}
    found = expect(loads, [(1, 2), (2, 1), (2, 3)], dict.fromkeys((1, 2, 3), 10.0), {1: 16})
    assert found.wall_seconds == 20


@given(st.data())
def test_the_longest_path_against_brute_force(data: st.DataObject) -> None:
    number = data.draw(st.integers(1, 6))
    tasks = range(number)
    pair = st.tuples(st.sampled_from(tasks), st.sampled_from(tasks)).filter(lambda p: p[0] < p[1])
    pairs = data.draw(st.sets(pair)) if number > 1 else set()
    averages = {task: float(data.draw(st.integers(0, 20))) for task in tasks}
    widths = {task: data.draw(st.sampled_from([None, 1, 2])) for task in tasks}
    counts = {task: data.draw(st.integers(1, 5)) for task in tasks}
    loads = {task: Load(counts[task], widths[task], {1: counts[task]}) for task in tasks}

    def paths(task: int) -> list[list[int]]:
        return [[task], *([task, *rest] for one, child in pairs if one == task for rest in paths(child))]

    def rounds(task: int) -> float:
        width = widths[task]
        return averages[task] * (-(-counts[task] // width) if width else 1)

    longest = max(
        sum(averages[task] for task in path) - averages[slow] + rounds(slow)
        for start in tasks for path in paths(start) for slow in path
    )  # fmt: skip
    found = expect(loads, pairs, averages, {1: 10**9})
    assert found.wall_seconds == pytest.approx(longest)
    assert found.work_seconds == sum(averages[task] * counts[task] for task in tasks)


# In the preview


@database
def test_a_preview_says_how_long() -> None:
    """a (10 minutes) before b (20 minutes, serial), two days each; c has never run, d is refused."""
    nodes = tuple((task, day) for task in range(4) for day in range(2))
    arrows = [Arrow(day, 2 + day) for day in range(2)] + [Arrow(day, 6 + day) for day in range(2)]
    world = draw_up(Sketch((0,), (0, 0, 0, 0), nodes, tuple(arrows), ("ALL", "ALL", "ALL", "NONE")))
    Task.objects.filter(pk=world.tasks[1].pk).update(self_dependency="serial")
    for place, minutes in ((0, 10), (2, 20), (6, 1000)):
        ran(world.instances[place], 60 * minutes)
    frozen = freeze("rerun", Instance.objects.all(), user=None)
    found = summary(frozen, operations.get("rerun"), None)
    duration = found["duration"]
    assert duration["work_seconds"] == pytest.approx(3600, abs=1)
    assert duration["wall_seconds"] == pytest.approx(600 + 2 * 1200, abs=1)
    assert (duration["instances_known"], duration["instances_unknown"]) == (4, 2)
    assert found["sentences"][-2:] == [
        "It takes about 50 minutes, if no other work is in the way.",
        "How long 2 instances take is not known: no run of the task succeeded lately.",
    ]
    two = freeze("rerun", Instance.objects.all(), user=None, options={"parallelism": 2})
    found = summary(two, operations.get("rerun"), None)
    assert found["duration"]["wall_seconds"] == pytest.approx(600 + 1200, abs=1)


@database
def test_what_runs_nothing_takes_no_time() -> None:
    [instance] = Instance.objects.bulk_create([lineage.row(make.make_task(), 0, State.WAIT_RUN)])
    ran(instance, 600)
    frozen = freeze("terminate", [instance.pk], user=None)
    assert summary(frozen, operations.get("terminate"), None)["duration"] == {
        "work_seconds": 0.0, "wall_seconds": 0.0, "instances_known": 0, "instances_unknown": 0,
    }  # fmt: skip


# Words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "less than a minute"),
        (59.9, "less than a minute"),
        (60, "1 minute"),
        (12 * 60 + 29, "12 minutes"),
        (3599, "1 hour"),
        (5400, "1 hour 30 minutes"),
        (86_399, "1 day"),
        (93_600, "1 day 2 hours"),
        (260_000, "3 days"),
    ],
)
def test_lengths_of_time(seconds: float, said: str) -> None:
    assert about(seconds) == said
    assert roughly(seconds) == (said if said == "less than a minute" else f"about {said}")


def test_numbers_and_lists() -> None:
    assert (counted(1, "task"), counted(1200, "task"), counted(0, "retry")) == (
        "1 task", "1,200 tasks", "0 retries",
    )  # fmt: skip
    assert listed(["a"]) == "a"
    assert listed("abc") == "a, b and c"
    assert listed("abcdefgh") == "a, b, c, d, e and 3 more"
