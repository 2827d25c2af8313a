"""Real workers, beats and servers for tests: started, killed, paused, and never left behind.

    with Stack(tmp_path) as stack:
        worker = stack.worker("A")
        stack.until_ready(worker)
        worker.kill()

Programs work on the database that the test works on, and in folders below the one given: whatever mentions that
folder in its environment or its arguments is theirs, which is how a leftover is found.
"""

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import psutil
from django.conf import settings
from django.db import connection

from instances.engine import generation, maintenance
from instances.engine.states import MOVES, OPERATIONS, ExecutionState, Move, Operation, State
from instances.models import Execution, Instance, Lease, StateChange, Task, WorkerProcess
from tests import factories
from weops import env
from weops.celery import app, group_queue
from weops.embedded.processes import allocator, launcher
from weops.projects.models import ResourceGroup

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parent.parent
# Where no lease has to run out, no busy machine shall make one do so; where one has to, it still bears a late heartbeat.
LONG_LEASE = 30.0
SHORT_LEASE = 5.0
HINT_SECONDS = 1.0
TIMINGS = {
    "WEOPS_HEARTBEAT_SECONDS": "0.3",
    "WEOPS_HINT_SECONDS": str(HINT_SECONDS),
    "WEOPS_TICK_SECONDS": "1",
    "WEOPS_DRAIN_SECONDS": "1",
    "WEOPS_KILL_GRACE_SECONDS": "1",
}
DEADLINE = 60.0
_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


