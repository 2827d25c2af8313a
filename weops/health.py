"""Is the process alive, and can it serve? No secret and no address is ever in the answer."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from threading import Lock

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone

from instances.insight.workers import alive_workers
from weops.alarms.models import Pulse

# Each look may take so long; then it is taken for an answer of "no".
SECONDS = 3.0
# A clock that has not gone for so many ticks stands still.
TICKS = 10
_pool = ThreadPoolExecutor(8, thread_name_prefix="health")
_running: dict[str, "Future[str]"] = {}
_lock = Lock()


def alive(_request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when the database and the broker answer, the clock goes and a worker is alive; else 503. A line for each.

    `?only=database,broker` looks at those alone: a load balancer must not take the pages away when workers are gone.
    """
    looks: dict[str, Callable[[], str]] = {
        "database": _database,
        "broker": _broker,
        "tick": _tick,
        "workers": _workers,
    }
    only = [name for name in request.GET.get("only", "").split(",") if name]
    if unknown := sorted(set(only) - set(looks)):
        said = f"there is no part {unknown[0][:40]!r}; there are {', '.join(looks)}"
        return JsonResponse({"status": "unknown", "error": said}, status=400)
    looks = {name: look for name, look in looks.items() if not only or name in only}
    asked = {name: _ask(name, look) for name, look in looks.items()}
    lines = {name: _answer(future) for name, future in asked.items()}
    well = all(line.startswith("ok") for line in lines.values())
    return JsonResponse({"status": "ok" if well else "unavailable", **lines}, status=200 if well else 503)


def _ask(name: str, look: Callable[[], str]) -> "Future[str]":
    """One look of a kind at a time: a server that hangs holds one thread, however often one asks."""
    with _lock:
        present = _running.get(name)
        if present is None or present.done():
            present = _running[name] = _pool.submit(look)
        return present


def _answer(future: "Future[str]") -> str:
    try:
        return future.result(SECONDS)
    except TooLong:
        return f"no answer within {SECONDS:g} seconds"
    except Exception as error:
        # Its text may name hosts and users.
        return f"does not answer ({type(error).__name__})"


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
    return "ok"


def _broker() -> str:
    from weops.celery import broker_answers

    broker_answers()
    return "ok"


def _tick() -> str:
    try:
        at = Pulse.objects.filter(name="tick").values_list("at", flat=True).first()
    finally:
        connection.close()
    if at is None:
        return "has never gone: beat or the control worker is not running"
    age = (timezone.now() - at).total_seconds()
    most = max(30.0, TICKS * settings.WEOPS_TICK_SECONDS)
    return f"ok, {age:.0f} seconds ago" if age <= most else f"stands still for {age:.0f} seconds"


def _workers() -> str:
    try:
        count = alive_workers(timezone.now())
    finally:
        connection.close()
    return f"ok, {count} alive" if count else "none is alive"
