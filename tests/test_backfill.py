"""Backfill plans as doors make them: what they can be told, what is refused and why, the preview, rights, the record."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from instances import operations
from instances.engine import generation, hints, lifecycle, maintenance, plan_expansion, plans
from instances.models import BackfillPlan, BackfillRun, Instance, OperationItem, OperationRecord, Task
from instances.models.backfill import PlanState
from instances.operations import backfill, backfill_options
from instances.operations.backfill_options import Downstream
from instances.operations.backfill_worker import Advancer
from instances.operations.parsing import OptionError
from tests import factories as make
from tests.backfilling import begin, counts, drive, existing, options, ready_task, record, runs
from tests.engine import harness
from tests.engine.harness import _django_db_helper, until

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def refused(given: dict[str, Any], user: Any = None) -> tuple[str, str]:
    """(field, message)"""
    with pytest.raises(OptionError) as caught:
        backfill.preview(given, user=user)
    return caught.value.field, str(caught.value)


class TestOptions:
    @pytest.mark.parametrize(
        ("given", "field", "says"),
        [
            ({"taks": []}, "taks", "There is no option 'taks'"),
            ({"tasks": []}, "tasks", "at least one task"),
            ({"tasks": "7"}, "tasks", "list of task ids"),
            ({"tasks": [10**18]}, "tasks", f"There is no task {10**18}."),
            ({"ranges": []}, "ranges", "at least one range"),
            ({"ranges": [{"first": "2013-01-01"}]}, "ranges", "its first and last day"),
            ({"ranges": [{"first": "2013-01-02", "last": "2013-01-01"}]}, "ranges", "comes after"),
            ({"ranges": [{"first": "0001-01-01", "last": "2013-01-01"}]}, "ranges", "Write days from"),
            ({"ranges": [{"first": "2013-02-30", "last": "2013-03-01"}]}, "ranges", "no range"),
            ({"timezone": "Mars/Olympus"}, "timezone", "There is no time zone"),
            ({"window_start": "08:00"}, "window_end", "its start and its end"),
            ({"window_start": "09:00", "window_end": "08:00"}, "window_end", "inside a day"),
            ({"window_start": "25:00", "window_end": "08:00"}, "window_start", "no time of day"),
            ({"window_start": "08:00:30", "window_end": "09:00"}, "window_start", "no time of day"),
            ({"order": "BACKWARDS"}, "order", "none of NORMAL, ORDER, REVERSE"),
            ({"parallelism": 0}, "parallelism", "from 1 to 1000"),
            ({"parallelism": "3"}, "parallelism", "from 1 to 1000"),
            ({"parallelism": 2, "self_dependency": "serial"}, "parallelism", "one of the two"),
            ({"self_dependency": "wild"}, "self_dependency", "none of parallel"),
            ({"self_dependency": "orderly", "order": "REVERSE"}, "order", "contradicts"),
            ({"resource_group": 10**9}, "resource_group", "no resource group"),
            ({"parameters": {"a": 1}}, "parameters", "both as texts"),
            ({"parameters": {"a": "\0"}}, "parameters", "both as texts"),
            ({"check_parents": "yes"}, "check_parents", "neither true nor false"),
            ({"reprocess": "some"}, "reprocess", "none of missing, failed, all"),
            ({"on_failure": "cry"}, "on_failure", "none of go_on, stop"),
            ({"downstream": "everywhere"}, "downstream", "none of none, workflow"),
            ({"chosen": [1]}, "chosen", "need 'chosen'"),
        ],
    )
    def test_each_wrong_one_names_its_field_and_says_what_to_write(
        self, given: dict[str, Any], field: str, says: str
    ) -> None:
        name, message = refused({**options(ready_task()), **given})
        assert name == field
        assert says in message

    def test_one_off_tasks_are_refused(self) -> None:
        task = make.make_task(cycle_type="ONEOFF", run_at=harness.JANUARY)
        assert refused(options(task)) == (
            "tasks", f"{task} is a one-off task: it has no data times to fill in. Leave it out.",
        )  # fmt: skip

    def test_an_order_needs_tasks_of_one_cycle(self) -> None:
        hours, days = ready_task(cycle_type="HOUR"), ready_task()
        field, message = refused(options(hours, days, order="REVERSE"))
        assert field == "order"
        assert "REVERSE needs tasks of one cycle; these are DAY, HOUR." in message
        backfill.preview(options(hours, days), user=None)

    def test_ranges_that_overlap_or_touch_are_one(self) -> None:
        ranges = [("2013-01-05", "2013-01-06"), ("2013-01-01", "2013-01-03"), ("2013-01-03", "2013-01-04")]
        given = {**options(ready_task()), "ranges": [{"first": a, "last": b} for a, b in ranges]}
        spec = backfill_options.parse(given, user=None)
        assert spec.ranges == ((dt.date(2013, 1, 1), dt.date(2013, 1, 6)),)

    def test_a_range_without_a_data_time_is_refused(self) -> None:
        task = ready_task(cycle_type="MONTH", month_days=[28])
        assert "No task has a data time" in refused(options(task))[1]
        soon = f"{timezone.now() + dt.timedelta(days=400):%Y-%m-%d}"
        assert "No task has a data time" in refused(options(task, first=soon, last=soon))[1]

    def test_too_large_a_plan_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan_expansion, "MOST_RUNS", 2)
        assert refused(options(ready_task()))[1].startswith("The plan would have more than 2 runs")

    def test_a_disabled_group_starts_nothing(self) -> None:
        group = make.make_group(enabled=False)
        assert "is disabled" in refused(options(ready_task(), resource_group=group.pk))[1]


class TestDownstream:
    def chain(self) -> list[Task]:
        """a -> b (same workflow) -> c (another workflow) -> d (another project)"""
        project = make.make_project()
        workflows = [make.make_workflow(project)] * 2 + [make.make_workflow(project), make.make_workflow()]
        tasks: list[Task] = []
        for workflow in workflows:
            task = make.make_task(workflow)
            if tasks:
                make.depend(task, tasks[-1])
            make.submit(task)
            tasks.append(task)
        return tasks

    def test_each_range_goes_as_far_as_it_says(self) -> None:
        a, b, c, d = self.chain()
        for reach, found in (("none", []), ("workflow", [b]), ("project", [b, c]), ("all", [b, c, d])):
            spec = backfill_options.parse(options(a, downstream=reach), user=None)
            assert spec.downstream == tuple(task.pk for task in found), reach
        spec = backfill_options.parse(options(a, downstream="chosen", chosen=[c.pk]), user=None)
        assert spec.downstream == (c.pk,)
        assert "is not downstream" in refused(options(b, downstream="chosen", chosen=[a.pk]))[1]

    def test_it_stops_where_the_user_may_not_operate(self) -> None:
        a, b, c, d = self.chain()
        omar = make.make_user(make.OMAR, project=a.workflow.project)
        make.make_user(make.OMAR, project=d.workflow.project, role="viewer")
        spec = backfill_options.parse(options(a, downstream="all"), user=omar)
        assert spec.downstream == (b.pk, c.pk)
        assert [task.pk for task in backfill_options.downstream_of([a.pk], Downstream.ALL, user=omar)] == [
            b.pk,
            c.pk,
        ]


class TestRights:
    def test_who_may_make_a_plan(self) -> None:
        task = ready_task()
        cast = make.make_cast(task.workflow.project)
        for name in (make.OMAR, make.DANA, make.PETRA, make.SUSAN):
            assert backfill.preview(options(task), user=cast[name])
        assert refused(options(task), cast[make.EVE]) == ("tasks", f"There is no task {task.pk}.")
        assert "You may not operate in project" in refused(options(task), cast[make.VERA])[1]

    def test_parameters_need_the_right_to_override(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task = ready_task()
        omar = make.make_user(make.OMAR, project=task.workflow.project)
        given = options(task, parameters={"a": "1"})
        backfill.preview(given, user=omar)
        from weops.projects import access

        monkeypatch.setitem(access.RIGHTS, "operator", frozenset({access.Right.VIEW, access.Right.OPERATE}))
        omar = type(omar).objects.get(pk=omar.pk)
        assert refused(given, omar)[0] == "parameters"
        backfill.preview(options(task), user=omar)

    def test_who_may_steer_and_see_it(self) -> None:
        task, elsewhere = ready_task(), ready_task()
        cast = make.make_cast(task.workflow.project)
        plan = begin(task, elsewhere)
        for name in (make.VERA, make.OMAR, make.EVE):
            for steer in (backfill.pause, backfill.resume, backfill.stop):
                with pytest.raises(PermissionDenied):
                    steer(plan, user=cast[name], source="admin")
        seen = {name for name, user in cast.items() if backfill.visible(user).exists()}
        assert seen == {make.VERA, make.OMAR, make.DANA, make.PETRA, make.SUSAN}
        make.make_user(make.OMAR, project=elsewhere.workflow.project)
        omar = type(cast[make.OMAR]).objects.get(username=make.OMAR)
        assert backfill.pause(plan, user=omar, source="admin")


class TestPreview:
    def test_it_counts_by_task_what_would_become_of_each_run(self) -> None:
        old, new = harness.make_due(4), ready_task()
        make.depend(new, old)
        generation.generate()
        existing(old, 1)
        existing(old, 2, state="failed")
        existing(old, 3, state="running")
        preview, _ = backfill.preview(options(old, new, last="2013-01-05", reprocess="failed"), user=None)
        assert not BackfillPlan.objects.exists()
        summary = preview.summary
        first, second = summary["tasks"]
        assert [first[name] for name in ("task", "new", "again", "skipped", "refused")] == [
            old.pk,
            1,
            1,
            3,
            0,
        ]
        assert [second[name] for name in ("task", "new", "again", "skipped", "refused")] == [
            new.pk,
            5,
            0,
            0,
            0,
        ]
        assert first["why"] == [
            {"why": "It has not failed; the plan runs what is missing or failed.", "count": 3}
        ]
        assert [summary[name] for name in ("total", "new", "again", "skipped", "refused")] == [10, 6, 1, 3, 0]
        assert (summary["data_times"], summary["waves"]) == (5, 5)
        assert summary["sentences"][0] == "7 runs of 2 tasks at 5 data times: 6 new, 1 again."

    def test_what_is_previewed_is_what_is_done(self) -> None:
        task = harness.make_due(4, rerun_allowed="FAILURE")
        generation.generate()
        existing(task, 1)
        existing(task, 2, state="failed")
        given = options(task, last="2013-01-05", parallelism=5)
        preview, token = backfill.preview(given, user=None)
        plan = drive(backfill.create(given, user=None, source="api", token=str(token)))
        made = [run for run in runs(plan) if run.made]
        again = [run for run in runs(plan) if run.state == "success" and not run.made]
        assert (len(made), len(again), plan.refused, plan.skipped) == tuple(
            preview.summary[name] for name in ("new", "again", "refused", "skipped")
        )
        assert (len(made), len(again), plan.refused) == (1, 1, 3)

    def test_a_stale_preview_is_refused_and_shown_anew(self) -> None:
        task = harness.make_due(3)
        given = options(task)
        _, token = backfill.preview(given, user=None)
        generation.generate()
        with pytest.raises(backfill.StalePlan) as caught:
            backfill.create(given, user=None, source="api", token=str(token))
        assert caught.value.preview.summary["again"] == 3
        assert not BackfillPlan.objects.exists()
        with pytest.raises(backfill.StalePlan):
            backfill.create({**given, "parallelism": 2}, user=None, source="api", token=str(token))

    def test_a_token_is_good_for_a_day(self) -> None:
        given = options(ready_task())
        for moment in (timezone.now() - dt.timedelta(hours=25), timezone.now() + dt.timedelta(hours=1)):
            _, token = backfill.preview(given, user=None, now=moment)
            with pytest.raises(OptionError, match="older than a day"):
                backfill.create(given, user=None, source="api", token=str(token))
        with pytest.raises(OptionError, match="no such preview"):
            backfill.create(given, user=None, source="api", token="nonsense")

    def test_what_falls_due_between_preview_and_start_is_left_to_the_schedule(self) -> None:
        task = ready_task(cycle_type="MINUTE", step=1)
        now = timezone.now()
        today = f"{now:%Y-%m-%d}"
        early = now - dt.timedelta(minutes=5)
        given = options(task, first=f"{early:%Y-%m-%d}", last=today)
        preview, token = backfill.preview(given, user=None, now=early)
        plan = backfill.create(given, user=None, source="api", token=str(token))
        assert plan.total == preview.summary["total"]
        last = BackfillRun.objects.filter(plan=plan).latest("data_time")
        assert last.data_time <= early

    def test_duration_is_that_of_the_last_runs(self) -> None:
        task = harness.make_due(2, cycle_type="DAY")
        generation.generate()
        existing(task, 1, 2)
        preview, _ = backfill.preview(options(task, ready_task()), user=None)
        duration = preview.summary["duration"]
        assert (duration["instances_known"], duration["instances_unknown"]) == (3, 3)


class TestRecords:
    def test_the_plan_and_what_it_did_to_each_instance_are_on_record(self) -> None:
        task = harness.make_due(2)
        generation.generate()
        existing(task, 1, state="failed")
        omar = make.make_user(make.OMAR, project=task.workflow.project)
        plan = drive(begin(task, user=omar, reason="ticket 7", parallelism=3))
        done = record(plan)
        assert (done.kind, done.operator, done.operator_name, done.reason, done.source) == (
            "backfill", omar, "omar", "ticket 7", "api",
        )  # fmt: skip
        assert (done.state, done.total, done.done, done.refused) == ("SUCCESS", 3, 3, 0)
        assert done.options["plan"] == plan.pk
        assert done.options["tasks"] == [task.pk]
        items = OperationItem.objects.filter(operation=done).order_by("instance_id")
        assert [(item.from_state, item.to_state) for item in items] == [
            ("failed", "wait_run"), ("wait_run", "wait_run"), ("", "wait_run"),
        ]  # fmt: skip

    def test_every_step_of_somebody_is_on_record(self) -> None:
        task = ready_task()
        omar = make.make_user(make.OMAR, project=task.workflow.project)
        plan = begin(task, user=omar)
        backfill.pause(plan, user=omar, source="admin", reason="lunch")
        backfill.resume(plan, user=omar, source="admin")
        backfill.stop(plan, user=omar, source="admin", reason="enough")
        rows = OperationRecord.objects.exclude(kind="submit_task").order_by("id")
        assert [(row.kind, row.operator_name, row.reason) for row in rows] == [
            ("backfill", "omar", ""),
            ("pause_backfill", "omar", "lunch"),
            ("resume_backfill", "omar", ""),
            ("stop_backfill", "omar", "enough"),
        ]
        for row in rows:
            assert row.options["plan"] == plan.pk
            assert row.project_ids == [task.workflow.project_id]
            assert row.finished_at is not None
            assert operations.why_not_undoable(row)

    def test_a_name_says_what_it_is(self) -> None:
        one, other = ready_task(name="sales"), ready_task()
        assert begin(one).name == "sales of 2013-01-01 to 2013-01-03"
        assert begin(one, other, last="2013-01-01").name == "sales and 1 more of 2013-01-01"
        made = backfill.create(options(one), user=None, source="api", name="  The lost week ")
        assert made.name == "The lost week"

    def test_old_plans_are_removed_in_batches(self) -> None:
        old, young, on = begin(ready_task()), begin(ready_task()), begin(ready_task())
        drive(old)
        drive(young)
        BackfillPlan.objects.filter(pk=old.pk).update(finished_at=timezone.now() - dt.timedelta(days=100))
        before = timezone.now() - dt.timedelta(days=92)
        assert plans.remove_old(before, limit=2) == 2
        maintenance.hourly()
        assert set(BackfillPlan.objects.values_list("id", flat=True)) == {young.pk, on.pk}
        assert BackfillRun.objects.count() == 6
        assert OperationRecord.objects.filter(kind="backfill").count() == 3


class TestProgress:
    def test_by_data_time(self) -> None:
        task, other = ready_task(), ready_task()
        plan = begin(task, other, last="2013-01-04")
        found = backfill.by_data_time(plan, limit=2)
        assert [(one.data_time, one.counts) for one in found] == [
            (harness.JANUARY, {"active": 2}), (harness.JANUARY + harness.DAY, {"pending": 2}),
        ]  # fmt: skip
        assert found[0].total == 2
        rest = backfill.by_data_time(plan, after=found[-1].data_time)
        assert [one.data_time.day for one in rest] == [3, 4]

    def test_percent_is_a_hundred_only_when_nothing_is_left(self) -> None:
        plan = BackfillPlan(success=9999, pending=1, prepared_at=timezone.now())
        assert (plan.percent_complete, plan.percent_successful) == (99.9, 99.9)
        plan.pending, plan.failed = 0, 1
        assert (plan.percent_complete, plan.percent_successful) == (100.0, 99.9)
        assert BackfillPlan().percent_complete == 0.0


class TestInTheBackground:
    @pytest.fixture
    def advancer(self) -> Iterator[Advancer]:
        made = Advancer(turn_seconds=0)
        yield made
        assert made.stop()

    def test_a_large_plan_is_prepared_and_begun_there(
        self, advancer: Advancer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backfill, "SMALL", 0)
        hinted: list[int] = []
        before = hints.plans.register(hinted.extend)
        try:
            plan = begin(ready_task())
        finally:
            hints.plans.register(before)
        assert (plan.state, hinted) == (PlanState.PREPARING, [plan.pk])
        advancer.take(plan.pk)
        until(lambda: counts(plan) == {"active": 1, "pending": 2})

    def test_a_plan_that_meets_an_error_stops_no_other(
        self, advancer: Advancer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backfill, "SMALL", 0)
        bad, good = begin(ready_task()), begin(ready_task())
        BackfillPlan.objects.filter(pk=bad.pk).update(options={"nonsense": True})
        advancer.take(bad.pk)
        advancer.take(good.pk)
        until(lambda: counts(good).get("active"))
        assert counts(bad) == {}

    def test_it_goes_on_when_an_instance_ends(self, advancer: Advancer) -> None:
        plan = begin(ready_task())
        while BackfillPlan.objects.get(pk=plan.pk).unfinished:
            [claimed] = until(lambda: self.claimed())
            for plan_id in lifecycle.finish([harness.good(claimed)]).plans:
                advancer.take(plan_id)
            until(lambda: self.waiting() or not BackfillPlan.objects.get(pk=plan.pk).unfinished)
        assert counts(plan) == {"success": 3}

    def waiting(self) -> list[int]:
        rows = Instance.objects.filter(state="wait_run", queue="taken")
        return [pk for pk in rows.values_list("execution_id", flat=True) if pk]

    def claimed(self) -> Any:
        return lifecycle.claim(self.waiting(), "w1")
