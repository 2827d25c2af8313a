"""Tokens: hashed, limited, expiring, revocable; and the session of the admin."""

import datetime as dt
from collections.abc import Callable
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.test import APIClient

from instances.models import OperationRecord
from tests.admin.rows import make_instance
from tests.factories import DANA, EVE, OMAR, SUSAN, VERA
from weops.api import tokens
from weops.api.authentication import still
from weops.api.models import Token
from weops.projects.access import Right

Api = Callable[..., APIClient]


def status(client: Any, address: str = "/api/v1/projects/") -> int:
    return client.get(address).status_code


def test_a_token_is_kept_as_a_digest_only(world: SimpleNamespace) -> None:
    token, text = tokens.issue(world.cast[VERA], "mine")
    assert text.startswith("weops_")
    assert text not in str(Token.objects.filter(pk=token.pk).values().get())


def test_tokens_count_until_they_expire_or_are_revoked(world: SimpleNamespace, api: Api) -> None:
    assert status(api(VERA)) == 200
    past = timezone.now() - dt.timedelta(seconds=1)
    assert status(api(VERA, expires_at=past)) == 401
    client = api(VERA)
    assert status(client) == 200
    tokens.revoke(Token.objects.latest("pk"))
    answer = client.get("/api/v1/projects/")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "authentication_failed"


def test_who_is_inactive_is_nobody(world: SimpleNamespace, api: Api) -> None:
    client = api(VERA)
    world.cast[VERA].is_active = False
    world.cast[VERA].save()
    assert status(client) == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Bearer weops_ x", "Bearer \xff", "Basic YTpi", ""])
def test_strange_headers_are_nobody(world: SimpleNamespace, header: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header)
    assert status(client) == 401


def test_the_last_use_is_noted_once_a_minute(world: SimpleNamespace, api: Api) -> None:
    client = api(VERA)
    status(client)
    first = Token.objects.latest("pk").last_used_at
    assert first is not None
    status(client)
    assert Token.objects.latest("pk").last_used_at == first


def test_a_token_has_no_more_than_its_rights(world: SimpleNamespace, api: Api) -> None:
    viewer = api(DANA, rights=[Right.VIEW])
    body = {"project": world.ours.project.pk, "name": "new"}
    assert viewer.post("/api/v1/workflows/", body).status_code == 403
    assert api(DANA).post("/api/v1/workflows/", body).status_code == 201
    assert status(api(DANA, rights=[Right.AUTHOR]), f"/api/v1/workflows/{world.ours.workflow.pk}/") == 404


def test_a_superusers_token_of_one_project_is_blind_elsewhere(world: SimpleNamespace, api: Api) -> None:
    client = api(SUSAN, project=world.ours.project)
    assert [one["id"] for one in client.get("/api/v1/projects/").json()["results"]] == [world.ours.project.pk]
    assert status(client, f"/api/v1/instances/{world.foreign.instance.pk}/") == 404
    assert client.post("/api/v1/projects/", {"name": "mine"}).status_code == 403
    assert client.post("/api/v1/resource-groups/", {"name": "mine"}).status_code == 403


def test_a_limited_token_applies_no_preview_beyond_its_rights(world: SimpleNamespace, api: Api) -> None:
    """In the background only the user is known, who may do more than the token."""
    one = make_instance(world.ours.task, "failed", after=1)
    ask = {"kind": "mark_success", "instances": [one.pk]}
    preview = api(OMAR).post("/api/v1/operations/preview/", ask).json()
    limited = api(OMAR, rights=[Right.VIEW, Right.OPERATE])
    answer = limited.post("/api/v1/operations/", {"token": preview["token"], "reason": "x"})
    assert answer.status_code == 403
    run = limited.post("/api/v1/operations/run/", {**ask, "reason": "x"})
    assert run.status_code == 403
    assert not OperationRecord.objects.filter(kind="mark_success").exists()


def test_sessions_need_the_csrf_token_to_change_anything(world: SimpleNamespace) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.cast[DANA])
    assert status(client) == 200
    body = {"project": world.ours.project.pk, "name": "new"}
    answer = client.post("/api/v1/workflows/", body, content_type="application/json")
    assert answer.status_code == 403
    assert "CSRF" in answer.json()["detail"]


def test_the_command_makes_a_token(world: SimpleNamespace) -> None:
    out = StringIO()
    call_command(
        "create_token", VERA, "--right", "view", "--project", "ours_project", "--days", "3", stdout=out
    )
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {out.getvalue().strip()}")
    assert status(client) == 200
    assert Token.objects.get().rights == ["view"]
    for wrong in (["nobody"], [VERA, "--project", "nowhere"], [VERA, "--days", "0"]):
        with pytest.raises(CommandError):
            call_command("create_token", *wrong)


def test_the_admin_shows_a_token_once_and_revokes_it(world: SimpleNamespace) -> None:
    client = Client()
    client.force_login(world.cast[VERA])
    answer = client.post(
        "/admin/api/token/add/", {"name": "night", "rights": ["view"], "project": ""}, follow=True
    )
    text = next(str(one) for one in answer.context["messages"]).split()[-1]
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert status(api) == 200
    token = Token.objects.get(name="night")
    assert text.encode() not in client.get("/admin/api/token/").content
    other = Client()
    other.force_login(world.cast[EVE])
    revoke = {"action": "revoke_tokens", "_selected_action": [token.pk]}
    other.post("/admin/api/token/", revoke)
    assert status(api) == 200
    client.post("/admin/api/token/", revoke)
    assert status(api) == 401


def test_who_watches_a_log_is_asked_for_anew(world: SimpleNamespace) -> None:
    browser, plain = Client(), HttpRequest()
    browser.force_login(world.cast[VERA])
    plain.session = browser.session
    watching = Request(plain)
    assert still(watching) == world.cast[VERA]
    browser.logout()
    assert still(watching) is None, "the session has ended"
    token, _ = tokens.issue(world.cast[VERA], "test")
    watching = Request(plain)
    watching.auth = token
    assert still(watching) == world.cast[VERA]
    tokens.revoke(token)
    assert still(watching) is None
