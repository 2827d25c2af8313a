"""Running a task once, now: its instance, its parents, its schedule, parameters, rights; and two at the same moment."""

import datetime as dt
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from instances.engine import generation, lifecycle
from instances.engine.lifecycle import Claimed
from instances.engine.schedule import is_data_time
from instances.models import Edge, Execution, Instance, OperationRecord, Task
from instances.operations.parsing import OptionError
from instances.run_once import RunOnce, data_time_now, run_once
from instances.task_operations import NO_SUCH_TASK, Outcome, Pause, TakeOffline, apply
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    HOUR,
    JANUARY,
    _django_db_helper,
    assert_sound,
    due,
    fresh,
    good,
    make_due,
    started,
    state,
)
from tests.events.scene import consumers, fire, listen, make_event
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
NOON = JANUARY + 12 * HOUR
NOW = JANUARY + 40 * DAY + HOUR


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def once(task: Task, data_time: dt.datetime | None = NOON, user: Any = None, **options: Any) -> Outcome:
    return run_once(RunOnce(data_time, **options), task.pk, user=user, reason="look", now=NOW)


def made(outcome: Outcome) -> Instance:
    """The instance that it ran."""
    assert outcome.record is not None, outcome.message
    return Instance.objects.get(pk=outcome.record.items.get().instance_id)


def claimed(instance: Instance) -> Claimed:
    """A worker has taken it; it was dispatched when it was made."""
    [one] = lifecycle.claim([fresh(instance).execution_id or 0], "w1")
    return one


def waits_for(instance: Instance) -> list[tuple[int | None, bool, bool]]:
    """(upstream instance, waived, self) of its edges."""
    edges = Edge.objects.filter(instance=instance).order_by("is_self", "upstream_task")
    return [(edge.upstream_id, edge.waived, edge.is_self) for edge in edges]


class TestTheInstance:
    def test_it_is_made_and_dispatched(self, sent: list[Any]) -> None:
        task = make_due()
        outcome = once(task)
        instance = made(outcome)
        assert (instance.data_time, instance.planned_time) == (NOON, NOW)
        assert (instance.instance_type, instance.run_type, instance.life_round) == (
            "non_periodic", "MANUAL_TRIGGER", 0,
        )  # fmt: skip
        assert (instance.state, instance.queue) == ("wait_run", "taken")
        assert [hint.execution_id for hint in sent] == [instance.execution_id]
        assert Execution.objects.get(instance=instance).run_type == "MANUAL_TRIGGER"
        assert_sound()

    def test_the_record(self) -> None:
        task = make_due()
        petra = make.make_user(PETRA, project=task.workflow.project)
        record = run_once(RunOnce(NOON), task.pk, user=petra, source="api", reason="look", now=NOW).record
        assert record is not None
        assert (record.kind, record.operator, record.operator_name, record.source, record.reason) == (
            "run_task_once", petra, "petra", "api", "look",
        )  # fmt: skip
        assert (record.state, record.total, record.done) == ("SUCCESS", 1, 1)
        assert record.options["data_time"] == "2013-01-01T12:00:00+00:00"
        [item] = record.items.all()
        assert (item.outcome, item.from_state, item.to_state, item.before) == ("done", "", "wait_run", None)
        assert item.after is not None
        assert item.after["state"] == "wait_run"

    def test_it_runs_to_its_end_and_the_schedule_goes_on(self) -> None:
        task = make_due(3)
        instance = made(once(task))
        lifecycle.finish([good(claimed(instance))])
        assert state(instance) == "success"
        assert generation.generate().instances == 3
        assert_sound()

    def test_subseconds_are_no_part_of_a_data_time(self) -> None:
        assert made(once(make_due(), NOON + dt.timedelta(microseconds=5))).data_time == NOON

    def test_a_paused_task_can_be_run(self) -> None:
        task = make_due()
        apply(Pause(), [task.pk], user=None)
        assert once(task).done

    def test_two_at_once_are_one_instance(self) -> None:
        """The second meets the first's, and begins a new life of it."""
        task = make_due()
        outcomes = harness.race(lambda: once(task), lambda: once(task))
        instance = Instance.objects.get(task=task)
        assert all(outcome.done for outcome in outcomes)
        assert instance.life_round == 1
        assert_sound()

    def test_a_generation_at_the_same_moment(self) -> None:
        for _ in range(3):
            task = make_due(5)
            harness.race(generation.generate, partial(once, task))
            generation.generate()
            assert Instance.objects.filter(task=task).count() == 6
        assert_sound()


