"""Logs for the browser: pages of JSON while it watches, one plain text file to keep. Log text is hostile: no HTML here."""

import datetime as dt

from django.http import Http404, HttpResponse, JsonResponse
from django.utils import timezone

from instances.engine import logs
from instances.models import Execution, Instance

PAGE = 1024 * 1024
# The last lines of a run and its sealed log may come after the run's end; so long the browser asks on.
SETTLED = dt.timedelta(seconds=10)
# More than any log holds: executions have a cap of their own.
EVERYTHING = 1 << 40


def _execution(instance: Instance, execution_id: int) -> Execution:
    execution = Execution.objects.filter(pk=execution_id, instance_id=instance.pk).first()
    if execution is None:
        raise Http404("This instance has no such execution.")
    return execution


def page(instance: Instance, execution_id: int, after: str) -> HttpResponse:
    """{"text", "next", "done"}: the log from character `after` on; ask again at `next` until `done`."""
    if after and not (after.isdecimal() and len(after) <= 15):
        return JsonResponse({"error": "after is a number of characters."}, status=400)
    execution = _execution(instance, execution_id)
    try:
        found = logs.read(execution, int(after or 0), PAGE)
        if found.done and not found.text and not execution.log_file:
            # It may have been sealed since the row was read: then its chunks are gone, but not its text.
            execution.refresh_from_db(fields=["log_file"])
            found = logs.read(execution, int(after or 0), PAGE)
    except OSError as error:
        return JsonResponse({"error": f"The stored log cannot be read: {type(error).__name__}."}, status=503)
    response = JsonResponse(
        {"text": found.text, "next": found.next_cursor, "done": found.done and _settled(execution)}
    )
    response["Cache-Control"] = "no-store"
    return response


def _settled(execution: Execution) -> bool:
    """Whether nothing more can come: it is sealed, or ended a while ago."""
    ended = execution.ended_at
    return bool(execution.log_file) or (ended is not None and timezone.now() - ended > SETTLED)


def download(instance: Instance, execution_id: int) -> HttpResponse:
    """The whole log as a file that no browser shows as a page."""
    execution = _execution(instance, execution_id)
    try:
        text = logs.read(execution, 0, EVERYTHING).text
    except OSError as error:
        return HttpResponse(
            f"The stored log cannot be read: {type(error).__name__}.", "text/plain", status=503
        )
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = (
        f'attachment; filename="instance-{instance.pk}-execution-{execution.pk}.log"'
    )
    response["X-Content-Type-Options"] = "nosniff"
    return response
