"""WeOps at work: real workers, instances generated and run to their end, and what the database says about it."""

import contextlib
import datetime as dt
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from benchmarks import workers, world
from benchmarks.workers import BenchmarkError
from instances.engine import generation, hints, maintenance
from instances.engine.dispatch import dispatch
from instances.engine.schedule import Cycle
from instances.models import Task, WorkerProcess

RUN_SECONDS = 300.0


@contextlib.contextmanager
def serving(count: int, slots: int = workers.SLOTS) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`count` workers of WeOps that serve every group there is now."""
    import weops.celery  # noqa: F401 - registers the function that publishes hints

    WorkerProcess.objects.all().delete()
    with workers.started(count, "weops.process", "worker", slots=slots) as running:
        workers.wait_until(
            lambda: WorkerProcess.objects.count() == count, workers.START_SECONDS, "the workers are not ready"
        )
        yield running


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the database's clock: until everything was generated, and from the first dispatch to the last end."""

    generating: float
    running: float


class Load:
    """Tasks whose instances of one hour after the other can be generated and run: `size` instances at once."""

    def __init__(self, size: int, slots: int, *, code: str = "", hours: int = 10) -> None:
        self.hours = min(hours, size)
        self.size = size - size % self.hours
        self.group = world.make_group(slots)
        # In the past, so that everything generated may run at once.
        self.now = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=60)
        self.tasks: list[Task] = world.make_tasks(
            self.size // self.hours, self.group, self.now, cycle=Cycle.HOUR, code=code
        )
        world.schedule(self.tasks)

    def run(self) -> Took:
        """Generates the next instances, lets the workers run all of them, checks that each ran exactly once."""
        self.now += dt.timedelta(hours=self.hours)
        first = next_id()
        began = _clock()
        made = generation.generate(self.now)
        if made.instances != self.size:
            raise BenchmarkError(f"{made.instances} instances were generated, not {self.size}")
        generated = _clock()
        hints.send(dispatch(made.groups))
        finish(first)
        ended = _check(first, self.size)
        return Took((generated - began).total_seconds(), (ended - generated).total_seconds())


def finish(first_instance: int) -> None:
    """Waits until every instance from that id on has ended, sweeping as often as beat does."""
    swept = time.monotonic()

    def done() -> bool:
        nonlocal swept
        if time.monotonic() - swept > settings.WEOPS_TICK_SECONDS:
            swept = time.monotonic()
            maintenance.sweep()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT 1 FROM instances_instance WHERE id >= %s "
                "AND state IN ('wait_run', 'running', 'wait_upstream'))",
                [first_instance],
            )
            return not cursor.fetchone()[0]

    workers.wait_until(done, RUN_SECONDS, "the instances have not ended")


def _clock() -> dt.datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: dt.datetime = cursor.fetchone()[0]
    return now


def next_id() -> int:
    """No instance has this id or a higher one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) + 1 FROM instances_instance")
        following: int = cursor.fetchone()[0]
    return following


def _check(first: int, size: int) -> dt.datetime:
    """When the last execution ended. Raises BenchmarkError unless each ran once and left its whole history."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(DISTINCT instance_id), count(*) FILTER (WHERE state = 'success'), max(ended_at), "
            "(SELECT count(*) FROM instances_statechange WHERE instance_id >= %s) "
            "FROM instances_execution WHERE instance_id >= %s",
            [first, first],
        )
        executions, instances, good, ended, changes = cursor.fetchone()
    if not executions == instances == good == size or changes != 2 * size:
        raise BenchmarkError(
            f"{size} instances: {executions} executions, {good} good ones, {changes} state changes"
        )
    moment: dt.datetime = ended
    return moment


def analyze() -> None:
    """As autovacuum would after a while: plans must not depend on when the benchmark began."""
    with connection.cursor() as cursor:
        cursor.execute(
            "ANALYZE instances_instance, instances_execution, instances_lease, instances_statechange"
        )
