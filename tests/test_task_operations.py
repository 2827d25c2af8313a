"""Operations on tasks: what they change, what is refused and to whom, what stands on record, and many at once."""

import datetime as dt
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from instances import definitions, task_operations
from instances.engine import generation, lifecycle, owners
from instances.engine.states import TaskStatus
from instances.models import Instance, OperationRecord, Task
from instances.models.operation import OperationState
from instances.task_operations import (
    NO_SUCH_TASK,
    ChangeOwner,
    Outcome,
    Pause,
    Resume,
    Submit,
    TakeOffline,
    TaskOperation,
)
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import DAY, HOUR, JANUARY, _django_db_helper, due, make_due, started, state
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA
from weops.projects.models import Member

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
HOSTILE = "a\0b <script>alert('x')</script> \ud800 " + "x" * 10_000


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def one(operation: TaskOperation, task: Task, user: Any = None, **asked: Any) -> Outcome:
    """Its outcome for the task, which is brought up to date."""
    [outcome] = task_operations.apply(operation, [task.pk], user=user, **asked)
    task.refresh_from_db()
    return outcome


def record_of(outcome: Outcome) -> OperationRecord:
    assert outcome.record is not None, outcome.message
    return outcome.record


@pytest.fixture
def task() -> Task:
    """Scheduled since January 2013, every day; nothing is generated yet."""
    task = make.make_task()
    make.submit(task, since=JANUARY - HOUR)
    return task


class TestPause:
    def test_nothing_is_generated_until_it_is_resumed(self, task: Task) -> None:
        assert one(Pause(), task).done
        assert task.status == TaskStatus.PAUSED
        assert generation.generate().instances == 0

    def test_the_record_says_who_when_what_why_and_from_what_to_what(self, task: Task) -> None:
        petra = make.make_user(PETRA, project=task.workflow.project)
        record = record_of(one(Pause(), task, petra, source="admin", reason="maintenance"))
        assert (record.kind, record.operator, record.operator_name) == ("pause_task", petra, "petra")
        assert (record.source, record.reason, record.state) == (
            "admin",
            "maintenance",
            OperationState.SUCCESS,
        )
        assert record.finished_at is not None
        assert record.finished_at >= record.created_at
        assert record.options == {
            "task": task.pk,
            "name": task.name,
            "before": {"status": "scheduling"},
            "after": {"status": "paused"},
        }

    def test_twice_is_refused_and_not_on_record(self, task: Task) -> None:
        one(Pause(), task)
        outcome = one(Pause(), task)
        assert (
            outcome.message == f"{task.name} is paused: pause is allowed only for tasks that are scheduling."
        )
        assert OperationRecord.objects.filter(kind="pause_task").count() == 1

    def test_a_hostile_reason_is_kept_as_far_as_it_can_be(self, task: Task) -> None:
        record = record_of(one(Pause(), task, reason=HOSTILE))
        kept = OperationRecord.objects.get(pk=record.pk).reason
        assert "<script>alert('x')</script>" in kept
        assert "\0" not in kept
        assert len(kept) <= 4000


class TestKill:
    def test_what_has_not_ended_is_terminated_by_an_operation_of_its_own(self) -> None:
        days = due(4, group=make.make_group(1))
        task = days[0].task
        [claimed] = started(days[0])
        lifecycle.mark_success([days[3].pk])
        petra = make.make_user(PETRA, project=task.workflow.project)
        record = record_of(one(Pause(kill=True), task, petra, source="api", reason="bad data"))
        assert [state(day) for day in days] == ["terminating", "failed", "failed", "success"]
        kill = OperationRecord.objects.get(pk=record.options["kill"])
        assert (kill.kind, kill.operator, kill.source, kill.total, kill.done) == (
            "terminate", petra, "api", 3, 3,
        )  # fmt: skip
        assert task.name in kill.reason
        assert kill.reason.endswith("bad data")
        lifecycle.finish([harness.good(claimed)])
        assert state(days[0]) == "failed"
        harness.assert_sound()

    def test_only_instances_of_the_tasks_that_were_paused(self) -> None:
        [mine], [other], [refused] = due(), due(), due()
        one(Pause(), refused.task)
        task_operations.apply(Pause(kill=True), [mine.task_id, refused.task_id], user=None)
        assert [state(mine), state(other), state(refused)] == ["failed", "wait_run", "wait_run"]

    def test_nothing_to_kill(self, task: Task) -> None:
        record = record_of(one(TakeOffline(kill=True), task))
        assert record.options["kill"] is None
        assert not OperationRecord.objects.filter(kind="terminate").exists()

    def test_many_tasks_are_killed_by_one_operation(self) -> None:
        rows = [due(2) for _ in range(3)]
        outcomes = task_operations.apply(
            TakeOffline(kill=True), [days[0].task_id for days in rows], user=None
        )
        [kill] = {record_of(outcome).options["kill"] for outcome in outcomes}
        assert OperationRecord.objects.get(pk=kill).done == 6
        assert set(Instance.objects.values_list("state", flat=True)) == {"failed"}

    def test_a_generation_at_the_same_moment_is_killed_too(self) -> None:
        """Either it comes before the pause, and its instances are found, or after it, and makes none."""
        tasks = [make_due(3) for _ in range(4)]
        for task in tasks:
            harness.race(
                generation.generate, partial(task_operations.apply, Pause(kill=True), [task.pk], user=None)
            )
            generation.generate()
            assert not Instance.objects.filter(task=task).exclude(state="failed").exists()


