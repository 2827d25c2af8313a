"""Above the instance list: sorting, filters in the heads, the choice of columns, saved views, downloads."""

import csv
import datetime as dt
import io
import zipfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from instances.admin import list_columns
from instances.engine.states import State
from instances.models import Instance, OperationRecord
from tests.admin.rows import HOSTILE, make_instance
from tests.factories import DANA, EVE, OMAR, SUSAN, VERA
from weops.console import exports, saved_views
from weops.console.models import ListLayout, SavedView

LIST = reverse("admin:instances_instance_changelist")
COLUMNS = reverse("admin:instances_instance_columns")
VIEWS = reverse("admin:instances_instance_views")
DOWNLOAD = reverse("admin:instances_instance_download")
Door = Callable[[str], Client]


def page(client: Client, address: str = "", **parameters: Any) -> Any:
    answer = client.get(LIST + address, parameters or None)
    assert answer.status_code == 200
    return answer.context["cl"]


def ids(client: Client, **parameters: Any) -> list[int]:
    return [one.pk for one in page(client, **parameters).result_list]


def asked(address: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(address).query)


# Sorting


@pytest.fixture
def runs(world: SimpleNamespace) -> list[Instance]:
    """Three that ran one, two and three minutes, in an order of data times of their own; `world`'s own has not run."""
    began = dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
    return [
        make_instance(
            world.ours.task,
            State.SUCCESS,
            after=after,
            start_time=began + dt.timedelta(hours=after),
            end_time=began + dt.timedelta(hours=after, minutes=minutes),
            tries=minutes,
        )
        for after, minutes in ((1, 2), (2, 1), (3, 3))
    ]


def test_sorting(world: SimpleNamespace, as_user: Door, runs: list[Instance]) -> None:
    client = as_user(VERA)
    idle, (one, two, three) = world.ours.instance.pk, [run.pk for run in runs]
    assert ids(client, sort="data_time") == [idle, one, two, three]
    assert ids(client, sort="-duration") == [three, one, two, idle], "what has not run comes last"
    assert ids(client, sort="duration") == [two, one, three, idle]
    assert ids(client, sort="-start") == [three, two, one, idle]
    assert ids(client, sort="retries")[-1] == three
    assert ids(client, sort="task__code") == [three, two, one, idle], "what is no column sorts nothing"


@pytest.mark.parametrize("name", list_columns.SORTS)
def test_every_sort_works_both_ways(name: str, as_user: Door, runs: list[Instance]) -> None:
    client = as_user(VERA)
    assert len(ids(client, sort=name)) == len(ids(client, sort=f"-{name}")) == 4


