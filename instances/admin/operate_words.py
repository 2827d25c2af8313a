"""The options of an operation for people: on its record, and on the page of an instance."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from django.utils.dateparse import parse_datetime

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
}
MOST = 500


def option_words(options: Any) -> list[tuple[str, str]]:
    """(label, value) of each option that was set, in the order of `_TITLES`; unknown ones are shown as they are."""
    if not isinstance(options, Mapping):
        return []
    names = [name for name in _TITLES if name in options]
    names += [name for name in options if name not in _TITLES]
    return [
        (_TITLES.get(name, name.replace("_", " ").capitalize()), _value(name, value)[:MOST])
        for name, value in ((name, options[name]) for name in names)
        if value not in (None, "", [], {}) and not (name == "task" and "name" in options)
    ]


def in_a_line(options: Any) -> str:
    """The same as one text, for narrow places: without what the operation is about, and what it changed."""
    if not isinstance(options, Mapping):
        return ""
    asked = {
        name: value for name, value in options.items() if name not in ("task", "name", "before", "after")
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


def _edges(value: Any) -> str:
    return f"{len(value)} chosen" if isinstance(value, list) else str(value)


_WORDS: dict[str, Callable[[Any], str]] = {
    "scope": _label(Scope),
    "range": _label(Range),
    "check_parents": _label(CheckParents),
    "code": _label(Code),
    "chosen": lambda value: f"{len(value)} instances" if isinstance(value, list) else str(value),
    "check_previous": lambda value: "counts" if value else "does not count",
    "ignore_events": lambda value: "ignored" if value else "waited for",
    "subtree": lambda value: "included" if value else "left out",
    "thaw_at": _moment,
    "expires_at": _moment,
    "edges": _edges,
}
