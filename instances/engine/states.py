"""The front door of the engine: every state, every operation, and the table of what may follow what.

Standard library only. Documents, admin buttons, API errors and tests are made from these tables;
`lifecycle/` is the only module that carries a change out.
"""

from dataclasses import dataclass
from enum import StrEnum

from instances.language import gettext, listed_plainly
from instances.language import gettext_noop as _


class State(StrEnum):
    """State of an instance."""

    WAIT_EVENT = "wait_event"
    WAIT_UPSTREAM = "wait_upstream"
    WAIT_RUN = "wait_run"
    RUNNING = "running"
    TERMINATING = "terminating"
    FAILED_RETRY = "failed_retry"
    FAILED = "failed"
    SUCCESS = "success"
    SKIPPED = "skipped"


LABELS = {
    State.WAIT_EVENT: _("Wait for event"),
    State.WAIT_UPSTREAM: _("Waiting for upstream"),
    State.WAIT_RUN: _("Waiting for execution"),
    State.RUNNING: _("Running"),
    State.TERMINATING: _("Terminating"),
    State.FAILED_RETRY: _("Retry on failure"),
    State.FAILED: _("Failed"),
    State.SUCCESS: _("Success"),
    State.SKIPPED: _("Skipped"),
}

MEANINGS = {
    State.WAIT_EVENT: _("The task listens to an event that has not come yet."),
    State.WAIT_UPSTREAM: _("An upstream instance is missing or has not succeeded yet."),
    State.WAIT_RUN: _("Ready; waits for its planned time, a slot of its resource group, or a worker."),
    State.RUNNING: _("A worker runs it and holds its lease."),
    State.TERMINATING: _("Asked to stop; stays here until its processes are confirmed dead."),
    State.FAILED_RETRY: _("The last try failed; the next one starts when the retry wait is over."),
    State.FAILED: _("Failed, and no try is left in this life."),
    State.SUCCESS: _("Succeeded, or was marked as successful."),
    State.SKIPPED: _(
        "Its upstream ended so that it is not to run: a branch not taken, or its trigger policy was not met."
    ),
}

WAITING = (State.WAIT_EVENT, State.WAIT_UPSTREAM, State.WAIT_RUN)
FINAL = (State.FAILED, State.SUCCESS, State.SKIPPED)
ACTIVE = (State.RUNNING, State.TERMINATING)


class ExecutionState(StrEnum):
    """State of one execution. It exists from the moment it is given a slot.

    `stopping`: the instance has moved on (marked as successful) while the child still dies; the slot stays taken.
    `delegated`: the traversals of a For-each task do its work; no worker holds it, and it takes no slot (ADR 14).
    """

    DISPATCHED = "dispatched"
    RUNNING = "running"
    STOPPING = "stopping"
    DELEGATED = "delegated"
    FAILED = "failed"
    SUCCESS = "success"
    REQUEUED = "requeued"
    CANCELLED = "cancelled"


# These hold a slot of their resource group.
HOLDING_SLOT = (ExecutionState.DISPATCHED, ExecutionState.RUNNING, ExecutionState.STOPPING)
# These are on: one at a time of an instance and of a serial task, each in its place of a lane.
ON = (*HOLDING_SLOT, ExecutionState.DELEGATED)


class InstanceType(StrEnum):
    PERIODIC = "periodic"
    NON_PERIODIC = "non_periodic"
    SUPPLEMENTARY = "supplementary"
    TEST = "test"


INSTANCE_TYPE_LABELS = {
    InstanceType.PERIODIC: _("Periodic instance"),
    InstanceType.NON_PERIODIC: _("Non-periodic instance"),
    InstanceType.SUPPLEMENTARY: _("Supplementary instance"),
    InstanceType.TEST: _("Test run"),
}


class RunType(StrEnum):
    """Why an execution runs."""

    PERIODIC = "PERIODIC"
    APERIODIC = "APERIODIC"
    RERUN = "RERUN"
    ADDITION = "ADDITION"
    MANUAL_TRIGGER = "MANUAL_TRIGGER"
    TEST = "TEST"


