"""One event that tens of thousands of instances wait for, against one UPDATE of the same rows; many firings in one call."""

import datetime as dt
import time

from django.db import connection, transaction

from benchmarks import world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section
from benchmarks.workers import BenchmarkError
from events import firing
from events.models import Event, Listener
from instances.engine import generation
from instances.models import Instance, Task

START = dt.datetime(2026, 3, 24, 23, tzinfo=dt.UTC)
HOURS = 24
TODAY = "20260325"
FIRINGS = 10_000


def run(options: Options) -> Section:
    waiting = 2_400 if options.quick else 50_400
    figures = [_release(waiting, options), _fire(options)]
    _clear()
    return Section(
        "events",
        "Events",
        f"First: `firing.fire()` of one BROADCAST event that {waiting:,} instances wait for, the {HOURS} hours of a day of "
        f"{waiting // HOURS:,} tasks, from the call to its return, when all of them wait for execution: each with its wait, "
        "its consumption and its history, in batches. Raw: one UPDATE of the states of the same instances and of the same "
        "waits, and their history, in one transaction. Second: one call that fires "
        f"{FIRINGS:,} data times that nobody waits for; raw: one INSERT of as many event instances.",
        figures,
    )


def _release(waiting: int, options: Options) -> Figure:
    tasks = world.make_tasks(
        waiting // HOURS, world.make_group(1), START, until=START + HOURS * dt.timedelta(hours=1)
    )
    type(tasks[0].resource_group).objects.update(enabled=False)
    event = _listened(tasks)
    world.schedule(tasks)
    made = generation.generate(START + HOURS * dt.timedelta(hours=1)).instances
    if made != waiting or Instance.objects.filter(state="wait_event").count() != waiting:
        raise BenchmarkError(f"{made} instances were generated, not all of which wait for the event")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) instances_instance, events_wait")
    ours, raw = [], []
    for place in range(options.runs + 1):
        began = time.perf_counter()
        firing.fire(event.project, [(event.name, TODAY)], source="system")
        took = time.perf_counter() - began
        left = Instance.objects.exclude(state="wait_run").count()
        if left:
            raise BenchmarkError(f"{left} instances were not released")
        back = _wait_again(event)
        say(f"events: {waiting:,} released in {took:.2f} s, {waiting / took:,.0f}/s; UPDATE in {back:.2f} s")
        if place:  # the first one warms up
            ours.append(took)
            raw.append(back)
    return Figure(f"releasing {waiting:,} instances", "s", ours, "UPDATE", raw, "under 5 s for 50,000")


def _listened(tasks: list[Task]) -> Event:
    event = Event.objects.create(project=tasks[0].workflow.project, name="ready")
    Listener.objects.bulk_create(Listener(task=task, event=event, max_wait=1) for task in tasks)
    return event


def _wait_again(event: Event) -> float:
    """Puts everything back as it was before the firing; seconds that the plain statements for it took."""
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE instances_instance SET state = 'wait_event', ready_since = NULL")
        cursor.execute("UPDATE events_wait SET satisfied_at = NULL, event_instance_id = NULL")
        cursor.execute(
            "INSERT INTO instances_statechange (instance_id, move, from_state, to_state) "
            "SELECT id, 'events_met', 'wait_event', 'wait_run' FROM instances_instance"
        )
    took = time.perf_counter() - began
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE events_consumption, events_eventinstance CASCADE")
        cursor.execute("VACUUM (ANALYZE) instances_instance, events_wait")
    return took


def _fire(options: Options) -> Figure:
    event = Event.objects.create(project=Event.objects.get().project, name="minutes", cycle="MIN")
    first = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    entries = [
        (event.name, f"{first + minute * dt.timedelta(minutes=1):%Y%m%d%H%M}") for minute in range(FIRINGS)
    ]
    ours, raw = [], []
    for place in range(options.runs + 1):
        began = time.perf_counter()
        fired = firing.fire(event.project, entries, source="system")
        took = time.perf_counter() - began
        if len(fired.event_instances) != FIRINGS:
            raise BenchmarkError(f"{len(fired.event_instances)} event instances were made")
        copied = _copy(fired.firing_id)
        say(f"events: {FIRINGS / took:,.0f} firings/s, INSERT {FIRINGS / copied:,.0f}/s")
        if place:
            ours.append(FIRINGS / took)
            raw.append(FIRINGS / copied)
    return Figure(f"{FIRINGS:,} firings in one call", "firings/s", ours, "INSERT", raw)


def _copy(firing_id: int) -> float:
    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_eventinstance (event_id, firing_id, data_time, moment, state, settled, expires_at) "
            "SELECT event_id, firing_id, data_time, moment, state, settled, now() + interval '7 days' "
            "FROM events_eventinstance WHERE firing_id = %s",
            [firing_id],
        )
    return time.perf_counter() - began


def _clear() -> None:
    with connection.cursor() as cursor:
        # Nothing but their rows ties waits and consumptions to the rest.
        cursor.execute("TRUNCATE events_wait, events_consumption")
    world.clear()
