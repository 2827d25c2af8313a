"""The page of one instance, its log, and the rule that nothing of it is written by hand."""

import datetime as dt
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instances.engine import logs
from instances.engine.states import State
from instances.models import Instance, LogChunk, OperationItem, OperationRecord, StateChange, WorkerProcess
from tests import factories
from tests.admin.rows import HOSTILE, make_edge, make_execution, make_instance
from tests.factories import OMAR, SUSAN, VERA


def address(instance: Instance) -> str:
    return reverse("admin:instances_instance_change", args=(instance.pk,))


def page(client: Client, instance: Instance, **parameters: Any) -> Any:
    answer = client.get(address(instance), parameters)
    assert answer.status_code == 200
    return answer.context["page"]


def log_address(instance: Instance, execution_id: int, page_name: str = "log") -> str:
    return reverse(f"admin:instances_instance_{page_name}", args=(instance.pk, execution_id))


def test_executions_phases_code_and_parameters(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    task = factories.make_task(
        world.ours.workflow, code="echo ${yyyyMMdd} ${who}", parameters={"who": HOSTILE}
    )
    factories.submit(task)
    instance = make_instance(task, State.SUCCESS, life_round=1)
    first = make_execution(instance, "failed", life_round=0, error_code="EXIT_NONZERO", exit_code=3)
    last = make_execution(instance, "success", parameters={"who": HOSTILE}, worker="w@h", run_type="RERUN")
    client = as_user(VERA)
    shown = page(client, instance)
    assert [row.execution.pk for row in shown.executions] == [last.pk, first.pk]
    assert shown.selected == last
    assert [phase.tone for phase in shown.phases] == ["done", "done", "done"]
    assert [phase.duration for phase in shown.phases] == ["3m 00s", "1m 00s", "5m 00s"]
    assert shown.code == f"echo 20260325 {HOSTILE}"
    text = client.get(address(instance)).content.decode()
    assert HOSTILE not in text
    assert "echo 20260325 &lt;script&gt;" in re.sub(r"</?span[^>]*>", "", text)
    earlier = page(client, instance, execution=first.pk)
    assert earlier.selected == first
    assert [phase.tone for phase in earlier.phases] == ["done", "done", "failed"]
    assert "exit code 3" in client.get(address(instance), {"execution": first.pk}).content.decode()


@pytest.mark.parametrize("execution", ["x", "-1", "999999999", "9" * 40, "1 OR 1"])
def test_an_unknown_execution_shows_the_present_one(
    execution: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    present = make_execution(world.ours.instance)
    assert page(as_user(VERA), world.ours.instance, execution=execution).selected == present


def test_an_execution_of_another_instance_is_not_shown(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    foreign = make_execution(world.foreign.instance)
    client = as_user(VERA)
    assert page(client, world.ours.instance, execution=foreign.pk).selected is None
    for name in ("log", "log_file"):
        assert client.get(log_address(world.ours.instance, foreign.pk, name)).status_code == 404
        assert client.get(log_address(world.foreign.instance, foreign.pk, name)).status_code == 404


def test_code_whose_parameters_are_missing(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    make_execution(world.ours.instance, parameters={"a": "${b}"})
    text = as_user(VERA).get(address(world.ours.instance)).content.decode()
    assert "could not be filled in" in text


def test_parameters_are_shown_as_the_run_got_them(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    written = {"day": "${yyyyMMdd}", "path": "/in/${day}", "mode": "full"}
    make_execution(world.ours.instance, parameters=written)
    day = world.ours.instance.data_time.astimezone(ZoneInfo(world.ours.task.timezone)).strftime("%Y%m%d")
    shown = page(as_user(VERA), world.ours.instance)
    assert shown.parameters == [
        ("day", day, "${yyyyMMdd}"),
        ("mode", "full", ""),
        ("path", f"/in/{day}", "/in/${day}"),
    ]


def test_waiting_without_an_execution(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    upstream = make_instance(factories.make_task(world.ours.workflow, name="slow_parent"), State.RUNNING)
    waiting = make_instance(world.ours.task, State.WAIT_UPSTREAM, after=1, pending_upstream=2)
    make_edge(waiting, upstream)
    make_edge(waiting, factories.make_task(world.ours.workflow, name="late_parent"))
    shown = page(as_user(VERA), waiting)
    assert [phase.tone for phase in shown.phases] == ["active", "", ""]
    assert "waits for upstream slow_parent" in shown.waiting_log
    assert "waits for upstream late_parent" in as_user(VERA).get(address(waiting)).content.decode()
    [answer] = shown.why
    assert answer.title == "It waits for 2 upstream instances in the end."
    assert any("slow_parent" in line and "Running" in line for line in answer.lines)
    assert any("late_parent" in line and "its task is offline" in line for line in answer.lines)


def test_a_rerun_that_waits_shows_the_new_life(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    instance = make_instance(
        world.ours.task, State.WAIT_RUN, after=1, life_round=1, ready_since=timezone.now()
    )
    make_execution(instance, "failed", life_round=0)
    assert [phase.tone for phase in page(as_user(VERA), instance).phases] == ["done", "active", ""]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"not_before": dt.timedelta(hours=2)}, "not due yet"),
        ({"queue": "gated"}, "serial task"),
        ({"group": {"enabled": False}}, "is disabled"),
        ({"workers": 0, "queue": "taken"}, "No live worker serves"),
        ({"queue": "taken"}, "handed to the workers"),
        ({"group": {"slots": 1}}, "is full: 1 of 1 slots"),
        ({}, "It is ready"),
        ({"state": State.FAILED_RETRY}, "the next one starts when"),
        ({"state": State.WAIT_EVENT}, "waits for an event"),
    ],
)
def test_why_it_does_not_run(columns: dict[str, Any], words: str) -> None:
    columns = dict(columns)
    if columns.pop("workers", 1):
        WorkerProcess.objects.create(name="w", host="h", pid=1, slots=4)
    task = factories.make_task(group=factories.make_group(**columns.pop("group", {})))
    make_execution(make_instance(task, State.RUNNING, after=1), "running")
    if "not_before" in columns:
        columns["not_before"] += timezone.now()
    instance = make_instance(task, columns.pop("state", State.WAIT_RUN), **columns)
    client = Client()
    client.force_login(factories.make_user(SUSAN))
    assert words in page(client, instance).why[0].title


def test_lineage(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    instance = make_instance(world.ours.task, State.WAIT_UPSTREAM, after=2)
    parent = make_instance(factories.make_task(world.ours.workflow, name="parent"), State.SUCCESS, after=2)
    removed = make_instance(
        factories.make_task(world.ours.workflow, name="cut_parent"), State.FAILED, after=2
    )
    child = make_instance(
        factories.make_task(world.ours.workflow, name="child"), State.WAIT_UPSTREAM, after=2
    )
    make_edge(instance, parent, satisfied_at=timezone.now())
    make_edge(instance, removed, removed_at=timezone.now(), removed_by=world.cast[OMAR])
    make_edge(instance, world.ours.instance, is_self=True)
    make_edge(instance, world.foreign.instance)
    make_edge(child, instance)
    shown = page(as_user(VERA), instance)
    by_name = {row.name: row for row in shown.upstream}
    assert by_name["parent"].pk == parent.pk
    assert by_name["cut_parent"].edge.removed_by == world.cast[OMAR]
    assert by_name["ours_task"].edge.is_self
    assert [(row.name, row.pk) for row in shown.downstream] == [("child", child.pk)]
    assert (shown.upstream_count, shown.downstream_count) == ("4", "1")
    text = as_user(VERA).get(address(instance)).content.decode()
    assert "foreign_" not in text, "a task of a project that one cannot see has no name here"
    assert "of another project" in text
    assert "Removed by omar" in text
    assert "foreign_task" in as_user(SUSAN).get(address(instance)).content.decode()


def test_history_and_operations(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    instance = world.ours.instance
    record = OperationRecord.objects.create(
        kind="rerun", operator=world.cast[OMAR], source="admin", reason=HOSTILE
    )
    OperationItem.objects.create(
        operation=record, instance_id=instance.pk, from_state="failed", to_state="wait_run", outcome="done"
    )
    StateChange.objects.create(
        instance_id=instance.pk,
        move="rerun",
        from_state="failed",
        to_state="wait_run",
        operation_id=record.pk,
    )
    client = as_user(VERA)
    records = f"{address(instance)}?tab=records"
    for where in (records, reverse("admin:instances_operationrecord_change", args=(record.pk,))):
        text = client.get(where).content.decode()
        assert HOSTILE not in text
        assert "&lt;script&gt;alert" in text
        assert OMAR in text
    assert [row.move for row in page(client, instance).changes] == ["rerun"]


def test_each_tab_is_a_page_of_its_own(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    """Without JavaScript, too: links to addresses, each with its part and none of the others."""
    instance, client = world.ours.instance, as_user(VERA)
    make_execution(instance, "failed")
    heads = {"log": "h-executions", "lineage": "h-lineage", "records": "h-changes", "task": "h-task-code"}
    for tab, head in [*heads.items(), ("nonsense", "h-executions")]:
        text = client.get(address(instance), {"tab": tab, "execution": "7"}).content.decode()
        assert {name for name, one in heads.items() if f'id="{one}"' in text} == {
            name for name, one in heads.items() if one == head
        }
        assert text.count('aria-current="true">') >= 1
        for name in heads:
            assert f'data-tab="{name}" href="?tab={name}&amp;execution=7"' in text
    assert 'id="h-executions"' in client.get(address(instance)).content.decode(), "the log comes first"


def test_the_tab_of_the_task_shows_what_it_is_now(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    task = factories.make_task(
        world.ours.workflow, code="echo now", parameters={"who": HOSTILE}, description=HOSTILE
    )
    version = factories.submit(task)
    answer = as_user(VERA).get(address(make_instance(task)), {"tab": "task"})
    text = answer.content.decode()
    assert HOSTILE not in text
    assert answer.context["page"].definition.version == version
    assert reverse("admin:instances_task_change", args=(task.pk,)) in text
    assert "Task development" in text
    assert len(answer.context["page"].definition.runs) == 5


@pytest.mark.parametrize(("tab", "most"), [("log", 20), ("lineage", 18), ("records", 18), ("task", 20)])
def test_a_page_costs_the_same_with_much_history(
    tab: str, most: int, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, instance = as_user(VERA), make_instance(world.ours.task, State.WAIT_UPSTREAM, after=3)

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(client, instance, tab=tab)
        return len(captured)

    make_edge(instance, world.ours.instance)
    make_execution(instance, "failed", life_round=0)
    before = cost()
    for day in range(4, 30):
        other = make_instance(factories.make_task(world.ours.workflow), State.WAIT_UPSTREAM, after=day)
        make_edge(instance, other)
        make_edge(other, instance)
        make_execution(instance, "failed", life_round=0, try_number=day)
        StateChange.objects.create(
            instance_id=instance.pk, move="fail", from_state="running", to_state="failed"
        )
    assert cost() == before
    assert before <= most


def test_the_log_is_read_on_from_where_it_ended(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    instance = make_instance(world.ours.task, State.RUNNING, after=1)
    execution = make_execution(instance, "running")
    LogChunk.objects.create(execution=execution, seq=0, start=0, text=f"one {HOSTILE}\n")
    client, where = as_user(VERA), log_address(instance, execution.pk)
    first = client.get(where)
    assert first["Content-Type"] == "application/json"
    assert first.json()["text"] == f"one {HOSTILE}\n"
    assert not first.json()["done"]
    LogChunk.objects.create(execution=execution, seq=1, start=first.json()["next"], text="two\n")
    second = client.get(where, {"after": first.json()["next"]}).json()
    assert second["text"] == "two\n"
    type(execution).objects.filter(pk=execution.pk).update(
        state="success", ended_at=timezone.now(), run_ended_at=timezone.now()
    )
    logs.seal(execution.pk)
    third = client.get(where, {"after": second["next"]}).json()
    assert (third["text"], third["done"]) == ("", True)


def test_the_last_lines_may_come_after_the_end(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    execution = make_execution(world.ours.instance)
    client, where = as_user(VERA), log_address(world.ours.instance, execution.pk)
    assert not client.get(where).json()["done"]
    type(execution).objects.filter(pk=execution.pk).update(ended_at=timezone.now() - dt.timedelta(minutes=1))
    assert client.get(where).json()["done"]


@pytest.mark.parametrize("after", ["-1", "x", "1e9", "9" * 30])
def test_a_broken_cursor_is_refused(
    after: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    execution = make_execution(world.ours.instance)
    assert (
        as_user(VERA).get(log_address(world.ours.instance, execution.pk), {"after": after}).status_code == 400
    )


def test_the_downloaded_log_is_plain_text(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    execution = make_execution(world.ours.instance)
    LogChunk.objects.create(execution=execution, seq=0, start=0, text=f"{HOSTILE} ä\n")
    answer = as_user(VERA).get(log_address(world.ours.instance, execution.pk, "log_file"))
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"].startswith("attachment;")
    assert answer.getvalue().decode() == f"{HOSTILE} ä\n"


def test_a_sealed_log_that_was_lost(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    execution = make_execution(world.ours.instance, log_file="0/000/gone.log.gz", log_bytes=5)
    for name in ("log", "log_file"):
        answer = as_user(VERA).get(log_address(world.ours.instance, execution.pk, name))
        assert answer.status_code == 503
        assert "cannot be read" in answer.content.decode()


def test_nothing_is_written_by_hand(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client, instance = as_user(SUSAN), world.ours.instance
    assert client.post(address(instance), {"state": "success"}).status_code == 405
    assert client.get(reverse("admin:instances_instance_add")).status_code == 403
    assert (
        client.post(
            reverse("admin:instances_instance_delete", args=(instance.pk,)), {"post": "yes"}
        ).status_code
        == 403
    )
    listed = reverse("admin:instances_instance_changelist")
    client.post(listed, {"action": "delete_selected", "_selected_action": instance.pk, "post": "yes"})
    assert Instance.objects.get(pk=instance.pk).state == State.WAIT_RUN


@pytest.mark.parametrize("number", ["0", "999999999999999999999", "abc"])
def test_no_such_instance(number: str, as_user: Callable[[str], Client]) -> None:
    assert as_user(SUSAN).get(f"/admin/instances/instance/{number}/change/").status_code == 404
