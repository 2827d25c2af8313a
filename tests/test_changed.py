"""What changed since the last success: which run it is compared with, and what is told of the differences."""

import datetime as dt
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instances.engine import logs
from instances.engine.states import State
from instances.insight import changed
from instances.insight.text_diff import diff, first_difference, normal
from instances.models import Edge, Execution, LogChunk, OperationItem, OperationRecord
from tests import factories
from tests.admin.rows import HOSTILE, make_edge, make_execution, make_instance
from tests.factories import EVE, OMAR, VERA

SECRET = "a very secret value"


class TestTexts:
    def test_a_diff_shows_what_is_around_a_change(self) -> None:
        old = [f"line {n}" for n in range(1, 21)]
        new = [*old[:9], "line ten", *old[10:]]
        rows = diff("\n".join(old), "\n".join(new))
        assert [(row.kind, row.text) for row in rows] == [
            ("skipped", "6 lines are the same"),
            *[("same", f"line {n}") for n in (7, 8, 9)],
            ("removed", "line 10"),
            ("added", "line ten"),
            *[("same", f"line {n}") for n in (11, 12, 13)],
            ("skipped", "7 lines are the same"),
        ]
        assert (rows[4].old, rows[4].new, rows[5].old, rows[5].new) == (10, None, None, 10)
        assert diff("a", "a") == []
        assert diff("a\n", "a")[0].text == "only line ends differ"

    @pytest.mark.parametrize(
        ("one", "two"),
        [
            ("2026-03-25 00:00:01,123 INFO read", "2026-03-26 10:11:12,9 INFO read"),
            ("2026-03-25T00:00:01Z read", "2026-03-26T00:00:01Z read"),
            ("read 1,234 rows in 1.5 s", "read 7 rows in 12 ms"),
            ("job 0f8fad5b-d9cb-469f-a165-70867728950e", "job 7c9e6679-7425-40de-944b-e07fc1f90ae7"),
            ("commit 1a2b3c4d5e", "commit ffee001122"),
            ("wrote /tmp/weops/run1/out.csv", "wrote /tmp/weops/run22/x/out.csv"),
            ("at 0x7f00aa", "at 0x7f11bb"),
            ("\x1b[32mok\x1b[0m", "ok"),
            ("10%\r50%\r100%", "90%"),
        ],
    )
    def test_what_differs_between_any_two_runs_is_left_aside(self, one: str, two: str) -> None:
        assert normal(one) == normal(two)

    def test_words_are_not_left_aside(self) -> None:
        assert normal("table flights") != normal("table weather")

    def test_where_logs_part(self) -> None:
        old = ["[weops] on w1", "read 10 rows", "", "write 10 rows", "done"]
        new = ["[weops] on w2", "read 12 rows", "ERROR no such column", "stop"]
        found = first_difference(old, new)
        assert found is not None
        assert (found.old_at, found.new_at) == (4, 3)
        assert found.new == [(2, "read 12 rows"), (3, "ERROR no such column"), (4, "stop")]
        assert first_difference(old, [*old[:4]]) is not None
        assert first_difference(old, [*old[:4]]).new_at is None  # type: ignore[union-attr]
        assert first_difference(old, ["[weops] else", "read 3 rows", "write 4 rows", "done"]) is None


