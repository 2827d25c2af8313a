"""What somebody with few rights and bad intentions sends to the pages of operations."""

import html
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from instances.engine.states import State
from instances.models import FrozenSet, Instance, OperationRecord, Task, Workflow
from instances.operations.retention import NEWEST
from tests.admin.operating import address, apply, operate, previewed, state
from tests.admin.rows import HOSTILE, make_edge, make_execution, make_instance
from tests.factories import OMAR, PETRA, SUSAN, VERA
from weops.projects.models import Member, Project

LIST = reverse("admin:instances_instance_changelist")
RECORDS = reverse("admin:instances_operationrecord_changelist")
TEXT = f"{HOSTILE}\" ' onmouseover='1"
ENDS_OF_TIME = ("9999-12-31T23:59", "0001-01-01T00:00")


def test_a_chosen_dependency_tells_no_name_of_a_hidden_task(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """Any number may be sent for the upstream task: the answer must not be its name."""
    sent = {
        "ids": world.ours.instance.pk,
        "edge": f"{world.foreign.task.pk}@2026-03-25T00:00:00+00:00",
        "reason": "x",
    }
    answer = previewed(as_user(OMAR), "remove_dependency", sent)
    assert "does not depend on" in answer.content.decode()
    assert "foreign_" not in answer.content.decode()
    done = apply(as_user(OMAR), "remove_dependency", sent, answer)
    assert "foreign_" not in done.content.decode()


def test_a_dependency_on_a_hidden_task_is_refused_without_its_name(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    make_edge(
        world.ours.instance, world.foreign.instance, removed_at=timezone.now(), removed_by=world.cast[SUSAN]
    )
    edge = f"{world.foreign.task.pk}@{world.foreign.instance.data_time.isoformat()}"
    sent = {"ids": world.ours.instance.pk, "edge": edge, "reason": "x"}
    answer = previewed(as_user(OMAR), "remove_dependency", sent)
    assert "removed" in answer.content.decode()
    assert "foreign_" not in answer.content.decode()


def test_a_preview_shows_nothing_of_a_project_that_one_may_not_see_any_more(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    member = Member.objects.create(project=world.foreign.project, user=world.cast[OMAR], role="operator")
    sent = {"ids": f"{world.ours.instance.pk},{world.foreign.instance.pk}"}
    client = as_user(OMAR)
    answer = previewed(client, "terminate", sent)
    assert "foreign_" in answer.content.decode()
    member.delete()
    where = reverse("admin:instances_instance_set", args=(answer.context["preview"].token,))
    assert "foreign_" not in client.get(where).content.decode()
    now = timezone.now()
    Instance.objects.filter(pk=world.foreign.instance.pk).update(state="failed", start_time=now, end_time=now)
    again = apply(client, "terminate", sent, answer)
    assert again.context["difference"].gone_count == 1
    assert "foreign_" not in again.content.decode()
    assert state(world.ours.instance) == State.WAIT_RUN


@pytest.mark.parametrize(("kind", "field"), [("freeze", "thaw_at"), ("acknowledge", "expires_at")])
@pytest.mark.parametrize("moment", ENDS_OF_TIME)
def test_the_end_of_time_is_no_time_for_an_option(
    kind: str, field: str, moment: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """It can be stored, and then no page in another zone could show it."""
    instance = make_instance(world.ours.task, State.FAILED, after=1)
    answer = as_user(OMAR).post(address(kind), {"ids": instance.pk, field: moment, "reason": "x"})
    assert answer.context["preview"] is None
    assert answer.context["form"].errors[field]


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+00:00"])
def test_a_time_at_the_end_of_time_costs_no_page(
    moment: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    Instance.objects.filter(pk=world.ours.instance.pk).update(frozen_at=moment, thaw_at=moment)
    for zone in ("Asia/Shanghai", "America/Los_Angeles"):
        with timezone.override(zone):
            change = reverse("admin:instances_instance_change", args=(world.ours.instance.pk,))
            for where in (LIST, change):
                assert as_user(VERA).get(where).status_code == 200


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Los_Angeles"])
@pytest.mark.parametrize("moment", ENDS_OF_TIME)
def test_filters_by_the_end_of_time(
    zone: str, moment: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """Refused in words: a list shows no row, and what would work on all that match works on nothing."""
    client, export = as_user(OMAR), reverse("admin:instances_operationrecord_export")
    with timezone.override(zone):
        for name in ("data_from", "data_to", "start_from", "start_to"):
            shown = client.get(LIST, {name: moment})
            assert (shown.status_code, shown.context["cl"].result_list) == (200, [])
            assert "between the years 1900 and 9000" in shown.content.decode()
            chosen = {"all": "1", "query": f"{name}={moment}"}
            assert client.get(address("terminate"), chosen).status_code == 400
        for name in ("made_from", "made_to"):
            shown = client.get(RECORDS, {name: moment})
            assert (shown.status_code, list(shown.context["cl"].result_list)) == (200, [])
            assert client.post(f"{export}?{name}={moment}").status_code == 400


@pytest.mark.parametrize(
    ("moment", "runs"),
    [
        ("0001-01-01T00:00:00+14:00", False),
        ("9999-12-31T23:59:59-12:00", False),
        ("9999-12-31 23:59:59", False),
        ("0001-01-01", False),
        ("nan", False),
        ("2026-03-25T08:00:00+23:59:59", True),
    ],
)
def test_running_once_for_the_end_of_time(
    moment: str, runs: bool, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    Task.objects.filter(pk=world.ours.task.pk).update(
        parameters={"day": "${yyyyMMdd+9d} ${yyyyMMdd-9d}"}, timezone="America/Los_Angeles"
    )
    where = reverse("admin:instances_task_run", args=(world.ours.task.pk,))
    answer = as_user(OMAR).post(where, {"data_time": moment})
    assert answer.status_code == (302 if runs else 200)
    assert OperationRecord.objects.filter(kind="run_task_once").exists() == runs


def test_an_operation_on_nothing_is_seen_by_who_asked(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(OMAR)
    sent = {"all": "1", "query": "q=nothing_has_this_name"}
    answer = operate(client, "terminate", sent)
    assert answer.status_code == 200


def test_undoing_what_one_does_not_see_leaves_it_undoable(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """An operator of one project must not use up the undo of another."""
    Member.objects.create(project=world.foreign.project, user=world.cast[PETRA], role="admin")
    done = make_instance(world.ours.task, State.SUCCESS, after=1)
    operate(as_user(PETRA), "terminate", {"ids": f"{done.pk},{world.foreign.instance.pk}"})
    record = OperationRecord.objects.get(kind="terminate")
    assert record.done == 1
    as_user(OMAR).post(reverse("admin:instances_operationrecord_undo", args=(record.pk,)))
    assert state(world.foreign.instance) == State.FAILED
    as_user(PETRA).post(reverse("admin:instances_operationrecord_undo", args=(record.pk,)))
    assert state(world.foreign.instance) == State.WAIT_RUN


@pytest.mark.parametrize("name", ["parameter", "application"])
def test_parameters_without_end_are_refused(
    name: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """They are kept with the set and the record, and copied to each instance of it."""
    sent = {"ids": world.ours.instance.pk, f"{name}_name": "x", f"{name}_value": "x" * 200_000}
    answer = as_user(OMAR).post(address("rerun"), sent)
    assert answer.context["preview"] is None
    assert "characters in all" in answer.content.decode()


def test_previews_do_not_pile_up(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    """Each click writes down the whole set; those of others stay."""
    sent = {"ids": world.ours.instance.pk}
    kept = previewed(as_user(OMAR), "terminate", sent)
    for _ in range(NEWEST + 3):
        last = previewed(as_user(VERA), "terminate", sent)
    assert FrozenSet.objects.filter(user=world.cast[VERA]).count() == NEWEST
    assert FrozenSet.objects.filter(token=last.context["preview"].token).exists()
    apply(as_user(OMAR), "terminate", sent, kept)
    assert state(world.ours.instance) == State.FAILED


def _pages(world: SimpleNamespace, client: Client, instance: Instance) -> Iterator[tuple[str, Any]]:
    """(where, answer) of every page of operations that shows a text somebody has written."""
    sent = {
        "ids": instance.pk,
        "reason": TEXT,
        "parameter_name": TEXT,
        "parameter_value": TEXT,
        "query": f"q={TEXT}",
    }
    for kind in ("rerun", "acknowledge", "freeze", "mark_success"):
        answer = client.post(address(kind), sent)
        yield kind, answer
        yield f"{kind} applied", apply(client, kind, sent, answer)
    for record in OperationRecord.objects.exclude(kind="submit_task"):
        yield (
            f"record {record}",
            client.get(
                reverse("admin:instances_operationrecord_change", args=(record.pk,)), {"list": f"q={TEXT}"}
            ),
        )
    yield "records", client.get(RECORDS)
    yield "records found", client.get(RECORDS, {"q": TEXT})
    yield "list", client.get(LIST)
    yield "instance", client.get(reverse("admin:instances_instance_change", args=(instance.pk,)))
    for step in ("pause", "offline", "owner"):
        yield step, client.get(reverse("admin:instances_task_step", args=(world.ours.task.pk, step)))
    where = reverse("admin:instances_task_steps", args=("owner",))
    yield "steps", client.post(where, {"ids": world.ours.task.pk, "query": TEXT, "owner": "x"})
    where = reverse("admin:instances_task_run", args=(world.ours.task.pk,))
    yield "run", client.post(where, {"data_time": "x", "reason": TEXT})


def test_what_people_write_stays_text_on_every_page(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    ours, client = world.ours, as_user(PETRA)
    Project.objects.filter(pk=ours.project.pk).update(name=TEXT, parameters={"p": TEXT})
    Workflow.objects.filter(pk=ours.workflow.pk).update(name=TEXT)
    Task.objects.filter(pk=ours.task.pk).update(name=TEXT)
    User.objects.filter(pk__in=[world.cast[PETRA].pk]).update(username=TEXT)
    failed = make_instance(ours.task, State.FAILED, after=1, error_message=TEXT)
    make_edge(
        failed, ours.instance, removed_at=timezone.now(), removed_reason=TEXT, removed_by=world.cast[PETRA]
    )
    make_execution(failed, "failed", error_message=TEXT, parameters={TEXT: TEXT})
    for where, answer in _pages(world, client, failed):
        text = answer.content.decode()
        assert answer.status_code == 200, where
        assert html.escape(TEXT) in text, f"{where} does not show it at all"
        assert "<script>alert" not in text, where
        assert "' onmouseover='" not in text, where