class TestResume:
    def test_from_now_on_leaves_a_hole(self, task: Task) -> None:
        one(Pause(), task)
        assert one(Resume(now=JANUARY + 9.5 * DAY), task).done
        assert task.status == TaskStatus.SCHEDULING
        generation.generate(JANUARY + 10.5 * DAY)
        assert [day.data_time for day in harness.instances_of(task)] == [JANUARY + 10 * DAY]

    def test_the_missed_are_generated_from_where_it_stood(self, task: Task) -> None:
        generation.generate(JANUARY + 1.5 * DAY)
        one(Pause(), task)
        now = JANUARY + 5.5 * DAY
        task.refresh_from_db()
        assert task_operations.missed(task, now).count == 4
        record = record_of(one(Resume(generate_missed=True, now=now), task))
        assert record.options["generate_missed"] is True
        assert record.options["after"] == {"status": "scheduling"}
        assert generation.generate(now).instances == 4
        assert [day.data_time for day in harness.instances_of(task)] == [JANUARY + n * DAY for n in range(6)]

    def test_latest_only_tasks_get_the_last_of_it(self) -> None:
        task = make.make_task(catch_up="latest")
        make.submit(task, since=JANUARY - HOUR)
        one(Pause(), task)
        now = JANUARY + 5.5 * DAY
        assert task_operations.missed(task, now).count == 1
        one(Resume(generate_missed=True, now=now), task)
        generation.generate(now)
        assert [day.data_time for day in harness.instances_of(task)] == [JANUARY + 5 * DAY]

    @pytest.mark.parametrize(
        "schedule",
        [
            {"cycle_type": "HOUR", "step": 3, "timezone": "America/New_York"},
            {"cycle_type": "MINUTE", "step": 30, "window_start": dt.time(22), "window_end": dt.time(3)},
            {"cycle_type": "WEEK", "weekdays": [1, 4], "generation": "T_PLUS_1"},
            {"cycle_type": "CRONTAB", "crontab": "0 0 2 ? * MON-FRI *"},
            {"cycle_type": "DAY", "effective_to": JANUARY + 2.5 * DAY},
        ],
    )
    def test_as_many_as_it_said(self, schedule: dict[str, Any]) -> None:
        task = make.make_task(**schedule)
        make.submit(task, since=JANUARY - HOUR)
        one(Pause(), task)
        now = JANUARY + 9.3 * DAY
        said = task_operations.missed(task, now)
        one(Resume(generate_missed=True, now=now), task)
        assert generation.generate(now).instances == said.count > 0
        assert not said.more

    def test_counting_stops(self, task: Task) -> None:
        one(Pause(), task)
        found = task_operations.missed(task, JANUARY + 99 * DAY, limit=10)
        assert (found.count, found.more) == (10, True)
        found = task_operations.missed(task, JANUARY + 9.5 * DAY, limit=10)
        assert (found.count, found.more) == (10, False)

    def test_nothing_is_missed_by_a_task_that_is_not_paused(self, task: Task) -> None:
        assert task_operations.missed(task, JANUARY + 9 * DAY).count == 0

    def test_a_schedule_that_can_no_longer_be_used_is_refused(self, task: Task) -> None:
        one(Pause(), task)
        Task.objects.filter(pk=task.pk).update(timezone="Mars/Olympus")
        outcome = one(Resume(), task)
        assert "can no longer be scheduled" in outcome.message
        assert "Mars/Olympus" in outcome.message
        assert task.status == TaskStatus.PAUSED
        assert task_operations.missed(task).count == 0

    def test_only_paused_ones(self, task: Task) -> None:
        assert "allowed only for tasks that are paused" in one(Resume(), task).message
        one(TakeOffline(), task)
        assert one(Resume(), task).message.startswith(f"{task.name} is offline")


