"""Firing by hand, the near-miss inbox, and what the pages of tasks and instances say of events."""

import datetime as dt
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from events import expiry, firing
from events.models import Emitter, Event, EventInstance, Firing, Listener, Stray
from instances.engine.states import State
from instances.models import TaskVersion
from tests import factories
from tests.admin.test_task_pages import form_of
from tests.events import scene
from tests.events.scene import TODAY, fire, listen, make_event, waiting
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA

AsUser = Callable[[str], Client]
LIST = "admin:events_eventinstance_changelist"
FIRE = "admin:events_eventinstance_fire"
INBOX = "admin:events_eventinstance_near_misses"


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


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

    def test_in_chinese(self, ours: Event, as_user: AsUser) -> None:
        def post(first: str) -> str:
            return text(
                as_user(OMAR).post(
                    reverse(FIRE), self.form(ours, first), follow=True, headers={"accept-language": "zh-CN"}
                )
            )

        assert "已按 1 个数据时间触发 ours_ready。" in post(TODAY)
        assert "不是 yyyyMMdd 格式的数据时间；请写成 20260325 这样。" in post("2026-03")

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

    def test_dismissing_all_of_a_name(self, missed: Stray, ours: Event, as_user: AsUser) -> None:
        assert "Dismiss all" not in text(as_user(OMAR).get(reverse(INBOX)))
        firing.fire(ours.project, [("our_ready", "20260101"), ("our_ready", "20260102")], source="api")
        assert "Dismiss all 3" in text(as_user(OMAR).get(reverse(INBOX)))
        address = reverse("admin:events_eventinstance_dismiss")
        answer = as_user(OMAR).post(address, {"pk": missed.pk, "alike": "1"}, follow=True)
        assert "3 firings of our_ready are out of the inbox." in text(answer)
        assert not Stray.objects.filter(resolved_at__isnull=True).exists()

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
        for shown in ("It waits for 2 events that have not come.", "ours_project / ours_ready", "1d 23h",
                      f"Event #{foreign.pk} of another project", "Came", TODAY,
                      reverse("admin:events_eventinstance_change", args=(fired[0],))):  # fmt: skip
            assert shown in page, shown
        assert "foreign_ready" not in page
        # The button leads to the form, filled in: pressing it there fires what is waited for.
        form = f"{reverse(FIRE)}?event={ours.pk}&data_time={TODAY}"
        assert form.replace("&", "&amp;") in self.page(as_user(OMAR), instance)
        filled = text(as_user(OMAR).get(form))
        assert f'<option value="{ours.pk}" selected>' in filled
        assert f'name="first" value="{TODAY}"' in filled

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
        form = text(as_user(DANA).get(reverse("admin:instances_task_change", args=(listener.task_id,))))
        assert "ours_ready (ours_project, yyyyMMdd)" in form

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
        assert [row["text"] for row in offered] == ["ours_ready (ours_project, yyyyMMdd)"]
