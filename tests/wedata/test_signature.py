"""Who signed what: keys, scope, time, payload; and what comes in through the door before anybody is known."""

import hashlib
import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from tencentcloud.common.abstract_client import RequestInternal

from tests import factories as make
from tests.wedata.support import Door
from weops.projects import keys
from weops.projects.models import AccessKey
from weops.wedata import signature, view
from weops.wedata.errors import ApiError

pytestmark = pytest.mark.django_db


@pytest.fixture
def door(db: None) -> Door:
    return Door(make.make_user(make.SUSAN))


def test_the_sdk_is_let_in(door: Door) -> None:
    make.make_project("sales")
    assert [one["ProjectName"] for one in door("ListProjects")["Items"]] == ["sales"]


def test_a_plain_get_is_the_admin() -> None:
    response = Client().get("/")
    assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_the_sdk_by_get_is_told_to_post() -> None:
    answer = Client().get("/", headers={"X-TC-Action": "ListProjects"}).json()["Response"]
    assert answer["Error"]["Code"] == "UnsupportedProtocol"


def changed(**headers: str) -> Any:
    return lambda given, body: (
        {**given, **{name.replace("_", "-"): value for name, value in headers.items()}},
        body,
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda headers, body: (headers, body.replace("1", "2")), "AuthFailure.SignatureFailure"),
        (lambda headers, body: (headers, body + " "), "AuthFailure.SignatureFailure"),
        (changed(Authorization="Bearer x"), "AuthFailure.SignatureFailure"),
        (changed(Authorization=""), "AuthFailure.SignatureFailure"),
        (changed(Host="127.0.0.1"), "AuthFailure.SignatureFailure"),
        (changed(X_TC_Timestamp="yesterday"), "AuthFailure.SignatureFailure"),
        (changed(X_TC_Timestamp=str(int(time.time()) - 301)), "AuthFailure.SignatureExpire"),
        (changed(X_TC_Timestamp=str(int(time.time()) + 40_000)), "AuthFailure.SignatureExpire"),
        (changed(X_TC_Timestamp="9" * 11), "AuthFailure.SignatureExpire"),
        (changed(X_TC_Content_SHA256="UNSIGNED-PAYLOAD"), "AuthFailure.SignatureFailure"),
        (changed(X_TC_Action="DropTables"), "InvalidAction"),
        (changed(X_TC_Action="RegisterEvent"), "InvalidAction"),
        (changed(X_TC_Version="2019-01-01"), "NoSuchVersion"),
    ],
)
def test_what_is_not_as_it_was_signed(door: Door, change: Any, code: str) -> None:
    door.wire.changed = change
    assert door.fails("ListProjects", PageNumber=1)[0] == code


def altered(door: Door, old: str, new: str) -> None:
    """Replaces a part of the Authorization header."""
    door.wire.changed = lambda headers, body: (
        {**headers, "Authorization": headers["Authorization"].replace(old, new)},
        body,
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/wedata/", "/cvm/"),
        ("TC3-HMAC-SHA256", "TC3-HMAC-MD5"),
        ("SignedHeaders=content-type;host", "SignedHeaders=host"),
        ("SignedHeaders=content-type;host", "SignedHeaders=content-type;host;host"),
        ("tc3_request", "tc2_request"),
    ],
)
def test_another_scope_or_method(door: Door, old: str, new: str) -> None:
    altered(door, old, new)
    assert door.fails("ListProjects")[0] == "AuthFailure.SignatureFailure"


def test_the_date_of_the_scope_is_that_of_the_timestamp(door: Door) -> None:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    altered(door, f"/{today}/", "/2020-01-01/")
    code, message = door.fails("ListProjects")
    assert (code, "date" in message) == ("AuthFailure.SignatureFailure", True)


def test_each_sign_of_a_signature_counts(door: Door) -> None:
    def flip(headers: Any, body: Any) -> Any:
        text = headers["Authorization"]
        return {**headers, "Authorization": text[:-1] + ("0" if text[-1] != "0" else "1")}, body

    door.wire.changed = flip
    assert door.fails("ListProjects")[0] == "AuthFailure.SignatureFailure"


