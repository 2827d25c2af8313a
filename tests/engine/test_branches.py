"""Branches in the engine: a worker runs the condition, the others are skipped, a merge goes on; inside For-each tasks, too."""

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from instances.engine import generation, lifecycle, traversals
from instances.engine.lives import Life
from instances.engine.supervise import Run, supervise
from instances.models import Instance, Task
from tests import factories as make
from tests.engine.harness import JANUARY, assert_sound, fresh, instances_of, settle, state
from tests.engine.harness import _django_db_helper as _django_db_helper
from tests.traversing import (
    Lines,
    add_inner,
    child,
    claim_all,
    end,
    hand_over,
    make_for_each,
    run_out,
    started,
)

pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
SINCE = JANUARY - dt.timedelta(microseconds=1)


def make_branch(rows: str, *, take: str = "first", merge: str = "ALL_DONE") -> dict[str, Task]:
    """branch -> big, small, always; merge waits for big and small."""
    workflow, group = make.make_workflow(), make.make_group()
    whole: dict[str, Any] = {
        "workflow": workflow,
        "group": group,
        "effective_to": JANUARY + dt.timedelta(hours=1),
    }
    settings = {"branches": ["big: rows > 100"], "otherwise": "small", "take": take}
    branch = make.make_task(
        task_type="BRANCH", name="branch", settings=settings, parameters={"rows": rows}, **whole
    )
    tasks = {"branch": branch}
    for name in ("big", "small", "always"):
        tasks[name] = make.make_task(name=name, **whole)
        make.depend(tasks[name], branch)
    tasks["merge"] = make.make_task(name="merge", trigger_policy=merge, **whole)
    for name in ("big", "small"):
        make.depend(tasks["merge"], tasks[name])
    for task in tasks.values():
        make.submit(task, since=SINCE)
    generation.generate()
    return tasks


def work_off(*, most: int = 50) -> str:
    """Runs what can run, branches as a worker does; the text of their logs."""
    log = Lines()
    for _ in range(most):
        settle(
            lifecycle.Touched(
                groups=set(Instance.objects.values_list("resource_group_id", flat=True)), ripples=True
            )
        )
        claimed = claim_all()
        if not claimed:
            return log.text
        for one in claimed:
            if one.task_type == "BRANCH":
                settle(lifecycle.finish([supervise(Run(one), log, "w1")]))  # type: ignore[arg-type]
            else:
                end(one)
    raise AssertionError("the work does not come to an end")


def states(tasks: dict[str, Task]) -> dict[str, str]:
    return {name: state(instances_of(task)[0]) for name, task in tasks.items()}


@pytest.mark.parametrize(("rows", "taken", "skipped"), [("500", "big", "small"), ("5", "small", "big")])
def test_what_is_not_taken_is_skipped_and_the_merge_goes_on(rows: str, taken: str, skipped: str) -> None:
    tasks = make_branch(rows)
    text = work_off()
    assert states(tasks) == {
        "branch": "success",
        taken: "success",
        skipped: "skipped",
        "always": "success",
        "merge": "success",
    }
    assert f"skipped: {skipped}" in text
    assert f"(rows = {rows})" in text
    assert_sound()


def test_a_merge_that_wants_all_is_skipped_too() -> None:
    tasks = make_branch("500", merge="ALL_SUCCESS")
    work_off()
    assert states(tasks)["merge"] == "skipped"
    assert_sound()


def test_a_rerun_of_the_branch_decides_anew() -> None:
    tasks = make_branch("500")
    work_off()
    [branch] = instances_of(tasks["branch"])
    settle(lifecycle.rerun([branch.pk], None, Life(parameters={"rows": "5"}))[1])
    work_off()
    # What has run keeps what it got; what was skipped is run now.
    assert states(tasks) == {
        "branch": "success",
        "big": "success",
        "small": "success",
        "always": "success",
        "merge": "success",
    }
    assert_sound()


def test_a_broken_condition_fails_the_branch_with_its_own_code() -> None:
    tasks = make_branch("many")
    work_off()
    [branch] = instances_of(tasks["branch"])
    assert (state(branch), fresh(branch).error_code) == ("failed", "BRANCH_CONDITION")
    assert "compare numbers with numbers" in fresh(branch).error_message
    assert states(tasks)["big"] == "wait_upstream"


def test_a_name_that_no_task_has_any_more_fails_the_branch() -> None:
    tasks = make_branch("500")
    Task.objects.filter(pk=tasks["big"].pk).update(name="renamed")
    work_off()
    [branch] = instances_of(tasks["branch"])
    assert fresh(branch).error_code == "BRANCH_UNKNOWN_TASK"
    assert "big" in fresh(branch).error_message


def test_a_branch_is_submitted_once_its_tasks_wait_for_it() -> None:
    branch = make.make_task(task_type="BRANCH", settings={"branches": ["nobody: 1 == 1"]})
    with pytest.raises(ValidationError, match="no task called nobody"):
        make.submit(branch)


def test_inside_a_for_each_task_each_traversal_takes_its_own_branch() -> None:
    task = make_for_each(inner={"x": []})
    task.inner_tasks.update(status="offline")
    steps = add_inner(task, {"fork": []})
    fork = steps["fork"]
    big, small = (
        make.make_task(task.workflow, group=task.resource_group, for_each=task, name=make.unique(f"{name}_"))
        for name in ("big", "small")
    )
    for one in (big, small):
        make.depend(one, fork)
    fork.task_type = "BRANCH"
    fork.settings = {"branches": [f"{big.name}: item == 'b'"], "otherwise": small.name}
    fork.save()
    make.submit(task)
    parent = started(task, ["b", "s"])
    work_off()
    taken = {
        (name, number): child(parent, name, number).state for name in ("big", "small") for number in (0, 1)
    }
    assert taken == {
        ("big", 0): "success",
        ("small", 0): "skipped",
        ("big", 1): "skipped",
        ("small", 1): "success",
    }
    run_out()
    assert state(parent) == "success"
    assert_sound()
    # The same items the other way round: what was skipped begins a new life, too.
    lifecycle.rerun([parent.pk])
    settle(lifecycle.Touched(groups={parent.resource_group_id}))
    [claimed] = claim_all()
    hand_over(claimed, ["s", "b"])
    traversals.work(parent.pk)
    work_off()
    run_out()
    assert child(parent, "big", 1).state == "success"
    assert child(parent, "big", 0).state == "skipped"
    assert state(parent) == "success"
    assert_sound()


def test_a_step_with_a_policy_of_its_own_runs_after_a_failure() -> None:
    task = make_for_each(["x"], {"first": [], "second": ["first"]})
    second = task.inner_tasks.get(name__startswith="second_")
    second.trigger_policy = "ONE_FAILED"
    second.save()
    make.submit(task)
    parent = started(task, ["x"])
    [first] = claim_all()
    touched = lifecycle.finish([lifecycle.Result(first.execution_id, first.token, False, "EXIT_NONZERO", "")])
    # Before anybody has judged the second, its traversal is not over.
    traversals.work(parent.pk)
    assert child(parent, "second").state == "wait_upstream"
    settle(touched)
    run_out()
    assert child(parent, "second").state == "success"
    assert (state(parent), fresh(parent).error_code) == ("failed", "TRAVERSALS_FAILED")
    assert_sound()
