"""The options of an operation for people: on its record, and on the page of an instance."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from django.utils.dateparse import parse_datetime

from instances.operations.backfill_options import LABELS as PLAN_LABELS
from instances.operations.options import LABELS, CheckParents, Code, Range, Scope
from weops.console.present import plain_time, zone_name

_TITLES = {
    "scope": "Scope",
    "range": "Range",
    "chosen": "Hand-picked",
    "check_parents": "Parents",
    "check_previous": "Previous period",
    "ignore_events": "Events",
    "parameters": "Parameters",
    "application_parameters": "Application parameters",
    "self_dependency": "Self-dependency",
    "parallelism": "Parallelism",
    "code": "Code",
    "thaw_at": "Thaws at",
    "expires_at": "Expires",
    "owner": "Taken care of by",
    "edges": "Dependencies",
    "subtree": "Downstream",
    "operation": "Undoes operation",
    "filter": "Filter",
    "of_operation": "Of operation",
    "before": "Before",
    "after": "After",
    "name": "Task",
    "plan": "Plan",
    "tasks": "Tasks",
    "downstream": "Downstream tasks",
    "ranges": "Days",
    "until": "Due until",
    "reprocess": "What is run",
    "on_failure": "When a data time fails",
    "first_of_month": "Day tasks on the 1st of each month only",
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
        return "Name"
    return _TITLES.get(name, name.replace("_", " ").capitalize())


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
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {text}" for key, text in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return str(value)


def _moment(value: Any) -> str:
    moment = parse_datetime(str(value))
    return f"{plain_time(moment)} {zone_name()}" if moment and moment.tzinfo else str(value)


def _label(kind: type[StrEnum]) -> Callable[[Any], str]:
    return lambda value: LABELS[kind].get(str(value), str(value))


def _parents(value: Any) -> str:
    """Of a rerun one of `CheckParents`, of a backfill whether those outside the plan count."""
    if isinstance(value, bool):
        return "those outside the plan count" if value else "those outside the plan do not count"
    return LABELS[CheckParents].get(str(value), str(value))


def _of_plan(value: Any) -> str:
    return _PLAN_WORDS.get(str(value), str(value))


def _numbers(value: Any) -> str:
    return ", ".join(f"#{one}" for one in value) if isinstance(value, list) else str(value)


def _ranges(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return ", ".join(" to ".join(map(str, one)) if isinstance(one, list) else str(one) for one in value)


def _edges(value: Any) -> str:
    return f"{len(value)} chosen" if isinstance(value, list) else str(value)


_WORDS: dict[str, Callable[[Any], str]] = {
    "scope": _label(Scope),
    "range": _label(Range),
    "check_parents": _parents,
    "code": _label(Code),
    "chosen": lambda value: f"{len(value)} instances" if isinstance(value, list) else str(value),
    "check_previous": lambda value: "counts" if value else "does not count",
    "ignore_events": lambda value: "ignored" if value else "waited for",
    "subtree": lambda value: "included" if value else "left out",
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
