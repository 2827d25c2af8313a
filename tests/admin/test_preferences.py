"""Language and time zone of each user: kept, applied to the console alone, put back, at no query more."""

import asyncio
import csv
import datetime as dt
import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from instances.engine.states import State
from instances.models import Instance
from tests import factories
from tests.admin.rows import make_instance
from tests.factories import DANA, OMAR, SUSAN, VERA
from weops.console import saved_views
from weops.console.accounts import JoinedBackend
from weops.console.filter_bar import MomentField
from weops.console.models import Preference, SavedView
from weops.console.preferences import PreferencesMiddleware, chosen_by
from weops.console.present import clock, plain_time, stamp

ADDRESS = reverse("admin:preferences")
LIST = reverse("admin:instances_instance_changelist")
DOWNLOAD = reverse("admin:instances_instance_download")
Door = Callable[[str], Client]
# Berlin's clocks go forward on 29 March 2026 at 02:00, and back on 25 October at 03:00.
BERLIN, NEW_YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"


def prefer(world: SimpleNamespace, name: str, zone: str = "", language: str = "") -> None:
    Preference.objects.update_or_create(
        user=world.cast[name], defaults={"time_zone": zone, "language": language}
    )


def utc(*parts: int) -> dt.datetime:
    year, month, day, hour, minute = parts
    return dt.datetime(year, month, day, hour, minute, tzinfo=dt.UTC)


@pytest.fixture
def run(world: SimpleNamespace) -> Instance:
    """It began half an hour after midnight, UTC, on 1 July."""
    return make_instance(
        world.ours.task,
        State.SUCCESS,
        after=1,
        start_time=utc(2026, 7, 1, 0, 30),
        end_time=utc(2026, 7, 1, 0, 45),
    )


# The page


def test_a_choice_is_kept_and_shown(world: SimpleNamespace, as_user: Door) -> None:
    client = as_user(VERA)
    answer = client.post(ADDRESS, {"language": "zh-hans", "time_zone": "asia/shanghai"}, follow=True)
    row = Preference.objects.get(user=world.cast[VERA])
    assert (row.language, row.time_zone) == ("zh-hans", "Asia/Shanghai")
    assert answer.headers["Content-Language"] == "zh-hans"
    assert '<html lang="zh-hans"' in answer.content.decode()
    assert "Asia/Shanghai (UTC+08:00)" in answer.content.decode()
    client.post(ADDRESS, {"language": "", "time_zone": ""})
    row.refresh_from_db()
    assert (row.language, row.time_zone) == ("", "")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"time_zone": "Europe/Berln"}, "did you mean Europe/Berlin"),
        ({"time_zone": "UTC+8"}, "no time zone"),
        ({"time_zone": "../../etc/passwd"}, "no time zone"),
        ({"time_zone": "<script>"}, "&lt;script&gt;"),
        ({"language": "tlh"}, "Select a valid choice"),
    ],
)
def test_what_does_not_exist_is_refused(
    sent: dict[str, str], said: str, world: SimpleNamespace, as_user: Door
) -> None:
    answer = as_user(VERA).post(ADDRESS, sent)
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert not Preference.objects.exists()


def test_everybody_has_own_preferences(world: SimpleNamespace, as_user: Door, run: Instance) -> None:
    prefer(world, VERA, KOLKATA)
    assert "2026-07-01 06:00:00" in as_user(VERA).get(LIST).content.decode()
    assert "2026-07-01 00:30:00" in as_user(OMAR).get(LIST).content.decode()


def test_the_page_is_in_the_menu(world: SimpleNamespace, as_user: Door) -> None:
    assert f'<a href="{ADDRESS}">' in as_user(VERA).get(reverse("admin:index")).content.decode()


# Applied to the console alone


def test_west_of_utc_it_was_yesterday(world: SimpleNamespace, as_user: Door, run: Instance) -> None:
    prefer(world, VERA, NEW_YORK)
    client = as_user(VERA)
    page = client.get(LIST).content.decode()
    assert "2026-06-30 20:30:00" in page
    assert "America/New_York; 2026-07-01 00:30:00 UTC" in page, "the exact time, on hover"
    assert "2026-03-26 00:00:00" in page, "a data time stays in the zone of its task"
    assert client.get(f"{LIST}?start_from=2026-06-30T20:30&zone={NEW_YORK}").context["cl"].result_count == 1
    assert client.get(f"{LIST}?start_from=2026-06-30T20:31&zone={NEW_YORK}").context["cl"].result_count == 0


