"""Who may open what: every page of the admin, for everybody of the cast."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Group
from django.test import Client
from django.urls import reverse

from events.models import EventInstance
from instances.models import OperationItem, OperationRecord, WorkerProcess
from instances.operations import backfill
from tests import factories
from tests.admin.rows import alarm_rows
from tests.events.scene import fire, make_event
from tests.factories import CAST, DANA, EVE, OMAR, PETRA, SUSAN, VERA
from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Folder, Member, Role

ROLES = [EVE, VERA, OMAR, DANA, PETRA, SUSAN]
NOBODY: set[str] = set()
SUPER = {SUSAN}
MEMBERS = {VERA, OMAR, DANA, PETRA, SUSAN}
OPERATORS = {OMAR, DANA, PETRA, SUSAN}
AUTHORS = {DANA, PETRA, SUSAN}
ADMINS = {PETRA, SUSAN}

# model -> who may see its list and its rows of a project they belong to, add one, change one, delete one.
PAGES: dict[str, tuple[set[str], set[str], set[str], set[str]]] = {
    "projects.project": (MEMBERS, SUPER, ADMINS, SUPER),
    "projects.folder": (MEMBERS, AUTHORS, AUTHORS, AUTHORS),
    "projects.calendar": (MEMBERS, AUTHORS, AUTHORS, AUTHORS),
    "projects.secret": (ADMINS, ADMINS, ADMINS, ADMINS),
    "projects.datasource": (ADMINS, ADMINS, ADMINS, ADMINS),
    "projects.resourcegroup": (MEMBERS, SUPER, SUPER, SUPER),
    "instances.workflow": (MEMBERS, AUTHORS, AUTHORS, AUTHORS),
    "instances.task": (MEMBERS, AUTHORS, AUTHORS, AUTHORS),
    "instances.taskversion": (MEMBERS, NOBODY, NOBODY, NOBODY),
    "instances.instance": (MEMBERS, NOBODY, NOBODY, NOBODY),
    "instances.backfillplan": (MEMBERS, OPERATORS, NOBODY, NOBODY),
    "instances.operationrecord": (MEMBERS, NOBODY, NOBODY, NOBODY),
    "instances.workerprocess": (MEMBERS, NOBODY, NOBODY, NOBODY),
    "alarms.channel": (ADMINS, ADMINS, ADMINS, ADMINS),
    "alarms.message": (MEMBERS, NOBODY, NOBODY, NOBODY),
    "alarms.rule": (MEMBERS, AUTHORS, AUTHORS, AUTHORS),
    "events.event": (MEMBERS, AUTHORS, AUTHORS, AUTHORS),
    "events.eventinstance": (MEMBERS, NOBODY, NOBODY, NOBODY),
    "auth.user": (SUPER, SUPER, SUPER, SUPER),
    "auth.group": (SUPER, SUPER, SUPER, SUPER),
}

# Everybody's own, whatever the project: tests/api/test_tokens.py, tests/admin/test_access_keys.py.
OWN = {"api.token", "projects.accesskey"}

# In `world` these hold other rows, so nobody deletes them.
IN_USE = {
    "projects.project",
    "projects.folder",
    "projects.resourcegroup",
    "projects.secret",
    "instances.workflow",
    "instances.task",
}


def _rows(side: SimpleNamespace, world: SimpleNamespace) -> dict[str, Any]:
    """A row of every model that belongs to one side's project, or to no project."""
    record = OperationRecord.objects.create(kind="rerun", source="admin")
    OperationItem.objects.create(
        operation=record, instance_id=side.instance.pk, from_state="failed", outcome="done"
    )
    event, fired = (make_event(side.project, f"{side.project.name[:12]}_{name}") for name in "ab")
    firing = fire(fired)
    return {
        **alarm_rows(side.instance),
        "events.event": event,
        "events.eventinstance": EventInstance.objects.get(pk=firing.event_instances[0]),
        "projects.project": side.project,
        "projects.folder": side.folder,
        "projects.calendar": side.calendar,
        "projects.secret": side.secret,
        "projects.datasource": side.source,
        "projects.resourcegroup": side.group,
        "instances.workflow": side.workflow,
        "instances.task": side.task,
        "instances.taskversion": side.version,
        "instances.instance": side.instance,
        "instances.backfillplan": backfill.create(
            {"tasks": [side.task.pk], "ranges": [{"first": "2013-01-01", "last": "2013-01-01"}]},
            user=None,
            source="api",
        ),
        "instances.operationrecord": record,
        "instances.workerprocess": WorkerProcess.objects.get_or_create(
            name="w1", defaults={"host": "h", "pid": 1, "slots": 4}
        )[0],
        "auth.user": world.cast[VERA],
        "auth.group": Group.objects.get_or_create(name="g")[0],
    }


def _address(model: str, page: str, *args: Any) -> str:
    return reverse(f"admin:{model.replace('.', '_')}_{page}", args=args)


def _opens(client: Client, address: str) -> bool:
    """Whether the page is shown: refusals are 403, 404, or the way back to the index that Django takes."""
    return client.get(address).status_code == 200


