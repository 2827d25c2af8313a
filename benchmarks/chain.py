"""From a parent's end to its child's start, in a chain of 30 Shell tasks on an idle system."""

import datetime as dt
import json
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from django.db import connection

from benchmarks import live, workers, world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section, percentile
from instances.engine import generation
from instances.engine.schedule import Cycle

LENGTH = 30
WORKERS = 2

_GAPS = """
SELECT extract(epoch FROM child.run_started_at - parent.run_ended_at)::float * 1000
FROM instances_edge e JOIN instances_execution child ON child.instance_id = e.instance_id
JOIN instances_execution parent ON parent.instance_id = e.upstream_id WHERE e.instance_id >= %s
"""


def run(options: Options) -> Section:
    runs = max(options.runs, 3) * (1 if options.quick else 2)
    raw = _raw(runs)
    gaps = _ours(runs)
    median = [statistics.median(one) for one in gaps]
    raw_median = [statistics.median(one) for one in raw]
    high = [percentile(one, 0.95) for one in gaps]
    raw_high = [percentile(one, 0.95) for one in raw]
    return Section(
        "chain",
        f"Chain of {LENGTH}",
        f"A chain of {LENGTH} SHELL tasks with the code `true` on {WORKERS} idle workers: from the end of a parent's run to "
        f"the start of its child's, {LENGTH - 1} gaps a run. In between: the result and the release are committed, the child "
        "is dispatched and claimed. Less is better. Raw: a Celery task that sends the next one, from sending to its start.",
        [
            Figure("median", "ms", median, "Celery hop", raw_median, "25 ms"),
            Figure("95th percentile", "ms", high, "Celery hop", raw_high),
        ],
    )


def _ours(runs: int) -> list[list[float]]:
    since = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=60)
    tasks = world.make_tasks(LENGTH, world.make_group(16), since, cycle=Cycle.DAY, code="true")
    world.depend([(task, upstream, "CURRENT_DAY") for upstream, task in pairwise(tasks)])
    world.schedule(tasks)
    found = []
    with live.serving(WORKERS):
        for place in range(runs + 1):
            first = live.next_id()
            generation.tick(since + dt.timedelta(days=place + 1))
            live.finish(first)
            with connection.cursor() as cursor:
                cursor.execute(_GAPS, [first])
                gaps = [gap for (gap,) in cursor.fetchall()]
            if len(gaps) != LENGTH - 1:
                raise workers.BenchmarkError(f"{len(gaps)} gaps in a chain of {LENGTH}")
            say(f"chain: median {statistics.median(gaps):.1f} ms")
            found += [gaps] if place else []  # the first one warms up
    world.clear()
    return found


def _raw(runs: int) -> list[list[float]]:
    """Milliseconds of each hop of Celery's own, run by run."""
    from benchmarks.raw_celery import hop

    queue = f"raw.hop.{os.getpid()}"
    found: list[list[float]] = []
    with workers.celery_alone(WORKERS, queue), tempfile.TemporaryDirectory() as folder:
        for place in range(runs + 1):
            answer = Path(folder) / str(place)
            hop.apply_async((LENGTH - 1, time.time(), [], str(answer)), queue=queue)
            workers.wait_until(answer.exists, 60, "Celery's chain")
            waits = [wait * 1000 for wait in json.loads(answer.read_text(encoding="utf-8"))[1:]]
            say(f"chain, Celery's own: median {statistics.median(waits):.1f} ms")
            found += [waits] if place else []
    return found
