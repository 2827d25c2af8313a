"""Instances, executions, logs and operations over REST."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from instances.api.instance_serializers import InstanceDetailSerializer
from instances.models import Edge, Execution, LogChunk, OperationRecord
from tests.admin.rows import HOSTILE, make_execution, make_instance
from tests.factories import DANA, EVE, OMAR, SUSAN, VERA, make_secret, make_task
from weops.projects.models import Folder

Api = Callable[..., APIClient]
LIST = "/api/v1/instances/"


def ids(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.content
    return [one["id"] for one in answer.json()["results"]]


def test_one_sees_the_instances_of_ones_projects_only(world: SimpleNamespace, api: Api) -> None:
    ours, foreign = world.ours.instance.pk, world.foreign.instance.pk
    assert ids(api(VERA).get(LIST)) == [ours]
    assert ids(api(EVE).get(LIST)) == []
    assert set(ids(api(SUSAN).get(LIST))) == {ours, foreign}
    assert api(VERA).get(f"{LIST}{foreign}/").status_code == 404
    assert api(VERA).get(f"{LIST}{10**17}/").status_code == 404


def test_the_filters_are_those_of_the_console(world: SimpleNamespace, api: Api) -> None:
    failed = make_instance(world.ours.task, "failed", after=1)
    make_instance(world.ours.task, "success", after=2)
    client = api(VERA)
    assert ids(client.get(LIST, {"state": "failed"})) == [failed.pk]
    assert len(ids(client.get(f"{LIST}?state=failed&state=success"))) == 2
    assert ids(client.get(LIST, {"q": "ours_task", "data_to": "2026-03-25T23:00:00Z"})) == [
        world.ours.instance.pk
    ]
    assert ids(client.get(LIST, {"q": "nothing like it"})) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "staet=failed",
        "state=nonsense",
        "project=x",
        "data_from=yesterday",
        "cursor=!!",
        "limit=0",
        "limit=x",
        "fields=colour",
    ],
)
def test_what_cannot_be_read_is_an_error_and_never_all_rows(
    world: SimpleNamespace, api: Api, wrong: str
) -> None:
    answer = api(VERA).get(f"{LIST}?{wrong}")
    assert answer.status_code == 400
    problem = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    assert problem["code"] == "invalid"
    assert wrong.split("=")[0] in [one["field"] for one in problem["errors"]]
    assert problem["todo"]


def test_pages_by_cursor_show_every_row_once(world: SimpleNamespace, api: Api) -> None:
    # Two instances of one data time, among others.
    other = make_task(world.ours.workflow)
    made = {make_instance(task, after=day).pk for task in (world.ours.task, other) for day in range(1, 5)}
    client, seen, address = api(VERA), [], f"{LIST}?limit=2&count=true"
    while address:
        page = client.get(address).json()
        assert page["count"] == 9
        seen += [one["id"] for one in page["results"]]
        address = page["next"]
    assert len(seen) == len(set(seen)) == 9
    assert made < set(seen)


def test_a_page_costs_the_same_queries_however_many_rows(world: SimpleNamespace, api: Api) -> None:
    def queries() -> int:
        client = api(VERA)
        client.get(LIST)
        with CaptureQueriesContext(
            connection,
        ) as found:
            assert client.get(LIST).status_code == 200
        return len(found)

    make_instance(world.ours.task, "failed", after=1, error_code="EXIT_NONZERO")
    few = queries()
    for day in range(2, 12):
        make_instance(world.ours.task, "failed", after=day, error_code="EXIT_NONZERO")
    assert queries() == few <= 12


def test_only_the_fields_that_were_asked_for(world: SimpleNamespace, api: Api) -> None:
    row = api(VERA).get(LIST, {"fields": "id,state"}).json()["results"][0]
    assert row == {"id": world.ours.instance.pk, "state": "wait_run"}
    detail = api(VERA).get(f"{LIST}{world.ours.instance.pk}/", {"fields": "state"})
    assert detail.json() == {"state": "wait_run"}


def test_detail_explains_the_error_and_has_an_etag(world: SimpleNamespace, api: Api) -> None:
    failed = make_instance(
        world.ours.task, "failed", after=1, error_code="EXIT_NONZERO", error_message=HOSTILE
    )
    client = api(VERA)
    answer = client.get(f"{LIST}{failed.pk}/")
    found = answer.json()
    assert found["error"]["advice"]
    assert found["error_message"] == HOSTILE
    assert found["folder_path"] == "ours_folder"
    again = client.get(f"{LIST}{failed.pk}/", HTTP_IF_NONE_MATCH=answer["ETag"])
    assert again.status_code == 304
    assert not again.content
    failed.error_message = "changed"
    failed.save(update_fields=["error_message"])
    assert client.get(f"{LIST}{failed.pk}/", HTTP_IF_NONE_MATCH=answer["ETag"]).status_code == 200


def test_the_quick_way_shows_what_the_serializer_says(world: SimpleNamespace, api: Api) -> None:
    """Detail reads columns instead of objects; the list and `fields=` make objects. Both must say the same."""
    ours = world.ours
    below = Folder.objects.create(project=ours.project, parent=ours.task.folder, name="below")
    ours.task.secrets.add(make_secret(ours.project, "TOKEN", "hunter2hunter2"))
    rows = [
        ours.instance,
        make_instance(ours.task, "success", after=1, folder=below, owner=world.cast[DANA]),
        make_instance(
            ours.task, "failed", after=2, error_code="EXIT_NONZERO", error_message=HOSTILE, folder=None
        ),
        make_instance(ours.task, "wait_run", after=3, overrides={"a": "hunter2hunter2", "b": [1, None]}),
        make_instance(ours.task, "wait_upstream", after=4, frozen_at="2026-03-01T00:00:00Z"),
    ]
    client = api(VERA)
    client.post("/api/v1/operations/run/", {"kind": "acknowledge", "instances": [rows[2].pk]}, format="json")
    every = ",".join(InstanceDetailSerializer().fields)
    for row in rows:
        quick = client.get(f"{LIST}{row.pk}/")
        assert quick.json() == client.get(f"{LIST}{row.pk}/", {"fields": every}).json()
        assert list(quick.json()) == every.split(",")
        assert b"hunter2" not in quick.content
    assert client.get(f"{LIST}{rows[1].pk}/").json()["folder_path"] == "ours_folder/below"


def test_an_instance_by_a_token_is_two_queries(world: SimpleNamespace, api: Api) -> None:
    client = api(VERA)
    client.get(f"{LIST}{world.ours.instance.pk}/")
    with CaptureQueriesContext(connection) as seen:
        assert client.get(f"{LIST}{world.ours.instance.pk}/").status_code == 200
    assert len(seen) == 2, seen.captured_queries


def test_why_and_history_and_lineage(world: SimpleNamespace, api: Api) -> None:
    child = make_instance(make_task(world.ours.workflow), "wait_upstream", after=1)
    hidden, parent = world.foreign.instance, world.ours.instance
    for one in (parent, hidden):
        Edge.objects.create(
            instance=child, upstream=one, upstream_task=one.task, upstream_data_time=one.data_time
        )
    client = api(VERA)
    assert client.get(f"{LIST}{child.pk}/why/").json()["causes"][0]["code"]
    assert client.get(f"{LIST}{child.pk}/history/").json() == []
    found = client.get(f"{LIST}{child.pk}/lineage/", {"up": 3}).json()
    nodes = {one["id"]: one for one in found["nodes"] if not one.get("locked")}
    assert set(nodes) == {child.pk, parent.pk}
    assert [nodes[parent.pk]["level"], nodes[child.pk]["level"]] == [-1, 0]
    assert [one["state"] for one in found["nodes"] if one.get("locked")] == ["locked"]
    assert {edge["to"] for edge in found["edges"]} == {found["focus"]}
    assert "foreign" not in json.dumps(found)
    down = client.get(f"{LIST}{parent.pk}/lineage/", {"up": 0}).json()
    assert {one["id"] for one in down["nodes"]} == {child.pk, parent.pk}
    assert client.get(f"{LIST}{parent.pk}/lineage/", {"up": 31}).status_code == 400


# Executions and logs


@pytest.fixture
def execution(world: SimpleNamespace) -> Any:
    made = make_execution(world.ours.instance, "success", log_bytes=13, log_lines=3)
    for seq, (start, text) in enumerate([(0, "one\n"), (4, "two\n"), (8, "tré\n")]):
        LogChunk.objects.create(execution=made, seq=seq, start=start, text=text)
    return made


def test_executions_with_what_they_ran(world: SimpleNamespace, api: Api, execution: Any) -> None:
    client = api(VERA)
    assert ids(client.get("/api/v1/executions/", {"instance": execution.instance_id})) == [execution.pk]
    assert client.get("/api/v1/executions/").status_code == 400
    assert client.get(f"/api/v1/executions/{execution.pk}/").json()["code"] == "echo 20260325"
    assert api(EVE).get(f"/api/v1/executions/{execution.pk}/").status_code == 404


def test_logs_by_cursor_range_and_stream(world: SimpleNamespace, api: Api, execution: Any) -> None:
    client, base = api(VERA), f"/api/v1/executions/{execution.pk}/log/"
    first = client.get(base, {"limit": 5}).json()
    assert first == {"text": "one\nt", "next_cursor": 5, "done": False}
    assert client.get(base, {"cursor": 5}).json() == {"text": "wo\ntré\n", "next_cursor": 12, "done": True}
    assert client.get(base, {"cursor": -1}).status_code == 400
    whole = client.get(f"{base}raw/")
    assert whole.content == "one\ntwo\ntré\n".encode()
    assert whole["Content-Type"].startswith("text/plain")
    assert whole["X-Content-Type-Options"] == "nosniff"
    part = client.get(f"{base}raw/", HTTP_RANGE="bytes=4-6")
    assert (part.status_code, part.content, part["Content-Range"]) == (206, b"two", "bytes 4-6/13")
    assert client.get(f"{base}raw/", HTTP_RANGE="bytes=-5").content == "tré\n".encode()
    assert client.get(f"{base}raw/", HTTP_RANGE="bytes=99-").status_code == 416
    assert client.get(f"{base}raw/", HTTP_RANGE="lines=1").status_code == 200
    assert client.get(f"{base}stream/").json()["code"] == "no_streams"
    for name in ("", "raw/", "stream/"):
        assert api(EVE).get(f"{base}{name}").status_code == 404


def test_a_large_log_is_streamed(
    world: SimpleNamespace, api: Api, execution: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held whole, a log of a gigabyte would take the web process down with it."""
    monkeypatch.setattr("instances.api.logs.MOST", 10_000)
    LogChunk.objects.filter(execution=execution).delete()
    Execution.objects.filter(pk=execution.pk).update(log_file="")
    text = "".join(f"{n:099}\n" for n in range(6_000))
    for seq in range(3):
        LogChunk.objects.create(
            execution=execution,
            seq=seq,
            start=seq * 200_000,
            line=seq * 2_000,
            text=text[seq * 200_000 :][:200_000],
        )
    base = f"/api/v1/executions/{execution.pk}/log/raw/"
    whole = api(VERA).get(base)
    assert (whole.streaming, whole["Content-Length"]) == (True, "600000")
    assert b"".join(whole.streaming_content) == text.encode()
    end = api(VERA).get(base, HTTP_RANGE="bytes=-100")
    assert (end.content, end["Content-Range"]) == (
        text[-100:].encode(),
        "bytes 599900-599999/600000",
    )
    middle = api(VERA).get(base, HTTP_RANGE="bytes=150000-449999")
    assert middle.status_code == 206
    assert b"".join(middle.streaming_content) == text[150_000:450_000].encode()


