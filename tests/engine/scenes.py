"""What tests of lives, lanes and undo are made of."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from instances.engine import generation, lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Claimed, Touched
from instances.engine.lives import Life
from instances.models import Edge, Execution, Instance, OperationRecord
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import (
    DAY,
    HOUR,
    bad,
    due,
    family,
    fresh,
    good,
    ids,
    instances_of,
    settle,
    started,
    state,
)


def operation() -> int:
    return OperationRecord.objects.create(kind="rerun", source="api").pk


def pair() -> tuple[Instance, Instance]:
    """A parent and its child, both successful."""
    [parent], child = family(1)
    generation.generate()
    harness.run_all(parent)
    [up], [down] = instances_of(parent), instances_of(child)
    assert (state(up), state(down)) == ("success", "success")
    return up, down


LANE = -7


HOLDING = ["dispatched", "running", "stopping"]


def in_lane(days: list[Instance], parallelism: int = 2, lane: int | None = LANE) -> list[int]:
    """Gives the instances a new life in the lane; execution ids of those that got a place."""
    _, touched = lifecycle.rerun(ids(days), None, Life(parallelism=parallelism, lane=lane))
    return [hint.execution_id for hint in settle(touched)]


def on() -> int:
    return Execution.objects.filter(lane=LANE, state__in=HOLDING).count()


def on_of(days: list[Instance]) -> list[int]:
    """The instances that are on, in their order."""
    executions = Execution.objects.filter(state__in=HOLDING, instance__in=days)
    return list(executions.order_by("instance_id").values_list("instance_id", flat=True))


def claims_of(days: Sequence[Instance] = ()) -> list[Claimed]:
    """Claims everything that is dispatched, of these instances or of all, in order of the instances."""
    dispatched = Execution.objects.filter(state="dispatched")
    if days:
        dispatched = dispatched.filter(instance__in=days)
    found = lifecycle.claim(list(dispatched.values_list("id", flat=True)), "w1")
    return sorted(found, key=lambda c: c.instance_id)


OPERATION, UNDO = 11, 12


class Done:
    """An operation that was done to instances, as the operations do it: in one transaction with its images."""

    def __init__(self, kind: str, *instances: Instance, **options: Any) -> None:
        self.kind = kind
        with transaction.atomic():
            before = lifecycle.images(sorted(ids(instances)))
            changed, self.touched = getattr(lifecycle, kind)(sorted(ids(instances)), OPERATION, **options)
            self.after = lifecycle.images(sorted(changed))
            self.before = {pk: before[pk] for pk in changed}
        assert len(self.after) == len(instances)

    def undo(self) -> tuple[dict[int, str], Touched, dict[int, str]]:
        return lifecycle.restore(self.before, self.after, UNDO, self.kind)


def row_of(instance: Instance) -> dict[str, Any]:
    """All that an undo must bring back: every column but those that tell that something was."""
    image = lifecycle.images([instance.pk])[instance.pk]
    return {
        name: value for name, value in image.items() if name not in ("at", "wait_deadline", "open", "waived")
    }


def edges_of(instance: Instance) -> list[tuple[Any, ...]]:
    rows = Edge.objects.filter(instance=instance).order_by("upstream_task_id", "upstream_data_time")
    return [(edge.upstream_id, edge.waived, edge.satisfied_at is not None, edge.is_self) for edge in rows]


def brought_to(now: str) -> Instance:
    """An instance in a state that an operation may meet, with a past."""
    [day] = due(retry_limit=1, retry_wait=DAY, wait_timeout=DAY, code="true")
    if now in ("success", "failed_retry", "failed"):
        [claimed] = started(day)
        ends = {
            "success": good(claimed),
            "failed_retry": bad(claimed),
            "failed": bad(claimed, "UNDEFINED_PARAMETER"),
        }
        lifecycle.finish([ends[now]])
    elif now == "dispatched":
        dispatch(harness.groups(day))
    elif now == "rerun":
        lifecycle.mark_success([day.pk])
        other = make.make_group()
        life = Life(
            parameters={"a": "1"},
            parallelism=3,
            lane=-5,
            resource_group_id=other.pk,
            priority_offset=-1,
            plan_id=8,
        )
        lifecycle.rerun([day.pk], 1, life)
    elif now == "wait_upstream":
        workflow = make.make_workflow()
        parent = harness.make_due(1, workflow=workflow)
        child = make.make_task(workflow, effective_to=parent.effective_to, wait_timeout=DAY)
        make.depend(child, parent)
        make.submit(child, since=harness.JANUARY - HOUR)
        generation.generate()
        [day] = instances_of(child)
        assert state(day) == now
    return fresh(day)
