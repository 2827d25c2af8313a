"""Pages of what belongs to projects: secrets that never come out, calendars, folders, data sources, groups."""

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace

from django.test import Client
from django.urls import reverse

from instances.engine.states import State
from tests.admin.rows import make_execution, make_instance
from tests.factories import DANA, PETRA, SUSAN, VERA
from weops.projects.models import Calendar, DataSource, Folder, Secret

VALUE = "s3cret-Värde"


def test_a_secret_goes_in_and_never_comes_out(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, add = as_user(PETRA), reverse("admin:projects_secret_add")
    assert (
        client.post(add, {"project": world.ours.project.pk, "name": "TOKEN", "value": VALUE}).status_code
        == 302
    )
    secret = Secret.objects.get(name="TOKEN")
    assert secret.reveal() == VALUE
    change = reverse("admin:projects_secret_change", args=(secret.pk,))
    page = client.get(change).content.decode()
    assert VALUE not in page
    assert 'autocomplete="off"' in page
    assert 'type="password"' in page
    again = client.post(change, {"name": "two words", "value": VALUE})
    assert again.status_code == 200
    assert VALUE not in again.content.decode(), "not even when the form comes back"
    assert client.post(change, {"name": "TOKEN2", "value": ""}).status_code == 302
    secret.refresh_from_db()
    assert (secret.name, secret.reveal()) == ("TOKEN2", VALUE)
    client.post(change, {"name": "TOKEN2", "value": "another"})
    secret.refresh_from_db()
    assert secret.reveal() == "another"


def test_a_secret_needs_a_value(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    answer = as_user(PETRA).post(
        reverse("admin:projects_secret_add"), {"project": world.ours.project.pk, "name": "EMPTY", "value": ""}
    )
    assert "Write the secret" in answer.content.decode()
    assert not Secret.objects.filter(name="EMPTY").exists()


def test_a_row_never_moves_to_another_project(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    as_user(SUSAN).post(
        reverse("admin:projects_secret_change", args=(world.ours.secret.pk,)),
        {"project": world.foreign.project.pk, "name": "moved", "value": ""},
    )
    secret = Secret.objects.get(pk=world.ours.secret.pk)
    assert (secret.name, secret.project) == ("moved", world.ours.project)


def test_a_data_source_takes_a_secret_of_its_project(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    add = reverse("admin:projects_datasource_add")
    sent = {"project": world.ours.project.pk, "name": "db", "url": world.foreign.secret.pk}
    assert "valid choice" in as_user(PETRA).post(add, sent).content.decode()
    assert "another project" in as_user(SUSAN).post(add, sent).content.decode()
    assert as_user(PETRA).post(add, {**sent, "url": world.ours.secret.pk}).status_code == 302
    assert DataSource.objects.get(name="db").url == world.ours.secret


def test_dates_of_a_calendar(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client, add = as_user(DANA), reverse("admin:projects_calendar_add")
    sent = {"project": world.ours.project.pk, "name": "days", "dates": "2026-05-01, 2026-01-01\n\n2026-05-01"}
    assert client.post(add, sent).status_code == 302
    assert Calendar.objects.get(name="days").dates == [dt.date(2026, 1, 1), dt.date(2026, 5, 1)]
    for wrong in ("2026-13-01", "soon", "01/02/2026"):
        assert "is no date" in client.post(add, {**sent, "name": "other", "dates": wrong}).content.decode()


def test_only_superusers_make_calendars_for_all(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    add = reverse("admin:projects_calendar_add")
    assert as_user(PETRA).post(add, {"name": "all", "dates": ""}).status_code == 200
    assert as_user(SUSAN).post(add, {"name": "all", "dates": ""}).status_code == 302
    calendar = Calendar.objects.get(name="all")
    change = reverse("admin:projects_calendar_change", args=(calendar.pk,))
    assert as_user(VERA).get(change).status_code == 200
    assert as_user(PETRA).post(change, {"name": "mine", "dates": ""}).status_code == 403
    assert (
        as_user(PETRA).get(reverse("admin:projects_calendar_delete", args=(calendar.pk,))).status_code == 403
    )


def test_a_folder_of_another_project_is_no_parent(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    add = reverse("admin:projects_folder_add")
    sent = {"project": world.ours.project.pk, "parent": world.foreign.folder.pk, "name": "sub"}
    assert as_user(DANA).post(add, sent).status_code == 200
    assert as_user(SUSAN).post(add, sent).status_code == 200
    assert as_user(DANA).post(add, {**sent, "parent": world.ours.folder.pk}).status_code == 302
    assert Folder.objects.get(name="sub").path() == "ours_folder/sub"


def test_a_resource_group_tells_what_it_holds(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    make_execution(make_instance(world.ours.task, State.RUNNING, after=1), "running")
    make_execution(make_instance(world.ours.task, State.SUCCESS, after=2), "success")
    make_instance(world.ours.task, State.WAIT_RUN, after=3, queue="gated")
    page = as_user(VERA).get(
        reverse("admin:projects_resourcegroup_changelist") + f"?q={world.ours.group.name}"
    )
    text = page.content.decode()
    assert "1 of 16" in text
    assert '<td class="field-ready_cell' in text
    assert text.split('data-label="Ready to run">')[1].startswith("1<"), "gated instances are not ready"
