"""The pages of events: who sees what, the list of event instances, firing by hand, the inbox, the task's page."""

import datetime as dt
import re
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from events import expiry, firing
from events.models import Emitter, Event, EventInstance, Firing, Listener, Stray
from instances.engine.states import State
from instances.models import TaskVersion
from tests import factories
from tests.admin.rows import HOSTILE
from tests.admin.test_task_pages import form_of
from tests.events import scene
from tests.events.scene import TODAY, fire, listen, make_event, waiting
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA
from weops.console.paging import CappedPaginator

AsUser = Callable[[str], Client]
LIST = "admin:events_eventinstance_changelist"
FIRE = "admin:events_eventinstance_fire"
INBOX = "admin:events_eventinstance_near_misses"


@pytest.fixture
def ours(world: SimpleNamespace) -> Event:
    return make_event(world.ours.project, "ours_ready", description="The orders are there.")


@pytest.fixture
def foreign(world: SimpleNamespace) -> Event:
    return make_event(world.foreign.project, "foreign_ready")


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


class TestFiring:
    def form(self, event: Event, first: str, last: str = "") -> dict[str, Any]:
        return {"event": event.pk, "first": first, "last": last, "request": str(uuid.uuid4())}

    def test_one_data_time(self, ours: Event, world: SimpleNamespace, as_user: AsUser) -> None:
        instance = waiting(ours, task=world.ours.task, data_time=scene.START + dt.timedelta(hours=2))
        answer = as_user(OMAR).post(reverse(FIRE), self.form(ours, TODAY), follow=True)
        assert "ours_ready was fired for 1 data time." in text(answer)
        instance.refresh_from_db()
        assert instance.state == State.WAIT_RUN
        row = Firing.objects.get()
        assert (row.source, row.user) == ("admin", world.cast[OMAR])

    def test_a_continuous_range(self, ours: Event, as_user: AsUser) -> None:
        as_user(OMAR).post(reverse(FIRE), self.form(ours, "20260227", "20260302"))
        assert list(EventInstance.objects.order_by("id").values_list("data_time", flat=True)) == [
            "20260227", "20260228", "20260301", "20260302"
        ]  # fmt: skip

    def test_a_form_sent_twice_fires_once(self, ours: Event, as_user: AsUser) -> None:
        sent = self.form(ours, TODAY)
        as_user(OMAR).post(reverse(FIRE), sent)
        answer = as_user(OMAR).post(reverse(FIRE), sent, follow=True)
        assert "nothing was fired again" in text(answer)
        assert EventInstance.objects.count() == 1

    @pytest.mark.parametrize(
        ("first", "last", "said"),
        [
            ("2026", "", "in the format yyyyMMdd"),
            (TODAY, "20260101", "before it begins"),
            ("", "", "required"),
        ],
    )
    def test_what_cannot_be_fired(
        self, first: str, last: str, said: str, ours: Event, as_user: AsUser
    ) -> None:
        assert said in text(as_user(OMAR).post(reverse(FIRE), self.form(ours, first, last)))
        assert not EventInstance.objects.exists()

    def test_the_same_form_for_other_data_times_is_told(self, ours: Event, as_user: AsUser) -> None:
        sent = self.form(ours, TODAY)
        as_user(OMAR).post(reverse(FIRE), sent)
        assert "was used on" in text(as_user(OMAR).post(reverse(FIRE), {**sent, "first": "20260101"}))

    def test_who_may_not(self, ours: Event, foreign: Event, as_user: AsUser) -> None:
        assert as_user(VERA).post(reverse(FIRE), self.form(ours, TODAY)).status_code == 403
        assert as_user(EVE).get(reverse(FIRE)).status_code == 403
        page = text(as_user(OMAR).post(reverse(FIRE), self.form(foreign, TODAY)))
        assert "valid choice" in page
        assert "foreign_ready" not in page
        assert not EventInstance.objects.exists()

    def test_a_request_from_elsewhere_is_refused(self, ours: Event, world: SimpleNamespace) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(world.cast[SUSAN])
        for address in (
            FIRE,
            "admin:events_eventinstance_fire_as_meant",
            "admin:events_eventinstance_dismiss",
        ):
            assert client.post(reverse(address), self.form(ours, TODAY)).status_code == 403
        assert not EventInstance.objects.exists()

    def test_the_events_page_leads_there(self, ours: Event, as_user: AsUser) -> None:
        page = text(as_user(OMAR).get(reverse("admin:events_event_change", args=(ours.pk,))))
        address = f"{reverse(FIRE)}?event={ours.pk}"
        assert address in page
        assert f'value="{ours.pk}" selected' in text(as_user(OMAR).get(address))


