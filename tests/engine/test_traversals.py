"""For-each tasks in the engine: handing over, traversals, their ends; docs/adr/0014-for-each.md"""

import datetime as dt
from typing import Any

import pytest
from django.db import connection

from instances.engine import generation, lifecycle, maintenance, traversals
from instances.engine.dispatch import dispatch
from instances.engine.lives import Life
from instances.models import Execution, ForEachRun, Instance, StateChange, Traversal
from tests import factories as make
from tests.engine.harness import _django_db_helper as _django_db_helper
from tests.engine.harness import (
    assert_sound,
    bad,
    captured_hints,
    executions,
    fresh,
    good,
    history,
    instances_of,
    state,
)
from tests.traversing import (
    add_inner,
    child,
    children,
    claim_all,
    counts,
    end,
    end_running,
    hand_over,
    make_for_each,
    run_of,
    run_out,
    started,
    step,
)

pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def test_its_worker_reads_the_array_and_is_free() -> None:
    parent = started(make_for_each(parallelism=2))
    assert state(parent) == "running"
    assert executions(parent) == ["delegated"]
    assert counts(parent) == {"active": 2, "pending": 1}
    assert [(c.traversal, c.state) for c in children(parent)] == [
        ("0", "wait_run"), ("1", "wait_run"), ("0", "wait_upstream"), ("1", "wait_upstream"),
    ]  # fmt: skip
    assert history(parent) == ["claim", "hand_over"]
    assert_sound()


def test_it_succeeds_when_all_traversals_have() -> None:
    parent = started(make_for_each(parallelism=2))
    run_out()
    assert state(parent) == "success"
    assert executions(parent) == ["success"]
    assert counts(parent) == {"success": 3}
    assert {c.state for c in children(parent)} == {"success"}
    assert len(children(parent)) == 6
    assert not run_of(parent).is_open
    assert_sound()


def test_one_slot_is_enough_for_it_and_its_children() -> None:
    parent = started(make_for_each(group_slots=1, parallelism=3))
    run_out()
    assert state(parent) == "success"
    assert_sound()


def test_no_more_traversals_at_once_than_its_parallelism() -> None:
    parent = started(make_for_each(inner={"only": []}, parallelism=2))
    most = 0
    while fresh(parent).state == "running":
        open_children = [c for c in children(parent) if c.state not in ("success", "failed")]
        most = max(most, len(open_children))
        claimed = claim_all()
        end(claimed[0])
        traversals.work(parent.pk)
        dispatch({parent.resource_group_id})
        end_running()
    assert most == 2


def test_steps_of_a_traversal_follow_one_another() -> None:
    parent = started(make_for_each(["x"], {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}), ["x"])
    order = []
    while claimed := claim_all():
        order.append(sorted(fresh_name(one.task_id) for one in claimed))
        for one in claimed:
            end(one)
    assert order == [["a"], ["b", "c"], ["d"]]
    assert state(parent) == "success"


def fresh_name(task_id: int) -> str:
    return Instance.objects.filter(task=task_id)[0].task.name.partition("_")[0]


def test_a_child_gets_its_item_its_place_and_what_its_for_each_task_knows() -> None:
    task = make_for_each(["x"], {"only": []}, columns={"parameters": {"region": "eu", "own": "outer"}})
    inner = step(task, "only")
    inner.parameters = {"own": "inner"}
    inner.save()
    make.submit(inner)
    parent = started(task, ['a ${b} "c"'], region="$${x}", own="outer")
    [claimed] = claim_all()
    assert claimed.parameters == {"item": 'a $${b} "c"', "index": "0", "region": "$$${x}", "own": "inner"}
    assert state(parent) == "running"


