"""Runs one claimed execution, from its snapshot to its result. Writes no state: the runtime reports the result."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from json import loads
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from instances.engine import branching, snapshot
from instances.engine.diagnosis import KEPT_BYTES, diagnose
from instances.engine.lifecycle import Claimed, Result
from instances.engine.logs import Sink, diagnosis
from instances.engine.parameters import ParameterError
from instances.engine.secrets import masked, note_uses
from instances.engine.states import RunType
from instances.models import Task, TaskVersion
from instances.runners import registry
from instances.runners.base import (
    OUTPUT,
    REASON_SHUTDOWN,
    Control,
    Limits,
    LogSink,
    Outcome,
    RunSpec,
    cancelled_outcome,
)
from instances.runners.caps import decode
from instances.runners.environment import secret_values, url_passwords
from instances.runners.limits import stricter
from instances.runners.masker import Masker
from weops.projects.models import DataSource

log = logging.getLogger(__name__)
HOST = socket.gethostname()
# Seconds between two looks for a database that is away.
_DATABASE_PAUSE = 0.5
_MB = 1_000_000


class Tail:
    """Passes a log on and keeps the end of what the task printed, secrets masked already, for the diagnosis."""

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink
        self._kept = bytearray()

    def write(self, stream: str, data: bytes) -> None:
        self._sink.write(stream, data)
        if stream == OUTPUT:
            self._kept += data[-KEPT_BYTES:]
            # Not with each small write: that would copy the rest each time.
            if len(self._kept) > 4 * KEPT_BYTES:
                del self._kept[:-KEPT_BYTES]

    def text(self) -> str:
        return decode(bytes(self._kept[-KEPT_BYTES:]))


class Refused(Exception):
    """The execution cannot be run as it is defined; `code` is of the error catalogue."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Run:
    """A run in progress: what the worker's heartbeat needs to stop it. `renewed`: monotonic seconds.

    `pid`: the child's, once there is one; `pid_written`: whether the execution's row has it.
    """

    claimed: Claimed
    control: Control = field(init=False)
    renewed: float = field(default_factory=time.monotonic)
    pid: int | None = None
    pid_written: bool = False
    sink: Sink | None = None

    def __post_init__(self) -> None:
        self.control = Control(self._started)

    def _started(self, pid: int, _start_time: int) -> None:
        self.pid = pid
        if self.sink is not None:
            self.sink.line(f"process {pid} started")


def _reveal(what: str, reveal: Callable[[], str]) -> str:
    try:
        return reveal()
    except ValueError as error:
        raise Refused("UNREADABLE_SECRET", f"{what}: {error}") from error


def _limits(columns: Sequence[int | None]) -> Limits:
    """Of `Task.LIMITS`: megabytes of memory, seconds, files, megabytes of output."""
    memory, cpu, files, output = columns
    return Limits(
        memory=memory * _MB if memory else None, cpu=cpu, files=files, output=output * _MB if output else None
    )


_DEFINITION = """
SELECT v.code, v.definition::text, t.name, t.run_timeout, t.data_source_id, w.name, p.name,
       EXISTS (SELECT 1 FROM instances_task_secrets s WHERE s.task_id = t.id),
       (SELECT e.application_parameters::text FROM instances_execution e WHERE e.id = %s),
       (SELECT ARRAY[g.memory_limit, g.cpu_limit, g.files_limit, g.output_limit]
        FROM projects_resourcegroup g WHERE g.id = %s),
       (SELECT e.inherited::text FROM instances_execution e WHERE e.id = %s)
FROM instances_taskversion v JOIN instances_task t ON t.id = v.task_id JOIN instances_workflow w ON w.id = t.workflow_id
JOIN projects_project p ON p.id = w.project_id WHERE v.id = %s
"""