class TestInbox:
    @pytest.fixture
    def missed(self, ours: Event, world: SimpleNamespace) -> Stray:
        waiting(ours, task=world.ours.task, data_time=scene.START + dt.timedelta(hours=1))
        firing.fire(ours.project, [("our_ready", TODAY)], source="api", user=world.cast[DANA])
        return Stray.objects.get()

    def sent(self, missed: Stray, ours: Event) -> dict[str, Any]:
        return {"kind": "stray", "pk": missed.pk, "event": ours.pk, "data_time": TODAY}

    def test_it_shows_what_may_have_been_meant(self, missed: Stray, ours: Event, as_user: AsUser) -> None:
        page = text(as_user(VERA).get(reverse(INBOX)))
        for shown in (
            "our_ready",
            "There is no such event",
            "ours_ready",
            "a name nearly the same",
            "1 instance",
            "dana",
        ):
            assert shown in page, shown
        assert "Fire this" not in page
        assert "Fire this" in text(as_user(OMAR).get(reverse(INBOX)))

    def test_one_click_fires_it_as_meant(self, missed: Stray, ours: Event, as_user: AsUser) -> None:
        address = reverse("admin:events_eventinstance_fire_as_meant")
        answer = as_user(OMAR).post(address, self.sent(missed, ours), follow=True)
        assert "ours_ready was fired for 1 data time." in text(answer)
        assert "our_ready" not in text(as_user(OMAR).get(reverse(INBOX)))
        row = Firing.objects.get(source="inbox")
        assert row.user_name == OMAR

    def test_dismissing(self, missed: Stray, as_user: AsUser) -> None:
        address = reverse("admin:events_eventinstance_dismiss")
        assert as_user(VERA).post(address, {"pk": missed.pk}).status_code == 403
        assert as_user(OMAR).post(address, {"pk": missed.pk}).status_code == 302
        missed.refresh_from_db()
        assert missed.resolved_by is not None
        assert as_user(OMAR).get(address).status_code == 405

    def test_who_may_not(self, missed: Stray, ours: Event, foreign: Event, as_user: AsUser) -> None:
        address = reverse("admin:events_eventinstance_fire_as_meant")
        assert as_user(VERA).post(address, self.sent(missed, ours)).status_code == 403
        assert as_user(OMAR).post(address, self.sent(missed, foreign)).status_code == 403
        assert as_user(EVE).get(reverse(INBOX)).status_code == 403
        firing.fire(foreign.project, [("elsewhere", TODAY)], source="api")
        other = Stray.objects.latest("id")
        dismiss = reverse("admin:events_eventinstance_dismiss")
        assert as_user(PETRA).post(dismiss, {"pk": other.pk}).status_code == 404
        assert "elsewhere" not in text(as_user(PETRA).get(reverse(INBOX)))

    @pytest.mark.parametrize(
        "columns", [{"event": "x"}, {"event": "9" * 30}, {"kind": "other"}, {"event": ""}]
    )
    def test_broken_requests(
        self, columns: dict[str, str], missed: Stray, ours: Event, as_user: AsUser
    ) -> None:
        address = reverse("admin:events_eventinstance_fire_as_meant")
        assert as_user(SUSAN).post(address, {**self.sent(missed, ours), **columns}).status_code == 400

    def test_an_empty_inbox(self, ours: Event, as_user: AsUser) -> None:
        fire(ours)
        scene.age_firings(ours, dt.timedelta(days=8))
        expiry.expire()
        assert "Every firing was heard" in text(as_user(VERA).get(reverse(INBOX)))


