"""Logs for the browser: pages of JSON, a live stream, one plain text file to keep. Log text is hostile: no HTML here."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth import get_user
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext

from instances.engine import logs
from instances.engine.logs import live, raw
from instances.models import Execution, Instance
from weops.projects import access
from weops.projects.access import Right

PAGE = 1024 * 1024
MOST_COUNT = 2000
MOST_SEARCHED = 200
# The last lines of a run and its sealed log may come after the run's end; so long the browser asks on.
SETTLED = dt.timedelta(seconds=10)


class BadQuestion(Exception):
    """The address asks for something that no log has; the text says what is right."""


def _execution(instance: Instance, execution_id: int) -> Execution:
    execution = (
        Execution.objects.select_related("instance").filter(pk=execution_id, instance_id=instance.pk).first()
    )
    if execution is None:
        raise Http404(gettext("This instance has no such execution."))
    return execution


def page(instance: Instance, execution_id: int, after: str) -> HttpResponse:
    """{"text", "next", "done"}: the log from character `after` on; ask again at `next` until `done`."""
    if after and not (after.isdecimal() and len(after) <= 15):
        return JsonResponse({"error": gettext("after is a number of characters.")}, status=400)
    execution = _execution(instance, execution_id)
    return _answered(lambda: _page(execution, int(after or 0)))


def _page(execution: Execution, after: int) -> dict[str, Any]:
    found = logs.read(execution, after, PAGE)
    return {"text": found.text, "next": found.next_cursor, "done": found.done and _settled(execution)}


def _settled(execution: Execution) -> bool:
    """Whether nothing more can come: it is sealed, or ended a while ago."""
    ended = execution.ended_at
    return bool(execution.log_file) or (ended is not None and timezone.now() - ended > SETTLED)


def lines(instance: Instance, execution_id: int, asked: dict[str, str]) -> HttpResponse:
    """{"lines": [[number, level, text], ...], "next", "previous", "cursor", "total", "partial", "end", "waiting"}.

    `first`, `before` or `tail` says which; `count`, `level` and `q`, a text to search for from `first` on; `errors` for the
    next line of an error from `first` on.
    """
    execution = _execution(instance, execution_id)
    return _answered(lambda: _lines(execution, asked))


def _lines(execution: Execution, asked: dict[str, str]) -> dict[str, Any]:
    first, count = _number(asked, "first", 1), min(_number(asked, "count", 500), MOST_COUNT)
    level = asked.get("level", "all") or "all"
    try:
        if asked.get("q"):
            text = asked["q"][:1000]
            found = logs.search(execution, text, first, min(count, MOST_SEARCHED), level)
        elif "errors" in asked:
            found = logs.first_error(execution, first)
        elif "before" in asked:
            found = logs.before(execution, _number(asked, "before", 1), count, level)
        elif "tail" in asked:
            found = logs.tail(execution, count, level)
        else:
            found = logs.lines(execution, first, count, level)
    except ValueError as error:
        raise BadQuestion(f"{error}.") from None
    return {
        "lines": [[line.number, line.level, line.text] for line in found.lines],
        "next": found.next_line,
        "previous": found.previous_line,
        "cursor": found.next_cursor,
        "total": found.total,
        "partial": found.partial,
        "end": found.at_end,
        "waiting": logs.waiting(execution) if not found.total and execution.ended_at is None else "",
    }


def _number(asked: dict[str, str], name: str, default: int) -> int:
    text = asked.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise BadQuestion(gettext("%(name)s is a whole number.") % {"name": name})
    return max(1, int(text))


def _answered(ask: Callable[[], dict[str, Any]]) -> HttpResponse:
    try:
        response = JsonResponse(ask())
    except BadQuestion as error:
        return JsonResponse({"error": str(error)}, status=400)
    except OSError as error:
        text = gettext("The stored log cannot be read: %(error)s.") % {"error": type(error).__name__}
        return JsonResponse({"error": text}, status=503)
    response["Cache-Control"] = "no-store"
    return response


def follow(request: HttpRequest, instance: Instance, execution_id: int) -> HttpResponseBase:
    """Server-sent events from the cursor on that the browser got last (Last-Event-ID), or `cursor`."""
    execution = _execution(instance, execution_id)
    if not isinstance(request, ASGIRequest):
        # A server without streams; the page asks again and again instead.
        return JsonResponse({"error": gettext("Live logs need an ASGI server such as uvicorn.")}, status=501)
    cursor = request.headers.get("Last-Event-ID") or request.GET.get("cursor") or "0"
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 15):
        return JsonResponse({"error": gettext("cursor is a number of characters.")}, status=400)
    events = live.stream(
        execution.pk,
        int(cursor),
        viewer=request.user.pk,
        allowed=lambda: _still_allowed(request, instance.project_id),
    )
    response = StreamingHttpResponse(events, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store"
    # A proxy that gathers the answer would make a live log a dead one.
    response["X-Accel-Buffering"] = "no"
    response["X-Content-Type-Options"] = "nosniff"
    _let_go()
    return response


def _let_go() -> None:
    """A stream lasts; the connection that answered for it goes back to the pool now."""
    if not connection.in_atomic_block:
        connection.close()


def _still_allowed(request: HttpRequest, project_id: int) -> bool:
    """Whether the session lives, its user may still sign in, and still sees the project."""
    now = HttpRequest()
    now.session = type(request.session)(request.session.session_key)
    user = get_user(now)
    return (
        user.is_active and getattr(user, "is_staff", False) and Right.VIEW in access.rights(user, project_id)
    )


def download(request: HttpRequest, instance: Instance, execution_id: int) -> HttpResponseBase:
    """The whole log as a file that no browser shows as a page; streamed in constant memory."""
    execution = _execution(instance, execution_id)
    texts = logs.pieces(execution)
    try:
        # What cannot be read at all is an answer of its own, not a broken file.
        first = next(texts, "")
    except OSError as error:
        text = gettext("The stored log cannot be read: %(error)s.") % {"error": type(error).__name__}
        return HttpResponse(text, "text/plain", status=503)
    chunks = _encoded(first, texts)
    response = StreamingHttpResponse(
        raw.in_threads(chunks) if isinstance(request, ASGIRequest) else chunks,
        content_type="text/plain; charset=utf-8",
    )
    response["Content-Disposition"] = (
        f'attachment; filename="instance-{instance.pk}-execution-{execution.pk}.log"'
    )
    response["X-Content-Type-Options"] = "nosniff"
    _let_go()
    return response


def _encoded(first: str, texts: Iterator[str]) -> Iterator[bytes]:
    yield first.encode("utf-8", "replace")
    for text in texts:
        yield text.encode("utf-8", "replace")
