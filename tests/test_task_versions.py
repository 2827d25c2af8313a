"""Versions of a task: what they changed, what differs between two, and taking one back."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from events.models import Emitter, Event, Listener
from instances import definitions
from instances.insight import versions
from instances.models import OperationRecord, Task
from instances.task_versions import RestoreVersion, restore
from tests import factories as make
from tests.factories import CAST, DANA, EVE, OMAR, PETRA, SUSAN

pytestmark = pytest.mark.django_db
AUTHORS = {DANA, PETRA, SUSAN}


def scene(**columns: Any) -> tuple[Task, User]:
    """A submitted Shell task, and somebody who may edit it."""
    task = make.make_task(code="echo one", parameters={"region": "EWR"}, retry_limit=2, **columns)
    dana = make.make_user(DANA, project=task.workflow.project)
    make.submit(task, note="first")
    return task, dana


def edit(task: Task, **columns: Any) -> None:
    Task.objects.filter(pk=task.pk).update(**columns)
    task.refresh_from_db()


def edited(**columns: Any) -> tuple[Task, User]:
    """Version 1 as in the scene, version 2 with these columns."""
    task, dana = scene()
    edit(task, **columns)
    make.submit(task, note="second")
    return task, dana


def differences(found: versions.Comparison) -> dict[str, tuple[str | None, str | None]]:
    return {row.name: (row.before, row.after) for _, rows in found.parts for row in rows}


def test_each_version_says_what_it_changed() -> None:
    task, _ = edited(code="echo two", retry_limit=3)
    edit(task, parameters={})
    make.submit(task)
    found = versions.listed(task)
    assert [(row.version.number, row.changed) for row in found.rows] == [
        (3, ["parameters"]),
        (2, ["code", "retry_limit"]),
        (1, None),
    ]
    assert found.rows[1].words == "code, retry limit"
    assert found.earlier is None
    page = versions.listed(task, size=2)
    assert page.earlier == 2
    assert [row.version.number for row in versions.listed(task, page.earlier, 2).rows] == [1]


def test_a_page_of_versions_costs_two_queries(django_assert_num_queries: Any) -> None:
    task, _ = edited(code="echo two")
    for number in range(5):
        edit(task, code=f"echo {number}")
        make.submit(task)
    with django_assert_num_queries(2):
        versions.listed(task)


def test_two_versions_side_by_side() -> None:
    task, dana = edited(
        code="echo one\necho two",
        parameters={"region": "JFK", "day": "${yyyyMMdd}"},
        priority=3,
        dry_run=True,
    )
    first, second = (versions.of(task.versions.get(number=number)) for number in (1, 2))
    found = versions.compare(task, first, second, dana)
    assert [(row.kind, row.text) for row in found.code] == [("same", "echo one"), ("added", "echo two")]
    assert differences(found) == {
        "region": ("EWR", "JFK"),
        "day": (None, "${yyyyMMdd}"),
        "Priority": ("Medium", "High"),
        "Dry run": ("no", "yes"),
    }
    assert versions.compare(task, second, second, dana).same
    back = versions.compare(task, second, first, dana)
    assert [row.kind for row in back.code] == ["same", "removed"]


def test_what_it_waits_for_and_its_events_are_compared() -> None:
    task, dana = scene()
    upstream = make.make_task(task.workflow, name="upstream")
    make.depend(task, upstream, "LIST_DAY", "-1")
    event = Event.objects.create(project=task.workflow.project, name="Landed", cycle="DAY")
    Listener.objects.create(task=task, event=event, max_wait=2, max_wait_unit="HOURS")
    Emitter.objects.create(task=task, event=event)
    first = versions.of(task.versions.get(number=1))
    found = versions.compare(task, first, versions.saved(task), dana)
    assert differences(found) == {
        f"upstream (#{upstream.pk})": (None, "LIST_DAY; -1"),
        f"Listens to Landed (#{event.pk})": (None, "at most 2 hours"),
        f"Fires Landed (#{event.pk})": (None, "when it succeeds"),
    }


def test_another_event_of_the_same_name_is_another() -> None:
    task, dana = scene()
    ours = Event.objects.create(project=task.workflow.project, name="Landed", cycle="DAY")
    theirs = Event.objects.create(project=make.make_project(), name="Landed", cycle="DAY")
    listener = Listener.objects.create(task=task, event=ours)
    make.submit(task)
    before = versions.saved(task)
    Listener.objects.filter(pk=listener.pk).update(event=theirs)
    for user in (make.make_user(SUSAN), dana):
        assert not versions.compare(task, before, versions.saved(task), user).same


def test_who_cannot_see_an_upstream_project_reads_no_name_of_it() -> None:
    task, dana = scene()
    foreign = make.make_task(name="secret_plan")
    make.depend(task, foreign)
    make.submit(task)
    first, second = (versions.of(task.versions.get(number=number)) for number in (1, 2))
    assert "secret_plan" not in str(versions.compare(task, first, second, dana).parts)
    assert "secret_plan" not in str(versions.described(task, second, dana))
    assert "secret_plan" in str(versions.compare(task, first, second, make.make_user(SUSAN)).parts)


def test_no_value_of_a_secret_is_shown() -> None:
    task, dana = scene()
    task.secrets.add(make.make_secret(task.workflow.project, "TOKEN", "hunter2hunter2"))
    edit(task, code="curl -H hunter2hunter2 x", parameters={"token": "hunter2hunter2"})
    make.submit(task)
    first, second = (versions.of(task.versions.get(number=number)) for number in (1, 2))
    shown = [versions.compare(task, first, second, dana), versions.described(task, second, dana)]
    assert "hunter2hunter2" not in str(shown)
    assert "TOKEN" in str(shown), "the names are shown"


def test_a_version_is_taken_back_as_a_new_one() -> None:
    task, dana = edited(code="echo two", retry_limit=9, parameters={}, timezone="Asia/Shanghai")
    outcome = restore(RestoreVersion(1), task.pk, user=dana, source="admin", reason="two was wrong")
    assert outcome.record is not None
    task.refresh_from_db()
    assert task.current_version is not None
    made = task.current_version
    assert (made.number, made.created_by, made.note) == (3, dana, "As version 1. two was wrong")
    assert (task.code, task.retry_limit, task.parameters, task.timezone) == (
        "echo one",
        2,
        {"region": "EWR"},
        "UTC",
    )
    assert made.definition == task.versions.get(number=1).definition
    record = OperationRecord.objects.get(kind="restore_task_version")
    assert (record.operator, record.source, record.reason) == (dana, "admin", "two was wrong")
    assert (record.options["restored"], record.options["version"]) == (1, 3)
    assert record.options["before"]["version"] == 2


def test_everything_that_it_waited_for_comes_back() -> None:
    task, dana = scene()
    upstream = make.make_task(task.workflow)
    make.depend(task, upstream, "LIST_DAY", "-1")
    event = Event.objects.create(project=task.workflow.project, name="Landed", cycle="DAY")
    Listener.objects.create(task=task, event=event, max_wait=2, max_wait_unit="HOURS")
    Emitter.objects.create(task=task, event=event)
    secret = make.make_secret(task.workflow.project, "TOKEN")
    task.secrets.add(secret)
    make.submit(task)
    task.dependencies.all().delete()
    task.listeners.all().delete()
    task.emitters.all().delete()
    task.secrets.clear()
    make.submit(task)
    assert restore(RestoreVersion(2), task.pk, user=dana).done
    [row] = task.dependencies.all()
    assert (row.upstream, row.scope, row.offsets) == (upstream, "LIST_DAY", "-1")
    assert [one.max_wait for one in task.listeners.all()] == [2]
    assert [one.event for one in task.emitters.all()] == [event]
    assert list(task.secrets.all()) == [secret]


def test_where_the_task_is_and_whose_stays() -> None:
    task, dana = edited(code="echo two")
    petra = make.make_user(PETRA, project=task.workflow.project)
    workflow = make.make_workflow(task.workflow.project)
    edit(task, name="renamed", workflow=workflow, owner=petra)
    assert restore(RestoreVersion(1), task.pk, user=dana).done
    task.refresh_from_db()
    assert (task.code, task.name, task.workflow, task.owner) == ("echo one", "renamed", workflow, petra)


def test_what_was_saved_and_not_submitted_is_given_up() -> None:
    task, dana = scene()
    edit(task, code="echo draft")
    assert restore(RestoreVersion(1), task.pk, user=dana).done
    task.refresh_from_db()
    assert task.code == "echo one"
    assert task.versions.count() == 1, "it is version 1 again"


def test_what_changes_nothing_is_refused() -> None:
    task, dana = scene()
    assert (
        restore(RestoreVersion(1), task.pk, user=dana).message == f"Version 1 is what {task.name} is already."
    )
    assert restore(RestoreVersion(7), task.pk, user=dana).message == f"{task.name} has no version 7."
    assert not OperationRecord.objects.filter(kind="restore_task_version").exists()


def test_what_it_needs_and_is_gone_is_named() -> None:
    task, dana = scene()
    upstream = make.make_task(task.workflow)
    make.depend(task, upstream)
    calendar = make.make_calendar(project=task.workflow.project, name="holidays")
    task.secrets.add(make.make_secret(task.workflow.project, "TOKEN"))
    edit(task, calendar=calendar, calendar_mode="SKIP")
    make.submit(task)
    task.dependencies.all().delete()
    edit(task, calendar=None, calendar_mode="")
    task.secrets.all().delete()
    make.submit(task)
    pk = upstream.pk
    upstream.delete()
    calendar.delete()
    message = restore(RestoreVersion(2), task.pk, user=dana).message
    for words in (f"Task #{pk} is there no more", "holidays", "no secret TOKEN any more"):
        assert words in message
    task.refresh_from_db()
    assert task.current_version is not None
    assert task.current_version.number == 3, "nothing was changed"


def test_the_rules_of_any_edit_hold() -> None:
    task, dana = scene()
    upstream = make.make_task(task.workflow)
    make.depend(task, upstream)
    make.submit(task)
    task.dependencies.all().delete()
    make.submit(task)
    make.depend(upstream, task)
    assert "circle" in restore(RestoreVersion(2), task.pk, user=dana).message
    upstream.dependencies.all().delete()
    Task.objects.filter(pk=upstream.pk).update(allow_downstream=False)
    assert "does not allow other tasks" in restore(RestoreVersion(2), task.pk, user=dana).message
    assert not task.dependencies.exists()


@pytest.mark.parametrize("name", CAST)
def test_who_may(name: str) -> None:
    task, _ = edited(code="echo two")
    user = make.make_user(name, project=task.workflow.project)
    outcome = restore(RestoreVersion(1), task.pk, user=user)
    assert outcome.done == (name in AUTHORS)
    if name == EVE:
        assert (outcome.name, outcome.message) == (f"#{task.pk}", "There is no such task.")
    elif name == OMAR:
        assert "right to author" in outcome.message
    assert definitions.drifted(Task.objects.get(pk=task.pk)) is False
