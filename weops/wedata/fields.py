"""Fields of requests: their types, limits and enumerations, as the models of the SDK have them.

`read` turns what came as JSON into values, or raises ApiError with the path of the field. A field that is absent or null
is None. What WeData's API has and WeOps takes no notice of is `Ignored`; what it cannot do is `Refused`.
"""

import datetime as dt
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from instances.operations.parsing import storable
from weops.wedata.errors import bad_value, missing, unknown, unsupported

MOST_TEXT = 4_000
MOST_CODE = 4 * 2**20
MOST_LISTED = 1_000
_ID = re.compile(r"[0-9]{1,18}\Z", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}( \d{2}:\d{2}:\d{2})?\Z", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Field:
    """`type` is what the SDK's docstring calls it."""

    required: bool = False
    default: Any = None

    @property
    def type(self) -> str:
        raise TypeError(f"{type(self).__name__} does not say what the SDK calls its type")

    def read(self, value: Any, path: str) -> Any:
        if value is None:
            if self.required:
                raise missing(path)
            return self.default
        return self.parse(value, path)

    def parse(self, value: Any, path: str) -> Any:
        raise TypeError(f"{type(self).__name__} does not say how it is read")


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """`one_of`: the values that it may have. A required text is not empty."""

    most: int = MOST_TEXT
    one_of: Collection[str] = ()
    type = "str"

    def parse(self, value: Any, path: str) -> str | None:
        if not isinstance(value, str):
            raise bad_value(path, f"{_shown(value)} is no text.")
        if not storable(value):
            raise bad_value(path, "It holds a NUL or half a character, which no text may.")
        if len(value) > self.most:
            raise bad_value(path, f"It has {len(value):,} characters; write at most {self.most:,}.")
        if self.required and not value.strip():
            raise missing(path)
        if self.one_of and value not in self.one_of:
            if not value and not self.required:
                return self.default
            raise bad_value(path, f"{_shown(value)} is none of {', '.join(self.one_of)}.")
        return value


@dataclass(frozen=True, kw_only=True)
class Id(Field):
    """A number that is written as a text, as all ids of the API are."""

    type = "str"

    def parse(self, value: Any, path: str) -> int | None:
        if value == "" and not self.required:
            return None
        if type(value) is int and 0 <= value < 10**18:
            return value
        if not isinstance(value, str) or not _ID.match(value):
            raise bad_value(path, f"{_shown(value)} is no id; ids are numbers, written as texts.")
        return int(value)


@dataclass(frozen=True, kw_only=True)
class Whole(Field):
    """A whole number; `one_of` its values, if it is an enumeration. `type` "str": the SDK sends it as a text."""

    least: int = -(2**31)
    most: int = 2**31 - 1
    one_of: Collection[int] = ()
    type: str = "int"

    def parse(self, value: Any, path: str) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,10}", value, re.ASCII):
            value = int(value)
        if type(value) is not int:
            raise bad_value(path, f"{_shown(value)} is no whole number.")
        if self.one_of and value not in self.one_of:
            raise bad_value(path, f"{value} is none of {', '.join(map(str, self.one_of))}.")
        if not self.least <= value <= self.most:
            raise bad_value(path, f"{_shown(value)} lies outside {self.least:,} to {self.most:,}.")
        return value


@dataclass(frozen=True, kw_only=True)
class Flag(Field):
    type = "bool"

    def parse(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise bad_value(path, f"{_shown(value)} is neither true nor false.")
        return value


@dataclass(frozen=True, kw_only=True)
class Moment(Field):
    """A time without a zone, yyyy-MM-dd HH:mm:ss, or with `date` yyyy-MM-dd; a day alone is its first second."""

    date: bool = False
    type = "str"

    def parse(self, value: Any, path: str) -> dt.datetime | None:
        if value == "" and not self.required:
            return None
        shape = "yyyy-MM-dd" if self.date else "yyyy-MM-dd HH:mm:ss"
        try:
            if isinstance(value, str) and _TIME.match(value) and (not self.date or len(value) == 10):
                found = dt.datetime.fromisoformat(value)
                # Room for every zone on both sides.
                if 1900 <= found.year < 9000:
                    return found
        except ValueError:
            pass
        raise bad_value(path, f"{_shown(value)} is no time of the form {shape}.")


@dataclass(frozen=True, kw_only=True)
class Clock(Field):
    """A time of day, HH:mm (seconds are allowed where they are zero, or where `seconds` says so)."""

    seconds: bool = False
    type = "str"

    def parse(self, value: Any, path: str) -> dt.time | None:
        if value == "" and not self.required:
            return None
        try:
            if isinstance(value, str) and re.fullmatch(r"\d{2}:\d{2}(:\d{2})?", value, re.ASCII):
                found = dt.time.fromisoformat(value)
                if self.seconds or not found.second:
                    return found
        except ValueError:
            pass
        raise bad_value(path, f"{_shown(value)} is no time of day of the form HH:mm.")


@dataclass(frozen=True, kw_only=True)
class Many(Field):
    """A list of up to `most`."""

    of: Field
    most: int = MOST_LISTED

    @property
    def type(self) -> str:
        return f"list of {self.of.type}"

    def parse(self, value: Any, path: str) -> list[Any] | None:
        if not isinstance(value, list):
            raise bad_value(path, f"{_shown(value)} is no list.")
        if not value:
            if self.required:
                raise missing(path)
            return []
        if len(value) > self.most:
            raise bad_value(path, f"It has {len(value):,} entries; write at most {self.most:,}.")
        found = []
        for place, one in enumerate(value):
            if one is None:
                raise bad_value(f"{path}.{place}", "null is no entry of a list.")
            found.append(self.of.read(one, f"{path}.{place}"))
        return found


@dataclass(frozen=True, kw_only=True)
class Model(Field):
    """An object with `fields`; in a request model of its own, `name` is the SDK's."""

    name: str
    fields: Mapping[str, Field]

    @property
    def type(self) -> str:
        return self.name

    def parse(self, value: Any, path: str) -> dict[str, Any]:
        """{name: value} of the fields that were given, and of those that have a default."""
        if not isinstance(value, Mapping):
            raise bad_value(path, f"{_shown(value)} is no object.")
        return read_all(self.fields, value, f"{path}.")


@dataclass(frozen=True, kw_only=True)
class Ignored(Field):
    """Accepted, of whatever type the SDK gives it, and left aside: it would change nothing here. docs/wedata.md"""

    type: str = "str"

    def read(self, value: Any, path: str) -> Any:
        return None


@dataclass(frozen=True, kw_only=True)
class Refused(Field):
    """There is nothing like it here: any value but those in `nothing` is refused, with `why`."""

    why: str
    type: str = "str"
    nothing: Collection[Any] = ()

    def read(self, value: Any, path: str) -> Any:
        if value in (None, "", [], {}) or value in self.nothing:
            return None
        raise unsupported(path, self.why)


def read_all(fields: Mapping[str, Field], given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of an object's fields, without those that are None. Raises ApiError."""
    for name in given:
        if name not in fields:
            raise unknown(f"{prefix}{_shown(name)[1:-1]}", list(fields))
    found = {name: field.read(given.get(name), f"{prefix}{name}") for name, field in fields.items()}
    return {name: value for name, value in found.items() if value is not None}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