# Operations


def test_preview_then_apply_exactly_that(world: SimpleNamespace, api: Api) -> None:
    failed = make_instance(world.ours.task, "failed", after=1)
    client = api(OMAR)
    ask = {"kind": "rerun", "filter": {"state": ["failed"], "project": world.ours.project.pk}}
    preview = client.post("/api/v1/operations/preview/", ask)
    assert preview.status_code == 201, preview.content
    found = preview.json()
    assert (found["total"], found["allowed"], found["refused"]) == (1, 1, 0)
    assert found["sentences"]
    apply = client.post("/api/v1/operations/", {"token": found["token"], "reason": "again"})
    assert apply.status_code == 201, apply.content
    record = apply.json()
    assert (record["state"], record["done"], record["operator"]) == ("SUCCESS", 1, OMAR)
    failed.refresh_from_db()
    assert failed.state == "wait_run"
    same = client.post("/api/v1/operations/", {"token": found["token"], "reason": "again"})
    assert same.json()["id"] == record["id"]
    assert apply["Location"].endswith(f"/operations/{record['id']}/")
    outcomes = client.get(f"/api/v1/operations/{record['id']}/outcomes/").json()["results"]
    assert [(one["instance"], one["outcome"]) for one in outcomes] == [(failed.pk, "done")]
    assert [one["id"] for one in client.get("/api/v1/operations/?kind=rerun").json()["results"]] == [
        record["id"]
    ]


