"""The pages of events: definitions, the list of event instances, who consumed them."""

import datetime as dt
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from events import firing
from events.models import Event, EventInstance
from tests.admin.rows import HOSTILE
from tests.events import scene
from tests.events.scene import TODAY, fire, listen, make_event, waiting
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA
from weops.console.paging import CappedPaginator

AsUser = Callable[[str], Client]
LIST = "admin:events_eventinstance_changelist"
FIRE = "admin:events_eventinstance_fire"
INBOX = "admin:events_eventinstance_near_misses"


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def listed(client: Client, **filters: str) -> list[str]:
    """Data times of the list's rows, in order."""
    page = text(client.get(reverse(LIST), filters))
    return re.findall(r'<span class="wo-time">(\d{8,14})</span>', page)


class TestDefinition:
    def test_an_author_defines_an_event(self, world: SimpleNamespace, as_user: AsUser) -> None:
        sent = {
            "project": world.ours.project.pk, "name": "orders_ready", "cycle": "HOUR", "delivery": "SINGLE",
            "time_to_live": "2", "time_to_live_unit": "DAYS", "description": "x",
        }  # fmt: skip
        answer = as_user(DANA).post(reverse("admin:events_event_add"), sent)
        assert answer.status_code == 302
        event = Event.objects.get()
        assert (event.format, event.lives, event.delivery) == ("yyyyMMddHH", "2 days", "SINGLE")

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"name": "1st"}, "beginning with a letter"),
            ({"name": "a" * 21}, "at most 20"),
            ({"name": "ours_ready"}, "already exists"),
            ({"time_to_live": "0"}, "greater than or equal to 1"),
            ({"time_to_live": "400"}, "more than a year"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, columns: dict[str, str], said: str, ours: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        sent = {
            "project": world.ours.project.pk, "name": "orders_ready", "cycle": "HOUR", "delivery": "SINGLE",
            "time_to_live": "2", "time_to_live_unit": "DAYS", **columns,
        }  # fmt: skip
        assert said in text(as_user(DANA).post(reverse("admin:events_event_add"), sent))
        assert Event.objects.count() == 1

    def test_its_identity_stays_as_it_was_made(self, ours: Event, as_user: AsUser) -> None:
        sent = {
            "name": "other",
            "cycle": "HOUR",
            "delivery": "SINGLE",
            "time_to_live": "3",
            "time_to_live_unit": "HOURS",
        }
        address = reverse("admin:events_event_change", args=(ours.pk,))
        assert as_user(DANA).post(address, sent).status_code == 302
        ours.refresh_from_db()
        assert (ours.name, ours.cycle, ours.delivery, ours.lives) == (
            "ours_ready",
            "DAY",
            "BROADCAST",
            "3 hours",
        )

    def test_viewers_read_all_of_it(
        self, ours: Event, foreign: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        listen(world.ours.task, ours, max_wait=2)
        listen(world.foreign.task, ours)
        page = text(as_user(VERA).get(reverse("admin:events_event_change", args=(ours.pk,))))
        for shown in ("yyyyMMdd", "7", "The orders are there.", "ours_task", "2 hours", "no limit"):
            assert shown in page
        assert "foreign_task" not in page
        assert f"Task #{world.foreign.task.pk} of another project" in page
        assert "/fire/" not in page
        assert "foreign_ready" not in text(as_user(VERA).get(reverse("admin:events_event_changelist")))

    def test_one_that_is_used_is_not_deleted(
        self, ours: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        address = reverse("admin:events_event_delete", args=(ours.pk,))
        fire(ours)
        assert as_user(DANA).post(address, {"post": "yes"}).status_code == 403
        unused = make_event(world.ours.project)
        as_user(DANA).post(reverse("admin:events_event_delete", args=(unused.pk,)), {"post": "yes"})
        assert list(Event.objects.all()) == [ours]


class TestList:
    def test_the_columns_of_the_specification(
        self, ours: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        listen(world.ours.task, ours, max_wait=2)
        waiting(ours)
        fire(ours, user=world.cast[OMAR], source="admin")
        page = text(as_user(VERA).get(reverse(LIST)))
        for title in (
            "Event name", "Data time", "Cycle type", "Validity time", "Status", "Trigger time", "Consume time",
        ):  # fmt: skip
            assert title in page
        for shown in ("ours_ready", TODAY, "2026-03-25 00:00:00", "Day", "lives 7 days", "listeners wait 2 hours",
                      "Consuming", "omar", "View consumption task"):  # fmt: skip
            assert shown in page, shown
        assert reverse("admin:events_event_change", args=(ours.pk,)) in page

    def test_nobody_sees_another_project(self, ours: Event, foreign: Event, as_user: AsUser) -> None:
        fire(foreign, "20260101")
        fire(ours, "20260102")
        assert listed(as_user(VERA)) == ["20260102"]
        assert listed(as_user(SUSAN)) == ["20260102", "20260101"]
        assert as_user(EVE).get(reverse(LIST)).status_code == 403
        row = EventInstance.objects.get(event=foreign)
        assert (
            as_user(PETRA).get(reverse("admin:events_eventinstance_change", args=(row.pk,))).status_code
            == 404
        )

    def test_filters_above_and_in_the_list(
        self, ours: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        hourly = make_event(
            world.ours.project, "hourly", cycle="HOUR", time_to_live=2, time_to_live_unit="HOURS"
        )
        listen(world.ours.task, ours, max_wait=3)
        listen(world.ours.task, hourly)
        waiting(ours)
        fire(ours, "20260324", TODAY)
        fire(hourly, "2026032508")
        client = as_user(VERA)
        assert listed(client, q="OURS") == [TODAY, "20260324"]
        assert listed(client, q="hourly, nothing") == ["2026032508"]
        assert listed(client, q="nothing") == []
        assert listed(client, data_from="2026-03-25T00:00", data_to="2026-03-25T07:00") == [TODAY]
        assert listed(client, fired_from="2999-01-01T00:00") == []
        assert len(listed(client, fired_from="2000-01-01T00:00", fired_to="2999-01-01T00:00")) == 3
        assert listed(client, cycle="HOUR") == ["2026032508"]
        assert listed(client, state="consuming") == [TODAY]
        assert listed(client, validity="lives:2:HOURS") == ["2026032508"]
        assert listed(client, validity="waits:3:HOURS") == [TODAY, "20260324"]
        assert listed(client, validity="waits::") == ["2026032508"]
        assert listed(client, cycle="DAY", validity="waits::") == []
        for wrong in (
            {"cycle": "WEEK"},
            {"validity": "lives:9:DAYS"},
            {"data_from": "soon"},
            {"before": "x"},
        ):
            assert listed(client, **wrong) == []

    def test_a_data_time_is_filtered_as_it_is_written_whatever_the_zone(
        self, ours: Event, as_user: AsUser, settings: Any
    ) -> None:
        settings.TIME_ZONE = "Asia/Tokyo"
        fire(ours, TODAY)
        assert listed(as_user(VERA), data_from="2026-03-25T00:00", data_to="2026-03-25T00:00") == [TODAY]

    def test_a_page_costs_a_page(self, ours: Event, world: SimpleNamespace, as_user: AsUser) -> None:
        many = make_event(world.ours.project, cycle="MIN")
        firing.fire_range(many, "202603250000", "202603250200", source="admin")
        client = as_user(VERA)
        with CaptureQueriesContext(connection) as few:
            listed(client, q="ours")
        with CaptureQueriesContext(connection) as queries:
            assert len(listed(client)) == 50
        assert len(queries) <= len(few) + 2
        assert listed(client, p="3")[-1] == "202603250000"

    def test_past_what_is_counted_a_mark_goes_on(
        self, ours: Event, as_user: AsUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CappedPaginator, "cap", 60)
        firing.fire_range(ours, "20260101", "20260331", source="admin")
        client = as_user(VERA)
        [mark] = re.findall(r"before=(\d+)", text(client.get(reverse(LIST), {"p": "2"})))
        assert listed(client, before=mark)[0] == "20260130"

    def test_hostile_names_are_text(self, world: SimpleNamespace, as_user: AsUser) -> None:
        firing.fire(world.ours.project, [(HOSTILE, HOSTILE)], source="api")
        assert HOSTILE not in text(as_user(VERA).get(reverse(INBOX)))


class TestConsumption:
    def address(self, event: Event) -> str:
        return reverse("admin:events_eventinstance_change", args=(EventInstance.objects.get(event=event).pk,))

    def test_who_consumed_it(self, ours: Event, world: SimpleNamespace, as_user: AsUser) -> None:
        mine = waiting(ours, task=world.ours.task, data_time=scene.START + dt.timedelta(hours=1))
        theirs = waiting(ours, task=world.foreign.task, data_time=scene.START + dt.timedelta(hours=1))
        fire(ours, user=world.cast[OMAR], request_id="nightly")
        page = text(as_user(VERA).get(self.address(ours)))
        for shown in ("ours_task", "2026-03-25 01:00:00 UTC", "Waiting for execution", "nightly", "omar",
                      f"Instance #{theirs.pk} of another project", "Consumption tasks: 2"):  # fmt: skip
            assert shown in page, shown
        assert reverse("admin:instances_instance_change", args=(mine.pk,)) in page
        assert "foreign_task" not in page

    def test_nobody_yet(self, ours: Event, as_user: AsUser) -> None:
        fire(ours)
        assert "No instance has consumed it." in text(as_user(VERA).get(self.address(ours)))
        assert as_user(SUSAN).post(self.address(ours)).status_code == 405

    def test_many_are_paged(self, ours: Event, as_user: AsUser) -> None:
        scene.crowd(ours, 53)
        fire(ours)
        client = as_user(SUSAN)
        assert text(client.get(self.address(ours))).count('<tr><td class="wo-name">') == 50
        assert text(client.get(self.address(ours), {"p": "2"})).count('<tr><td class="wo-name">') == 3
