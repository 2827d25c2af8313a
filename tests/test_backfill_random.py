"""Random plans over random tasks, carried out by a random worker; what must hold is read from their history."""

import datetime as dt
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from instances.engine import generation
from instances.engine.dependencies import upstream_data_times
from instances.engine.plan_expansion import unlimited
from instances.models import Dependency, Instance, Task
from tests import factories as make
from tests.backfilling import Worker, begin, claims, drive, most_at_once, runs
from tests.engine import harness
from tests.engine.harness import DAY, JANUARY, _django_db_helper, assert_sound

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

KINDS: list[dict[str, Any]] = [
    {"cycle_type": "DAY"},
    {"cycle_type": "DAY", "self_dependency": "orderly"},
    {"cycle_type": "DAY", "timezone": "Asia/Shanghai", "self_dependency": "serial"},
    {"cycle_type": "HOUR", "step": 8},
    {"cycle_type": "WEEK", "weekdays": [2, 5]},
]


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def world(chance: random.Random) -> list[Task]:
    """Tasks that wait for some of those before them; of some, a few instances exist already, in any state."""
    tasks: list[Task] = []
    for _ in range(chance.randint(2, 4)):
        group = make.make_group(chance.choice([1, 3, 50]))
        # Some have been scheduled for a while, some begin later than the plan.
        since = chance.choice([JANUARY, JANUARY + 2 * DAY, JANUARY + 50 * DAY])
        task = make.make_task(
            group=group,
            effective_from=since,
            effective_to=JANUARY + chance.randint(2, 4) * DAY + 60 * DAY * (since > JANUARY + 9 * DAY),
            **chance.choice(KINDS),
        )
        for upstream in tasks:
            if chance.random() < 0.6:
                make.depend(task, upstream)
        make.submit(task, since=since - dt.timedelta(microseconds=1))
        tasks.append(task)
    generation.generate(JANUARY + 6 * DAY)
    for _ in range(chance.randint(0, 3)):
        Worker(chance.randint(0, 99)).turn()
    return tasks


@pytest.mark.parametrize("seed", range(16))
def test_parents_first_and_no_more_data_times_than_allowed(seed: int) -> None:
    chance = random.Random(seed)
    tasks = world(chance)
    # What a worker held when it went away would be refused: here, everybody has come to an end.
    harness.run_out()
    number = chance.choice([1, 2, 3, 4, None])
    how = {"parallelism": number} if number else {"self_dependency": "orderly"}
    plan = drive(begin(*tasks, last="2013-01-06", **how), Worker(seed))
    assert plan.success == plan.total, [
        (run.state, run.message) for run in runs(plan) if run.state != "success"
    ]
    assert_parents_first(plan, tasks)
    if number:
        assert most_at_once(plan) <= number
    else:
        assert_in_order(plan, tasks)
    assert_sound()


def assert_parents_first(plan: Any, tasks: list[Task]) -> None:
    """Every run began after the end of every run of the plan that its task's definition says it waits for."""
    spans = claims(plan)
    of_plan = {(run.task_id, run.data_time): spans[run.instance_id or 0] for run in runs(plan)}
    assert len(of_plan) == plan.total
    schedules = {task.pk: unlimited(task.schedule()) for task in tasks}
    for rule in Dependency.objects.all():
        for (task_id, data_time), (claimed, _) in of_plan.items():
            if task_id != rule.task_id:
                continue
            for needed in upstream_data_times(
                rule.scope, schedules[task_id], data_time, schedules[rule.upstream_id]
            ):
                if span := of_plan.get((rule.upstream_id, needed)):
                    assert span[1] < claimed, f"{rule}: {data_time} began before {needed} had ended"


def assert_in_order(plan: Any, tasks: list[Task]) -> None:
    """Of each task, every run began after the end of the one before it."""
    spans = claims(plan)
    for task in tasks:
        of_task = [spans[run.instance_id or 0] for run in runs(plan, task)]
        assert all(first[1] < second[0] for first, second in pairwise(of_task))


def test_instances_of_a_plan_are_instances_of_no_other_plan() -> None:
    chance = random.Random(99)
    tasks = world(chance)
    harness.run_out()
    first = begin(*tasks, last="2013-01-02", parallelism=2)
    second = begin(*tasks, first="2013-01-02", last="2013-01-03", parallelism=2)
    drive(second, Worker(1))
    drive(first, Worker(2))
    assert not Instance.objects.exclude(state="success").exists()
    assert_sound()
