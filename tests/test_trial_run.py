"""Test runs: real runs of code as it is edited, that nobody but whoever started them hears of."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from events.models import Emitter, EventInstance
from instances import definitions, figures, operations
from instances.engine import event_handler, generation, lifecycle, maintenance
from instances.engine.lifecycle import Claimed
from instances.engine.runtime import Runtime
from instances.engine.states import Operation
from instances.insight import forecast, grid
from instances.models import Edge, Execution, Instance, OperationRecord, Task, TaskVersion
from instances.models.figure import DayFigure
from instances.task_operations import NO_SUCH_TASK, Outcome, TakeOffline, apply
from instances.trial_run import MOST_AT_ONCE, Edited, TrialRun, default_data_time, raw_parameters, start
from tests import factories as make
from tests.alarms import scene as alarms
from tests.engine.harness import (
    DAY,
    JANUARY,
    _django_db_helper,
    assert_sound,
    bad,
    fresh,
    good,
    make_due,
    started,
    state,
)
from tests.engine.workers import begin, log_of, sent, worker
from tests.events.scene import make_event
from tests.factories import CAST, DANA, EVE, OMAR, PETRA, SUSAN

__all__ = ["_django_db_helper", "begin", "sent", "worker"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
AUTHORS = {DANA, PETRA, SUSAN}


def scene(code: str = "echo saved", **columns: Any) -> tuple[Task, User]:
    """A submitted Shell task with one instance due, not generated yet, and somebody who may edit it."""
    task = make_due(code=code, **columns)
    return task, make.make_user(DANA, project=task.workflow.project)


def generated(task: Task) -> Instance:
    """The task's own instance."""
    generation.generate()
    return Instance.objects.get(task=task, traversal="")


def edited(code: str, **parts: Any) -> Edited:
    return Edited(**{"task_type": "SHELL", "code": code, **parts})


def begun(operation: TrialRun, task: Task, user: User, **options: Any) -> Instance:
    outcome = start(operation, task.pk, user=user, **options)
    assert outcome.record is not None, outcome.message
    return Instance.objects.get(pk=outcome.record.items.get().instance_id)


def trial(task: Task, user: User, code: str = "true") -> Instance:
    return begun(TrialRun(edited(code)), task, user)


def refused(outcome: Outcome) -> str:
    assert outcome.record is None
    assert not Instance.objects.filter(instance_type="test").exists()
    assert not OperationRecord.objects.filter(kind="test_task").exists()
    assert not TaskVersion.every.filter(number=None).exists()
    return outcome.message


def claimed(*instances: Instance) -> list[Claimed]:
    """A worker has taken these, which were dispatched as they were begun."""
    rows = Execution.objects.filter(instance__in=instances, state="dispatched").order_by("id")
    return lifecycle.claim(list(rows.values_list("id", flat=True)), "w1")


def ran(worker: Runtime, instance: Instance) -> Instance:
    worker.take(list(Execution.objects.filter(instance=instance).values_list("id", flat=True)))
    return fresh(instance)


def operate(kind: Operation, instances: list[Instance], user: User) -> OperationRecord:
    rows = Instance.objects.filter(pk__in=[one.pk for one in instances])
    return operations.run(kind, rows, user=user, reason="", source="admin")


