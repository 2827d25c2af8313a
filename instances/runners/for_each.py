"""FOR_EACH: the code is an array; each of its items becomes a traversal of the task's inner DAG, which the engine runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from instances.language import gettext
from instances.runners.base import Control, LogSink, Outcome, RunSpec, TaskType, cancelled_outcome
from instances.runners.host import Host
from instances.runners.settings_schema import choice, number, setting_is, settings
from instances.runners.settings_schema import gettext_noop as _

BAD_ARRAY: Final = "BAD_ARRAY"
ARRAY_TOO_LONG: Final = "ARRAY_TOO_LONG"
# Characters of one item: it becomes a parameter, and with it a variable of each child's environment.
MOST_CHARACTERS: Final = 16 * 1024
_EXPRESSION = re.compile(r"\$\{[^{}]*\}")
_SHOWN = 60


class ArrayError(ValueError):
    """The array cannot be traversed; `code` is BAD_ARRAY or ARRAY_TOO_LONG."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def items(text: str, most: int) -> tuple[str, ...]:
    """The items of a JSON array as texts: strings as they are, everything else as compact JSON. Raises ArrayError."""
    try:
        array = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = gettext(
            'the array is no JSON (%(error)s): write it as ["a", "b"], or ${name}; got %(found)s'
        )
        raise ArrayError(BAD_ARRAY, message % {"error": error, "found": _shown(text)}) from None
    if not isinstance(array, list):
        message = gettext('the array must be a JSON array such as ["a", "b"]; got %(found)s')
        raise ArrayError(BAD_ARRAY, message % {"found": _shown(text)})
    if len(array) > most:
        message = gettext(
            "the array has %(count)s items; %(most)s are allowed: give each traversal more to do"
        )
        raise ArrayError(ARRAY_TOO_LONG, message % {"count": f"{len(array):,}", "most": f"{most:,}"})
    found = tuple(one if isinstance(one, str) else _compact(one) for one in array)
    for place, item in enumerate(found):
        if len(item) > MOST_CHARACTERS:
            message = gettext(
                "item %(place)s has %(count)s characters; %(most)s are allowed: name a file or table instead"
            )
            values = {"place": place, "count": f"{len(item):,}", "most": f"{MOST_CHARACTERS:,}"}
            raise ArrayError(BAD_ARRAY, message % values)
        if "\0" in item:
            raise ArrayError(BAD_ARRAY, gettext("item %(place)s holds a NUL character") % {"place": place})
    return found


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _shown(text: str) -> str:
    short = text.strip()
    short = short if len(short) <= _SHOWN else short[:_SHOWN] + "..."
    return gettext("nothing") if not short else "".join(c if c.isprintable() else "?" for c in short)


class ForEachRunner(TaskType):
    """Its run ends as soon as the array is read: an `Outcome` with an `array` says that traversals do the work."""

    type = "FOR_EACH"
    label = _("For-each")
    icon = "repeat"
    code_is = _('The array: a JSON array such as ["a", "b"], or ${name} of a parameter that holds one.')
    language = "json"
    schema = settings(
        parallelism=number(
            _("Traversals at once"),
            _("How many traversals may be under way at the same time."),
            1,
            1000,
            default=5,
        ),
        success=choice(
            _("It succeeds if"),
            _(
                "all: every traversal succeeds; any: at least one does; tolerate: no more than the tolerated number fail."
            ),
            ("all", "any", "tolerate"),
            default="all",
        ),
        tolerated=number(
            _("Tolerated failures"), _("For tolerate: so many traversals may fail."), 0, 1_000_000
        ),
        on_failure=choice(
            _("After a failure"),
            _(
                "go_on: the other traversals are run all the same; stop: none is started once the task can only fail."
            ),
            ("go_on", "stop"),
            default="go_on",
        ),
    )
    codes = (BAD_ARRAY, ARRAY_TOO_LONG)

    def __init__(self, host: Host) -> None:
        self._host = host

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        problems: list[str] = []
        if "tolerated" in settings and settings.get("success") != "tolerate":
            needs = gettext("needs the setting success to be tolerate")
            problems.append(setting_is("tolerated", needs))
        if not code.strip():
            return [*problems, gettext('write the array, such as ["a", "b"] or ${name}')]
        if not _EXPRESSION.search(code):
            try:
                items(code, self._host.most_traversals)
            except ArrayError as error:
                problems.append(str(error))
        return problems

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        if control.reason is not None:
            return cancelled_outcome(control.reason, how="it had not started")
        try:
            found = items(spec.code, self._host.most_traversals)
        except ArrayError as error:
            return Outcome(False, error_code=error.code, message=str(error))
        if not found:
            log.write("weops", b"[weops] The array is empty: there is nothing to traverse.\n")
            return Outcome(True)
        return Outcome(True, array=found)
