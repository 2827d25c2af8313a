"""The words shared by every runner: what to run, how it ended, and the way to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from instances.runners.settings_schema import NO_SETTINGS, Schema

# Streams of a log. A child's stdout and stderr share one pipe, so that their order is the order they were
# written in; what the platform itself has to say is marked, so that a screen can set it apart.
OUTPUT: Final = "output"
SYSTEM: Final = "weops"

EXIT_NONZERO: Final = "EXIT_NONZERO"
COMMAND_NOT_FOUND: Final = "COMMAND_NOT_FOUND"
NOT_EXECUTABLE: Final = "NOT_EXECUTABLE"
KILLED_BY_SIGNAL: Final = "KILLED_BY_SIGNAL"
OUT_OF_MEMORY: Final = "OUT_OF_MEMORY"
RUN_TIMEOUT: Final = "RUN_TIMEOUT"
TERMINATED: Final = "TERMINATED"
LEASE_LOST: Final = "LEASE_LOST"
WORKER_SHUTDOWN: Final = "WORKER_SHUTDOWN"
SPAWN_FAILED: Final = "SPAWN_FAILED"
MISSING_DATA_SOURCE: Final = "MISSING_DATA_SOURCE"
MISSING_DRIVER: Final = "MISSING_DRIVER"
DATA_SOURCE_UNREACHABLE: Final = "DATA_SOURCE_UNREACHABLE"
SQL_ERROR: Final = "SQL_ERROR"
CPU_TIME: Final = "CPU_TIME"
OUTPUT_LIMIT: Final = "OUTPUT_LIMIT"
UNKNOWN_TASK_TYPE: Final = "UNKNOWN_TASK_TYPE"
BAD_OUTPUT: Final = "BAD_OUTPUT"

REASON_TERMINATE: Final = "terminate"
REASON_LEASE_LOST: Final = "lease_lost"
REASON_SHUTDOWN: Final = "shutdown"
_CODE_OF_REASON: Final = {REASON_LEASE_LOST: LEASE_LOST, REASON_SHUTDOWN: WORKER_SHUTDOWN}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use; None: as much as there is. `memory`: bytes, of all its processes; `cpu`: seconds, of all its
    processes; `files`: open ones, of each process; `output`: bytes printed."""

    memory: int | None = None
    cpu: int | None = None
    files: int | None = None
    output: int | None = None


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One execution's work, fully resolved.

    `code` has its parameters substituted; `context` holds WEOPS_* facts (task name, data time, ...) that go
    into a child's environment as they are; `run_timeout` and `kill_grace` are seconds (no timeout when None).
    What may hold a secret is kept out of the repr, because reprs end in tracebacks. `outputs`: names of its output
    parameters; `warnings`: lines for its log, before it starts.
    """

    execution_id: int
    task_type: str
    code: str = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    data_source_url: str = field(default="", repr=False)
    context: Mapping[str, str] = field(default_factory=dict)
    # Of a Spark task: configuration by name, which an operator may have overridden.
    application_parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    run_timeout: float | None = None
    kill_grace: float = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `error_code` is "" when ok; `exit_code` and `signal` are None where they mean
    nothing. `events`: what it wants fired now that it has succeeded, `EventA,20260325;EventB,20260325`. `array`: items of a
    For-each task that are to be traversed; the run goes on without this worker. `outputs`: its output parameters.
    `branches`: names of all tasks that a branch decides about, `skips`: those of them that it does not take, `not_taken`:
    their ids (`lifecycle.Result`), which the worker finds."""

    ok: bool
    exit_code: int | None = None
    signal: int | None = None
    error_code: str = ""
    message: str = ""
    events: str = ""
    array: tuple[str, ...] | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    not_taken: tuple[int, ...] | None = None
    branches: tuple[str, ...] = ()
    skips: tuple[str, ...] | None = None


class LogSink(Protocol):
    """Where a run's log goes. Called from the run's thread only; bytes are UTF-8 as far as the task wrote
    UTF-8 (see `caps.decode`), never cut inside a character, with secrets already masked."""

    def write(self, stream: str, data: bytes) -> None: ...