class TestARun:
    def test_the_code_as_edited_runs_and_nothing_of_the_task_is_changed(self, worker: Runtime) -> None:
        task, dana = scene(parameters={"region": "EWR"})
        before = definitions.snapshot(task)
        operation = TrialRun(
            edited(
                'echo "edited ${region} ${yyyyMMdd} $WEOPS_TEST_RUN"',
                parameters={"region": "LGA", "more": "1"},
            ),
            data_time=JANUARY,
            parameters={"region": "JFK"},
        )
        instance = begun(operation, task, dana, source="admin", reason="does it work?")
        instance = ran(worker, instance)
        assert instance.state == "success"
        text = log_of(instance)
        assert "edited JFK 20130101 1" in text
        assert "a test run: nothing waits for it" in text
        task.refresh_from_db()
        assert definitions.snapshot(task) == before
        assert [version.number for version in task.versions.all()] == [1]
        assert not definitions.drifted(task)
        record = OperationRecord.objects.get(kind="test_task")
        assert (record.operator, record.source, record.reason) == (dana, "admin", "does it work?")
        assert record.options["parameters"] == {"region": "JFK"}
        assert record.options["version"] is None

    def test_its_settings_and_type_are_those_of_the_editor(self, worker: Runtime) -> None:
        task, dana = scene()
        instance = begun(TrialRun(Edited("PYTHON", "print(6 * 7)")), task, dana)
        instance = ran(worker, instance)
        assert (instance.state, instance.task_type) == ("success", "PYTHON")
        assert "42" in log_of(instance)

    def test_a_submitted_version_can_be_chosen(self, worker: Runtime) -> None:
        task, dana = scene("echo first")
        Task.objects.filter(pk=task.pk).update(code="echo second")
        task.refresh_from_db()
        make.submit(task)
        instance = begun(TrialRun(number=1), task, dana)
        instance = ran(worker, instance)
        assert "first" in log_of(instance)
        assert instance.version == task.versions.get(number=1)
        assert not TaskVersion.every.filter(number=None).exists()

    def test_a_draft_that_was_never_submitted(self, worker: Runtime) -> None:
        task = make.make_task(code="echo draft")
        dana = make.make_user(DANA, project=task.workflow.project)
        instance = ran(worker, begun(TrialRun(), task, dana))
        assert "draft" in log_of(instance)
        task.refresh_from_db()
        assert (task.status, task.current_version) == ("offline", None)

    def test_it_gets_the_secrets_of_the_task_and_hides_them(self, worker: Runtime) -> None:
        task, dana = scene()
        task.secrets.add(make.make_secret(task.workflow.project, "TOKEN", "hunter2hunter2"))
        instance = ran(worker, trial(task, dana, 'echo "got $TOKEN"'))
        text = log_of(instance)
        assert "hunter2hunter2" not in text
        assert "got ***" in text

    def test_it_is_not_tried_again_and_not_dry(self, worker: Runtime) -> None:
        task, dana = scene(retry_limit=3, dry_run=True)
        instance = ran(worker, trial(task, dana, "exit 3"))
        assert (instance.state, instance.error_code, instance.tries) == ("failed", "EXIT_NONZERO", 0)

    def test_it_ends_in_time(self, worker: Runtime, settings: Any) -> None:
        settings.WEOPS_TEST_RUN_SECONDS = 0.5
        task, dana = scene(run_timeout=dt.timedelta(hours=1))
        instance = ran(worker, trial(task, dana, "sleep 100"))
        assert (instance.state, instance.error_code) == ("failed", "RUN_TIMEOUT")

    def test_it_can_be_terminated(self) -> None:
        task, dana = scene()
        instance = trial(task, dana)
        operate(Operation.TERMINATE, [instance], dana)
        assert fresh(instance).state == "failed"
        assert_sound()

    def test_it_is_neither_rerun_nor_marked(self) -> None:
        task, dana = scene()
        instance = trial(task, dana)
        [run] = claimed(instance)
        lifecycle.finish([good(run)])
        for kind in (Operation.RERUN, Operation.MARK_SUCCESS):
            record = operate(kind, [instance], dana)
            assert "is a test run" in record.items.get().message
        assert lifecycle.rerun([instance.pk])[0] == {}, "whatever door it is"
        assert fresh(instance).life_round == 0