def test_only_what_was_counted_to_its_end_is_sorted(
    as_user: Door, runs: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instances.admin.listing.COUNT_CAP", 3)
    client = as_user(VERA)
    assert "narrow the filter" in page(client, sort="duration").problem
    assert page(client, sort="data_time").problem == "", "there is an index for it"
    assert page(client, sort="duration", state="success").problem == ""


def test_heads_sort_and_keep_the_filter(world: SimpleNamespace, as_user: Door, runs: list[Instance]) -> None:
    project = world.ours.project.pk
    heads = {head.key: head for head in page(as_user(VERA), project=project, sort="-duration", p=1).heads}
    assert asked(heads["duration_cell"].sort) == {"project": [str(project)], "sort": ["duration"]}
    assert heads["duration_cell"].sorted == "descending"
    assert asked(heads["start_cell"].sort) == {"project": [str(project)], "sort": ["-start"]}
    assert heads["group_cell"].sort == ""


# Filters in the heads


def test_heads_filter(world: SimpleNamespace, as_user: Door, runs: list[Instance]) -> None:
    client = as_user(VERA)
    heads = {head.key: head for head in page(client, state="failed", p=1).heads}
    ways = {way.label: way for way in heads["state_cell"].ways}
    assert ways["Failed"].current
    assert asked(ways["Success"].address) == {"state": ["failed", "success"]}, "states add up"
    assert ways["Failed"].address == "?", "a second click takes it back"
    kinds = {way.label: way for way in heads["type_cell"].ways}
    assert asked(kinds["Periodic instance"].address) == {"state": ["failed"], "type": ["periodic"]}
    workflows = [way.label for way in heads["workflow_cell"].ways]
    assert workflows == [f"{world.ours.project.name} / {world.ours.workflow.name}"], "no other project's"


def test_a_tile_keeps_the_project(world: SimpleNamespace, as_user: Door) -> None:
    tile = page(as_user(VERA), project=world.ours.project.pk, p=1).strip[0]
    assert asked(tile.address)["project"] == [str(world.ours.project.pk)]


# Columns


def test_columns_are_chosen_per_user(world: SimpleNamespace, as_user: Door) -> None:
    vera, omar = as_user(VERA), as_user(OMAR)
    chosen = ["folder_cell", "state_cell"]
    answer = vera.post(COLUMNS, {"column": chosen, "query": "state=failed"})
    assert answer.headers["Location"] == f"{LIST}?state=failed"
    assert [head.key for head in page(vera).heads] == ["task_cell", "folder_cell", "state_cell"]
    assert [head.key for head in page(omar).heads] == list(list_columns.KEYS)
    vera.post(COLUMNS, {"reset": "1"})
    assert [head.key for head in page(vera).heads] == list(list_columns.KEYS)


def test_unknown_columns_are_refused(world: SimpleNamespace, as_user: Door) -> None:
    as_user(VERA).post(COLUMNS, {"column": ["state_cell", "task__code"]})
    assert not ListLayout.objects.exists()


def test_a_column_that_is_no_more_is_left_out(world: SimpleNamespace, as_user: Door) -> None:
    ListLayout.objects.create(user=world.cast[VERA], page=list_columns.PAGE, columns=["gone", "state_cell"])
    assert [head.key for head in page(as_user(VERA)).heads] == ["task_cell", "state_cell"]


# Saved views


def save(client: Client, name: str, query: str = "state=failed", share: Any = "") -> list[str]:
    """Saves a view; what the next page says."""
    answer = client.post(VIEWS, {"name": name, "query": query, "share": str(share)}, follow=True)
    return [str(message) for message in answer.context["messages"]]


def names(client: Client) -> list[str]:
    return [view.name for view in client.get(LIST).context["views"].found]


def test_a_view_is_its_owners_alone_until_shared(world: SimpleNamespace, as_user: Door) -> None:
    omar, vera = as_user(OMAR), as_user(VERA)
    save(omar, "mine")
    save(omar, "night shift", share=world.ours.project.pk)
    save(as_user(SUSAN), "for all", share="everybody")
    assert names(omar) == ["for all", "mine", "night shift"]
    assert names(vera) == ["for all", "night shift"]
    view = SavedView.objects.get(name="mine")
    assert view.query == "state=failed"
    visible = saved_views.visible(world.cast[EVE], list_columns.PAGE)
    assert [one.name for one in visible] == ["for all"]


def test_a_view_keeps_no_place_and_replaces_its_namesake(world: SimpleNamespace, as_user: Door) -> None:
    client = as_user(VERA)
    save(client, "late", "state=failed&state=failed_retry&p=7&before=2026&sort=-duration")
    assert SavedView.objects.get().query == "state=failed&state=failed_retry&sort=-duration"
    save(client, "late", "state=success")
    assert SavedView.objects.get().query == "state=success"
    assert client.get(f"{LIST}?state=success").context["views"].found[0].current


@pytest.mark.parametrize(
    ("name", "share", "said"),
    [
        ("", "", "blank"),
        ("x" * 61, "", "at most 60"),
        ("x", "everybody", "Only a superuser"),
        ("x", "99999", "project of yours"),
        ("x", "abc", "project of yours"),
    ],
)
def test_what_cannot_be_saved_is_said(
    name: str, share: str, said: str, world: SimpleNamespace, as_user: Door
) -> None:
    assert said in " ".join(save(as_user(OMAR), name, share=share))
    assert not SavedView.objects.exists()


def test_a_viewer_shares_nothing(world: SimpleNamespace, as_user: Door) -> None:
    assert "project of yours" in " ".join(save(as_user(VERA), "x", share=world.ours.project.pk))


def test_nobody_shares_with_a_project_of_others(world: SimpleNamespace, as_user: Door) -> None:
    assert "project of yours" in " ".join(save(as_user(OMAR), "x", share=world.foreign.project.pk))


def test_a_view_is_deleted_by_its_owner_only(world: SimpleNamespace, as_user: Door) -> None:
    save(as_user(OMAR), "shared", share=world.ours.project.pk)
    address = reverse("admin:instances_instance_view_delete", args=(SavedView.objects.get().pk,))
    assert as_user(OMAR).get(address).status_code == 405
    as_user(DANA).post(address)
    assert SavedView.objects.exists()
    as_user(OMAR).post(address)
    assert not SavedView.objects.exists()


def test_there_is_an_end_to_views(
    world: SimpleNamespace, as_user: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_views, "MOST", 1)
    save(as_user(OMAR), "one")
    assert "delete one first" in " ".join(save(as_user(OMAR), "two"))
    save(as_user(OMAR), "one", "state=success")
    assert SavedView.objects.get().query == "state=success"


def test_names_of_views_are_text(world: SimpleNamespace, as_user: Door) -> None:
    save(as_user(OMAR), HOSTILE, share=world.ours.project.pk)
    shown = as_user(VERA).get(LIST).content.decode()
    assert HOSTILE not in shown
    assert "&lt;script&gt;alert" in shown


# Downloads


def download(client: Client, query: str = "", **asked: Any) -> Any:
    answer = client.post(f"{DOWNLOAD}?{query}", asked)
    assert answer.status_code == 200, answer
    return answer


def rows(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_csv_has_all_that_matches(
    world: SimpleNamespace, as_user: Door, runs: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PORTION", 2)
    found = rows(download(as_user(VERA), "state=success", format="csv"))
    assert [row["instance id"] for row in found] == [str(run.pk) for run in reversed(runs)]
    assert (
        found[0]
        | {
            "task": world.ours.task.name,
            "data time": "2026-03-28 00:00:00",
            "time zone": "UTC",
            "execution status": "Success",
            "duration (s)": "180.000",
            "start time (UTC)": "2026-04-01 03:00:00",
            "folder": "ours_folder",
            "retries": "3",
        }
        == found[0]
    )
    assert list(found[0]) == [
        f"{name} (UTC)" if name in ("start time", "end time", "planned time") else name
        for name in list_columns.headers(list_columns.COLUMNS)
    ]


def test_a_download_is_limited_to_what_one_sees_and_is_on_record(
    world: SimpleNamespace, as_user: Door
) -> None:
    found = rows(download(as_user(VERA), format="csv"))
    assert [row["instance id"] for row in found] == [str(world.ours.instance.pk)]
    record = OperationRecord.objects.get(kind="export_instances")
    assert (record.kind, record.operator_name, record.source) == ("export_instances", VERA, "admin")
    assert record.options["format"] == "csv"


def test_only_what_was_generated_before_today(world: SimpleNamespace, as_user: Door) -> None:
    old = make_instance(world.ours.task, after=1)
    Instance.objects.filter(pk=old.pk).update(created_at=timezone.now() - dt.timedelta(days=1))
    found = rows(download(as_user(VERA), format="csv", generated="before_today"))
    assert [row["instance id"] for row in found] == [str(old.pk)]


def test_the_columns_shown(world: SimpleNamespace, as_user: Door) -> None:
    client = as_user(VERA)
    client.post(COLUMNS, {"column": ["owner_cell"]})
    found = rows(download(client, format="csv", columns="mine"))
    assert list(found[0]) == ["project", "task", "task id", "instance id", "traversal", "owner"]


def test_xlsx_is_a_workbook_of_texts(world: SimpleNamespace, as_user: Door) -> None:
    type(world.ours.task).objects.filter(pk=world.ours.task.pk).update(name='=HYPERLINK("http://x")')
    body = b"".join(download(as_user(VERA), format="xlsx").streaming_content)
    with zipfile.ZipFile(io.BytesIO(body)) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet, "no formula"
    assert "&#39;=HYPERLINK" in sheet or "'=HYPERLINK" in sheet
    assert sheet.count("<row ") == 2


def test_a_sheet_has_an_end(
    world: SimpleNamespace, as_user: Door, runs: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "SHEET_ROWS", 2)
    answer = as_user(VERA).post(f"{DOWNLOAD}?state=success", {"format": "xlsx"}, follow=True)
    assert answer.redirect_chain[0][0] == f"{LIST}?state=success"
    assert "2 rows at most" in str(next(iter(answer.context["messages"])))


def test_broken_filters_download_nothing(world: SimpleNamespace, as_user: Door) -> None:
    assert as_user(VERA).post(f"{DOWNLOAD}?project=x", {"format": "csv"}).status_code == 400
    assert as_user(VERA).post(DOWNLOAD, {"format": "exe"}).status_code == 400
    assert not OperationRecord.objects.filter(kind="export_instances").exists()


@pytest.mark.parametrize("address", [COLUMNS, VIEWS, DOWNLOAD])
def test_posted_only_and_with_a_token(address: str, world: SimpleNamespace, as_user: Door) -> None:
    assert as_user(VERA).get(address).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.cast[VERA])
    assert strict.post(address).status_code == 403