class TestParents:
    def test_they_are_not_checked_and_not_falsified(self) -> None:
        [parent_task], child_task = harness.family(1)
        generation.generate()
        [parent] = harness.instances_of(parent_task)
        instance = made(once(child_task))
        assert waits_for(instance) == [(parent.pk, True, False)]
        claimed(instance)
        assert state(instance) == "running"
        assert state(parent) == "wait_run"
        assert state(harness.instances_of(child_task)[0]) == "wait_upstream"
        assert_sound()

    def test_one_that_is_generated_later_is_bound_to_the_edge(self) -> None:
        [parent_task], child_task = harness.family(1)
        instance = made(once(child_task))
        assert waits_for(instance) == [(None, True, False)]
        generation.generate()
        [parent] = harness.instances_of(parent_task)
        assert waits_for(instance) == [(parent.pk, True, False)]
        assert_sound()

    def test_checked_they_are_waited_for(self) -> None:
        [parent_task], child_task = harness.family(1)
        generation.generate()
        [parent] = harness.instances_of(parent_task)
        instance = made(once(child_task, check_parents=True))
        assert state(instance) == "wait_upstream"
        lifecycle.mark_success([parent.pk])
        assert state(instance) == "wait_run"
        assert_sound()

    def test_nothing_downstream_is_released(self) -> None:
        [parent_task], child_task = harness.family(1)
        generation.generate()
        instance = made(once(parent_task))
        lifecycle.finish([good(claimed(instance))])
        assert state(instance) == "success"
        assert {state(child) for child in harness.instances_of(child_task)} == {"wait_upstream"}

    def test_the_schedule_of_an_orderly_task_does_not_wait_for_it(self) -> None:
        task = make_due(3, self_dependency="orderly")
        generation.generate(JANUARY + HOUR)
        [first] = harness.instances_of(task)
        instance = made(once(task, JANUARY + 1.5 * DAY))
        assert waits_for(instance) == [(first.pk, True, True)]
        lifecycle.terminate([instance.pk])
        generation.generate()
        by_time = {row.data_time: row for row in harness.instances_of(task)}
        last = by_time[JANUARY + 2 * DAY]
        assert waits_for(last) == [(by_time[JANUARY + DAY].pk, False, True)]
        assert_sound()

    def test_a_serial_task_still_runs_one_at_a_time(self) -> None:
        [day] = due(self_dependency="serial")
        started(day)
        instance = made(once(day.task))
        assert fresh(instance).queue == "gated"
        assert_sound()


class TestEvents:
    def test_they_are_ignored_and_left_to_the_schedule(self) -> None:
        """An event that serves one instance a day is for the periodic one."""
        task, event = make_due(), make_event(delivery="SINGLE")
        listen(task, event)
        fire(event, "20130101")
        instance = made(once(task))
        assert state(instance) == "wait_run"
        assert consumers(event) == []
        generation.generate()
        [day] = [row for row in harness.instances_of(task) if row.pk != instance.pk]
        assert consumers(event) == [day.pk]
        assert_sound()

    def test_with_parents_events_are_waited_for(self) -> None:
        task, event = make_due(), make_event()
        listen(task, event)
        instance = made(once(task, check_parents=True))
        assert state(instance) == "wait_event"
        fire(event, "20130101")
        assert state(instance) == "wait_run"
        assert_sound()