def test_a_failure_fails_its_traversal_what_follows_and_at_last_the_parent() -> None:
    parent = started(make_for_each(parallelism=3))
    run_out(fails=[child(parent, "first", 1).pk])
    assert counts(parent) == {"success": 2, "failed": 1}
    assert (state(parent), fresh(parent).error_code) == ("failed", "TRAVERSALS_FAILED")
    assert fresh(parent).error_message == "2 of 3 traversals succeeded, 1 failed."
    second = child(parent, "second", 1)
    assert (second.state, second.error_code, second.start_time) == ("failed", "UPSTREAM_FAILED", None)
    assert_sound()


@pytest.mark.parametrize(
    ("policy", "fails", "expected"),
    [
        ({"success": "any"}, [0, 1], "success"),
        ({"success": "any"}, [0, 1, 2], "failed"),
        ({"success": "tolerate", "tolerated": 1}, [2], "success"),
        ({"success": "tolerate", "tolerated": 1}, [0, 2], "failed"),
        ({"success": "all"}, [2], "failed"),
    ],
)
def test_its_settings_say_what_failures_mean(policy: dict[str, Any], fails: list[int], expected: str) -> None:
    parent = started(make_for_each(inner={"only": []}, **policy))
    run_out(fails=[child(parent, "only", number).pk for number in fails])
    assert state(parent) == expected
    assert_sound()


def test_it_may_stop_once_it_can_only_fail() -> None:
    parent = started(make_for_each(inner={"only": []}, parallelism=1, on_failure="stop"))
    run_out(fails=[child(parent, "only", 0).pk])
    assert counts(parent) == {"failed": 1, "stopped": 2}
    assert (state(parent), len(children(parent))) == ("failed", 1)
    assert fresh(parent).error_message == "0 of 3 traversals succeeded, 1 failed, 2 were not run."
    assert_sound()


def test_a_child_has_retries_of_its_own() -> None:
    parent = started(make_for_each(inner={"only": []}, inner_columns={"retry_limit": 1}))
    for one in claim_all():
        end(one, ok=one.instance_id != child(parent, "only", 1).pk)
    assert counts(parent) == {"success": 2, "active": 1}
    run_out()
    assert (state(parent), child(parent, "only", 1).total_runs) == ("success", 2)


def test_terminate_reaches_the_children_and_waits_for_their_deaths() -> None:
    parent = started(make_for_each(parallelism=2))
    running, _ = claim_all()
    lifecycle.terminate([parent.pk], 7)
    traversals.work(parent.pk)
    assert state(parent) == "terminating"
    assert sorted(c.state for c in children(parent)) == ["failed", "failed", "terminating", "terminating"]
    assert counts(parent) == {"active": 2, "stopped": 1}
    of_children = StateChange.objects.filter(
        instance_id__in=[c.pk for c in children(parent)], move="terminate"
    )
    assert set(of_children.values_list("operation_id", flat=True)) == {7}
    end(running)
    assert state(parent) == "terminating"
    end_running()
    assert (state(parent), fresh(parent).error_code) == ("failed", "TERMINATED")
    assert_sound()


def test_marked_as_successful_it_takes_its_unfinished_children_with_it() -> None:
    parent = started(make_for_each(), ["a", "b"])
    first, _second = claim_all()
    end(first, ok=False)
    lifecycle.mark_success([parent.pk])
    traversals.work(parent.pk)
    assert state(parent) == "success"
    states = [(c.traversal, c.state) for c in children(parent)]
    assert states == [("0", "failed"), ("1", "success"), ("0", "failed"), ("1", "success")]
    assert executions(parent) == ["delegated"]
    # Its process still dies: until then no new life can be on.
    lifecycle.rerun([parent.pk])
    dispatch({parent.resource_group_id})
    assert executions(parent) == ["delegated"]
    end_running()
    assert executions(parent) == ["cancelled", "dispatched"]
    assert_sound()


