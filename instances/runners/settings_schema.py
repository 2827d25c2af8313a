"""The schemas of task types' settings (JSON Schema, draft 2020-12), and what is wrong with given settings, in words.

A type declares its settings as `settings(name=text(...), ...)`. From that come the checks on save, the fields of the
admin's form and the tables of docs. Besides the standard words a property may have two of ours:

    x-expressions: true    ${...} in its texts is filled in when it runs, as in code
    x-lines: true          its text, or each `name: value` of its object, is edited in several lines
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Schema = Mapping[str, Any]
_SHOWN: Final = 60

_KINDS: Final = {
    "string": "a text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "an object, such as {}",
}


def gettext_noop(text: str) -> str:
    """Marks a title or a help text for the collectors of translations; whoever shows it translates it."""
    return text


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
        known = ", ".join(schema["properties"]) or "none"
        for name in sorted(set(error.instance) - set(schema["properties"]), key=str):
            yield Fault(str(name), f"the setting {_plain(name)} is unknown; {label} tasks have: {known}")
    elif not path and error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield Fault(name, f"the setting {name} is missing: {_sentence(schema['properties'][name])}")
    elif path:
        name = str(path[0])
        inside = "".join(f", {_shown(part)}," for part in path[1:])
        yield Fault(name, f"the setting {name}{inside} {_problem(error, schema['properties'][name])}")
    else:
        yield Fault("", f"the setting must be an object, not {_shown(error.instance)}")


def _problem(error: Any, declared: Schema) -> str:
    limit, found = error.validator_value, _shown(error.instance)
    match error.validator:
        case "type":
            kinds = [limit] if isinstance(limit, str) else limit
            return f"must be {' or '.join(_KINDS.get(kind, kind) for kind in kinds)}, not {found}"
        case "enum":
            return f"must be one of {', '.join(map(str, limit))}, not {found}"
        case "minimum":
            return f"must be at least {limit}, not {found}"
        case "maximum":
            return f"must be at most {limit}, not {found}"
        case "minLength":
            return "must not be empty" if not error.instance else f"must have at least {limit} characters"
        case "maxLength":
            return f"must have at most {limit} characters"
        case "maxItems" | "maxProperties":
            return f"must have at most {limit} entries"
        case "pattern":
            return f"cannot be {found}: {_sentence(declared)}"
    return f"cannot be used: {str(error.message)[:200]}"


def _sentence(declared: Schema) -> str:
    text = str(declared.get("description") or declared.get("title") or "")
    return text[:1].lower() + text[1:].rstrip(".")


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
