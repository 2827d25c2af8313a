"""For-each tasks when two do something at the same moment, by two real connections; and random DAGs against an oracle."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instances.engine import generation, lifecycle, logs, traversals
from instances.engine.dispatch import dispatch, follow
from instances.engine.traversal_spec import TraversalSpec, in_order
from instances.models import Execution, Instance, LogChunk, Traversal
from tests.engine.harness import _django_db_helper as _django_db_helper
from tests.engine.harness import (
    age_leases,
    assert_sound,
    executions,
    good,
    instances_of,
    lease_seconds,
    overtake,
    race,
    state,
    wipe,
)
from tests.traversing import (
    child,
    children,
    claim_all,
    counts,
    end,
    end_running,
    make_for_each,
    run_of,
    run_out,
    started,
)

pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


def test_two_who_advance_at_once_start_each_traversal_once() -> None:
    parent = started(
        make_for_each([str(n) for n in range(12)], {"only": []}, parallelism=3), [str(n) for n in range(12)]
    )
    lifecycle.finish([good(one) for one in claim_all()])
    race(*[lambda: traversals.work(parent.pk)] * 4)
    assert counts(parent) == {"success": 3, "active": 3, "pending": 6}
    assert len(children(parent)) == 6
    run_out()
    assert state(parent) == "success"
    assert_sound()


def test_two_who_end_it_at_once_end_it_once() -> None:
    parent = started(make_for_each(["x"], {"only": []}), ["x"])
    lifecycle.finish([good(one) for one in claim_all()])
    _, (other,) = overtake(lambda: traversals._advance(parent.pk), lambda: traversals.work(parent.pk))
    assert other
    traversals.work(parent.pk)
    assert (state(parent), executions(parent)) == ("success", ["success"])
    assert_sound()


def test_the_last_child_ends_while_the_parent_is_terminated() -> None:
    parent = started(make_for_each(["x"], {"only": []}), ["x"])
    [claimed] = claim_all()
    race(
        lambda: lifecycle.finish([good(claimed)]),
        lambda: lifecycle.terminate([parent.pk]),
        lambda: traversals.work(parent.pk),
    )
    traversals.work(parent.pk)
    end_running()
    traversals.work(parent.pk)
    # Whoever came first: it is over either way, and says which.
    assert state(parent) in ("success", "failed")
    assert not run_of(parent).is_open
    assert_sound()


def test_terminated_between_two_steps_it_starts_nothing_more() -> None:
    parent = started(make_for_each(parallelism=1, inner={"only": []}))
    [claimed] = claim_all()
    lifecycle.finish([good(claimed)])
    _, (went_on,) = overtake(
        lambda: lifecycle.terminate([parent.pk]), lambda: lifecycle.mark_success([parent.pk])[0] or "nobody"
    )
    assert went_on == "nobody"
    traversals.work(parent.pk)
    assert (state(parent), len(children(parent))) == ("failed", 1)
    assert counts(parent) == {"success": 1, "stopped": 2}
    assert_sound()


def test_children_that_end_together_release_what_follows_once() -> None:
    parent = started(make_for_each(["x"], {"a": [], "b": [], "c": ["a", "b"]}), ["x"])
    first, second = claim_all()
    race(lambda: follow(lifecycle.finish([good(first)])), lambda: follow(lifecycle.finish([good(second)])))
    assert child(parent, "c").pending_upstream == 0
    run_out()
    assert Execution.objects.filter(instance=child(parent, "c")).count() == 1
    assert state(parent) == "success"
    assert_sound()


def test_a_worker_that_dies_while_it_reads_the_array_is_followed() -> None:

    task = make_for_each(columns={"retry_limit": 1})
    generation.generate()
    [parent] = instances_of(task)
    dispatch({parent.resource_group_id})
    [claimed] = claim_all()
    age_leases(claimed.execution_id)
    lifecycle.expire(lease_seconds())
    assert state(parent) == "failed_retry"
    assert not Traversal.objects.exists()


def test_a_worker_that_dies_with_a_child_costs_that_child_a_try() -> None:

    parent = started(make_for_each(["x"], {"only": []}, inner_columns={"retry_limit": 1}), ["x"])
    [claimed] = claim_all()
    age_leases(claimed.execution_id)
    follow(lifecycle.expire(lease_seconds()))
    run_out()
    assert (state(parent), child(parent, "only").total_runs) == ("success", 2)
    assert_sound()


def test_the_log_tells_what_the_traversals_did() -> None:
    parent = started(make_for_each(inner={"only": []}, parallelism=1))
    run_out(fails=[child(parent, "only", 0).pk])
    execution = Execution.objects.get(instance=parent)

    text = logs.read(execution).text
    for words in (
        "started traversal 0 (1 under way, 2 to come)",
        "traversal 0 has failed (1 of 3 are over)",
        "the traversals are over: 2 of 3 traversals succeeded, 1 failed",
        "TRAVERSALS_FAILED: 2 of 3 traversals succeeded, 1 failed.",
        "what to do: Mend the cause, then rerun the failed traversals only.",
    ):
        assert words in text
    first = logs.first_error(execution, 1).lines
    assert "TRAVERSALS_FAILED" in first[0].text, "an error to jump to"
    assert execution.log_file
    assert not LogChunk.objects.filter(execution=execution).exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [(lifecycle.mark_success, ""), (lifecycle.terminate, "TERMINATED: terminated on request")],
)
def test_the_log_blames_no_traversal_for_what_somebody_did(change: Any, error: str) -> None:
    parent = started(make_for_each(["a", "b"], {"only": []}, parallelism=1))
    claim_all()
    change([parent.pk])
    traversals.work(parent.pk)
    end_running()
    traversals.work(parent.pk)

    text = logs.read(Execution.objects.get(instance=parent)).text
    assert "the traversals are over: " in text
    assert error in text
    assert "TRAVERSALS_FAILED" not in text


@st.composite
def dags(draw: st.DrawFn) -> dict[str, list[str]]:
    names = [f"s{number}" for number in range(draw(st.integers(1, 5)))]
    return {
        name: draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else []
        for place, name in enumerate(names)
    }


def expected(dag: Mapping[str, list[str]], failing: set[str]) -> dict[str, str]:
    """The oracle: a step that fails, or follows one that did, has failed; all others succeed."""
    found: dict[str, str] = {}
    for name, ups in dag.items():
        found[name] = "failed" if name in failing or any(found[up] == "failed" for up in ups) else "success"
    return found


@settings(max_examples=12)
@given(
    dag=dags(),
    fails=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=4),
    traversals_=st.integers(1, 4),
    parallelism=st.integers(1, 4),
    tolerated=st.integers(0, 2),
    stop=st.booleans(),
)
def test_random_dags_and_outcomes(
    dag: dict[str, list[str]],
    fails: list[tuple[int, int]],
    traversals_: int,
    parallelism: int,
    tolerated: int,
    stop: bool,
) -> None:
    wipe()
    items = [str(number) for number in range(traversals_)]
    policy: dict[str, Any] = {
        "success": "tolerate",
        "tolerated": tolerated,
        "on_failure": "stop" if stop else "go_on",
    }
    parent = started(make_for_each(items, dag, parallelism=parallelism, **policy), items)
    failing = {(number, f"s{step}") for number, step in fails}
    for _ in range(100):
        dispatch({parent.resource_group_id, *Instance.objects.values_list("resource_group_id", flat=True)})
        claimed = claim_all()
        if not claimed:
            break

        for one in claimed:
            row = Instance.objects.select_related("task").get(pk=one.instance_id)
            end(one, (int(row.traversal), row.task.name.partition("_")[0]) not in failing)
    run = run_of(parent)
    verdicts = [
        expected(dag, {step for place, step in failing if place == number}) for number in range(traversals_)
    ]
    lost = 0
    for number, verdict in enumerate(verdicts):
        traversal = Traversal.objects.get(for_each=parent, number=number)
        if traversal.state == "stopped":
            assert stop
            continue
        found = {c.task.name.partition("_")[0]: c.state for c in children(parent, number)}
        assert found == verdict
        lost += "failed" in verdict.values()
        assert traversal.state == ("failed" if "failed" in verdict.values() else "success")
    assert run.failed == lost
    assert (run.stopped > 0) <= (lost > tolerated)
    assert state(parent) == ("success" if run.total - run.success <= tolerated else "failed")
    assert_sound()


def test_the_spec_of_traversals() -> None:
    assert in_order({3: [1, 2], 1: [], 2: [1, 99]}) == [[1, []], [2, [1]], [3, [1, 2]]]
    with pytest.raises(ValueError, match="circle"):
        in_order({1: [2], 2: [1]})
    spec = TraversalSpec.from_settings({"success": "any"})
    assert (spec.may_fail(3), spec.is_lost(3, 2), spec.is_lost(3, 3)) == (2, False, True)