def test_a_task_of_another_zone_is_named(world: SimpleNamespace, as_user: Door) -> None:
    one = world.ours.instance
    detail = reverse("admin:instances_instance_change", args=(one.pk,))
    prefer(world, VERA, BERLIN)
    assert '2026-03-25 00:00:00</time> <span class="wo-dim">UTC</span>' in (
        as_user(VERA).get(detail).content.decode()
    )
    with timezone.override(BERLIN):
        assert clock(one.data_time, "UTC") == "2026-03-25 00:00:00 UTC"
        assert clock(one.data_time, BERLIN) == "2026-03-25 01:00:00"
        assert "Asia/Kolkata" in stamp(one.data_time, KOLKATA)
        assert "wo-dim" not in stamp(one.data_time, BERLIN)


def test_a_day_of_the_time_line_is_one_of_the_reader(world: SimpleNamespace, as_user: Door) -> None:
    """Berlin's 29 March has 23 hours: from 28 March 23:00 UTC to 29 March 22:00 UTC."""
    task = factories.make_task(world.ours.workflow)
    hours = [
        utc(2026, 3, 28, 22, 0),
        utc(2026, 3, 28, 23, 0),
        utc(2026, 3, 29, 21, 0),
        utc(2026, 3, 29, 22, 0),
    ]
    made = [
        make_instance(task, State.SUCCESS, data_time=hour, planned_time=hour, not_before=hour)
        for hour in hours
    ]
    client, address = as_user(VERA), reverse("admin:instances_instance_gantt")

    def shown() -> set[int]:
        bars = client.get(address, {"day": "2026-03-29"}).context["gantt"].bars
        return {bar.instance.pk for bar in bars} & {one.pk for one in made}

    assert shown() == {made[2].pk, made[3].pk}
    prefer(world, VERA, BERLIN)
    assert shown() == {made[1].pk, made[2].pk}
    prefer(world, VERA, NEW_YORK)
    assert shown() == {made[2].pk, made[3].pk}
    ticks = client.get(address, {"day": "2026-03-29"}).context["ticks"]
    began = timezone.localtime(made[2].start_time, ZoneInfo(NEW_YORK))
    assert ticks[0][1] == f"{began:%H:%M:%S}"


def test_an_instance_is_called_by_the_data_time_of_its_task(world: SimpleNamespace, as_user: Door) -> None:
    task = factories.make_task(world.ours.workflow, timezone="Asia/Shanghai")
    one = make_instance(task, data_time=dt.datetime(2026, 1, 1, 16, tzinfo=dt.UTC))
    assert str(one) == f"{task.name} 2026-01-02 00:00:00"
    prefer(world, VERA, NEW_YORK)
    page = as_user(VERA).get(reverse("admin:instances_instance_change", args=(one.pk,))).content.decode()
    assert "2026-01-01 16:00:00" not in page.replace("2026-01-01 16:00:00 UTC", "")
    task.timezone = "Gone/Away"
    assert str(one) == f"{task.name} 2026-01-01 16:00:00"


def test_the_api_knows_no_preferences(world: SimpleNamespace, as_user: Door, run: Instance) -> None:
    prefer(world, VERA, KOLKATA, "zh-hans")
    client = as_user(VERA)
    client.get(LIST)
    answer = client.get(f"/api/v1/instances/{run.pk}/")
    assert answer.json()["start_time"] == "2026-07-01T00:30:00Z"
    assert client.get("/api/v1/instances/?start_from=2026-07-01T00:30").json()["results"]
    assert client.get("/api/v1/instances/?start_from=2026-07-01T00:31").json()["results"] == []
    assert "Content-Language" not in answer.headers


@pytest.mark.parametrize("broken", ["Gone/Away", "x" * 64])
def test_a_zone_or_language_that_is_no_more_is_left_out(
    broken: str, world: SimpleNamespace, as_user: Door
) -> None:
    prefer(world, VERA, broken, "tlh")
    answer = as_user(VERA).get(LIST)
    assert answer.status_code == 200
    assert answer.headers["Content-Language"] == "en"
    assert chosen_by(world.cast[VERA]).zone is None


