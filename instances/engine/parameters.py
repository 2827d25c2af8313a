"""Parameters and time expressions: what stands inside ``${...}`` in code and in parameter values.

    ${name}                       the value of a parameter; an undefined name is an error, never empty text
    ${yyyyMMdd-1d}                the data time in a format (yyyy yy MM dd HH mm ss), moved by offsets (+N or
                                  -N of y M w d h m; M is month, m is minute)
    ${month_last_day:yyyy-MM-dd}  also month_first_day, week_first_day, week_last_day; yyyyMMdd by default
    ${timestamp}                  ten digits: the scheduled time in seconds since 1970
    $${                           a literal ${

Everything is computed on the wall clock of the task's time zone. Years and months move first (the day is
clamped to the month's end), then the first or last day of the month or week is taken, then weeks and days
move the wall clock, then hours and minutes move the instant. Text that was put in is never read again, so a
value cannot smuggle an expression into code. Pure functions, linear in the text.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from graphlib import CycleError, TopologicalSorter

from instances.engine.zone import first_instant, wall, zone
from instances.language import gettext

UNDEFINED_PARAMETER = "UNDEFINED_PARAMETER"
BAD_EXPRESSION = "BAD_EXPRESSION"
PARAMETER_CYCLE = "PARAMETER_CYCLE"

MAX_NAME_CHARS = 128
MAX_EXPRESSION_CHARS = 200
# Parameters that refer to one another can grow exponentially; these stop it long before memory does.
MAX_VALUE_CHARS = 128 * 1024
MAX_TEXT_CHARS = 16 * 1024 * 1024

_MARKER = re.compile(rf"\$\$\{{|\$\{{(?:([^${{}}\r\n]{{0,{MAX_EXPRESSION_CHARS}}})\}})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OFFSETS = re.compile(r"(?: *[+-][0-9]{1,6}[yMwdhm])+\Z")
_OFFSET = re.compile(r"([+-][0-9]+)([yMwdhm])")
_FORMAT_PIECE = re.compile(r"y+|M+|d+|H+|m+|s+|[^yMdHms]+")
_SEPARATORS = frozenset("-/:_. T")
_DEFAULT_FORMAT = "yyyyMMdd"
_TIMESTAMP = "timestamp"
_SAMPLE = datetime(2000, 6, 15, tzinfo=UTC)

_FIELDS: dict[str, Callable[[datetime], str]] = {
    "yyyy": lambda t: f"{t.year:04d}",
    "yy": lambda t: f"{t.year % 100:02d}",
    "MM": lambda t: f"{t.month:02d}",
    "dd": lambda t: f"{t.day:02d}",
    "HH": lambda t: f"{t.hour:02d}",
    "mm": lambda t: f"{t.minute:02d}",
    "ss": lambda t: f"{t.second:02d}",
}


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


_ANCHORS: dict[str, Callable[[datetime], datetime]] = {
    "month_first_day": lambda t: _midnight(t).replace(day=1),
    "month_last_day": lambda t: _midnight(t).replace(day=calendar.monthrange(t.year, t.month)[1]),
    "week_first_day": lambda t: _midnight(t) - timedelta(days=t.weekday()),
    "week_last_day": lambda t: _midnight(t) + timedelta(days=6 - t.weekday()),
}


class ParameterError(ValueError):
    """An expression that cannot be replaced, or a name that cannot be given.

    ``code`` is one of the three constants above, ``name`` the text between the braces or the parameter's
    name; the message says what is wrong and what to do.
    """

    def __init__(self, message: str, *, code: str = BAD_EXPRESSION, name: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.name = name


def merge(*layers: Mapping[str, str]) -> dict[str, str]:
    """One mapping out of several; a later layer wins.

    Call it in rising precedence: ``merge(project, workflow, upstream_outputs, task, operation_override)``.
    """
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(layer)
    return merged


def resolve(
    parameters: Mapping[str, str],
    *,
    data_time: datetime,
    timezone: str,
    scheduled_time: datetime | None = None,
) -> dict[str, str]:
    """Every parameter with its expressions replaced, in the given order; values may refer to one another.

    The answer is what a life freezes when it starts. Raises ParameterError that names the parameter at fault.
    """
    references = {
        name: [body for body in dict.fromkeys(_bodies(value)) if body in parameters]
        for name, value in parameters.items()
    }
    try:
        order = list(TopologicalSorter(references).static_order())
    except CycleError as error:
        path = " -> ".join(_shown(name) for name in reversed(error.args[1]))
        message = gettext(
            "These parameters refer to one another in a circle: %(path)s. Give one a value of its own."
        )
        raise ParameterError(
            message % {"path": path},
            code=PARAMETER_CYCLE,
            name=error.args[1][-1],
        ) from None
    clock = _Clock(data_time, timezone, scheduled_time)
    resolved: dict[str, str] = {}
    for name in order:
        try:
            resolved[name] = _expand(parameters[name], resolved, clock, MAX_VALUE_CHARS)
        except ParameterError as error:
            message = gettext("In the value of parameter %(name)s: %(error)s")
            raise ParameterError(
                message % {"name": _shown(name), "error": error}, code=error.code, name=error.name
            ) from None
    return {name: resolved[name] for name in parameters}


def substitute(
    text: str,
    *,
    values: Mapping[str, str],
    data_time: datetime,
    timezone: str,
    scheduled_time: datetime | None = None,
) -> str:
    """``text`` with every expression replaced. ``values`` are final (see ``resolve``) and not read again.

    ``data_time`` and ``scheduled_time`` are aware; without a scheduled time the data time stands for it.
    Raises ParameterError for the first fault.
    """
    return _expand(text, values, _Clock(data_time, timezone, scheduled_time), MAX_TEXT_CHARS)


def check(text: str, names: Collection[str]) -> list[ParameterError]:
    """What is wrong with ``text`` if only the parameters ``names`` exist; each distinct fault once, in order.

    For forms: it needs no data time. Whether an offset leaves the dates that exist is judged from 2000.
    """
    known = dict.fromkeys(names, "")
    clock = _Clock(_SAMPLE, "UTC", None)
    faults: dict[str, ParameterError] = {}
    for marker in _MARKER.finditer(text):
        if marker[0] == "$${" or marker[0] in faults:
            continue
        try:
            _value(marker, known, clock)
        except ParameterError as error:
            faults[marker[0]] = error
    return list(faults.values())


def check_name(name: str) -> None:
    """Refuse a parameter name that could not be used in ``${name}``, or that reads as a time expression."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_CHARS:
        message = gettext(
            "%(name)r cannot name a parameter: use letters, digits and _, begin with a letter or _, "
            "and write %(most)s characters at most."
        )
        raise ParameterError(message % {"name": _shown(name), "most": MAX_NAME_CHARS}, name=name)
    if _is_time(name):
        message = gettext(
            "%(name)s cannot name a parameter: %(expression)s is a time expression. Choose another name."
        )
        raise ParameterError(
            message % {"name": _shown(name), "expression": f"${{{name}}}"},
            name=name,
        )


