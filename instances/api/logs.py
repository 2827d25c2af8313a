"""Logs over HTTP: pages by cursor, ranges of bytes, server-sent events. Log text is hostile: it is never HTML here."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from rest_framework.exceptions import ValidationError

from instances.engine import logs
from instances.models import Execution
from weops.api.errors import Wrong

MOST = 1024 * 1024
_EVERYTHING = 1 << 40
# Between two looks at a log that is being written, seconds; a comment line keeps proxies from hanging up.
PAUSE = 0.5
ALIVE_EVERY = 15
# A stream ends by itself; the client goes on with Last-Event-ID.
LONGEST = 3600


def page(execution: Execution, given: Mapping[str, str]) -> dict[str, Any]:
    found = _read(execution, _whole(given, "cursor", 0, 1 << 40), _whole(given, "limit", 256 * 1024, MOST, 1))
    return {"text": found.text, "next_cursor": found.next_cursor, "done": found.done}


def _read(execution: Execution, cursor: int, limit: int) -> logs.LogPage:
    try:
        return logs.read(execution, cursor, limit)
    except OSError as error:
        raise Wrong(
            503,
            "log_unavailable",
            f"The stored log cannot be read: {type(error).__name__}.",
            "Try again later.",
        ) from error


def _whole(given: Mapping[str, str], name: str, default: int, most: int, least: int = 0) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 13 and least <= int(text) <= most):
        raise ValidationError({name: f"Write a whole number from {least} to {most}."})
    return int(text)


def raw(execution: Execution, wanted: str) -> HttpResponse:
    """The log as a file that no browser shows as a page; with `wanted` like `bytes=0-99`, `bytes=100-` or `bytes=-500` a part."""
    body = _read(execution, 0, _EVERYTHING).text.encode()
    part = _range(wanted, len(body))
    response = HttpResponse(body if part is None else body[part[0] : part[1]], "text/plain; charset=utf-8")
    if part is not None:
        if part[0] >= len(body):
            raise Wrong(
                416,
                "no_such_range",
                f"The log has {len(body)} bytes.",
                "Ask for a range that begins before its end.",
            )
        response.status_code = 206
        response["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{len(body)}"
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
    start = request.headers.get("Last-Event-ID", "0")
    cursor = int(start) if start.isascii() and start.isdecimal() and len(start) <= 13 else 0
    plain = request._request
    chunks: Any = (
        _without_blocking(execution, cursor)
        if isinstance(plain, ASGIRequest)
        else _blocking(execution, cursor)
    )
    response = StreamingHttpResponse(chunks, content_type="text/event-stream")
    response["X-Accel-Buffering"] = "no"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _events(execution_id: int, cursor: int) -> tuple[str, int, bool]:
    """(events, the cursor after them, whether that was the end)"""
    execution = Execution.objects.filter(pk=execution_id).first()
    if execution is None:
        return "event: end\ndata: {}\n\n", cursor, True
    try:
        found = logs.read(execution, cursor, 64 * 1024)
    except OSError:
        return 'event: problem\ndata: {"code": "log_unavailable"}\n\n', cursor, True
    text = f"id: {found.next_cursor}\ndata: {json.dumps(found.text)}\n\n" if found.text else ""
    return text + ("event: end\ndata: {}\n\n" if found.done else ""), found.next_cursor, found.done


def _blocking(execution: Execution, cursor: int) -> Iterator[str]:
    """For servers without an event loop: what there is now. The client comes again with Last-Event-ID."""
    done, text = False, "start"
    while text and not done:
        text, cursor, done = _events(execution.pk, cursor)
        yield text


async def _without_blocking(execution: Execution, cursor: int) -> AsyncIterator[str]:
    read = sync_to_async(_events)
    begun = told = time.monotonic()
    done = False
    while not done and time.monotonic() - begun < LONGEST:
        text, cursor, done = await read(execution.pk, cursor)
        if text:
            told = time.monotonic()
            yield text
            continue
        if time.monotonic() - told > ALIVE_EVERY:
            told = time.monotonic()
            yield ": still running\n\n"
        await asyncio.sleep(PAUSE)
