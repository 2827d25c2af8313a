"""The instance list: its columns, filters, counts, and what a page costs."""

import datetime as dt
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instances import reading
from instances.engine.states import LABELS, State
from instances.models import Instance
from tests import factories
from tests.admin.rows import HOSTILE, make_instance
from tests.factories import DANA, OMAR, SUSAN, VERA
from weops.console import changelist
from weops.console.paging import CappedPaginator, mark_before, rows_before
from weops.projects.models import Folder

LIST = reverse("admin:instances_instance_changelist")


def shown(client: Client, **parameters: Any) -> list[int]:
    """Ids on the page, in its order."""
    answer = client.get(LIST, parameters)
    assert answer.status_code == 200
    return [instance.pk for instance in answer.context["cl"].result_list]


def test_columns(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    task = world.ours.task
    child = Folder.objects.create(project=world.ours.project, parent=world.ours.folder, name="child")
    make_instance(
        task,
        State.FAILED,
        after=1,
        folder=child,
        tries=3,
        total_runs=17,
        error_code="EXIT_NONZERO",
        error_message=HOSTILE,
        start_time=dt.datetime(2026, 3, 26, 1, 2, 3, tzinfo=dt.UTC),
        end_time=dt.datetime(2026, 3, 26, 2, 5, 8, tzinfo=dt.UTC),
    )
    page = as_user(VERA).get(LIST, {"state": "failed"}).content.decode()
    for text in (
        task.name,
        f"task #{task.pk}",
        "2026-03-26 00:00:00",
        "Failed",
        "EXIT_NONZERO",
        "Periodic instance",
        DANA,
        world.ours.workflow.name,
        "Shell",
        "2026-03-26 01:02:03",
        "2026-03-26 02:05:08",
        "1h 03m 05s",
        world.ours.group.name,
        ">3<",
        ">17<",
        "ours_folder/child",
        "Day",
        "Possible cause",
        "What to do",
    ):
        assert text in page, text
    assert reverse("admin:instances_workflow_change", args=(world.ours.workflow.pk,)) in page
    assert HOSTILE not in page
    assert "&lt;script&gt;alert" in page


def test_a_data_time_is_shown_in_the_zone_of_its_task(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    task = factories.make_task(world.ours.workflow, timezone="Asia/Shanghai")
    make_instance(task, data_time=dt.datetime(2026, 1, 1, 16, tzinfo=dt.UTC))
    page = as_user(VERA).get(LIST, {"q": task.name}).content.decode()
    assert "2026-01-02 00:00:00" in page
    assert "Asia/Shanghai" in page
    assert "2026-01-01 16:00:00 UTC" in page


def test_names_are_hostile(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    type(world.ours.task).objects.filter(pk=world.ours.task.pk).update(name=HOSTILE)
    type(world.ours.folder).objects.filter(pk=world.ours.folder.pk).update(name=HOSTILE)
    type(world.ours.workflow).objects.filter(pk=world.ours.workflow.pk).update(name=HOSTILE)
    client = as_user(VERA)
    change = reverse("admin:instances_instance_change", args=(world.ours.instance.pk,))
    operate = reverse("admin:instances_instance_operate", args=("rerun",))
    for address in (
        LIST,
        change,
        f"{operate}?ids={world.ours.instance.pk}",
        reverse("admin:instances_task_changelist"),
    ):
        page = client.get(address).content.decode()
        assert "<script>alert" not in page, address
        assert "&lt;script&gt;alert" in page, address


def test_newest_data_time_first(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    twin = factories.make_task(world.ours.workflow)
    made = [make_instance(task, after=day) for day in (1, 3, 2) for task in (world.ours.task, twin)]
    expected = sorted(made, key=lambda one: (one.data_time, one.pk), reverse=True)
    assert shown(as_user(VERA))[:6] == [one.pk for one in expected]


def test_filters(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client, ours = as_user(SUSAN), world.ours
    other_task = factories.make_task(
        factories.make_workflow(ours.project), owner=world.cast[OMAR], cycle_type="HOUR", task_type="VIRTUAL"
    )
    other = make_instance(
        other_task,
        State.SUCCESS,
        after=5,
        instance_type="supplementary",
        start_time=dt.datetime(2026, 4, 1, 12, tzinfo=dt.UTC),
    )
    foreign = world.foreign.instance
    assert set(shown(client)) == {ours.instance.pk, other.pk, foreign.pk}
    for parameters in (
        {"state": "success"},
        {"type": "supplementary"},
        {"cycle": "HOUR"},
        {"workflow": other_task.workflow_id},
        {"task_type": "VIRTUAL"},
        {"group": other_task.resource_group_id},
        {"owner": world.cast[OMAR].pk},
        {"data_from": "2026-03-26T00:00"},
        {"start_from": "2026-04-01T11:00", "start_to": "2026-04-01T13:00"},
        {"q": other_task.name},
        {"q": f"#{other_task.pk}"},
        {"project": ours.project.pk, "state": ["success", "failed"]},
    ):
        assert shown(client, **parameters) == [other.pk], parameters
    assert shown(client, folder=ours.folder.pk) == [ours.instance.pk]
    assert shown(client, project=world.foreign.project.pk) == [foreign.pk]
    assert set(shown(client, data_to="2026-03-25 00:00:00")) == {ours.instance.pk, foreign.pk}
    assert set(shown(client, q=f"{ours.task.name},  {world.foreign.task.pk}")) == {
        ours.instance.pk,
        foreign.pk,
    }
    assert shown(client, q="nothinghere") == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"state": "sleeping"},
        {"project": "x"},
        {"workflow": "99999999"},
        {"data_from": "yesterday"},
        {"cycle": "EON"},
        {"before": "broken"},
        {"before": "2026-01-01~5"},
        {"q": "x" * 600},
    ],
)
def test_what_means_nothing_shows_nothing(
    parameters: dict[str, str], world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    answer = as_user(SUSAN).get(LIST, parameters)
    assert answer.status_code == 200
    assert answer.context["cl"].result_list == []
    assert 'role="alert"' in answer.content.decode()


def test_members_cannot_filter_by_what_they_do_not_see(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(VERA)
    assert shown(client) == [world.ours.instance.pk]
    assert shown(client, q="foreign_task") == []
    for name, thing in (("project", "project"), ("workflow", "workflow"), ("folder", "folder")):
        assert shown(client, **{name: getattr(world.foreign, thing).pk}) == []


def test_owners_folders_and_workflows_are_named_or_numbered(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """An address holds ids; what one types are names, which the page shows in both cases."""
    client, ours = as_user(VERA), world.ours
    child = Folder.objects.create(project=ours.project, parent=ours.folder, name="daily")
    task = factories.make_task(ours.workflow, owner=world.cast[OMAR])
    made = make_instance(task, after=4, folder=child)
    path = "ours_project: ours_folder/daily"
    for parameters, label in (
        ({"owner": OMAR}, OMAR),
        ({"owner": world.cast[OMAR].pk}, OMAR),
        ({"folder": path}, path),
        ({"folder": child.pk}, path),
    ):
        assert shown(client, **parameters) == [made.pk], parameters
        assert f'value="{label}"' in client.get(LIST, parameters).content.decode()
    name = "ours_project / ours_workflow"
    assert made.pk in shown(client, workflow=name)
    ways = client.get(LIST, {"workflow": name}).context["cl"].heads
    assert [
        way.label for head in ways if head.key == "workflow_cell" for way in head.ways if way.current
    ] == [name]
    for wrong in ({"owner": "nobody"}, {"folder": "foreign_project: foreign_folder"}, {"owner": "\x00"}):
        answer = client.get(LIST, wrong)
        assert answer.context["cl"].result_list == [], wrong
        assert 'role="alert"' in answer.content.decode()


def test_names_are_found_as_one_types(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client = as_user(VERA)

    def found(field: str, text: str, who: Client = client) -> list[str]:
        where = reverse("admin:instances_instance_find", args=(field,))
        names: list[str] = who.get(where, {"q": text}).json()["found"]
        return names

    Folder.objects.create(project=world.ours.project, parent=world.ours.folder, name="daily")
    assert found("owner", "OM") == [OMAR]
    assert found("owner", SUSAN) == [], "not a colleague"
    assert found("folder", "daily ours_f") == ["ours_project: ours_folder/daily"]
    assert found("folder", "foreign") == found("workflow", "foreign") == []
    assert found("workflow", "foreign", as_user(SUSAN)) == ["foreign_project / foreign_workflow"]
    assert client.get(reverse("admin:instances_instance_find", args=("state",))).status_code == 404


def test_ten_thousand_owners_leave_the_page_small(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    User.objects.bulk_create(User(username=f"person{number:05}") for number in range(10_000))
    client = as_user(SUSAN)
    answer = client.get(LIST)
    text = answer.content.decode()
    assert len(text) < 200_000
    assert text.count('<option value="person') <= 20
    where = reverse("admin:instances_instance_find", args=("owner",))
    shown_now = client.get(where, {"q": "person07"}).json()
    assert (len(shown_now["found"]), shown_now["more"]) == (20, True)
    assert client.get(where, {"q": "person07123"}).json() == {"found": ["person07123"], "more": False}


@pytest.mark.parametrize(
    "parameter", ["task__code__contains", "project__members__user", "overrides", "version__code"]
)
def test_other_lookups_are_refused(parameter: str, as_user: Callable[[str], Client]) -> None:
    assert as_user(SUSAN).get(LIST, {parameter: "x"}).status_code == 400


def test_the_strip_counts_every_state(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    for day, state in enumerate(State, start=1):
        make_instance(world.ours.task, state, after=day)
    answer = as_user(VERA).get(LIST, {"state": "failed"})
    tiles = {tile.look.text: tile for tile in answer.context["cl"].strip}
    assert {text: tile.count for text, tile in tiles.items()} == {
        label: "2" if state == State.WAIT_RUN else "1" for state, label in LABELS.items()
    }
    assert tiles["Failed"].current
    assert "state=" not in tiles["Failed"].address, "the chosen one leads back to all"
    assert "state=success" in tiles["Success"].address


def _queries(client: Client, **parameters: Any) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(LIST, parameters).status_code == 200
    return len(captured)


def test_a_page_costs_the_same_with_many_rows(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(OMAR)
    none = _queries(client, q="nothinghere")
    one = _queries(client)
    for day in range(1, 40):
        folder = Folder.objects.create(project=world.ours.project, parent=world.ours.folder, name=f"f{day}")
        task = factories.make_task(
            factories.make_workflow(world.ours.project), owner=factories.make_user(f"u{day}")
        )
        make_instance(task, State.RUNNING, after=day, folder=folder)
    many = _queries(client)
    assert many <= one + 2, "what the first way to the page does not find costs one query more, two at most"
    assert none <= one + 1, "the search itself costs one query"
    assert one <= 27


def test_counting_stops_at_the_cap(
    world: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "cap", 4)
    monkeypatch.setattr("instances.admin.instance.InstanceAdmin.list_per_page", 2)
    made = [world.ours.instance, *(make_instance(world.ours.task, after=day) for day in range(1, 7))]
    newest_first = [one.pk for one in reversed(made)]
    client = as_user(VERA)
    pages = [shown(client), shown(client, p=2)]
    assert pages == [newest_first[:2], newest_first[2:4]]
    last = client.get(LIST, {"p": 2})
    assert "More than 4" in last.content.decode()
    older = client.get(LIST + last.context["cl"].older).context["cl"]
    assert [one.pk for one in older.result_list] == newest_first[4:6]


def test_a_count_that_ended_early_says_so_and_hides_no_page(
    world: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instances.admin.instance.InstanceAdmin.list_per_page", 2)
    monkeypatch.setattr(reading, "WALK", 3)
    monkeypatch.setattr(reading, "COUNTED", 2)
    made = [make_instance(world.ours.task, State.SUCCESS, after=day) for day in range(1, 8)]
    client = as_user(VERA)
    first = client.get(LIST, {"state": "success"})
    tiles = {tile.look.text: tile.count for tile in first.context["cl"].strip}
    assert tiles["Success"] == "3+"
    assert tiles["Failed"] == "0"
    assert "At least 3" in first.content.decode()
    assert client.get(LIST, {"sort": "-end"}).context["cl"].problem
    found = [shown(client, state="success", p=page) for page in range(1, 5)]
    assert found == [[one.pk for one in reversed(made)][place : place + 2] for place in (0, 2, 4, 6)]
    last = client.get(f"{LIST}?state=success&p=4")
    assert last.context["cl"].result_count == 7, "whoever has read to the end knows the number"
    assert "At least" not in last.content.decode()


def test_a_mark_continues_exactly_where_the_page_ended(world: SimpleNamespace) -> None:
    twins = [make_instance(factories.make_task(world.ours.workflow), after=9) for _ in range(3)]
    ordered = Instance.objects.order_by("-data_time", "-id")
    rest = rows_before(ordered, mark_before(twins[1].data_time, twins[1].pk))
    assert rest.first() == twins[0]
    assert twins[1] not in rest
    assert twins[2] not in rest


@pytest.mark.django_db(transaction=True)
def test_a_list_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session holds the whole table: the database cancels our query, and the page is still a page."""
    monkeypatch.setattr(changelist, "LIST_SECONDS", 1)
    client = Client()
    client.force_login(factories.make_user(SUSAN))
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE instances_instance IN ACCESS EXCLUSIVE MODE")
            locked.set()
            release.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert locked.wait(10)
        answer = client.get(LIST)
        assert answer.status_code == 200
        assert "needed more than 1 seconds" in answer.content.decode()
        assert answer.context["cl"].result_list == []
    finally:
        release.set()
        holder.join(10)
