"""Two connections at once: no match is lost, none is made twice. First the interleavings that hurt, each forced by a lock;
then many rounds of real threads."""

import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from events import expiry, firing, matching
from events.models import EventInstance
from instances.models import Instance
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import PATIENCE, _django_db_helper, ids, overtake, race, state
from tests.events import scene
from tests.events.scene import TODAY, assert_sound, consumers, fire, make_event, states, waiting

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

EACH = pytest.mark.parametrize("delivery", ["BROADCAST", "SINGLE"])


@EACH
def test_a_firing_that_meets_an_uncommitted_wait(delivery: str) -> None:
    """The firing cannot see the wait yet, the wait has not seen the firing: it waits for the event's row."""
    event = make_event(delivery=delivery)
    instance, _ = overtake(lambda: waiting(event), lambda: fire(event))
    assert state(instance) == "wait_run"
    assert_sound()


@EACH
def test_a_wait_that_meets_an_uncommitted_firing(delivery: str) -> None:
    """The firing is written down but not committed: the wait does not see it, the batch that follows sees the wait."""
    event = make_event(delivery=delivery)
    with transaction.atomic():
        fired = scene.unsettled(event)
        instance = harness.Racer(lambda: waiting(event)).result()
    assert state(instance) == "wait_event"
    matching.settle(fired)
    assert state(instance) == "wait_run"
    assert_sound()


@EACH
def test_a_wait_that_meets_a_batch(delivery: str) -> None:
    """The batch has found nobody and settles the firing: the wait that comes meanwhile waits for it, and finds it."""
    event = make_event(delivery=delivery)
    fired = scene.unsettled(event)
    _, [instance] = overtake(lambda: matching.settle(fired), lambda: waiting(event))
    assert state(instance) == "wait_run"
    assert_sound()


def test_two_batches_serve_the_same_firing_once() -> None:
    event = make_event()
    crowd = scene.crowd(event, 10)
    fired = scene.unsettled(event)
    overtake(lambda: matching.settle(fired), lambda: matching.settle(fired))
    assert consumers(event) == ids(crowd)
    assert EventInstance.objects.get().consumers == 10
    assert_sound()


def test_two_firings_want_the_same_instance() -> None:
    event = make_event(delivery="SINGLE")
    instance = waiting(event)
    overtake(lambda: fire(event), lambda: fire(event))
    assert consumers(event) == [instance.pk]
    assert states(event) == ["consumed", "to_be_consumed"]
    assert_sound()


def test_two_instances_want_the_same_single_firing() -> None:
    event = make_event(delivery="SINGLE")
    fire(event)
    first, [second] = overtake(lambda: waiting(event), lambda: waiting(event))
    assert (state(first), state(second)) == ("wait_run", "wait_event")
    assert_sound()


def test_the_last_two_events_of_an_instance_come_at_the_same_moment() -> None:
    """Each sees the other's wait open unless the second looks after the first has committed."""
    one, other = make_event(), make_event()
    instance = waiting(one, other)
    overtake(lambda: fire(one), lambda: fire(other))
    assert state(instance) == "wait_run"
    assert harness.history(instance) == ["events_met"]
    assert_sound()


def _terminate(instance: Instance) -> list[int]:
    """What ending a waiting instance comes to: its row, then its waits."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM instances_instance WHERE id = %s AND state = 'wait_event' FOR UPDATE",
            [instance.pk],
        )
        found = [row[0] for row in cursor.fetchall()]
        Instance.objects.filter(pk__in=found).update(state="failed", end_time=scene.START)
        matching.withdraw(found)
    return found


@pytest.mark.parametrize("firing_first", [True, False])
def test_a_single_firing_against_the_end_of_the_first_in_line(firing_first: bool) -> None:
    event = make_event(delivery="SINGLE")
    first, second = scene.crowd(event, 2)
    doors: list[Callable[[], Any]] = [lambda: fire(event), lambda: _terminate(first)]
    overtake(*(doors if firing_first else reversed(doors)))
    assert consumers(event) == [first.pk if firing_first else second.pk]
    assert [state(first), state(second)] == (
        ["wait_run", "wait_event"] if firing_first else ["failed", "wait_run"]
    )
    assert_sound()


@pytest.mark.parametrize("seed", range(6))
def test_firings_and_instances_in_any_order(seed: int) -> None:
    """Many threads fire and begin to wait for three events of both kinds; afterwards nobody waits beside what it wants."""
    chance = random.Random(seed)
    project = make.make_project()
    events = [
        make_event(project),
        make_event(project, delivery="SINGLE"),
        make_event(project, delivery="SINGLE", cycle="HOUR"),
    ]
    texts = [TODAY, TODAY, "2026032500"]
    workflow, group = make.make_workflow(project), make.make_group()
    tasks = [make.make_task(workflow, group=group) for _ in range(24)]
    barrier = threading.Barrier(4)

    def fires(order: list[int]) -> None:
        barrier.wait(PATIENCE)
        for place in order:
            firing.fire(project, [(events[place].name, texts[place])], source="system")

    def waits(share: list[Any]) -> None:
        barrier.wait(PATIENCE)
        for task, wanted in share:
            waiting(*(events[place] for place in wanted), task=task)

    wanted = [(task, sorted(chance.sample(range(3), chance.randint(1, 3)))) for task in tasks]
    orders = [[chance.randrange(3) for _ in range(8)] for _ in range(2)]
    race(
        *(partial(fires, order) for order in orders),
        partial(waits, wanted[::2]),
        partial(waits, wanted[1::2]),
    )
    assert not EventInstance.objects.filter(settled=False).exists()
    assert_sound()
    singles = EventInstance.objects.filter(event__delivery="SINGLE")
    assert singles.filter(state="consumed").count() == sum(len(consumers(event)) for event in events[1:])


@pytest.mark.parametrize("seed", range(3))
def test_events_against_everything_else_that_happens(seed: int) -> None:
    chance = random.Random(100 + seed)
    event, single = make_event(), make_event(delivery="SINGLE")
    crowd = [waiting(event, single, max_wait=scene.HOUR) for _ in range(20)]
    scene.age_waits(*crowd[:6])
    doomed = chance.sample(crowd, 6)

    def ends() -> None:
        for instance in doomed:
            _terminate(instance)

    def fires() -> None:
        for _ in range(10):
            fire(single)

    race(ends, fires, lambda: fire(event), expiry.end_overdue)
    assert_sound()
    assert Instance.objects.filter(state="wait_run").count() <= 10