@pytest.fixture
def scene(db: None, settings: Any) -> SimpleNamespace:
    """A task that succeeded for the 24th and failed for the 25th; between them a new version."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    project = factories.make_project()
    cast = factories.make_cast(project)
    workflow = factories.make_workflow(project)
    task = factories.make_task(
        workflow, code=f"echo ${{who}}\necho {SECRET}\nexit 0", parameters={"who": "all"}
    )
    task.secrets.add(factories.make_secret(project, "TOKEN", SECRET))
    first = factories.submit(task)
    good = make_instance(task, State.SUCCESS, after=0)
    before = make_execution(
        good, "success", version=first, parameters={"who": "all"}, worker="w1@a", exit_code=0
    )
    task.code = f"echo ${{who}}\necho {SECRET}\nexit 3"
    task.retry_limit = 3
    task.save()
    second = factories.submit(task, note="stricter")
    bad = make_instance(task, State.FAILED, after=1)
    after = make_execution(
        bad,
        "failed",
        version=second,
        parameters={"who": f"some {HOSTILE}"},
        worker="w2@b",
        exit_code=3,
        error_code="EXIT_NONZERO",
    )
    return SimpleNamespace(
        project=project,
        cast=cast,
        task=task,
        good=good,
        before=before,
        bad=bad,
        after=after,
        workflow=workflow,
    )


def compared(scene: SimpleNamespace, name: str = VERA, execution: Execution | None = None) -> changed.Changes:
    one = execution or scene.after
    loaded = changed.of_failed(one.pk, one.instance)
    assert loaded is not None
    return changed.compare(loaded, scene.cast[name])


def put_log(execution: Execution, text: str) -> None:
    LogChunk.objects.create(execution=execution, seq=0, start=0, text=text)
    Execution.objects.filter(pk=execution.pk).update(log_bytes=len(text))
    logs.seal(execution.pk)


def by_name(values: list[Any]) -> dict[str, tuple[Any, Any]]:
    return {one.name: (one.before, one.after) for one in values if one.changed}


def test_code_version_parameters_and_surroundings(scene: SimpleNamespace) -> None:
    found = compared(scene)
    assert found.baseline == scene.before
    assert found.which == "earlier_data_time"
    assert [(row.kind, row.text) for row in found.code] == [
        ("same", "echo ${who}"),
        ("same", "echo ***"),
        ("removed", "exit 0"),
        ("added", "exit 3"),
    ]
    assert by_name(found.versions)["version"] == ("1", "2")
    assert by_name(found.versions)["note"] == ("", "stricter")
    assert by_name(found.definition)["retry_limit"] == ("0", "3")
    assert by_name(found.parameters) == {"who": ("all", f"some {HOSTILE}")}
    around = by_name(found.surroundings)
    assert around["worker"] == ("w1@a", "w2@b")
    assert around["exit code"] == ("0", "3")


@pytest.mark.parametrize(
    ("then", "now", "differs"),
    [
        ("worker1@a-3fa9c2", "worker1@a-0b1c2d", False),
        ("worker1@a-3fa9c2", "worker2@a-0b1c2d", False),
        ("worker1@a-3fa9c2", "worker1@b-3fa9c2", True),
    ],
)
def test_a_worker_of_the_same_host_is_no_change(
    scene: SimpleNamespace, then: str, now: str, differs: bool
) -> None:
    """The end of a worker's name is another after each start."""
    Execution.objects.filter(pk=scene.before.pk).update(worker=then)
    Execution.objects.filter(pk=scene.after.pk).update(worker=now)
    found = compared(scene)
    assert dict(found.summary)["worker"] is differs
    around = {one.name: one for one in found.surroundings}
    assert around["host"].changed is differs
    assert around["worker"].after == now.rpartition("-")[0]


def test_an_earlier_success_of_the_same_instance_comes_first(scene: SimpleNamespace) -> None:
    same = make_execution(scene.bad, "success", life_round=0, try_number=1, version=scene.before.version)
    again = make_execution(scene.bad, "failed", life_round=1, version=scene.before.version)
    found = compared(scene, execution=again)
    assert (found.baseline, found.which) == (same, "same_instance")
    assert found.code == []


def test_dry_runs_later_data_times_and_other_tasks_do_not_count(scene: SimpleNamespace) -> None:
    other = make_instance(factories.make_task(scene.workflow), State.SUCCESS, after=1)
    make_execution(other, "success")
    make_execution(make_instance(scene.task, State.SUCCESS, after=2), "success")
    Execution.objects.filter(pk=scene.before.pk).update(dry_run=True)
    found = compared(scene)
    assert found.baseline is None
    assert changed.as_json(found) == {"execution_id": scene.after.pk, "baseline": None}