class TestInstancePage:
    def page(self, client: Client, instance: Any) -> str:
        return text(client.get(reverse("admin:instances_instance_change", args=(instance.pk,))))

    def test_it_says_what_it_waits_for_and_how_long(
        self, ours: Event, foreign: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        came = make_event(world.ours.project, "came")
        task, data_time = world.ours.task, scene.START + dt.timedelta(hours=1)
        instance = waiting(ours, foreign, came, task=task, data_time=data_time, max_wait=dt.timedelta(days=2))
        fired = fire(came).event_instances
        page = self.page(as_user(VERA), instance)
        for shown in ("It waits for 2 events that have not come yet.", "ours_project / ours_ready", "1d 23h",
                      f"Event #{foreign.pk} of another project", "Came", TODAY,
                      reverse("admin:events_eventinstance_change", args=(fired[0],))):  # fmt: skip
            assert shown in page, shown
        assert "foreign_ready" not in page

    def test_an_event_that_did_not_come(self, ours: Event, world: SimpleNamespace, as_user: AsUser) -> None:
        instance = waiting(
            ours,
            task=world.ours.task,
            data_time=scene.START + dt.timedelta(hours=1),
            max_wait=dt.timedelta(hours=2),
        )
        scene.age_waits(instance)
        assert "its time is over" in self.page(as_user(VERA), instance)
        expiry.end_overdue()
        page = self.page(as_user(VERA), instance)
        for shown in ("EVENT_TIMEOUT", "did not come within 2 hours", "Not waited for", "near-miss inbox"):
            assert shown in page, shown


class TestTaskPage:
    def listening(self, event: Event, **columns: str) -> dict[str, Any]:
        return {
            "listeners-TOTAL_FORMS": 1,
            "listeners-0-event": event.pk,
            "listeners-0-max_wait": "2",
            "listeners-0-max_wait_unit": "HOURS",
            **{f"listeners-0-{name}": value for name, value in columns.items()},
        }

    def firing(self, event: Event) -> dict[str, Any]:
        return {"emitters-TOTAL_FORMS": 1, "emitters-0-event": event.pk}

    def test_listening_and_firing_are_parts_of_the_task(
        self, ours: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        sent = form_of(world, **self.listening(ours), **self.firing(ours))
        assert as_user(DANA).post(reverse("admin:instances_task_add"), sent).status_code == 302
        listener, emitter = Listener.objects.get(), Emitter.objects.get()
        assert (listener.event, listener.max_wait, listener.max_wait_unit) == (ours, 2, "HOURS")
        assert (emitter.task.name, emitter.event) == ("made_by_hand", ours)
        version = TaskVersion.objects.get(task=listener.task)
        assert version.definition["events"]["fires"] == [{"event": {"id": ours.pk, "name": "ours_ready"}}]
        page = text(as_user(VERA).get(reverse("admin:instances_task_change", args=(listener.task_id,))))
        assert "Listens to events" in page
        assert "Fires events" in page

    @pytest.mark.parametrize(
        ("columns", "said"),
        [({"max_wait": "0"}, "greater than or equal"), ({"max_wait": "9999"}, "more than a year")],
    )
    def test_a_wait_that_cannot_be(
        self, columns: dict[str, str], said: str, ours: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        sent = form_of(world, **self.listening(ours, **columns))
        assert said in text(as_user(DANA).post(reverse("admin:instances_task_add"), sent))
        assert not Listener.objects.exists()

    def test_only_what_one_sees_is_listened_to_and_only_what_one_operates_fired(
        self, foreign: Event, world: SimpleNamespace, as_user: AsUser
    ) -> None:
        add = reverse("admin:instances_task_add")
        assert "valid choice" in text(as_user(DANA).post(add, form_of(world, **self.listening(foreign))))
        factories.make_user(DANA, project=world.foreign.project, role="viewer")
        assert "valid choice" in text(as_user(DANA).post(add, form_of(world, **self.firing(foreign))))
        assert as_user(DANA).post(add, form_of(world, **self.listening(foreign))).status_code == 302
        assert Listener.objects.get().event == foreign
        assert not Emitter.objects.exists()

    def test_what_a_version_says_of_events(self, ours: Event, world: SimpleNamespace) -> None:
        task = world.ours.task
        assert "events" not in TaskVersion.objects.get(task=task).definition
        listen(task, ours, max_wait=2)
        Emitter.objects.create(task=task, event=ours)
        version = factories.submit(task)
        assert version.number == 2
        named = {"id": ours.pk, "name": "ours_ready"}
        assert version.definition["events"] == {
            "listens_to": [{"event": named, "max_wait": 2, "unit": "HOURS"}],
            "fires": [{"event": named}],
        }
        Listener.objects.all().delete()
        Emitter.objects.all().delete()
        assert "events" not in factories.submit(task).definition

    def test_events_of_other_projects_are_offered_by_right(
        self, ours: Event, foreign: Event, as_user: AsUser
    ) -> None:
        asked = {"app_label": "events", "model_name": "listener", "field_name": "event", "term": "_ready"}
        offered = as_user(DANA).get(reverse("admin:autocomplete"), asked).json()["results"]
        assert [row["text"] for row in offered] == ["ours_ready"]
