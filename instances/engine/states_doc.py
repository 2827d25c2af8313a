"""docs/state-machine.md, written from the tables of states.py."""

from instances.engine.states import LABELS, MEANINGS, MOVES, OPERATIONS, ExecutionState, Rule, State

_EXECUTION = {
    ExecutionState.DISPATCHED: "Has a slot; a hint says that it may start.",
    ExecutionState.RUNNING: "A worker claimed it and holds its lease.",
    ExecutionState.STOPPING: "Its instance was marked as successful; its processes still die, its slot is still taken.",
    ExecutionState.DELEGATED: "Of a For-each task: its traversals go on in its place; it has no worker, no lease and no slot.",
    ExecutionState.SUCCESS: "Ended well.",
    ExecutionState.FAILED: "Ended badly, or its worker went silent (`LOST`).",
    ExecutionState.REQUEUED: "Its worker was shut down, or it was taken back before any claimed it; the same try is "
    "dispatched again.",
    ExecutionState.CANCELLED: "Terminated, replaced by a rerun, or overtaken by mark as successful.",
}


def _states(states: tuple[State, ...]) -> str:
    if len(states) == len(State):
        return "any"
    return ", ".join(f"`{state}`" for state in states)


def _row(name: str, rule: Rule) -> str:
    targets = [_states(rule.targets)] if rule.targets else []
    if rule.stays:
        targets.append("unchanged")
    return f"| {name.replace('_', ' ')} | {_states(rule.sources)} | {', or '.join(targets)} | {rule.why} |"


def _arrows() -> list[str]:
    return [
        f"    {source} --> {target}: {move.replace('_', ' ')}"
        for move, rule in MOVES.items()
        for source in rule.sources
        for target in rule.targets
        if source != target
    ]


def document() -> str:
    """The whole page, as Markdown."""
    lines = [
        "# States of an instance, and what changes them",
        "",
        "Written from `instances/engine/states.py` by `python manage.py state_machine > docs/state-machine.md`; a test",
        "compares the two. `instances/engine/lifecycle/` is the only writer of these states.",
        "",
        "| state | shown as | meaning |",
        "|---|---|---|",
        *[f"| `{state}` | {LABELS[state]} | {MEANINGS[state]} |" for state in State],
        "",
        "A new life begins in `wait_event`, `wait_upstream` or `wait_run`, by what it has to wait for.",
        "",
        "## What happens by itself",
        "",
        "| move | from | to | when |",
        "|---|---|---|---|",
        *[_row(move, rule) for move, rule in MOVES.items()],
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> wait_event",
        "    [*] --> wait_upstream",
        "    [*] --> wait_run",
        *_arrows(),
        "```",
        "",
        "## What people do",
        "",
        "Any other pair of operation and state is refused with an error that names the state and the allowed ones.",
        "",
        "| operation | allowed from | to | effect |",
        "|---|---|---|---|",
        *[_row(operation, rule) for operation, rule in OPERATIONS.items()],
        "",
        "`failed_retry` may be terminated too, which the specification does not list: a retry storm must be stoppable.",
        "",
        "## States of an execution",
        "",
        "One attempt of an instance. `dispatched`, `running` and `stopping` hold a slot of the resource group.",
        "",
        "| state | meaning |",
        "|---|---|",
        *[f"| `{state}` | {_EXECUTION[state]} |" for state in ExecutionState],
        "",
    ]
    return "\n".join(lines)
