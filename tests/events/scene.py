"""What tests of events are made of: events, instances that wait for them, and what must hold whatever happened."""

import datetime as dt
from typing import Any

from django.db import connection, transaction

from events import firing, formats, matching
from events.firing import Fired
from events.formats import EventCycle
from events.matching import Waiting
from events.models import Event, EventInstance, Listener, Wait
from instances.engine import generation
from instances.models import Instance, Task
from tests import factories as make
from tests.engine import harness

START = dt.datetime(2026, 3, 25, tzinfo=dt.UTC)
TODAY = "20260325"
# The first data time of the tasks that `listening` makes.
FIRST = "20130101"
HOUR = dt.timedelta(hours=1)


def make_event(project: Any = None, name: str = "", **columns: Any) -> Event:
    """A broadcast event of the cycle DAY that lives a week."""
    return Event.objects.create(
        project=project or make.make_project(), name=name or make.unique("event"), **columns
    )


def listen(task: Task, *events: Event, max_wait: int | None = None, unit: str = "HOURS") -> None:
    for event in events:
        Listener.objects.create(task=task, event=event, max_wait=max_wait, max_wait_unit=unit)


@transaction.atomic
def waiting(
    *events: Event,
    task: Task | None = None,
    data_time: dt.datetime = START,
    planned: dt.datetime | None = None,
    max_wait: dt.timedelta | None = None,
    pending: int = 0,
) -> Instance:
    """A new instance that waits for all of `events`, written as generation does it: waits, then the instance."""
    task = task or make.make_task()
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence('instances_instance', 'id'))")
        pk = cursor.fetchone()[0]
    planned = planned or data_time
    still = matching.take(
        matching.begin(
            [
                Waiting(
                    pk, event.pk, formats.format_clock(data_time, EventCycle(event.cycle)), planned, max_wait
                )
                for event in events
            ]
        )
    )
    state = "wait_event" if still else "wait_upstream" if pending else "wait_run"
    return Instance.objects.create(
        pk=pk,
        task=task,
        data_time=data_time,
        planned_time=planned,
        not_before=planned,
        instance_type="periodic",
        cycle_type=task.cycle_type,
        task_type=task.task_type,
        project=task.workflow.project,
        workflow=task.workflow,
        resource_group=task.resource_group,
        priority=task.priority,
        state=state,
        pending_upstream=pending,
    )


def crowd(event: Event, count: int) -> list[Instance]:
    """So many instances of as many tasks that wait for TODAY, the first one planned first."""
    workflow, group = make.make_workflow(), make.make_group()
    return [
        waiting(
            event, task=make.make_task(workflow, group=group), planned=START + n * dt.timedelta(seconds=1)
        )
        for n in range(count)
    ]


def listening(*events: Any, days: int = 1, max_wait: int | None = None, **columns: Any) -> Task:
    """A daily task from 2013-01-01 on that listens, due and not generated."""
    task = harness.make_due(days, **columns)
    listen(task, *events, max_wait=max_wait)
    return task


def generated(*events: Any, **options: Any) -> list[Instance]:
    task = listening(*events, **options)
    generation.generate()
    return harness.instances_of(task)


def fire(event: Event, *data_times: str, **options: Any) -> Fired:
    entries = [(event.name, data_time) for data_time in data_times or (TODAY,)]
    return firing.fire(event.project, entries, **{"source": "system", **options})


def unsettled(event: Event, *data_times: str) -> list[int]:
    """Firings whose process died right after it had written them down."""
    entries = [(event.name, data_time) for data_time in data_times or (TODAY,)]
    return firing._write([firing.Call(event.project_id, entries, "system")])[0].event_instances


def states(event: Event) -> list[str]:
    """Of its event instances, the first fired first."""
    return list(EventInstance.objects.filter(event=event).order_by("id").values_list("state", flat=True))


def consumers(event: Event) -> list[int]:
    """Instances that consumed it, ascending."""
    rows = Wait.objects.filter(event=event, satisfied_at__isnull=False)
    return sorted(rows.values_list("instance_id", flat=True))


def age_firings(event: Event, by: dt.timedelta) -> None:
    """As if all of the event's firings had been fired so long ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_eventinstance SET triggered_at = triggered_at - make_interval(secs => %s), "
            "expires_at = expires_at - make_interval(secs => %s) WHERE event_id = %s",
            [by.total_seconds(), by.total_seconds(), event.pk],
        )


def age_waits(*instances: Instance, by: dt.timedelta = dt.timedelta(days=30)) -> None:
    """As if the instances had waited for so long."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_wait SET deadline = deadline - make_interval(secs => %s) WHERE instance_id = ANY(%s)",
            [by.total_seconds(), harness.ids(instances)],
        )


_BROKEN = """
SELECT 'instance ' || w.instance_id || ' is ' || i.state || ' and waits for event ' || w.event_id
    FROM events_wait w JOIN instances_instance i ON i.id = w.instance_id
    WHERE w.satisfied_at IS NULL AND w.withdrawn_at IS NULL AND i.state <> 'wait_event'
UNION ALL SELECT 'instance ' || i.id || ' waits for events, but for none' FROM instances_instance i
    WHERE i.state = 'wait_event' AND NOT EXISTS (SELECT 1 FROM events_wait w WHERE w.instance_id = i.id
        AND w.satisfied_at IS NULL AND w.withdrawn_at IS NULL)
UNION ALL SELECT 'instance ' || w.instance_id || ' waits for event instance ' || ei.id || ', which waits for it'
    FROM events_wait w JOIN events_eventinstance ei ON ei.event_id = w.event_id AND ei.data_time = w.data_time
    WHERE w.satisfied_at IS NULL AND w.withdrawn_at IS NULL AND ei.state IN ('to_be_consumed', 'consuming')
        AND ei.settled AND ei.expires_at > now()
UNION ALL SELECT 'event instance ' || ei.id || ' counts ' || ei.consumers || ' consumers, it has ' || n.found
    FROM events_eventinstance ei, LATERAL (SELECT count(*) AS found FROM events_consumption c
        WHERE c.event_instance_id = ei.id) n WHERE n.found <> ei.consumers
UNION ALL SELECT 'single event instance ' || ei.id || ' has ' || ei.consumers || ' consumers'
    FROM events_eventinstance ei JOIN events_event e ON e.id = ei.event_id
    WHERE e.delivery = 'SINGLE' AND (ei.consumers > 1 OR ei.state = 'consuming')
UNION ALL SELECT 'wait of instance ' || w.instance_id || ' was satisfied without a consumption' FROM events_wait w
    WHERE w.event_instance_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM events_consumption c
        WHERE c.event_instance_id = w.event_instance_id AND c.instance_id = w.instance_id)
"""


def assert_sound() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_BROKEN)
        assert [row[0] for row in cursor.fetchall()] == []
    assert harness.broken_histories() == []
