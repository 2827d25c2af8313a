"""The Celery application: queues, the beat schedule, and the thin tasks that call the engine.

Messages are hints: early acknowledgement, ids only, JSON only, no result backend, no eta, no retry of Celery's own.
A worker started without -Q serves the queue of every resource group; one with `-Q weops.control` runs the ticks.
"""

import logging
import os
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import django
from celery import Celery, signals
from kombu import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "weops.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import close_old_connections  # noqa: E402
from django.utils import timezone  # noqa: E402

from instances import figures  # noqa: E402
from instances.engine import generation, hints, maintenance, plans, traversals, worker_names  # noqa: E402
from instances.engine.hints import Hint  # noqa: E402
from instances.engine.host import host_of_settings  # noqa: E402
from instances.engine.runtime import INSTANT_BATCH, Runtime  # noqa: E402
from instances.operations import records, retention  # noqa: E402
from instances.operations.backfill_worker import Advancer  # noqa: E402
from instances.operations.worker import Applier  # noqa: E402
from instances.runners import registry  # noqa: E402
from weops.alarms import evaluate, sending  # noqa: E402
from weops.alarms import retention as alarm_retention  # noqa: E402
from weops.observe.pulse import pulse  # noqa: E402
from weops.projects.models import ResourceGroup  # noqa: E402

log = logging.getLogger(__name__)
CONTROL = "weops.control"
_PREFIX = "weops.g."
_RETRIED_ONCE = {
    "retry": True,
    "retry_policy": {"max_retries": 1, "interval_start": 0.1, "interval_max": 0.2},
}
_quorum = settings.CELERY_BROKER_URL.startswith("amqp")


def group_queue(group_id: int) -> Queue:
    arguments = {"x-queue-type": "quorum"} if _quorum else None
    return _queue(f"{_PREFIX}{group_id}", arguments)


def _queue(name: str, arguments: dict[str, str] | None) -> Queue:
    return Queue(name, routing_key=name, queue_arguments=arguments, durable=True)


app = Celery("weops", broker=settings.CELERY_BROKER_URL)
app.conf.update(
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_connection_timeout=3,
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 3, "retry_on_timeout": True},
    task_default_queue=CONTROL,
    task_queues=[_queue(CONTROL, {"x-queue-type": "quorum"} if _quorum else None)],
    task_default_queue_type="quorum" if _quorum else "classic",
    worker_detect_quorum_queues=True,
    worker_consumer="weops.consumer:HintConsumer",
    beat_schedule={
        # A tick that could not be delivered in time is worth nothing: the next one does its work.
        "weops tick": {
            "task": "weops.tick",
            "schedule": settings.WEOPS_TICK_SECONDS,
            "options": {"queue": CONTROL, "expires": max(10, 3 * settings.WEOPS_TICK_SECONDS)},
        },
        # Apart from the tick, which must not wait for it.
        "weops alarms": {
            "task": "weops.alarms",
            "schedule": settings.WEOPS_TICK_SECONDS,
            "options": {"queue": CONTROL, "expires": max(10, 3 * settings.WEOPS_TICK_SECONDS)},
        },
        "weops figures": {
            "task": "weops.figures",
            "schedule": 60.0,
            "options": {"queue": CONTROL, "expires": 55},
        },
        # Apart from the tick, too: a log may be large, and its storage slow.
        "weops left logs": {
            "task": "weops.left_logs",
            "schedule": 30.0,
            "options": {"queue": CONTROL, "expires": 25},
        },
        "weops hourly": {
            "task": "weops.hourly",
            "schedule": 3600.0,
            "options": {"queue": CONTROL, "expires": 1800},
        },
    },
    beat_max_loop_interval=max(1, settings.WEOPS_TICK_SECONDS),
    timezone="UTC",
)


_sealing = threading.Lock()


@app.task(name="weops.tick")
def tick() -> None:
    """Generates what is due, sweeps what time has changed, finds operations that stand still, looks after plans."""
    close_old_connections()
    try:
        with pulse("tick"):
            generation.tick()
            maintenance.sweep()
            hints.operations.send(records.stalled(settings.WEOPS_HINT_SECONDS))
            for plan_id in plans.unfinished():
                _advancer.take(plan_id)
            for for_each_id in traversals.unfinished():
                _traverser.take(for_each_id)
    finally:
        close_old_connections()


@app.task(name="weops.alarms")
def alarms() -> None:
    """Finds what rules alarm about and whom to tell; sending has a thread of its own."""
    close_old_connections()
    try:
        with pulse("alarms"):
            evaluate.evaluate()
            sending.work()
            if sending.is_owed():
                _sender.wake()
    finally:
        close_old_connections()


@app.task(name="weops.figures")
def count_figures() -> None:
    """Adds what has ended to the figures of its day, a few batches at most: the next minute goes on."""
    close_old_connections()
    try:
        for _ in range(10):
            if not figures.catch_up():
                break
    finally:
        close_old_connections()


@app.task(name="weops.left_logs")
def seal_left_logs() -> None:
    """Seals what killed workers left; one at a time in a process, and safe if others do the same."""
    if not _sealing.acquire(blocking=False):
        return
    close_old_connections()
    try:
        maintenance.seal_left_logs(seconds=20)
    finally:
        _sealing.release()
        close_old_connections()


@app.task(name="weops.hourly")
def hourly() -> None:
    close_old_connections()
    try:
        with pulse("hourly"):
            alarm_retention.hourly(settings.WEOPS_RETENTION_DAYS)
            maintenance.hourly()
            figures.remove_old(timezone.localdate())
            retention.hourly(settings.WEOPS_RECORD_DAYS)
    finally:
        close_old_connections()


