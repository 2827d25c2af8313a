"""Conditions over parameters, such as `rows > 1000 and region == "eu"`: a small, safe part of Python's expressions."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from instances.language import gettext, listed_plainly

MOST_CHARACTERS: Final = 1000
MOST_NODES: Final = 200

Value = bool | int | float | str | None

# Nothing that reaches into objects, calls what is not named here, or grows without end (powers, shifts, formats, loops).
_NODES: Final = (
    ast.Expr, ast.Constant, ast.Name, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.List, ast.Tuple,
)  # fmt: skip
_OPERATORS: Final = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.UAdd, ast.USub, ast.Not,
    ast.Eq, ast.NotEq, ast.Gt, ast.GtE, ast.Lt, ast.LtE, ast.In, ast.NotIn,
)  # fmt: skip


class ExpressionError(ValueError):
    """The condition cannot be read or reckoned; the message says why and what to write."""


def _number(value: Any) -> int | float:
    try:
        return value if isinstance(value, int | float) else _read_number(str(value).strip())
    except ValueError:
        raise ExpressionError(f"{_shown(value)} is no number") from None


def _read_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _of_numbers(sign: str, reckon: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Texts and lists have these operators, too, and with them grow to any length."""

    def checked(one: Any, other: Any) -> Any:
        if not isinstance(one, int | float) or not isinstance(other, int | float):
            raise ExpressionError(f"{sign} takes numbers only")
        return reckon(one, other)

    return checked


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "number": _number,
    "text": lambda value: value if isinstance(value, str) else str(value),
    "length": lambda value: len(str(value)),
    "lower": lambda value: str(value).lower(),
    "upper": lambda value: str(value).upper(),
    "starts_with": lambda value, start: str(value).startswith(str(start)),
    "ends_with": lambda value, end: str(value).endswith(str(end)),
}


def check(expression: str) -> str:
    """What is wrong with how the condition is written; "" if it can be reckoned, given its names."""
    try:
        _parsed(expression)
    except ExpressionError as error:
        return str(error)
    return ""


def names(expression: str) -> set[str]:
    """The parameters that a condition which `check` allows asks for."""
    return {node.id for node in ast.walk(_parsed(expression)) if isinstance(node, ast.Name)} - set(_FUNCTIONS)


def holds(expression: str, parameters: Mapping[str, str]) -> bool:
    """Whether the condition is true. A parameter that reads as a number (12, -0.5) is one; all others are texts.

    Raises ExpressionError.
    """
    _parsed(expression)
    known = {name: _value(text) for name, text in parameters.items()}
    # Here, because only branch tasks need it: every worker imports this module.
    from simpleeval import DEFAULT_OPERATORS, EvalWithCompoundTypes, InvalidExpression

    evaluator = EvalWithCompoundTypes(
        operators={
            **{kind: DEFAULT_OPERATORS[kind] for kind in _OPERATORS},
            ast.Mod: _of_numbers("%", operator.mod),
            ast.Mult: _of_numbers("*", operator.mul),
        },
        functions=dict(_FUNCTIONS),
        names=known,
    )
    evaluator.nodes = {kind: evaluate for kind, evaluate in evaluator.nodes.items() if kind in _NODES}
    try:
        return bool(evaluator.eval(expression.strip()))
    except ExpressionError:
        raise
    except (InvalidExpression, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ExpressionError(_said(error, known)) from None


def given(expression: str, parameters: Mapping[str, str]) -> str:
    """The parameters of the condition with their values, for a log: `rows = 1200, region = 'eu'`."""
    return ", ".join(
        f"{name} = {_shown(_value(parameters[name]))}"
        for name in sorted(names(expression))
        if name in parameters
    )


def _value(text: str) -> Value:
    """A number that is written as one and as nothing else: 007 and 1e3 stay texts."""
    try:
        number = _read_number(text)
    except ValueError:
        return text
    return number if str(number) == text else text


def _said(error: Exception, known: Mapping[str, Value]) -> str:
    if type(error).__name__ == "NameNotDefined":
        name = str(getattr(error, "name", "")) or "a name"
        return f"there is no parameter {name}; there are: {', '.join(sorted(known)) or 'none'}"
    if isinstance(error, TypeError):
        return f"{error}: compare numbers with numbers, or use number(name) and text(name)"
    if isinstance(error, ZeroDivisionError):
        return "it divides by zero"
    return str(error)[:300] or type(error).__name__


def _parsed(expression: str) -> ast.Expression:
    text = expression.strip()
    if not text:
        raise ExpressionError(gettext("the condition is empty"))
    if len(text) > MOST_CHARACTERS:
        message = gettext("the condition has more than %(most)s characters")
        raise ExpressionError(message % {"most": f"{MOST_CHARACTERS:,}"})
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = error.msg if isinstance(error, SyntaxError) else gettext("it cannot be read")
        message = gettext("%(error)s: write it like rows > 1000 and region == 'eu'")
        raise ExpressionError(message % {"error": said}) from None
    for count, node in enumerate(ast.walk(tree), 1):
        if count > MOST_NODES:
            raise ExpressionError(gettext("the condition is too long; split it into several"))
        for wrong in _refused(node):
            message = gettext("%(what)s cannot be used in a condition")
            raise ExpressionError(message % {"what": wrong})
    return tree


def _refused(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.operator | ast.unaryop | ast.cmpop):
        if not isinstance(node, _OPERATORS):
            yield gettext("the operator %(name)s") % {"name": type(node).__name__}
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
            yield gettext("a function other than %(names)s") % {"names": listed_plainly(_FUNCTIONS)}
    elif isinstance(node, ast.Constant):
        if not isinstance(node.value, bool | int | float | str | None):
            yield gettext("%(type)s values") % {"type": type(node.value).__name__}
    elif isinstance(node, ast.expr) and not isinstance(node, _NODES):
        name = type(node).__name__
        known = {"Attribute": gettext("an attribute (.)"), "Subscript": gettext("an index ([])")}
        yield known.get(name, name)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
