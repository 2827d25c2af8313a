"""The preview in plain words: what would happen, one sentence each."""

from collections.abc import Callable, Mapping
from typing import Any

from instances.engine.states import State
from instances.operations.base import InstanceOperation
from instances.operations.options import CheckParents, Code, Range, RerunOptions, Scope
from instances.operations.words import counted, listed, roughly

_RANGES = {
    Range.WORKFLOW: "in the same workflow",
    Range.PROJECT: "in the same project",
    Range.ALL: "in all projects that you can see",
    Range.CHOSEN: "picked by hand",
}
_PARENTS = {
    CheckParents.NONE: "Parents are not checked, except those that this operation reruns.",
    CheckParents.ALL: "Each waits for all its direct parents.",
    CheckParents.SELECTION: "Each waits for its direct parents in this selection, and for no others.",
}


def of(
    operation: InstanceOperation,
    options: Any,
    summary: Mapping[str, Any],
    *,
    tasks: int,
    states: Mapping[str, int],
) -> list[str]:
    """`summary` is that of `preview.summary`; `tasks` and `states` are those of the allowed instances."""
    if not summary["total"]:
        return ["No instance is chosen: nothing would happen.", *_left_out(summary)]
    if not summary["allowed"]:
        first = f"Nothing would happen: {_refused(summary['refused'])}."
    else:
        what = f"{counted(summary['allowed'], 'instance')} of {counted(tasks, 'task')}"
        does = _DOES.get(operation.kind, _of_any_kind)(operation, options, summary["allowed"] == 1)
        first = f"{what} {does}" + (f"; {_refused(summary['refused'])}." if summary["refused"] else ".")
    said = [first]
    if summary["allowed"] and isinstance(options, RerunOptions):
        said += _rerun(options, summary)
    elif summary["allowed"] and (killed := states.get(State.RUNNING, 0)) and operation.kind in _KILLS:
        said.append(f"{counted(killed, 'running instance is', 'running instances are')} killed.")
    if isinstance(options, RerunOptions):
        said += _waiting(summary)
    return [*said, *_subtree(options, summary), *_left_out(summary)]


def _waiting(summary: Mapping[str, Any]) -> list[str]:
    """Those that are refused because their run is still to come: nothing is wrong with them."""
    states = dict(summary["by_state"])
    number = states.get(State.WAIT_UPSTREAM, 0) + states.get(State.WAIT_EVENT, 0)
    if not number:
        return []
    has = "has not run yet in this life: it waits for parents or events, and runs by itself when these are there."
    have = "have not run yet in this life: they wait for parents or events, and run by themselves when these are there."
    return [f"{number:,} of the refused {has if number == 1 else have}"]


_KILLS = ("terminate", "mark_success")


def _refused(number: int) -> str:
    return f"{number:,} {'is' if number == 1 else 'are'} refused"


def _left_out(summary: Mapping[str, Any]) -> list[str]:
    return [line["why"] for line in summary["left_out"]]


def _subtree(options: Any, summary: Mapping[str, Any]) -> list[str]:
    return (
        [_spread(summary, "in all projects that you can see")] if getattr(options, "subtree", False) else []
    )


def _spread(summary: Mapping[str, Any], where: str) -> str:
    chosen = sum(layer["count"] for layer in summary["layers"] if not layer["layer"])
    deepest = max((layer["layer"] for layer in summary["layers"]), default=0)
    below = summary["total"] - chosen
    if not below:
        return f"Nothing lies downstream {where}."
    return (
        f"{below:,} of the {summary['total']:,} {'lies' if below == 1 else 'lie'} downstream, "
        f"{where}, up to {counted(deepest, 'step')} away."
    )


def _rerun(options: RerunOptions, summary: Mapping[str, Any]) -> list[str]:
    said = []
    if options.scope != Scope.THIS:
        said.append(_spread(summary, _RANGES[options.range]))
    if options.scope == Scope.DOWNSTREAM:
        said.append("The chosen instances themselves are not rerun.")
    said.append(_PARENTS[options.check_parents])
    if options.check_previous:
        said.append("Instances of orderly tasks wait for their previous period.")
    if options.ignore_events:
        said.append("Events are not waited for.")
    if options.parameters:
        names = listed(sorted(options.parameters))
        said.append(
            f"{counted(len(options.parameters), 'parameter is', 'parameters are')} overridden: {names}."
        )
    if options.application_parameters:
        names = listed(sorted(options.application_parameters))
        said.append(f"Settings of Spark for this life: {names}.")
    if options.parallelism:
        said.append(f"At most {counted(options.parallelism, 'instance')} of a task at once.")
    if options.self_dependency:
        said.append(f"The self-dependency of this life is {options.self_dependency}.")
    if options.code == Code.AS_IT_RAN:
        said.append("They run the code and parameters of their last run.")
    return [*said, *_duration(summary["duration"])]


def _duration(duration: Mapping[str, Any]) -> list[str]:
    known, unknown = duration["instances_known"], duration["instances_unknown"]
    said = [f"It takes {roughly(duration['wall_seconds'])}, if no other work is in the way."] if known else []
    if unknown:
        verb = "takes" if unknown == 1 else "take"
        said.append(
            f"How long {counted(unknown, 'instance')} {verb} is not known: no run of the task succeeded lately."
        )
    return said


def _freeze(operation: InstanceOperation, options: Any, one: bool) -> str:
    thaw_at = getattr(options, "thaw_at", None)
    until = "by hand" if thaw_at is None else f"at {thaw_at:%Y-%m-%d %H:%M:%S %Z}"
    return f"{'is' if one else 'are'} held until thawed {until}"


def _fixed(one: str, many: str) -> Callable[[InstanceOperation, Any, bool], str]:
    return lambda operation, options, is_one: one if is_one else many


def _of_any_kind(operation: InstanceOperation, options: Any, one: bool) -> str:
    return f"would be changed: {operation.verb()}"


_DOES: dict[str, Callable[[InstanceOperation, Any, bool], str]] = {
    "rerun": _fixed("begins a new life", "begin a new life"),
    "terminate": _fixed("is terminated and ends as failed", "are terminated and end as failed"),
    "mark_success": _fixed(
        "becomes successful; what waits for it is released",
        "become successful; what waits for them is released",
    ),
    "remove_dependency": _fixed(
        "stops waiting for the chosen dependencies, for ever",
        "stop waiting for the chosen dependencies, for ever",
    ),
    "freeze": _freeze,
    "thaw": _fixed("may be started again", "may be started again"),
    "acknowledge": _fixed(
        "counts as acknowledged; its state stays", "count as acknowledged; their states stay"
    ),
    "withdraw_acknowledgement": _fixed("counts as unseen again", "count as unseen again"),
    "undo": _fixed(
        "goes back to what it was, unless it went on since",
        "go back to what they were, unless they went on since",
    ),
}
