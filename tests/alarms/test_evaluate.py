"""What is found: every kind of alarm, once per rule and life, by what changed and by the clock."""

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instances.engine import generation, lifecycle
from instances.insight import forecast
from instances.models import Instance
from tests import factories as make
from tests.alarms.scene import MINUTE, begin, claim, fail, make_rule, succeed, told
from tests.engine.harness import (
    Racer,
    _django_db_helper,
    bad,
    due,
    fresh,
    instances_of,
    make_due,
    race,
    until,
)
from weops.alarms import evaluate, retention, rules
from weops.alarms.models import Cursor, Message, Notice, Watch

__all__ = ["_django_db_helper"]
pytestmark = pytest.mark.django_db(transaction=True)
HOUR = dt.timedelta(hours=1)


def in_(minutes: float) -> dt.datetime:
    return timezone.now() + minutes * MINUTE


def caught_up() -> int:
    """Evaluates until no late change can come any more; how many messages that made. Whoever writes in any database
    of the server puts that off, such as a test beside this one."""
    total = 0

    def quiet() -> bool:
        nonlocal total
        total += evaluate.evaluate()
        return all(row.low == row.seen and row.mark is None for row in Cursor.objects.all())

    until(quiet)
    return total


def test_a_failure_is_told_once_with_its_cause() -> None:
    (instance,) = due()
    rule = make_rule(instance.task, level=3)
    begin()
    fail(instance, message="line 7: no such table <b>orders</b>")
    assert evaluate.evaluate() == 1
    assert evaluate.evaluate() == 0
    message = Message.objects.get()
    assert (message.rule, message.kind, message.life_round, message.level) == (rule, "failure", 0, 3)
    assert "EXIT_NONZERO" in message.reason
    assert "no such table <b>orders</b>" in message.reason
    assert message.execution_id == fresh(instance).execution_id
    assert Notice.objects.get().message == message


@pytest.mark.parametrize(("trigger", "after_first"), [("first", 1), ("final", 0)])
def test_the_first_failure_or_the_one_after_all_retries(trigger: str, after_first: int) -> None:
    (instance,) = due(retry_limit=1)
    make_rule(instance.task, trigger=trigger)
    begin()
    fail(instance)
    assert evaluate.evaluate() == after_first
    lifecycle.retry_due()
    fail(instance)
    assert evaluate.evaluate() == 1 - after_first
    assert len(told()) == 1


def test_what_somebody_terminated_is_no_failure() -> None:
    running, waiting = due(2)
    make_rule(running.task)
    begin()
    (claimed,) = claim(running)
    lifecycle.terminate([running.pk, waiting.pk])
    lifecycle.finish([bad(claimed, "TERMINATED", "Somebody terminated it.")])
    assert {fresh(running).state, fresh(waiting).state} == {"failed"}
    evaluate.evaluate()
    assert told() == []


def test_success_of_a_run_and_by_hand() -> None:
    ran, marked = due(2)
    make_rule(ran.task, kinds=["success"])
    begin()
    lifecycle.mark_success([marked.pk])
    succeed(ran)
    evaluate.evaluate()
    assert sorted(reason for _kind, _life, reason in told()) == [
        "It succeeded.",
        "It was marked as successful.",
    ]


def test_reruns_are_told_by_rules_about_reruns_each_life_anew() -> None:
    (instance,) = due()
    make_rule(instance.task, kinds=["failure"])
    make_rule(instance.task, kinds=["rerun_failure", "rerun_success"])
    begin()
    fail(instance)
    for _life in range(2):
        lifecycle.rerun([instance.pk])
        fail(instance)
    lifecycle.rerun([instance.pk])
    succeed(instance)
    assert evaluate.evaluate() == 4
    assert [(kind, life) for kind, life, _reason in told()] == [
        ("failure", 0),
        ("rerun_failure", 1),
        ("rerun_failure", 2),
        ("rerun_success", 3),
    ]


def test_a_waiting_instance_that_ends_belongs_to_the_life_of_then() -> None:
    (instance,) = due(wait_timeout=MINUTE)
    make_rule(instance.task)
    begin()
    Instance.objects.filter(pk=instance.pk).update(wait_deadline=in_(-1))
    lifecycle.wait_timeouts()
    lifecycle.rerun([instance.pk])
    evaluate.evaluate()
    assert [(kind, life) for kind, life, _reason in told()] == [("failure", 0)]


def test_rules_watch_tasks_workflows_and_projects() -> None:
    (instance,), (other,) = due(), due()
    task = instance.task
    make_rule(task)
    make_rule(task, object_kind="workflow", object_ids=[task.workflow_id])
    make_rule(task, object_kind="project", object_ids=[])
    begin()
    fail(instance)
    fail(other)
    assert evaluate.evaluate() == 3
    assert set(Message.objects.values_list("instance_id", flat=True)) == {instance.pk}