def test_the_preference_wins_over_the_browser(world: SimpleNamespace, as_user: Door) -> None:
    client = as_user(VERA)
    asks = {"HTTP_ACCEPT_LANGUAGE": "zh-hans"}
    assert client.get(ADDRESS, **asks).headers["Content-Language"] == "zh-hans"  # type: ignore[arg-type]
    prefer(world, VERA, "", "en")
    assert client.get(ADDRESS, **asks).headers["Content-Language"] == "en"  # type: ignore[arg-type]


def test_zone_and_language_are_put_back_even_after_an_error(world: SimpleNamespace) -> None:
    prefer(world, VERA, KOLKATA, "zh-hans")
    seen = []

    def fails(request: Any) -> HttpResponse:
        seen.append((timezone.get_current_timezone_name(), translation.get_language()))
        raise RuntimeError

    request = RequestFactory().get(LIST)
    request.user = world.cast[VERA]
    with translation.override("en"):
        with pytest.raises(RuntimeError):
            PreferencesMiddleware(fails)(request)
        assert seen == [(KOLKATA, "zh-hans")]
        assert (timezone.get_current_timezone_name(), translation.get_language()) == ("UTC", "en")


@pytest.mark.django_db(transaction=True)
def test_under_asgi_readers_at_the_same_time_have_clocks_of_their_own() -> None:
    zones = {VERA: BERLIN, OMAR: KOLKATA, DANA: ""}
    clients = {}
    for name, zone in zones.items():
        user = factories.make_user(name)
        Preference.objects.create(user=user, time_zone=zone)
        clients[name] = AsyncClient()
        clients[name].force_login(user)

    async def read(name: str) -> tuple[str, str]:
        answer = await clients[name].get(ADDRESS)
        return name, answer.content.decode()

    async def together() -> list[tuple[str, str]]:
        found = await asyncio.gather(*(read(name) for name in [*zones] * 3))
        await sync_to_async(connections.close_all)()
        return found

    for name, page in asyncio.run(together()):
        shown = page.split('id="wo-zone"')[1].split("</p>")[0]
        assert (zones[name] or "UTC") in shown
        assert not any(zone in shown for zone in zones.values() if zone and zone != zones[name])


# At no query more


def test_the_user_comes_with_the_preferences_in_one_query(
    world: SimpleNamespace, django_assert_num_queries: Any
) -> None:
    prefer(world, VERA, BERLIN)
    backend = JoinedBackend()
    for name, zone in ((VERA, BERLIN), (OMAR, None)):
        with django_assert_num_queries(1):
            user = backend.get_user(world.cast[name].pk)
            found = chosen_by(user)
        assert (str(found.zone) if found.zone else None) == zone
    assert backend.get_user(0) is None
    type(world.cast[DANA]).objects.filter(pk=world.cast[DANA].pk).update(is_active=False)
    assert backend.get_user(world.cast[DANA].pk) is None


def test_a_page_costs_as_many_queries_with_preferences_as_without(
    world: SimpleNamespace, as_user: Door, django_assert_num_queries: Any
) -> None:
    client = as_user(VERA)
    client.get(ADDRESS)
    with CaptureQueriesContext(connection) as before:
        client.get(ADDRESS)
    prefer(world, VERA, BERLIN, "zh-hans")
    with django_assert_num_queries(len(before)):
        client.get(ADDRESS)


# Filters


def read(text: str, zone: str) -> str:
    with timezone.override(zone):
        return plain_time(MomentField("x").clean(text), "UTC")


def test_times_that_clocks_skip_or_show_twice() -> None:
    assert read("2026-03-29T01:59", BERLIN) == "2026-03-29 00:59:00"
    assert read("2026-03-29T02:30", BERLIN) == "2026-03-29 01:30:00", "clocks then show 03:30"
    assert read("2026-10-25T02:30", BERLIN) == "2026-10-25 00:30:00", "the first of the two"
    assert read("2026-11-01T01:30", NEW_YORK) == "2026-11-01 05:30:00"
    assert read("2026-07-01T00:30:00+05:30", BERLIN) == "2026-06-30 19:00:00", "a zone of its own counts"