def test_a_request_sent_again_is_good_for_five_minutes_and_no_longer(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def keep(headers: Any, body: Any) -> Any:
        sent.append((headers, body))
        return headers, body

    door.wire.changed = keep
    door("ListProjects")
    door.wire.changed = lambda *_: sent[0]
    door("ListProjects")
    later = time.time() + 301
    monkeypatch.setattr(view.time, "time", lambda: later)
    assert door.fails("ListProjects")[0] == "AuthFailure.SignatureExpire"


def test_an_unknown_key(door: Door) -> None:
    altered(door, door.pair.key.secret_id, "AKIDnobody")
    assert door.fails("ListProjects")[0] == "AuthFailure.SecretIdNotFound"


def test_the_secret_of_another_key(door: Door) -> None:
    other = keys.create(door.pair.key.user)
    altered(door, door.pair.key.secret_id, other.key.secret_id)
    assert door.fails("ListProjects")[0] == "AuthFailure.SignatureFailure"


def test_a_revoked_key(door: Door) -> None:
    assert keys.revoke(door.pair.key)
    assert not keys.revoke(door.pair.key)
    assert door.fails("ListProjects")[0] == "AuthFailure.SecretIdNotFound"


def test_a_user_who_may_not_log_in(door: Door) -> None:
    type(door.pair.key.user).objects.update(is_active=False)
    assert door.fails("ListProjects")[0] == "AuthFailure.SecretIdNotFound"


def test_last_use_is_noted(door: Door) -> None:
    assert AccessKey.objects.get().last_used_at is None
    door("ListProjects")
    first = AccessKey.objects.get().last_used_at
    assert first is not None
    door("ListProjects")
    assert AccessKey.objects.get().last_used_at == first


def test_a_refused_request_is_no_use(door: Door) -> None:
    door.wire.changed = lambda headers, body: (headers, body + " ")
    door.fails("ListProjects")
    assert AccessKey.objects.get().last_used_at is None


def test_a_dump_of_the_database_holds_no_secret(door: Door) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT k::text, convert_from(ciphertext, 'UTF8') FROM projects_accesskey k")
        text = str(cursor.fetchall())
    assert door.pair.secret not in text
    assert AccessKey.objects.get().reveal() == door.pair.secret


def test_values_signed_in_lower_case_are_right_too() -> None:
    claim = signature.read(
        "TC3-HMAC-SHA256 Credential=AKIDx/2026-01-01/wedata/tc3_request, "
        f"SignedHeaders=content-type;host;x-tc-action, Signature={'0' * 64}"
    )
    headers = {"content-type": "application/json", "host": "WeOps.example", "x-tc-action": "ListProjects"}
    body = b"{}"
    lines = "content-type:application/json\nhost:weops.example\nx-tc-action:listprojects\n"
    canonical = f"POST\n/\n\n{lines}\ncontent-type;host;x-tc-action\n{hashlib.sha256(body).hexdigest()}"
    right = replace(claim, signature=signature.sign(claim, "secret", canonical, "1"))
    arguments: dict[str, Any] = {
        "method": "POST",
        "path": "/",
        "query": "",
        "headers": headers,
        "body": body,
        "timestamp": "1",
    }
    signature.verify(right, "secret", **arguments)
    with pytest.raises(ApiError):
        signature.verify(right, "other", **arguments)
    with pytest.raises(ApiError):
        signature.verify(
            right, "secret", **arguments | {"headers": headers | {"x-tc-action": "DeleteProject"}}
        )


# What is sent


def raw(door: Door, body: bytes | str) -> dict[str, Any]:
    """Sends a body as it is, signed as the SDK signs it."""
    client = door._clients["2025-08-06"]
    request = RequestInternal("localhost", "POST", "/", header={})
    client._build_req_with_tc3_signature("ListProjects", {}, request)
    request.data = body
    signed = client._get_tc3_signature(
        {}, request, time.strftime("%Y-%m-%d", time.gmtime()), "wedata", door.pair.secret
    )
    head, _, _ = request.header["Authorization"].rpartition("=")
    request.header["Authorization"] = f"{head}={signed}"
    answer: dict[str, Any] = door.wire.send_request(request).json()["Response"]
    return answer


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("[]", "InvalidParameter"),
        ("7", "InvalidParameter"),
        ("{", "InvalidParameter"),
        (b"\xff", "InvalidParameter"),
        ('{"PageNumber": NaN}', "InvalidParameter"),
        ('{"PageNumber": ' + "9" * 5000 + "}", "InvalidParameter"),
        ('{"PageNumber": 1e999}', "InvalidParameterValue"),
        ('{"ProjectIds": ' + "[" * 100_000 + "]" * 100_000 + "}", "InvalidParameter"),
        ('{"ProjectIds": ' + "[" * 40 + "]" * 40 + "}", "InvalidParameter"),
        ('{"Foo": 1}', "UnknownParameter"),
        ('{"ProjectName": "\\u0000"}', "InvalidParameterValue"),
        ('{"ProjectName": "\\ud800"}', "InvalidParameterValue"),
        ('{"ProjectName": {"a": 1}}', "InvalidParameterValue"),
        ('{"ProjectIds": ["1; DROP TABLE x"]}', "InvalidParameterValue"),
        ('{"ProjectIds": [null]}', "InvalidParameterValue"),
        ('{"ProjectIds": "1"}', "InvalidParameterValue"),
        ('{"PageNumber": true}', "InvalidParameterValue"),
        ('{"PageNumber": 0}', "InvalidParameterValue"),
        ('{"PageSize": 100000}', "InvalidParameterValue"),
        ('{"Status": 7}', "InvalidParameterValue"),
    ],
)
def test_hostile_bodies(door: Door, body: bytes | str, code: str) -> None:
    error = raw(door, body)["Error"]
    assert error["Code"] == code
    assert len(error["Message"]) < 700


