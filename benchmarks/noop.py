"""No-op instances per second through real workers, against Celery's own no-op tasks on the same broker and pool."""

import os
import time

from benchmarks import live, workers, world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section

SLOTS = 400


def run(options: Options) -> Section:
    size = 1_000 if options.quick else 10_000
    messages = 1_000 if options.quick else 5_000
    figures: list[Figure] = []
    for count in (1, 2):
        raw = _raw(count, messages, options.runs)
        taken = _ours(count, size, options.runs)
        name = f"{count} worker{'s' if count > 1 else ''}"
        rates = [size / took.running for took in taken]
        figures.append(
            Figure(name, "instances/s", rates, "Celery no-op", raw, "ratio 0.5, then more than 1.0")
        )
        whole = [size / (took.running + took.generating) for took in taken]
        figures.append(Figure(f"{name}, generation included", "instances/s", whole, "Celery no-op", raw))
    return Section(
        "noop",
        "No-op throughput, end to end",
        f"{size:,} instances of tasks that do nothing (type VIRTUAL), from the first dispatch to the last end: execution "
        f"row, lease, claim, result, 2 history rows each, all checked afterwards. Workers as in `make up` ({workers.SLOTS} "
        f"threads each), a resource group of {SLOTS} slots. Raw: {messages:,} messages of a Celery task that does nothing, "
        "waiting in the same broker, consumed by workers with the same flags.",
        figures,
    )


def _ours(count: int, size: int, runs: int) -> list[live.Took]:
    load = live.Load(size, SLOTS)
    with live.serving(count):
        took = []
        for place in range(runs + 1):
            one = load.run()
            live.analyze()
            say(
                f"noop, {count} workers: {size / one.running:,.0f}/s, generation {size / one.generating:,.0f}/s"
            )
            took += [one] if place else []  # the first one warms up
    world.clear()
    return took


def _raw(count: int, messages: int, runs: int) -> list[float]:
    """Celery's rate: the queue is filled first, then the workers are told to consume it."""
    from benchmarks.raw_celery import app, noop

    found = []
    with workers.celery_alone(count, f"raw.idle.{os.getpid()}"):
        for place in range(runs + 1):
            queue = f"raw.noop.{os.getpid()}.{count}.{place}"
            with app.producer_pool.acquire(block=True) as producer:
                for number in range(messages):
                    noop.apply_async(([number],), queue=queue, producer=producer)
            began = time.perf_counter()
            app.control.add_consumer(queue, reply=False)
            _wait_empty(queue)
            rate = messages / (time.perf_counter() - began)
            app.control.cancel_consumer(queue, reply=True)
            say(f"noop, Celery's own, {count} workers: {rate:,.0f}/s")
            found += [rate] if place else []
    return found


def _wait_empty(queue: str) -> None:
    """Until no message waits in the queue; a few may still be in a worker's hands."""
    from benchmarks.raw_celery import app

    with app.connection_for_read() as connection:

        def is_empty() -> bool:
            try:
                return not connection.default_channel.queue_declare(queue=queue, passive=True).message_count
            except connection.channel_errors:  # Redis forgets a list that is empty
                return True

        workers.wait_until(is_empty, live.RUN_SECONDS, "Celery's own queue is not empty", 0.01)