def test_what_was_before_a_rule_or_while_it_was_off_is_not_told() -> None:
    first, second, third = due(3)
    begin()
    fail(first)
    rule = make_rule(first.task)
    evaluate.evaluate()
    rules.update(make.make_user(), rule.pk, enabled=False)
    fail(second)
    evaluate.evaluate()
    rules.update(make.make_user(), rule.pk, enabled=True)
    evaluate.evaluate()
    assert told() == []
    fail(third)
    assert evaluate.evaluate() == 1


def test_two_evaluators_at_once_tell_once() -> None:
    instances = due(40, group=make.make_group(64))
    for _rule in range(3):
        make_rule(instances[0].task)
    begin()
    fail(*instances)
    low = Cursor.objects.get(name="changes").seen
    top = evaluate._horizon("changes")[0]
    # Not by turns, as the cursor has them: both over the same range.
    counts = race(lambda: evaluate._read("changes", low, top), lambda: evaluate._read("changes", low, top))
    assert sum(counts) == 120
    assert Message.objects.count() == Notice.objects.count() == 120
    assert sum(race(evaluate.evaluate, evaluate.evaluate)) == 0


def test_a_change_that_is_committed_late_is_not_missed() -> None:
    slow, quick = due(2)
    make_rule(slow.task)
    begin()
    claimed = {one.instance_id: one for one in claim(slow, quick)}
    hold, written = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            lifecycle.finish([bad(claimed[slow.pk])])
            written.set()
            assert hold.wait(30)

    racer = Racer(late)
    assert written.wait(30)
    lifecycle.finish([bad(claimed[quick.pk])])
    assert evaluate.evaluate() == 1
    # However often it is read meanwhile, the cursor does not leave the late one behind.
    assert evaluate.evaluate() == 0
    assert evaluate.evaluate() == 0
    hold.set()
    racer.result()
    assert caught_up() == 1
    assert {row[0] for row in Message.objects.values_list("instance_id")} == {slow.pk, quick.pk}
    assert evaluate.evaluate() == 0


def test_a_quiet_pass_costs_a_fixed_number_of_queries_whatever_exists() -> None:
    instances = due(30)
    make_rule(instances[0].task, kinds=["failure", "overtime"], limits=[{"kind": "wait", "minutes": 600}])
    caught_up()
    with CaptureQueriesContext(connection) as before:
        evaluate.evaluate()
    Watch.objects.all().update(due_at=in_(600))
    with CaptureQueriesContext(connection) as after:
        evaluate.evaluate()
    assert len(after) == len(before) <= 20


# Limits


def running_late(**values: Any) -> Instance:
    """An instance whose task usually runs for twenty minutes, and has been running for ten."""
    task = make_due(3)
    generation.generate()
    for instance in instances_of(task)[:2]:
        succeed(instance)
        run = Instance.objects.get(pk=instance.pk)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE instances_execution SET run_started_at = run_ended_at - interval '20 minutes' WHERE id = %s",
                [run.execution_id],
            )
    instance = instances_of(task)[2]
    Instance.objects.filter(pk=instance.pk).update(planned_time=timezone.now())
    return fresh(instance)


def test_a_run_that_takes_too_long_is_told_while_it_runs() -> None:
    (instance,) = due()
    make_rule(instance.task, kinds=["overtime"], limits=[{"kind": "run", "minutes": 30}])
    begin()
    claim(instance)
    evaluate.evaluate()
    assert evaluate.evaluate(in_(29)) == 0
    assert evaluate.evaluate(in_(31)) == 1
    assert evaluate.evaluate(in_(60)) == 0
    assert not Watch.objects.exists()
    (kind, _life, reason) = told()[0]
    assert kind == "overtime"
    assert "ran longer than it may" in reason


def test_a_run_that_ended_late_is_told_although_nobody_looked_in_time() -> None:
    in_time, late = due(2)
    make_rule(in_time.task, kinds=["overtime"], limits=[{"kind": "run", "minutes": 30}])
    begin()
    succeed(in_time, late)
    evaluate.evaluate()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE instances_execution SET run_ended_at = run_started_at + interval '31 minutes' WHERE instance_id = %s",
            [late.pk],
        )
    assert evaluate.evaluate(in_(60)) == 1
    assert Message.objects.get().instance_id == late.pk


def test_a_finish_is_foretold_while_there_is_time() -> None:
    instance = running_late()
    limit = in_(60)
    clock = {"kind": "finish", "clock": f"{limit:%H:%M}", "timezone": "UTC"}
    make_rule(instance.task, kinds=["overtime"], limits=[clock])
    begin()
    watch = Watch.objects.get()
    assert watch.limit_at == limit.replace(second=0, microsecond=0)
    assert watch.limit_at - watch.due_at == 20 * MINUTE
    assert evaluate.evaluate(watch.due_at - MINUTE) == 0
    assert evaluate.evaluate(watch.due_at + MINUTE) == 1
    message = Message.objects.get()
    assert message.predicted
    assert message.limit_at == watch.limit_at
    assert "expected to finish" in message.reason


