"""Exports: every row once, as JSON lines or cells that no spreadsheet runs, in portions, on record."""

import csv
import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from instances.models import OperationRecord
from tests.admin.rows import make_instance
from tests.factories import VERA

Api = Callable[..., APIClient]
EXPORT = "/api/v1/instances/export/"
NASTY = [
    "=1+1",
    " @x",
    "-2",
    "+3",
    "\ttab",
    '"quoted", \\back\\ ü',
    "two\nlines",
    "\\.",
    "\x01ctl",
    "＝full",
    "plain",
]


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return b"".join(answer).decode()


@pytest.fixture
def failures(world: SimpleNamespace) -> dict[int, str]:
    return {
        make_instance(world.ours.task, "failed", after=day, error_message=said).pk: said
        for day, said in enumerate(NASTY, 1)
    }


def test_lines_of_json_say_everything_as_it_is(
    world: SimpleNamespace, api: Api, failures: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instances.api.export.PORTION", 4)
    lines = text(api(VERA).get(EXPORT, {"state": "failed"})).split("\n")
    assert lines.pop() == ""
    rows = [json.loads(line) for line in lines]
    assert {row["id"]: row["error_message"] for row in rows} == failures
    assert [row["id"] for row in rows] == sorted(failures, reverse=True)
    assert rows[0]["task_name"] == "ours_task"
    assert rows[0]["owner_name"] == "dana"
    assert len(text(api(VERA).get(EXPORT)).splitlines()) == len(NASTY) + 1


def test_cells_are_no_formulas(world: SimpleNamespace, api: Api, failures: dict[int, str]) -> None:
    answer = api(VERA).get(EXPORT, {"state": "failed", "as": "csv", "fields": "id,error_message"})
    head, *rows = csv.reader(io.StringIO(text(answer)))
    assert head == ["id", "error_message"]
    found = {int(pk): said for pk, said in rows}
    for pk, said in failures.items():
        risky = said.strip()[0] in "=+-@＝" or said[0] in "\t\x01"
        assert found[pk] == ("'" if risky else "") + said.replace("\x01", " ")


def test_an_export_is_on_record_with_what_was_asked(world: SimpleNamespace, api: Api) -> None:
    text(api(VERA).get(EXPORT, {"q": "ours", "as": "csv"}))
    record = OperationRecord.objects.get(kind="export_instances")
    assert (record.operator.username, record.source) == (VERA, "api")  # type: ignore[union-attr]
    assert record.options["filter"]["q"] == ["ours"]


@pytest.mark.parametrize("wrong", ["as=xml", "fields=password", "state=x", "colour=red"])
def test_wrong_exports(world: SimpleNamespace, api: Api, wrong: str) -> None:
    assert api(VERA).get(f"{EXPORT}?{wrong}").status_code == 400
    assert not OperationRecord.objects.filter(kind="export_instances").exists()