def test_an_empty_body_is_an_empty_object(door: Door) -> None:
    assert raw(door, " ")["Data"]["TotalCount"] == 0


def test_a_body_that_is_too_large_is_not_read(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "MOST_BYTES", 1000)
    assert raw(door, "{" + " " * 1000 + "}")["Error"]["Code"] == "RequestSizeLimitExceeded"
    answer = Client().post("/", data=b"x" * 1001, content_type="application/json").json()["Response"]
    assert answer["Error"]["Code"] == "RequestSizeLimitExceeded"


def test_text_of_anybody_stays_text(world: SimpleNamespace) -> None:
    door = world.door(make.DANA)
    hostile = "<script>alert('x')</script>"
    door(
        "UpdateWorkflow",
        ProjectId=world.ours.id,
        WorkflowId=str(world.ours.workflow.pk),
        WorkflowDesc=hostile,
    )
    found = door("GetWorkflow", ProjectId=world.ours.id, WorkflowId=str(world.ours.workflow.pk))
    assert found["WorkflowDesc"] == hostile
    client = Client()
    response = client.post("/", data=b"", content_type="application/json")
    assert response["Content-Type"] == "application/json"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_an_error_inside_says_where_to_look(door: Door, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr("weops.wedata.paging.COUNT_CAP", "nothing to compare with")
    code, message = door.fails("ListProjects")
    assert (code, "compare" in message or "TypeError" in message) == ("InternalError", False)
    assert "ListProjects failed" in caplog.text
    assert door.pair.secret not in caplog.text


# Keys from the shell


def test_a_key_from_the_shell(capsys: Any) -> None:
    susan = make.make_user(make.SUSAN)
    call_command("create_access_key", "susan", "--name", "nightly")
    pair = json.loads(capsys.readouterr().out)
    key = AccessKey.objects.get()
    assert (key.user, key.name, key.secret_id) == (susan, "nightly", pair["SecretId"])
    door = Door(pair=keys.Pair(key, pair["SecretKey"]))
    assert door("ListProjects")["TotalCount"] == 0


def test_a_key_of_nobody() -> None:
    with pytest.raises(CommandError, match="no active account"):
        call_command("create_access_key", "nobody")