class TestDataTimes:
    @pytest.mark.parametrize(
        "schedule",
        [
            {"cycle_type": "MINUTE", "step": 1},
            {"cycle_type": "HOUR"},
            {"cycle_type": "DAY"},
            {"cycle_type": "CRONTAB", "crontab": "* * * * *"},
        ],
    )
    def test_now_is_none_of_the_schedule(self, schedule: dict[str, Any]) -> None:
        task = make.make_task(**schedule)
        found = data_time_now(task, JANUARY + dt.timedelta(microseconds=7))
        assert not is_data_time(task.schedule(), found)
        assert found == JANUARY + dt.timedelta(seconds=1)
        assert data_time_now(task, JANUARY + dt.timedelta(seconds=5.5)) == JANUARY + dt.timedelta(seconds=5)

    def test_now_is_the_default(self) -> None:
        assert made(once(make_due(), None)).data_time == NOW + dt.timedelta(seconds=0)

    def test_one_that_the_schedule_will_generate_is_refused(self) -> None:
        task = make.make_task(at=dt.time(2, 30))
        make.submit(task, since=JANUARY)
        outcome = once(task, JANUARY + 50 * DAY)
        assert not outcome.done
        assert (
            "generates 2013-02-20 00:00:00 UTC itself, to run at 2013-02-20 02:30:00 UTC" in outcome.message
        )
        assert not Instance.objects.exists()
        assert not OperationRecord.objects.filter(kind="run_task_once").exists()

    def test_of_t_plus_1_tasks_too(self) -> None:
        task = make.make_task(generation="T_PLUS_1")
        make.submit(task, since=JANUARY + 0.5 * DAY)
        assert "to run at 2013-01-02 00:00:00 UTC" in once(task, JANUARY).message

    def test_one_that_the_schedule_left_out_can_be_run(self) -> None:
        task = make.make_task()
        make.submit(task, since=JANUARY + 9.5 * DAY)
        assert made(once(task, JANUARY + 4 * DAY)).instance_type == "non_periodic"
        generation.generate(JANUARY + 12 * DAY)
        assert Instance.objects.filter(task=task).count() == 4

    @pytest.mark.parametrize("data_time", [dt.datetime(1, 1, 1, tzinfo=dt.UTC), NOW + 999 * DAY])
    def test_out_of_reach(self, data_time: dt.datetime) -> None:
        assert once(make_due(), data_time).message.startswith("Choose a data time from")


class TestNewLife:
    def test_an_instance_that_exists_runs_again(self) -> None:
        [day] = due()
        lifecycle.mark_success([day.pk])
        outcome = once(day.task, day.data_time)
        instance = made(outcome)
        assert instance.pk == day.pk
        assert (instance.life_round, instance.run_type, instance.instance_type) == (
            1, "MANUAL_TRIGGER", "periodic",
        )  # fmt: skip
        assert outcome.record is not None
        assert outcome.record.options["new_life"] is True
        item = outcome.record.items.get()
        assert (item.from_state, item.to_state) == ("success", "wait_run")
        assert item.before is not None
        assert item.before["state"] == "success"
        assert_sound()

    def test_a_running_one_is_refused_with_what_is_allowed(self) -> None:
        [day] = due()
        started(day)
        outcome = once(day.task, day.data_time)
        assert "is in state Running: rerun is allowed only from Failed, Success" in outcome.message
        assert not OperationRecord.objects.filter(kind="run_task_once").exists()
        assert_sound()

    @pytest.mark.parametrize(
        ("allowed", "ended", "done"),
        [("NONE", "failed", False), ("FAILURE", "success", False), ("FAILURE", "failed", True)],
    )
    def test_the_rerun_permission_holds(self, allowed: str, ended: str, done: bool) -> None:
        [day] = due(rerun_allowed=allowed)
        (lifecycle.terminate if ended == "failed" else lifecycle.mark_success)([day.pk])
        outcome = once(day.task, day.data_time)
        assert outcome.done == done, outcome.message
        assert fresh(day).life_round == int(done)

    def test_a_task_that_allows_no_rerun_may_run_once(self) -> None:
        assert once(make_due(rerun_allowed="NONE")).done


