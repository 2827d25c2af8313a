"""Two clocks: a firing's time to live, and a listener's patience. Neither needs traffic."""

import datetime as dt

import pytest
from django.utils import timezone

from events import expiry, firing, matching
from events.models import Consumption, EventInstance, Firing, Stray, Wait
from instances.models import Instance
from tests import factories as make
from tests.engine.harness import _django_db_helper, executions, fresh, history, overtake, race, state
from tests.events import scene
from tests.events.scene import HOUR, TODAY, assert_sound, fire, make_event, states, waiting

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

WEEKS = dt.timedelta(days=30)


class TestTimeToLive:
    def test_nobody_came(self) -> None:
        event = make_event()
        fire(event)
        assert expiry.expire() == 0
        scene.age_firings(event, WEEKS)
        assert expiry.expire() == 1
        assert states(event) == ["expired"]
        assert expiry.expire() == 0

    def test_a_broadcast_that_was_consumed_ends_as_consumed(self) -> None:
        event = make_event()
        waiting(event)
        fire(event)
        scene.age_firings(event, WEEKS)
        assert expiry.expire() == 1
        assert states(event) == ["consumed"]

    def test_what_was_consumed_has_no_clock(self) -> None:
        event = make_event(delivery="SINGLE")
        waiting(event)
        fire(event)
        scene.age_firings(event, WEEKS)
        assert expiry.expire() == 0
        assert states(event) == ["consumed"]

    def test_what_is_not_settled_waits_for_its_batch(self) -> None:
        event = make_event()
        instance = waiting(event)
        scene.unsettled(event)
        scene.age_firings(event, WEEKS)
        assert expiry.expire() == 0
        matching.settle_left()
        assert state(instance) == "wait_run"
        assert expiry.expire() == 1
        assert states(event) == ["consumed"]

    def test_more_than_a_batch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(expiry, "BATCH", 10)
        event = make_event(cycle="MIN")
        firing.fire_range(event, "202603250000", "202603250029", source="admin")
        scene.age_firings(event, WEEKS)
        assert sum(race(*[expiry.expire] * 3)) >= 30
        assert set(states(event)) == {"expired"}

    def test_an_expired_one_serves_nobody(self) -> None:
        event = make_event()
        fire(event)
        scene.age_firings(event, WEEKS)
        first = waiting(event)
        expiry.expire()
        assert state(first) == state(waiting(event)) == "wait_event"
        assert_sound()

    def test_the_clock_against_an_instance_that_comes(self) -> None:
        """Whoever is first; never both."""
        event = make_event()
        fire(event)
        scene.age_firings(event, WEEKS)
        _, [came] = overtake(expiry.expire, lambda: waiting(event))
        assert (state(came), states(event)) == ("wait_event", ["expired"])
        assert_sound()