def names_used(text: str) -> set[str]:
    """The parameters that ``text`` refers to; time expressions and unreadable text are left out."""
    return {body for body in _bodies(text) if _NAME.fullmatch(body) and not _is_time(body)}


@dataclass(frozen=True)
class _Expression:
    """A time expression. ``anchor``: a key of _ANCHORS, ``timestamp`` or empty; offsets are summed up."""

    anchor: str
    pieces: tuple[str, ...]
    months: int = 0
    days: int = 0
    minutes: int = 0


class _Clock:
    """The moments of one instance, and how expressions move them in the task's zone."""

    def __init__(self, data_time: datetime, timezone: str, scheduled_time: datetime | None) -> None:
        scheduled_time = scheduled_time or data_time
        if data_time.tzinfo is None or scheduled_time.tzinfo is None:
            raise ValueError("data_time and scheduled_time must carry a time zone")
        self.data_time, self.scheduled_time, self.zone = data_time, scheduled_time, zone(timezone)

    def render(self, expression: _Expression) -> str:
        if expression.anchor == _TIMESTAMP:
            seconds = int(self.moved(self.scheduled_time, expression).timestamp())
            if not 0 <= seconds <= 9_999_999_999:
                raise OverflowError
            return f"{seconds:010d}"
        local = self.moved(self.data_time, expression)
        return "".join(_FIELDS[piece](local) if piece in _FIELDS else piece for piece in expression.pieces)

    def moved(self, moment: datetime, expression: _Expression) -> datetime:
        anchor = _ANCHORS.get(expression.anchor)
        if expression.months or expression.days or anchor:
            local = _add_months(wall(self.zone, moment), expression.months)
            if anchor:
                local = anchor(local)
            moment, _ = first_instant(self.zone, local + timedelta(days=expression.days))
        return (moment.astimezone(UTC) + timedelta(minutes=expression.minutes)).astimezone(self.zone)


