"""What tests of For-each tasks are made of."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from instances.engine import generation, lifecycle, traversals
from instances.engine.dispatch import dispatch, follow
from instances.engine.lifecycle import Claimed, Result
from instances.models import Execution, ForEachRun, Instance, Lease, Task
from tests import factories as make
from tests.engine.harness import DAY, HOUR, JANUARY, captured_hints, instances_of


def make_for_each(
    items: Sequence[Any] = ("a", "b", "c"),
    inner: Mapping[str, Sequence[str]] | None = None,
    *,
    days: int = 1,
    group_slots: int = 16,
    columns: Mapping[str, Any] | None = None,
    code: str = "",
    inner_columns: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Task:
    """A submitted daily For-each task with `days` instances due. `inner`: {step: steps that it follows}; the inner tasks'
    names begin with the step's. By default two, one after the other."""
    group = make.make_group(group_slots)
    given = {
        "task_type": "FOR_EACH",
        "code": code or json.dumps(list(items)),
        "settings": settings,
        **(columns or {}),
    }
    task = make.make_task(group=group, effective_to=JANUARY + (days - 1) * DAY + HOUR, **given)
    add_inner(task, {"first": [], "second": ["first"]} if inner is None else inner, **(inner_columns or {}))
    make.submit(task, since=JANUARY - dt.timedelta(microseconds=1))
    return task


def add_inner(task: Task, inner: Mapping[str, Sequence[str]], **columns: Any) -> dict[str, Task]:
    """{step: inner task}, not submitted."""
    steps = {
        step: make.make_task(
            task.workflow, group=task.resource_group, for_each=task, name=make.unique(f"{step}_"), **columns
        )
        for step in inner
    }
    for step, follows in inner.items():
        for up in follows:
            make.depend(steps[step], steps[up])
    return steps


def step(task: Task, name: str) -> Task:
    return task.inner_tasks.get(name__startswith=f"{name}_")


def started(task: Task, items: Sequence[str] = ("a", "b", "c"), **parameters: str) -> Instance:
    """The task's first instance, handed over by its worker and with its first traversals begun."""
    generation.generate()
    instance = instances_of(task)[0]
    [claimed] = lifecycle.claim([hint.execution_id for hint in dispatch({instance.resource_group_id})], "w1")
    hand_over(claimed, items, **parameters)
    traversals.work(instance.pk)
    return Instance.objects.get(pk=instance.pk)


def hand_over(claimed: Claimed, items: Sequence[str], **parameters: str) -> None:
    """What a worker reports when it has read the array."""
    result = Result(claimed.execution_id, claimed.token, True, array=tuple(items), parameters=parameters)
    follow(lifecycle.finish([result]))


def children(instance: Instance, number: int | None = None) -> list[Instance]:
    rows = Instance.objects.filter(for_each_id=instance.pk).select_related("task").order_by("pk")
    return list(rows if number is None else rows.filter(traversal=str(number)))


def child(instance: Instance, name: str, number: int = 0) -> Instance:
    """The instance of the inner task called `name` in a traversal."""
    return Instance.objects.get(
        for_each_id=instance.pk, traversal=str(number), task__name__startswith=f"{name}_"
    )


def run_of(instance: Instance) -> ForEachRun:
    return ForEachRun.objects.get(pk=instance.pk)


def counts(instance: Instance) -> dict[str, int]:
    """How many traversals there are of each state that there is."""
    run = run_of(instance)
    names = ("pending", "active", "success", "failed", "stopped")
    return {name: getattr(run, name) for name in names if getattr(run, name)}


def claim_all() -> list[Claimed]:
    """Claims everything that is dispatched, in order of the instances."""
    dispatched = Execution.objects.filter(state="dispatched").values_list("id", flat=True)
    return sorted(lifecycle.claim(list(dispatched), "w1"), key=lambda claimed: claimed.instance_id)


def end(claimed: Claimed, ok: bool = True, code: str = "EXIT_NONZERO") -> None:
    """A worker reports, and whoever it hints at advances."""
    result = Result(
        claimed.execution_id, claimed.token, ok, "" if ok else code, "" if ok else "It ended with 1."
    )
    touched = lifecycle.finish([result])
    follow(touched)
    for for_each_id in touched.for_each:
        traversals.work(for_each_id)


def end_running(*, ok: bool = True) -> None:
    """Reports everything that runs under a lease."""
    for execution_id, token in list(
        Lease.objects.order_by("execution_id").values_list("execution_id", "token")
    ):
        touched = lifecycle.finish([Result(execution_id, token, ok, "" if ok else "EXIT_NONZERO", "")])
        follow(touched)
        for for_each_id in touched.for_each:
            traversals.work(for_each_id)


def run_out(fails: Sequence[int] = (), most: int = 1000) -> None:
    """Runs all that can run; instances in `fails` (ids) fail."""
    with captured_hints():
        for _ in range(most):
            for for_each_id in traversals.unfinished():
                traversals.work(for_each_id)
            lifecycle.retry_due()
            follow(
                lifecycle.Touched(groups=set(Instance.objects.values_list("resource_group_id", flat=True)))
            )
            claimed = claim_all()
            if not claimed:
                return
            for one in claimed:
                end(one, one.instance_id not in fails)
    raise AssertionError("the work does not come to an end")


class Lines:
    """In place of a run's log."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, stream: str, data: bytes) -> None:
        self.text += data.decode()

    def line(self, text: str) -> None:
        self.text += f"[weops] {text}\n"
