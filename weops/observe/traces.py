"""OpenTelemetry traces, on only where the standard OTEL_EXPORTER_OTLP_* variables say where to send them.

Web requests are spans; they go on with a caller's `traceparent`. An execution is a trace of its own, made by the worker that
ran it when it is over: `execution` with the children `wait`, `dispatch` and `run`, at the times that the database has.
Nothing travels with messages, which may be lost. Without the extra `otel`, or with it switched off, this does nothing.
"""

import datetime as dt
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from django.http import HttpRequest
from django.urls import Resolver404, resolve

log = logging.getLogger(__name__)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wanted() -> bool:
    """Whether the environment asks for traces."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not off and any(os.environ.get(name) for name in _ENDPOINTS)


@cache
def tracer() -> Any:
    """The tracer of this process; None: no traces."""
    if not wanted():
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("Traces are asked for, but the extra `otel` is not installed: pip install weops[otel]")
        return None
    # The collector's own requests are no news.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    provider = TracerProvider(
        resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or "weops"})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    found = provider.get_tracer("weops")
    found.weops_provider = provider  # type: ignore[attr-defined]
    return found


def flush(seconds: float = 5.0) -> None:
    """Sends what has not been sent yet."""
    if (found := tracer()) is not None:
        found.weops_provider.force_flush(int(seconds * 1000))


@contextmanager
def request(request: HttpRequest, identity: str) -> Iterator[Callable[[int], None]]:
    """A span of the request; what it yields is told the status. The path's pattern is its name, never the path itself."""
    found = tracer()
    if found is None:
        yield lambda _status: None
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": request.headers.get("traceparent", "")})
    route = _route(request)
    with found.start_as_current_span(
        f"{request.method} /{route}",
        context=parent,
        kind=SpanKind.SERVER,
        attributes={
            "http.request.method": str(request.method),
            "http.route": f"/{route}",
            "weops.request_id": identity,
        },
    ) as span:

        def tell(status: int) -> None:
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))

        yield tell


def _route(request: HttpRequest) -> str:
    with suppress(Resolver404):
        return resolve(request.path_info).route
    return "unknown"


def executed(claimed: Any, ok: bool, error_code: str) -> None:
    """The spans of an execution that has just run. `claimed`: instances.engine.lifecycle.Claimed. Raises nothing."""
    if tracer() is None:
        return
    try:
        _executed(claimed, ok, error_code)
    except Exception:
        log.warning("the trace of execution %d is lost", claimed.execution_id, exc_info=True)


def _executed(claimed: Any, ok: bool, error_code: str) -> None:
    from opentelemetry import trace
    from opentelemetry.trace import Status, StatusCode

    from instances.models import Execution

    times = (
        Execution.objects.filter(pk=claimed.execution_id)
        .values("wait_started_at", "queue_started_at", "hinted_at", "run_started_at")
        .get()
    )
    now = dt.datetime.now(dt.UTC)
    run = times["run_started_at"] or now
    queue = times["queue_started_at"] or run
    hinted = min(times["hinted_at"] or run, run)
    wait = times["wait_started_at"] or queue
    attributes = {
        "weops.execution_id": claimed.execution_id,
        "weops.instance_id": claimed.instance_id,
        "weops.task_id": claimed.task_id,
        "weops.task_type": claimed.task_type,
        "weops.life": claimed.life_round,
        "weops.try": claimed.try_number,
        "weops.data_time": claimed.data_time.isoformat(),
    }
    found = tracer()
    root = found.start_span(
        "execution",
        context=trace.set_span_in_context(trace.INVALID_SPAN),
        start_time=_ns(min(wait, queue)),
        attributes=attributes,
    )
    inside = trace.set_span_in_context(root)
    for name, begins, ends in (
        ("wait", wait, queue),
        ("queue", queue, hinted),
        ("dispatch", hinted, run),
        ("run", run, now),
    ):
        if ends < begins or (name in ("wait", "queue") and ends == begins):
            continue
        span = found.start_span(name, context=inside, start_time=_ns(begins), attributes=attributes)
        if name == "run" and not ok:
            span.set_status(Status(StatusCode.ERROR, error_code))
        span.end(_ns(ends))
    if not ok:
        root.set_status(Status(StatusCode.ERROR, error_code))
    root.end(_ns(now))


def _ns(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1e9)
