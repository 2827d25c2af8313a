"""What tests of the engine share: a database with real commits, due instances, threads that meet, and invariants.

A module that imports `_django_db_helper` from here gets real commits by the usual mark `django_db(transaction=True)`,
but with tables emptied by DELETE: a tenth of the time that pytest-django's TRUNCATE of all tables takes, and these
tests are many.
"""

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from instances.engine import generation, hints, lifecycle, maintenance
from instances.engine.dispatch import dispatch, follow
from instances.engine.hints import Hint
from instances.engine.lifecycle import Claimed, Result, Touched
from instances.models import Execution, Instance, Lease, StateChange, Task
from tests import factories as make
from tests.engine.invariants import assert_sound as assert_sound
from tests.engine.invariants import broken_histories as broken_histories

T = TypeVar("T")
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
JANUARY = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
# Any wait for another thread or process; only a bug makes a test wait so long.
PATIENCE = 30.0
_KEPT_MODELS = {"contenttypes.contenttype", "auth.permission"}


def _tables() -> list[str]:
    assert connection.settings_dict["NAME"].startswith("test_"), "this is no database of tests"
    models = apps.get_models(include_auto_created=True)
    return [f'"{m._meta.db_table}"' for m in models if m._meta.label_lower not in _KEPT_MODELS]


def wipe() -> None:
    """Deletes every row that a test can have made; foreign keys are deferred, so any order will do."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL weops.retention = 'on'")
        cursor.execute(";".join(f"DELETE FROM {table}" for table in _tables()))


def truncate() -> None:
    """Also forgets the space that deleted rows have taken: for a test that looks at whole tables a thousand times."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(_tables())}")


