"""Errors as problem+json (RFC 9457): what is wrong, in which field, and what to do about it.

    {"type": "urn:weops:problem:invalid", "title": "...", "status": 400, "code": "invalid", "detail": "...", "todo": "...",
     "errors": [{"field": "options.scope", "message": "..."}]}

An app tells by `explains` how its own exceptions look.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.core.signals import got_request_exception
from django.db import OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from weops.projects.defining import InUse

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Problem:
    """`more`: members of its own, such as what has changed since a preview."""

    status: int
    code: str
    detail: str
    todo: str = ""
    errors: tuple[tuple[str, str], ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": f"urn:weops:problem:{self.code}",
            "title": _TITLES.get(self.code, self.code.replace("_", " ").capitalize()),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "todo": self.todo or _WHAT_TO_DO.get(self.code, ""),
        }
        if self.errors:
            found["errors"] = [{"field": name, "message": message} for name, message in self.errors]
        return {**found, **self.more}


class Wrong(Exception):
    """A problem that a view has found itself."""

    def __init__(self, status: int, code: str, detail: str, todo: str = "", **more: Any) -> None:
        super().__init__(detail)
        self.problem = Problem(status, code, detail, todo, more=more)


_TITLES = {
    "invalid": "The request cannot be understood",
    "not_found": "There is no such thing",
    "permission_denied": "You may not do this",
    "not_authenticated": "Nobody is logged in",
    "authentication_failed": "The token does not count",
    "throttled": "Too many requests",
    "in_use": "It is in use",
    "too_slow": "The database needed too long",
    "internal": "An error inside WeOps",
}
_WHAT_TO_DO = {
    "invalid": "Mend the fields that are named and send the request again.",
    "not_found": "Check the number and the address; what you may not see is not told apart from what does not exist.",
    "permission_denied": "Ask an admin of the project for the right, or use a token that has it.",
    "not_authenticated": "Send a token: Authorization: Bearer weops_...",
    "authentication_failed": "Make a new token in the admin, or by manage.py create_token.",
    "throttled": "Wait as long as the header Retry-After says.",
    "in_use": "Delete what uses it first.",
    "too_slow": "Narrow the filters, such as the data time, and try again.",
    "internal": "Try again; if it stays so, look into WeOps's own log.",
    "method_not_allowed": "The header Allow names the methods of this address.",
    "unsupported_media_type": "Send JSON, and the header Content-Type: application/json.",
    "precondition_failed": "Read it again, and send the change with its new ETag.",
}

_explanations: dict[type[Exception], Callable[[Any], Problem]] = {}


def explains(kind: type[Exception]) -> Callable[[Callable[[Any], Problem]], Callable[[Any], Problem]]:
    """Decorates a function that makes a problem of an exception of this class."""

    def register(function: Callable[[Any], Problem]) -> Callable[[Any], Problem]:
        _explanations[kind] = function
        return function

    return register


def handle(error: Exception, context: Mapping[str, Any]) -> Response:
    """What REST framework calls for every exception of a view."""
    set_rollback()
    problem = _problem(error)
    if problem is None:
        request = context.get("request")
        got_request_exception.send(sender=None, request=getattr(request, "_request", None))
        log.exception("a request met an error", exc_info=error)
        problem = Problem(500, "internal", "The request could not be carried out.")
    response = respond(problem)
    if isinstance(error, exceptions.APIException):
        if wait := getattr(error, "wait", None):
            response["Retry-After"] = str(max(1, round(wait)))
        if header := getattr(error, "auth_header", None):
            response["WWW-Authenticate"] = header
    return response


def respond(problem: Problem) -> Response:
    return Response(problem.as_json(), status=problem.status, content_type=CONTENT_TYPE)


def _problem(error: Exception) -> Problem | None:
    for kind in type(error).__mro__:
        if kind in _explanations:
            return _explanations[kind](error)
    return None


@explains(Wrong)
def _wrong(error: Wrong) -> Problem:
    return error.problem


@explains(exceptions.APIException)
def _of_framework(error: exceptions.APIException) -> Problem:
    code = getattr(error, "default_code", "error")
    if code == "parse_error":
        return Problem(error.status_code, "invalid", str(error.detail), "Mend the body and send it again.")
    code = {"error": "internal"}.get(code, code)
    return Problem(error.status_code, code, str(error.detail))


@explains(exceptions.ValidationError)
def _invalid(error: exceptions.ValidationError) -> Problem:
    return _of_fields(tuple(_flat(error.detail)))


@explains(ValidationError)
def _invalid_definition(error: ValidationError) -> Problem:
    if hasattr(error, "error_dict"):
        rows = [
            (_column(name, one), message)
            for name, errors in error.error_dict.items()
            for one in errors
            for message in one.messages
        ]
        return _of_fields(tuple(rows))
    return _of_fields(tuple(("", message) for message in error.messages))


def _column(name: str, error: ValidationError) -> str:
    """The field to mend; of columns that are unique together the last, which is the name inside of something."""
    if name != NON_FIELD_ERRORS:
        return name
    together = (error.params or {}).get("unique_check", ())
    return str(together[-1]) if error.code == "unique_together" and together else ""


def _of_fields(rows: tuple[tuple[str, str], ...]) -> Problem:
    detail = "; ".join(f"{name}: {message}" if name else message for name, message in rows[:5])
    return Problem(400, "invalid", detail, errors=rows)


def _flat(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(detail, Mapping):
        for name, below in detail.items():
            at = path if name == "non_field_errors" else f"{path}.{name}" if path else str(name)
            yield from _flat(below, at)
    elif isinstance(detail, list):
        for place, below in enumerate(detail):
            at = f"{path}.{place}" if isinstance(below, Mapping | list) else path
            if below:
                yield from _flat(below, at)
    else:
        yield path, str(detail)


@explains(InUse)
def _in_use(error: InUse) -> Problem:
    return Problem(409, "in_use", str(error))


@explains(PermissionDenied)
def _denied(error: PermissionDenied) -> Problem:
    return Problem(403, "permission_denied", str(error) or "You do not have the right to do this.")


@explains(Http404)
def _not_found(error: Http404) -> Problem:
    return Problem(404, "not_found", "There is nothing with this number or name that you may see.")


@explains(OperationalError)
def _too_slow(error: OperationalError) -> Problem:
    log.warning("a request gave up: %s", error)
    return Problem(503, "too_slow", "The database is away or needed too long; nothing was changed.")