def until(probe: Callable[[], T], what: str, seconds: float = DEADLINE) -> T:
    """Calls `probe` until it gives something true, and returns that; fails naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for: {what}"
        time.sleep(0.05)
    return found


def database_url() -> str:
    """Of the database that the test itself works on."""
    at = connection.settings_dict
    user, password = quote(str(at["USER"]), safe=""), quote(str(at["PASSWORD"]), safe="")
    host = quote(str(at["HOST"]), safe="/")
    return f"postgresql://{user}:{password}@/{quote(str(at['NAME']))}?host={host}&port={at['PORT'] or 5432}"


@contextlib.contextmanager
def on_database(url: str) -> Iterator[None]:
    """Django's default connection of this process goes to `url` inside the block."""
    before = dict(connection.settings_dict)

    def point(at: dict[str, Any]) -> None:
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]  # of the PostgreSQL backend
        connection.settings_dict.update(
            {key: at[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
        )

    os.environ["WEOPS_TEST_URL"] = url
    try:
        point(env.database("WEOPS_TEST_URL"))
        yield
    finally:
        del os.environ["WEOPS_TEST_URL"]
        point(before)


class Program:
    """One process of a stack, by the name of its log."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name, self.process, self.log = name, process, log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """As `kill -9`: nothing of the program gets to clean up."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.terminate()

    def ended(self, seconds: float = 30) -> int:
        """Waits for its end; the exit code."""
        return self.process.wait(seconds)

    def family(self) -> list[psutil.Process]:
        """The program and everything below it."""
        with contextlib.suppress(*_GONE):
            own = psutil.Process(self.pid)
            return [own, *own.children(recursive=True)]
        return []

    def freeze(self) -> None:
        """Stops it and everything below it, as a paused machine would."""
        for member in self.family():
            with contextlib.suppress(*_GONE):
                member.suspend()

    def thaw(self) -> None:
        for member in self.family():
            with contextlib.suppress(*_GONE):
                member.resume()

    def resident(self) -> int:
        """Bytes of memory that the program itself holds."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


class Stack:
    """Programs in `folder`, working on the test's database and the test's broker (or those given)."""

    def __init__(
        self, folder: Path, *, lease: float = LONG_LEASE, database: str = "", broker: str = ""
    ) -> None:
        self.folder = folder / "stack"
        self.programs: list[Program] = []
        self.home, self.temporary = self.folder / "home", self.folder / "tmp"
        for made in (self.home / "logs", self.temporary):
            made.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **os.environ,
            **TIMINGS,
            "WEOPS_LEASE_SECONDS": str(lease),
            "DATABASE_URL": database or database_url(),
            "CELERY_BROKER_URL": broker or settings.CELERY_BROKER_URL,
            "WEOPS_HOME": str(self.home),
            "WEOPS_ENCRYPTION_KEYS": ",".join(settings.WEOPS_ENCRYPTION_KEYS),
            "DJANGO_SETTINGS_MODULE": "weops.settings",
            "TMPDIR": str(self.temporary),
            **allocator(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def worker(self, name: str, slots: int = 4, **variables: str) -> Program:
        """A worker of all resource groups that exist."""
        return self._start(name, f"worker --slots {slots}", variables)

    def control(self, name: str = "control") -> Program:
        """Carries the ticks out."""
        return self._start(name, "control", {})

    def beat(self, name: str = "beat") -> Program:
        return self._start(name, "beat", {})

    def _start(self, name: str, role: str, variables: dict[str, str]) -> Program:
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [
                    *launcher(signal.SIGKILL, parent=os.getpid()),
                    *(sys.executable, "-m", "weops.process", *role.split(), "--name", name),
                ],
                cwd=PROJECT,
                env=self.environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        program = Program(name, process, log)
        self.programs.append(program)
        return program

    def until_ready(self, *workers: Program) -> None:
        """Until each of the workers takes work."""
        wanted = {worker.pid for worker in workers}

        def ready() -> bool:
            for worker in workers:
                assert worker.alive, f"{worker.name} ended:\n{worker.text()}"
            return wanted <= set(WorkerProcess.objects.values_list("pid", flat=True))

        until(ready, f"ready: {', '.join(worker.name for worker in workers)}")

    def leftovers(self) -> list[str]:
        """Live processes that this stack or its tasks started, its living programs left out."""
        own = {program.pid for program in self.programs if program.alive} | {os.getpid()}
        found = []
        mark = str(self.folder)
        for process in psutil.process_iter():
            with contextlib.suppress(*_GONE, psutil.AccessDenied):
                words = [*process.cmdline(), *process.environ().values()]
                if process.pid not in own and any(mark in word for word in words):
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        return found

    def close(self) -> None:
        """Kills the programs, none of which gets to clean up, and makes sure that nothing outlives them."""
        for program in self.programs:
            program.thaw()
            program.kill()
        try:
            until(lambda: not self.leftovers(), "the end of every process of the stack", 20)
            until(lambda: not list(self.temporary.iterdir()), "the removal of the workers' folders", 20)
        except AssertionError as error:
            left = [*self.leftovers(), *map(str, self.temporary.iterdir())]
            raise AssertionError(f"{error}\nleft: {left}") from None


class Ledger:
    """A file in which tasks write what they do, and gates at which they wait for the test."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "ledger"
        self.file.touch()
        self._gates = folder

    def note(self, word: str) -> str:
        """A line of shell that writes down the execution, its try, `word`, and the shell's pid."""
        return f'echo "$WEOPS_EXECUTION_ID $WEOPS_TRY {word} $$" >> {self.file}'

    def gate(self, name: str) -> str:
        """A line of shell that goes on when the test has opened the gate."""
        return f"until [ -e {self._gates / name} ]; do sleep 0.05; done"

    def open(self, name: str) -> None:
        (self._gates / name).touch()

    def entries(self, word: str) -> list[tuple[int, int, int]]:
        """(execution id, try, pid) of each line that says `word`, in the order in which they were written."""
        rows = [line.split() for line in self.file.read_text(encoding="ascii").splitlines()]
        return [(int(row[0]), int(row[1]), int(row[3])) for row in rows if row[2] == word]

    def pids(self) -> set[int]:
        return {int(line.split()[3]) for line in self.file.read_text(encoding="ascii").splitlines()}

    def once(self, word: str) -> bool:
        """No execution wrote `word` twice."""
        ids = [entry[0] for entry in self.entries(word)]
        return len(ids) == len(set(ids))


DAY = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)


def daily(count: int = 1, **columns: Any) -> Task:
    """A task with `count` days in the past, submitted, so that the next tick generates them all."""
    task = factories.make_task(
        effective_from=DAY, effective_to=DAY + dt.timedelta(days=count - 1, hours=23), **columns
    )
    factories.submit(task, since=DAY - dt.timedelta(seconds=1))
    return task


def tick() -> None:
    """What a beat's message makes the control worker do, done by the test."""
    generation.tick()
    maintenance.sweep()


def swept(probe: Callable[[], T]) -> Callable[[], T]:
    """The probe, preceded by what the ticks do meanwhile."""

    def sweep_and_look() -> T:
        maintenance.sweep()
        return probe()

    return sweep_and_look


def of_tasks(*tasks: Task) -> list[Instance]:
    return list(Instance.objects.filter(task__in=tasks).order_by("id"))


def states(*tasks: Task) -> set[str]:
    return set(Instance.objects.filter(task__in=tasks).values_list("state", flat=True))


def executions(*tasks: Task) -> list[Execution]:
    return list(Execution.objects.filter(instance__task__in=tasks).order_by("id"))


def over(*tasks: Task) -> bool:
    """Every instance has ended and nothing of them is on any more."""
    found = states(*tasks)
    return (
        bool(found)
        and found <= {State.SUCCESS, State.FAILED}
        and not Lease.objects.filter(execution__instance__task__in=tasks).exists()
    )


def dead(pids: Iterable[int]) -> bool:
    """None of these processes is alive (a zombie is not)."""
    return not any(_is_alive(pid) for pid in pids)


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(*_GONE):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def check_books() -> None:
    """What must be true of all rows, whatever happened: nothing is open, and every history is a legal path."""
    assert not Lease.objects.exists()
    holding = [ExecutionState.DISPATCHED, ExecutionState.RUNNING, ExecutionState.STOPPING]
    assert not Execution.objects.filter(state__in=holding).exists()
    rules = {**{move.value: MOVES[move] for move in Move}, **{op.value: OPERATIONS[op] for op in Operation}}
    for instance in Instance.objects.all():
        assert instance.state in (State.SUCCESS, State.FAILED), instance
        path = list(StateChange.objects.filter(instance_id=instance.pk).order_by("id"))
        for step in path:
            assert rules[step.move].allows(step.from_state, step.to_state), step
        assert all(one.to_state == following.from_state for one, following in pairwise(path)), path
        assert path[-1].to_state == instance.state
        ended = Execution.objects.filter(instance=instance, life_round=instance.life_round)
        wins = ended.filter(state=ExecutionState.SUCCESS).count()
        assert wins == (instance.state == State.SUCCESS), instance


def delete_queues(groups: Sequence[ResourceGroup] = ()) -> None:
    """Removes the queues that a test used from the test's broker, messages and all."""
    with app.connection_for_write() as broker, broker.channel() as channel:
        for name in ["weops.control", *(group_queue(group.pk).name for group in groups)]:
            channel.queue_delete(name)


@contextlib.contextmanager
def world(
    folder: Path, changed: Any, *, lease: float = LONG_LEASE, database: str = "", broker: str = ""
) -> Iterator[Stack]:
    """A stack whose timings and log folder this process shares; afterwards nothing of it is left anywhere.

    `changed`: pytest-django's `settings`; `lease` in seconds.
    """
    changed.WEOPS_LEASE_SECONDS = lease
    changed.WEOPS_HINT_SECONDS = HINT_SECONDS
    with Stack(folder, lease=lease, database=database, broker=broker) as stack:
        location = str(stack.home / "logs" / "executions")
        changed.STORAGES = {
            **changed.STORAGES,
            "logs": {**changed.STORAGES["logs"], "OPTIONS": {"location": location}},
        }
        yield stack
    delete_queues(list(ResourceGroup.objects.all()))
