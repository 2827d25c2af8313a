"""Errors say which field, what there is to choose from, and what to do."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.factories import DANA, OMAR, VERA

Api = Callable[..., APIClient]
API = "/api/v1/"


@pytest.mark.parametrize(
    ("path", "field", "choices"),
    [
        ("instances/?state=nonsense", "state", "wait_event, wait_upstream, "),
        ("instances/?seen=maybe", "seen", "yes, no"),
        ("tasks/?status=nonsense", "status", "scheduling, paused, offline"),
        ("alarm-messages/?kind=nonsense", "kind", "failure, "),
    ],
)
def test_a_filter_that_is_no_choice_names_the_choices(
    world: SimpleNamespace, api: Api, path: str, field: str, choices: str
) -> None:
    (error,) = api(VERA).get(API + path).json()["errors"]
    assert error["field"] == field
    assert " is none of " in error["message"]
    assert choices in error["message"]


def test_a_time_that_cannot_be_read_shows_one_that_can(world: SimpleNamespace, api: Api) -> None:
    (error,) = api(VERA).get(f"{API}instances/?data_from=yesterday").json()["errors"]
    assert (error["field"], "2026-03-25T00:00:00Z" in error["message"]) == ("data_from", True)


@pytest.mark.parametrize(
    ("path", "body", "choices"),
    [
        ("operations/preview/", {"kind": "explode", "instances": [1]}, "rerun, "),
        ("tasks/operations/", {"kind": "explode", "tasks": [1]}, "pause, resume, "),
        ("alarm-channels/", {"kind": "pigeon"}, "webhook"),
    ],
)
def test_a_value_that_is_no_choice_names_the_choices(
    world: SimpleNamespace, api: Api, path: str, body: dict[str, Any], choices: str
) -> None:
    errors = {one["field"]: one["message"] for one in api(DANA).post(API + path, body).json()["errors"]}
    assert " is none of " in errors["kind"]
    assert choices in errors["kind"]


def test_a_name_that_is_taken_is_the_name_s_error(world: SimpleNamespace, api: Api) -> None:
    body = {"project": world.ours.project.pk, "name": world.ours.workflow.name}
    answer = api(DANA).post(f"{API}workflows/", body)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["errors"]] == ["name"]


def test_a_plan_without_the_right_is_forbidden_not_misspelt(world: SimpleNamespace, api: Api) -> None:
    days = {"first": "2026-03-01", "last": "2026-03-01"}
    body = {"options": {"tasks": [world.ours.task.pk], "ranges": [days]}}
    assert api(OMAR).post(f"{API}backfills/preview/", body).status_code == 200
    answer = api(VERA).post(f"{API}backfills/preview/", body)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


def test_what_to_do_about_bodies_and_addresses(world: SimpleNamespace, api: Api) -> None:
    client = api(OMAR)
    for kind, body, status, todo in (
        ("application/x-www-form-urlencoded", "kind=rerun", 415, "Content-Type: application/json"),
        ("application/json", '{"kind":', 400, "Mend the body"),
    ):
        answer = client.post(f"{API}operations/preview/", body, content_type=kind)
        assert (answer.status_code, todo in answer.json()["todo"]) == (status, True)
    assert "end with a slash" in client.get(f"{API}instances").json()["todo"]
    assert "slash" not in client.get(f"{API}nothing/").json()["todo"]


def test_lists_filter_by_project_and_part_of_the_name(world: SimpleNamespace, api: Api) -> None:
    client, ours = api(VERA), world.ours
    for path, row in (("tasks/", ours.task), ("workflows/", ours.workflow)):
        for query in ({"project": ours.project.pk}, {"q": row.name[1:].upper()}):
            assert [one["id"] for one in client.get(API + path, query).json()["results"]] == [row.pk]
        for query in ({"project": world.foreign.project.pk}, {"q": "no such name"}):
            assert client.get(API + path, query).json()["results"] == []
    assert [one["id"] for one in client.get(f"{API}projects/", {"q": "our"}).json()["results"]] == [
        ours.project.pk
    ]
