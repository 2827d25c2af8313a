"""How each state looks: tone, icon and text, made from the engine's own labels."""

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.engine.errors import explain
from instances.engine.states import (
    LABELS,
    MEANINGS,
    ExecutionState,
    Move,
    Operation,
    RunType,
    State,
    TaskStatus,
)
from instances.kept_words import told
from instances.models.operation import ItemOutcome, OperationState
from instances.runners import registry
from weops.console.highlight import highlighted
from weops.console.present import Look, badge

_STATES: dict[State, tuple[str, str]] = {
    State.WAIT_EVENT: ("violet", "notifications_paused"),
    State.WAIT_UPSTREAM: ("slate", "account_tree"),
    State.WAIT_RUN: ("cyan", "hourglass_top"),
    State.RUNNING: ("blue", "progress_activity"),
    State.TERMINATING: ("orange", "stop_circle"),
    State.FAILED_RETRY: ("amber", "replay"),
    State.FAILED: ("red", "error"),
    State.SUCCESS: ("green", "check_circle"),
    State.SKIPPED: ("grey", "step_over"),
}
STATE_LOOKS: dict[str, Look] = {
    state.value: Look(tone, icon, _(LABELS[state])) for state, (tone, icon) in _STATES.items()
}

EXECUTION_LOOKS: dict[str, Look] = {
    ExecutionState.DISPATCHED.value: Look("cyan", "outgoing_mail", _("Dispatched")),
    ExecutionState.RUNNING.value: Look("blue", "progress_activity", _("Running")),
    ExecutionState.STOPPING.value: Look("orange", "stop_circle", _("Stopping")),
    ExecutionState.FAILED.value: Look("red", "error", _("Failed")),
    ExecutionState.SUCCESS.value: Look("green", "check_circle", _("Success")),
    ExecutionState.REQUEUED.value: Look("grey", "low_priority", _("Requeued")),
    ExecutionState.DELEGATED.value: Look("blue", "account_tree", _("Delegated")),
    ExecutionState.CANCELLED.value: Look("grey", "cancel", _("Cancelled")),
}

TASK_LOOKS: dict[str, Look] = {
    TaskStatus.SCHEDULING.value: Look("green", "play_circle", _("Scheduling")),
    TaskStatus.PAUSED.value: Look("amber", "pause_circle", _("Paused")),
    TaskStatus.OFFLINE.value: Look("grey", "cloud_off", _("Offline")),
}

_OPERATIONS: dict[OperationState | ItemOutcome, tuple[str, str]] = {
    OperationState.INIT: ("slate", "hourglass_top"),
    OperationState.RUNNING: ("blue", "progress_activity"),
    OperationState.SUCCESS: ("green", "check_circle"),
    OperationState.FAIL: ("red", "error"),
    OperationState.PART_SUCCESS: ("amber", "rule"),
    ItemOutcome.DONE: ("green", "check_circle"),
    ItemOutcome.REFUSED: ("amber", "block"),
    ItemOutcome.FAILED: ("red", "error"),
    ItemOutcome.CANCELLED: ("grey", "cancel"),
}
OPERATION_LOOKS: dict[str, Look] = {
    str(state.value): Look(tone, icon, state.label) for state, (tone, icon) in _OPERATIONS.items()
}

# Why an instance changed its state: what moves it by itself, and what people do.
_MOVES: dict[str, Any] = {
    Move.EVENTS_MET.value: _("events met"),
    Move.UPSTREAM_MET.value: _("upstream met"),
    Move.SKIP.value: _("skip"),
    Move.UPSTREAM_FAILED.value: _("upstream failed"),
    Move.RECONSIDER.value: _("reconsider"),
    Move.CLAIM.value: _("claim"),
    Move.HAND_OVER.value: _("hand over"),
    Move.SUCCEED.value: _("succeed"),
    Move.FAIL_FOR_RETRY.value: _("fail for retry"),
    Move.FAIL.value: _("fail"),
    Move.RETRY_DUE.value: _("retry due"),
    Move.REQUEUE.value: _("requeue"),
    Move.CONFIRM_DEAD.value: _("confirm dead"),
    Move.WAIT_TIMEOUT.value: _("wait timeout"),
    Move.TRAVERSE.value: _("traverse"),
    Move.TRAVERSAL_OVER.value: _("traversal over"),
    Operation.TERMINATE.value: _("terminate"),
    Operation.RERUN.value: _("rerun"),
    Operation.MARK_SUCCESS.value: _("mark success"),
    Operation.REMOVE_DEPENDENCY.value: _("remove dependency"),
    Operation.FREEZE.value: _("freeze"),
    Operation.THAW.value: _("thaw"),
    Operation.UNDO.value: _("undo"),
}


# Why an execution runs.
_RUN_TYPES: dict[str, Any] = {
    RunType.PERIODIC.value: _("periodic"),
    RunType.APERIODIC.value: _("aperiodic"),
    RunType.RERUN.value: _("rerun"),
    RunType.ADDITION.value: _("addition"),
    RunType.MANUAL_TRIGGER.value: _("manual trigger"),
}


def run_type_words(run_type: str) -> str:
    return str(_RUN_TYPES.get(run_type, run_type.lower()))


def move_words(move: str) -> str:
    return str(_MOVES.get(move, move.replace("_", " ")))


def type_cell(task_type: str) -> SafeString:
    """The name of a task type, with its icon."""
    known = task_type in registry.types()
    icon, label = (
        (registry.get(task_type).icon, registry.get(task_type).label) if known else ("help", task_type)
    )
    return format_html(
        '<span class="wo-type"><span class="material-symbols-outlined wo-icon" aria-hidden="true">{}</span>{}</span>',
        icon,
        label,
    )


def language_of(task_type: str) -> str:
    """What code of the type is written in, for its colours; empty for none."""
    return registry.get(task_type).language if task_type in registry.types() else ""


def source_of(code: str, task_type: str) -> SafeString:
    """Code with its lines and colours."""
    return format_html(
        '<pre class="wo-source wo-code" tabindex="0">{}</pre>', highlighted(code, language_of(task_type))
    )


def diagnosis(error_code: str, message: str = "") -> str:
    """Title, message, causes and advice of an error, for a hover; empty without a code."""
    error = explain(error_code)
    if error is None:
        return ""
    lines = [f"{error.code}: {error.title}"]
    lines += [told(message[:500])] if message else []
    lines += [gettext("Possible cause: %(cause)s") % {"cause": cause} for cause in error.causes]
    lines += [gettext("What to do: %(advice)s") % {"advice": error.advice}]
    return "\n".join(lines)


def state_badge(state: str, error_code: str = "", message: str = "") -> SafeString:
    """The badge of an instance's state; hovering tells the diagnosis, or what the state means."""
    known = State(state) if state in STATE_LOOKS else None
    return badge(
        STATE_LOOKS,
        state,
        title=diagnosis(error_code, message) or (gettext(MEANINGS[known]) if known else state),
    )


def execution_badge(state: str, error_code: str = "", message: str = "") -> SafeString:
    return badge(EXECUTION_LOOKS, state, title=diagnosis(error_code, message))