def _add_months(local: datetime, months: int) -> datetime:
    year, month0 = divmod(local.year * 12 + local.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    day = min(local.day, calendar.monthrange(year, month0 + 1)[1])
    return local.replace(year=year, month=month0 + 1, day=day)


def _expand(text: str, values: Mapping[str, str], clock: _Clock, limit: int) -> str:
    """``text`` with at most ``limit`` characters of values put in."""
    done: list[str] = []
    put_in = end = 0
    for marker in _MARKER.finditer(text):
        value = "${" if marker[0] == "$${" else _value(marker, values, clock)
        done += (text[end : marker.start()], value)
        end = marker.end()
        put_in += len(value)
        if put_in > limit:
            message = gettext(
                "More than %(most)s characters of parameter values would be put in. Shorten the values, or "
                "pass the name of a file or table in place of the data."
            )
            raise ParameterError(message % {"most": f"{limit:,}"}, name=marker[1] or "${")
    done.append(text[end:])
    return "".join(done)


def _value(marker: re.Match[str], values: Mapping[str, str], clock: _Clock) -> str:
    """What one ``${...}`` stands for. A defined name wins over a time expression of the same spelling."""
    body = marker[1]
    if body is None:
        message = gettext(
            "'${' at character %(place)s is not closed by '}' on its line, or holds another "
            "brace or '$', or over %(most)s characters. Close it, or write '$${' to keep it."
        )
        raise ParameterError(message % {"place": marker.start() + 1, "most": MAX_EXPRESSION_CHARS}, name="${")
    if body in values:
        return values[body]
    try:
        expression = _parse(body)
        return clock.render(expression)
    except OverflowError:
        message = gettext(
            "%(expression)s leaves the dates that exist (years 1 to 9999). Use a smaller offset."
        )
        raise ParameterError(message % {"expression": _marked(body)}, name=body) from None


def _parse(body: str) -> _Expression:
    tail = _OFFSETS.search(body)
    head = body[: tail.start()] if tail else body
    anchor, colon, form = head.partition(":")
    if anchor in _ANCHORS or anchor == _TIMESTAMP:
        if anchor == _TIMESTAMP and colon:
            message = gettext("%(expression)s: timestamp takes no format; remove it.")
            raise ParameterError(message % {"expression": _marked(body)}, name=body)
        pieces = _pieces(form if colon else _DEFAULT_FORMAT)
    else:
        anchor, pieces = "", _pieces(head)
    if pieces is None:
        raise _unreadable(body)
    totals = dict.fromkeys("yMwdhm", 0)
    for amount, unit in _OFFSET.findall(tail[0]) if tail else ():
        totals[unit] += int(amount)
    return _Expression(
        anchor,
        pieces,
        months=12 * totals["y"] + totals["M"],
        days=7 * totals["w"] + totals["d"],
        minutes=60 * totals["h"] + totals["m"],
    )


def _pieces(form: str) -> tuple[str, ...] | None:
    """The fields and separators of a format that begins and ends with a field; None if it is not one."""
    pieces = tuple(_FORMAT_PIECE.findall(form))
    if not pieces or pieces[0] not in _FIELDS or pieces[-1] not in _FIELDS:
        return None
    return pieces if all(piece in _FIELDS or _SEPARATORS.issuperset(piece) for piece in pieces) else None


def _unreadable(body: str) -> ParameterError:
    values = {"expression": _marked(body), "kept": f"${_marked(body)}"}
    if _NAME.fullmatch(body):
        message = gettext(
            "%(expression)s is not defined. Define a parameter of this name on the task, its workflow "
            "or its project, or write %(kept)s to keep the text as it is."
        )
        if set(body) <= set("yMdHmsT_"):
            message = gettext(
                "%(expression)s is not defined (a time format is made of yyyy yy MM dd HH mm ss). Define a "
                "parameter of this name on the task, its workflow or its project, or write %(kept)s to keep "
                "the text as it is."
            )
        return ParameterError(message % values, code=UNDEFINED_PARAMETER, name=body)
    message = gettext(
        "%(expression)s is neither a parameter nor a time expression. Write ${name}, or a format made of "
        "yyyy yy MM dd HH mm ss with offsets such as -1d (units y M w d h m; M is month, m is minute), as in "
        "${yyyy-MM-dd-1d}. If it is a shell's own variable, write %(kept)s."
    )
    return ParameterError(message % values, name=body)


def _marked(body: str) -> str:
    return f"${{{_shown(body)}}}"


def _is_time(name: str) -> bool:
    return name in _ANCHORS or name == _TIMESTAMP or _pieces(name) is not None


def _bodies(text: str) -> Iterator[str]:
    return (marker[1] for marker in _MARKER.finditer(text) if marker[1] is not None)


def _shown(name: str) -> str:
    """A name from anywhere, fit for a message: short and without control characters."""
    short = name if len(name) <= 60 else name[:60] + "..."
    return "".join(c if c.isprintable() else "?" for c in short)