class TaskType:
    """What a type says of itself, with what most types have. One file a type; each runner is one of these.

    `label`: its name on pages; `icon`: of Material Symbols, beside it; `code_is`: what the task's code is, "" when
    it has none; `language`: what it is written in, for colours: bash, python, sql or json. `schema`: its settings (see
    `settings_schema`). `codes`: the error codes that only tasks of this type end with; the catalogue
    (`engine/errors.py`) has their texts. `data_source`: whether its tasks run on a data source.
    """

    type: str
    label: str
    icon: str = "extension"
    code_is: str = ""
    language: str = ""
    schema: Schema = NO_SETTINGS
    codes: tuple[str, ...] = ()
    data_source: bool = False


class Runner(Protocol):
    """One task type (see `TaskType`). `check` returns one line per mistake found when a task is saved, of settings that
    its schema allows; `run` blocks until nothing of the run is left alive, and returns its outcome (it raises only for a
    bug or a broken log sink, and even then leaves no process behind)."""

    type: str
    label: str
    icon: str
    code_is: str
    language: str
    data_source: bool

    @property
    def schema(self) -> Schema: ...

    @property
    def codes(self) -> tuple[str, ...]: ...

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]: ...

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome: ...


class Control:
    """The worker's handle on a run; every method may be called from any thread.

    `on_process(pid, start_time)` is called in the run's thread right after a child was started; `start_time`
    is in clock ticks since boot (field 22 of /proc/<pid>/stat), which tells a reused pid from the original.
    """

    def __init__(self, on_process: Callable[[int, int], None] | None = None) -> None:
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []
        self._reason: str | None = None
        self._grace: float | None = None
        self._on_process = on_process

    @property
    def reason(self) -> str | None:
        """Why the run has to stop, None while it may go on."""
        return self._reason

    @property
    def cancelled(self) -> bool:
        return self._reason is not None

    def cancel(self, reason: str, grace: float | None = None) -> None:
        """Stops the run. The first reason wins; a later call can only shorten the grace (seconds between
        SIGTERM and SIGKILL; default: the spec's, and 0 when the lease is lost, since another worker may
        start)."""
        if grace is None and reason == REASON_LEASE_LOST:
            grace = 0.0
        with self._lock:
            if self._reason is None:
                self._reason = reason
            if grace is not None:
                self._grace = grace if self._grace is None else min(self._grace, grace)
            for listener in self._listeners:
                listener()

    def grace(self, default: float) -> float:
        """Seconds a cancelled run may take to end by itself."""
        with self._lock:
            return default if self._grace is None else min(default, self._grace)

    @contextmanager
    def listen(self, listener: Callable[[], None]) -> Iterator[None]:
        """Calls `listener` (quick, must not block) on every cancel, at once if there was one already.
        After the block it is never called again, so it may own a file descriptor."""
        with self._lock:
            self._listeners.append(listener)
            if self._reason is not None:
                listener()
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def process_started(self, pid: int, start_time: int) -> None:
        """For runners: tells the worker about a new child."""
        if self._on_process is not None:
            self._on_process(pid, start_time)


def cancelled_outcome(
    reason: str, *, how: str = "", exit_code: int | None = None, signal: int | None = None
) -> Outcome:
    """The outcome of a run stopped by `Control.cancel(reason)`; `how` says what it took."""
    text = {
        REASON_TERMINATE: "terminated on request",
        REASON_LEASE_LOST: "stopped because this worker lost its lease on the run",
        REASON_SHUTDOWN: "stopped because the worker shuts down",
    }.get(reason, f"stopped: {reason}")
    code = _CODE_OF_REASON.get(reason, TERMINATED)
    return Outcome(False, exit_code, signal, code, f"{text}; {how}" if how else text)


def timeout_outcome(
    seconds: float, *, how: str = "", exit_code: int | None = None, signal: int | None = None
) -> Outcome:
    text = f"ran longer than its timeout of {seconds:g} s"
    return Outcome(False, exit_code, signal, RUN_TIMEOUT, f"{text}; {how}" if how else text)