def test_the_table_knows_every_page() -> None:
    assert {model._meta.label_lower for model in admin.site._registry} == set(PAGES) | OWN


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("model", PAGES)
def test_pages_of_a_project(
    name: str, model: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    may_see, may_add, may_change, may_delete = PAGES[model]
    client, row = as_user(name), _rows(world.ours, world)[model]
    assert _opens(client, _address(model, "changelist")) == (name in may_see)
    assert _opens(client, _address(model, "add")) == (name in may_add)
    assert _opens(client, _address(model, "change", row.pk)) == (name in may_see)
    assert _opens(client, _address(model, "delete", row.pk)) == (name in may_delete and model not in IN_USE)
    sent = client.post(_address(model, "change", row.pk), {})
    assert (sent.status_code == 200) == (name in may_change), (
        "an empty form comes back with errors, or is refused"
    )


@pytest.mark.parametrize("name", [VERA, OMAR, DANA, PETRA, EVE])
def test_nothing_of_a_foreign_project(
    name: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, rows = as_user(name), _rows(world.foreign, world)
    for model in PAGES:
        if model in ("projects.resourcegroup", "instances.workerprocess", "auth.user", "auth.group"):
            continue
        for page in ("change", "delete", "history"):
            assert not _opens(client, _address(model, page, rows[model].pk)), f"{model} {page}"
        listed = client.get(_address(model, "changelist"))
        if listed.status_code == 200:
            assert "foreign_" not in listed.content.decode(), model
    for address in ("admin:instances_workflow_add", "admin:instances_task_add", "admin:index"):
        assert "foreign_" not in client.get(reverse(address)).content.decode()


@pytest.mark.parametrize("name", ROLES)
def test_the_index_is_open_to_all_staff(name: str, as_user: Callable[[str], Client]) -> None:
    answer = as_user(name).get(reverse("admin:index"))
    assert answer.status_code == 200
    assert ("member of no project" in answer.content.decode()) == (name == EVE)


@pytest.mark.parametrize("model", PAGES)
def test_strangers_are_sent_to_sign_in(model: str, client: Client, world: SimpleNamespace) -> None:
    row = _rows(world.ours, world)[model]
    for address in (_address(model, "changelist"), _address(model, "change", row.pk)):
        answer = client.get(address)
        assert answer.status_code == 302
        assert "/login/" in answer["Location"]


def test_autocomplete_offers_only_what_is_seen(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    asked = {"app_label": "instances", "model_name": "dependency", "field_name": "upstream", "term": "_task"}
    offered = as_user(DANA).get(reverse("admin:autocomplete"), asked).json()["results"]
    assert [row["text"] for row in offered] == ["ours_task (ours_project / ours_workflow)"]
    assert as_user(EVE).get(reverse("admin:autocomplete"), asked).status_code == 403


def test_choices_of_a_form_are_limited_when_it_is_sent(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    answer = as_user(DANA).post(
        reverse("admin:instances_workflow_add"),
        {"project": world.foreign.project.pk, "name": "stolen", "parameters": "{}"},
    )
    assert answer.status_code == 200
    assert "valid choice" in answer.content.decode()
    assert not world.foreign.project.workflows.filter(name="stolen").exists()


@pytest.mark.parametrize(
    ("role", "held"),
    [
        (None, set()),
        (Role.VIEWER, {Right.VIEW}),
        (Role.OPERATOR, {Right.VIEW, Right.OPERATE, Right.OVERRIDE}),
        (Role.DEVELOPER, {Right.VIEW, Right.OPERATE, Right.OVERRIDE, Right.AUTHOR}),
        (Role.ADMIN, set(Right)),
    ],
)
@pytest.mark.django_db
def test_rights_of_a_role(role: Role | None, held: set[Right]) -> None:
    project, other = factories.make_project(), factories.make_project()
    user = factories.make_user("nina", project=project, role=role)
    assert access.rights(user, project) == held
    assert access.rights(user, other) == frozenset()
    assert list(access.projects_with(user, Right.VIEW)) == ([project] if held else [])


@pytest.mark.django_db
def test_rights_without_a_membership() -> None:
    project = factories.make_project()
    assert access.rights(AnonymousUser(), project) == frozenset()
    assert access.rights(factories.make_user(SUSAN), project) == access.EVERY_RIGHT
    gone = factories.make_user("gone", project=project, role=Role.ADMIN)
    gone.is_active = False
    assert access.rights(gone, project) == frozenset()
    assert access.rights(factories.make_user(EVE), None) == frozenset()


def test_every_role_is_in_the_cast() -> None:
    assert {role for role in CAST.values() if role} == set(Role)


def test_a_project_admin_adds_members(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    sent = {
        "name": world.ours.project.name,
        "parameters": "{}",
        "enabled": "on",
        "members-TOTAL_FORMS": "1",
        "members-INITIAL_FORMS": "0",
        "members-0-user": world.cast[EVE].pk,
        "members-0-role": "viewer",
    }
    answer = as_user(PETRA).post(_address("projects.project", "change", world.ours.project.pk), sent)
    assert answer.status_code == 302
    assert Member.objects.get(user=world.cast[EVE]).role == Role.VIEWER


def test_what_nothing_holds_on_to_can_be_deleted(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    project, client = factories.make_project(), as_user(SUSAN)
    folder = Folder.objects.create(project=project, name="empty")
    workflow = factories.make_workflow(project)
    task = factories.make_task(workflow)
    secret = factories.make_secret(project)
    rows: dict[str, Any] = {
        "instances.task": task, "instances.workflow": workflow, "projects.folder": folder, "projects.secret": secret,
        "projects.resourcegroup": task.resource_group, "projects.project": project,
    }  # fmt: skip
    assert set(rows) == IN_USE
    for model, row in rows.items():
        answer = client.post(_address(model, "delete", row.pk), {"post": "yes"})
        assert answer.status_code == 302, model
        assert not type(row)._default_manager.filter(pk=row.pk).exists(), model


def test_an_account_that_owns_things_can_be_deleted(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(SUSAN)
    assert (
        client.post(_address("auth.user", "delete", world.cast[DANA].pk), {"post": "yes"}).status_code == 302
    )
    for address in (
        _address("instances.instance", "changelist"),
        _address("instances.instance", "change", world.ours.instance.pk),
        _address("instances.task", "change", world.ours.task.pk),
    ):
        assert client.get(address).status_code == 200
