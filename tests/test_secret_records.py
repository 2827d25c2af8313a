"""Writes of secrets are on record, whatever the door, and nobody can change what is."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse

from instances.models import OperationRecord
from instances.operations import records
from instances.record_filters import visible_records
from tests import factories as make
from tests.admin.conftest import _quick
from tests.api.conftest import _no_limit, api, world
from weops.projects.defining import InUse
from weops.projects.definitions import PROJECTS, SECRETS
from weops.projects.models import Project, Secret

__all__ = ["_no_limit", "_quick", "api", "world"]
pytestmark = pytest.mark.django_db
VALUE = "a value that is on no record"


def secret_records() -> Any:
    return OperationRecord.objects.filter(kind__in=("write_secret", "delete_secret"))


def on_record() -> list[tuple[str, str, str, Any]]:
    """(kind, operator, door, columns), in order; none of them holds the value."""
    rows = list(secret_records().order_by("id"))
    assert all(VALUE not in repr(row.__dict__) for row in rows)
    return [(row.kind, row.operator_name, row.source, row.options["changed"]) for row in rows]


def test_by_the_system() -> None:
    project = make.make_project()
    secret = SECRETS.create({"project": project, "name": "AUDITED", "value": VALUE}, user=None)
    SECRETS.update(secret, {"value": VALUE + "!"}, user=None)
    SECRETS.update(secret, {"name": "AUDITED"}, user=None)  # changes nothing
    SECRETS.delete(secret, user=None)
    assert on_record() == [
        ("write_secret", "", "system", ["project", "name", "value"]),
        ("write_secret", "", "system", ["value"]),
        ("delete_secret", "", "system", []),
    ]
    assert all(row.project_ids == [project.pk] for row in OperationRecord.objects.all())


def test_by_rest(world: SimpleNamespace, api: Any) -> None:
    client = api(make.PETRA)
    given = {"project": world.ours.project.pk, "name": "AUDITED", "value": VALUE}
    answer = client.post("/api/v1/secrets/", given, format="json")
    assert answer.status_code == 201, answer.content
    address = f"/api/v1/secrets/{answer.json()['id']}/"
    client.patch(address, {"value": VALUE + "!"}, format="json")
    assert client.delete(address).status_code == 204
    assert [row[:3] for row in on_record()] == [
        ("write_secret", make.PETRA, "api"),
        ("write_secret", make.PETRA, "api"),
        ("delete_secret", make.PETRA, "api"),
    ]


def test_by_the_admin_and_on_its_page(world: SimpleNamespace) -> None:
    client = Client()
    client.force_login(world.cast[make.PETRA])
    values = {"project": world.ours.project.pk, "name": "AUDITED", "value": VALUE}
    client.post(reverse("admin:projects_secret_add"), values)
    secret = Secret.objects.get(name="AUDITED")
    address = reverse("admin:projects_secret_change", args=(secret.pk,))
    client.post(address, {"name": "AUDITED", "value": VALUE + "!"})
    SECRETS.update(secret, {"value": VALUE + "?"}, user=None)
    text = client.get(address).content.decode()
    assert "through admin: value" in text
    assert "(system)</a> through system: value" in text
    assert VALUE not in text
    records = client.get(reverse("admin:instances_operationrecord_changelist")).content.decode()
    assert records.count("secret AUDITED") == 3
    page = reverse("admin:instances_operationrecord_change", args=(secret_records().first().pk,))
    assert "AUDITED" in client.get(page).content.decode()
    client.post(reverse("admin:projects_secret_delete", args=(secret.pk,)), {"post": "yes"})
    assert not Secret.objects.filter(name="AUDITED").exists()
    assert [row[:3] for row in on_record()] == [
        ("write_secret", make.PETRA, "admin"),
        ("write_secret", make.PETRA, "admin"),
        ("write_secret", "", "system"),
        ("delete_secret", make.PETRA, "admin"),
    ]


@pytest.mark.parametrize("door", ["rules", "admin"])
def test_with_their_project(door: str) -> None:
    project = make.make_project("goes")
    make.make_secret(project, "TOKEN", VALUE)
    root = make.make_user(make.SUSAN)
    if door == "rules":
        PROJECTS.delete(project, user=root, source="api")
    else:
        client = Client()
        client.force_login(root)
        client.post(reverse("admin:projects_project_delete", args=(project.pk,)), {"post": "yes"})
    assert not Project.objects.filter(pk=project.pk).exists()
    assert [row[0] for row in on_record()] == ["delete_secret"]


def test_who_sees_the_project_sees_them_and_nobody_changes_them(world: SimpleNamespace) -> None:
    SECRETS.create({"project": world.ours.project, "name": "AUDITED", "value": VALUE}, user=None)
    record = secret_records().get()
    for name, seen in ((make.PETRA, True), (make.DANA, True), (make.EVE, False)):
        rows = visible_records(secret_records(), world.cast[name])
        assert rows.exists() is seen, name
    with pytest.raises(DatabaseError), transaction.atomic():
        OperationRecord.objects.filter(pk=record.pk).update(operator_name="somebody else")
    with pytest.raises(DatabaseError), transaction.atomic():
        record.delete()


def test_a_write_without_a_record_is_no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(records, "note", fails)
    with pytest.raises(RuntimeError):
        SECRETS.create({"project": make.make_project(), "name": "AUDITED", "value": VALUE}, user=None)
    assert not Secret.objects.filter(name="AUDITED").exists()


def test_one_that_tasks_get_is_not_deleted(world: SimpleNamespace, api: Any) -> None:
    """Neither over REST nor in the admin, nor by whom ever: its tasks would fail. Who may delete it is told which they are."""
    project, task = world.ours.project, world.ours.task
    secret = make.make_secret(project, "USED", VALUE)
    task.secrets.add(secret)
    client, petra = Client(), api(make.PETRA)
    client.force_login(world.cast[make.PETRA])
    address = f"/api/v1/secrets/{secret.pk}/"
    refused = petra.delete(address)
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert "these tasks get it: ours_task" in refused.json()["detail"]
    where = reverse("admin:projects_secret_delete", args=(secret.pk,))
    assert client.post(where, {"post": "yes"}).status_code == 403
    with pytest.raises(InUse, match="ours_task"):
        SECRETS.delete(secret, user=None)
    page = client.get(reverse("admin:projects_secret_change", args=(secret.pk,))).content.decode()
    assert reverse("admin:instances_task_change", args=(task.pk,)) in page
    assert where not in page
    # Of a data source, too.
    source = petra.delete(f"/api/v1/secrets/{world.ours.source.url_id}/")
    assert f"data sources use it: {world.ours.source.name}" in source.json()["detail"]
    task.secrets.clear()
    assert petra.delete(address).status_code == 204
