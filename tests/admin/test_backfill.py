"""Backfill plans in the admin: the form with its preview, who may, the list's bars, the page of one, its buttons."""

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instances.admin.backfill_form import PlanForm
from instances.engine import plans
from instances.models import BackfillPlan, BackfillRun, OperationRecord, Task
from instances.models.backfill import PlanState
from instances.operations import backfill
from tests import factories as make
from tests.engine import harness
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA

ADD = reverse("admin:instances_backfillplan_add")
LIST = reverse("admin:instances_backfillplan_changelist")
PAST = {"first": "2013-01-01", "last": "2013-01-03"}


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    with harness.captured_hints() as captured:
        yield captured


def page(plan: BackfillPlan, name: str = "change") -> str:
    return reverse(f"admin:instances_backfillplan_{name}", args=(plan.pk,))


def plan_of(*tasks: Task, **options: Any) -> BackfillPlan:
    given = {"tasks": [task.pk for task in tasks], "ranges": [PAST], **options}
    return backfill.create(given, user=None, source="api", reason="ticket 7")


def text(answer: Any) -> str:
    """The page as people read it: one space between words."""
    assert answer.status_code == 200, answer
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def token(answer: Any) -> str:
    found = re.search(r'name="token" value="([^"]+)"', answer.content.decode())
    assert found is not None
    return found.group(1).replace("&#x27;", "'").replace("&amp;", "&")