@pytest.fixture
def _django_db_helper(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """In place of pytest-django's fixture of this name: an empty database, for this thread and all others."""
    with django_db_blocker.unblock():
        wipe()
        yield
        connection.close()
        wipe()
        connection.close()


# Building


def make_due(days: int = 1, *, since: dt.datetime = JANUARY, **columns: Any) -> Task:
    """A submitted daily task with `days` instances due (data times from `since` on), not generated yet."""
    task = make.make_task(**{"effective_to": since + (days - 1) * DAY + HOUR, **columns})
    make.submit(task, since=since - dt.timedelta(microseconds=1))
    return task


def due(days: int = 1, **columns: Any) -> list[Instance]:
    """Generated instances of a new daily task, in order of data time."""
    task = make_due(days, **columns)
    generation.generate()
    return instances_of(task)


def family(parents: int, days: int = 1, *, group_slots: int = 64) -> tuple[list[Task], Task]:
    """Daily tasks and one that waits for all of them, `days` instances each, not generated yet."""
    workflow = make.make_workflow()
    group = make.make_group(group_slots)
    tasks = [make_due(days, workflow=workflow, group=group) for _ in range(parents)]
    child = make.make_task(workflow, group=group, effective_to=tasks[0].effective_to)
    for task in tasks:
        make.depend(child, task)
    make.submit(child, since=JANUARY - dt.timedelta(microseconds=1))
    return tasks, child


def instances_of(task: Task) -> list[Instance]:
    return list(Instance.objects.filter(task=task).order_by("data_time"))


def fresh(instance: Instance) -> Instance:
    """The instance as it is in the database now."""
    return Instance.objects.get(pk=instance.pk)


def state(instance: Instance) -> str:
    return fresh(instance).state


def groups(*instances: Instance) -> set[int]:
    return {instance.resource_group_id for instance in instances}


def started(*instances: Instance, worker: str = "w1") -> list[Claimed]:
    """Dispatches the instances' groups and claims everything that got a slot."""
    return lifecycle.claim([hint.execution_id for hint in dispatch(groups(*instances))], worker)


def settle(touched: Touched) -> list[Hint]:
    """What every caller does after a change: dispatch what it may have made ready."""
    return follow(touched)


def good(claimed: Claimed) -> Result:
    return Result(claimed.execution_id, claimed.token, ok=True)


def bad(claimed: Claimed, code: str = "EXIT_NONZERO", message: str = "It ended with 1.") -> Result:
    return Result(
        claimed.execution_id, claimed.token, ok=False, error_code=code, message=message, exit_code=1
    )


def age_leases(*execution_ids: int) -> None:
    """As if nobody had renewed these leases for an hour."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE instances_lease SET heartbeat_at = now() - interval '1 hour' WHERE execution_id = ANY(%s)",
            [list(execution_ids)],
        )


def run_all(*tasks: Task, seconds: float = PATIENCE) -> None:
    """Runs everything of the tasks' groups to its end, as one patient worker would."""
    deadline = time.monotonic() + seconds
    ids = {task.resource_group_id for task in tasks}
    claimed = lifecycle.claim([hint.execution_id for hint in dispatch(ids)], "w1")
    while claimed:
        assert time.monotonic() < deadline, "the work does not come to an end"
        touched = lifecycle.finish([good(c) for c in claimed])
        claimed = lifecycle.claim([hint.execution_id for hint in settle(touched)], "w1")


def run_out(seconds: float = PATIENCE) -> None:
    """Runs everything that can run to its end, whoever dispatched or claimed it, as the sweeper and one worker would."""
    deadline = time.monotonic() + seconds
    with captured_hints():
        while True:
            assert time.monotonic() < deadline, "the work does not come to an end"
            maintenance.sweep()
            dispatched = Execution.objects.filter(state="dispatched").values_list("id", flat=True)
            lifecycle.claim(list(dispatched), "w1")
            held = Lease.objects.values_list("execution_id", "token")
            if not held:
                return
            settle(lifecycle.finish([Result(execution_id, token, ok=True) for execution_id, token in held]))


# Threads that meet


class Racer(Generic[T]):
    """A call in a thread with a connection of its own."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._answer: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer.append(self._call())
        except BaseException as error:  # told to the test by `result`
            self._error = error
        finally:
            connection.close()

    def result(self, seconds: float = PATIENCE) -> T:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the thread hangs"
        if self._error is not None:
            raise self._error
        return self._answer[0]


def race(*calls: Callable[[], Any]) -> list[Any]:
    """Starts all calls at the same moment, each in a thread with a connection of its own; their answers."""
    barrier = threading.Barrier(len(calls))

    def ready(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            connection.ensure_connection()
            barrier.wait(PATIENCE)
            return call()

        return run

    racers = [Racer(ready(call)) for call in calls]
    return [racer.result() for racer in racers]


def until(probe: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Waits until `probe` gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, "it does not become so"
        time.sleep(0.01)
    return found


class Watcher:
    """Looks at the server from outside, through a connection that no transaction holds."""

    def __init__(self) -> None:
        self._connection = psycopg.connect(**{**connection.get_connection_params(), "autocommit": True})

    def one(self, query: str, *values: Any) -> Any:
        row = self._connection.execute(query, values).fetchone()
        assert row is not None
        return row[0]

    def until_blocked_by(self, backend: int, count: int = 1) -> None:
        """Returns when `count` backends wait for a lock that the backend holds."""
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_blocking_pids(pid) @> ARRAY[%s::int]"
        until(lambda: self.one(query, backend) >= count)

    def hang_up(self) -> None:
        """The server ends every other connection to this database."""
        self.one(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def close(self) -> None:
        self._connection.close()


def reconnect() -> None:
    """Until this thread has a connection that the server answers: those that were hung up may lie in the pool, too."""

    def answers() -> bool:
        connection.close()
        try:
            return backend_id() > 0
        except OperationalError:
            return False

    until(answers)


def backend_id() -> int:
    """The server process of this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@contextmanager
def watching() -> Iterator[Watcher]:
    watcher = Watcher()
    try:
        yield watcher
    finally:
        watcher.close()


def overtake(first: Callable[[], Any], *others: Callable[[], T]) -> tuple[Any, list[T]]:
    """`first` does its work and holds its locks until each of `others` waits for it; then it commits.

    The interleaving that a race hits once in a thousand, every time. (answer of first, answers of others).
    """
    with watching() as watcher:
        with transaction.atomic():
            answer = first()
            racers = []
            for number, other in enumerate(others, 1):
                racers.append(Racer(other))
                watcher.until_blocked_by(backend_id(), number)
        return answer, [racer.result() for racer in racers]


def executions(instance: Instance) -> list[str]:
    """The states of its executions, oldest first."""
    return list(Execution.objects.filter(instance=instance).order_by("id").values_list("state", flat=True))


def history(instance: Instance) -> list[str]:
    """Its moves, oldest first."""
    return list(
        StateChange.objects.filter(instance_id=instance.pk).order_by("id").values_list("move", flat=True)
    )


def waiting_left(instance: Instance) -> dt.timedelta:
    """How long it may still wait."""
    deadline = fresh(instance).wait_deadline
    assert deadline is not None
    return deadline - timezone.now()


def lease_seconds() -> float:
    """A life of leases that an aged one has outlived and a fresh one not, also on a server that has just started."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM now() - pg_postmaster_start_time())::float")
        return min(settings.WEOPS_LEASE_SECONDS, float(cursor.fetchone()[0]) / 2)


@contextmanager
def captured_hints() -> Iterator[list[Hint]]:
    """What would go to the broker, in order; nothing goes there."""
    sent: list[Hint] = []
    before = hints.executions.register(sent.extend)
    try:
        yield sent
    finally:
        hints.executions.register(before)


def ids(instances: Sequence[Instance]) -> list[int]:
    return [instance.pk for instance in instances]