@app.task(name="weops.start")
def start(execution_ids: list[int]) -> None:
    """A hint: these executions may start."""
    if _runtime is not None:
        _runtime.take(execution_ids)


_applier = Applier()
_advancer = Advancer()
_traverser = Advancer(work=traversals.work, what="the traversals of instance")
_sender = sending.Sender()


@app.task(name="weops.operate")
def operate(operation_id: int) -> None:
    """A hint: this operation has batches to apply. They are applied in a thread of their own, which ticks do not wait for."""
    _applier.take(operation_id)


@app.task(name="weops.plan")
def advance_plan(plan_id: int) -> None:
    """A hint: an instance of this backfill plan has ended, or somebody has changed the plan."""
    _advancer.take(plan_id)


@app.task(name="weops.for_each")
def advance_traversals(for_each_id: int) -> None:
    """A hint: an inner instance of this For-each instance has ended, or something has happened to it itself."""
    _traverser.take(for_each_id)


def publish(ready: Sequence[Hint]) -> None:
    """One message an execution; instant ones travel together."""
    messages: list[tuple[int, list[int]]] = []
    instant: dict[int, list[int]] = {}
    for hint in ready:
        if not hint.instant:
            messages.append((hint.group_id, [hint.execution_id]))
            continue
        batch = instant.get(hint.group_id)
        if batch is None or len(batch) >= INSTANT_BATCH:
            batch = instant[hint.group_id] = []
            messages.append((hint.group_id, batch))
        batch.append(hint.execution_id)
    with app.producer_pool.acquire(block=True, timeout=5) as producer:
        for group_id, ids in messages:
            start.apply_async(
                (ids,),
                queue=group_queue(group_id),
                producer=producer,
                **_RETRIED_ONCE,
            )


def _publish_each(task: Any, ids: Sequence[int]) -> None:
    """One message each, to the control process."""
    with app.producer_pool.acquire(block=True, timeout=5) as producer:
        for one in ids:
            # The sweep sends another one soon; nobody need work through those that piled up.
            task.apply_async((one,), queue=CONTROL, producer=producer, expires=60, **_RETRIED_ONCE)


def broker_answers() -> None:
    """Raises unless the broker answers, within a few seconds."""
    with app.connection_for_write() as link:
        link.ensure_connection(max_retries=1, interval_start=0, timeout=2)
        # Some transports connect only now.
        link.default_channel.close()


hints.executions.register(publish)
hints.operations.register(partial(_publish_each, operate))
hints.plans.register(partial(_publish_each, advance_plan))
hints.traversals.register(partial(_publish_each, advance_traversals))


# The worker's side

_runtime: Runtime | None = None


class _Queues:
    """Which groups this worker serves: those named by -Q, else all, also those that are made later."""

    def __init__(self) -> None:
        self.all_groups = True
        self.groups: set[int] = set()
        self.consumer: Any = None

    def choose(self, queues: Any) -> None:
        # Celery tells "no -Q" by nothing but this.
        self.all_groups = queues._consume_from is None
        if self.all_groups:
            self.groups = set(ResourceGroup.objects.values_list("id", flat=True))
            for group_id in sorted(self.groups):
                queues.select_add(group_queue(group_id))
            queues.deselect(CONTROL)
        else:
            names = [name.removeprefix(_PREFIX) for name in queues.consume_from if name.startswith(_PREFIX)]
            self.groups = {int(name) for name in names if name.isdigit()}

    def serves(self, group_id: int) -> bool:
        return group_id in self.groups

    def discover(self) -> None:
        """Listens to groups that were made since the worker started."""
        if self.all_groups:
            for group_id in set(ResourceGroup.objects.values_list("id", flat=True)) - self.groups:
                self.groups.add(group_id)
                self.consumer.call_soon(self._add, group_id)

    def _add(self, group_id: int) -> None:
        queue = group_queue(group_id)
        self.consumer.app.amqp.queues.select_add(queue)
        self.consumer.add_task_queue(queue.name)


_queues = _Queues()


@signals.celeryd_after_setup.connect
def _set_up(instance: Any, **_: Any) -> None:
    _queues.choose(instance.app.amqp.queues)
    close_old_connections()


@signals.worker_ready.connect
def _ready(sender: Any, **_: Any) -> None:
    global _runtime
    _queues.consumer = sender
    if _queues.all_groups or _queues.groups:
        registry.configure(host_of_settings())
        _runtime = Runtime(
            worker_names.unique(sender.hostname),
            sender.pool.limit,
            _queues.serves,
            _queues.discover,
            None if _queues.all_groups else sorted(_queues.groups),
        )
        _runtime.start()


@signals.worker_shutting_down.connect
def _shutting_down(**_: Any) -> None:
    # A signal handler only wakes somebody: the drain waits for runs.
    if _runtime is not None:
        threading.Thread(target=_runtime.drain, name="drain").start()
    threading.Thread(target=_applier.stop, name="stop operations").start()
    threading.Thread(target=_advancer.stop, name="stop plans").start()
    threading.Thread(target=_traverser.stop, name="stop traversals").start()
    threading.Thread(target=_sender.stop, name="stop alarms").start()


@signals.worker_shutdown.connect
def _shutdown(**_: Any) -> None:
    _applier.stop()
    _advancer.stop()
    _traverser.stop()
    _sender.stop()
    if _runtime is not None:
        _runtime.stop()