class TestForm:
    def test_each_range_downstream_has_words_of_its_own(self) -> None:
        words = dict(PlanForm.base_fields["downstream"].choices)  # type: ignore[attr-defined]
        assert words["all"] == "and all downstream tasks where you may operate"
        assert len(set(words.values())) == len(words)

    def test_preview_then_begin(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        client = as_user(OMAR)
        task = world.ours.task
        asked = {"tasks": [task.pk], **PAST, "parallelism": "2", "ignore_events": "on"}
        answer = client.post(ADD, {**asked, "preview": "1"})
        assert "3 runs of 1 task at 3 data times: 3 new, 0 again." in text(answer)
        assert "At most 2 data times at once." in text(answer)
        assert not BackfillPlan.objects.exists()
        answer = client.post(
            ADD, {**asked, "apply": "1", "token": token(answer), "reason": "ticket 7", "name": "mine"}
        )
        plan = BackfillPlan.objects.get()
        assert answer["Location"] == page(plan)
        assert (plan.name, plan.reason, plan.created_by_name, plan.state) == (
            "mine",
            "ticket 7",
            OMAR,
            "running",
        )
        assert (plan.options["parallelism"], plan.options["ignore_events"]) == (2, True)
        record = OperationRecord.objects.get(kind="backfill")
        assert (record.source, record.operator) == ("admin", world.cast[OMAR])

    def test_every_option_reaches_the_plan(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        task = world.ours.task
        child = make.make_task(world.ours.workflow)
        make.depend(child, task)
        make.submit(child)
        asked = {
            "tasks": [task.pk], "downstream": "chosen", "chosen": [child.pk], "first": ["2013-01-01", "2013-02-01", ""],
            "last": ["2013-01-02", "", ""], "timezone": "Asia/Tokyo", "window_start": "08:00", "window_end": "09:00",
            "first_of_month": "on", "reprocess": "failed", "order": "REVERSE", "parallelism": "1",
            "self_dependency": "serial", "on_failure": "stop", "check_parents": "on",
            "resource_group": world.ours.group.pk, "parameter_name": ["a", ""], "parameter_value": ["1", ""],
            "application_name": ["spark.executor.cores", ""], "application_value": ["2", ""],
        }  # fmt: skip
        client = as_user(OMAR)
        answer = client.post(ADD, {**asked, "apply": "1", "token": token(client.post(ADD, asked))})
        plan = BackfillPlan.objects.get()
        assert answer["Location"] == page(plan)
        assert {name: value for name, value in plan.options.items() if name != "until"} == {
            "tasks": [task.pk], "downstream": [child.pk],
            "ranges": [["2013-01-01", "2013-01-02"], ["2013-02-01", "2013-02-01"]], "timezone": "Asia/Tokyo",
            "window_start": "08:00", "window_end": "09:00", "first_of_month": True, "order": "REVERSE",
            "parallelism": None, "self_dependency": "serial", "resource_group_id": world.ours.group.pk,
            "parameters": {"a": "1"}, "application_parameters": {"spark.executor.cores": "2"}, "check_parents": True,
            "ignore_events": False, "reprocess": "failed", "on_failure": "stop",
        }  # fmt: skip

    def test_what_is_wrong_is_said(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        client, task = as_user(OMAR), world.ours.task
        for fields, says in (
            ({}, "Choose at least one task."),
            ({"tasks": [task.pk]}, "Write at least one range of days."),
            ({"tasks": [task.pk], "first": "2013-01-03", "last": "2013-01-01"}, "comes after"),
            (
                {"tasks": [task.pk], **PAST, "parallelism": "0"},
                "Data times at once: Ensure this value is greater",
            ),
            (
                {"tasks": [task.pk], **PAST, "window_start": "08:00"},
                "to: A window needs its start and its end.",
            ),
            ({"tasks": [task.pk], **PAST, "parameter_value": "1", "parameter_name": ""}, "has no name"),
            (
                {"tasks": [task.pk], **PAST, "parameter_value": ["1", "2"], "parameter_name": ["a", "a"]},
                "given twice",
            ),
        ):
            assert says in text(client.post(ADD, fields)), fields
            answer = client.post(ADD, {**fields, "apply": "1", "token": "x~y"})
            assert "Begin:" not in text(answer), fields
        assert not BackfillPlan.objects.exists()

    def test_a_stale_preview_begins_nothing_and_shows_the_new_one(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        client = as_user(OMAR)
        asked = {"tasks": [world.ours.task.pk], **PAST}
        shown = token(client.post(ADD, asked))
        answer = client.post(ADD, {**asked, "last": "2013-01-05", "apply": "1", "token": shown})
        assert "Nothing was begun: options, tasks or instances have changed since the preview." in text(
            answer
        )
        assert "Begin: 5 runs" in text(answer)
        for bad in ("", "nonsense"):
            assert "There is no such preview" in text(client.post(ADD, {**asked, "apply": "1", "token": bad}))
        assert not BackfillPlan.objects.exists()
        client.post(ADD, {**asked, "last": "2013-01-05", "apply": "1", "token": token(answer)})
        assert BackfillPlan.objects.get().total == 5

    def test_tasks_are_found_by_name_and_chosen_by_address(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        client = as_user(OMAR)
        made = make.make_task(world.ours.workflow, name="nightly_sales")
        answer = client.get(ADD, {"tasks": [world.ours.task.pk, world.foreign.task.pk, 10**15]})
        assert f'value="{world.ours.task.pk}" checked' in answer.content.decode()
        assert "2 of the chosen tasks do not exist, or you may not operate them" in text(answer)
        assert "foreign_task" not in text(answer)
        answer = client.post(ADD, {"find": "sales ours", "tasks": [world.ours.task.pk], "preview": "1"})
        assert f'name="tasks" value="{made.pk}">' in answer.content.decode()
        assert "foreign" not in text(client.post(ADD, {"find": "task", "preview": "1"}))
        assert "No other task where you may operate matches." in text(client.post(ADD, {"find": "zzz"}))

    def test_downstream_tasks_are_offered_to_be_picked(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        near, far = (
            make.make_task(world.ours.workflow),
            make.make_task(world.foreign.workflow, name="far_away"),
        )
        make.depend(near, world.ours.task)
        make.depend(far, near)
        answer = as_user(OMAR).post(ADD, {"tasks": [world.ours.task.pk], **PAST, "downstream": "chosen"})
        assert f'name="chosen" value="{near.pk}"' in answer.content.decode()
        assert "far_away" not in text(answer)

    def test_parameters_of_the_chosen_tasks_are_offered_by_name(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        type(world.foreign.task).objects.update(parameters={"day": "theirs"})
        type(world.ours.task).objects.filter(pk=world.ours.task.pk).update(
            parameters={"day": "${yyyyMMdd-1d}"}
        )
        client = as_user(OMAR)
        answer = client.get(ADD, {"tasks": [world.ours.task.pk, world.foreign.task.pk]})
        body = answer.content.decode()
        assert '<option value="day" data-value="${yyyyMMdd-1d}"' in body
        assert (
            'name="parameter_name" value="" placeholder="Name" aria-label="Name" autocomplete="off" list="wo-parameters"'
            in body
        )
        assert "theirs" not in body

    def test_the_graph_to_pick_from_takes_the_form_of_the_page(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        near, far = (
            make.make_task(world.ours.workflow, name="near"),
            make.make_task(world.foreign.workflow, name="far_away"),
        )
        make.depend(near, world.ours.task)
        make.depend(far, near)
        where = reverse("admin:instances_backfillplan_downstream")
        asked = {"tasks": [world.ours.task.pk, world.foreign.task.pk], "down": "30"}
        nodes = as_user(OMAR).post(where, asked).json()["nodes"]
        assert [(node["title"], node.get("pick", False)) for node in nodes] == [
            ("ours_task", False),
            ("near", True),
        ]
        assert as_user(VERA).post(where, asked).status_code == 403
        assert as_user(OMAR).get(where).status_code == 405

    def test_who_may_make_a_plan(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        asked = {"tasks": [world.ours.task.pk], **PAST}
        for name, status in ((EVE, 403), (VERA, 403), (OMAR, 200), (DANA, 200), (PETRA, 200), (SUSAN, 200)):
            assert as_user(name).get(ADD).status_code == status, name
            assert as_user(name).post(ADD, asked).status_code == status, name
        theirs = {"tasks": [world.foreign.task.pk], **PAST}
        answer = as_user(OMAR).post(ADD, {**theirs, "apply": "1", "token": "x~y"})
        assert "Begin:" not in text(answer)
        assert not BackfillPlan.objects.exists()

    def test_a_request_from_elsewhere_is_refused(self, world: SimpleNamespace) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(world.cast[OMAR])
        plan = plan_of(world.ours.task)
        addresses = [ADD, page(plan, "pause"), page(plan, "resume"), page(plan, "stop")]
        assert {client.post(address).status_code for address in addresses} == {403}


class TestPages:
    def test_the_list_shows_how_far_each_plan_is(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        plan = plan_of(world.ours.task)
        plan_of(world.foreign.task)
        BackfillPlan.objects.filter(pk=plan.pk).update(success=1, failed=1, pending=1, active=0)
        answer = as_user(VERA).get(LIST)
        said = text(answer)
        assert plan.name in said
        assert "66.6% complete" in said
        assert "33.3% successful" in said
        assert "1 success, 1 failed, 1 not started" in said
        assert 'style="width:66.6%"' in answer.content.decode()
        assert "foreign_task" not in said
        assert as_user(EVE).get(LIST).status_code == 403

    def test_the_list_costs_the_same_for_any_number(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        client = as_user(VERA)

        def queries() -> int:
            with CaptureQueriesContext(
                connection,
            ) as counted:
                client.get(LIST)
            return len(counted)

        plan_of(world.ours.task)
        queries()
        few = queries()
        for _ in range(5):
            plan_of(world.ours.task)
        assert queries() == few

    def test_the_page_of_a_plan(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        other = make.make_task(world.ours.workflow, name="other_task")
        make.submit(other)
        plan = plan_of(world.ours.task, other, parameters={"<b>": "<script>"}, on_failure="stop")
        answer = as_user(VERA).get(page(plan))
        said = text(answer)
        assert "ticket 7" in said
        assert "0% complete, 0% successful" in said
        assert "2013-01-01 to 2013-01-03" in said
        assert "Stop the plan" in said
        assert "<script>" not in answer.content.decode().partition("wo-record")[2].replace("<script src", "")
        [first] = BackfillRun.objects.filter(plan=plan, task=other, state="active")
        assert (
            reverse("admin:instances_instance_change", args=(first.instance_id,)) in answer.content.decode()
        )
        assert answer.content.decode().count("wo-cell") == 6
        record = OperationRecord.objects.get(kind="backfill")
        assert reverse("admin:instances_operationrecord_change", args=(record.pk,)) in answer.content.decode()

    def test_nothing_is_wrong_before_days_are_written(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        """The page previews by itself as soon as it can; coming from a task there are no days yet."""
        done = re.compile(r'id="wo-preview"[^>]* data-done="1"')
        given = {"tasks": world.ours.task.pk}
        assert done.search(as_user(OMAR).get(ADD, given).content.decode())
        assert not done.search(as_user(OMAR).get(ADD, {**given, **PAST}).content.decode())

    def test_the_plan_names_its_records(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        plan = plan_of(world.ours.task)
        backfill.pause(plan, user=None, source="api")
        assert re.search(r"#\d+ Backfill , #\d+ Pause backfill", text(as_user(VERA).get(page(plan))))

    def test_records_lead_to_the_plan(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        plan = plan_of(world.ours.task)
        backfill.pause(plan, user=None, source="api")
        body = as_user(VERA).get(reverse("admin:instances_operationrecord_changelist")).content.decode()
        assert body.count(f'href="{page(plan)}"') == 2
        for record in OperationRecord.objects.filter(options__plan=plan.pk):
            address = reverse("admin:instances_operationrecord_change", args=(record.pk,))
            assert as_user(VERA).get(address).status_code == 200

    def test_lists_by_state_and_pages(
        self, world: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("instances.admin.backfill_page.DATA_TIMES", 2)
        monkeypatch.setattr("instances.admin.backfill_page.RUNS", 1)
        plan = plan_of(world.ours.task)
        BackfillRun.objects.filter(plan=plan).update(state="failed", message="It <ended> badly.")
        client = as_user(VERA)
        answer = client.get(page(plan), {"state": "failed"})
        assert answer.content.decode().count("It &lt;ended&gt; badly.") == 1
        seen = set()
        address = f"{page(plan)}?state=failed"
        while address:
            body = client.get(address).content.decode()
            seen |= set(re.findall(r"2013-01-0\d 00:00:00|2012-12-31", body))
            following = re.search(r'href="(\?[^"#]*)#runs" rel="next"', body)
            address = page(plan) + following.group(1).replace("&amp;", "&") if following else ""
        assert len(seen) == 3
        grid = client.get(page(plan)).content.decode()
        assert grid.count("wo-cell") == 2
        following = re.search(r'href="(\?[^"#]*)#runs" rel="next"', grid)
        assert following is not None
        assert (
            client.get(page(plan) + following.group(1).replace("&amp;", "&"))
            .content.decode()
            .count("wo-cell")
            == 1
        )
        for nonsense in ("?after=zzz", "?after=2013-01-01", "?state=zzz", "?state=failed&after=9" + 30 * "9"):
            assert client.get(page(plan) + nonsense).status_code == 200

    def test_tasks_of_other_projects_are_not_named(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        plan = plan_of(world.foreign.task, world.ours.task)
        BackfillRun.objects.filter(plan=plan).update(state="failed")
        BackfillPlan.objects.filter(pk=plan.pk).update(name="both")
        client = as_user(VERA)
        for query in ("", "?state=failed"):
            said = text(client.get(page(plan) + query))
            assert "foreign_task" not in said
            assert "1 task " in said
        assert client.get(page(plan_of(world.foreign.task))).status_code == 404
        assert as_user(EVE).get(page(plan)).status_code in (403, 404)
        assert client.get(f"{LIST}99999999999999999999/change/").status_code == 404

    def test_progress_alone_for_the_page_that_looks_again(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        plan = plan_of(world.ours.task)
        address = page(plan, "progress")
        assert 'data-live="1"' in as_user(VERA).get(address).content.decode()
        backfill.stop(plan, user=None, source="api")
        plans.work(plan.pk)
        answer = as_user(VERA).get(address)
        assert 'data-live=""' in answer.content.decode()
        assert "3 stopped" in text(answer)
        assert as_user(VERA).post(address).status_code == 405
        assert as_user(EVE).get(address).status_code in (403, 404)


class TestSteering:
    def test_pause_resume_stop(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        plan = plan_of(world.ours.task)
        client = as_user(OMAR)
        buttons = {"pause": ["Pause", "Stop"], "resume": ["Resume", "Stop"]}
        for step, shown in buttons.items():
            assert [
                word for word in ("Pause", "Resume", "Stop") if f"</span>{word}<" in self.body(client, plan)
            ] == shown
            answer = client.post(page(plan, step), {"reason": step}, follow=True)
            assert answer.redirect_chain[-1][0] == page(plan)
        assert "Nothing was done: the plan is running." in text(
            client.post(page(plan, "resume"), follow=True)
        )
        client.post(page(plan, "stop"), {"reason": "enough", "running": "on"})
        plan.refresh_from_db()
        assert (plan.state, plan.stop_running) == (PlanState.STOPPED, True)
        assert "</span>Stop<" not in self.body(client, plan)
        reasons = (
            OperationRecord.objects.exclude(kind="submit_task")
            .order_by("id")
            .values_list("kind", "reason", "source")
        )
        assert list(reasons)[1:] == [
            ("pause_backfill", "pause", "admin"), ("resume_backfill", "resume", "admin"), ("stop_backfill", "enough", "admin"),
        ]  # fmt: skip

    def body(self, client: Client, plan: BackfillPlan) -> str:
        return client.get(page(plan)).content.decode()

    def test_who_may(self, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        plan = plan_of(world.ours.task)
        both = plan_of(world.ours.task, world.foreign.task)
        for step in ("pause", "resume", "stop"):
            assert as_user(EVE).post(page(plan, step)).status_code in (403, 404)
            for name, target in ((VERA, plan), (OMAR, both)):
                answer = as_user(name).post(page(target, step))
                assert answer.status_code == 403
                assert "You may not operate in every project of the plan" in answer.content.decode()
            assert as_user(OMAR).get(page(plan, step)).status_code == 405
        assert {row.state for row in BackfillPlan.objects.all()} == {PlanState.RUNNING}
        assert "</span>Pause<" not in self.body(as_user(VERA), plan)

    def test_tasks_of_the_list_lead_to_the_form(
        self, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        answer = as_user(OMAR).post(
            reverse("admin:instances_task_changelist"),
            {"action": "backfill_tasks", "_selected_action": [world.ours.task.pk]},
        )
        assert answer["Location"] == f"{ADD}?tasks={world.ours.task.pk}"
