"""What holds for every page: the overview's figures, and that no page carries a script of its own."""

import datetime as dt
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instances.admin.looks import EXECUTION_LOOKS, OPERATION_LOOKS, STATE_LOOKS, TASK_LOOKS, diagnosis
from instances.engine.states import LABELS, MEANINGS, ExecutionState, State, TaskStatus
from instances.models import OperationRecord, WorkerProcess
from instances.models.operation import ItemOutcome, OperationState
from tests.admin.rows import HOSTILE, make_instance
from tests.factories import SUSAN, VERA
from weops.console.present import between, capped, plain_time, span, stamp

INDEX = reverse("admin:index")


def test_the_overview(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    now = timezone.now()
    make_instance(world.ours.task, State.RUNNING, after=1, planned_time=now)
    make_instance(world.ours.task, State.FAILED, after=2, error_code="LOST", error_message=HOSTILE)
    make_instance(world.ours.task, State.SUCCESS, after=3, planned_time=now + dt.timedelta(days=2))
    make_instance(world.foreign.task, State.RUNNING, after=1, planned_time=now)
    WorkerProcess.objects.create(name="w1", host="h", pid=1, slots=4, busy=2)
    WorkerProcess.objects.create(name="w2", host="h", pid=2, slots=4, seen_at=now - dt.timedelta(seconds=60))
    answer = as_user(VERA).get(INDEX)
    context, text = answer.context, answer.content.decode()
    assert {tile.look.text: tile.number for tile in context["tiles"] if tile.number} == {
        "Running": 1,
        "Failed": 1,
        "Success": 1,
        "Waiting for execution": 1,
    }
    assert [(tile.look.text, tile.number) for tile in context["planned"]] == [("Running", 1)]
    assert [row.name for row in context["running"]] == ["ours_task"]
    assert [row.error_code for row in context["failed"]] == ["LOST"]
    assert (context["workers"]["alive"], context["workers"]["busy"]) == (1, 2)
    assert "foreign_" not in text
    assert HOSTILE not in text


def test_the_overview_costs_the_same_with_many_rows(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(VERA)

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(INDEX)
        return len(captured)

    before = cost()
    for day in range(1, 30):
        make_instance(world.ours.task, State.FAILED if day % 2 else State.RUNNING, after=day)
    # Which way leads to a page of instances depends on how many there are (ADR 0024); no row costs a query.
    assert before <= cost() <= before + 1
    assert before <= 26


def test_no_worker_is_said_loudly(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    assert "No worker is alive" in as_user(VERA).get(INDEX).content.decode()


def _pages(world: SimpleNamespace) -> list[str]:
    ours, record = world.ours, OperationRecord.objects.create(kind="rerun", source="admin")
    rows = {
        "instances_instance": ours.instance,
        "instances_task": ours.task,
        "instances_workflow": ours.workflow,
        "instances_taskversion": ours.version,
        "instances_operationrecord": record,
        "projects_project": ours.project,
        "projects_secret": ours.secret,
        "projects_calendar": ours.calendar,
        "projects_resourcegroup": ours.group,
        "auth_user": world.cast[VERA],
    }
    pages = [reverse(f"admin:{model}_change", args=(row.pk,)) for model, row in rows.items()]
    pages += [reverse(f"admin:{model}_changelist") for model in rows]
    operate = reverse("admin:instances_instance_operate", args=("rerun",))
    return [INDEX, *pages, f"{operate}?ids={ours.instance.pk}", reverse("admin:instances_task_add")]


def test_no_page_has_a_script_of_its_own(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(SUSAN)
    for address in _pages(world):
        answer = client.get(address)
        text = answer.content.decode()
        assert answer.status_code == 200, address
        for script in re.findall(r"<script\b[^>]*>", text):
            assert "src=" in script or 'type="application/json"' in script, f"{address}: {script}"
        assert not re.search(r"<[^>]+\son[a-z]+=", text), f"{address} has an event handler in its HTML"
        assert "javascript:" not in text, address
        policy = answer["Content-Security-Policy"]
        assert re.search(r"script-src 'self'( 'unsafe-eval')?;", policy)


def test_every_state_has_a_look_and_words() -> None:
    assert set(STATE_LOOKS) == {state.value for state in State}
    assert {state: look.text for state, look in STATE_LOOKS.items()} == {
        s.value: t for s, t in LABELS.items()
    }
    assert set(MEANINGS) == set(State)
    assert set(EXECUTION_LOOKS) == {state.value for state in ExecutionState}
    assert set(TASK_LOOKS) == {status.value for status in TaskStatus}
    assert set(OPERATION_LOOKS) == {*OperationState.values, *ItemOutcome.values}
    looks = [(look.tone, look.icon) for look in STATE_LOOKS.values()]
    assert len(set(looks)) == len(looks), "two states must never look the same"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00s"),
        (0.42, "0.42s"),
        (7, "7.00s"),
        (59, "59s"),
        (185, "3m 05s"),
        (7209, "2h 00m 09s"),
        (97200, "1d 03h 00m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert span(dt.timedelta(seconds=seconds)) == text


def test_times_and_counts() -> None:
    moment = dt.datetime(2026, 3, 25, 16, 0, tzinfo=dt.UTC)
    assert plain_time(moment, "Asia/Shanghai") == "2026-03-26 00:00:00"
    assert plain_time(moment, "No/Such_Zone") == "2026-03-25 16:00:00"
    assert plain_time(None) == ""
    assert "2026-03-25 16:00:00 UTC" in stamp(moment, "Asia/Shanghai")
    assert between(None, moment) == ""
    assert between(moment, None, moment + dt.timedelta(seconds=30)) == "30s"
    assert between(moment, moment - dt.timedelta(seconds=5)) == "0.00s", (
        "clocks of two hosts may disagree a little"
    )
    assert (capped(10_001, 10_000), capped(10_000, 10_000)) == ("10,000+", "10,000")


def test_a_diagnosis_names_code_causes_and_advice() -> None:
    text = diagnosis("OUT_OF_MEMORY", "killed")
    assert "OUT_OF_MEMORY" in text
    assert "killed" in text
    assert "Possible cause:" in text
    assert "What to do:" in text
    assert diagnosis("") == ""
    assert "MADE_UP" in diagnosis("MADE_UP")
