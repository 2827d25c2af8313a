"""The versions of a task: what each changed, and what differs between any two, or between one and what is saved.

    listed(task, before)                a page of them, the newest first
    compare(task, old, new, user)       code line by line, everything else by name

The caller has checked that the user sees the task. Values of the task's secrets are masked in all texts, and names of
projects that the user cannot see do not appear.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import connection
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from events.formats import Unit
from events.words import UNITS
from instances import definitions
from instances.engine import secrets
from instances.insight.changed import Value
from instances.insight.names import Names
from instances.insight.text_diff import Row, diff
from instances.models import Task, TaskVersion
from instances.models.definition import SCHEDULE_COLUMNS
from instances.runners.masker import Masker
from weops.projects.access import AnyUser

PAGE = 20
# What is shown apart, or is part of another name.
_APART = {"code", "parameters", "settings", "dependencies", "events", "inner", "generation_error"}
_PLACE = ("name", "workflow", "folder", "owner", "for_each", "description")
_SCHEDULE = (*SCHEDULE_COLUMNS, "catch_up")
_WHAT_RUNS = ("task_type", "data_source", "secrets", "outputs")


@dataclass(frozen=True, slots=True)
class Listed:
    """A version, and the parts of the definition that it changed; `changed` None: there is none before it."""

    version: TaskVersion
    changed: list[str] | None

    @property
    def words(self) -> str:
        if self.changed is None:
            return _("the first")
        return ", ".join(title(name).lower() for name in self.changed)


@dataclass(frozen=True, slots=True)
class Listing:
    """`earlier`: the number before which the next page begins."""

    rows: list[Listed]
    earlier: int | None


_CHANGED = """
SELECT v.id, CASE WHEN p.definition IS NOT NULL THEN ARRAY(
    SELECT name FROM (
        SELECT coalesce(now.key, was.key) AS name FROM jsonb_each(v.definition) now FULL JOIN jsonb_each(p.definition) was
          ON was.key = now.key WHERE now.value IS DISTINCT FROM was.value) n
    ORDER BY name) END
FROM instances_taskversion v LEFT JOIN LATERAL (
    SELECT p.definition FROM instances_taskversion p WHERE p.task_id = v.task_id AND p.number < v.number
    ORDER BY p.number DESC LIMIT 1) p ON true
