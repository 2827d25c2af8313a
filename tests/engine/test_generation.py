"""Generation: each due instance once, with the edges of its dependencies, at a cost of what is due."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from instances import definitions, task_operations
from instances.engine import backlog, generation, lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.schedule import Cycle
from instances.models import Edge, Instance, StateChange, Task
from instances.task_operations import Pause, Resume, TakeOffline
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    HOUR,
    JANUARY,
    _django_db_helper,
    assert_sound,
    due,
    good,
    instances_of,
    make_due,
    run_all,
    started,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

JUST_BEFORE = JANUARY - dt.timedelta(microseconds=1)


def hourly(workflow: Any, hours: int, **columns: Any) -> Task:
    task = make.make_task(
        workflow, cycle_type=Cycle.HOUR, effective_to=JANUARY + (hours - 0.5) * HOUR, **columns
    )
    make.submit(task, since=JUST_BEFORE)
    return task


def times(task: Task) -> list[dt.datetime]:
    return [row.data_time for row in instances_of(task)]


class TestWhatIsDue:
    def test_each_data_time_once(self) -> None:
        task = make_due(31)
        assert generation.generate(JANUARY + 10 * DAY).instances == 11
        assert generation.generate(JANUARY + 10 * DAY).instances == 0
        assert generation.generate(JANUARY + 40 * DAY).instances == 20
        assert times(task) == [JANUARY + n * DAY for n in range(31)]

    def test_what_it_copies_from_the_task(self) -> None:
        project = make.make_project()
        folder = project.folders.create(name="etl")
        workflow = make.make_workflow(project, folder=folder)
        task = make_due(1, workflow=workflow, code="true", priority=3, wait_timeout=HOUR)
        generation.generate()
        [row] = instances_of(task)
        assert (row.instance_type, row.run_type, row.cycle_type, row.task_type) == (
            "periodic", "PERIODIC", "DAY", "SHELL",
        )  # fmt: skip
        assert (row.project, row.workflow, row.folder, row.owner) == (project, workflow, folder, task.owner)
        assert (row.priority, row.resource_group_id, row.planned_time) == (3, task.resource_group_id, JANUARY)
        assert row.wait_deadline is not None
        assert row.wait_deadline - row.wait_since == HOUR
        assert (row.state, row.queue, row.life_round, row.total_runs) == ("wait_run", "ready", 0, 0)

    def test_a_task_in_a_folder_of_its_own(self) -> None:
        project = make.make_project()
        other = project.folders.create(name="other")
        workflow = make.make_workflow(project, folder=project.folders.create(name="etl"))
        task = make_due(1, workflow=workflow, folder=other)
        generation.generate()
        assert instances_of(task)[0].folder == other

    def test_one_off_tasks_run_once_and_are_not_periodic(self) -> None:
        task = make.make_task(cycle_type=Cycle.ONEOFF, run_at=JANUARY)
        make.submit(task, since=JUST_BEFORE)
        generation.generate()
        [row] = instances_of(task)
        assert (row.instance_type, row.run_type) == ("non_periodic", "APERIODIC")
        task.refresh_from_db()
        assert task.next_due_at is None

    def test_t_plus_1_waits_a_cycle_and_keeps_the_data_time(self) -> None:
        task = make_due(10, generation="T_PLUS_1", effective_from=JANUARY)
        assert generation.generate(JANUARY + HOUR).instances == 0
        assert generation.generate(JANUARY + DAY + HOUR).instances == 1
        [row] = instances_of(task)
        assert (row.data_time, row.planned_time) == (JANUARY, JANUARY + DAY)

    def test_latest_only_skips_what_was_missed(self) -> None:
        task = make_due(300, catch_up="latest")
        assert generation.generate(JANUARY + 100 * DAY).instances == 1
        assert times(task) == [JANUARY + 100 * DAY]
        assert generation.generate(JANUARY + 101 * DAY).instances == 1
        assert generation.generate(JANUARY + 110 * DAY).instances == 1
        assert times(task)[-1] == JANUARY + 110 * DAY

    def test_latest_only_costs_one_however_long_it_was_down(self) -> None:
        task = make.make_task(cycle_type=Cycle.MINUTE, step=1, catch_up="latest")
        make.submit(task, since=JANUARY)
        # Thirty million minutes: whoever walks over them does not come back.
        end = JANUARY + 21_000 * DAY
        assert generation.generate(end).instances == 1
        assert times(task) == [end]

    def test_latest_only_in_time_misses_nothing(self) -> None:
        task = make_due(10, catch_up="latest")
        for n in range(10):
            generation.generate(JANUARY + n * DAY)
        assert len(times(task)) == 10

    def test_paused_offline_and_disabled_produce_nothing(self) -> None:
        paused, offline, disabled, active = (make_due(3) for _ in range(4))
        task_operations.apply(Pause(), [paused.pk], user=None)
        task_operations.apply(TakeOffline(), [offline.pk], user=None)
        project = disabled.workflow.project
        project.enabled = False
        project.save(update_fields=["enabled"])
        assert generation.generate().instances == 3
        assert len(times(active)) == 3
        project.enabled = True
        project.save(update_fields=["enabled"])
        assert generation.generate().instances == 3
        assert len(times(disabled)) == 3

    def test_a_resumed_task_goes_on_from_then(self) -> None:
        task = make_due(100)
        generation.generate(JANUARY + 4 * DAY)
        task_operations.apply(Pause(), [task.pk], user=None)
        generation.generate(JANUARY + 8 * DAY)
        task_operations.apply(Resume(now=JANUARY + 9.5 * DAY), [task.pk], user=None)
        generation.generate(JANUARY + 11 * DAY)
        assert times(task) == [JANUARY + n * DAY for n in (0, 1, 2, 3, 4, 10, 11)]

    def test_an_instance_that_exists_already_is_left_alone(self) -> None:
        task = make_due(5)
        generation.generate(JANUARY + 2 * DAY)
        run_all(task)
        definitions.submit(task, user=None, since=JUST_BEFORE)
        assert generation.generate().instances == 2
        assert [row.state for row in instances_of(task)] == ["success"] * 3 + ["wait_run"] * 2

    def test_a_locked_task_waits_for_the_next_tick_and_holds_nobody_up(self) -> None:
        locked, other = make_due(2), make_due(2)
        with harness.transaction.atomic():
            Task.objects.select_for_update().get(pk=locked.pk)
            assert harness.Racer(generation.generate).result().instances == 2
        assert len(times(other)) == 2
        assert generation.generate().instances == 2


class TestBrokenDefinitions:
    """A definition that became impossible says so on its own page; everybody else goes on."""

    def _assert_only_the_broken_stands(self, broken: Task, healthy: Task) -> None:
        now = dt.datetime.now(dt.UTC)
        assert generation.generate(now).instances == 3
        assert len(times(healthy)) == 3
        assert times(broken) == []
        broken.refresh_from_db()
        assert broken.generation_error
        assert broken.generated_until == JUST_BEFORE
        # Not looked at with every tick.
        assert broken.next_due_at is not None
        assert broken.next_due_at > now

    def test_a_zone_that_is_gone(self) -> None:
        broken, healthy = make_due(3), make_due(3)
        Task.objects.filter(pk=broken.pk).update(timezone="Mars/Olympus")
        self._assert_only_the_broken_stands(broken, healthy)
        assert "Mars/Olympus" in broken.generation_error
        Task.objects.filter(pk=broken.pk).update(timezone="UTC")
        later = dt.datetime.now(dt.UTC) + HOUR
        assert generation.generate(later).instances == 3
        broken.refresh_from_db()
        assert broken.generation_error == ""

    def test_a_scope_that_no_longer_fits(self) -> None:
        healthy = make_due(3)
        broken = make_due(3)
        make.depend(broken, healthy, "CURRENT_MONTH_OF_SUNDAYS")
        self._assert_only_the_broken_stands(broken, healthy)

    def test_a_scope_that_the_cycle_does_not_have_any_more(self) -> None:
        healthy, upstream = make_due(3), make_due(3)
        broken = make_due(3)
        make.depend(broken, upstream, "RANGE_DAY", "-1,0")
        Task.objects.filter(pk=upstream.pk).update(status="offline", cycle_type=Cycle.HOUR)
        self._assert_only_the_broken_stands(broken, healthy)
        assert "no scope of DAY on HOUR" in broken.generation_error

    def test_an_upstream_whose_schedule_is_broken(self) -> None:
        healthy, upstream = make_due(3), make_due(3)
        broken = make_due(3)
        make.depend(broken, upstream)
        Task.objects.filter(pk=upstream.pk).update(status="offline", timezone="Mars/Olympus")
        self._assert_only_the_broken_stands(broken, healthy)


class TestEdges:
    def _pair(self) -> tuple[Task, Task]:
        workflow = make.make_workflow()
        parent = make_due(2, workflow=workflow)
        child = make_due(2, workflow=workflow)
        make.depend(child, parent)
        return parent, child

    @pytest.mark.parametrize("first", ["parent", "child", "both"])
    def test_they_bind_whoever_is_generated_first(self, first: str) -> None:
        parent, child = self._pair()
        order = {"parent": [parent, child], "child": [child, parent], "both": []}[first]
        for task in order:
            Task.objects.filter(pk=task.pk).update(status="paused")
        for task in order:
            Task.objects.filter(pk=task.pk).update(status="scheduling")
            generation.generate()
            assert_sound()
        generation.generate()
        parents, children = instances_of(parent), instances_of(child)
        assert [row.state for row in children] == ["wait_upstream"] * 2
        edges = Edge.objects.order_by("upstream_data_time").values_list("instance", "upstream", "is_self")
        assert list(edges) == [(c.pk, p.pk, False) for c, p in zip(children, parents, strict=True)]
        run_all(parent, child)
        assert set(Instance.objects.values_list("state", flat=True)) == {"success"}
        assert_sound()

    def test_a_parent_that_has_succeeded_already_is_no_wait(self) -> None:
        parent, child = self._pair()
        task_operations.apply(Pause(), [child.pk], user=None)
        generation.generate()
        run_all(parent)
        Task.objects.filter(pk=child.pk).update(status="scheduling")
        generation.generate()
        assert [(row.state, row.pending_upstream) for row in instances_of(child)] == [("wait_run", 0)] * 2
        assert Edge.objects.filter(satisfied_at__isnull=False).count() == 2
        assert_sound()

    def test_a_parent_that_was_never_generated_means_waiting(self) -> None:
        parent, child = self._pair()
        task_operations.apply(TakeOffline(), [parent.pk], user=None)
        generation.generate()
        assert [row.state for row in instances_of(child)] == ["wait_upstream"] * 2
        assert Edge.objects.filter(upstream__isnull=True).count() == 2

    def test_a_day_waits_for_its_24_hours(self) -> None:
        workflow = make.make_workflow()
        hours = hourly(workflow, 48)
        day = make_due(2, workflow=workflow)
        make.depend(day, hours, "CURRENT_DAY")
        generation.generate()
        first, second = instances_of(day)
        assert (first.pending_upstream, second.pending_upstream) == (24, 24)
        claimed = started(*instances_of(hours))
        while claimed:
            assert harness.state(first) == "wait_upstream"
            touched = lifecycle.finish([good(c) for c in claimed])
            hints = dispatch([hours.resource_group_id])
            assert touched.instances == len(claimed)
            claimed = lifecycle.claim([hint.execution_id for hint in hints], "w1")
            if not Instance.objects.filter(task=hours, data_time__lt=JANUARY + DAY).exclude(state="success"):
                break
        assert harness.state(first) == "wait_run"
        assert StateChange.objects.filter(instance_id=first.pk, move="upstream_met").count() == 1
        assert_sound()

    def test_a_month_waits_for_its_days_generated_over_a_month(self) -> None:
        workflow = make.make_workflow()
        day = make_due(31, workflow=workflow)
        month = make.make_task(
            workflow, cycle_type=Cycle.MONTH, month_days=[1], effective_to=JANUARY + 30 * DAY
        )
        make.submit(month, since=JUST_BEFORE)
        make.depend(month, day, "CURRENT_MONTH")
        for n in range(31):
            generation.generate(JANUARY + n * DAY)
            [report] = instances_of(month)
            assert (report.state, report.pending_upstream) == ("wait_upstream", 31 - n)
            run_all(day)
            assert_sound()
        assert harness.history(report)[0] == "upstream_met"
        assert harness.state(report) == "success"

    def test_scopes_that_overlap_make_one_edge(self) -> None:
        workflow = make.make_workflow()
        parent, child = make_due(3, workflow=workflow), make_due(1, workflow=workflow)
        make.depend(child, parent)
        make.depend(child, parent, "CURRENT_DAY")
        generation.generate()
        [row] = instances_of(child)
        assert row.pending_upstream == 1

    def test_an_instance_may_have_nothing_to_wait_for(self) -> None:
        """The upstream's own schedule decides which data times exist."""
        workflow = make.make_workflow()
        parent = make.make_task(workflow, effective_from=JANUARY + DAY, effective_to=JANUARY + 1.5 * DAY)
        make.submit(parent, since=JUST_BEFORE)
        child = make_due(2, workflow=workflow)
        make.depend(child, parent)
        generation.generate()
        assert [row.state for row in instances_of(child)] == ["wait_run", "wait_upstream"]