class TaskStatus(StrEnum):
    SCHEDULING = "scheduling"
    PAUSED = "paused"
    OFFLINE = "offline"


# In the middle of a sentence.
STATUS_WORDS = {
    TaskStatus.SCHEDULING: _("scheduling"),
    TaskStatus.PAUSED: _("paused"),
    TaskStatus.OFFLINE: _("offline"),
}


class SelfDependency(StrEnum):
    PARALLEL = "parallel"
    SERIAL = "serial"
    ORDERLY = "orderly"


class Move(StrEnum):
    """What makes an instance change its state by itself (operations of people are in `Operation`)."""

    EVENTS_MET = "events_met"
    UPSTREAM_MET = "upstream_met"
    SKIP = "skip"
    UPSTREAM_FAILED = "upstream_failed"
    RECONSIDER = "reconsider"
    CLAIM = "claim"
    HAND_OVER = "hand_over"
    SUCCEED = "succeed"
    FAIL_FOR_RETRY = "fail_for_retry"
    FAIL = "fail"
    RETRY_DUE = "retry_due"
    REQUEUE = "requeue"
    CONFIRM_DEAD = "confirm_dead"
    WAIT_TIMEOUT = "wait_timeout"
    TRAVERSE = "traverse"
    TRAVERSAL_OVER = "traversal_over"


class Operation(StrEnum):
    TERMINATE = "terminate"
    RERUN = "rerun"
    MARK_SUCCESS = "mark_success"
    REMOVE_DEPENDENCY = "remove_dependency"
    FREEZE = "freeze"
    THAW = "thaw"
    UNDO = "undo"


@dataclass(frozen=True)
class Rule:
    """`sources` -> `targets`, which are chosen by `why`; `stays`: it may also leave the state as it is."""

    sources: tuple[State, ...]
    targets: tuple[State, ...]
    why: str
    stays: bool = False

    def allows(self, old: str, new: str) -> bool:
        """Whether it may take an instance from `old` to `new`."""
        return old in self.sources and (new in self.targets or (self.stays and new == old))


_START = (State.WAIT_EVENT, State.WAIT_UPSTREAM, State.WAIT_RUN)

MOVES: dict[Move, Rule] = {
    Move.EVENTS_MET: Rule(
        (State.WAIT_EVENT,), (State.WAIT_UPSTREAM, State.WAIT_RUN), "all listened events came"
    ),
    Move.UPSTREAM_MET: Rule(
        (State.WAIT_UPSTREAM,),
        (State.WAIT_RUN,),
        "the last counting dependency succeeded or is excused, or the trigger policy is met",
    ),
    Move.SKIP: Rule(
        (State.WAIT_EVENT, State.WAIT_UPSTREAM),
        (State.SKIPPED,),
        "the trigger policy cannot be met any more, as its parents are now",
    ),
    Move.UPSTREAM_FAILED: Rule(
        (State.WAIT_EVENT, State.WAIT_UPSTREAM),
        (State.FAILED,),
        "a parent failed, and the task is told to fail with it",
    ),
    Move.RECONSIDER: Rule(
        (State.SKIPPED,),
        _START,
        "what skipped it holds no more: a parent began a new life, or an edge was removed",
    ),
    Move.CLAIM: Rule(
        (State.WAIT_RUN,), (State.RUNNING,), "a worker took the dispatched execution and its lease"
    ),
    Move.HAND_OVER: Rule(
        (State.RUNNING,),
        (),
        "a For-each task's traversals go on in its place; no worker holds it",
        stays=True,
    ),
    Move.SUCCEED: Rule((State.RUNNING,), (State.SUCCESS,), "the child ended well, reported under the lease"),
    Move.FAIL_FOR_RETRY: Rule(
        (State.RUNNING,), (State.FAILED_RETRY,), "the try failed or was lost; a try is left"
    ),
    Move.FAIL: Rule((State.RUNNING,), (State.FAILED,), "the try failed or was lost; no try is left"),
    Move.RETRY_DUE: Rule((State.FAILED_RETRY,), (State.WAIT_RUN,), "the retry wait is over"),
    Move.REQUEUE: Rule((State.RUNNING,), (State.WAIT_RUN,), "its worker shut down; no retry is spent"),
    Move.CONFIRM_DEAD: Rule(
        (State.TERMINATING,), (State.FAILED,), "its processes are dead, or its lease expired"
    ),
    Move.WAIT_TIMEOUT: Rule(
        _START,
        (State.FAILED,),
        "waited longer than the total waiting timeout, or for an event than its listener allows",
    ),
    Move.TRAVERSE: Rule(
        (State.FAILED, State.SUCCESS, State.SKIPPED),
        _START,
        "its traversal of a For-each task is run again: a new life round begins",
    ),
    Move.TRAVERSAL_OVER: Rule(
        (State.WAIT_UPSTREAM,),
        (State.FAILED,),
        "its traversal of a For-each task has failed, and what it waits for will not come",
    ),
}

