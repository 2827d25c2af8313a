"""The only writer of state: every change of an instance's or execution's state is one of the functions below.

Each is a transaction of its own. A change is an UPDATE of a set, filtered by the old state and, for a running
execution, by the lease's token; the history rows are written by the same statement. Fewer rows than asked for is a
normal answer: somebody else won.

Locks: instances in ascending order of id, parents before children, leases and executions only under their instance's
lock. A parent that ends satisfies its edges in a statement of its own, after the statement that locked it: so it sees
every edge of a generation that committed while it waited for that lock (generation holds the parent's row FOR SHARE).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from json import loads
from typing import Any
from uuid import UUID

from django.db import connection

from instances.engine import errors
from instances.engine import lifecycle_statements as statements
from instances.engine.states import (
    OPERATIONS,
    WAITING,
    ExecutionState,
    Move,
    Operation,
    RunType,
    State,
)
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
    """What a worker reports of an execution, under the lease's token. `ended_ago`: seconds since the work ended."""

    execution_id: int
    token: UUID
    ok: bool
    error_code: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    requeue: bool = False
    ended_ago: float = 0.0


@dataclass(slots=True)
class Touched:
    """What a change may have made ready: groups to dispatch for, serial tasks whose turn is free, retries due now."""

    groups: set[int] = field(default_factory=set)
    serial_tasks: set[int] = field(default_factory=set)
    retry_now: bool = False
    instances: int = 0

    def add(self, other: "Touched") -> None:
        self.groups |= other.groups
        self.serial_tasks |= other.serial_tasks
        self.retry_now |= other.retry_now
        self.instances += other.instances


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
            )
        }
        succeeded = []
        for (
            execution_id,
            instance_id,
            state,
            tries,
            current_id,
            home_group,
            group_id,
            serial_task_id,
            task_id,
            limit,
            retry_wait,
        ) in cursor.fetchall():
            result = by_execution[execution_id]
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
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            touched.instances += 1
            touched.groups |= {group_id, home_group}
            # Not the current one: the instance's next life may have been held back until this child was dead.
            if serial_task_id or current_id != execution_id or not new:
                touched.serial_tasks.add(task_id)
            if new == State.SUCCESS:
                succeeded.append(instance_id)
            touched.retry_now |= new == State.FAILED_RETRY and retry_wait == 0
        if touched.instances:
            cursor.execute(statements.WRITE_RESULTS, columns)
        touched.groups |= _release(cursor, succeeded)
    return touched


def _release(cursor: Any, succeeded: Sequence[int]) -> set[int]:
    """Releases the children of instances that succeeded; their groups. Must follow the statement that locked them."""
    if not succeeded:
        return set()
    cursor.execute(statements.RELEASE, {"ids": list(succeeded)})
    return {row[0] for row in cursor.fetchall()}


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
        cursor.execute(
            "SELECT execution_id, token, worker FROM instances_lease "
            "WHERE greatest(heartbeat_at, pg_postmaster_start_time()) < now() - %s * interval '1 second' "
            "ORDER BY execution_id LIMIT %s",
            [lease_ttl, limit],
        )
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
    with connection.cursor() as cursor:
        cursor.execute(statements.RETRY_DUE, {"limit": limit})
        groups = [row[0] for row in cursor.fetchall()]
    return Touched(groups=set(groups), instances=len(groups))


def _end(
    cursor: Any,
    ids: Sequence[int],
    sources: Iterable[str],
    new: str,
    move: str,
    code: str,
    message: str,
    operation: int | None,
) -> tuple[dict[int, str], Touched]:
    """Ends instances that no worker holds; {instance id: old state} of those it ended, and what was touched."""
    values = {
        "ids": list(ids),
        "sources": list(sources),
        "new": new,
        "move": move,
        "code": code,
        "message": message,
        "operation": operation,
    }
    cursor.execute(statements.END_WAITING, values)
    rows = cursor.fetchall()
    touched = Touched(groups={row[2] for row in rows}, instances=len(rows))
    ended = {row[0]: row[1] for row in rows}
    if ended:
        values["ids"] = list(ended)
        cursor.execute(statements.CANCEL_DISPATCHED, values)
        for group_id, serial_task_id in cursor.fetchall():
            touched.groups.add(group_id)
            touched.serial_tasks |= {serial_task_id} - {None}
        values["ids"] = [instance_id for instance_id, old in ended.items() if old in WAITING]
        cursor.execute(statements.RECORD_WAITING_LIFE, values)
    return ended, touched