class TestPatience:
    def test_an_instance_that_waited_too_long_is_ended_with_a_code_of_its_own(self) -> None:
        event = make_event(name="orders_ready")
        instance = waiting(event, max_wait=2 * HOUR)
        patient = waiting(event)
        assert expiry.end_overdue() == 0
        scene.age_waits(instance, patient)
        assert expiry.end_overdue() == 1
        ended = fresh(instance)
        assert (ended.state, ended.error_code) == ("failed", "EVENT_TIMEOUT")
        assert ended.error_message == "Event orders_ready 20260325 did not come within 2 hours."
        assert history(instance) == ["wait_timeout"]
        assert executions(instance) == ["cancelled"]
        assert state(patient) == "wait_event"
        assert Wait.objects.get(instance=instance.pk).withdrawn_at is not None
        assert_sound()

    def test_the_event_that_comes_later_finds_nobody(self) -> None:
        event = make_event(delivery="SINGLE")
        instance = waiting(event, max_wait=HOUR)
        scene.age_waits(instance)
        expiry.end_overdue()
        fire(event)
        assert states(event) == ["to_be_consumed"]
        assert state(instance) == "failed"

    def test_one_of_several_events_is_enough_to_end_it(self) -> None:
        first, second = make_event(), make_event()
        instance = waiting(first, second, max_wait=90 * HOUR)
        fire(first)
        scene.age_waits(instance)
        assert expiry.end_overdue() == 1
        assert fresh(instance).error_message == f"Event {second.name} 20260325 did not come within 90 hours."

    @pytest.mark.parametrize(
        ("wait", "said"),
        [
            (dt.timedelta(days=1), "1 day"),
            (dt.timedelta(hours=36), "36 hours"),
            (dt.timedelta(minutes=90), "90 minutes"),
            (dt.timedelta(seconds=1), "1 second"),
        ],
    )
    def test_the_message_says_how_long(self, wait: dt.timedelta, said: str) -> None:
        instance = waiting(make_event(), max_wait=wait)
        scene.age_waits(instance)
        expiry.end_overdue()
        assert fresh(instance).error_message.endswith(f"within {said}.")

    def test_a_frozen_instance_has_time_and_hides_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(expiry, "BATCH", 2)
        event = make_event()
        crowd = [waiting(event, max_wait=HOUR) for _ in range(5)]
        Instance.objects.filter(pk__in=[one.pk for one in crowd[:3]]).update(frozen_at=timezone.now())
        scene.age_waits(*crowd)
        assert expiry.end_overdue() == 2
        assert [state(one) for one in crowd] == ["wait_event"] * 3 + ["failed"] * 2
        matching.postpone({one.pk: 2 * WEEKS for one in crowd[:3]})
        Instance.objects.update(frozen_at=None)
        assert expiry.end_overdue() == 0
        assert_sound()

    def test_the_clock_and_the_event_at_the_same_moment(self) -> None:
        for clock_first in (True, False):
            event = make_event()
            instance = waiting(event, max_wait=HOUR)
            scene.age_waits(instance)
            doors = [expiry.end_overdue, lambda event=event: fire(event)]
            overtake(*(doors if clock_first else reversed(doors)))
            assert state(instance) == ("failed" if clock_first else "wait_run")
            assert states(event) == ["to_be_consumed" if clock_first else "consuming"]
            assert_sound()

    def test_two_clocks_at_once_end_it_once(self) -> None:
        event = make_event()
        crowd = [waiting(event, max_wait=HOUR) for _ in range(20)]
        scene.age_waits(*crowd)
        assert sum(race(*[expiry.end_overdue] * 3)) == 20
        assert {tuple(history(one)) for one in crowd} == {("wait_timeout",)}
        assert_sound()

    def test_a_left_over_wait_is_withdrawn_by_the_clock(self) -> None:
        instance = waiting(make_event(), max_wait=HOUR)
        Instance.objects.update(state="failed", end_time=timezone.now())
        scene.age_waits(instance)
        assert expiry.end_overdue() == 0
        assert Wait.objects.get().withdrawn_at is not None


class TestKeeping:
    def test_old_firings_go_with_what_belongs_to_them(self) -> None:
        event = make_event()
        waiting(event)
        fire(event)
        fire(event, "20260326")
        firing.fire(event.project, [("nobody", TODAY)], source="api")
        scene.age_firings(event, 5 * WEEKS)
        expiry.expire()
        kept = fire(event, "20260327").event_instances
        Firing.objects.exclude(event_instances__in=kept).update(created_at=timezone.now() - 5 * WEEKS)
        before = timezone.now() - 3 * WEEKS
        while expiry.remove_old(before, limit=1):
            pass
        assert list(EventInstance.objects.values_list("id", flat=True)) == kept
        assert Firing.objects.count() == 1
        assert not Stray.objects.exists()
        assert not Consumption.objects.exists()

    def test_one_that_still_lives_is_kept(self) -> None:
        event = make_event(time_to_live=366)
        fire(event)
        scene.age_firings(event, 5 * WEEKS)
        assert expiry.remove_old(timezone.now()) == 0

    def test_an_instance_that_is_removed_takes_its_waits_along(self) -> None:
        event = make_event()
        instance = waiting(event)
        fire(event)
        matching.forget([instance.pk])
        assert not Wait.objects.exists()
        assert not Consumption.objects.exists()

    def test_users_and_projects(self) -> None:
        event = make_event()
        user = make.make_user("gone")
        fire(event, user=user)
        user.delete()
        assert Firing.objects.get().user_name == "gone"