def prepare(claimed: Claimed) -> RunSpec:
    """Everything the runner needs, resolved now. Raises ParameterError or Refused."""
    # One statement for what every run needs: loading whole models took longer than starting the child.
    with connection.cursor() as cursor:
        cursor.execute(
            _DEFINITION, [claimed.execution_id, claimed.group_id, claimed.execution_id, claimed.version_id]
        )
        (
            code,
            definition,
            task,
            run_timeout,
            source_id,
            workflow,
            project,
            has_secrets,
            application,
            of_group,
            inherited,
        ) = cursor.fetchone()
    version = TaskVersion(
        pk=claimed.version_id, task_type=claimed.task_type, code=code, definition=loads(definition)
    )
    # Secrets are resolved at the last moment and live in this process's memory only.
    found = list(Task(pk=claimed.task_id).secrets.all()) if has_secrets else []
    secrets = {secret.name: _reveal(f"Secret {secret.name}", secret.reveal) for secret in found}
    url = ""
    if source_id:
        source = DataSource.objects.select_related("url").get(pk=source_id)
        url = _reveal(f"The URL of data source {source.name}", source.url.reveal)
        found.append(source.url)
    try:
        rendered = snapshot.render(version, claimed.parameters, claimed.data_time, claimed.planned_time)
    except ParameterError as error:
        hidden = Masker([*secrets.values(), url, *url_passwords(url)])
        raise ParameterError(hidden.mask_text(str(error)), code=error.code, name=error.name) from None
    if found:
        note_uses(claimed.execution_id, found)
    return RunSpec(
        execution_id=claimed.execution_id,
        task_type=claimed.task_type,
        code=rendered.code,
        settings=rendered.settings,
        parameters=rendered.parameters,
        secrets=secrets,
        data_source_url=url,
        outputs=tuple(version.definition.get("outputs", ())),
        warnings=tuple(_given_twice(loads(inherited or "{}"))),
        context={
            "WEOPS_PROJECT": project,
            "WEOPS_WORKFLOW": workflow,
            "WEOPS_TASK": task,
            "WEOPS_DATA_TIME": claimed.data_time.isoformat(),
            "WEOPS_LIFE_ROUND": str(claimed.life_round),
            "WEOPS_TRY": str(claimed.try_number),
            **({"WEOPS_TEST_RUN": "1"} if claimed.run_type == RunType.TEST else {}),
        },
        application_parameters=loads(application or "{}"),
        limits=stricter(
            _limits([version.definition.get(name) for name in Task.LIMITS]), _limits(of_group or [None] * 4)
        ),
        run_timeout=_run_timeout(run_timeout, claimed),
        kill_grace=settings.WEOPS_KILL_GRACE_SECONDS,
    )


def _run_timeout(of_task: Any, claimed: Claimed) -> float | None:
    """A test run must end, though its task may run for ever."""
    seconds: list[float] = [of_task.total_seconds()] if of_task else []
    if claimed.run_type == RunType.TEST:
        seconds.append(settings.WEOPS_TEST_RUN_SECONDS)
    return min(seconds, default=None)


def _given_twice(inherited: dict[str, Any]) -> Iterator[str]:
    """What is to be said of parameters that several upstream tasks gave."""
    for name, source in inherited.items():
        if source["also"]:
            others = ", ".join(source["also"])
            yield f"the parameter {name} is the one of {source['from']}, declared first; {others} gave one, too"


def _prepared(run: Run) -> RunSpec | None:
    """Waits for a database that is away: nothing has run, so nothing has failed. None: the run was stopped meanwhile."""
    while not run.control.cancelled:
        try:
            return prepare(run.claimed)
        except (OperationalError, InterfaceError) as error:
            log.warning("execution %d waits for the database: %s", run.claimed.execution_id, error)
            time.sleep(_DATABASE_PAUSE)
        finally:
            # The task may run for hours: its connection goes back to the pool.
            connection.close()
    return None


def _not_started(control: Control) -> Outcome:
    return cancelled_outcome(control.reason or "", how="it had not started")


