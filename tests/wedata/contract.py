"""The SDK's models as the contract: which fields a request and an answer have, and of which type."""

import importlib
import inspect
import re
from functools import cache
from typing import Any

VERSIONS = {"2025-08-06": "v20250806", "2021-08-20": "v20210820"}
_TYPE = re.compile(r":rtype: (.*)")
_PLAIN = {"str": str, "int": int, "bool": bool, "float": float}


def models(version: str) -> Any:
    return importlib.import_module(f"tencentcloud.wedata.{VERSIONS[version]}.models")


@cache
def fields(version: str, model: str) -> dict[str, str]:
    """{field: its type} as the docstrings say: `str`, `list of str`, or the name of a model; `?` where they do not."""
    cls = getattr(models(version), model)
    found = {}
    for name, value in inspect.getmembers(cls, lambda one: isinstance(one, property)):
        if name == "headers":
            continue
        said = _TYPE.search(value.fget.__doc__ or "")
        kind = re.sub(r":class:`.*\.(\w+)`", r"\1", said[1].strip()) if said else "?"
        found[name] = kind.removesuffix(" non-negative")
    return found


def model_of(version: str, kind: str) -> str:
    """The model inside a type, '' for a plain one."""
    name = kind.removeprefix("list of ")
    return name if hasattr(models(version), name) else ""


def check(version: str, model: str, value: Any, path: str, filled: set[tuple[str, str]]) -> None:
    """An answer has no field that the model has not, and each is of its type. Fields that are not null are noted."""
    known = fields(version, model)
    assert isinstance(value, dict), f"{path} is no object"
    for name, one in value.items():
        assert name in known, f"{path}: {model} has no field {name}"
        if one is None:
            continue
        filled.add((model, name))
        _check_type(version, known[name], one, f"{path}.{name}", filled)


def _check_type(version: str, kind: str, value: Any, path: str, filled: set[tuple[str, str]]) -> None:
    if kind.startswith("list of "):
        assert isinstance(value, list), f"{path} is no list"
        for one in value:
            _check_type(version, kind.removeprefix("list of "), one, path, filled)
    elif kind in _PLAIN:
        assert type(value) is _PLAIN[kind], f"{path}: {value!r} is no {kind}"
    elif kind != "?":
        check(version, kind, value, path, filled)


def reachable(version: str, model: str, found: set[tuple[str, str]] | None = None) -> set[tuple[str, str]]:
    """(model, field) of a model and of all that are inside it."""
    found = set() if found is None else found
    for name, kind in fields(version, model).items():
        if (model, name) not in found:
            found.add((model, name))
            if inner := model_of(version, kind):
                reachable(version, inner, found)
    return found
