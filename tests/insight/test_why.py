"""Why is it not running: each answer from a situation that the engine itself came into."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instances.engine import generation, lifecycle
from instances.engine.dispatch import dispatch
from instances.engine.lives import Life
from instances.insight.answers import Cause
from instances.insight.board import board
from instances.insight.why import ORDER, why
from instances.models import Edge, Execution, Instance, Task, WorkerProcess
from tests import factories as make
from tests.engine import harness, scenes
from tests.engine.harness import DAY, HOUR, due, family, fresh, ids, instances_of, started
from tests.events import scene
from tests.insight.scenes import chain, move
from weops.projects.models import ResourceGroup

pytestmark = pytest.mark.django_db


def worker(name: str = "w1", **columns: Any) -> WorkerProcess:
    return WorkerProcess.objects.create(**{"name": name, "host": "h", "pid": 1, "slots": 4, **columns})


def causes(instance: Instance, user: User | None = None) -> list[Cause]:
    rows = Instance.objects.select_related("task", "project", "resource_group")
    return list(why(rows.get(pk=instance.pk), user).causes)


def codes(instance: Instance) -> list[str]:
    return [cause.code for cause in causes(instance)]


def answer(instance: Instance, user: User | None = None) -> Cause:
    return causes(instance, user)[0]


def offered(cause: Cause) -> list[tuple[str, int | None]]:
    return [(fix.kind, fix.target.id) for fix in cause.fixes]


def test_frozen_is_told_before_everything_else() -> None:
    first, second = chain(2)
    thaw_at = timezone.now() + DAY
    lifecycle.freeze([second.pk], thaw_at=thaw_at)
    frozen, upstream = causes(second)
    assert (frozen.code, frozen.since, frozen.until) == ("frozen", fresh(second).frozen_at, thaw_at)
    assert offered(frozen) == [("thaw", second.pk)]
    assert upstream.code == "upstream"
    assert upstream.links[0].id == first.pk


def test_not_due_yet() -> None:
    soon = timezone.now() + HOUR
    task = harness.make_due(1)
    generation.generate()
    [day] = instances_of(task)
    Instance.objects.filter(pk=day.pk).update(not_before=soon)
    [cause] = causes(day)
    assert (cause.code, cause.until) == ("not_due", soon)


def test_an_event_with_the_time_that_is_left() -> None:
    event = scene.make_event()
    [day] = scene.generated(event, max_wait=2)
    cause = answer(day)
    assert cause.code == "event"
    assert cause.lines[0].startswith(f"{event.name} 20130101")
    assert cause.until is not None
    assert offered(cause)[0] == ("fire_event", event.pk)
    assert cause.fixes[0].data_time == scene.FIRST
    scene.fire(event, scene.FIRST)
    assert codes(day)[0] != "event"


class TestUpstream:
    def test_the_topmost_blocker_is_named_not_the_nearest(self) -> None:
        top, *between, last = chain(5)
        cause = answer(last)
        assert (cause.code, [link.id for link in cause.links]) == ("upstream", [top.pk])
        assert "3 other instances wait between them" in cause.title
        [claimed] = started(top)
        lifecycle.finish([harness.bad(claimed)])
        cause = answer(last)
        assert "EXIT_NONZERO" in cause.lines[0]
        assert offered(cause)[0] == ("rerun", top.pk)
        assert ("remove_dependency", last.pk) in offered(cause)
        lifecycle.mark_success([top.pk])
        assert answer(last).links[0].id == between[0].pk

    def test_one_that_is_not_generated_says_why(self) -> None:
        [parent], child = family(1)
        Task.objects.filter(pk=parent.pk).update(status="paused")
        generation.generate()
        [day] = instances_of(child)
        cause = answer(day)
        assert "its task is paused" in cause.lines[0]
        assert cause.links[0].id == parent.pk

    def test_one_that_is_not_planned_yet_is_no_missed_one(self) -> None:
        """The task was submitted after its data time and before its planned time: nobody has to backfill it."""
        now = timezone.now()
        [parent], child = family(1)
        Task.objects.filter(pk=parent.pk).update(status="paused")
        generation.generate()
        [day] = instances_of(child)
        tomorrow = harness.JANUARY + DAY
        Task.objects.filter(pk=parent.pk).update(
            status="scheduling",
            effective_to=None,
            generation="T_PLUS_1",
            generated_until=now,
            next_due_at=now + HOUR,
        )
        Edge.objects.filter(instance=day).update(
            upstream_data_time=now.replace(hour=0, minute=0, second=0, microsecond=0)
        )
        assert "not generated yet; it is planned for" in answer(day).lines[0]
        Edge.objects.filter(instance=day).update(upstream_data_time=tomorrow)
        assert "backfill it" in answer(day).lines[0]
        Edge.objects.filter(instance=day).update(upstream_data_time=tomorrow + HOUR)
        assert "no such data time" in answer(day).lines[0]

    def test_the_worst_is_told_first_and_many_are_counted(self) -> None:
        parents, child = family(8)
        generation.generate()
        [day] = instances_of(child)
        bad = instances_of(parents[5])[0]
        [claimed] = [c for c in started(bad) if c.instance_id == bad.pk]
        lifecycle.finish([harness.bad(claimed)])
        cause = answer(day)
        assert cause.links[0].id == bad.pk
        assert len(cause.lines) == 6
        assert cause.lines[-1] == "and 3 more"

    def test_a_deep_chain_costs_the_same(self) -> None:
        def cost(length: int) -> int:
            last = chain(length)[-1]
            with CaptureQueriesContext(connection) as captured:
                assert answer(last).code == "upstream"
            return len(captured)

        assert cost(2) == cost(40) <= 7

    def test_a_ring_ends(self) -> None:
        first, second, third = chain(3)
        Edge.objects.create(
            instance=first, upstream_task=third.task, upstream_data_time=third.data_time, upstream=third
        )
        Instance.objects.filter(pk=first.pk).update(state="wait_upstream", pending_upstream=1)
        assert codes(second) == [], "nothing but the ring itself holds it"

    def test_what_the_reader_may_not_see_is_not_named(self) -> None:
        top, last = chain(2)
        move(top, make.make_workflow())
        vera = make.make_user(make.VERA, project=last.project)
        cause = answer(last, vera)
        assert top.task.name not in repr(cause)
        assert cause.links == ()
        assert cause.fixes == (), "a viewer may do nothing"

    def test_by_its_policy_one_that_has_ended_may_hold_nobody(self) -> None:
        parents, child = family(2)
        Task.objects.filter(pk=child.pk).update(trigger_policy="ALL_DONE")
        generation.generate()
        [day] = instances_of(child)
        first, second = (instances_of(task)[0] for task in parents)
        [claimed] = [c for c in started(first) if c.instance_id == first.pk]
        lifecycle.finish([harness.bad(claimed)])
        cause = answer(day)
        assert [link.id for link in cause.links] == [second.pk]
        assert cause.lines[-1] == "It runs when all upstream ended, however."
        assert [one.link.id for one in board().blockers if one.link] == [second.pk]

    def test_removed_and_waived_edges_hold_nobody(self) -> None:
        _top, last = chain(2)
        lifecycle.remove_edges([last.pk], user_id=None, reason="")
        assert "upstream" not in codes(last)


def test_orderly_waits_for_the_day_before() -> None:
    first, second = due(2, self_dependency="orderly", code="true")
    cause = answer(second)
    assert (cause.code, cause.links[0].id) == ("self_dependency", first.pk)
    started(first)
    assert offered(answer(second))[:2] == [("terminate", first.pk), ("mark_success", first.pk)]


def test_serial_names_the_one_that_is_on() -> None:
    worker()
    first, second = due(2, self_dependency="serial", code="true")
    started(first, second)
    assert fresh(second).queue == "gated"
    cause = answer(second)
    assert (cause.code, cause.links[0].id, offered(cause)) == (
        "self_dependency",
        first.pk,
        [("terminate", first.pk)],
    )


def test_a_lane_that_is_full() -> None:
    worker()
    days = due(3, code="true")
    harness.run_all(days[0].task)
    scenes.in_lane(days, parallelism=1)
    on = Execution.objects.get(lane=scenes.LANE, state="dispatched").instance_id
    waiting = next(day for day in days if day.pk != on)
    cause = answer(waiting)
    assert (cause.code, [link.id for link in cause.links]) == ("lane", [on])
    assert "1 at a time" in cause.title


def test_a_plan_is_named() -> None:
    worker()
    days = due(2, code="true")
    harness.run_all(days[0].task)
    lifecycle.rerun(ids(days), None, Life(parallelism=1, lane=scenes.LANE, plan_id=77))
    dispatch(harness.groups(*days), freed_lanes=[scenes.LANE])
    waiting = next(day for day in days if fresh(day).queue == "gated")
    assert ("plan", 77) in [(link.kind, link.id) for link in answer(waiting).links]


def test_a_full_group_tells_who_holds_the_slots() -> None:
    worker()
    first, second, third = due(3, group=make.make_group(1), code="true")
    started(first)
    cause = answer(second)
    assert cause.code == "group_full"
    assert "1 of 1 slots" in cause.title
    assert [(link.kind, link.id) for link in cause.links][1:] == [("instance", first.pk)]
    assert ("terminate", first.pk) in offered(cause)
    ResourceGroup.objects.update(slots=2)
    assert answer(second).title == "It is ready; the next dispatch starts it."
    assert "1 stand before it" in answer(third).title


def test_a_disabled_group() -> None:
    worker()
    [day] = due(1, code="true")
    ResourceGroup.objects.update(enabled=False)
    assert answer(day).code == "group_disabled"
    assert offered(answer(day)) == [("enable_group", day.resource_group_id)]
    assert offered(answer(day, make.make_user(make.OMAR, project=day.project))) == []


def test_no_worker_serves_its_queue() -> None:
    [day] = due(1, code="true")
    worker("of_others", groups=[day.resource_group_id + 1])
    assert "no_worker" in codes(day)
    worker("gone", seen_at=timezone.now() - HOUR)
    worker("leaving", stopping=True)
    assert "no_worker" in codes(day)
    worker("mine", groups=[day.resource_group_id])
    assert codes(day) == ["queued"]
    WorkerProcess.objects.filter(name="mine").update(groups=None)
    assert codes(day) == ["queued"]


def test_handed_over_and_not_picked_up() -> None:
    worker()
    [day] = due(1, code="true")
    dispatch(harness.groups(day))
    cause = answer(day)
    assert cause.code == "handed_over"
    assert cause.since is not None


def test_running_and_silent() -> None:
    [day] = due(1, code="true")
    [claimed] = started(day)
    cause = answer(day)
    assert (cause.code, cause.since) == ("running", fresh(day).start_time)
    assert offered(cause) == [("terminate", day.pk), ("mark_success", day.pk)]
    harness.age_leases(claimed.execution_id)
    cause = answer(day)
    assert cause.code == "worker_silent"
    assert cause.since is not None
    assert timezone.now() - cause.since > dt.timedelta(minutes=50)


def test_being_stopped() -> None:
    [day] = due(1, code="true")
    started(day)
    lifecycle.terminate([day.pk])
    assert codes(day) == ["terminating"]


def test_a_retry_says_when_it_is_due() -> None:
    [day] = due(1, retry_limit=2, retry_wait=HOUR, code="false")
    [claimed] = started(day)
    lifecycle.finish([harness.bad(claimed)])
    cause = answer(day)
    assert (cause.code, cause.until) == ("retry_due", fresh(day).not_before)
    assert cause.lines == (
        "EXIT_NONZERO: The task ended with an exit code other than 0.",
        "2 tries are left.",
    )


def test_a_failure_tells_what_to_do() -> None:
    [day] = due(1, code="false")
    [claimed] = started(day)
    lifecycle.finish([harness.bad(claimed)])
    cause = answer(day)
    assert cause.code == "failed"
    assert [kind for kind, _ in offered(cause)] == ["rerun", "mark_success", "acknowledge"]


def test_what_skipped_it_is_named() -> None:
    parents, child = family(2)
    Task.objects.filter(pk=child.pk).update(trigger_policy="ALL_FAILED")
    generation.generate()
    [day] = instances_of(child)
    harness.run_all(parents[0])
    assert fresh(day).state == "skipped"
    cause = answer(day)
    assert (cause.code, cause.lines[0]) == (
        "skipped",
        "It runs when all upstream failed; otherwise it is skipped.",
    )
    ended = [instance for task in parents for instance in instances_of(task)]
    assert {link.id for link in cause.links} == set(ids(ended))
    assert all(": Success" in line for line in cause.lines[1:3])
    assert [kind for kind, _ in offered(cause)] == ["remove_dependency"]


def test_of_all_that_succeeded_only_the_skipped_one_is_named() -> None:
    parents, child = family(2)
    generation.generate()
    [day], [first], [second] = (instances_of(task) for task in (child, *parents))
    Instance.objects.filter(pk=first.pk).update(state="skipped", end_time=timezone.now())
    Instance.objects.filter(pk=day.pk).update(state="skipped", end_time=timezone.now())
    cause = answer(day)
    assert [link.id for link in cause.links] == [first.pk]
    Instance.objects.filter(pk=first.pk).update(state="success", not_taken=[day.task_id])
    assert answer(day).lines[1].endswith(": a branch that did not take it")
    assert second.pk not in {link.id for link in cause.links}


def test_nothing_keeps_what_has_succeeded() -> None:
    parent, child = scenes.pair()
    assert codes(parent) == codes(child) == []


def test_the_answer_as_json_is_plain() -> None:
    *_rest, last = chain(3)
    rows = Instance.objects.select_related("task", "project", "resource_group")
    sent = why(rows.get(pk=last.pk)).as_json()
    assert sent["state"] == "wait_upstream"
    [cause] = sent["causes"]
    assert cause["code"] in ORDER
    assert cause["links"][0]["kind"] == "instance"
    assert dt.datetime.fromisoformat(cause["since"])
