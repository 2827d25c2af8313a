"""Tasks over REST: what a list leaves out, and how long their code may be."""

from collections.abc import Callable
from types import SimpleNamespace

from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from instances.definition_rules import MOST_CODE
from tests.factories import DANA, VERA

Api = Callable[..., APIClient]
LIST = "/api/v1/tasks/"


def test_a_list_has_code_for_who_asks_for_it(world: SimpleNamespace, api: Api) -> None:
    client, task = api(VERA), world.ours.task
    with CaptureQueriesContext(connection) as seen:
        (row,) = client.get(LIST).json()["results"]
    assert ("code" in row, row["name"]) == (False, "ours_task")
    assert not any('"instances_task"."code"' in query["sql"] for query in seen.captured_queries)
    with CaptureQueriesContext(connection) as again:
        (row,) = client.get(LIST, {"fields": "id,code"}).json()["results"]
    assert row == {"id": task.pk, "code": task.code}
    assert len(again) <= len(seen)
    assert client.get(f"{LIST}{task.pk}/").json()["code"] == task.code
    assert client.get(f"{LIST}{task.pk}/", {"fields": "name"}).json() == {"name": "ours_task"}


def test_the_document_names_code_in_the_list(world: SimpleNamespace, api: Api) -> None:
    shapes = api(VERA).get("/api/schema/").json()["components"]["schemas"]
    assert "code" in shapes["Task"]["properties"]
    assert "code" not in shapes["Task"]["required"]


def test_code_has_a_most(world: SimpleNamespace, api: Api) -> None:
    refused = api(DANA).patch(f"{LIST}{world.ours.task.pk}/", {"code": "#" * (MOST_CODE + 1)})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "code")
    assert "1,048,576" in refused.json()["detail"]
    assert api(DANA).patch(f"{LIST}{world.ours.task.pk}/", {"code": "#" * MOST_CODE}).status_code == 200
