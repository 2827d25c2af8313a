"""Every operation in every state, from the table: what is allowed changes, what is not is refused and says why."""

import uuid
from collections.abc import Callable

import pytest
from django.db import connection

from instances import operations
from instances.engine import lifecycle
from instances.engine.states import (
    FINAL,
    LABELS,
    MEANINGS,
    MOVES,
    OPERATIONS,
    WAITING,
    Move,
    Operation,
    State,
    refusal,
    sources,
)
from instances.models import Execution, Instance, Lease, OperationItem, StateChange
from instances.models.operation import ItemOutcome, OperationState
from tests.engine import harness
from tests.engine.harness import DAY, _django_db_helper, bad, due, fresh, good, started

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

# Operations that change an instance as a whole; removing a dependency is one of its edges' matter.
WHOLE = [Operation.TERMINATE, Operation.RERUN, Operation.MARK_SUCCESS]


def _brought_to(state: State) -> Instance:
    """An instance in `state`, by the engine's own ways where they exist yet."""
    [day] = due(retry_limit=1, retry_wait=DAY)
    ways: dict[State, Callable[[], object]] = {
        State.WAIT_RUN: lambda: None,
        State.RUNNING: lambda: started(day),
        State.TERMINATING: lambda: (started(day), lifecycle.terminate([day.pk])),
        State.FAILED_RETRY: lambda: lifecycle.finish([bad(started(day)[0])]),
        State.FAILED: lambda: lifecycle.terminate([day.pk]),
        State.SUCCESS: lambda: lifecycle.finish([good(started(day)[0])]),
        State.WAIT_UPSTREAM: lambda: Instance.objects.update(state=State.WAIT_UPSTREAM, pending_upstream=1),
        State.WAIT_EVENT: lambda: Instance.objects.update(state=State.WAIT_EVENT),
        State.SKIPPED: lambda: Instance.objects.update(state=State.SKIPPED, end_time=day.created_at),
    }
    ways[state]()
    assert harness.state(day) == state
    return day


def _target(operation: Operation, state: State) -> State:
    """Of the specification: what becomes of an instance on which the operation is allowed."""
    if operation is Operation.TERMINATE:
        return State.TERMINATING if state is State.RUNNING else State.FAILED
    return State.SUCCESS if operation is Operation.MARK_SUCCESS else State.WAIT_RUN


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("operation", WHOLE)
def test_every_operation_in_every_state(operation: Operation, state: State) -> None:
    day = _brought_to(state)
    before = fresh(day)
    changes = StateChange.objects.count()
    record = operations.run(operation, [day.pk], user=None, reason="why not", source="api")
    item = OperationItem.objects.get()
    after = fresh(day)
    if state in sources(operation):
        target = _target(operation, state)
        assert target in OPERATIONS[operation].targets
        assert (record.state, record.done, record.refused) == (OperationState.SUCCESS, 1, 0)
        assert (item.outcome, item.from_state, item.to_state) == (ItemOutcome.DONE, state, target)
        assert after.state == target
        change = StateChange.objects.latest("id")
        assert (change.move, change.from_state, change.to_state, change.operation_id) == (
            operation,
            state,
            target,
            record.pk,
        )
    else:
        assert (record.state, record.done, record.refused) == (OperationState.FAIL, 0, 1)
        assert (item.outcome, item.from_state, item.to_state) == (ItemOutcome.REFUSED, state, "")
        assert LABELS[state] in item.message
        for allowed in sources(operation):
            assert LABELS[allowed] in item.message
        assert vars(after) | {"_state": None} == vars(before) | {"_state": None}
        assert StateChange.objects.count() == changes
    assert (record.kind, record.reason, record.source, record.total) == (operation, "why not", "api", 1)
    assert record.finished_at is not None


@pytest.mark.parametrize("state", State)
def test_only_a_leased_execution_can_be_reported(state: State) -> None:
    """No result, however it is made up, changes an instance that runs nothing, or one that somebody else runs."""
    day = _brought_to(state)
    before, leases = fresh(day), list(Lease.objects.values())
    known = list(Execution.objects.values_list("id", flat=True)) or [1]
    for execution_id in known:
        forged = lifecycle.Result(execution_id, uuid.uuid4(), ok=True)
        assert lifecycle.finish([forged]).instances == 0
    assert lifecycle.claim(known, "thief") == [] or state is State.WAIT_RUN
    assert vars(fresh(day)) | {"_state": None} == vars(before) | {"_state": None}
    assert list(Lease.objects.values()) == leases


