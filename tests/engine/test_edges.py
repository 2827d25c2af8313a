"""Edges of new instances: ranges and lists, huge fan-in in pieces, and dependencies that change later."""

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from instances.engine import edges, generation
from instances.engine.schedule import Cycle
from instances.models import Edge, Instance, Task
from tests import factories as make
from tests.engine.harness import (
    DAY,
    HOUR,
    JANUARY,
    _django_db_helper,
    assert_sound,
    family,
    instances_of,
    make_due,
    run_all,
)

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

JUST_BEFORE = JANUARY - dt.timedelta(microseconds=1)


def awaited(instance: Instance) -> list[tuple[dt.timedelta, bool]]:
    """(data time relative to the instance's own, bound) of its edges."""
    rows = Edge.objects.filter(instance=instance).order_by("upstream_data_time")
    return [(row.upstream_data_time - instance.data_time, row.upstream_id is not None) for row in rows]


def daily_on_daily(scope: str, offsets: str, days: int = 3) -> tuple[Task, Task]:
    workflow = make.make_workflow()
    parent, child = make_due(days, workflow=workflow), make_due(days, workflow=workflow)
    make.depend(child, parent, scope, offsets)
    return parent, child


def test_yesterday_by_a_list() -> None:
    parent, child = daily_on_daily("LIST_DAY", "-1")
    generation.generate()
    first, *others = instances_of(child)
    # The day before the first was never generated: waiting.
    assert awaited(first) == [(-DAY, False)]
    assert [awaited(one) for one in others] == [[(-DAY, True)]] * 2
    run_all(parent, child)
    assert [one.state for one in instances_of(child)] == ["wait_upstream", "success", "success"]
    assert_sound()


def test_a_range() -> None:
    _, child = daily_on_daily("RANGE_DAY", "-2,0")
    generation.generate()
    third = instances_of(child)[2]
    assert (awaited(third), third.pending_upstream) == ([(-2 * DAY, True), (-DAY, True), (0 * DAY, True)], 3)


def test_a_list_keeps_what_never_comes() -> None:
    workflow = make.make_workflow()
    calendar = make.make_calendar((JANUARY + DAY).date())
    parent = make_due(3, workflow=workflow, calendar=calendar, calendar_mode="SKIP")
    child = make_due(3, workflow=workflow)
    make.depend(child, parent, "LIST_DAY", "0")
    generation.generate()
    run_all(parent, child)
    assert [one.state for one in instances_of(child)] == ["success", "wait_upstream", "success"]
    assert awaited(instances_of(child)[1]) == [(0 * DAY, False)]
    assert_sound()


def test_offsets_of_two_rules_do_not_mix() -> None:
    """Same schedules, same scope, same data time: what was reckoned for one rule must not serve the other."""
    workflow = make.make_workflow()
    parent = make_due(3, workflow=workflow)
    children = [make_due(3, workflow=workflow) for _ in range(3)]
    for child, offsets in zip(children, ("-1", "0", "-1,0"), strict=True):
        make.depend(child, parent, "LIST_DAY", offsets)
    generation.generate()
    found = [[offset for offset, _ in awaited(instances_of(child)[1])] for child in children]
    assert found == [[-DAY], [0 * DAY], [-DAY, 0 * DAY]]


def test_changed_dependencies_count_for_what_is_generated_afterwards() -> None:
    workflow = make.make_workflow()
    old, new = make_due(4, workflow=workflow), make_due(4, workflow=workflow)
    child = make_due(4, workflow=workflow)
    rule = make.depend(child, old)
    generation.generate(JANUARY + DAY)
    rule.delete()
    make.depend(child, new, "LIST_DAY", "-1")
    make.submit(child)
    generation.generate(JANUARY + 3 * DAY)
    upstream = [
        list(Edge.objects.filter(instance=one).values_list("upstream_task_id", "upstream_data_time"))
        for one in instances_of(child)
    ]
    assert upstream == [
        [(old.pk, JANUARY)],
        [(old.pk, JANUARY + DAY)],
        [(new.pk, JANUARY + DAY)],
        [(new.pk, JANUARY + 2 * DAY)],
    ]
    assert_sound()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_pieces_make_the_same_edges(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "EDGES_A_PIECE", size)
    parents, child = family(3, days=3)
    Task.objects.filter(pk=child.pk).update(self_dependency="orderly")
    with CaptureQueriesContext(connection) as captured:
        made = generation.generate()
    # 3 days, 3 parents each, and the day before.
    assert (made.instances, made.edges) == (12, 9 + 2)
    statements = [query for query in captured if "INSERT INTO instances_edge" in query["sql"]]
    assert len(statements) == {1: 3, 2: 3, 7: 2, 1000: 1}[size]
    assert Edge.objects.filter(upstream__isnull=True).count() == 0
    assert [one.pending_upstream for one in instances_of(child)] == [3, 4, 4]
    assert_sound()
    run_all(*parents, child)
    assert set(Instance.objects.values_list("state", flat=True)) == {"success"}


def test_a_month_of_minutes() -> None:
    workflow = make.make_workflow()
    minutes = make.make_task(workflow, cycle_type=Cycle.MINUTE, step=5, effective_to=JANUARY + HOUR)
    make.submit(minutes, since=JUST_BEFORE)
    month = make.make_task(
        workflow, cycle_type=Cycle.MONTH, month_days=[1], effective_to=JANUARY + DAY, name="month"
    )
    make.submit(month, since=JUST_BEFORE)
    Task.objects.filter(pk=minutes.pk).update(effective_to=JANUARY + 31 * DAY)
    make.depend(month, minutes, "CURRENT_MONTH")
    made = generation.generate(JANUARY + HOUR)
    assert made.edges == 31 * 24 * 12
    assert Edge.objects.filter(upstream__isnull=False).count() == 13
    [report] = instances_of(month)
    assert report.pending_upstream == 31 * 24 * 12