def test_one_that_starts_in_time_is_told_only_if_it_misses() -> None:
    instance = running_late()
    limit = in_(60)
    clock = {"kind": "finish", "clock": f"{limit:%H:%M}", "timezone": "UTC"}
    make_rule(instance.task, kinds=["overtime"], limits=[clock])
    begin()
    claim(instance)
    watch = Watch.objects.get()
    assert evaluate.evaluate(watch.due_at + MINUTE) == 0
    assert Watch.objects.get().due_at == watch.limit_at
    assert evaluate.evaluate(watch.limit_at + MINUTE) == 1
    assert "did not finish by" in told()[0][2]


def test_waiting_too_long_is_told_while_it_waits() -> None:
    task = make_due()
    make_rule(task, kinds=["overtime"], limits=[{"kind": "wait", "minutes": 5}])
    begin()
    # A new instance, not one that was there when the rule was made.
    generation.generate()
    Instance.objects.update(planned_time=timezone.now())
    evaluate.evaluate()
    assert evaluate.evaluate(in_(4)) == 0
    assert evaluate.evaluate(in_(6)) == 1
    assert "waited longer" in told()[0][2]


def test_a_cycle_that_the_next_run_ends() -> None:
    task = make_due(2)
    make_rule(task, kinds=["overtime"], limits=[{"kind": "cycle"}])
    begin()
    generation.generate()
    first, _last = instances_of(task)
    evaluate.evaluate()
    # The last one has no next run, as its task ends with it.
    assert list(Message.objects.values_list("instance_id", flat=True)) == [first.pk]


def test_limits_of_reruns_hold_for_reruns_alone() -> None:
    (instance,) = due()
    limits = [{"kind": "run", "minutes": 5, "reruns": True}]
    make_rule(instance.task, kinds=["overtime"], limits=limits)
    begin()
    fail(instance)
    evaluate.evaluate()
    assert not Watch.objects.exists()
    lifecycle.rerun([instance.pk])
    claim(instance)
    evaluate.evaluate()
    assert evaluate.evaluate(in_(6)) == 1
    assert Message.objects.get().life_round == 1


def test_a_watch_of_an_older_life_is_forgotten() -> None:
    (instance,) = due()
    make_rule(instance.task, kinds=["overtime"], limits=[{"kind": "wait", "minutes": 5}])
    Instance.objects.update(planned_time=timezone.now())
    begin()
    assert Watch.objects.get().life_round == 0
    fail(instance)
    lifecycle.rerun([instance.pk])
    assert evaluate.evaluate(in_(6)) == 0
    assert not Watch.objects.exists()


def test_a_changed_rule_looks_at_what_is_active_anew() -> None:
    (instance,) = due()
    rule = make_rule(instance.task, kinds=["overtime"], limits=[{"kind": "wait", "minutes": 500}])
    Instance.objects.update(planned_time=timezone.now())
    begin()
    rules.update(make.make_user(), rule.pk, limits=[{"kind": "wait", "minutes": 5}])
    assert not Watch.objects.exists()
    evaluate.evaluate()
    assert Watch.objects.get().limit_at < in_(6)
    rules.update(make.make_user(), rule.pk, enabled=False)
    assert evaluate.evaluate(in_(600)) == 0


def test_many_rules_and_instances_are_read_in_few_queries() -> None:
    instances = due(50, group=make.make_group(64))
    for _number in range(5):
        make_rule(
            instances[0].task,
            kinds=["failure", "overtime"],
            limits=[{"kind": "run", "minutes": 5}, {"kind": "finish", "measure": "average"}],
        )
    begin()
    fail(*instances)
    with CaptureQueriesContext(connection) as queries:
        assert evaluate.evaluate() == 250
    assert len(queries) <= 45


def test_messages_outlive_their_rule_and_go_with_retention() -> None:
    (instance,) = due()
    rule = make_rule(instance.task)
    begin()
    fail(instance)
    evaluate.evaluate()
    rules.delete(make.make_user(), rule.pk)
    message = Message.objects.get()
    assert message.rule is None
    assert message.rule_name == rule.name
    assert retention.hourly(1) == 0
    Message.objects.update(created_at=in_(-2 * 24 * 60))
    assert retention.hourly(1) == 1
    assert not Message.objects.exists()


def test_durations_are_those_of_real_runs() -> None:
    instance = running_late()
    found = forecast.durations([instance.task_id, 10**12])
    assert list(found) == [instance.task_id]
    typical = found[instance.task_id]
    assert typical.runs == 2
    assert abs(typical.run - 20 * MINUTE) < dt.timedelta(seconds=1)
    assert forecast.durations([]) == {}
