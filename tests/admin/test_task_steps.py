"""Operating on tasks by hand: the pages that ask, who may see and send them, many at once, and running a task once."""

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instances import task_operations
from instances.engine.states import TaskStatus
from instances.models import Instance, OperationRecord, Task
from tests import factories
from tests.admin.rows import HOSTILE, make_instance
from tests.factories import CAST, DANA, EVE, OMAR, PETRA, SUSAN, VERA

LIST = reverse("admin:instances_task_changelist")
SCHEDULING, PAUSED, OFFLINE = TaskStatus.SCHEDULING, TaskStatus.PAUSED, TaskStatus.OFFLINE
MAY_OPERATE = {OMAR, DANA, PETRA, SUSAN}
MAY_EDIT = {DANA, PETRA, SUSAN}


def step(task: Task, name: str) -> str:
    return reverse("admin:instances_task_step", args=(task.pk, name))


def steps(name: str) -> str:
    return reverse("admin:instances_task_steps", args=(name,))


def run_page(task: Task) -> str:
    return reverse("admin:instances_task_run", args=(task.pk,))


def change(task: Task) -> str:
    return reverse("admin:instances_task_change", args=(task.pk,))


def status(task: Task) -> str:
    return Task.objects.get(pk=task.pk).status


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer
    return answer.content.decode()


