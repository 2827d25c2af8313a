"""A worker's engine in the test's own process, and what tests of it need: gates, logs, hints that go nowhere."""

import operator
import os
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from instances.engine import logs
from instances.engine.dispatch import dispatch
from instances.engine.runtime import Runtime
from instances.models import Execution, Instance
from tests.engine import harness
from tests.engine.harness import Racer, fresh, until


@pytest.fixture
def sent() -> Iterator[list[Any]]:
    """The hints that would go to the broker."""
    with harness.captured_hints() as hints:
        yield hints


@pytest.fixture
def begin(settings: Any, sent: list[Any]) -> Iterator[Callable[..., Runtime]]:
    """Starts a runtime; all are drained and stopped at the end of the test."""
    settings.WEOPS_HEARTBEAT_SECONDS = 0.05
    settings.WEOPS_KILL_GRACE_SECONDS = 0.5
    settings.WEOPS_DRAIN_SECONDS = 0.1
    settings.WEOPS_LEASE_SECONDS = 20
    started: list[Runtime] = []

    def start(worker: str = "tester", **options: Any) -> Runtime:
        runtime = Runtime(worker, options.pop("slots", 8), **options)
        runtime.start()
        started.append(runtime)
        return runtime

    yield start
    for runtime in started:
        runtime.drain()
    for runtime in started:
        until(partial(operator.not_, runtime._runs))
        runtime.stop()


@pytest.fixture
def worker(begin: Callable[..., Runtime]) -> Runtime:
    return begin()


def run(worker: Runtime, *instances: Instance) -> list[Instance]:
    """Dispatches the instances' groups and runs what got a slot, and all that follows from it."""
    worker.take([hint.execution_id for hint in dispatch(harness.groups(*instances))])
    return [fresh(instance) for instance in instances]


def log_of(instance: Instance) -> str:
    """The whole log of its last execution, when it is sealed."""
    execution = Execution.objects.filter(instance=instance).order_by("-id")[0]
    until(lambda: Execution.objects.exclude(log_file="").filter(pk=execution.pk))
    execution.refresh_from_db()
    return logs.read(execution, 0, 2**24).text


class Gate:
    """A Shell task that says its pid, then waits until the test opens the gate."""

    def __init__(self, folder: Path) -> None:
        self._open, self._pid = folder / "open", folder / "pid"
        gate, pid = shlex.quote(str(self._open)), shlex.quote(str(self._pid))
        self.code = (
            f"echo $$ > {pid}.new; mv {pid}.new {pid}; until [ -e {gate} ]; do sleep 0.02; done; echo passed"
        )

    def open(self) -> None:
        self._open.touch()

    def wait(self) -> int:
        """The pid, once the child runs."""
        until(self._pid.exists)
        return int(self._pid.read_text())

    @property
    def reached(self) -> bool:
        return self._pid.exists()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def in_background(worker: Runtime, *instances: Instance) -> Racer[None]:
    ids = [hint.execution_id for hint in dispatch(harness.groups(*instances))]
    return Racer(lambda: worker.take(ids))