class TestTheTable:
    def test_every_state_has_a_name_and_a_meaning(self) -> None:
        assert set(LABELS) == set(MEANINGS) == set(State)

    def test_every_state_can_be_reached_and_left(self) -> None:
        rules = [*MOVES.values(), *OPERATIONS.values()]
        reached = {target for rule in rules for target in rule.targets}
        left = {source for rule in [*MOVES.values(), OPERATIONS[Operation.RERUN]] for source in rule.sources}
        assert reached | set(WAITING) == set(State)
        assert left == set(State)

    def test_only_a_rerun_or_a_correction_leaves_a_final_state(self) -> None:
        final = {move: set(rule.sources) & set(FINAL) for move, rule in MOVES.items()}
        # What was skipped is decided again when its parents change, and never by an operation on itself.
        assert final.pop(Move.RECONSIDER) == {State.SKIPPED}
        # Inner instances of a For-each task: a new life of theirs is one of its own.
        assert final.pop(Move.TRAVERSE) == set(FINAL)
        assert not any(final.values())
        leaving = {op for op in WHOLE if set(sources(op)) & set(FINAL)}
        assert leaving == {Operation.RERUN, Operation.MARK_SUCCESS}

    def test_what_the_specification_says(self) -> None:
        assert set(sources(Operation.TERMINATE)) - {State.FAILED_RETRY} == {
            State.WAIT_EVENT, State.WAIT_UPSTREAM, State.WAIT_RUN, State.RUNNING,
        }  # fmt: skip
        assert set(sources(Operation.RERUN)) == {
            State.FAILED, State.SUCCESS, State.WAIT_RUN, State.FAILED_RETRY,
        }  # fmt: skip
        assert set(sources(Operation.MARK_SUCCESS)) == {
            State.RUNNING, State.FAILED, State.WAIT_EVENT, State.WAIT_UPSTREAM, State.WAIT_RUN,
        }  # fmt: skip
        assert set(sources(Operation.REMOVE_DEPENDENCY)) == set(State)

    def test_what_keeps_the_state(self) -> None:
        freeze, remove = OPERATIONS[Operation.FREEZE], OPERATIONS[Operation.REMOVE_DEPENDENCY]
        assert set(freeze.sources) == {*WAITING, State.FAILED_RETRY}
        assert all(freeze.allows(state, state) for state in freeze.sources)
        assert not freeze.allows(State.RUNNING, State.RUNNING)
        assert not freeze.allows(State.WAIT_UPSTREAM, State.WAIT_RUN)
        assert remove.allows(State.SUCCESS, State.SUCCESS)
        assert remove.allows(State.WAIT_UPSTREAM, State.WAIT_RUN)
        assert not MOVES[Move.SUCCEED].allows(State.RUNNING, State.RUNNING)

    def test_a_refusal_names_the_instance_its_state_and_what_is_allowed(self) -> None:
        assert refusal(Operation.MARK_SUCCESS, "terminating", "load 2013-01-01") == (
            "load 2013-01-01 is in state Terminating: mark success is allowed only from Running, Failed, "
            "Wait for event, Waiting for upstream, Waiting for execution."
        )

    def test_the_database_knows_the_same_states(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'instance_state_known'"
            )
            definition = cursor.fetchone()[0]
        assert all(f"'{state}'" in definition for state in State)


class TestWhatAnOperationLeaves:
    def test_marking_a_failed_run_as_successful_keeps_when_it_ran(self) -> None:
        [day] = due()
        lifecycle.finish([bad(started(day)[0])])
        ran = fresh(day).start_time
        lifecycle.mark_success([day.pk])
        after = fresh(day)
        assert (after.start_time, after.error_code, after.error_message) == (ran, "", "")

    def test_a_rerun_begins_with_clean_counters_but_the_accumulated_one(self) -> None:
        [day] = due(retry_limit=1)
        lifecycle.finish([bad(started(day)[0])])
        lifecycle.retry_due()
        lifecycle.finish([bad(started(day)[0])])
        assert (fresh(day).state, fresh(day).tries, fresh(day).total_runs) == ("failed", 1, 2)
        lifecycle.rerun([day.pk])
        row = fresh(day)
        assert (row.life_round, row.tries, row.total_runs) == (1, 0, 2)
        assert (row.start_time, row.end_time, row.error_code, row.error_message) == (None, None, "", "")
        lifecycle.finish([good(started(day)[0])])
        assert (fresh(day).total_runs, harness.executions(day)) == (3, ["failed", "failed", "success"])

    def test_a_life_that_ends_waiting_is_on_record_with_its_phases(self) -> None:
        [day] = due()
        lifecycle.terminate([day.pk])
        execution = Execution.objects.get()
        assert (execution.state, execution.error_code, execution.run_started_at) == (
            "cancelled",
            "TERMINATED",
            None,
        )
        assert execution.wait_started_at == day.wait_since
        assert execution.ended_at is not None
        assert fresh(day).execution_id is None

    def test_retry_waits_its_time(self) -> None:
        [day] = due(retry_limit=1, retry_wait=DAY)
        [claimed] = started(day)
        touched = lifecycle.finish([bad(claimed)])
        assert not touched.retry_now
        row = fresh(day)
        assert row.end_time is not None
        assert row.not_before - row.end_time >= DAY - harness.HOUR
        assert lifecycle.retry_due().instances == 0

    def test_errors_that_no_retry_can_mend_end_the_life(self) -> None:
        [day] = due(retry_limit=5)
        lifecycle.finish([bad(started(day)[0], "UNDEFINED_PARAMETER")])
        assert (fresh(day).state, fresh(day).tries) == ("failed", 0)

    def test_waiting_too_long_fails(self) -> None:
        [day] = due(wait_timeout=DAY)
        assert lifecycle.wait_timeouts().instances == 0
        Instance.objects.update(wait_deadline=harness.JANUARY)
        assert lifecycle.wait_timeouts().instances == 1
        assert (fresh(day).state, fresh(day).error_code) == ("failed", "WAIT_TIMEOUT")
        lifecycle.rerun([day.pk])
        assert lifecycle.wait_timeouts().instances == 0

    def test_a_long_run_is_no_waiting(self) -> None:
        """It ran past its waiting deadline, failed, and waits again for its retry: with all the time anew."""
        [day] = due(wait_timeout=DAY, retry_limit=1)
        [claimed] = started(day)
        Instance.objects.update(wait_deadline=harness.JANUARY)
        assert lifecycle.wait_timeouts().instances == 0
        lifecycle.finish([bad(claimed)])
        lifecycle.retry_due()
        assert lifecycle.wait_timeouts().instances == 0
        [again] = started(day)
        Instance.objects.update(wait_deadline=harness.JANUARY)
        lifecycle.finish([lifecycle.Result(again.execution_id, again.token, ok=False, requeue=True)])
        assert lifecycle.wait_timeouts().instances == 0
        assert fresh(day).state == "wait_run"