WHERE v.id = ANY(%s)
"""


def listed(task: Task, before: int | None = None, size: int = PAGE) -> Listing:
    """Two queries, whatever the versions hold."""
    rows = task.versions.select_related("created_by").defer("code", "parameters", "definition")
    if before is not None:
        rows = rows.filter(number__lt=before)
    page = list(rows.order_by("-number")[: size + 1])
    with connection.cursor() as cursor:
        cursor.execute(_CHANGED, [[one.pk for one in page[:size]]])
        changed = dict(cursor.fetchall())
    shown = [Listed(one, changed[one.pk]) for one in page[:size]]
    return Listing(shown, shown[-1].version.number if len(page) > size else None)


@dataclass(frozen=True, slots=True)
class Side:
    """A whole definition. `number` None: what is saved of the task now."""

    number: int | None
    definition: Mapping[str, Any]

    @property
    def title(self) -> str:
        return _("saved now") if self.number is None else _("version %(number)d") % {"number": self.number}


def saved(task: Task) -> Side:
    return Side(None, definitions.snapshot(task))


def of(version: TaskVersion) -> Side:
    return Side(version.number, version.definition)


@dataclass(slots=True)
class Comparison:
    """`old`, `new`: what the two are called. `parts`: (name of the part, what differs in it), those that differ."""

    old: str
    new: str
    code: list[Row] = field(default_factory=list)
    parts: list[tuple[str, list[Value]]] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return not self.code and not self.parts


def compare(task: Task, old: Side, new: Side, user: AnyUser | None) -> Comparison:
    """What differs. Three queries at most, whatever the versions hold."""
    mask = secrets.masker_of(task.pk)
    before, after = (
        definitions.completed(one) for one in Names.of(user).definitions([old.definition, new.definition])
    )
    found = Comparison(old.title, new.title)
    found.code = diff(mask.mask_text(before.get("code", "")), mask.mask_text(after.get("code", "")))
    sides = [_parts(before, mask), _parts(after, mask)]
    for part in sides[0]:
        was, now = sides[0][part], sides[1][part]
        rows = [Value(name, was.get(name), now.get(name)) for name in dict.fromkeys([*was, *now])]
        if differing := [row for row in rows if row.changed]:
            found.parts.append((part, differing))
    return found


def described(task: Task, side: Side, user: AnyUser | None) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    """(code, [(name of the part, what it says by name)]) of a whole definition, parts that say nothing left out."""
    mask = secrets.masker_of(task.pk)
    [definition] = Names.of(user).definitions([side.definition])
    whole = definitions.completed(definition)
    parts = [(part, values) for part, values in _parts(whole, mask).items() if values]
    return mask.mask_text(whole.get("code", "")), parts


def _parts(definition: Mapping[str, Any], mask: Masker) -> dict[str, dict[str, str]]:
    """Part -> name -> value in words, in the order in which pages show them."""
    rest = [
        name for name in definition if name not in _APART and name not in (*_PLACE, *_SCHEDULE, *_WHAT_RUNS)
    ]
    settings = definition.get("settings") or {}
    parts = {
        _("Name and place"): _columns(definition, _PLACE),
        _("What runs"): _columns(definition, _WHAT_RUNS)
        | {_("Setting %(name)s") % {"name": name}: _words(value) for name, value in settings.items()},
        _("Parameters"): {
            name: _words(value) for name, value in (definition.get("parameters") or {}).items()
        },
        _("Schedule"): _columns(definition, _SCHEDULE),
        _("Running"): _columns(definition, rest),
        _("Waits for"): _waits(definition),
        _("Events"): _events(definition),
        _("Inner tasks"): {
            row["task"]["name"]: _("after %(tasks)s") % {"tasks": ", ".join(f"#{pk}" for pk in row["after"])}
            if row["after"]
            else _("at once")
            for row in definition.get("inner") or ()
        },
    }
    return {
        part: {mask.mask_text(name): mask.mask_text(value) for name, value in values.items()}
        for part, values in parts.items()
    }


def _columns(definition: Mapping[str, Any], names: Any) -> dict[str, str]:
    return {title(name): _value(name, definition[name]) for name in names if name in definition}


def title(name: str) -> str:
    """What a part of a definition is called on pages."""
    own = {
        "code": _("Code"),
        "dependencies": _("Waits for"),
        "events": _("Events"),
        "inner": _("Inner tasks"),
        "secrets": _("Secrets"),
    }
    if name in own:
        return own[name]
    try:
        return capfirst(str(Task._meta.get_field(name).verbose_name))  # type: ignore[union-attr]
    except FieldDoesNotExist:
        return capfirst(name.replace("_", " "))


def _value(name: str, value: Any) -> str:
    """With the words of the column's choices."""
    try:
        words = dict(Task._meta.get_field(name).flatchoices)  # type: ignore[union-attr]
    except (FieldDoesNotExist, AttributeError):
        words = {}
    return str(words[value]) if isinstance(value, str | int) and value in words else _words(value)


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, Mapping) and set(value) == {"id", "name"}:
        return str(value["name"])
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value)


def _numbered(row: Mapping[str, Any]) -> str:
    """Other projects have tasks and events of the same name."""
    return f"{row['name']} (#{row['id']})"


def _waits(definition: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for row in definition.get("dependencies") or ():
        words = [row.get("scope") or _("default scope")]
        if row.get("offsets"):
            words.append(row["offsets"])
        if row.get("do_not_wait_for"):
            words.append(_("not for %(parents)s") % {"parents": ", ".join(row["do_not_wait_for"])})
        if row.get("timeout_minutes"):
            words.append(_("timeout %(minutes)d min") % {"minutes": row["timeout_minutes"]})
        found[_numbered(row["task"])] = "; ".join(words)
    return found


def _events(definition: Mapping[str, Any]) -> dict[str, str]:
    events = definition.get("events") or {}
    listens = {
        _("Listens to %(event)s") % {"event": _numbered(row["event"])}: _("at most %(amount)s %(unit)s")
        % {"amount": row["max_wait"], "unit": UNITS[Unit(row["unit"])]}
        if row["max_wait"] is not None
        else _("for ever")
        for row in events.get("listens_to") or ()
    }
    fires = {
        _("Fires %(event)s") % {"event": _numbered(row["event"])}: _("when it succeeds")
        for row in events.get("fires") or ()
    }
    return listens | fires
