"""Random lines of tasks with random policies, under everything that workers and people do: after every step, who has not
started is what its parents say, by the pure function of the policies."""

from typing import Any

import pytest
from django.db import transaction
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from instances.engine import generation, lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.lifecycle import Result
from instances.engine.lives import Life
from instances.engine.trigger_policies import Counts, Policy, Verdict, decide
from instances.models import Edge, Execution, Instance, Ripple, Task
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import JANUARY, _django_db_helper, assert_sound

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

MOST = 6
# Of each task but the first: whom it waits for, its policy, whether it fails with them, whether failed ones are excused.
nodes = st.lists(
    st.tuples(
        st.sets(st.integers(0, MOST - 2), min_size=1, max_size=3),
        st.sampled_from([*Policy, Policy.ALL_SUCCESS, Policy.ALL_SUCCESS, Policy.ALL_SUCCESS]),
        st.booleans(),
        st.sampled_from([False, False, True]),
    ),
    min_size=2,
    max_size=MOST - 1,
)
some = st.sets(st.integers(0, MOST - 1), min_size=1, max_size=2)


class Line(RuleBasedStateMachine):
    @initialize(nodes=nodes)
    def begin(self, nodes: list[Any]) -> None:
        harness.wipe()
        self.done: tuple[Any, Any, str] | None = None
        with transaction.atomic():
            workflow, self.group = make.make_workflow(), make.make_group(50)
            common: dict[str, Any] = {"group": self.group, "effective_to": JANUARY + harness.HOUR}
            self.tasks = [make.make_task(workflow, **common)]
            for parents, policy, fails, excused in nodes:
                task = make.make_task(
                    workflow, trigger_policy=policy, upstream_failure="fail" if fails else "wait", **common
                )
                for parent in {number % len(self.tasks) for number in parents}:
                    row = make.depend(task, self.tasks[parent])
                    if excused:
                        row.bad_parents = ["PARENT_EXPIRED"]
                        row.save()
                self.tasks.append(task)
            for task in self.tasks:
                make.submit(task, since=JANUARY - harness.HOUR)
            generation.tick()

    def _ids(self, numbers: set[int]) -> list[int]:
        tasks: list[Task] = [self.tasks[number % len(self.tasks)] for number in numbers]
        return sorted(Instance.objects.filter(task__in=tasks).values_list("pk", flat=True))

    @rule(number=st.integers(0, 9), how=st.sampled_from(["good", "good", "bad", "branch"]), left_out=some)
    def a_worker_runs(self, number: int, how: str, left_out: set[int]) -> None:
        dispatch([self.group.pk])
        waiting = list(
            Execution.objects.filter(state="dispatched").order_by("pk").values_list("pk", flat=True)
        )
        if not waiting:
            return
        [one] = lifecycle.claim([waiting[number % len(waiting)]], "w")
        not_taken = [self.tasks[n % len(self.tasks)].pk for n in left_out] if how == "branch" else None
        code = "UNDEFINED_PARAMETER" if how == "bad" else ""
        result = Result(one.execution_id, one.token, ok=how != "bad", error_code=code, not_taken=not_taken)
        harness.settle(lifecycle.finish([result]))

    @rule(
        kind=st.sampled_from(["rerun", "rerun", "terminate", "mark_success"]),
        numbers=some,
        check_parents=st.sampled_from(["none", "all"]),
    )
    def a_person_operates(self, kind: str, numbers: set[int], check_parents: str) -> None:
        ids = self._ids(numbers)
        options = [Life(check_parents=check_parents)] if kind == "rerun" else []
        with transaction.atomic():
            before = lifecycle.images(ids, parents=True)
            changed, touched = getattr(lifecycle, kind)(ids, 11, *options)
            after = lifecycle.images(sorted(changed))
        self.done = ({pk: before[pk] for pk in changed}, after, kind) if changed else None
        harness.settle(touched)

    @rule()
    def a_person_undoes(self) -> None:
        if self.done:
            before, after, kind = self.done
            self.done = None
            harness.settle(lifecycle.restore(before, after, 12, kind)[1])

    @rule(numbers=some, parents=some)
    def a_person_removes_dependencies(self, numbers: set[int], parents: set[int]) -> None:
        ids = self._ids(numbers)
        edges = [(self.tasks[n % len(self.tasks)].pk, JANUARY) for n in parents]
        harness.settle(lifecycle.remove_edges(ids, edges=edges, user_id=None, reason="No.")[1])

    @invariant()
    def whoever_has_not_started_is_what_its_parents_say(self) -> None:
        assert Ripple.objects.count() == 0
        undecided = Instance.objects.filter(state__in=["wait_upstream", "skipped"])
        for child in undecided:
            counts, said = _counts(child), f"{child} is {child.state}"
            verdict = decide(child.trigger_policy or Policy.ALL_SUCCESS, counts)
            if child.state == "skipped":
                assert verdict == Verdict.SKIP, f"{said}, {counts} say {verdict}"
            else:
                waits = verdict == Verdict.WAIT or (verdict == Verdict.FAIL and not child.fails_with_upstream)
                assert waits, f"{said}, {counts} say {verdict}"
        assert_sound()


def _counts(child: Instance) -> Counts:
    """Its counting parents, by what they are."""
    kinds = {"succeeded": 0, "failed": 0, "skipped": 0, "open": 0}
    edges = Edge.objects.filter(instance=child, removed_at__isnull=True, waived=False)
    for edge in edges.select_related("upstream"):
        parent = edge.upstream
        assert parent is not None
        kind = "open"
        if edge.satisfied_at:
            assert parent.state == "success" or edge.excused == "PARENT_EXPIRED", f"met, but {parent.state}"
            assert not edge.excused or parent.state in ("failed", "success"), f"excused, but {parent.state}"
            kind = "succeeded"
        elif parent.state == "failed":
            kind = "failed"
        elif parent.state == "skipped" or child.task_id in (parent.not_taken or ()):
            kind = "skipped" if parent.state in ("skipped", "success") else "open"
        kinds[kind] += 1
    return Counts(**kinds)


def test_lines_of_tasks_with_policies() -> None:
    run_state_machine_as_test(
        Line, settings=hypothesis_settings(max_examples=12, stateful_step_count=12, database=None)
    )