def test_upstream_instances_and_what_was_done_to_them(scene: SimpleNamespace) -> None:
    parent = factories.make_task(scene.workflow, name="parent")
    foreign = make_instance(factories.make_task(name="foreign_parent"), State.SUCCESS, after=1)
    then = make_instance(parent, State.SUCCESS, after=0)
    now = make_instance(parent, State.SUCCESS, after=1, life_round=2)
    make_edge(scene.good, then, satisfied_at=timezone.now())
    make_edge(scene.bad, now, satisfied_at=timezone.now())
    make_edge(scene.bad, foreign, satisfied_at=timezone.now())
    record = OperationRecord.objects.create(
        kind="rerun", operator=scene.cast[OMAR], operator_name=OMAR, source="admin"
    )
    OperationItem.objects.create(operation=record, instance_id=now.pk, outcome="done")
    found = compared(scene)
    by_text = {one.name.split(",")[0]: one for one in found.upstream}
    assert (by_text["parent"].before, by_text["parent"].after) == ("success", "success, rerun 2 times")
    hidden = by_text[f"task #{foreign.task_id} of another project"]
    assert (hidden.before, hidden.after, hidden.pk) == ("not waited for", "success", None)
    assert [(one.kind, one.operator, one.on, one.outcome) for one in found.operations] == [
        ("rerun", OMAR, "parent", "done")
    ]
    assert Edge.objects.count() == 3


def test_where_the_logs_part(scene: SimpleNamespace) -> None:
    put_log(scene.before, "2026-03-24 00:00:01 read 10 rows\nwrote 10 rows\n")
    put_log(scene.after, "2026-03-25 00:00:01 read 12 rows\nno such column\n")
    found = compared(scene)
    assert found.log is not None
    assert (found.log.old_at, found.log.new_at) == (2, 2)
    assert ("log", True) in found.summary
    Execution.objects.filter(pk=scene.before.pk).update(log_file="0/000/gone.log.gz")
    assert "cannot be read" in compared(scene).log_problem


def test_the_page_its_cost_and_who_sees_it(scene: SimpleNamespace) -> None:
    put_log(scene.before, "one\n")
    put_log(scene.after, f"{HOSTILE}\n")
    address = reverse("admin:instances_instance_changed", args=(scene.bad.pk, scene.after.pk))
    client = Client()
    client.force_login(scene.cast[VERA])

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address).status_code == 200
        return len(captured)

    text = client.get(address).content.decode()
    assert HOSTILE not in text
    assert SECRET not in text
    assert "&lt;script&gt;" in text
    assert "exit 3" in text
    few = cost()
    for day in range(3, 23):
        parent = make_instance(factories.make_task(scene.workflow), State.SUCCESS, after=day)
        make_execution(parent, "success")
        make_edge(scene.bad, parent)
        make_edge(scene.good, parent)
    assert cost() == few
    client.force_login(scene.cast[EVE])
    assert client.get(address).status_code in (403, 404)
    client.force_login(scene.cast[VERA])
    wrong = reverse("admin:instances_instance_changed", args=(scene.good.pk, scene.after.pk))
    assert client.get(wrong).status_code == 404


def test_plain_values_for_the_api(scene: SimpleNamespace) -> None:
    found = changed.as_json(compared(scene))
    json.dumps(found)
    assert found["baseline"]["which"] == "earlier_data_time"
    assert "code" in found["changed"]
    assert SECRET not in json.dumps(found)
    assert isinstance(dt.datetime.fromisoformat(found["baseline"]["data_time"]), dt.datetime)


def test_a_failed_execution_leads_to_it(scene: SimpleNamespace) -> None:
    client = Client()
    client.force_login(scene.cast[VERA])
    text = client.get(reverse("admin:instances_instance_change", args=(scene.bad.pk,))).content.decode()
    assert reverse("admin:instances_instance_changed", args=(scene.bad.pk, scene.after.pk)) in text


def test_a_diff_of_lines_that_come_again_and_again_costs_little() -> None:
    before, after = "\n".join(["a", "b"] * 1500), "\n".join(["a", "c", "b"] * 1000)
    began = time.process_time()
    assert any(row.kind == "added" and row.text == "c" for row in diff(before, after))
    assert time.process_time() - began < 5, "the web process answers nobody meanwhile"
