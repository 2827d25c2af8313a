"""The preview in plain words: what would happen, one sentence each."""

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from instances.engine.states import State
from instances.operations.base import InstanceOperation
from instances.operations.options import CheckParents, Code, Range, RerunOptions, Scope
from instances.operations.words import counted, listed, roughly

_RANGES = {
    Range.WORKFLOW: gettext_lazy("in the same workflow"),
    Range.PROJECT: gettext_lazy("in the same project"),
    Range.ALL: gettext_lazy("in all projects that you can see"),
    Range.CHOSEN: gettext_lazy("picked by hand"),
}
_PARENTS = {
    CheckParents.NONE: gettext_lazy("Parents are not checked, except those that this operation reruns."),
    CheckParents.ALL: gettext_lazy("Each waits for all its direct parents."),
    CheckParents.SELECTION: gettext_lazy(
        "Each waits for its direct parents in this selection, and for no others."
    ),
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
        return [_("No instance is chosen: nothing would happen."), *_left_out(summary)]
    said = [_first(operation, options, summary, tasks)]
    if summary["allowed"] and isinstance(options, RerunOptions):
        said += _rerun(options, summary)
    elif summary["allowed"] and (killed := states.get(State.RUNNING, 0)) and operation.kind in _KILLS:
        message = ngettext(
            "%(count)s running instance is killed.", "%(count)s running instances are killed.", killed
        )
        said.append(message % {"count": f"{killed:,}"})
    if isinstance(options, RerunOptions):
        said += _waiting(summary)
    return [*said, *_subtree(options, summary), *_left_out(summary)]


def _first(operation: InstanceOperation, options: Any, summary: Mapping[str, Any], tasks: int) -> str:
    if not summary["allowed"]:
        return _("Nothing would happen: %(refused)s.") % {"refused": _refused(summary["refused"])}
    values = {
        "instances": counted(summary["allowed"], "instance"),
        "tasks": counted(tasks, "task"),
        "does": _DOES.get(operation.kind, _of_any_kind)(operation, options, summary["allowed"]),
        "refused": _refused(summary["refused"]),
    }
    if summary["refused"]:
        return _("%(instances)s of %(tasks)s %(does)s; %(refused)s.") % values
    return _("%(instances)s of %(tasks)s %(does)s.") % values


def _waiting(summary: Mapping[str, Any]) -> list[str]:
    """Those that are refused because their run is still to come: nothing is wrong with them."""
    states = dict(summary["by_state"])
    number = states.get(State.WAIT_UPSTREAM, 0) + states.get(State.WAIT_EVENT, 0)
    if not number:
        return []
    message = ngettext(
        "%(count)s of the refused has not run yet in this life: it waits for parents or events, "
        "and runs by itself when these are there.",
        "%(count)s of the refused have not run yet in this life: they wait for parents or events, "
        "and run by themselves when these are there.",
        number,
    )
    return [message % {"count": f"{number:,}"}]


_KILLS = ("terminate", "mark_success")


def _refused(number: int) -> str:
    return ngettext("%(count)s is refused", "%(count)s are refused", number) % {"count": f"{number:,}"}


def _left_out(summary: Mapping[str, Any]) -> list[str]:
    return [line["why"] for line in summary["left_out"]]


def _subtree(options: Any, summary: Mapping[str, Any]) -> list[str]:
    return [_spread(summary, str(_RANGES[Range.ALL]))] if getattr(options, "subtree", False) else []


def _spread(summary: Mapping[str, Any], where: str) -> str:
    chosen = sum(layer["count"] for layer in summary["layers"] if not layer["layer"])
    deepest = max((layer["layer"] for layer in summary["layers"]), default=0)
    below = summary["total"] - chosen
    if not below:
        return _("Nothing lies downstream %(where)s.") % {"where": where}
    message = ngettext(
        "%(below)s of the %(total)s lies downstream, %(where)s, up to %(steps)s away.",
        "%(below)s of the %(total)s lie downstream, %(where)s, up to %(steps)s away.",
        below,
    )
    return message % {
        "below": f"{below:,}",
        "total": f"{summary['total']:,}",
        "where": where,
        "steps": counted(deepest, "step"),
    }


def _rerun(options: RerunOptions, summary: Mapping[str, Any]) -> list[str]:
    said = []
    if options.scope != Scope.THIS:
        said.append(_spread(summary, str(_RANGES[options.range])))
    if options.scope == Scope.DOWNSTREAM:
        said.append(_("The chosen instances themselves are not rerun."))
    said.append(str(_PARENTS[options.check_parents]))
    if options.check_previous:
        said.append(_("Instances of orderly tasks wait for their previous period."))
    if options.ignore_events:
        said.append(_("Events are not waited for."))
    if options.parameters:
        number = len(options.parameters)
        message = ngettext(
            "%(count)s parameter is overridden: %(names)s.",
            "%(count)s parameters are overridden: %(names)s.",
            number,
        )
        said.append(message % {"count": f"{number:,}", "names": listed(sorted(options.parameters))})
    if options.application_parameters:
        names = listed(sorted(options.application_parameters))
        said.append(_("Settings of Spark for this life: %(names)s.") % {"names": names})
    if options.parallelism:
        message = _("At most %(instances)s of a task at once.")
        said.append(message % {"instances": counted(options.parallelism, "instance")})
    if options.self_dependency:
        message = _("The self-dependency of this life is %(kind)s.")
        said.append(message % {"kind": options.self_dependency})
    if options.code == Code.AS_IT_RAN:
        said.append(_("They run the code and parameters of their last run."))
    return [*said, *_duration(summary["duration"])]


def _duration(duration: Mapping[str, Any]) -> list[str]:
    known, unknown = duration["instances_known"], duration["instances_unknown"]
    said = []
    if known:
        message = _("It takes %(time)s, if no other work is in the way.")
        said.append(message % {"time": roughly(duration["wall_seconds"])})
    if unknown:
        message = ngettext(
            "How long %(count)s instance takes is not known: no run of the task succeeded lately.",
            "How long %(count)s instances take is not known: no run of the task succeeded lately.",
            unknown,
        )
        said.append(message % {"count": f"{unknown:,}"})
    return said


def _freeze(operation: InstanceOperation, options: Any, number: int) -> str:
    thaw_at = getattr(options, "thaw_at", None)
    if thaw_at is None:
        return ngettext("is held until thawed by hand", "are held until thawed by hand", number)
    message = ngettext("is held until thawed at %(time)s", "are held until thawed at %(time)s", number)
    return message % {"time": f"{thaw_at:%Y-%m-%d %H:%M:%S %Z}"}


def _fixed(said: Callable[[int], str]) -> Callable[[InstanceOperation, Any, int], str]:
    return lambda operation, options, number: said(number)


def _of_any_kind(operation: InstanceOperation, options: Any, number: int) -> str:
    return _("would be changed: %(verb)s") % {"verb": operation.verb()}


# What so many instances do, after their number.
_DOES: dict[str, Callable[[InstanceOperation, Any, int], str]] = {
    "rerun": _fixed(lambda n: ngettext("begins a new life", "begin a new life", n)),
    "terminate": _fixed(
        lambda n: ngettext("is terminated and ends as failed", "are terminated and end as failed", n)
    ),
    "mark_success": _fixed(
        lambda n: ngettext(
            "becomes successful; what waits for it is released",
            "become successful; what waits for them is released",
            n,
        )
    ),
    "remove_dependency": _fixed(
        lambda n: ngettext(
            "stops waiting for the chosen dependencies, for ever",
            "stop waiting for the chosen dependencies, for ever",
            n,
        )
    ),
    "freeze": _freeze,
    "thaw": _fixed(lambda n: _("may be started again")),
    "acknowledge": _fixed(
        lambda n: ngettext(
            "counts as acknowledged; its state stays", "count as acknowledged; their states stay", n
        )
    ),
    "withdraw_acknowledgement": _fixed(
        lambda n: ngettext("counts as unseen again", "count as unseen again", n)
    ),
    "undo": _fixed(
        lambda n: ngettext(
            "goes back to what it was, unless it went on since",
            "go back to what they were, unless they went on since",
            n,
        )
    ),
}