@retried
def wait_timeouts(limit: int = 1000) -> Touched:
    """Fails instances that have waited longer than their total waiting timeout."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM instances_instance WHERE state IN ('wait_event', 'wait_upstream', 'wait_run') "
            "AND wait_deadline IS NOT NULL AND wait_deadline < now() ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED",
            [limit],
        )
        ids = [row[0] for row in cursor.fetchall()]
        if not ids:
            return Touched()
        return _end(
            cursor,
            ids,
            WAITING,
            State.FAILED,
            Move.WAIT_TIMEOUT,
            "WAIT_TIMEOUT",
            errors.CATALOGUE["WAIT_TIMEOUT"].title,
            None,
        )[1]


def _lock(cursor: Any, ids: Sequence[int]) -> None:
    """Locks the rows in order, so that the statements that follow see them as they stay."""
    cursor.execute("SELECT id FROM instances_instance WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [list(ids)])


def _stop_running(
    cursor: Any, ids: Sequence[int], new: str, cancel: str, operation: int | None
) -> dict[int, str]:
    cursor.execute(
        statements.STOP_RUNNING, {"ids": list(ids), "new": new, "cancel": cancel, "operation": operation}
    )
    return {row[0]: State.RUNNING.value for row in cursor.fetchall()}


@retried
def terminate(ids: Sequence[int], operation: int | None = None) -> tuple[dict[int, str], Touched]:
    """Stops instances: running ones become terminating until their processes are dead, all others fail at once.

    Gives {instance id: old state} of those it changed; the rest were in no state that allows it.
    """
    idle = [state for state in OPERATIONS[Operation.TERMINATE].sources if state != State.RUNNING]
    with connection.cursor() as cursor:
        _lock(cursor, ids)
        stopped = _stop_running(cursor, ids, State.TERMINATING, "terminate", operation)
        ended, touched = _end(
            cursor, ids, idle, State.FAILED, Operation.TERMINATE, "TERMINATED", "Terminated.", operation
        )
    return stopped | ended, touched


@retried
def mark_success(ids: Sequence[int], operation: int | None = None) -> tuple[dict[int, str], Touched]:
    """Makes instances successful at once and releases their children; a running child is killed by its worker."""
    idle = [state for state in OPERATIONS[Operation.MARK_SUCCESS].sources if state != State.RUNNING]
    with connection.cursor() as cursor:
        _lock(cursor, ids)
        stopped = _stop_running(cursor, ids, State.SUCCESS, "mark_success", operation)
        ended, touched = _end(cursor, ids, idle, State.SUCCESS, Operation.MARK_SUCCESS, "", "", operation)
        changed = stopped | ended
        touched.groups |= _release(cursor, list(changed))
    return changed, touched


@retried
def rerun(
    ids: Sequence[int], operation: int | None = None, run_type: str = RunType.RERUN
) -> tuple[dict[int, str], Touched]:
    """Begins a new life round at once, without looking at the parents. {instance id: old state} of those it changed."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {
            "ids": list(ids),
            "sources": list(OPERATIONS[Operation.RERUN].sources),
            "operation": operation,
            "run_type": run_type,
            "code": "TERMINATED",
            "message": "Replaced by a rerun.",
        }
        _lock(cursor, ids)
        cursor.execute(statements.NEW_LIFE, values)
        rows = cursor.fetchall()
        changed = {row[0]: row[1] for row in rows}
        touched = Touched(groups={row[2] for row in rows}, instances=len(rows))
        if changed:
            values["ids"] = list(changed)
            cursor.execute(statements.CANCEL_DISPATCHED, values)
            for group_id, serial_task_id in cursor.fetchall():
                touched.groups.add(group_id)
                touched.serial_tasks |= {serial_task_id} - {None}
            cursor.execute(statements.REOPEN, values)
    return changed, touched
