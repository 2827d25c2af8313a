"""The page of test runs: what the form of the task sends is run as it stands, and nothing of it is saved."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from instances import definitions
from instances.models import Instance, OperationRecord, Task
from tests.admin.test_task_pages import form_of
from tests.factories import CAST, DANA, EVE, OMAR, PETRA, SUSAN, VERA

AUTHORS = {DANA, PETRA, SUSAN}
HOSTILE = "<script>alert(1)</script>"


EDITED: dict[str, Any] = {
    "task_type": "SHELL",
    "code": "true",
    "settings": {},
    "parameters": {},
    "outputs": [],
}


def page(task: Task, query: str = "") -> str:
    return reverse("admin:instances_task_test", args=(task.pk,)) + query


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def as_shown(answer: Any, **fields: str) -> dict[str, str]:
    """What a browser would send from the page, unchanged but for `fields`."""
    form = answer.context["form"]
    sent: dict[str, str] = {}
    for bound in form:
        value = str(bound.value() or "")
        sent[bound.html_name] = value
        if bound.field.show_hidden_initial:
            sent[bound.html_initial_name] = value
    return {**sent, **fields}


def trials() -> list[Instance]:
    return list(Instance.objects.filter(instance_type="test").order_by("id"))


def test_what_stands_in_the_form_is_run_and_not_saved(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, task = as_user(DANA), world.ours.task
    before = definitions.snapshot(task)
    sent = form_of(
        world,
        name="",
        code=f"echo '{HOSTILE}'\r\necho ${{region}}",
        parameters='{"region": "EWR"}',
        cycle_type="x",
    )
    shown = client.post(page(task), sent)
    assert not trials(), "the form is only looked at"
    assert HOSTILE not in text_of(shown)
    assert [(one.label, one.value()) for one in shown.context["form"].parameter_fields] == [("region", "EWR")]
    answer = client.post(
        page(task),
        as_shown(shown, data_time="2026-03-25 08:00:00", parameter_0="JFK", reason="does it work?"),
    )
    [instance] = trials()
    assert answer.headers["Location"] == page(task, f"?run={instance.pk}")
    assert instance.version is not None
    assert instance.version.code == f"echo '{HOSTILE}'\necho ${{region}}", "with line ends of shells"
    assert instance.overrides == {"region": "JFK"}
    assert f"{instance.data_time:%Y-%m-%d %H:%M}" == "2026-03-25 08:00"
    record = OperationRecord.objects.get(kind="test_task")
    assert (record.operator, record.source, record.reason) == (world.cast[DANA], "admin", "does it work?")
    task.refresh_from_db()
    assert definitions.snapshot(task) == before


def test_its_page_has_the_log_and_offers_the_same_once_more(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, task = as_user(DANA), world.ours.task
    shown = client.post(page(task), form_of(world, code="echo again", parameters='{"region": "EWR"}'))
    client.post(page(task), as_shown(shown, parameter_0="JFK"))
    [instance] = trials()
    shown = client.get(page(task, f"?run={instance.pk}"))
    assert reverse(
        "admin:instances_instance_log_live", args=(instance.pk, instance.executions.get().pk)
    ) in text_of(shown)
    client.post(page(task), as_shown(shown))
    again = trials()[1]
    assert again.version is not None
    assert (again.version.code, again.overrides) == ("echo again", {"region": "JFK"})
    assert len(shown.context["latest"]) == 1


def test_a_submitted_version_is_tested(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client, task = as_user(DANA), world.ours.task
    Task.objects.filter(pk=task.pk).update(code="echo draft")
    shown = client.get(page(task, "?version=1"))
    assert "Code of version 1" in text_of(shown)
    client.post(page(task), as_shown(shown))
    [instance] = trials()
    assert instance.version == world.ours.version
    shown = client.get(reverse("admin:instances_taskversion_change", args=(world.ours.version.pk,)))
    assert page(task, "?version=1") in text_of(shown)


def test_mistakes_are_shown_and_nothing_can_be_started(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, task = as_user(DANA), world.ours.task
    shown = client.post(page(task), form_of(world, code="if", parameters="{broken"))
    assert "syntax error" in text_of(shown)
    assert "Start the test run" not in text_of(shown)
    shown = client.get(page(task))
    refused = client.post(page(task), as_shown(shown, data_time="yesterday"))
    assert "Write it as 2026-03-25 08:00:00" in text_of(refused)
    assert not trials()


@pytest.mark.parametrize(
    "sent",
    [
        "x",
        "[]",
        "{}",
        '{"task_type": 1}',
        "[" * 5000,
        json.dumps(EDITED | {"code": "\0"}),
        json.dumps(EDITED | {"code": "\ud800"}),
        json.dumps(EDITED | {"parameters": {"a": 1}}),
        json.dumps(EDITED | {"parameters": {"a": None}}),
        json.dumps(EDITED | {"parameters": {"\ud800": "x"}}),
        json.dumps(EDITED | {"settings": {"a": [{"b": "\0"}]}}),
        json.dumps(EDITED | {"outputs": ["\udfff"]}),
    ],
)
def test_what_no_form_sends_is_refused(
    sent: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    answer = as_user(DANA).post(page(world.ours.task), {"edited": sent, "data_time": "2026-03-25 08:00:00"})
    assert "cannot be read" in text_of(answer)
    assert not trials()


def test_runs_of_other_tasks_are_not_found(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    for query in (f"?run={world.ours.instance.pk}", "?run=x", "?run=99999999999999999999", "?version=9"):
        assert client.get(page(world.ours.task, query)).status_code == 404


@pytest.mark.parametrize("name", CAST)
def test_who_may(name: str, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client, task = as_user(name), world.ours.task
    may, refused = name in AUTHORS, 404 if name == EVE else 403
    assert client.get(page(task)).status_code == (200 if may else refused)
    assert client.get(page(world.foreign.task)).status_code == (200 if name == SUSAN else 404)
    sent = {"version": "1", "data_time": "2026-03-25 08:00:00", "reason": ""}
    assert client.post(page(task), sent).status_code == (302 if may else refused)
    assert len(trials()) == may
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.cast[name])
    assert strict.post(page(task), sent).status_code == 403
    if name in (VERA, OMAR):
        shown = client.get(reverse("admin:instances_task_change", args=(task.pk,)))
        assert "Test run" not in text_of(shown)


def test_lists_have_it_only_when_asked_and_marked(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, task = as_user(DANA), world.ours.task
    client.post(page(task), as_shown(client.get(page(task))))
    [instance] = trials()
    address = reverse("admin:instances_instance_changelist")

    def listed(query: str) -> list[int]:
        return [one.pk for one in client.get(address + query).context["cl"].result_list]

    for query in ("", "?inner=all", "?inner=only"):
        assert instance.pk not in listed(query)
    assert listed("?type=test") == [instance.pk]
    assert "test run" in text_of(client.get(address + "?type=test"))
    shown = client.get(reverse("admin:instances_instance_change", args=(instance.pk,)))
    assert "Test run" in text_of(shown)
    assert "as it was edited" in text_of(shown)
    for kind in ("rerun", "mark_success"):
        [button] = [one for one in shown.context["page"].buttons if one.kind.kind == kind]
        assert "is a test run" in button.why_not


def test_a_page_of_test_runs_costs_the_same_queries(
    world: SimpleNamespace, as_user: Callable[[str], Client], django_assert_max_num_queries: Any
) -> None:
    client, task = as_user(DANA), world.ours.task
    for _ in range(4):
        client.post(page(task), as_shown(client.get(page(task))))
    run = trials()[0]
    with django_assert_max_num_queries(20):
        client.get(page(task, f"?run={run.pk}"))
