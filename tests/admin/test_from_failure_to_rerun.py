"""From a failed instance to its log, its code, its rerun and what became of that: what each page leads to."""

import datetime as dt
import html
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instances.engine.diagnosis import diagnose, line_of_code
from instances.engine.states import InstanceType, State
from instances.models import Instance
from tests import factories
from tests.admin.rows import make_execution, make_instance
from tests.admin.test_records import make_record
from tests.admin.test_task_pages import change, form_of
from tests.factories import DANA, OMAR, SUSAN, VERA

TRACEBACK = 'Traceback (most recent call last):\n  File "/x/task.py", line 7, in <module>\nValueError: no'
LINE = "ValueError: no (line 7 of the code; exit code 1)"
OPERATE = reverse("admin:instances_instance_operate", args=("rerun",))


def failed(world: SimpleNamespace, after: int = 1, **columns: Any) -> Instance:
    told = {"error_code": "PYTHON_EXCEPTION", "error_message": LINE, **columns}
    one = make_instance(world.ours.task, State.FAILED, after=after, **told)
    make_execution(one, "failed", error_code="PYTHON_EXCEPTION", error_message=LINE)
    return one


def of_instance(client: Client, instance: Instance, **parameters: Any) -> str:
    address = reverse("admin:instances_instance_change", args=(instance.pk,))
    return client.get(address, parameters).content.decode()


def test_the_line_that_a_diagnosis_names_is_found_in_it() -> None:
    assert line_of_code(diagnose("PYTHON", "EXIT_NONZERO", "exit code 1", TRACEBACK).line) == 7
    assert line_of_code("ValueError: no (exit code 1)") is None


def test_a_failure_leads_to_its_log_and_to_the_line_of_its_code(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    one = failed(world)
    text = of_instance(as_user(DANA), one)
    assert f'href="{change(world.ours.task)}#code-7"' in text
    assert "Edit the code at line 7" in text
    assert 'href="#h-log"' in text
    assert 'href="?tab=log#h-log"' in of_instance(as_user(DANA), one, tab="task")


def test_a_line_is_not_promised_of_code_that_has_changed_since(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    one = failed(world)
    world.ours.task.code = "echo other"
    world.ours.task.save(update_fields=["code"])
    factories.submit(world.ours.task)
    text = of_instance(as_user(DANA), one)
    assert f'href="{change(world.ours.task)}#code"' in text
    assert "at line 7" not in text


def test_who_may_not_edit_is_not_sent_to_the_code(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    one = failed(world)
    for name in (VERA, OMAR):
        text = of_instance(as_user(name), one)
        assert "Edit the code" not in text
        assert "Read the log" in text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_submit_offers_to_rerun_what_had_failed(
    world: SimpleNamespace, as_user: Callable[[str], Client], count: int
) -> None:
    found = [failed(world, after=day + 1) for day in range(count)]
    # A test run, which no list shows; it is its own place.
    test = failed(world, after=9, instance_type=InstanceType.TEST)
    Instance.objects.filter(pk=test.pk).update(for_each_id=test.pk, traversal="t")
    sent = form_of(world, name="ours_task", code="echo mended", folder=world.ours.folder.pk)
    text = html.unescape(as_user(DANA).post(change(world.ours.task), sent, follow=True).content.decode())
    assert "Submitted: version 2 is scheduled." in text
    offers = {
        0: "",
        1: f"{OPERATE}?ids={found[0].pk}" if found else "",
        3: f"{OPERATE}?all=1&query=q%3D%2523",
    }
    assert (OPERATE in text) == bool(count)
    assert offers[count] in text
    if count < 3:
        return
    address = text.split(f'href="{OPERATE}')[1].split('"')[0]
    choice = as_user(DANA).get(OPERATE + address).context["choice"]
    assert set(choice.rows) == set(found)


def test_a_rerun_names_the_data_time_in_the_zone_of_the_task(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    world.ours.task.timezone = "Asia/Shanghai"
    world.ours.task.save(update_fields=["timezone"])
    one = failed(world)
    text = as_user(OMAR).get(OPERATE, {"ids": one.pk}).content.decode()
    assert "2026-03-26 08:00:00" in text
    assert "Asia/Shanghai" in text


def test_a_page_is_headed_by_the_name_as_it_was_written(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, one = as_user(DANA), failed(world)
    pages = {
        OPERATE + f"?ids={one.pk}": "ours_task 2026-03-26 00:00:00",
        reverse("admin:instances_instance_lineage", args=(one.pk,)): "ours_task 2026-03-26 00:00:00",
        change(world.ours.task): "ours_task",
    }
    for address, name in pages.items():
        head = client.get(address).content.decode().split("<h1>")[1].split("</h1>")[0]
        assert f'class="wo-crumb">{name}</a>' in head, address
        assert "Ours_task" not in head


def test_a_record_tells_how_its_instances_stand_now(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    one, other = failed(world, after=1), failed(world, after=2)
    record = make_record([one, other])
    Instance.objects.filter(pk=one.pk).update(state=State.SUCCESS, error_code="")
    address = reverse("admin:instances_operationrecord_change", args=(record.pk,))

    def outcomes() -> Any:
        return as_user(OMAR).get(address).context["page"].outcomes

    assert [("Success" in line.now, "Failed" in line.now) for line in outcomes().lines] == [
        (True, False),
        (False, True),
    ]
    assert not outcomes().live
    Instance.objects.filter(pk=other.pk).update(state=State.RUNNING, start_time=timezone.now(), end_time=None)
    assert outcomes().live
    refused = make_record([other], outcome="refused")
    address = reverse("admin:instances_operationrecord_change", args=(refused.pk,))
    assert not outcomes().live, "what was refused goes on for other reasons"


def test_the_grid_names_the_years_of_its_columns(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    make_instance(world.ours.task, State.SUCCESS, data_time=dt.datetime(2013, 1, 31, tzinfo=dt.UTC))
    text = as_user(VERA).get(reverse("admin:instances_instance_grid")).content.decode()
    assert "2013-01-31 – 2026-03-25" in text


def test_a_download_says_whose_midnight_is_meant(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(VERA)
    text = client.get(reverse("admin:instances_instance_changelist")).content.decode()
    assert "before 00:00 today, UTC" in text


@pytest.mark.parametrize("model", ["task", "taskversion"])
def test_lists_do_not_read_code(world: SimpleNamespace, as_user: Callable[[str], Client], model: str) -> None:
    client = as_user(SUSAN)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(reverse(f"admin:instances_{model}_changelist"))
    assert answer.status_code == 200
    rows = [one["sql"] for one in queries if f'FROM "instances_{model}"' in one["sql"]]
    assert rows
    for column in ('"code"', '"definition"'):
        assert not any(column in one for one in rows)
