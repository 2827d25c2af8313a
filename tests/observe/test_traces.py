"""Traces reach a collector over OTLP/HTTP, with parents; without the variables nothing is made."""

import gzip
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.alarms.scene import claim
from tests.engine.harness import _django_db_helper, due
from weops.observe import traces

__all__ = ["_django_db_helper"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A collector that really receives; the spans that came."""
    spans: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sent = ExportTraceServiceRequest.FromString(body)
            spans.extend(s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    traces.tracer.cache_clear()
    yield spans
    found = traces.tracer()
    found.weops_provider.shutdown()
    traces.tracer.cache_clear()
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_execution_is_a_trace_with_its_phases(collector: list[Any]) -> None:
    (instance,) = due()
    (claimed,) = claim(instance)
    traces.executed(claimed, False, "EXIT_NONZERO")
    traces.flush()
    by_name = {span.name: span for span in collector}
    root, run, dispatch = by_name["execution"], by_name["run"], by_name["dispatch"]
    assert run.parent_span_id == dispatch.parent_span_id == root.span_id
    assert {span.trace_id for span in collector} == {root.trace_id}
    assert root.parent_span_id == b""
    assert dispatch.end_time_unix_nano == run.start_time_unix_nano
    assert root.start_time_unix_nano <= dispatch.start_time_unix_nano
    assert run.status.message == "EXIT_NONZERO"
    attributes = {one.key: one.value.int_value for one in run.attributes}
    assert attributes["weops.execution_id"] == claimed.execution_id


def test_a_request_goes_on_with_its_callers_trace(collector: list[Any]) -> None:
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    Client().get("/healthz?token=s3cret", headers={"traceparent": f"00-{trace_id}-{parent}-01"})
    Client().get("/no/such/s3cret/page")
    traces.flush()
    first, second = collector
    assert (first.name, first.trace_id.hex(), first.parent_span_id.hex()) == (
        "GET /healthz",
        trace_id,
        parent,
    )
    assert second.name == "GET /unknown"
    assert "s3cret" not in str(collector)


def test_without_the_variables_there_is_no_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    traces.tracer.cache_clear()
    assert traces.tracer() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    traces.tracer.cache_clear()
    assert traces.tracer() is None
    traces.tracer.cache_clear()
