"""The schemas of task types' settings (JSON Schema, draft 2020-12), and what is wrong with given settings, in words.

A type declares its settings as `settings(name=text(...), ...)`. From that come the checks on save, the fields of the
admin's form and the tables of docs. Besides the standard words a property may have two of ours:

    x-expressions: true    ${...} in its texts is filled in when it runs, as in code
    x-lines: true          its text, or each `name: value` of its object, is edited in several lines
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from instances.language import either, gettext, gettext_noop, listed_plainly

Schema = Mapping[str, Any]
_SHOWN: Final = 60

_KINDS: Final = {
    "string": gettext_noop("a text"),
    "boolean": gettext_noop("true or false"),
    "integer": gettext_noop("a whole number"),
    "number": gettext_noop("a number"),
    "array": gettext_noop("a list"),
    "object": gettext_noop("an object, such as {}"),
}


_OF_SETTING: Final = gettext_noop("the setting %(name)s %(problem)s")


def of_setting(name: str, problem: str) -> str:
    """`problem` with a colon before it."""
    return gettext("the setting %(name)s: %(problem)s") % {"name": name, "problem": problem}


def setting_is(name: str, problem: str) -> str:
    """`problem` goes on with the sentence: `must not be empty`."""
    return gettext(_OF_SETTING) % {"name": name, "problem": problem}


def setting_of(message: str) -> str | None:
    """The name of the setting that a message is about, None if it is about none: in each language those begin alike.

    "" for a name that no setting can have."""
    start = gettext(_OF_SETTING).partition("%(name)s")[0]
    if not message.startswith(start):
        return None
    name = re.match(r"[A-Za-z0-9_]+", message[len(start) :])
    return name[0] if name else ""


@dataclass(frozen=True, slots=True)
class Fault:
    """`name`: the setting; `message` names it, too."""

    name: str
    message: str


def settings(required: Iterable[str] = (), **properties: Schema) -> Schema:
    """The schema of an object with these settings and no others."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


NO_SETTINGS: Final = settings()


def text(title: str, description: str, **words: Any) -> Schema:
    return {"type": "string", "title": title, "description": description, "maxLength": 4000, **words}


def switch(title: str, description: str, *, default: bool = False) -> Schema:
    return {"type": "boolean", "title": title, "description": description, "default": default}


def number(title: str, description: str, least: int, most: int, **words: Any) -> Schema:
    """A whole number."""
    limits = {"minimum": least, "maximum": most}
    return {"type": "integer", "title": title, "description": description, **limits, **words}


def choice(title: str, description: str, options: Iterable[str], **words: Any) -> Schema:
    return {"type": "string", "title": title, "description": description, "enum": list(options), **words}


def texts(title: str, description: str, **words: Any) -> Schema:
    """A list of texts, written one a line."""
    item = {"type": "string", "minLength": 1, "maxLength": 4000}
    return {
        "type": "array",
        "title": title,
        "description": description,
        "items": item,
        "maxItems": 200,
        **words,
    }


def pairs(title: str, description: str, names: str = r"^[^\s:][^\r\n:]*\Z", **words: Any) -> Schema:
    """An object of texts, written as `name: value` lines. `names`: the pattern of its names."""
    return {
        "type": "object",
        "title": title,
        "description": description,
        "propertyNames": {"pattern": names, "maxLength": 200},
        "additionalProperties": {"type": "string", "maxLength": 4000},
        "maxProperties": 200,
        "x-lines": True,
        **words,
    }


def faults(schema: Schema, given: Any, label: str) -> list[Fault]:
    """What is wrong with the settings `given` to a task of the type called `label`, each setting once."""
    # Only who edits tasks needs it; a worker does without its memory.
    from jsonschema import Draft202012Validator

    found: dict[str, Fault] = {}
    errors = Draft202012Validator(schema).iter_errors(given)
    for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path]):
        for fault in _faults(schema, error, label):
            found.setdefault(fault.name, fault)
    return list(found.values())


def _faults(schema: Schema, error: Any, label: str) -> Iterator[Fault]:
    path = list(error.absolute_path)
    if not path and error.validator == "additionalProperties":
        known = listed_plainly(schema["properties"] or [gettext("none")])
        for name in sorted(set(error.instance) - set(schema["properties"]), key=str):
            message = gettext("the setting %(name)s is unknown; %(type)s tasks have: %(known)s")
            values = {"name": _plain(name), "type": gettext(label), "known": known}
            yield Fault(str(name), message % values)
    elif not path and error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                message = gettext("the setting %(name)s is missing: %(meaning)s")
                values = {"name": name, "meaning": _sentence(schema["properties"][name])}
                yield Fault(name, message % values)
    elif path:
        name = str(path[0])
        inside = "".join(f", {_shown(part)}," for part in path[1:])
        yield Fault(name, setting_is(f"{name}{inside}", _problem(error, schema["properties"][name])))
    else:
        message = gettext("the setting must be an object, not %(found)s")
        yield Fault("", message % {"found": _shown(error.instance)})


def _problem(error: Any, declared: Schema) -> str:
    limit = error.validator_value
    values = {"limit": limit, "found": _shown(error.instance)}
    match error.validator:
        case "type":
            kinds = [limit] if isinstance(limit, str) else limit
            values["kind"] = either(gettext(_KINDS.get(kind, kind)) for kind in kinds)
            return gettext("must be %(kind)s, not %(found)s") % values
        case "enum":
            values["known"] = listed_plainly(map(str, limit))
            return gettext("must be one of %(known)s, not %(found)s") % values
        case "minimum":
            return gettext("must be at least %(limit)s, not %(found)s") % values
        case "maximum":
            return gettext("must be at most %(limit)s, not %(found)s") % values
        case "minLength":
            if not error.instance:
                return gettext("must not be empty")
            return gettext("must have at least %(limit)s characters") % values
        case "maxLength":
            return gettext("must have at most %(limit)s characters") % values
        case "maxItems" | "maxProperties":
            return gettext("must have at most %(limit)s entries") % values
        case "pattern":
            values["meaning"] = _sentence(declared)
            return gettext("cannot be %(found)s: %(meaning)s") % values
    return gettext("cannot be used: %(error)s") % {"error": str(error.message)[:200]}


def _sentence(declared: Schema) -> str:
    said = str(declared.get("description") or declared.get("title") or "")
    said = gettext(said) if said else ""
    return said[:1].lower() + said[1:].rstrip(".。")


def _plain(name: str) -> str:
    return name if name.isidentifier() and len(name) <= _SHOWN else _shown(name)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…")
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def filled(schema: Schema, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the defaults of those that are not given."""
    defaults = {
        name: declared["default"]
        for name, declared in schema["properties"].items()
        if "default" in declared and name not in given
    }
    return {**defaults, **given}


def expressions(schema: Schema, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(setting, text) of every text that may hold ${...}."""
    for name, declared in schema["properties"].items():
        if declared.get("x-expressions") and name in given:
            for found in _texts(given[name]):
                yield name, found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def substituted(schema: Schema, given: Mapping[str, Any], fill: Any) -> dict[str, Any]:
    """The settings with `fill(text)` in the place of each text that may hold ${...}."""
    return {
        name: _filled(value, fill) if schema["properties"].get(name, {}).get("x-expressions") else value
        for name, value in given.items()
    }


def _filled(value: Any, fill: Any) -> Any:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, Mapping):
        return {key: _filled(item, fill) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, fill) for item in value]
    return value