def test_a_time_shown_twice_is_told_apart_on_hover() -> None:
    with timezone.override(BERLIN):
        early, late = stamp(utc(2026, 10, 25, 0, 30)), stamp(utc(2026, 10, 25, 1, 30))
    assert ">2026-10-25 02:30:00<" in early
    assert ">2026-10-25 02:30:00<" in late
    assert "2026-10-25 00:30:00 UTC" in early
    assert "2026-10-25 01:30:00 UTC" in late


def test_an_address_means_the_same_to_whoever_opens_it(
    world: SimpleNamespace, as_user: Door, run: Instance
) -> None:
    prefer(world, VERA, NEW_YORK)
    prefer(world, OMAR, KOLKATA)
    vera, omar = as_user(VERA), as_user(OMAR)
    query = {"start_from": "2026-06-30T20:30", "start_to": "2026-06-30T20:30:30", "zone": NEW_YORK}
    for client, shown in (
        (vera, "2026-06-30T20:30"),
        (omar, "2026-07-01T06:00"),
        (as_user(DANA), "2026-07-01T00:30"),
    ):
        found = client.get(LIST, query).context["cl"]
        assert [one.pk for one in found.result_list] == [run.pk]
        assert found.filter_form["start_from"].value() == shown
    assert f'name="zone" value="{KOLKATA}"' in omar.get(LIST, query).content.decode()
    assert 'name="zone"' not in as_user(DANA).get(LIST).content.decode(), "the server's zone needs no name"
    # Without a zone: the server's, as before there were preferences.
    assert omar.get(LIST, {"start_from": "2026-07-01T00:30"}).context["cl"].result_count == 1
    assert omar.get(LIST, {"start_from": "2026-07-01T00:31"}).context["cl"].result_count == 0


@pytest.mark.parametrize("zone", ["", "Gone/Away", "../x", "<b>"])
def test_a_broken_zone_in_an_address_is_none(zone: str, world: SimpleNamespace, as_user: Door) -> None:
    prefer(world, VERA, BERLIN)
    answer = as_user(VERA).get(LIST, {"start_from": "2026-07-01T00:30", "data_to": "nonsense", "zone": zone})
    assert answer.status_code == 200
    assert "<b>" not in answer.content.decode().split('name="zone"')[1][:60]


def test_a_saved_view_and_an_operation_on_all_keep_the_zone(
    world: SimpleNamespace, as_user: Door, run: Instance
) -> None:
    times = {"start_from": "2026-06-30T20:30", "start_to": "2026-06-30T20:31", "zone": NEW_YORK}
    query = urlencode(times)
    saved_views.save(world.cast[SUSAN], "instances", "night", query, saved_views.EVERYBODY)
    assert SavedView.objects.get().query == query
    prefer(world, OMAR, KOLKATA)
    operate = reverse("admin:instances_instance_operate", args=("rerun",))
    page = as_user(OMAR).get(operate, {"all": "1", "query": query})
    assert page.context["choice"].found == 1
    assert ("Start time from", f"2026-07-01 06:00:00 {KOLKATA}") in page.context["choice"].words


# Downloads


@pytest.mark.parametrize("zone", ["", NEW_YORK])
def test_a_download_is_in_the_zone_that_it_names(
    zone: str, world: SimpleNamespace, as_user: Door, run: Instance
) -> None:
    prefer(world, VERA, zone)
    answer: Any = as_user(VERA).post(f"{DOWNLOAD}?state=success", {"format": "csv"})
    # The pieces are made when the request is over and its zone is put back.
    [row] = csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode()))
    began = "2026-06-30 20:30:00" if zone else "2026-07-01 00:30:00"
    assert row[f"start time ({zone or 'UTC'})"] == began
    assert (row["data time"], row["time zone"]) == ("2026-03-26 00:00:00", "UTC")


def test_the_days_of_the_trend_are_the_servers(world: SimpleNamespace, as_user: Door) -> None:
    prefer(world, VERA, "Pacific/Kiritimati")
    shown = as_user(VERA).get(reverse("admin:index"))
    assert shown.context["days"][0].day == timezone.localdate()
    assert "days of the server, in UTC" in shown.content.decode()