def test_a_preview_that_went_stale_says_what_changed(world: SimpleNamespace, api: Api) -> None:
    failed = make_instance(world.ours.task, "failed", after=1)
    client = api(OMAR)
    token = client.post("/api/v1/operations/preview/", {"kind": "rerun", "instances": [failed.pk]}).json()[
        "token"
    ]
    failed.life_round += 1
    failed.save(update_fields=["life_round"])
    answer = client.post("/api/v1/operations/", {"token": token})
    assert answer.status_code == 409
    assert answer.json()["code"] == "stale_preview"
    assert answer.json()["difference"]["changed_count"] == 1
    assert api(DANA).post("/api/v1/operations/", {"token": token}).status_code == 404


def test_run_at_once_and_undo(world: SimpleNamespace, api: Api) -> None:
    one = make_instance(world.ours.task, "failed", after=1)
    client = api(OMAR)
    record = client.post(
        "/api/v1/operations/run/", {"kind": "rerun", "instances": [one.pk], "reason": "x"}
    ).json()
    detail = client.get(f"/api/v1/operations/{record['id']}/").json()
    assert detail["why_not_undoable"] == ""
    preview = client.post(f"/api/v1/operations/{record['id']}/undo/preview/").json()
    assert preview["total"] == 1
    undone = client.post(f"/api/v1/operations/{record['id']}/undo/", {"reason": "oops"})
    assert undone.status_code == 201, undone.content
    one.refresh_from_db()
    assert one.state == "failed"
    again = client.post(f"/api/v1/operations/{record['id']}/undo/", {"reason": "oops"})
    assert (again.status_code, again.json()["code"]) == (409, "not_undoable")