class TestParameters:
    def task(self) -> Task:
        task = make.make_task(
            code="echo ${region} ${day}", parameters={"region": "EWR", "day": "${yyyyMMdd}"}
        )
        make.submit(task, since=JANUARY)
        return task

    def test_they_are_overridden_by_name_for_this_life(self) -> None:
        task = self.task()
        instance = made(once(task, parameters={"region": "JFK"}))
        assert Execution.objects.get(instance=instance).parameters == {"region": "JFK", "day": "${yyyyMMdd}"}
        lifecycle.mark_success([instance.pk])
        again = made(once(task))
        assert again.pk == instance.pk
        assert Execution.objects.filter(instance=instance).latest("id").parameters["region"] == "EWR"

    def test_those_of_the_project_are_known_too(self) -> None:
        task = self.task()
        project = task.workflow.project
        project.parameters = {"team": "ops"}
        project.save()
        assert once(task, parameters={"team": "dev"}).done

    @pytest.mark.parametrize(
        ("parameters", "says"),
        [
            ({"regoin": "JFK"}, "has no parameter regoin; it has: day, region"),
            ({"region": "x" * 200_000}, "with 131,072 characters in all"),
            ({"region": "\0"}, "both as texts"),
            ({"region": "${nobody}"}, "${nobody} is not defined"),
            ({"region": "${yyyyMMdd-1q}"}, "units y M w d h m"),
            ({"region": "${day}", "day": "${region}"}, "in a circle"),
            ({"region": "x" * 200_000 + "${day}", "day": "y" * 200_000}, "characters"),
        ],
    )
    def test_what_cannot_be_filled_in_is_refused(self, parameters: dict[str, str], says: str) -> None:
        outcome = once(self.task(), parameters=parameters)
        assert says in outcome.message
        assert not Instance.objects.exists()


class TestRights:
    def test_every_role(self) -> None:
        task = make_due()
        cast = make.make_cast(task.workflow.project)
        for place, (name, user) in enumerate(cast.items()):
            outcome = once(task, NOON + place * dt.timedelta(seconds=1), user)
            assert outcome.done == (name in {OMAR, DANA, PETRA, SUSAN}), (name, outcome.message)
            if name == EVE:
                assert (outcome.message, outcome.name) == (NO_SUCH_TASK, f"#{task.pk}")

    def test_parameters_need_the_right_to_override(self) -> None:
        assert RunOnce().rights() == {"operate"}
        assert RunOnce(parameters={"region": "JFK"}).rights() == {"operate", "override"}

    def test_no_such_task(self) -> None:
        outcome = run_once(RunOnce(), 10**12, user=None)
        assert (outcome.done, outcome.message, outcome.name) == (False, NO_SUCH_TASK, f"#{10**12}")

    def test_offline_never_submitted_and_disabled(self) -> None:
        offline, draft, disabled = make_due(), make.make_task(), make_due()
        apply(TakeOffline(), [offline.pk], user=None)
        project = disabled.workflow.project
        project.enabled = False
        project.save()
        assert "is offline: run once is allowed only for" in once(offline).message
        assert "is offline: run once is allowed only for" in once(draft).message
        assert "is disabled" in once(disabled).message


class TestOptions:
    def test_as_doors_send_them(self) -> None:
        given = {"data_time": "2013-01-01T13:00:00+01:00", "check_parents": True, "parameters": {"a": "1"}}
        assert RunOnce.parse(given) == RunOnce(NOON, True, {"a": "1"})
        assert RunOnce.parse({}) == RunOnce()

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"date": "2013-01-01"}, "date"),
            ({"data_time": "2013-01-01 12:00:00"}, "data_time"),
            ({"data_time": "noon"}, "data_time"),
            ({"data_time": 5}, "data_time"),
            ({"data_time": "0001-01-01T00:00:00+14:00"}, "data_time"),
            ({"check_parents": "yes"}, "check_parents"),
            ({"parameters": ["a"]}, "parameters"),
            ({"parameters": {"a": 1}}, "parameters"),
            ({"parameters": {"a": "\0"}}, "parameters"),
            ({"parameters": {"a": "\ud800"}}, "parameters"),
        ],
    )
    def test_what_is_refused_names_its_field(self, given: dict[str, Any], field: str) -> None:
        with pytest.raises(OptionError) as caught:
            RunOnce.parse(given)
        assert caught.value.field == field
