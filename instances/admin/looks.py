"""How each state looks: tone, icon and text, made from the engine's own labels."""

from django.utils.html import format_html
from django.utils.safestring import SafeString

from instances.engine.errors import explain
from instances.engine.states import LABELS, MEANINGS, ExecutionState, State, TaskStatus
from instances.models.operation import ItemOutcome, OperationState
from instances.runners import registry
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
    state.value: Look(tone, icon, LABELS[state]) for state, (tone, icon) in _STATES.items()
}

_EXECUTIONS: dict[ExecutionState, tuple[str, str]] = {
    ExecutionState.DISPATCHED: ("cyan", "outgoing_mail"),
    ExecutionState.RUNNING: ("blue", "progress_activity"),
    ExecutionState.STOPPING: ("orange", "stop_circle"),
    ExecutionState.DELEGATED: ("blue", "repeat"),
    ExecutionState.FAILED: ("red", "error"),
    ExecutionState.SUCCESS: ("green", "check_circle"),
    ExecutionState.REQUEUED: ("grey", "low_priority"),
    ExecutionState.DELEGATED: ("blue", "account_tree"),
    ExecutionState.CANCELLED: ("grey", "cancel"),
}
EXECUTION_LOOKS: dict[str, Look] = {
    state.value: Look(tone, icon, state.value.capitalize()) for state, (tone, icon) in _EXECUTIONS.items()
}

TASK_LOOKS: dict[str, Look] = {
    TaskStatus.SCHEDULING.value: Look("green", "play_circle", "Scheduling"),
    TaskStatus.PAUSED.value: Look("amber", "pause_circle", "Paused"),
    TaskStatus.OFFLINE.value: Look("grey", "cloud_off", "Offline"),
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
    str(state.value): Look(tone, icon, str(state.label)) for state, (tone, icon) in _OPERATIONS.items()
}


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


def diagnosis(error_code: str, message: str = "") -> str:
    """Title, message, causes and advice of an error, for a hover; empty without a code."""
    error = explain(error_code)
    if error is None:
        return ""
    lines = [f"{error.code}: {error.title}"]
    lines += [message[:500]] if message else []
    lines += [f"Possible cause: {cause}" for cause in error.causes]
    lines += [f"What to do: {error.advice}"]
    return "\n".join(lines)


def state_badge(state: str, error_code: str = "", message: str = "") -> SafeString:
    """The badge of an instance's state; hovering tells the diagnosis, or what the state means."""
    known = State(state) if state in STATE_LOOKS else None
    return badge(
        STATE_LOOKS, state, title=diagnosis(error_code, message) or (MEANINGS[known] if known else state)
    )


def execution_badge(state: str, error_code: str = "", message: str = "") -> SafeString:
    return badge(EXECUTION_LOOKS, state, title=diagnosis(error_code, message))