def test_who_may_not_is_refused_row_by_row(world: SimpleNamespace, api: Api) -> None:
    ask = {"kind": "terminate", "instances": [world.ours.instance.pk, world.foreign.instance.pk]}
    preview = api(VERA).post("/api/v1/operations/preview/", ask).json()
    assert (preview["total"], preview["allowed"]) == (1, 0)
    assert "right" in preview["summary"]["refusals"][0]["why"]
    assert preview["summary"]["left_out"][0]["count"] == 1
    record = api(VERA).post("/api/v1/operations/run/", {**ask, "reason": "x"}).json()
    assert (record["state"], record["refused"]) == ("FAIL", 1)
    world.ours.instance.refresh_from_db()
    assert world.ours.instance.state == "wait_run"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "explode", "instances": [1]}, "kind"),
        ({"kind": "rerun"}, "instances"),
        ({"kind": "rerun", "instances": [1], "filter": {"state": "failed"}}, "instances"),
        ({"kind": "rerun", "filter": {}}, "filter"),
        ({"kind": "rerun", "filter": {"staet": "failed"}}, "filter.staet"),
        ({"kind": "rerun", "filter": {"state": {}}}, "filter.state"),
        ({"kind": "rerun", "instances": [1], "options": {"scope": "everything"}}, "options.scope"),
        ({"kind": "rerun", "instances": [1], "colour": "red"}, "colour"),
        ({"kind": "rerun", "instances": ["x"]}, "instances.0"),
    ],
)
def test_a_wrong_request_names_its_field(
    world: SimpleNamespace, api: Api, body: dict[str, Any], field: str
) -> None:
    answer = api(OMAR).post("/api/v1/operations/preview/", body)
    assert answer.status_code == 400
    assert field in [one["field"] for one in answer.json()["errors"]]


def test_a_reason_that_is_required(world: SimpleNamespace, api: Api) -> None:
    one = make_instance(world.ours.task, "failed", after=1)
    kinds = {kind["kind"]: kind for kind in api(OMAR).get("/api/v1/operations/kinds/").json()}
    needed = next(
        kind for kind in kinds.values() if kind["reason_required"] and "failed" in kind["allowed_from"]
    )
    answer = api(OMAR).post("/api/v1/operations/run/", {"kind": needed["kind"], "instances": [one.pk]})
    assert answer.status_code == 400
    assert answer.json()["code"] == "reason_required"
    assert not OperationRecord.objects.filter(kind=needed["kind"]).exists()


def test_cancel_takes_the_right(world: SimpleNamespace, api: Api) -> None:
    record = api(OMAR).post(
        "/api/v1/operations/run/",
        {"kind": "terminate", "instances": [world.ours.instance.pk], "reason": "x", "background": True},
    )
    assert record.status_code == 202, record.content
    address = f"/api/v1/operations/{record.json()['id']}/cancel/"
    assert api(VERA).post(address).status_code == 403
    assert api(EVE).post(address).status_code == 404
    assert api(OMAR).post(address).json()["cancel_requested_at"]


def test_the_overview(world: SimpleNamespace, api: Api) -> None:
    found = api(VERA).get("/api/v1/overview/").json()
    assert found["states"]["wait_run"] == 1
    assert api(EVE).get("/api/v1/overview/").json()["states"]["wait_run"] == 0


@pytest.mark.parametrize(
    "wrong", ["0455-03-02T14:41:07+20:22", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"]
)
def test_times_that_no_database_knows(world: SimpleNamespace, api: Api, wrong: str) -> None:
    answer = api(VERA).get(LIST, {"data_from": wrong})
    assert answer.status_code == 400
    assert api(VERA).get(LIST, {"data_from": "2026-03-25T00:00:00+15:30"}).status_code == 200