OPERATIONS: dict[Operation, Rule] = {
    # failed_retry may be terminated too (documented extension): a retry storm must be stoppable.
    Operation.TERMINATE: Rule(
        (State.WAIT_EVENT, State.WAIT_UPSTREAM, State.WAIT_RUN, State.RUNNING, State.FAILED_RETRY),
        (State.TERMINATING, State.FAILED),
        "running goes through terminating, all others fail at once",
    ),
    Operation.RERUN: Rule(
        (State.FAILED, State.SUCCESS, State.WAIT_RUN, State.FAILED_RETRY), _START, "a new life round begins"
    ),
    Operation.MARK_SUCCESS: Rule(
        (State.RUNNING, State.FAILED, State.WAIT_EVENT, State.WAIT_UPSTREAM, State.WAIT_RUN),
        (State.SUCCESS,),
        "success at once; a running child is killed; children are released",
    ),
    Operation.REMOVE_DEPENDENCY: Rule(
        tuple(State),
        (State.WAIT_RUN,),
        "chosen edges stop counting for ever; releases the instance if nothing is left to wait for",
        stays=True,
    ),
    Operation.FREEZE: Rule(
        (State.WAIT_EVENT, State.WAIT_UPSTREAM, State.WAIT_RUN, State.FAILED_RETRY),
        (),
        "it is not dispatched until it is thawed; all else goes on",
        stays=True,
    ),
    Operation.THAW: Rule(
        tuple(State), (), "it may be dispatched again; its waiting timeout stood still meanwhile", stays=True
    ),
    # Children that go back to waiting, because the parent that released them does, are moved by this, too.
    Operation.UNDO: Rule(
        (*_START, State.FAILED, State.SUCCESS),
        (*_START, State.FAILED_RETRY, State.FAILED, State.SUCCESS),
        "what an operation did is taken back, unless somebody has claimed the instance or its children since",
    ),
}


def sources(operation: Operation) -> tuple[State, ...]:
    """States from which the operation is allowed."""
    return OPERATIONS[operation].sources


VERBS: dict[str, str] = {
    Operation.TERMINATE: _("terminate"),
    Operation.RERUN: _("rerun"),
    Operation.MARK_SUCCESS: _("mark success"),
    Operation.REMOVE_DEPENDENCY: _("remove dependency"),
    Operation.FREEZE: _("freeze"),
    Operation.THAW: _("thaw"),
    Operation.UNDO: _("undo"),
}


def refusal(operation: Operation, state: str, name: str) -> str:
    """One sentence that says why `operation` is refused for the instance called `name`."""
    allowed = (gettext(LABELS[allowed_state]) for allowed_state in sources(operation))
    return gettext("%(instance)s is in state %(state)s: %(verb)s is allowed only from %(allowed)s.") % {
        "instance": name,
        "state": gettext(LABELS[State(state)]),
        "verb": gettext(VERBS[operation]),
        "allowed": listed_plainly(allowed),
    }