def _result(claimed: Claimed, outcome: Outcome, control: Control, spec: RunSpec | None) -> Result:
    return Result(
        claimed.execution_id,
        claimed.token,
        outcome.ok,
        outcome.error_code,
        outcome.message,
        outcome.exit_code,
        outcome.signal,
        requeue=control.reason == REASON_SHUTDOWN and not outcome.ok,
        events=outcome.events,
        outputs=outcome.outputs,
        not_taken=outcome.not_taken,
        array=outcome.array,
        parameters=spec.parameters if spec and outcome.array is not None else {},
    )


def _masked(outcome: Outcome, spec: RunSpec | None) -> Outcome:
    """No message of an error and no output shows a secret, whatever the runner: they are kept in rows that every viewer
    reads."""
    if spec is None or not (spec.secrets or spec.data_source_url):
        return outcome
    mask = Masker(secret_values(spec))
    return replace(outcome, message=mask.mask_text(outcome.message), outputs=masked(outcome.outputs, mask))


def _decided(claimed: Claimed, outcome: Outcome) -> Outcome:
    """Of a branch that succeeded, which tasks it skips. Raises Refused if it names one that does not wait for it."""
    if not outcome.ok or outcome.skips is None:
        return outcome
    try:
        ids = branching.ids_of(claimed.task_id, outcome.skips, outcome.branches)
    except branching.UnknownTasks as error:
        raise Refused("BRANCH_UNKNOWN_TASK", str(error)) from error
    finally:
        connection.close()
    return replace(outcome, not_taken=tuple(ids))


def _with_exit(ending: str, outcome: Outcome) -> str:
    if outcome.exit_code is not None:
        said = f"exit code {outcome.exit_code}"
        return ending if said in outcome.message else f"{ending} ({said})"
    return f"{ending} (signal {outcome.signal})" if outcome.signal else ending


def supervise(run: Run, sink: Sink, worker: str) -> Result:
    """Runs the execution to its end; every error becomes a result, so that nothing is left hanging."""
    claimed = run.claimed
    run.sink = sink
    sink.line(
        f"execution {claimed.execution_id}, life {claimed.life_round}, try {claimed.try_number}, on {worker} "
        f"(host {HOST}, pid {os.getpid()})"
    )
    if claimed.run_type == RunType.TEST:
        sink.line("a test run: nothing waits for it, and it is not tried again")
    spec: RunSpec | None = None
    try:
        runner = registry.get(claimed.task_type)
        spec = _prepared(run)
        for line in spec.warnings if spec else ():
            sink.line(line)
        if spec and spec.secrets:
            sink.line(f"its environment has the secrets {', '.join(sorted(spec.secrets))}")
        tail = Tail(sink)
        outcome = runner.run(spec, tail, run.control) if spec else _not_started(run.control)
        outcome = _decided(claimed, outcome)
        if not outcome.ok:
            found = diagnose(claimed.task_type, outcome.error_code, outcome.message, tail.text())
            outcome = replace(outcome, error_code=found.code, message=found.line)
    except ParameterError as error:
        outcome = Outcome(False, error_code=error.code, message=str(error))
    except Refused as error:
        outcome = Outcome(False, error_code=error.code, message=str(error))
    except registry.UnknownTaskType as error:
        outcome = Outcome(False, error_code="UNKNOWN_TASK_TYPE", message=str(error))
    except Exception:
        log.exception("execution %d broke the worker's own code", claimed.execution_id)
        outcome = Outcome(
            False,
            error_code="INTERNAL_ERROR",
            message=f"An error inside WeOps; the log of worker {worker} has the traceback.",
        )
    outcome = _masked(outcome, spec)
    if outcome.array is not None:
        ending = f"the array has {len(outcome.array):,} items; its traversals go on without this worker"
    else:
        ending = "succeeded" if outcome.ok else f"{outcome.error_code}: {outcome.message}"
    sink.line(_with_exit(ending, outcome))
    for line in diagnosis(outcome.error_code):
        sink.line(line)
    return _result(claimed, outcome, run.control, spec)