class TestOneTask:
    @pytest.mark.parametrize(
        ("name", "before", "after"),
        [
            ("pause", SCHEDULING, PAUSED),
            ("resume", PAUSED, SCHEDULING),
            ("offline", SCHEDULING, OFFLINE),
            ("offline", PAUSED, OFFLINE),
            ("resume", OFFLINE, OFFLINE),
            ("pause", OFFLINE, OFFLINE),
        ],
    )
    def test_steps(
        self, name: str, before: str, after: str, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = world.ours.task
        Task.objects.filter(pk=task.pk).update(status=before)
        client = as_user(DANA)
        page = text_of(client.get(step(task, name)))
        assert ("None of the chosen tasks allows it" in page) == (before == after)
        assert status(task) == before, "a page that asks changes nothing"
        answer = client.post(step(task, name), {"reason": "because"}, follow=True)
        assert answer.redirect_chain[-1][0] == change(task)
        assert status(task) == after
        if before == after:
            assert "allowed only for tasks that are" in text_of(answer)
        else:
            assert OperationRecord.objects.filter(
                reason="because", source="admin", operator=world.cast[DANA]
            ).exists()

    @pytest.mark.parametrize("name", CAST)
    @pytest.mark.parametrize(
        ("word", "who"), [("pause", MAY_OPERATE), ("offline", MAY_EDIT), ("owner", MAY_EDIT)]
    )
    def test_who_may(
        self,
        word: str,
        who: set[str],
        name: str,
        world: SimpleNamespace,
        as_user: Callable[[str], Client],
    ) -> None:
        client, address = as_user(name), step(world.ours.task, word)
        sent = {"owner": world.cast[PETRA].pk}
        expected = {"get": 200, "post": 302} if name in who else {"get": 404 if name == EVE else 403}
        assert client.get(address).status_code == expected["get"]
        assert client.post(address, sent).status_code == expected.get("post", expected["get"])
        foreign = step(world.foreign.task, word)
        sent = {"owner": world.cast[SUSAN].pk}
        assert client.post(foreign, sent).status_code == (302 if name == SUSAN else 404)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(world.cast[name])
        assert strict.post(address).status_code == 403
        assert client.put(address).status_code == 405

    def test_buttons_are_those_that_can_be_used(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = world.ours.task

        def shown(name: str) -> set[str]:
            page = text_of(as_user(name).get(change(task)))
            words = [word for word in ("pause", "resume", "offline", "owner") if step(task, word) in page]
            return {*words, *(["run"] if run_page(task) in page else [])}

        assert shown(VERA) == set()
        assert shown(OMAR) == {"pause", "run"}
        assert shown(DANA) == {"pause", "offline", "owner", "run"}
        Task.objects.filter(pk=task.pk).update(status=PAUSED)
        assert shown(OMAR) == {"resume", "run"}
        Task.objects.filter(pk=task.pk).update(status=OFFLINE)
        assert shown(OMAR) == set()
        assert shown(SUSAN) == {"owner"}

    def test_the_page_counts_what_would_be_killed(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = world.ours.task
        make_instance(task, "failed", after=1)
        make_instance(task, "failed_retry", after=2)
        make_instance(task, "wait_upstream", after=3)
        page = text_of(as_user(OMAR).get(step(task, "pause")))
        assert "Terminate the instances that have not ended: 3 now" in page

    def test_killing(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        task = world.ours.task
        answer = as_user(OMAR).post(step(task, "pause"), {"kill": "on", "reason": "bad data"}, follow=True)
        record = OperationRecord.objects.get(kind="pause_task")
        kill = OperationRecord.objects.get(pk=record.options["kill"])
        assert reverse("admin:instances_operationrecord_change", args=(kill.pk,)) in text_of(answer)
        assert Instance.objects.get(pk=world.ours.instance.pk).state == "failed"

    def test_the_page_says_how_much_was_missed(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = world.ours.task
        now = timezone.now()
        Task.objects.filter(pk=task.pk).update(status=PAUSED, generated_until=now - dt.timedelta(days=3))
        page = text_of(as_user(OMAR).get(step(task, "resume")))
        assert "Generate what was missed: 3 instances" in page
        as_user(OMAR).post(step(task, "resume"), {"generate_missed": "on"})
        task.refresh_from_db()
        assert task.next_due_at is not None
        assert task.next_due_at < now

    def test_counting_what_was_missed_stops(
        self, world: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from instances.admin import task_steps

        monkeypatch.setattr(task_steps, "MOST_MISSED", 5)
        Task.objects.filter(pk=world.ours.task.pk).update(
            status=PAUSED, generated_until=timezone.now() - dt.timedelta(days=9)
        )
        assert "more than 5 instances" in text_of(as_user(OMAR).get(step(world.ours.task, "resume")))

    def test_a_new_owner(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        task, client = world.ours.task, as_user(DANA)
        Task.objects.filter(pk=task.pk).update(owner=world.cast[DANA])
        page = client.get(step(task, "owner"))
        offered = {user.username for user in page.context["form"].fields["owner"].queryset}
        assert offered == {DANA, PETRA}, "who can edit it, of those that dana sees"
        assert "valid choice" in text_of(client.post(step(task, "owner"), {"owner": world.cast[OMAR].pk}))
        assert "required" in text_of(client.post(step(task, "owner"), {}))
        client.post(step(task, "owner"), {"owner": world.cast[PETRA].pk})
        assert Task.objects.get(pk=task.pk).owner == world.cast[PETRA]
        assert Instance.objects.get(pk=world.ours.instance.pk).owner == world.cast[PETRA]

    def test_no_such_step(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        client = as_user(SUSAN)
        for name in ("submit", "delete", "..", HOSTILE):
            address = step(world.ours.task, "pause").replace("pause", name.replace("/", ""))
            assert client.post(address).status_code == 404
        assert client.post(step(Task(pk=10**15), "pause")).status_code == 404

    def test_a_reason_that_is_too_long(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        answer = as_user(OMAR).post(step(world.ours.task, "pause"), {"reason": "x" * 3000})
        assert "at most 2000 characters" in text_of(answer)
        assert status(world.ours.task) == SCHEDULING


class TestManyTasks:
    def chosen(self, client: Client, action: str, *tasks: Task, **more: Any) -> Any:
        ids = [task.pk for task in tasks]
        return client.post(LIST, {"action": action, "_selected_action": ids, "index": 0, **more})

    def test_the_page_and_then_the_operation(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        other = factories.make_task(world.ours.workflow, name="not_submitted")
        client = as_user(DANA)
        answer = self.chosen(client, "pause_tasks", world.ours.task, other)
        page = text_of(answer)
        assert "Will be done to 1 task" in page
        assert "not_submitted is offline: pause is allowed only for" in page
        assert steps("pause") in page
        sent = {"ids": answer.context["ids"], "query": "q=ours", "reason": "all of them"}
        answer = client.post(steps("pause"), sent, follow=True)
        assert answer.redirect_chain[-1][0] == f"{LIST}?q=ours"
        said = [str(message) for message in answer.context["messages"]]
        assert said[0] == "ours_task: paused: no new instances are generated."
        assert said[1].startswith("1 refused. not_submitted is offline")
        assert (status(world.ours.task), status(other)) == (PAUSED, OFFLINE)

    def test_submit_in_bulk(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        other = factories.make_task(world.ours.workflow)
        client = as_user(DANA)
        answer = self.chosen(client, "submit_tasks", other)
        client.post(steps("submit"), {"ids": answer.context["ids"]})
        assert status(other) == SCHEDULING

    @pytest.mark.parametrize(
        ("name", "offered"),
        [
            (VERA, set()),
            (OMAR, {"pause_tasks", "resume_tasks", "backfill_tasks"}),
            (
                DANA,
                {
                    "pause_tasks",
                    "resume_tasks",
                    "backfill_tasks",
                    "submit_tasks",
                    "take_tasks_offline",
                    "change_owner_of_tasks",
                },
            ),
        ],
    )
    def test_who_is_offered_what(
        self, name: str, offered: set[str], world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        answer = as_user(name).get(LIST)
        form = answer.context["action_form"]
        choices = {value for value, _ in form.fields["action"].choices if value} if form else set()
        assert choices == offered

    @pytest.mark.parametrize("name", CAST)
    def test_sent_by_hand_it_is_judged_task_by_task(
        self, name: str, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        ids = f"{world.ours.task.pk},{world.foreign.task.pk}"
        as_user(name).post(steps("pause"), {"ids": ids})
        assert (status(world.ours.task) == PAUSED) == (name in MAY_OPERATE)
        assert (status(world.foreign.task) == PAUSED) == (name == SUSAN)

    def test_it_is_sent_by_post_with_a_token(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        assert as_user(SUSAN).get(steps("pause")).status_code == 405
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(world.cast[SUSAN])
        assert strict.post(steps("pause"), {"ids": world.ours.task.pk}).status_code == 403

    @pytest.mark.parametrize("ids", ["", ",", "1;2", "-1", "1" * 19, HOSTILE, "٣"])
    def test_ids_that_are_none(
        self, ids: str, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        answer = as_user(SUSAN).post(steps("pause"), {"ids": ids})
        assert answer.status_code in (302, 400)
        assert status(world.ours.task) == SCHEDULING

    def test_the_page_costs_the_same_with_many_tasks(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        client = as_user(DANA)

        def cost() -> int:
            tasks = list(Task.objects.filter(workflow__project=world.ours.project))
            with CaptureQueriesContext(connection) as captured:
                self.chosen(client, "resume_tasks", *tasks)
            return len(captured)

        before = cost()
        for _ in range(12):
            workflow = factories.make_workflow(world.ours.project)
            factories.submit(factories.make_task(workflow, owner=world.cast[PETRA]))
        assert cost() == before

    def test_hostile_names_are_escaped(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        Task.objects.filter(pk=world.ours.task.pk).update(name=HOSTILE)
        client = as_user(DANA)
        assert "<script>alert" not in text_of(self.chosen(client, "pause_tasks", world.ours.task))
        assert "<script>alert" not in text_of(client.get(run_page(world.ours.task)))
        sent = {"ids": world.ours.task.pk, "reason": HOSTILE}
        assert "<script>alert" not in text_of(client.post(steps("pause"), sent, follow=True))
        assert "<script>alert" not in text_of(client.post(steps("pause"), sent, follow=True))


class TestRunOnce:
    def test_the_form_shows_values_of_now(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = _with_parameters(world, region="EWR", day="${yyyyMMdd}")
        answer = as_user(OMAR).get(run_page(task))
        form = answer.context["form"]
        assert [(field.label, field.initial) for field in form.parameter_fields] == [
            ("day", f"{timezone.now():%Y%m%d}"),
            ("region", "EWR"),
        ]
        assert "Data time (UTC)" in text_of(answer)

    def test_it_runs_and_leads_to_the_instance(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = _with_parameters(world, region="EWR", day="${yyyyMMdd}")
        client = as_user(OMAR)
        sent = _as_shown(client, task) | {"data_time": "2026-03-25 13:30:00", "reason": "look at it"}
        sent["parameter_1"] = "JFK"
        answer = client.post(run_page(task), sent)
        record = OperationRecord.objects.get(kind="run_task_once")
        [item] = record.items.all()
        assert answer.headers["Location"] == reverse(
            "admin:instances_instance_change", args=(item.instance_id,)
        )
        instance = Instance.objects.get(pk=item.instance_id)
        assert f"{instance.data_time:%Y-%m-%d %H:%M:%S}" == "2026-03-25 13:30:00"
        assert instance.overrides == {"region": "JFK"}, "what was not changed is no override"
        assert (record.operator, record.source, record.reason) == (world.cast[OMAR], "admin", "look at it")

    def test_line_ends_of_browsers_change_nothing(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = _with_parameters(world, text="two\nlines")
        client = as_user(OMAR)
        sent = _as_shown(client, task)
        client.post(run_page(task), {**sent, "parameter_0": "two\r\nlines"})
        assert Instance.objects.get(run_type="MANUAL_TRIGGER").overrides == {}

    def test_a_data_time_is_on_the_clock_of_the_task(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = world.ours.task
        Task.objects.filter(pk=task.pk).update(timezone="America/New_York")
        client = as_user(OMAR)
        sent = _as_shown(client, task)
        client.post(run_page(task), {**sent, "data_time": "2026-01-05T13:30"})
        instance = Instance.objects.get(run_type="MANUAL_TRIGGER")
        assert f"{instance.data_time:%Y-%m-%d %H:%M}" == "2026-01-05 18:30"
        skipped = client.post(run_page(task), {**sent, "data_time": "2026-03-08 02:30:00"})
        assert "The clocks of America/New_York skip that time" in text_of(skipped)

    @pytest.mark.parametrize("wrong", ["", "yesterday", "2026-13-01", "9999-12-31 23:59:59", HOSTILE, "\0"])
    def test_data_times_that_are_none(
        self, wrong: str, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        client = as_user(OMAR)
        sent = _as_shown(client, world.ours.task) | {"data_time": wrong}
        assert "wo-errors" in text_of(client.post(run_page(world.ours.task), sent))
        assert not Instance.objects.filter(run_type="MANUAL_TRIGGER").exists()

    @pytest.mark.parametrize("name", CAST)
    def test_who_may(self, name: str, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        client, task = as_user(name), world.ours.task
        may = name in MAY_OPERATE
        shown = client.get(run_page(task))
        assert shown.status_code == (200 if may else 404 if name == EVE else 403)
        sent = {"data_time": "2026-03-25 13:30:00"}
        assert client.post(run_page(task), sent).status_code == (302 if may else shown.status_code)
        assert Instance.objects.filter(run_type="MANUAL_TRIGGER").exists() == may
        assert client.post(run_page(world.foreign.task), sent).status_code == (302 if name == SUSAN else 404)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(world.cast[name])
        assert strict.post(run_page(task), sent).status_code == 403

    def test_a_refusal_is_shown_on_the_form(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = _with_parameters(world, region="EWR")
        client = as_user(OMAR)
        sent = _as_shown(client, task) | {"parameter_0": "${nobody}"}
        assert "${nobody} is not defined" in text_of(client.post(run_page(task), sent))
        assert not OperationRecord.objects.filter(kind="run_task_once").exists()

    def test_a_task_that_is_offline_says_why_not(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task_operations.apply(task_operations.TakeOffline(), [world.ours.task.pk], user=None)
        answer = as_user(DANA).get(run_page(world.ours.task), follow=True)
        assert "run once is allowed only for tasks that are scheduling or paused" in text_of(answer)


def _with_parameters(world: SimpleNamespace, **parameters: str) -> Task:
    """Ours, with these parameters in its current version."""
    task: Task = world.ours.task
    Task.objects.filter(pk=task.pk).update(parameters=parameters)
    factories.submit(task)
    return task


def _as_shown(client: Client, task: Task) -> dict[str, str]:
    """What a browser sends of the form as it is shown, hidden initial values included."""
    form = client.get(run_page(task)).context["form"]
    sent: dict[str, str] = {}
    for field in form:
        if field.name in ("check_parents", "reason"):
            continue
        sent[field.html_name] = field.value()
        sent[field.html_initial_name] = field.value()
    return sent