class TestOrderly:
    def test_each_waits_for_the_one_generated_before(self) -> None:
        days = due(4, self_dependency="orderly")
        assert [row.state for row in days] == ["wait_run"] + ["wait_upstream"] * 3
        edges = Edge.objects.order_by("instance").values_list("instance", "upstream", "is_self")
        assert sorted(edges) == [(days[n + 1].pk, days[n].pk, True) for n in range(3)]
        assert_sound()

    def test_over_gaps_of_the_calendar_and_over_ticks(self) -> None:
        skipped = [(JANUARY + n * DAY).date() for n in (2, 3, 4)]
        task = make_due(
            8, self_dependency="orderly", calendar=make.make_calendar(*skipped), calendar_mode="SKIP"
        )
        generation.generate(JANUARY + 1 * DAY)
        generation.generate(JANUARY + 5 * DAY)
        generation.generate()
        days = instances_of(task)
        assert [(row.data_time - JANUARY).days for row in days] == [0, 1, 5, 6, 7]
        upstream = {e.instance_id: e.upstream_id for e in Edge.objects.all()}
        assert [upstream.get(row.pk) for row in days] == [None, *[row.pk for row in days[:-1]]]
        assert_sound()

    def test_a_failure_holds_up_what_follows(self) -> None:
        days = due(3, self_dependency="orderly")
        [claimed] = started(*days)
        lifecycle.finish([harness.bad(claimed)])
        assert dispatch(harness.groups(*days)) == []
        lifecycle.mark_success([days[0].pk])
        assert [row.state for row in instances_of(days[0].task)] == ["success", "wait_run", "wait_upstream"]

    def test_with_a_success_before_it_starts_at_once(self) -> None:
        task = make_due(2, self_dependency="orderly")
        generation.generate(JANUARY)
        run_all(task)
        generation.generate()
        assert [row.state for row in instances_of(task)] == ["success", "wait_run"]
        assert_sound()


