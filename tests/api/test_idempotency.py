"""A mutation under an idempotency key is carried out once; ETags keep two editors from overwriting each other."""

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from instances.models import Workflow
from tests.factories import DANA, PETRA, VERA
from tests.stack import until
from weops.api import idempotency
from weops.api.models import Answer
from weops.projects.access import Right
from weops.projects.definitions import FOLDERS as FOLDERS_RULES
from weops.projects.models import Folder

Api = Callable[..., APIClient]
FOLDERS = "/api/v1/folders/"


def test_a_repeated_request_is_answered_again_and_done_once(world: SimpleNamespace, api: Api) -> None:
    body, client = {"project": world.ours.project.pk, "name": "new"}, api(DANA)
    first = client.post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1")
    again = client.post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1")
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again["ETag"] == first["ETag"]
    assert again["Idempotency-Replayed"] == "true"
    assert Folder.objects.filter(name="new").count() == 1


def test_a_key_is_of_one_request_and_one_user(world: SimpleNamespace, api: Api) -> None:
    body, client = {"project": world.ours.project.pk, "name": "new"}, api(DANA)
    client.post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1")
    other = client.post(FOLDERS, {**body, "name": "other"}, HTTP_IDEMPOTENCY_KEY="k1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    theirs = api(PETRA).post(FOLDERS, {**body, "name": "other"}, HTTP_IDEMPOTENCY_KEY="k1")
    assert theirs.status_code == 201


def test_a_weaker_token_of_the_same_user_is_not_told_the_answer(world: SimpleNamespace, api: Api) -> None:
    body = {"project": world.ours.project.pk, "name": "new"}
    assert api(DANA).post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1").status_code == 201
    weaker = api(DANA, rights=[Right.VIEW]).post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1")
    assert (weaker.status_code, weaker.json()["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["", "k1"])
def test_a_body_without_an_end_is_not_read(world: SimpleNamespace, api: Api, settings: Any, key: str) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    body = {"project": world.ours.project.pk, "name": "x" * 1000}
    answer = api(VERA).post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY=key)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = api(VERA).post(FOLDERS, {}, HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH="")
    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")


def test_what_was_refused_may_be_tried_again(world: SimpleNamespace, api: Api) -> None:
    body = {"project": world.ours.project.pk, "name": "new"}
    assert api(VERA).post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1").status_code == 403
    assert not Answer.objects.exists()


def test_one_that_is_on_is_not_begun_twice_and_one_that_died_is(world: SimpleNamespace, api: Api) -> None:
    body, client = {"project": world.ours.project.pk, "name": "new"}, api(DANA)
    assert client.post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1").status_code == 201
    Folder.objects.filter(name="new").delete()
    Answer.objects.update(status=None)
    busy = client.post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1")
    assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_key_busy")
    # However long it takes: it lives.
    Answer.objects.update(created_at=timezone.now() - dt.timedelta(days=2))
    assert client.post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1").status_code == 409
    Answer.objects.update(alive_at=timezone.now() - idempotency.LEASE - dt.timedelta(seconds=1))
    assert client.post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1").status_code == 201


@pytest.mark.django_db(transaction=True)
def test_one_that_lasts_longer_than_its_lease_is_carried_out_once(
    world: SimpleNamespace, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = dt.timedelta(seconds=1)
    monkeypatch.setattr(idempotency, "LEASE", lease)
    monkeypatch.setattr(idempotency, "BEAT", 0.05)
    body, client = {"project": world.ours.project.pk, "name": "new"}, api(DANA)
    begun, go_on, real = threading.Event(), threading.Event(), FOLDERS_RULES.create

    def create(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return real(*args, **kwargs)

    monkeypatch.setattr(FOLDERS_RULES, "create", create)

    def post() -> Any:
        try:
            return client.post(FOLDERS, body, HTTP_IDEMPOTENCY_KEY="k1")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other:
        first = other.submit(post)
        try:
            assert begun.wait(30)
            claimed = Answer.objects.get()
            until(
                lambda: Answer.objects.get().alive_at > claimed.created_at + lease, "a life beyond the lease"
            )
            assert post().json()["code"] == "idempotency_key_busy"
        finally:
            go_on.set()
        assert first.result(30).status_code == 201
    again = post()
    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")
    assert Folder.objects.filter(name="new").count() == 1
    until(lambda: "idempotency" not in {one.name for one in threading.enumerate()}, "the end of the heart")


@pytest.mark.parametrize("key", ["x" * 129, "ключ"])
def test_strange_keys(world: SimpleNamespace, api: Api, key: str) -> None:
    answer = api(DANA).post(FOLDERS, {}, HTTP_IDEMPOTENCY_KEY=key)
    assert answer.status_code == 400


def test_a_change_of_what_has_changed_meanwhile_is_refused(world: SimpleNamespace, api: Api) -> None:
    client, address = api(DANA), f"/api/v1/workflows/{world.ours.workflow.pk}/"
    tag = client.get(address)["ETag"]
    first = client.patch(address, {"description": "one"}, HTTP_IF_MATCH=tag)
    assert first.status_code == 200
    late = client.patch(address, {"description": "two"}, HTTP_IF_MATCH=tag)
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert late.json()["etag"] == first["ETag"]
    assert Workflow.objects.get(pk=world.ours.workflow.pk).description == "one"
    assert client.delete(address, HTTP_IF_MATCH=tag).status_code == 412


def test_misspelt_and_read_only_fields_are_refused(world: SimpleNamespace, api: Api) -> None:
    answer = api(DANA).patch(
        f"/api/v1/workflows/{world.ours.workflow.pk}/",
        {"descripion": "x", "created_at": "2026-01-01T00:00:00Z"},
    )
    assert answer.status_code == 400
    assert {one["field"] for one in answer.json()["errors"]} == {"descripion", "created_at"}


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b'{"name": "\\u0000"}', b'{"name": NaN}', b"\xff", b"[" * 100_000]
)
def test_bodies_that_are_none(world: SimpleNamespace, api: Api, body: bytes) -> None:
    answer = api(DANA).generic("POST", FOLDERS, body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"


def test_throttling_says_how_long_to_wait(world: SimpleNamespace, api: Api, settings: object) -> None:
    settings.WEOPS_API_RATE = 1  # type: ignore[attr-defined]
    client = api(VERA)
    codes = [client.get("/api/v1/operations/kinds/").status_code for _ in range(6)]
    assert codes[0] == 200
    assert codes[-1] == 429
    answer = client.get("/api/v1/operations/kinds/")
    assert answer["Retry-After"] == "1"
    assert answer.json()["code"] == "throttled"


def test_an_unknown_address_is_a_problem_too(world: SimpleNamespace, api: Api) -> None:
    answer = api(VERA).get("/api/v1/nothing/")
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
