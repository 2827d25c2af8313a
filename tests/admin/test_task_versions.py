"""The pages of a task's versions, and code in colours."""

import html
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instances.models import OperationRecord, Task
from tests import factories
from tests.admin.rows import make_execution
from tests.factories import CAST, DANA, EVE, PETRA, SUSAN, VERA

MEMBERS = set(CAST) - {EVE}
AUTHORS = {DANA, PETRA, SUSAN}
HOSTILE = "<script>alert(1)</script>"


def page(task: Task, query: str = "") -> str:
    return reverse("admin:instances_task_versions", args=(task.pk,)) + query


def restoring(task: Task, number: int = 1) -> str:
    return reverse("admin:instances_task_restore", args=(task.pk, number))


def text_of(answer: Any) -> str:
    """What the page says, without tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", answer.content.decode()))


@pytest.fixture
def task(world: SimpleNamespace) -> Task:
    """Ours, with a second version."""
    task: Task = world.ours.task
    Task.objects.filter(pk=task.pk).update(code=f"echo 'two {HOSTILE}'", retry_limit=7)
    task.refresh_from_db()
    factories.submit(task, note=HOSTILE)
    return task


def test_the_list_says_who_when_what(task: Task, as_user: Callable[[str], Client]) -> None:
    answer = as_user(VERA).get(page(task))
    rows = answer.context["rows"]
    assert [(row["version"].number, row["current"], row["words"]) for row in rows] == [
        (2, True, "code, retry limit"),
        (1, False, "the first"),
    ]
    text = text_of(answer)
    assert "From version 1 to version 2" in text, "the newest change is shown at once"
    assert f"+echo 'two {HOSTILE}'" in text
    assert "−echo ${yyyyMMdd}" in text
    assert HOSTILE not in answer.content.decode()
    assert "Restore version" not in answer.content.decode(), "who may only look is offered nothing"


def test_any_two_are_compared_with_what_is_saved_too(task: Task, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    assert "From version 2 to version 1" in text_of(client.get(page(task, "?old=2&new=1")))
    assert "They do not differ" in text_of(client.get(page(task, "?old=2&new=2")))
    Task.objects.filter(pk=task.pk).update(code="echo draft")
    answer = client.get(page(task))
    assert "From version 2 to saved now" in text_of(answer)
    assert "+echo draft" in text_of(answer)
    assert "saved, not submitted" in text_of(answer)


@pytest.mark.parametrize(
    "query", ["?old=1", "?old=1&new=9", "?old=x&new=1", "?old=1&new=%00", "?new=99999999999999999999&old=1"]
)
def test_what_is_no_version_is_not_found(query: str, task: Task, as_user: Callable[[str], Client]) -> None:
    assert as_user(DANA).get(page(task, query)).status_code == 404


def test_the_list_is_read_in_pages_with_the_same_queries(
    task: Task, as_user: Callable[[str], Client]
) -> None:
    client = as_user(DANA)
    client.get(page(task))
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get(page(task))
    for number in range(25):
        Task.objects.filter(pk=task.pk).update(code=f"echo {number}")
        task.refresh_from_db()
        factories.submit(task)
    with CaptureQueriesContext(connection) as many:
        answer = client.get(page(task))
    assert len(many) == len(few)
    assert len(answer.context["rows"]) == 20
    older = client.get(page(task, f"?before={answer.context['earlier']}"))
    assert [row["version"].number for row in older.context["rows"]] == list(range(7, 0, -1))


@pytest.mark.parametrize("name", CAST)
def test_who_sees_versions_and_who_restores(
    name: str, task: Task, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(name)
    assert client.get(page(task)).status_code == (200 if name in MEMBERS else 404)
    assert client.get(page(world.foreign.task)).status_code == (200 if name == SUSAN else 404)
    refused = 404 if name == EVE else 403
    assert client.get(restoring(task)).status_code == (200 if name in AUTHORS else refused)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.cast[name])
    assert strict.post(restoring(task)).status_code == 403
    assert client.post(restoring(task)).status_code == (302 if name in AUTHORS else refused)
    task.refresh_from_db()
    assert (task.code == "echo ${yyyyMMdd}") == (name in AUTHORS)


def test_restoring_shows_what_it_changes_and_is_on_record(
    task: Task, as_user: Callable[[str], Client]
) -> None:
    client = as_user(DANA)
    shown = client.get(restoring(task))
    assert "+echo ${yyyyMMdd}" in text_of(shown)
    answer = client.post(restoring(task), {"reason": "two was wrong"}, follow=True)
    assert "is again as version 1 was: version 3 is scheduled" in text_of(answer)
    record = OperationRecord.objects.get(kind="restore_task_version")
    assert record.reason == "two was wrong"
    shown = client.get(reverse("admin:instances_operationrecord_change", args=(record.pk,)))
    assert "Restore task version" in text_of(shown)


def test_a_refusal_is_shown(task: Task, as_user: Callable[[str], Client]) -> None:
    answer = as_user(DANA).post(restoring(task, 2), {"reason": ""})
    assert "Version 2 is what ours_task is already" in text_of(answer)
    assert not OperationRecord.objects.filter(kind="restore_task_version").exists()


def test_the_page_of_a_version_hides_what_must_not_be_seen(
    task: Task, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    task.secrets.add(factories.make_secret(world.ours.project, "TOKEN", "hunter2hunter2"))
    factories.depend(task, world.foreign.task)
    Task.objects.filter(pk=task.pk).update(code="curl -H hunter2hunter2 x")
    task.refresh_from_db()
    version = factories.submit(task)
    answer = as_user(VERA).get(reverse("admin:instances_taskversion_change", args=(version.pk,)))
    assert "hunter2hunter2" not in answer.content.decode()
    assert "foreign_task" not in answer.content.decode()
    assert "TOKEN" in text_of(answer)


def test_an_execution_leads_to_the_version_that_it_ran_with(
    task: Task, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    execution = make_execution(world.ours.instance, version=world.ours.version, state="success")
    answer = as_user(VERA).get(
        reverse("admin:instances_instance_change", args=(world.ours.instance.pk,))
        + f"?execution={execution.pk}"
    )
    version = reverse("admin:instances_taskversion_change", args=(world.ours.version.pk,))
    assert f'href="{version}">version 1</a>' in answer.content.decode()
    assert 'class="hl-nb">echo</span>' in answer.content.decode(), "what was executed has colours"
