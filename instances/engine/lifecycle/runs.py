"""What workers and the clock do: claim, report, renew; leases that ran out, retries that are due."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps, loads
from typing import Any
from uuid import UUID

from django.db import connection

from instances.engine import errors, event_waits
from instances.engine.event_waits import Success
from instances.engine.lifecycle import runs_statements as statements
from instances.engine.lifecycle.common import Touched, release, ripple_from
from instances.engine.lifecycle.handover import Handover, hand_over
from instances.engine.states import FINAL, ExecutionState, Move, State
from instances.engine.transactions import retried


@dataclass(frozen=True, slots=True)
class Claimed:
    """An execution that this worker now runs, with the token of its lease and what it takes to run it."""

    execution_id: int
    instance_id: int
    token: UUID
    group_id: int
    task_id: int
    version_id: int
    task_type: str
    dry_run: bool
    parameters: dict[str, str]
    data_time: Any
    planned_time: Any
    life_round: int
    try_number: int
    run_type: str

    @property
    def instant(self) -> bool:
        """Takes no time of its own."""
        return self.dry_run or self.task_type == "VIRTUAL"


@dataclass(frozen=True, slots=True)
class Result:
    """What a worker reports of an execution, under the lease's token. `ended_ago`: seconds since the work ended.
    If it succeeded: `events` is what it printed to be fired, `outputs` its output parameters by name, and `not_taken`
    the ids of the tasks that a branch did not take (None: it is no branch): their instances of the same edge are
    skipped if their trigger policies say so, and so on downstream, as if the branch had been skipped for them. That holds
    until the branch succeeds again; reruns of it decide anew. Marked as successful by hand, it takes all.

    `array`: of a For-each task, items to be traversed in place of an end; `parameters`: what it was run with, then."""

    execution_id: int
    token: UUID
    ok: bool
    error_code: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    requeue: bool = False
    ended_ago: float = 0.0
    events: str = ""
    array: Sequence[str] | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] | None = None
    not_taken: Sequence[int] | None = None


@retried
def claim(execution_ids: Sequence[int], worker: str) -> list[Claimed]:
    """Takes those of `execution_ids` that are still to be had: state running, with a lease for `worker`."""
    with connection.cursor() as cursor:
        cursor.execute(statements.CLAIM, {"ids": list(execution_ids), "worker": worker})
        return [Claimed(*(*row[:8], loads(row[8]), *row[9:])) for row in cursor.fetchall()]


def _decide(
    state: str, is_current: bool, tries: int, limit: int, result: Result
) -> tuple[str, str, str, str, str]:
    """(new state of the instance or '', move, state of the execution, error code, message) for one result."""
    code, message = result.error_code, result.message
    if not is_current or state not in (State.RUNNING, State.TERMINATING):
        return "", "", ExecutionState.CANCELLED, code or "TERMINATED", message or "The instance had moved on."
    if state == State.TERMINATING:
        return (
            State.FAILED,
            Move.CONFIRM_DEAD,
            ExecutionState.CANCELLED,
            "TERMINATED",
            message or "Terminated.",
        )
    if result.requeue:
        return State.WAIT_RUN, Move.REQUEUE, ExecutionState.REQUEUED, "WORKER_SHUTDOWN", message
    if result.ok:
        return State.SUCCESS, Move.SUCCEED, ExecutionState.SUCCESS, "", ""
    if tries < limit and errors.retryable(code):
        return State.FAILED_RETRY, Move.FAIL_FOR_RETRY, ExecutionState.FAILED, code, message
    return State.FAILED, Move.FAIL, ExecutionState.FAILED, code, message


def _storable(message: str) -> str:
    """What PostgreSQL can hold of a text from anywhere: no NUL, no half character, not too long."""
    return message[:4000].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _array(ids: Sequence[int] | None) -> str | None:
    return None if ids is None else "{" + ",".join(str(int(pk)) for pk in ids) + "}"


@retried
def finish(results: Sequence[Result], lease_ttl: float | None = None) -> Touched:
    """Writes results under their leases, and releases the children of those that succeeded.

    A result whose lease is gone (expired, duplicate, resurrected worker) changes nothing. With `lease_ttl` seconds it
    writes only where the lease has really expired: the sweeper's way.
    """
    by_execution = {result.execution_id: result for result in results}
    touched = Touched()
    with connection.cursor() as cursor:
        cursor.execute(
            statements.TAKE_LEASES,
            {
                "ids": list(by_execution),
                "tokens": [result.token for result in by_execution.values()],
                "ttl": lease_ttl,
            },
        )
        columns: dict[str, list[Any]] = {
            name: []
            for name in (
                "instance",
                "execution",
                "old",
                "new",
                "move",
                "exec_state",
                "code",
                "message",
                "exit_code",
                "signal",
                "ended_ago",
                "retry_wait",
                "outputs",
                "not_taken",
            )
        }
        succeeded, failed = [], []
        branches: dict[int, Sequence[int]] = {}
        fires: list[Success] = []
        handovers: list[Handover] = []
        for (
            execution_id,
            instance_id,
            state,
            tries,
            current_id,
            home_group,
            home_lane,
            plan_id,
            for_each_id,
            group_id,
            serial_task_id,
            lane,
            limit,
            retry_wait,
            emits,
        ) in cursor.fetchall():
            result = by_execution[execution_id]
            if result.array is not None and state == State.RUNNING and current_id == execution_id:
                handovers.append(Handover(instance_id, execution_id, result.array, result.parameters))
                # Its slot is free; its turn is not.
                touched.freed(group_id, None, None)
                touched.for_each.add(instance_id)
                touched.instances += 1
                continue
            new, move, exec_state, code, message = _decide(
                state, current_id == execution_id, tries, limit, result
            )
            row = (
                instance_id,
                execution_id,
                state,
                new,
                move,
                exec_state,
                code,
                _storable(message),
                result.exit_code,
                result.signal,
                result.ended_ago,
                retry_wait,
                dumps(dict(result.outputs)) if result.outputs and new == State.SUCCESS else None,
                _array(result.not_taken) if new == State.SUCCESS else None,
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            touched.instances += 1
            touched.freed(group_id, serial_task_id, lane)
            # Where the instance lives now: its next life may have waited for this child to be dead.
            touched.freed(home_group, None, home_lane)
            if new in FINAL:
                touched.plans |= {plan_id} - {None}
            if new in FINAL or not new:
                touched.for_each |= {for_each_id} - {None, instance_id}
            if new == State.SUCCESS:
                succeeded.append(instance_id)
                if result.not_taken is not None:
                    branches[instance_id] = result.not_taken
                if emits or result.events:
                    fires.append(Success(instance_id, execution_id, result.events))
            elif new == State.FAILED:
                failed.append(instance_id)
            touched.retry_now |= new == State.FAILED_RETRY and retry_wait == 0
        if columns["instance"]:
            cursor.execute(statements.WRITE_RESULTS, columns)
        for handover in handovers:
            hand_over(cursor, handover)
        release(cursor, succeeded, touched, branches)
        ripple_from(cursor, failed, touched, failed=True)
        if fires:
            touched.fires = event_waits.write_down(fires)
    return touched


@retried
def renew(worker: str, held: Sequence[int] | None = None) -> dict[int, str]:
    """Renews the worker's leases: {execution id: why it must stop, or ''}.

    `held`: ids of the executions that it knows to run; None means all that are in its name.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.RENEW, {"worker": worker, "held": None if held is None else list(held)})
        return dict(cursor.fetchall())


@retried
def note_processes(pids: dict[int, int]) -> None:
    """Writes the process of each running execution, {execution id: pid}, for those who look for it on the host."""
    with connection.cursor() as cursor:
        cursor.execute(statements.NOTE_PROCESSES, [list(pids), list(pids.values())])


def expire(lease_ttl: float, limit: int = 500) -> Touched:
    """Ends executions whose lease ran out: lost, and retried as their task's retries allow.

    After a restart of the database every worker has the whole time again to renew what it could not renew.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.LOST, {"ttl": lease_ttl, "limit": limit})
        lost = [
            Result(
                execution_id,
                token,
                ok=False,
                error_code="LOST",
                message=f"Worker {worker} did not renew its lease for {lease_ttl:g} s.",
            )
            for execution_id, token, worker in cursor.fetchall()
        ]
    return finish(lost, lease_ttl) if lost else Touched()


@retried
def retry_due(limit: int = 1000) -> Touched:
    """Puts instances whose retry wait is over back in the queue."""
    touched = Touched()
    with connection.cursor() as cursor:
        cursor.execute(statements.RETRY_DUE, {"limit": limit})
        for group_id, lane in cursor.fetchall():
            touched.freed(group_id, None, lane)
            touched.instances += 1
    return touched
