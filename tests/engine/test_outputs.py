"""Output parameters from a parent's run to its children: by name, frozen, in their place among the other parameters."""

import datetime as dt
from typing import Any

import pytest

from instances.engine import generation, lifecycle, snapshot
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Claimed, Result
from instances.engine.lives import Life
from instances.engine.supervise import prepare
from instances.models import Dependency, Execution, Instance, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import JANUARY, _django_db_helper, instances_of, settle

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def claim(instance: Instance) -> Claimed:
    dispatch(harness.groups(instance))
    waiting = Execution.objects.filter(instance=instance, state="dispatched").values_list("pk", flat=True)
    [claimed] = lifecycle.claim(list(waiting), "w1")
    return claimed


def gives(instance: Instance, **values: str) -> None:
    """The instance succeeds, with these outputs."""
    one = claim(instance)
    settle(lifecycle.finish([Result(one.execution_id, one.token, ok=True, outputs=values)]))


class Line:
    """Tasks that set outputs, and one that waits for them and uses `${rows}`."""

    def __init__(self, parents: int = 1, outputs: tuple[str, ...] = ("rows",), **child: Any) -> None:
        self.workflow = make.make_workflow()
        self.parents = [
            harness.make_due(1, workflow=self.workflow, outputs=list(outputs), code="true", retry_limit=1)
            for _ in range(parents)
        ]
        self.child = make.make_task(
            self.workflow,
            effective_to=JANUARY + harness.HOUR,
            **{"code": "echo ${rows}", "retry_limit": 1, **child},
        )
        for task in self.parents:
            make.depend(self.child, task)
        make.submit(self.child, since=JANUARY - dt.timedelta(microseconds=1))
        generation.generate()
        self.ups = [instances_of(task)[0] for task in self.parents]
        self.down = instances_of(self.child)[0]


def test_a_child_gets_its_parents_value_by_name() -> None:
    line = Line()
    gives(line.ups[0], rows="42")
    spec = prepare(claim(line.down))
    assert (spec.code, spec.parameters["rows"], spec.warnings) == ("echo 42", "42", ())
    execution = Execution.objects.get(instance=line.down)
    assert execution.inherited == {"rows": {"from": line.parents[0].name, "also": []}}
    assert Execution.objects.get(instance=line.ups[0]).outputs == {"rows": "42"}


@pytest.mark.parametrize(
    "hostile", ["${yyyyMMdd}", "$${a}", "${", "'; DROP TABLE x; --", '["a", "${b}"]', "%s %(x)s"]
)
def test_whatever_stands_in_a_value_stays_text(hostile: str) -> None:
    line = Line()
    gives(line.ups[0], rows=hostile)
    assert prepare(claim(line.down)).parameters["rows"] == hostile


def test_its_place_among_the_other_parameters() -> None:
    line = Line(outputs=("a", "b", "c"), parameters={"b": "task", "c": "task"}, code="echo ${a} ${b} ${c}")
    line.workflow.parameters = {"a": "workflow", "b": "workflow"}
    line.workflow.save()
    gives(line.ups[0], a="output", b="output", c="output")
    assert prepare(claim(line.down)).code == "echo output task task"
    settle(lifecycle.terminate([line.down.pk])[1])
    lifecycle.expire(0)
    Execution.objects.filter(instance=line.down, state="running").exists()


def test_a_task_of_another_project_never_replaces_what_this_one_says() -> None:
    line = Line(parents=2, outputs=("rows", "mine", "new"), code="echo ${rows} ${mine} ${new}")
    Task.objects.filter(pk=line.parents[0].pk).update(workflow=make.make_workflow())
    line.workflow.parameters = {"rows": "workflow"}
    line.workflow.save()
    gives(line.ups[0], rows="; evil", mine="; evil", new="7")
    gives(line.ups[1], rows="output", mine="own")
    assert prepare(claim(line.down)).code == "echo output own 7"


def test_what_the_workflow_says_is_stronger_than_another_project() -> None:
    line = Line()
    Task.objects.filter(pk=line.parents[0].pk).update(workflow=make.make_workflow())
    line.workflow.parameters = {"rows": "workflow"}
    line.workflow.save()
    gives(line.ups[0], rows="; evil")
    assert prepare(claim(line.down)).code == "echo workflow"
    execution = Execution.objects.get(instance=line.down)
    assert not execution.inherited


def test_an_operation_overrides_it() -> None:
    line = Line()
    gives(line.ups[0], rows="42")
    settle(lifecycle.mark_success([line.down.pk])[1])
    settle(lifecycle.rerun([line.down.pk], None, Life(parameters={"rows": "mine"}))[1])
    assert prepare(claim(line.down)).code == "echo mine"


def test_of_two_parents_the_one_declared_first_and_a_warning() -> None:
    line = Line(parents=2)
    # Declared in another order than the tasks were made.
    Dependency.objects.filter(task=line.child, upstream=line.parents[0]).delete()
    make.depend(line.child, line.parents[0])
    gives(line.ups[0], rows="first task")
    gives(line.ups[1], rows="declared first")
    spec = prepare(claim(line.down))
    assert spec.code == "echo declared first"
    [warning] = spec.warnings
    assert line.parents[1].name in warning
    assert warning.endswith(f"{line.parents[0].name} gave one, too")


def test_a_life_keeps_what_it_began_with_and_a_new_one_asks_again() -> None:
    line = Line()
    gives(line.ups[0], rows="old")
    one = claim(line.down)
    settle(lifecycle.rerun([line.ups[0].pk])[1])
    gives(line.ups[0], rows="new")
    lifecycle.finish([Result(one.execution_id, one.token, ok=False, error_code="EXIT_NONZERO")])
    settle(lifecycle.retry_due())
    assert prepare(claim(line.down)).code == "echo old"
    settle(lifecycle.mark_success([line.down.pk])[1])
    execution = Execution.objects.filter(instance=line.down).order_by("id").last()
    assert execution is not None
    assert snapshot.rendered(execution).code == "echo old"


def test_as_it_ran_keeps_the_value() -> None:
    line = Line()
    gives(line.ups[0], rows="old")
    gives(line.down)
    settle(lifecycle.rerun([line.ups[0].pk])[1])
    gives(line.ups[0], rows="new")
    settle(lifecycle.rerun([line.down.pk], None, Life(code="as_it_ran"))[1])
    assert prepare(claim(line.down)).code == "echo old"
    settle(lifecycle.rerun([line.down.pk])[1])


def test_a_value_that_was_not_given_is_an_error_before_the_run() -> None:
    line = Line()
    gives(line.ups[0])
    with pytest.raises(ValueError, match="is not defined"):
        prepare(claim(line.down))


def test_a_failed_run_gives_nothing() -> None:
    line = Line()
    one = claim(line.ups[0])
    lifecycle.finish(
        [
            Result(
                one.execution_id, one.token, ok=False, error_code="UNDEFINED_PARAMETER", outputs={"rows": "1"}
            )
        ]
    )
    assert Execution.objects.get(instance=line.ups[0]).outputs is None


def test_outputs_are_part_of_the_version() -> None:
    line = Line()
    version = Task.objects.get(pk=line.parents[0].pk).current_version
    assert version is not None
    assert version.definition["outputs"] == ["rows"]
    Task.objects.filter(pk=line.parents[0].pk).update(outputs=["rows", "path"])
    assert make.submit(Task.objects.get(pk=line.parents[0].pk)).number == 2