def test_a_rerun_runs_all_traversals_again() -> None:
    parent = started(make_for_each())
    run_out()
    ids = [c.pk for c in children(parent)]
    lifecycle.rerun([parent.pk])
    again(parent, ["a", "b", "c"])
    assert counts(parent) == {"active": 3}
    assert [c.pk for c in children(parent)] == ids
    assert {(c.life_round, c.state) for c in children(parent)} == {(1, "wait_run"), (1, "wait_upstream")}
    run_out()
    assert state(parent) == "success"
    assert_sound()


def again(parent: Instance, items: list[str]) -> None:
    dispatch({parent.resource_group_id})
    [claimed] = claim_all()
    hand_over(claimed, items)
    traversals.work(parent.pk)


def test_a_rerun_may_run_only_the_failed_traversals() -> None:
    parent = started(make_for_each(parallelism=3))
    run_out(fails=[child(parent, "first", 1).pk])
    lifecycle.rerun([parent.pk], None, Life(failed_traversals=True))
    again(parent, ["a", "b", "c"])
    assert counts(parent) == {"active": 1, "success": 2}
    assert [c.life_round for c in children(parent, 0)] == [0, 0]
    assert [c.life_round for c in children(parent, 1)] == [1, 1]
    run_out()
    assert state(parent) == "success"
    assert_sound()


def test_another_item_at_its_place_is_run_again_too() -> None:
    parent = started(make_for_each(inner={"only": []}))
    run_out(fails=[child(parent, "only", 1).pk])
    lifecycle.rerun([parent.pk], None, Life(failed_traversals=True))
    again(parent, ["other", "b"])
    assert counts(parent) == {"active": 2}
    assert child(parent, "only", 0).overrides["item"] == "other"
    assert Traversal.objects.get(for_each=parent, number=2).state == "success"
    run_out()
    assert state(parent) == "success"
    assert_sound()


def test_a_retry_runs_the_failed_traversals_again() -> None:
    parent = started(make_for_each(inner={"only": []}, columns={"retry_limit": 1}))
    [first, *rest] = claim_all()
    end(first, ok=False)
    for one in rest:
        end(one)
    assert state(parent) == "failed_retry"
    assert fresh(parent).error_code == "TRAVERSALS_FAILED"
    lifecycle.retry_due()
    again(parent, ["a", "b", "c"])
    assert counts(parent) == {"active": 1, "success": 2}
    run_out()
    assert state(parent) == "success"
    assert executions(parent) == ["failed", "success"]
    assert_sound()


def test_a_longer_or_changed_dag_holds_in_the_next_life() -> None:
    task = make_for_each(["x"])
    parent = started(task, ["x"])
    run_out()
    first, second = step(task, "first"), step(task, "second")
    second.dependencies.all().delete()
    make.depend(first, second)
    third = add_inner(task, {"third": []})["third"]
    make.depend(third, first)
    make.submit(task)
    lifecycle.rerun([parent.pk])
    again(parent, ["x"])
    assert {c.task.name.partition("_")[0]: c.state for c in children(parent)} == {
        "first": "wait_upstream",
        "second": "wait_run",
        "third": "wait_upstream",
    }
    run_out()
    assert state(parent) == "success"
    assert_sound()


def test_its_run_timeout_ends_the_traversals_first() -> None:
    parent = started(make_for_each(columns={"run_timeout": dt.timedelta(hours=1)}, parallelism=2))
    [running, other] = claim_all()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE instances_foreachrun SET deadline = now() - interval '1 second'")
    traversals.work(parent.pk)
    assert state(parent) == "running"
    assert counts(parent) == {"active": 2, "stopped": 1}
    end(running, ok=False)
    end(other, ok=False)
    traversals.work(parent.pk)
    assert (state(parent), fresh(parent).error_code) == ("failed", "RUN_TIMEOUT")
    assert_sound()


def test_an_empty_dag_of_deleted_tasks_ends_at_once() -> None:
    task = make_for_each(inner={"only": []})
    task.inner_tasks.update(current_version=None, status="offline")
    task.inner_tasks.all().delete()
    parent = started(task)
    assert state(parent) == "success"