class TestNobodyHearsOfIt:
    def test_no_dependency_and_no_schedule(self) -> None:
        task, dana = scene(self_dependency="orderly")
        child = make.make_task(task.workflow, effective_to=task.effective_to)
        make.depend(child, task)
        make.submit(child, since=JANUARY - dt.timedelta(microseconds=1))
        stood = (task.generated_until, task.next_due_at)
        instance = begun(TrialRun(edited("true"), data_time=JANUARY), task, dana)
        earlier = begun(TrialRun(edited("false"), data_time=JANUARY - DAY), task, dana)
        assert not Edge.objects.exists()
        task.refresh_from_db()
        assert (task.generated_until, task.next_due_at) == stood
        real = generated(task)
        assert real.data_time == JANUARY, "the schedule's own instance is made all the same"
        waiting = Instance.objects.get(task=child)
        assert list(waiting.edges.values_list("upstream", flat=True)) == [real.pk]
        for one in claimed(instance, earlier):
            lifecycle.finish([good(one)])
        assert state(waiting) == "wait_upstream"
        assert (real.state, real.edges.exists()) == ("wait_run", False), (
            "an orderly task does not wait for it"
        )
        assert_sound()

    def test_a_serial_task_goes_on_meanwhile(self) -> None:
        task, dana = scene(self_dependency="serial")
        instance, real = trial(task, dana), generated(task)
        [run] = claimed(instance)
        assert [one.instance_id for one in started(real)] == [real.pk]
        lifecycle.finish([good(run)])

    def test_no_event(self, worker: Runtime) -> None:
        task, dana = scene()
        Task.objects.filter(pk=task.pk).update(settings={"events_variable": "events"})
        event = make_event(task.workflow.project, "Landed")
        Emitter.objects.create(task=task, event=event)
        printed = edited('echo events=\\"Landed,20130101\\;\\"', settings={"events_variable": "events"})
        instance = ran(worker, begun(TrialRun(printed), task, dana))
        assert instance.state == "success"
        event_handler.emit()
        assert not EventInstance.objects.exists()

    def test_no_alarm(self) -> None:
        task, dana = scene()
        alarms.make_rule(task, kinds=["failure", "success"])
        alarms.begin()
        instance, real = trial(task, dana), generated(task)
        lifecycle.finish([bad(one) for one in claimed(instance)])
        alarms.fail(real)
        alarms.evaluate.evaluate()
        assert [row.instance_id for row in alarms.Message.objects.all()] == [real.pk]

    def test_no_figure_no_forecast_no_grid(self, settings: Any) -> None:
        task, dana = scene()
        instance = begun(TrialRun(edited("true"), data_time=JANUARY), task, dana)
        [run] = claimed(instance)
        lifecycle.finish([good(run)])
        figures.SETTLED, settled = dt.timedelta(0), figures.SETTLED
        try:
            figures.catch_up()
        finally:
            figures.SETTLED = settled
        assert not DayFigure.objects.exists()
        assert forecast.durations([task.pk]) == {}
        assert grid.grid(Task.objects.filter(pk=task.pk)).times == []

    def test_it_goes_with_its_code_when_it_is_old(self) -> None:
        task, dana = scene()
        instance = trial(task, dana)
        [run] = claimed(instance)
        lifecycle.finish([good(run)])
        assert maintenance.remove_old(timezone.now() + dt.timedelta(days=1)) == 1
        assert not Instance.objects.filter(pk=instance.pk).exists()
        assert not TaskVersion.every.filter(number=None).exists()
        assert task.versions.count() == 1, "what was submitted stays"


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (edited("if"), "syntax error"),
            (edited("echo ${nobody}"), "nobody"),
            (edited("true", settings={"nonsense": 1}), "nonsense"),
            (edited("true", parameters={"two words": "x"}), "two words"),
            (Edited("KLINGON", "x"), "KLINGON"),
            (Edited("SQL", "SELECT 1"), "data source"),
            (Edited("VIRTUAL", ""), "no test run"),
        ],
    )
    def test_code_that_would_not_pass_a_submit(self, given: Edited, words: str) -> None:
        task, dana = scene()
        assert words in refused(start(TrialRun(given), task.pk, user=dana))

    def test_parameters_that_cannot_be_filled_in(self) -> None:
        task, dana = scene()
        operation = TrialRun(edited("true"), parameters={"x": "${nobody}"})
        assert "nobody" in refused(start(operation, task.pk, user=dana))

    @pytest.mark.parametrize(
        "given", [{"": "x"}, {"A=B": "x"}, {"x" * 300: "x"}, {"x": "\0"}, {"x": "y" * 200_000}]
    )
    def test_parameters_that_no_run_could_have(self, given: dict[str, str]) -> None:
        task, dana = scene()
        assert refused(start(TrialRun(edited("true"), parameters=given), task.pk, user=dana))
        assert not OperationRecord.objects.filter(kind="test_task").exists()

    def test_data_times_beyond_clocks(self) -> None:
        task, dana = scene()
        for year in (1900, 2200):
            operation = TrialRun(edited("true"), data_time=dt.datetime(year, 1, 1, tzinfo=dt.UTC))
            assert "Choose a data time" in refused(start(operation, task.pk, user=dana))

    def test_a_version_that_is_none(self) -> None:
        task, dana = scene()
        assert "has no version 7" in refused(start(TrialRun(number=7), task.pk, user=dana))

    def test_a_disabled_project(self) -> None:
        task, dana = scene()
        task.workflow.project.enabled = False
        task.workflow.project.save(update_fields=["enabled"])
        assert "disabled" in refused(start(TrialRun(edited("true")), task.pk, user=dana))

    def test_too_many_at_once(self) -> None:
        task, dana = scene()
        for _ in range(MOST_AT_ONCE):
            trial(task, dana)
        assert "5 test runs" in start(TrialRun(edited("true")), task.pk, user=dana).message
        operate(Operation.TERMINATE, list(Instance.objects.filter(task=task)), dana)
        assert start(TrialRun(edited("true")), task.pk, user=dana).done

    @pytest.mark.parametrize("name", CAST)
    def test_who_may(self, name: str) -> None:
        task, _ = scene()
        user = make.make_user(name, project=task.workflow.project)
        outcome = start(TrialRun(edited("true")), task.pk, user=user)
        assert outcome.done == (name in AUTHORS)
        if name == EVE:
            assert refused(outcome) == NO_SUCH_TASK
        elif name == OMAR:
            assert "right to author" in refused(outcome)


class TestWhatItOffers:
    def test_the_data_time_is_that_of_the_latest_instance(self) -> None:
        task, _ = scene()
        now = JANUARY + dt.timedelta(days=3, microseconds=5)
        assert default_data_time(task, now) == now.replace(microsecond=0)
        real = generated(task)
        assert default_data_time(task, timezone.now()) == real.data_time

    def test_names_that_come_from_elsewhere_are_asked_for(self, worker: Runtime) -> None:
        upstream = make.make_task(outputs=["rows"])
        task, dana = scene(workflow=upstream.workflow, group=upstream.resource_group)
        make.depend(task, upstream)
        given = edited("echo rows=${rows}")
        assert raw_parameters(task, given) == {"rows": ""}
        instance = ran(worker, begun(TrialRun(given, parameters={"rows": "7"}), task, dana))
        assert "rows=7" in log_of(instance)

    def test_an_offline_task_too(self) -> None:
        task, dana = scene()
        apply(TakeOffline(), [task.pk], user=None)
        assert trial(task, dana).state == "wait_run"
        assert Execution.objects.filter(instance__task=task).count() == 1, "it was dispatched at once"
