"""Pages and counts by every way are those of the plain queryset: random rows, random filters, budgets of a few rows."""

import datetime as dt
import random
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.http import QueryDict
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from instances import reading, reading_ways
from instances.engine.states import State
from instances.filters import InstanceFilter
from instances.models import Acknowledgement, Instance, Task, TaskPlace
from tests import factories
from tests.admin.rows import START, make_instance
from tests.factories import DANA, OMAR, SUSAN, VERA
from weops.console.paging import mark_before, rows_before
from weops.projects import access

STATES = [State.SUCCESS] * 5 + [State.FAILED, State.FAILED_RETRY, State.WAIT_RUN, State.SKIPPED]


@pytest.fixture
def crowd(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Tasks of two projects with instances in many places: some tasks have moved, some rows were handed over later."""
    monkeypatch.setattr(reading, "WALK", 6)
    monkeypatch.setattr(reading, "WALK_EACH", 1)
    monkeypatch.setattr(reading, "BY_TASK", 30)
    monkeypatch.setattr(reading, "AT_ONCE", 9)
    monkeypatch.setattr(reading_ways, "FEW", 5)
    monkeypatch.setattr(reading_ways, "FEW_SCATTERED", 4)
    monkeypatch.setattr(reading, "COUNTED", 7)
    monkeypatch.setattr(reading, "COUNTED_ROWS", 6)
    dice = random.Random(4)
    ours, other = world.ours.workflow, factories.make_workflow(world.ours.project)
    flows = [ours, other, world.foreign.workflow]
    tasks = [
        factories.make_task(
            flows[place % 3],
            task_type="VIRTUAL" if place % 2 else "SHELL",
            cycle_type="HOUR" if place % 4 else "DAY",
        )
        for place in range(7)
    ]
    for place in range(120):
        task = dice.choice(tasks)
        if dice.random() < 0.1:
            task.workflow = dice.choice(flows)
            task.save(update_fields=["workflow"])
        state = dice.choice(STATES)
        after = dt.timedelta(days=place // 6 if place % 6 else dice.randrange(25), hours=place % 2)
        if Instance.objects.filter(task=task, data_time=START + after).exists():
            continue
        made = make_instance(
            task,
            state,
            data_time=START + after,
            instance_type="supplementary" if dice.random() < 0.1 else "periodic",
            owner=world.cast[dice.choice([DANA, OMAR])],
        )
        if made.start_time and dice.random() < 0.5:
            # As planned, early, or long after.
            began = made.data_time + dt.timedelta(hours=dice.choice([1, 1, 47, -1, 49, 500]))
            Instance.objects.filter(pk=made.pk).update(start_time=began, end_time=began)
        if dice.random() < 0.15:
            inside = {"instance_type": "test"} if dice.random() < 0.3 else {}
            traversal = f"test-{made.pk}" if inside else str(place)
            Instance.objects.filter(pk=made.pk).update(for_each_id=made.pk, traversal=traversal, **inside)
        if place % 9 == 0:
            Instance.objects.filter(pk=made.pk).update(owner_id=world.cast[VERA].pk)
        if state == State.FAILED and dice.random() < 0.5:
            Acknowledgement.objects.create(instance_id=made.pk, life_round=0, reason="seen", operation_id=1)
    return tasks


def _random_filter(dice: random.Random, world: SimpleNamespace, tasks: list[Task]) -> dict[str, Any]:
    task = dice.choice(tasks)
    middle = f"{START + dt.timedelta(days=dice.randrange(25)):%Y-%m-%dT%H:%M}"
    offered: dict[str, Any] = {
        "project": dice.choice([world.ours.project.pk, world.foreign.project.pk]),
        "workflow": task.workflow_id,
        "owner": world.cast[dice.choice([DANA, OMAR, VERA])].pk,
        "group": task.resource_group_id,
        "task_type": dice.choice(["VIRTUAL", "SHELL", "SQL"]),
        "cycle": dice.choice(["HOUR", "DAY"]),
        "type": dice.choice(["periodic", "supplementary", "non_periodic"]),
        "state": dice.sample(
            ["success", "failed", "failed_retry", "wait_run", "skipped"], dice.randint(1, 3)
        ),
        "q": dice.choice([task.name, "task", f"#{task.pk}", "nobody"]),
        "data_from": middle,
        "data_to": middle,
        "start_from": dice.choice(["2026-01-01T00:00", middle]),
        "start_to": dice.choice(["2025-01-01T00:00", middle]),
        "seen": dice.choice(["yes", "no"]),
        "inner": dice.choice(["all", "only"]),
    }
    return {name: offered[name] for name in dice.sample(sorted(offered), dice.choice([0, 1, 1, 2, 2, 3]))}


def _rows(user: Any, chosen: dict[str, Any]) -> QuerySet[Instance]:
    query = QueryDict(mutable=True)
    for name, value in chosen.items():
        query.setlist(name, [str(one) for one in (value if isinstance(value, list) else [value])])
    request = RequestFactory().get("/")
    request.user = user
    form = InstanceFilter(request, query)
    assert form.is_valid() or user.username == VERA, form.errors
    return form.apply(access.within(Instance.objects.all(), user, "project_id"))


def _by_marks(rows: QuerySet[Instance], limit: int) -> list[int]:
    """All ids, page by page, as a person reads them."""
    found: list[int] = []
    rest = rows
    while page := reading.page_ids(rest, limit):
        assert len(page) <= limit
        found += page
        last = Instance.objects.get(pk=page[-1])
        rest = rows_before(rows, mark_before(last.data_time, last.pk))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_every_page_and_count_is_that_of_the_plain_filter(
    seed: int, world: SimpleNamespace, crowd: list[Task]
) -> None:
    dice = random.Random(seed)
    for _ in range(25):
        chosen = _random_filter(dice, world, crowd)
        rows = _rows(world.cast[dice.choice([SUSAN, SUSAN, VERA])], chosen)
        plain = list(rows.order_by("-data_time", "-id").values_list("pk", "state"))
        ids = [pk for pk, _ in plain]
        limit = dice.choice([1, 3, 10, 200])
        assert _by_marks(rows, limit) == ids, chosen
        offset = dice.randrange(len(ids) + 2)
        assert reading.page_ids(rows, limit, offset) == ids[offset : offset + limit], chosen
        oldest = reading.page_ids(rows, limit, offset, descending=False)
        assert oldest == ids[::-1][offset : offset + limit], chosen
        cap = dice.choice([2, 1000])
        assert reading.total(rows, cap) == min(len(ids), cap + 1), chosen
        counts = reading.count(rows, cap)
        for state in State:
            true = sum(one == state for _, one in plain)
            found = counts.found.get(state, 0)
            if state in counts.more:
                assert found <= min(true, cap), (chosen, state)
            else:
                assert found == min(true, cap + 1), (chosen, state)


def test_places_are_written_by_the_database(world: SimpleNamespace) -> None:
    task, before = world.ours.task, TaskPlace.objects.count()
    make_instance(task, after=1)
    made = make_instance(task, after=2)
    assert TaskPlace.objects.count() == before, "the same place is written once, nulls or not"
    Instance.objects.filter(pk=made.pk).update(owner=world.cast[OMAR])
    Instance.objects.filter(pk=made.pk).update(priority=3)
    owners = TaskPlace.objects.filter(task=task).values_list("owner_id", flat=True)
    assert set(owners) == {world.ours.instance.owner_id, world.cast[OMAR].pk}
    assert TaskPlace.objects.count() == before + 1


# Queries of a page, and of the counts beside it, by each way: tasks are looked up, judged and read; rare rows are counted
# and read; a walk is one query, and one more where it ended without a whole page.
WAYS: list[tuple[str, dict[str, Any], int, int]] = [
    ("walk", {}, 1, 1),
    ("walk of a state", {"state": "success"}, 1, 1),
    ("walk to the end", {"state": "skipped"}, 2, 1),
    ("by task", {"project": True}, 2, 3),
    ("failures by task", {"q": True, "state": "failed"}, 2, 3),
    ("no task", {"q": "nobody"}, 0, 0),
    ("no task in a place", {"task_type": "SQL"}, 1, 1),
    ("few of a rare type", {"type": "supplementary"}, 2, 2),
    ("few of a range of start times", {"start_from": "2026-01-01T00:00"}, 2, 2),
    ("few inside", {"inner": "only"}, 2, 2),
]


@pytest.mark.parametrize(("way", "chosen", "page", "counts"), WAYS, ids=[way[0] for way in WAYS])
def test_a_page_takes_few_queries(
    way: str, chosen: dict[str, Any], page: int, counts: int, world: SimpleNamespace
) -> None:
    for after in range(1, 6):
        make_instance(world.ours.task, State.SUCCESS, after=after)
        make_instance(world.ours.task, State.FAILED, after=after + 10)
    named = {"project": world.ours.project.pk, "q": world.ours.task.name}
    rows = _rows(world.cast[SUSAN], {k: named[k] if v is True else v for k, v in chosen.items()})
    with CaptureQueriesContext(connection) as captured:
        reading.page_ids(rows, 3)
    assert len(captured) == page
    with CaptureQueriesContext(connection) as captured:
        reading.count(rows, 1000)
    assert len(captured) == counts
