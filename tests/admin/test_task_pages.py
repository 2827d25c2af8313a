"""Defining tasks by hand: submitting, drafts, what is refused and where it says so, pausing and resuming."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instances.definition_rules import MOST_CODE
from instances.engine.states import TaskStatus
from instances.models import Dependency, OperationRecord, Task, TaskVersion
from instances.runners import registry
from tests import factories
from tests.factories import DANA, OMAR, PETRA, SUSAN, VERA
from weops.projects.models import Folder

ADD = reverse("admin:instances_task_add")


def form_of(world: SimpleNamespace, *upstreams: tuple[Task, str], **fields: Any) -> dict[str, Any]:
    """What a browser sends for a task of ours; `upstreams` are rows of the table of dependencies."""
    rows: dict[str, Any] = {"dependencies-TOTAL_FORMS": len(upstreams), "dependencies-INITIAL_FORMS": 0}
    for name in ("listeners", "emitters"):
        rows |= {f"{name}-TOTAL_FORMS": 0, f"{name}-INITIAL_FORMS": 0}
    for index, (upstream, scope) in enumerate(upstreams):
        rows |= {f"dependencies-{index}-upstream": upstream.pk, f"dependencies-{index}-scope": scope}
    return {
        "name": "made_by_hand",
        "workflow": world.ours.workflow.pk,
        "resource_group": world.ours.group.pk,
        "task_type": "SHELL",
        "code": "echo ${yyyyMMdd}",
        "parameters": "{}",
        "cycle_type": "DAY",
        "timezone": "Asia/Shanghai",
        "at": "02:30",
        "step": "1",
        "generation": "T_PLUS_0",
        "catch_up": "all",
        "priority": "2",
        "self_dependency": "serial",
        "trigger_policy": "ALL_SUCCESS",
        "upstream_failure": "wait",
        "allow_downstream": "on",
        "rerun_allowed": "ALL",
        "retry_limit": "5",
        "retry_wait": "00:05:00",
        **rows,
        "_save": "1",
        **fields,
    }


def change(task: Task) -> str:
    return reverse("admin:instances_task_change", args=(task.pk,))


def refused(answer: Any) -> str:
    """The page again, with what is wrong; nothing was saved."""
    assert answer.status_code == 200, answer
    return answer.content.decode()


def test_submitting_a_new_task(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    answer = client.post(ADD, form_of(world, (world.ours.task, ""), note="first try"), follow=True)
    task = Task.objects.get(name="made_by_hand")
    assert answer.redirect_chain[-1][0] == change(task)
    assert task.status == TaskStatus.SCHEDULING
    assert task.next_due_at is not None
    assert task.current_version is not None
    assert (task.current_version.number, task.current_version.note) == (1, "first try")
    assert task.current_version.created_by == world.cast[DANA]
    assert [row.upstream for row in task.dependencies.all()] == [world.ours.task]
    text = answer.content.decode()
    assert "every day at 02:30 (Asia/Shanghai)" in text
    assert text.count("02:30:00") >= 5, "the next five runs"
    assert OperationRecord.objects.filter(
        kind="submit_task", source="admin", operator=world.cast[DANA]
    ).exists()


def test_a_draft_is_saved_and_not_scheduled(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    sent = form_of(world)
    del sent["_save"]
    client.post(ADD, {**sent, "_draft": "1"})
    task = Task.objects.get(name="made_by_hand")
    assert (task.status, task.current_version) == (TaskStatus.OFFLINE, None)
    client.post(change(task), form_of(world))
    task.refresh_from_db()
    assert task.status == TaskStatus.SCHEDULING


def test_code_that_is_too_long_is_said_on_its_field(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    text = refused(as_user(DANA).post(ADD, form_of(world, code="#" * (MOST_CODE + 1))))
    assert "The code has 1,048,577 bytes; 1,048,576 are the most." in text
    assert not Task.objects.filter(name="made_by_hand").exists()


def test_a_scheduled_task_has_no_drafts(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    client.post(ADD, form_of(world))
    task = Task.objects.get(name="made_by_hand")
    assert "Save draft" not in client.get(change(task)).content.decode()
    client.post(change(task), {**form_of(world, code="echo changed"), "_draft": "1"})
    task.refresh_from_db()
    assert task.current_version is not None
    assert (task.current_version.number, task.current_version.code) == (2, "echo changed")


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"cycle_type": "CRONTAB", "crontab": "99 * * * *"}, "crontab", ""),
        ({"cycle_type": "MINUTE", "step": "7"}, "step", ""),
        ({"cycle_type": "WEEK"}, "weekdays", ""),
        ({"cycle_type": "MONTH", "month_days": "1, 40"}, "month_days", ""),
        ({"cycle_type": "HOUR", "hours": "two"}, "hours", "whole number"),
        ({"timezone": "Mars/Olympus"}, "timezone", ""),
        ({"task_type": "SQL", "code": "SELECT 1"}, "data_source", "data source"),
        ({"code": "echo ${nobody}"}, "code", "nobody"),
        ({"code": "echo ${yyyyMMdd-1q}"}, "code", ""),
        ({"parameters": "[1]"}, "parameters", "object"),
        ({"parameters": "{broken"}, "parameters", "valid JSON"),
        ({"name": "two words"}, "name", "letters"),
        ({"retry_limit": "101"}, "retry_limit", ""),
        ({"workflow": ""}, "workflow", "required"),
    ],
)
def test_what_is_wrong_stands_on_its_field(
    fields: dict[str, str], field: str, words: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    answer = as_user(DANA).post(ADD, form_of(world, **fields))
    refused(answer)
    errors = answer.context["adminform"].form.errors
    assert field in errors, dict(errors)
    assert words in " ".join(errors[field])
    assert not Task.objects.filter(name="made_by_hand").exists()


def test_wrong_dependencies(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    assert "no scope of" in refused(client.post(ADD, form_of(world, (world.ours.task, "PREVIOUS_DAY"))))
    twice = form_of(world, (world.ours.task, ""), (world.ours.task, ""))
    refused(client.post(ADD, twice))
    unknown = form_of(world, (world.ours.task, "SOMETIMES"))
    assert "valid choice" in refused(client.post(ADD, unknown))
    assert "valid choice" in refused(client.post(ADD, form_of(world, (world.foreign.task, ""))))
    assert not Task.objects.filter(name="made_by_hand").exists()


def test_a_circle_is_refused_with_its_path(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    client.post(ADD, form_of(world, (world.ours.task, "")))
    made = Task.objects.get(name="made_by_hand")
    sent = form_of(world, (made, ""), name=world.ours.task.name)
    assert "made_by_hand" in (text := refused(client.post(change(world.ours.task), sent)))
    assert "circle" in text
    assert not Dependency.objects.filter(task=world.ours.task).exists()


def test_a_dependency_is_taken_out(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    client.post(ADD, form_of(world, (world.ours.task, "")))
    task = Task.objects.get(name="made_by_hand")
    row = task.dependencies.get()
    sent = form_of(world, (world.ours.task, "")) | {
        "dependencies-INITIAL_FORMS": 1,
        "dependencies-0-id": row.pk,
        "dependencies-0-task": task.pk,
        "dependencies-0-DELETE": "on",
    }
    assert client.post(change(task), sent).status_code == 302
    assert not task.dependencies.exists()
    assert task.versions.count() == 2


def test_secrets_of_another_project_are_refused(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """A superuser is offered the secrets of every project; a task still takes those of its own only."""
    answer = as_user(SUSAN).post(ADD, form_of(world, secrets=[world.foreign.secret.pk]))
    assert "another project" in refused(answer)
    answer = as_user(DANA).post(ADD, form_of(world, secrets=[world.foreign.secret.pk]))
    assert "not one of the available choices" in refused(answer)
    assert as_user(DANA).post(ADD, form_of(world, secrets=[world.ours.secret.pk])).status_code == 302
    assert list(Task.objects.get(name="made_by_hand").secrets.all()) == [world.ours.secret]


def test_the_owner_of_a_new_task_may_edit_it(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    answer = as_user(DANA).post(ADD, form_of(world, owner=world.cast[OMAR].pk))
    assert "may not edit tasks" in refused(answer)
    as_user(DANA).post(ADD, form_of(world, owner=world.cast[PETRA].pk))
    assert Task.objects.get(name="made_by_hand").owner == world.cast[PETRA]


def test_the_form_leaves_the_owner_to_its_operation(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    task = world.ours.task
    sent = form_of(world, name=task.name, owner=world.cast[PETRA].pk)
    assert as_user(PETRA).post(change(task), sent).status_code == 302
    assert Task.objects.get(pk=task.pk).owner == world.cast[DANA]


def test_rerun_permission_is_part_of_the_form(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    as_user(DANA).post(ADD, form_of(world, rerun_allowed="FAILURE"))
    task = Task.objects.get(name="made_by_hand")
    assert task.rerun_allowed == "FAILURE"
    assert "Only after a failure" in as_user(DANA).get(change(task)).content.decode()
    refused(as_user(DANA).post(ADD, form_of(world, name="other", rerun_allowed="SOMETIMES")))


def test_a_draft_after_a_version_says_so(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client, task = as_user(DANA), world.ours.task
    assert "was saved after version" not in client.get(change(task)).content.decode()
    Task.objects.filter(pk=task.pk).update(code="echo other")
    assert "was saved after version 1" in client.get(change(task)).content.decode()


def test_versions_are_read_only(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    address = reverse("admin:instances_taskversion_change", args=(world.ours.version.pk,))
    assert "echo ${yyyyMMdd}" in re.sub(r"<[^>]*>", "", as_user(VERA).get(address).content.decode())
    assert as_user(SUSAN).post(address, {"code": "rm -rf /"}).status_code == 403
    assert TaskVersion.objects.get(pk=world.ours.version.pk).code == "echo ${yyyyMMdd}"


def test_a_broken_schedule_in_the_table_is_shown_not_a_crash(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    Task.objects.filter(pk=world.ours.task.pk).update(
        timezone="Mars/Olympus", cycle_type="CRONTAB", crontab="x"
    )
    assert as_user(VERA).get(reverse("admin:instances_task_changelist")).status_code == 200
    assert as_user(VERA).get(change(world.ours.task)).status_code == 200
    assert as_user(VERA).get(reverse("admin:instances_instance_changelist")).status_code == 200


@pytest.mark.parametrize(
    "model", ["instances_task", "instances_workflow", "instances_taskversion", "projects_folder"]
)
def test_lists_cost_the_same_with_many_rows(
    model: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, address = as_user(DANA), reverse(f"admin:{model}_changelist")

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(address)
        return len(captured)

    before = cost()
    for number in range(12):
        folder = Folder.objects.create(
            project=world.ours.project, parent=world.ours.folder, name=f"f{number}"
        )
        factories.submit(factories.make_task(factories.make_workflow(world.ours.project, folder=folder)))
    assert cost() == before
    assert before <= 12


def test_settings_are_real_fields(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(DANA)
    client.post(ADD, form_of(world, setting_SHELL_events_variable="events", setting_PYTHON_python="python9"))
    task = Task.objects.get(name="made_by_hand")
    assert task.settings == {"events_variable": "events"}, "only those of its own type are read"
    page = client.get(change(task)).content.decode()
    assert 'name="setting_SHELL_events_variable" value="events"' in page
    assert "Variable of events" in page
    assert 'name="settings"' not in page
    client.post(change(task), form_of(world, task_type="PYTHON", code="print()"))
    task.refresh_from_db()
    assert (task.task_type, task.settings) == ("PYTHON", {})


def test_a_wrong_setting_stands_on_its_own_field(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    answer = as_user(DANA).post(ADD, form_of(world, setting_SHELL_events_variable="two words"))
    refused(answer)
    errors = answer.context["adminform"].form.errors
    assert list(errors) == ["setting_SHELL_events_variable"]
    assert "cannot be 'two words'" in errors["setting_SHELL_events_variable"][0]


def test_readers_see_the_settings(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    Task.objects.filter(pk=world.ours.task.pk).update(settings={"events_variable": "of_ours"})
    page = as_user(VERA).get(change(world.ours.task)).content.decode()
    assert "of_ours" in page
    assert "setting_SHELL" not in page.split('id="wo-type-codes"')[1]


def test_types_have_an_icon_and_needed_settings_a_star(world: SimpleNamespace, client: Client) -> None:
    client.force_login(world.cast[DANA])
    page = client.get(ADD).content.decode()
    star = page.split('for="id_setting_HTTP_url"', 1)[1].split("</label>", 1)[0]
    assert star.count("*") == 1
    assert "*" not in page.split('for="id_setting_HTTP_headers"', 1)[1].split("</label>", 1)[0]
    field = page.split('name="setting_HTTP_url"', 1)[1].split(">", 1)[0]
    assert 'aria-required="true"' in field
    assert " required" not in field.replace("aria-required", ""), "a Shell task leaves it empty"
    tasks = client.get(reverse("admin:instances_task_changelist")).content.decode()
    detail = reverse("admin:instances_instance_change", args=(world.ours.instance.pk,))
    icon = '<span class="wo-type"><span class="material-symbols-outlined wo-icon" aria-hidden="true">'
    for text in (tasks, client.get(detail).content.decode()):
        assert f"{icon}{registry.get(world.ours.task.task_type).icon}</span>" in text
    assert '"SHELL": "terminal"' in client.get(change(world.ours.task)).content.decode()
