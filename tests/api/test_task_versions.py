"""Versions over REST: what differs, taking one back, test runs."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from instances.models import Instance, OperationRecord, Task
from tests import factories
from tests.factories import DANA, SUSAN, VERA

Api = Callable[..., APIClient]


@pytest.fixture
def task(world: SimpleNamespace) -> Task:
    """Ours, with a second version."""
    task: Task = world.ours.task
    Task.objects.filter(pk=task.pk).update(code="echo two", retry_limit=7)
    task.refresh_from_db()
    factories.submit(task)
    return task


def test_what_differs(task: Task, api: Api) -> None:
    newest = task.versions.get(number=2)
    answer = api(VERA).get(f"/api/v1/versions/{newest.pk}/diff/")
    assert answer.json() == {
        "old": "version 1",
        "new": "version 2",
        "code": [
            {"kind": "removed", "old": 1, "new": None, "text": "echo ${yyyyMMdd}"},
            {"kind": "added", "old": None, "new": 1, "text": "echo two"},
        ],
        "parts": [
            {"name": "Running", "values": [{"name": "Retry limit", "before": "0", "after": "7"}]},
        ],
    }
    same = api(VERA).get(f"/api/v1/versions/{newest.pk}/diff/?with=2").json()
    assert (same["code"], same["parts"]) == ([], [])
    for query in ("?with=9", "?with=x", "?without=1"):
        assert api(VERA).get(f"/api/v1/versions/{newest.pk}/diff/{query}").status_code in (400, 404)
    first = task.versions.get(number=1)
    assert api(VERA).get(f"/api/v1/versions/{first.pk}/diff/").status_code == 404


def test_no_name_of_a_project_that_one_does_not_see(task: Task, world: SimpleNamespace, api: Api) -> None:
    factories.depend(task, world.foreign.task)
    version = factories.submit(task)
    where = f"/api/v1/versions/{version.pk}/diff/"
    assert "foreign_task" not in api(VERA).get(where).content.decode()
    assert "foreign_task" in api(SUSAN).get(where).content.decode()


def test_a_version_is_taken_back(task: Task, world: SimpleNamespace, api: Api) -> None:
    where = f"/api/v1/tasks/{task.pk}/restore/"
    answer = api(DANA).post(where, {"number": 1, "reason": "two was wrong"})
    assert answer.status_code == 201
    record = OperationRecord.objects.get(kind="restore_task_version")
    assert answer.json()["operation"] == record.pk
    assert (record.source, record.operator, record.reason) == ("api", world.cast[DANA], "two was wrong")
    task.refresh_from_db()
    assert task.code == "echo ${yyyyMMdd}"
    again = api(DANA).post(where, {"number": 1})
    assert (again.status_code, "is already" in again.json()["detail"]) == (409, True)
    for body in ({}, {"number": 0}, {"number": "x"}, {"number": 1, "more": 1}):
        assert api(DANA).post(where, body).status_code == 400


def test_a_test_run(task: Task, api: Api) -> None:
    where = f"/api/v1/tasks/{task.pk}/test/"
    body = {
        "changes": {"code": "echo ${region}", "parameters": {"region": "EWR"}},
        "parameters": {"region": "JFK"},
        "data_time": "2026-03-25T08:00:00Z",
    }
    answer = api(DANA).post(where, body)
    assert answer.status_code == 201
    instance = Instance.objects.get(instance_type="test")
    assert instance.version is not None
    assert (instance.version.code, instance.overrides) == ("echo ${region}", {"region": "JFK"})
    shown = api(DANA).get(f"/api/v1/instances/{instance.pk}/").json()
    assert shown["instance_type"] == "test"
    execution = api(DANA).get(f"/api/v1/executions/?instance={instance.pk}").json()["results"][0]
    assert execution["version_number"] is None
    listed = api(DANA).get("/api/v1/instances/").json()["results"]
    assert instance.pk not in [one["id"] for one in listed]
    versions = api(DANA).get(f"/api/v1/versions/?task={task.pk}").json()["results"]
    assert [one["number"] for one in versions] == [2, 1]
    task.refresh_from_db()
    assert task.code == "echo two"
    assert api(DANA).post(where, {"version": 1}).status_code == 201


def test_a_test_run_that_cannot_be(task: Task, api: Api) -> None:
    where = f"/api/v1/tasks/{task.pk}/test/"
    wrong = api(DANA).post(where, {"changes": {"code": "if"}})
    assert wrong.status_code == 409
    assert "syntax error" in wrong.json()["detail"]
    wrongs: list[Any] = [{"name": "x"}, {"settings": []}, {"outputs": "x"}, {"code": "a\0b"}, []]
    for changes in wrongs:
        assert api(DANA).post(where, {"changes": changes}).status_code == 400
    assert not Instance.objects.filter(instance_type="test").exists()