def test_a_serial_for_each_task_keeps_its_turn_while_its_traversals_run() -> None:
    task = make_for_each(inner={"only": []}, days=2, columns={"self_dependency": "serial"})
    first = started(task)
    second = instances_of(task)[1]
    dispatch({second.resource_group_id})
    maintenance.sweep()
    assert (executions(second), fresh(second).queue) == ([], "gated")
    run_out()
    assert state(first) == "success"
    assert executions(second) == ["running"] or executions(second) == ["success"]


def test_a_child_that_somebody_reruns_is_ended_before_its_traversal_begins_again() -> None:
    parent = started(make_for_each(["x"], {"only": []}), ["x"])
    run_out(fails=[child(parent, "only").pk])
    lifecycle.rerun([child(parent, "only").pk])
    dispatch({parent.resource_group_id})
    [by_hand] = claim_all()
    lifecycle.rerun([parent.pk])
    again(parent, ["x"])
    assert (state(child(parent, "only")), counts(parent)) == ("terminating", {"pending": 1})
    end(by_hand)
    assert counts(parent) == {"active": 1}
    run_out()
    assert state(parent) == "success"
    assert_sound()


def test_a_child_rerun_by_hand_while_its_traversal_goes_on_counts() -> None:
    parent = started(make_for_each(["x"], {"a": [], "b": [], "c": ["a"]}), ["x"])
    a, b = claim_all()
    end(a, ok=False)
    assert counts(parent) == {"active": 1}
    lifecycle.rerun([a.instance_id])
    end(b)
    dispatch({parent.resource_group_id})
    run_out()
    assert state(parent) == "success"
    assert_sound()


def test_terminated_while_the_worker_reads_the_array_it_hands_nothing_over() -> None:
    task = make_for_each()
    generation.generate()
    [parent] = instances_of(task)
    dispatch({parent.resource_group_id})
    [claimed] = claim_all()
    lifecycle.terminate([parent.pk])
    hand_over(claimed, ["a"])
    assert state(parent) == "failed"
    assert not Traversal.objects.exists()
    assert_sound()


def test_a_late_worker_hands_nothing_over() -> None:
    task = make_for_each()
    generation.generate()
    [parent] = instances_of(task)
    dispatch({parent.resource_group_id})
    [claimed] = claim_all()
    lifecycle.finish([bad(claimed)])
    hand_over(claimed, ["a"])
    assert (state(parent), Traversal.objects.count()) == ("failed", 0)


def test_the_sweep_finds_what_no_hint_told() -> None:
    parent = started(make_for_each(inner={"only": []}))
    claimed = claim_all()
    lifecycle.finish([good(one) for one in claimed])
    assert state(parent) == "running"
    with captured_hints():
        for for_each_id in traversals.unfinished():
            traversals.work(for_each_id)
    assert state(parent) == "success"
    assert Execution.objects.exclude(state="success").count() == 0


def test_retention_removes_the_children_with_their_instance() -> None:
    parent = started(make_for_each())
    run_out()
    young = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE instances_instance SET created_at = %s WHERE id = %s", [young, parent.pk])
    assert maintenance.remove_old(young + dt.timedelta(days=1), limit=4) == 4
    assert Instance.objects.filter(pk=parent.pk).exists()
    while maintenance.remove_old(young + dt.timedelta(days=1), limit=4):
        pass
    for model in (Instance, Execution, Traversal, ForEachRun, StateChange):
        assert not model.objects.exists()


def test_an_old_for_each_instance_stays_while_somebody_reruns_one_of_its_children() -> None:
    parent = started(make_for_each(["x"]), ["x"])
    run_out()
    lifecycle.rerun([child(parent, "first").pk])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE instances_instance SET created_at = '2013-01-01'")
    now = dt.datetime.now(dt.UTC)
    assert maintenance.remove_old(now) == 1
    assert maintenance.remove_old(now) == 0
    assert Instance.objects.filter(pk=parent.pk).exists()