class TestOfflineAndSubmit:
    def test_offline_until_submitted_again(self, task: Task) -> None:
        one(Pause(), task)
        assert one(TakeOffline(), task).done
        assert not one(TakeOffline(), task).done
        now = JANUARY + 20.5 * DAY
        record = record_of(one(Submit(now=now), task, reason="back in service"))
        assert (task.status, task.generated_until) == (TaskStatus.SCHEDULING, now)
        assert record.kind == "submit_task"
        assert record.options["before"]["status"] == "offline"

    def test_a_first_submit_makes_version_1(self) -> None:
        task = make.make_task(code="echo hi")
        dana = make.make_user(DANA, project=task.workflow.project)
        record = record_of(one(Submit(), task, dana, reason="first"))
        assert task.current_version is not None
        assert (task.current_version.number, task.current_version.note) == (1, "first")
        assert task.current_version.created_by == dana
        assert record.options["after"]["version"] == 1

    def test_one_that_is_wrong_is_refused_and_the_others_proceed(self) -> None:
        good, wrong = make.make_task(code="echo hi"), make.make_task(code="echo ${nobody}")
        outcomes = task_operations.apply(Submit(), [wrong.pk, good.pk], user=None)
        assert [outcome.done for outcome in outcomes] == [False, True]
        assert "nobody" in outcomes[0].message
        good.refresh_from_db()
        assert good.status == TaskStatus.SCHEDULING


class TestOwner:
    def test_the_task_and_what_has_not_ended(self) -> None:
        task = make_due(group=make.make_group(1), effective_to=JANUARY + 9 * DAY)
        generation.generate(JANUARY + 3.5 * DAY)
        days = harness.instances_of(task)
        petra = make.make_user(PETRA, project=task.workflow.project)
        started(days[0])
        lifecycle.mark_success([days[2].pk])
        lifecycle.terminate([days[3].pk])
        record = record_of(one(ChangeOwner(petra), task, petra, reason="dana left"))
        assert task.owner == petra
        assert record.options["before"] == {"owner": "dana"}
        assert record.options["after"] == {"owner": "petra"}
        owned = [harness.fresh(day).owner for day in days]
        assert [owner.username for owner in owned if owner] == ["petra", "petra", "dana", "dana"]
        generation.generate(JANUARY + 5.5 * DAY)
        assert harness.instances_of(task)[-1].owner == petra

    def test_more_than_a_batch(self) -> None:
        days = due(25)
        susan = make.make_user(SUSAN)
        assert owners.hand_over([days[0].task_id], susan.pk, limit=10) == 25
        assert owners.hand_over([days[0].task_id], susan.pk, limit=10) == 0

    @pytest.mark.parametrize("name", [VERA, OMAR, EVE])
    def test_who_cannot_edit_it_cannot_own_it(self, name: str, task: Task) -> None:
        someone = make.make_user(name, project=task.workflow.project)
        outcome = one(ChangeOwner(someone), task)
        assert outcome.message.startswith(f"{name} cannot own {task.name}")
        assert task.owner is not None
        assert task.owner.username == DANA

    @pytest.mark.parametrize("name", [PETRA, SUSAN])
    def test_who_can(self, name: str, task: Task) -> None:
        assert one(ChangeOwner(make.make_user(name, project=task.workflow.project)), task).done

    def test_a_closed_account_cannot(self, task: Task) -> None:
        petra = make.make_user(PETRA, project=task.workflow.project)
        petra.is_active = False
        petra.save()
        assert not one(ChangeOwner(petra), task).done

    def test_possible_owners_are_those_that_are_not_refused(self, task: Task) -> None:
        project = task.workflow.project
        cast = make.make_cast(project)
        found = set(task_operations.possible_owners([project.pk]).values_list("username", flat=True))
        may = {name for name, user in cast.items() if task_operations.may_own(user, project.pk)}
        assert found == may == {DANA, PETRA, SUSAN}

    def test_who_owns_it_already(self, task: Task) -> None:
        dana = make.make_user(DANA, project=task.workflow.project)
        assert one(ChangeOwner(dana), task).message == f"{task.name} belongs to dana already."

    def test_a_change_that_was_cut_short_is_finished_by_the_next(self) -> None:
        [day] = due()
        petra = make.make_user(PETRA, project=day.project)
        Task.objects.filter(pk=day.task_id).update(owner=petra)
        assert one(ChangeOwner(petra), day.task).done
        assert harness.fresh(day).owner == petra

    def test_a_generation_at_the_same_moment_leaves_nobody_behind(self) -> None:
        petra = make.make_user(PETRA)
        for _ in range(4):
            task = make_due(20)
            Member.objects.create(project=task.workflow.project, user=petra, role="admin")
            operation = ChangeOwner(type(petra).objects.get(pk=petra.pk))
            harness.race(generation.generate, partial(task_operations.apply, operation, [task.pk], user=None))
            generation.generate()
            assert set(Instance.objects.filter(task=task).values_list("owner", flat=True)) == {petra.pk}

    def test_it_makes_no_new_version(self) -> None:
        task = make.make_task(code="echo hi")
        make.submit(task)
        petra = make.make_user(PETRA, project=task.workflow.project)
        one(ChangeOwner(petra), task)
        assert not definitions.drifted(task)
        assert make.submit(task).number == 1
        Task.objects.filter(pk=task.pk).update(code="echo other")
        task.refresh_from_db()
        assert definitions.drifted(task)


