"""UpdateTaskPartially: what is given is put together with what there is, list by list, and what is named is removed.

FieldToRemoveList has paths with keys, such as `TaskConfiguration/TaskSchedulingParameterList:aa,bb`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from instances.models import Task
from weops.wedata.dispatch import Call
from weops.wedata.errors import bad_value
from weops.wedata.task_fields import CODE, SCHEDULE
from weops.wedata.task_view import configuration, parts, scheduling

# (part, list) -> the field that is the key of an entry
_KEYS: dict[tuple[str, str], str] = {
    (CODE, "TaskSchedulingParameterList"): "ParamKey",
    (CODE, "TaskExtConfigurationList"): "ParamKey",
    (SCHEDULE, "UpstreamDependencyConfigList"): "TaskId",
    (SCHEDULE, "EventListenerList"): "EventName",
}
_SHOWN: dict[str, Callable[[Task], Mapping[str, Any]]] = {
    CODE: configuration,
    SCHEDULE: lambda task: scheduling(task, parts([task])),
}


def merged(call: Call, task: Task, asked: Mapping[str, Any], to_remove: Sequence[str]) -> dict[str, Any]:
    """The parts as UpdateTask takes them: lists that are touched are whole."""
    found: dict[str, Any] = {name: dict(part) for name, part in asked.items()}
    removed = _removed(to_remove)
    for (part, name), key in _KEYS.items():
        given = found.get(part, {}).get(name)
        if given is None and (part, name) not in removed:
            continue
        entries = {str(one[key]): one for one in _saved(task, part, name)}
        entries |= {str(one[key]): one for one in given or ()}
        for gone in removed.get((part, name), ()):
            entries.pop(gone, None)
        found.setdefault(part, {})[name] = list(entries.values())
    return found


def _saved(task: Task, part: str, name: str) -> list[dict[str, Any]]:
    """Entries as a request has them: without what is null."""
    return [_plain(one) for one in _SHOWN[part](task)[name]]


def _plain(one: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: _plain(value) if isinstance(value, Mapping) else value
        for name, value in one.items()
        if value is not None
    }
    if "TaskId" in found:
        found["TaskId"] = int(found["TaskId"])
    return found


def _removed(to_remove: Sequence[str]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for place, text in enumerate(to_remove):
        path, colon, keys = text.partition(":")
        part, _, name = path.partition("/")
        if not colon or (part, name) not in _KEYS:
            known = ", ".join(f"{one}/{field}:KEY,..." for one, field in _KEYS)
            raise bad_value(f"FieldToRemoveList.{place}", f"{text[:80]!r} is none of {known}.")
        found.setdefault((part, name), set()).update(key.strip() for key in keys.split(",") if key.strip())
    return found
