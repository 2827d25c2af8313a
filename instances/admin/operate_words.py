"""The options of an operation for people: on its record, and on the page of an instance."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from instances.operations.backfill_options import LABELS as PLAN_LABELS
from instances.operations.options import LABELS, CheckParents, Code, Range, Scope
from weops.console.present import plain_time, zone_name

_TITLES: dict[str, Any] = {
    "scope": _("Scope"),
    "range": _("Range"),
    "chosen": _("Hand-picked"),
    "check_parents": _("Parents"),
    "check_previous": _("Previous period"),
    "ignore_events": _("Events"),
    "parameters": _("Parameters"),
    "application_parameters": _("Application parameters"),
    "self_dependency": _("Self-dependency"),
    "parallelism": _("Parallelism"),
    "code": _("Code"),
    "thaw_at": _("Thaws at"),
    "expires_at": _("Expires"),
    "owner": _("Taken care of by"),
    "edges": _("Dependencies"),
    "subtree": _("Downstream"),
    "operation": _("Undoes operation"),
    "filter": _("Filter"),
    "of_operation": _("Of operation"),
    "before": _("Before"),
    "after": _("After"),
    "name": _("Task"),
    "plan": _("Plan"),
    "tasks": _("Tasks"),
    "downstream": _("Downstream tasks"),
    "ranges": _("Days"),
    "until": _("Due until"),
    "reprocess": _("What is run"),
    "on_failure": _("When a data time fails"),
    "first_of_month": _("Day tasks on the 1st of each month only"),
    "order": _("Order"),
    "timezone": _("Timezone"),
    "window_start": _("Window start"),
    "window_end": _("Window end"),
    "resource_group": _("Resource group"),
    "resource_group_id": _("Resource group"),
    "failed_traversals": _("Failed traversals"),
    "all": _("All"),
    "running": _("Running"),
    "kill": _("Kill"),
    "generate_missed": _("Generate missed"),
    "version": _("Version"),
    "data_time": _("Data time"),
    "new_life": _("New life"),
    "count": _("Count"),
    "secret": _("Secret"),
    "changed": _("Changed"),
    "format": _("Format"),
    "columns": _("Columns"),
    "outcome": _("Outcome"),
}
_PLAN_WORDS = {str(one): label for one, label in PLAN_LABELS.items()}
MOST = 500


def option_words(options: Any) -> list[tuple[str, str]]:
    """(label, value) of each option that was set, in the order of `_TITLES`; unknown ones are shown as they are."""
    if not isinstance(options, Mapping):
        return []
    names = [name for name in _TITLES if name in options]
    names += [name for name in options if name not in _TITLES]
    return [
        (_title(name, options), _value(name, value)[:MOST])
        for name, value in ((name, options[name]) for name in names)
        if value not in (None, "", [], {}) and not (name == "task" and "name" in options)
    ]


def _title(name: str, options: Mapping[str, Any]) -> str:
    if name == "name" and ("plan" in options or "secret" in options):
        return gettext("Name")
    return str(_TITLES.get(name, name.replace("_", " ").capitalize()))


def in_a_line(options: Any) -> str:
    """The same as one text, for narrow places: without what the operation is about, and what it changed."""
    if not isinstance(options, Mapping):
        return ""
    asked = {
        name: value
        for name, value in options.items()
        if name not in ("task", "secret", "name", "before", "after")
    }
    return "; ".join(f"{label}: {value}" for label, value in option_words(asked))


def _value(name: str, value: Any) -> str:
    if name in _WORDS:
        return _WORDS[name](value)
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {text}" for key, text in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return str(value)


def _moment(value: Any) -> str:
    moment = parse_datetime(str(value))
    return f"{plain_time(moment)} {zone_name()}" if moment and moment.tzinfo else str(value)


def _label(kind: type[StrEnum]) -> Callable[[Any], str]:
    return lambda value: gettext(LABELS[kind].get(str(value), str(value)))


def _parents(value: Any) -> str:
    """Of a rerun one of `CheckParents`, of a backfill whether those outside the plan count."""
    if isinstance(value, bool):
        return (
            gettext("those outside the plan count")
            if value
            else gettext("those outside the plan do not count")
        )
    return gettext(LABELS[CheckParents].get(str(value), str(value)))


def _of_plan(value: Any) -> str:
    return gettext(_PLAN_WORDS.get(str(value), str(value)))


def _numbers(value: Any) -> str:
    return ", ".join(f"#{one}" for one in value) if isinstance(value, list) else str(value)


def _ranges(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return ", ".join(_range(one) for one in value)


def _range(value: Any) -> str:
    if not isinstance(value, list) or len(value) != 2:
        return str(value)
    return gettext("%(first)s to %(last)s") % {"first": value[0], "last": value[1]}


def _edges(value: Any) -> str:
    return gettext("%(count)s chosen") % {"count": len(value)} if isinstance(value, list) else str(value)


def _instances(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return ngettext("%(count)s instance", "%(count)s instances", len(value)) % {"count": len(value)}


_WORDS: dict[str, Callable[[Any], str]] = {
    "scope": _label(Scope),
    "range": _label(Range),
    "check_parents": _parents,
    "code": _label(Code),
    "chosen": _instances,
    "check_previous": lambda value: gettext("counts") if value else gettext("does not count"),
    "ignore_events": lambda value: gettext("ignored") if value else gettext("waited for"),
    "subtree": lambda value: gettext("included") if value else gettext("left out"),
    "thaw_at": _moment,
    "expires_at": _moment,
    "until": _moment,
    "edges": _edges,
    "tasks": _numbers,
    "downstream": _numbers,
    "plan": lambda value: f"#{value}",
    "ranges": _ranges,
    "order": _of_plan,
    "reprocess": _of_plan,
    "on_failure": _of_plan,
}