class TestCost:
    def _queries(self, days: int) -> int:
        workflow = make.make_workflow()
        parent = make_due(days, workflow=workflow, self_dependency="orderly")
        child = make_due(days, workflow=workflow)
        make.depend(child, parent)
        # Schedules that another test has read would spare a statement.
        backlog._remembered.clear()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            made = generation.generate()
        assert (made.instances, made.edges) == (2 * days, 2 * days - 1)
        return len(queries)

    def test_statements_do_not_grow_with_what_is_due(self) -> None:
        assert self._queries(2) == self._queries(100)

    def test_a_tick_with_nothing_due_is_a_few_statements(self) -> None:
        for _ in range(20):
            make_due(1)
        generation.generate()
        with CaptureQueriesContext(connection) as queries:
            generation.generate()
        # The transaction, the lock, the due tasks.
        assert len(queries) <= 4

    def test_a_large_backlog_comes_in_shares_and_lets_others_through(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(generation, "INSTANCES_A_TASK", 40)
        monkeypatch.setattr(generation, "INSTANCES_A_BATCH", 100)
        workflow = make.make_workflow()
        tasks = [make_due(90, workflow=workflow, self_dependency="orderly") for _ in range(4)]
        with CaptureQueriesContext(connection) as queries:
            assert generation.generate().instances == 360
        assert sum("INSERT INTO instances_instance" in q["sql"] for q in queries) >= 4
        for task in tasks:
            assert times(task) == [JANUARY + n * DAY for n in range(90)]
        assert Edge.objects.filter(upstream__isnull=False).count() == 4 * 89
        assert_sound()

    def test_thousands_in_one_tick(self) -> None:
        """3,600 hours and their 150 days in one go, all edges bound."""
        workflow = make.make_workflow()
        hours = hourly(workflow, 3600)
        day = make_due(150, workflow=workflow)
        make.depend(day, hours, "CURRENT_DAY")
        made = generation.generate()
        assert (made.instances, made.edges) == (3750, 3600)
        assert Edge.objects.filter(upstream__isnull=True).count() == 0
        assert {row.pending_upstream for row in instances_of(day)} == {24}

    def test_a_tick_hands_over_what_is_ready(self) -> None:
        make_due(3)
        with harness.captured_hints() as sent:
            generation.tick()
        assert len(sent) == 3
