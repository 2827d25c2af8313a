"""Definitions are made, changed and deleted by the same rules, whatever the door."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied, ValidationError

from events.definitions import EVENTS
from events.models import Event, Listener
from instances.models import OperationRecord, Task
from instances.task_definitions import TASKS, WORKFLOWS
from tests.factories import (
    DANA,
    EVE,
    OMAR,
    PETRA,
    SUSAN,
    depend,
    make_cast,
    make_group,
    make_project,
    make_secret,
    make_task,
    make_user,
    make_workflow,
    unique,
)
from weops.projects.definitions import (
    CALENDARS,
    DATA_SOURCES,
    FOLDERS,
    MEMBERS,
    PROJECTS,
    RESOURCE_GROUPS,
    SECRETS,
    InUse,
    set_member,
)
from weops.projects.models import Member, Secret

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Any:
    project = make_project()
    make_cast(project)
    return project


def said(wrong: pytest.ExceptionInfo[ValidationError], column: str) -> str:
    return " ".join(wrong.value.message_dict[column])


def test_only_superusers_make_projects_and_resource_groups() -> None:
    for rules, columns in ((PROJECTS, {"name": unique("p")}), (RESOURCE_GROUPS, {"name": unique("g")})):
        with pytest.raises(PermissionDenied):
            rules.create(columns, user=make_user(PETRA))
        made = rules.create(columns, user=make_user(SUSAN), source="api")
        entry = LogEntry.objects.get(object_id=made.pk, content_type__model=made._meta.model_name)
        assert entry.user.username == SUSAN
        assert "api" in entry.change_message


def test_a_project_admin_changes_the_project_and_does_not_delete_it(project: Any) -> None:
    petra = make_user(PETRA)
    PROJECTS.update(project, {"description": "flights"}, user=petra)
    project.refresh_from_db()
    assert project.description == "flights"
    with pytest.raises(PermissionDenied):
        PROJECTS.delete(project, user=petra)
    make_workflow(project)
    with pytest.raises(InUse, match="workflows"):
        PROJECTS.delete(project, user=make_user(SUSAN))


def test_members_are_the_project_admins_to_set(project: Any) -> None:
    guest = make_user("guest")
    with pytest.raises(PermissionDenied):
        set_member(project, guest, "viewer", user=make_user(DANA))
    set_member(project, guest, "viewer", user=make_user(PETRA))
    set_member(project, guest, "operator", user=make_user(PETRA))
    row = Member.objects.get(project=project, user=guest)
    assert row.role == "operator"
    with pytest.raises(ValidationError) as wrong:
        MEMBERS.update(row, {"role": "king"}, user=make_user(PETRA))
    assert "king" in said(wrong, "role")
    MEMBERS.delete(row, user=make_user(PETRA))
    assert not Member.objects.filter(project=project, user=guest).exists()


def test_a_folder_lies_neither_in_itself_nor_in_another_project(project: Any) -> None:
    dana = make_user(DANA)
    top = FOLDERS.create({"project": project, "name": "etl"}, user=dana)
    below = FOLDERS.create({"project": project.pk, "name": "daily", "parent": top.pk}, user=dana)
    with pytest.raises(ValidationError) as wrong:
        FOLDERS.update(top, {"parent": below}, user=dana)
    assert "inside itself" in said(wrong, "parent")
    other = make_project()
    make_user(DANA, project=other)
    with pytest.raises(ValidationError) as wrong:
        FOLDERS.create({"project": other, "name": "x", "parent": top}, user=make_user(DANA))
    assert "another project" in said(wrong, "parent")
    with pytest.raises(InUse, match="folders"):
        FOLDERS.delete(top, user=dana)
    FOLDERS.delete(below, user=dana)
    FOLDERS.delete(top, user=dana)


def test_what_a_user_does_not_see_cannot_be_chosen(project: Any) -> None:
    hidden = make_project()
    with pytest.raises(ValidationError) as wrong:
        WORKFLOWS.create({"project": hidden.pk, "name": "w"}, user=make_user(DANA))
    with pytest.raises(ValidationError) as unknown:
        WORKFLOWS.create({"project": 10**9, "name": "w"}, user=make_user(DANA))
    # Whether it exists is not told apart.
    assert said(wrong, "project").replace(str(hidden.pk), "#") == said(unknown, "project").replace(
        str(10**9), "#"
    )


@pytest.mark.parametrize("name", [OMAR, EVE])
def test_who_may_not_author_makes_nothing(project: Any, name: str) -> None:
    user = make_user(name)
    expected = ValidationError if name == EVE else PermissionDenied
    with pytest.raises(expected):
        WORKFLOWS.create({"project": project.pk, "name": "w"}, user=user)
    with pytest.raises(expected):
        FOLDERS.create({"project": project.pk, "name": "w"}, user=user)
    with pytest.raises((ValidationError, PermissionDenied)):
        EVENTS.create({"project": project.pk, "name": "w"}, user=user)
    with pytest.raises((ValidationError, PermissionDenied)):
        TASKS.create({"workflow": make_workflow(project).pk, "name": "t"}, user=user)


def test_secrets_go_in_and_are_kept_encrypted(project: Any) -> None:
    petra = make_user(PETRA)
    with pytest.raises(ValidationError) as wrong:
        SECRETS.create({"project": project, "name": "key"}, user=petra)
    assert "value" in wrong.value.message_dict
    secret = SECRETS.create({"project": project, "name": "key", "value": "hush"}, user=petra)
    assert Secret.objects.get(pk=secret.pk).reveal() == "hush"
    assert b"hush" not in bytes(secret.ciphertext)
    SECRETS.update(secret, {"value": "hush hush"}, user=petra)
    assert Secret.objects.get(pk=secret.pk).reveal() == "hush hush"
    assert not LogEntry.objects.filter(change_message__contains="hush").exists()
    with pytest.raises(PermissionDenied):
        SECRETS.update(secret, {"value": "x"}, user=make_user(DANA))
    source = DATA_SOURCES.create({"project": project, "name": "db", "url": secret.pk}, user=petra)
    DATA_SOURCES.delete(source, user=petra)


def test_calendars_of_all_projects_are_a_superusers(project: Any) -> None:
    with pytest.raises(PermissionDenied):
        CALENDARS.create({"name": unique("c")}, user=make_user(DANA))
    own = CALENDARS.create(
        {"name": unique("c"), "project": project, "dates": ["2026-05-01", "2026-01-01", "2026-05-01"]},
        user=make_user(DANA),
    )
    own.refresh_from_db()
    assert [day.isoformat() for day in own.dates] == ["2026-01-01", "2026-05-01"]


def test_unknown_and_fixed_fields_are_refused(project: Any) -> None:
    dana = make_user(DANA)
    workflow = WORKFLOWS.create({"project": project, "name": "w", "owner": dana}, user=dana)
    with pytest.raises(ValidationError) as wrong:
        WORKFLOWS.update(workflow, {"colour": "red", "project": make_project().pk}, user=dana)
    assert set(wrong.value.message_dict) == {"colour", "project"}
    with pytest.raises(ValidationError) as wrong:
        WORKFLOWS.create({"project": project, "name": "w"}, user=dana)
    assert wrong.value.message_dict


# Tasks


def columns(project: Any, **more: Any) -> dict[str, Any]:
    workflow = more.pop("workflow", None) or make_workflow(project)
    return {
        "workflow": workflow.pk,
        "name": unique("task"),
        "task_type": "SHELL",
        "code": "echo ${yyyyMMdd}",
        "resource_group": make_group().pk,
        **more,
    }


def test_a_task_is_made_with_all_that_belongs_to_it_and_submitted(project: Any) -> None:
    dana = make_user(DANA)
    upstream = make_task(make_workflow(project))
    secret = make_secret(project)
    event = EVENTS.create({"project": project, "name": "ready"}, user=dana)
    task = TASKS.create(
        columns(
            project,
            secrets=[secret.pk],
            dependencies=[{"upstream": upstream.pk, "scope": "RANGE_DAY", "offsets": "-1, 0"}],
            listeners=[{"event": event.pk, "max_wait": 2, "max_wait_unit": "HOURS"}],
            emitters=[{"event": event.pk}],
        ),
        user=dana,
        source="api",
        submit=True,
        note="first",
    )
    task.refresh_from_db()
    assert task.status == "scheduling"
    assert task.owner == dana
    assert task.current_version is not None
    definition = task.current_version.definition
    assert definition["secrets"] == [secret.name]
    assert definition["dependencies"] == [
        {"task": {"id": upstream.pk, "name": upstream.name}, "scope": "RANGE_DAY", "offsets": "-1,0"}
    ]
    assert definition["events"]["listens_to"][0]["max_wait"] == 2
    record = OperationRecord.objects.get(kind="submit_task", options__task=task.pk)
    assert (record.source, record.operator) == ("api", dana)


def test_what_is_given_of_a_tasks_parts_replaces_them_and_the_rest_stays(project: Any) -> None:
    dana = make_user(DANA)
    first, second = make_task(make_workflow(project)), make_task(make_workflow(project))
    event = EVENTS.create({"project": project, "name": "ready"}, user=dana)
    task = TASKS.create(
        columns(project, dependencies=[{"upstream": first.pk}], listeners=[{"event": event.pk}]), user=dana
    )
    kept = task.dependencies.get()
    TASKS.update(
        task, {"dependencies": [{"upstream": first.pk}, {"upstream": second.pk}]}, user=dana, source="api"
    )
    assert kept in task.dependencies.all()
    assert task.dependencies.count() == 2
    assert Listener.objects.filter(task=task).count() == 1
    TASKS.update(task, {"dependencies": [], "listeners": []}, user=dana)
    assert not task.dependencies.exists()
    assert not Listener.objects.filter(task=task).exists()
    assert Task.objects.get(pk=task.pk).status == "offline"


def test_a_dependency_on_what_one_does_not_see_may_stay_and_not_be_made(project: Any) -> None:
    dana = make_user(DANA)
    hidden = make_task(make_workflow(make_project()))
    task = TASKS.create(columns(project), user=dana)
    with pytest.raises(ValidationError) as wrong:
        TASKS.update(task, {"dependencies": [{"upstream": hidden.pk}]}, user=dana)
    assert "dependencies" in wrong.value.message_dict
    depend(task, hidden)
    TASKS.update(task, {"dependencies": [{"upstream": hidden.pk}]}, user=dana)
    assert task.dependencies.count() == 1


def test_firing_an_event_takes_the_right_to_operate_there(project: Any) -> None:
    dana, other = make_user(DANA), make_project()
    make_user(DANA, project=other, role="viewer")
    event = Event.objects.create(project=other, name="theirs")
    TASKS.create(columns(project, listeners=[{"event": event.pk}]), user=dana)
    with pytest.raises(ValidationError) as wrong:
        TASKS.create(columns(project, emitters=[{"event": event.pk}]), user=dana)
    assert "emitters" in wrong.value.message_dict


@pytest.mark.parametrize(
    ("more", "column"),
    [
        ({"code": "echo ${undefined_name}"}, "code"),
        ({"cycle_type": "FORTNIGHT"}, "cycle_type"),
        ({"step": "many"}, "step"),
        ({"crontab": "61 * * * *", "cycle_type": "CRONTAB"}, "crontab"),
        ({"resource_group": None}, "resource_group"),
        ({"dependencies": [{"upstream": 10**9}]}, "dependencies"),
        ({"dependencies": [{"sideways": 1}]}, "dependencies"),
        ({"dependencies": "none"}, "dependencies"),
        ({"dependencies": [{"upstream": "x"}]}, "dependencies"),
        ({"listeners": [{"event": None}]}, "listeners"),
        ({"secrets": [10**9]}, "secrets"),
        ({"status": "scheduling"}, "status"),
        ({"workflow": None}, "workflow"),
        ({"owner": 10**9}, "owner"),
    ],
)
def test_every_fault_of_a_task_names_its_column_and_nothing_is_made(
    project: Any, more: dict[str, Any], column: str
) -> None:
    given = {**columns(project), **more}
    with pytest.raises(ValidationError) as wrong:
        TASKS.create(given, user=make_user(DANA))
    assert column in wrong.value.message_dict
    assert not Task.objects.filter(workflow__project=project).exists()


def test_a_secret_of_another_project_is_refused(project: Any) -> None:
    other = make_project()
    make_user(DANA, project=other)
    with pytest.raises(ValidationError) as wrong:
        TASKS.create(columns(project, secrets=[make_secret(other).pk]), user=make_user(DANA))
    assert "another project" in said(wrong, "secrets").lower()


def test_a_circle_is_refused_and_the_task_stays_as_it_was(project: Any) -> None:
    dana = make_user(DANA)
    workflow = make_workflow(project)
    first = TASKS.create(columns(project, workflow=workflow), user=dana)
    second = TASKS.create(
        columns(project, workflow=workflow, dependencies=[{"upstream": first.pk}]), user=dana
    )
    with pytest.raises(ValidationError) as wrong:
        TASKS.update(first, {"dependencies": [{"upstream": second.pk}]}, user=dana)
    assert "circle" in said(wrong, "dependencies")
    assert not first.dependencies.exists()


def test_the_owner_of_a_task_is_changed_by_its_operation_only(project: Any) -> None:
    dana = make_user(DANA)
    task = TASKS.create(columns(project), user=dana)
    with pytest.raises(ValidationError) as wrong:
        TASKS.update(task, {"owner": make_user(PETRA).pk}, user=dana)
    assert "operation" in said(wrong, "owner")


def test_what_tasks_wait_for_is_not_deleted(project: Any) -> None:
    dana = make_user(DANA)
    first = TASKS.create(columns(project), user=dana)
    second = TASKS.create(columns(project, dependencies=[{"upstream": first.pk}]), user=dana, submit=True)
    with pytest.raises(InUse, match="wait for it"):
        TASKS.delete(first, user=dana)
    with pytest.raises(PermissionDenied):
        TASKS.delete(second, user=make_user(OMAR))
    TASKS.delete(second, user=dana)
    TASKS.delete(first, user=dana)


def test_a_seen_event_in_use_is_not_deleted(project: Any) -> None:
    dana = make_user(DANA)
    event = EVENTS.create({"project": project, "name": "ready"}, user=dana)
    task = TASKS.create(columns(project, listeners=[{"event": event.pk}]), user=dana)
    with pytest.raises(InUse, match="listen"):
        EVENTS.delete(event, user=dana)
    TASKS.update(task, {"listeners": []}, user=dana)
    EVENTS.delete(event, user=dana)
