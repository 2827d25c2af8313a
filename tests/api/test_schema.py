"""The OpenAPI document: no warnings, and the API does what it says, whatever is sent to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.things import things
from tests.factories import PETRA, SUSAN
from weops.api import tokens
from weops.wsgi import application

# Of each operation, so many random requests: the whole of them takes about a minute.
EXAMPLES = 4


def test_the_document_has_no_warnings(tmp_path: Any) -> None:
    file = tmp_path / "schema.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(file))
    assert "openapi: 3.1" in file.read_text()[:40]


def test_the_document_names_every_parameter(world: SimpleNamespace) -> None:
    """What the API takes can be found in the document, and tried on its page."""
    paths = Client().get("/api/schema/").json()["paths"]

    def of(path: str, method: str = "get") -> set[str]:
        return {one["name"] for one in paths[f"/api/v1/{path}"][method]["parameters"]}

    assert {"fields", "cursor", "limit", "state", "project"} <= of("instances/")
    for path in ("instances/export/", "instances/timeline/"):
        assert {"state", "project", "data_from", "q"} <= of(path)
    assert {"as", "fields"} <= of("instances/export/")
    assert {"project", "before"} <= of("tasks/grid/")
    assert {"fields", "If-None-Match"} <= of("tasks/{id}/")
    assert {"If-Match", "Idempotency-Key"} <= of("tasks/{id}/", "patch")
    for path in ("tasks/", "dependencies/", "listeners/"):
        assert "project" in of(path)
    for path in ("tasks/", "workflows/", "projects/"):
        assert "q" in of(path)


def test_the_page_of_the_api_needs_nothing_from_elsewhere(world: SimpleNamespace) -> None:
    client = Client()
    assert client.get("/api/docs/").status_code == 302
    client.force_login(world.cast[PETRA])
    page = client.get("/api/docs/")
    text = page.content.decode()
    policy = page["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in text
    assert "<script>" not in text
    assert client.get("/api/schema/").json()["openapi"].startswith("3.1")


@contextmanager
def one_connection() -> Iterator[None]:
    """Requests stay in the test's transaction, as they do with Django's own client."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in signals:
            signal.connect(close_old_connections)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_random_requests_never_break_it(world: SimpleNamespace) -> None:
    """Every operation, with ids that exist in the examples' place where there are any."""
    ours = things(world, world.ours)
    _, token = tokens.issue(world.cast[SUSAN], "random")
    client = Client(HTTP_AUTHORIZATION=f"Bearer {token}")
    document = client.get("/api/schema/").json()
    _name_ids(document, ours)
    _without_fields(document)
    schema = schemathesis.openapi.from_dict(document)
    schema.app = application
    headers = {"Authorization": f"Bearer {token}", "Host": "testserver"}
    checks = [
        schemathesis.checks.not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
        negative_data_rejection,
    ]
    tried, wrong = [], {}
    with one_connection():
        for result in schema.get_all_operations():
            operation: Any = result.ok()  # type: ignore[union-attr]
            tried.append(operation.label)
            try:
                _send(operation, headers, checks)
            except (
                Exception,
                BaseExceptionGroup,
            ) as error:  # whatever it is: all operations are tried before they are told
                wrong[operation.label] = str(error)[:2000]
    assert not wrong, "\n\n".join(f"{label}: {said}" for label, said in wrong.items())
    assert len(tried) > 80


def _without_fields(document: dict[str, Any]) -> None:
    """Whoever asks for a few fields gets no whole row, which is what the document describes."""
    for path in document["paths"].values():
        for operation in path.values():
            if operation.get("operationId") != "instances_export_retrieve":
                operation["parameters"] = [
                    one for one in operation.get("parameters", []) if one["name"] != "fields"
                ]


def _send(operation: Any, headers: dict[str, str], checks: list[Any]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        if "log/stream" in case.path:
            return
        with transaction.atomic():
            case.call_and_validate(headers=headers, checks=checks)
            transaction.set_rollback(True)

    send()


def _name_ids(document: dict[str, Any], ours: Any) -> None:
    """Random ids would find nothing: half of what is asked for exists."""
    for path, item in document["paths"].items():
        noun = path.removeprefix("/api/v1/").split("/")[0].replace("-", "_")
        for operation in item.values():
            for parameter in operation.get("parameters", ()) if isinstance(operation, dict) else ():
                if parameter["in"] == "path" and hasattr(ours, noun):
                    parameter["schema"] = {"type": "integer", "enum": [getattr(ours, noun), 999_999_999]}
    assert json.dumps(document)