NEEDS_OPERATE = {OMAR, DANA, PETRA, SUSAN}
NEEDS_AUTHOR = {DANA, PETRA, SUSAN}


class TestRights:
    @pytest.mark.parametrize(
        ("operation", "before", "who"),
        [
            (lambda _: Pause(), TaskStatus.SCHEDULING, NEEDS_OPERATE),
            (lambda _: Pause(kill=True), TaskStatus.SCHEDULING, NEEDS_OPERATE),
            (lambda _: Resume(), TaskStatus.PAUSED, NEEDS_OPERATE),
            (lambda _: Resume(generate_missed=True), TaskStatus.PAUSED, NEEDS_OPERATE),
            (lambda _: TakeOffline(), TaskStatus.SCHEDULING, NEEDS_AUTHOR),
            (lambda _: Submit(), TaskStatus.SCHEDULING, NEEDS_AUTHOR),
            (lambda cast: ChangeOwner(cast[PETRA]), TaskStatus.SCHEDULING, NEEDS_AUTHOR),
        ],
    )
    def test_every_role(
        self, operation: Callable[[Any], TaskOperation], before: str, who: set[str], task: Task
    ) -> None:
        cast = make.make_cast(task.workflow.project)
        for name, user in cast.items():
            Task.objects.filter(pk=task.pk).update(status=before, owner=cast[DANA])
            outcome = one(operation(cast), task, user)
            assert outcome.done == (name in who), (name, outcome.message)
            if name == EVE:
                assert (outcome.message, outcome.name) == (NO_SUCH_TASK, f"#{task.pk}")
            elif not outcome.done:
                assert outcome.message.startswith("You do not have the right to")
                assert task.status == before

    def test_rights_of_another_project_do_not_count(self, task: Task) -> None:
        petra = make.make_user(PETRA, project=make.make_project())
        assert one(Pause(), task, petra).message == NO_SUCH_TASK

    def test_a_closed_account_has_none(self, task: Task) -> None:
        petra = make.make_user(PETRA, project=task.workflow.project)
        petra.is_active = False
        petra.save()
        assert one(Pause(), task, petra).message == NO_SUCH_TASK


class TestMany:
    def test_each_in_the_given_order_once(self) -> None:
        tasks = [make_due() for _ in range(3)]
        one(Pause(), tasks[1])
        ids = [tasks[2].pk, tasks[1].pk, 10**12, tasks[0].pk, tasks[2].pk]
        outcomes = task_operations.apply(Pause(), ids, user=None)
        assert [outcome.task_id for outcome in outcomes] == ids[:4]
        assert [outcome.done for outcome in outcomes] == [True, False, False, True]
        assert outcomes[2].message == NO_SUCH_TASK
        assert set(Task.objects.values_list("status", flat=True)) == {"paused"}
        assert OperationRecord.objects.filter(kind="pause_task").count() == 3

    def test_in_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_operations, "BATCH", 2)
        tasks = [make_due() for _ in range(5)]
        outcomes = task_operations.apply(TakeOffline(), [task.pk for task in tasks], user=None)
        assert [record_of(outcome).options["task"] for outcome in outcomes] == [task.pk for task in tasks]

    def test_a_thousand_cost_few_statements(self, django_assert_max_num_queries: Any) -> None:
        workflow = make.make_workflow()
        first = make_due(workflow=workflow)
        rows = [
            Task(
                workflow=workflow,
                name=f"copy{n}",
                resource_group=first.resource_group,
                status="paused",
                current_version=first.current_version,
                generated_until=JANUARY,
            )
            for n in range(1000)
        ]
        ids = [row.pk for row in Task.objects.bulk_create(rows)]
        with django_assert_max_num_queries(60):
            outcomes = task_operations.apply(Resume(), ids, user=None)
        assert all(outcome.done for outcome in outcomes)

    def test_nothing_chosen(self) -> None:
        assert task_operations.apply(Pause(), [], user=None) == []

    def test_two_people_pause_it_at_once(self, task: Task) -> None:
        answers = harness.race(*[lambda: task_operations.apply(Pause(), [task.pk], user=None)] * 4)
        assert [answer[0].done for answer in answers].count(True) == 1
