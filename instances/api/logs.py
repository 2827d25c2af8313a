"""Logs over HTTP: pages by cursor, ranges of bytes, server-sent events. Log text is hostile: it is never HTML here."""

import re
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, TypeVar

from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import ValidationError

from instances.engine import logs
from instances.engine.logs import live
from instances.models import Execution
from weops.api.authentication import still
from weops.api.errors import Wrong
from weops.projects import access
from weops.projects.access import Right

T = TypeVar("T")
MOST = 1024 * 1024


def page(execution: Execution, given: Mapping[str, str]) -> dict[str, Any]:
    cursor, limit = _whole(given, "cursor", 0, 1 << 40), _whole(given, "limit", 256 * 1024, MOST, 1)
    found = _read(lambda: logs.read(execution, cursor, limit))
    return {"text": found.text, "next_cursor": found.next_cursor, "done": found.done}


def _read(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except OSError as error:
        why = f"The stored log cannot be read: {type(error).__name__}."
        raise Wrong(503, "log_unavailable", why, "Try again later.") from error


def _whole(given: Mapping[str, str], name: str, default: int, most: int, least: int = 0) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 13 and least <= int(text) <= most):
        raise ValidationError({name: f"Write a whole number from {least} to {most}."})
    return int(text)


def raw(execution: Execution, wanted: str, *, streams: bool) -> HttpResponseBase:
    """The log as a file that no browser shows as a page; with `wanted` like `bytes=0-99`, `bytes=100-` or `bytes=-500` a part.
    `streams`: whether the server can send what it reads in threads."""
    size = _read(lambda: logs.raw.size(execution))
    part = _range(wanted, size)
    if part is not None and part[0] >= size:
        raise Wrong(
            416,
            "no_such_range",
            f"The log has {size} bytes.",
            "Ask for a range that begins before its end.",
        )
    start, stop = part or (0, size)
    pieces = logs.raw.part(execution, start, stop)
    response: HttpResponseBase
    if stop - start <= MOST:
        response = HttpResponse(_read(lambda: b"".join(pieces)), "text/plain; charset=utf-8")
    else:
        # What cannot be read at all is an answer of its own, not a broken file.
        all_of_it = chain([_read(lambda: next(pieces))], pieces)
        response = StreamingHttpResponse(
            logs.raw.in_threads(all_of_it) if streams else all_of_it, content_type="text/plain; charset=utf-8"
        )
        response["Content-Length"] = str(stop - start)
    if part is not None:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = f'attachment; filename="execution-{execution.pk}.log"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _range(wanted: str, size: int) -> tuple[int, int] | None:
    """(first, after last); None: all of it, also for what cannot be read, as the standard says."""
    found = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", wanted.strip())
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) else None
    end = min(size, int(last) + 1) if last else size
    return None if last and int(last) < int(first) else (int(first), end)


def stream(execution: Execution, request: Any) -> StreamingHttpResponse:
    """The events of `engine.logs.live`, from the header Last-Event-ID or the parameter `cursor` on."""
    cursor = request.headers.get("Last-Event-ID") or request.query_params.get("cursor") or "0"
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 13):
        raise ValidationError({"cursor": "A cursor is a number of characters."})
    if not isinstance(request._request, ASGIRequest):
        raise Wrong(
            501,
            "no_streams",
            "This server cannot stream.",
            "Ask for pages of the log instead, again and again.",
        )
    project_id = execution.instance.project_id

    def allowed() -> bool:
        who = still(request)
        return who is not None and Right.VIEW in access.rights(who, project_id)

    events = live.stream(execution.pk, int(cursor), viewer=request.user.pk, allowed=allowed)
    response = StreamingHttpResponse(events, content_type="text/event-stream; charset=utf-8")
    # A proxy that gathers the answer would make a live log a dead one.
    response["X-Accel-Buffering"] = "no"
    response["X-Content-Type-Options"] = "nosniff"
    if not connection.in_atomic_block:
        # A stream lasts; the connection that answered for it goes back to the pool now.
        connection.close()
    return response
