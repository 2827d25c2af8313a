"""What a task would wait for: the page and the panel, from what is saved and from what is being edited."""

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instances.admin.waits import MOST_SHOWN
from instances.models import Dependency, Instance, Task
from tests import factories
from tests.admin.rows import make_instance
from tests.admin.test_task_pages import form_of
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA

NEW = reverse("admin:instances_task_new_waits")
SHANGHAI = "Asia/Shanghai"
FETCH = {"X-Requested-With": "fetch"}


def address(task: Task) -> str:
    return reverse("admin:instances_task_waits", args=(task.pk,))


def found(client: Client, task: Task | None = None, **asked: Any) -> str:
    """The panel's content, without spaces between what it shows."""
    where = address(task) if task else NEW
    answer = client.get(
        where, {key: value for key, value in asked.items() if value is not None}, headers=FETCH
    )
    assert answer.status_code == 200, answer.content
    return " ".join(answer.content.decode().split())


def draft(*rows: tuple[Task, str, str], **fields: Any) -> dict[str, Any]:
    """What the page of a task sends: its schedule and its rows."""
    asked: dict[str, Any] = {
        "draft": "1",
        "cycle_type": "DAY",
        "timezone": SHANGHAI,
        "at": "02:30",
        "step": "1",
    }
    asked |= {"generation": "T_PLUS_0", "self_dependency": "serial", "calendar_mode": ""}
    asked |= {
        "row": [str(place) for place in range(len(rows))],
        "upstream": [str(upstream.pk) for upstream, _, _ in rows],
        "scope": [scope for _, scope, _ in rows],
        "offsets": [offsets for _, _, offsets in rows],
    }
    return asked | fields


@pytest.fixture
def pair(world: SimpleNamespace) -> SimpleNamespace:
    """A daily task in Shanghai that waits for an hourly one."""
    hourly = factories.make_task(world.ours.workflow, name="hourly", cycle_type="HOUR", timezone=SHANGHAI)
    daily = factories.make_task(world.ours.workflow, name="daily", timezone=SHANGHAI)
    rule = factories.depend(daily, hourly, "PREVIOUS_DAY")
    return SimpleNamespace(hourly=hourly, daily=daily, rule=rule)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


class TestSaved:
    def test_which_instances_of_which_state(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        done = make_instance(pair.hourly, data_time=utc("2026-03-24T00:00"), state="success")
        make_instance(pair.hourly, data_time=utc("2026-03-24T01:00"), state="failed")
        make_instance(pair.hourly, data_time=utc("2026-03-24T16:00"), state="success")  # the 25th there
        text = found(as_user(VERA), pair.daily, date="2026-03-25")
        assert "2026-03-25 00:00:00" in text
        assert SHANGHAI in text
        assert "24 instances: 22 not generated yet, 1 success, 1 failed" in text
        assert text.count("<tr><td>") == 24
        assert "2026-03-24 00:00:00" in text
        assert "2026-03-24 23:00:00" in text
        assert (
            f'<a class="wo-link" href="{reverse("admin:instances_instance_change", args=(done.pk,))}">'
            in text
        )
        assert text.count("Not generated yet") == 22
        assert "ours_project / ours_workflow / hourly" in text

    def test_the_data_time_is_the_first_from_the_date_on(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        client = as_user(VERA)
        Task.objects.filter(pk=pair.daily.pk).update(cycle_type="WEEK", weekdays=[1])
        text = found(client, pair.daily, date="2026-03-24")
        assert "2026-03-30 00:00:00" in text, "the next Monday"
        assert 'data-date="2026-03-23" data-time="00:00">Earlier' in text
        assert 'data-date="2026-04-06" data-time="00:00">Later' in text
        Task.objects.filter(pk=pair.hourly.pk).update(cycle_type="DAY")
        Task.objects.filter(pk=pair.daily.pk).update(cycle_type="HOUR", step=6, weekdays=[])
        Dependency.objects.update(scope="")
        text = found(client, pair.daily, date="2026-03-24", time="07:00")
        assert "2026-03-24 12:00:00" in text
        assert "1 instance: 1 not generated yet" in text

    def test_without_a_date_it_is_the_latest(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        today = f"{dt.datetime.now(dt.timezone(dt.timedelta(hours=8))):%Y-%m-%d} 00:00:00"
        assert "For data time <time" in (text := found(as_user(VERA), pair.daily))
        assert today in text

    def test_what_never_comes_is_marked(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        Task.objects.filter(pk=pair.hourly.pk).update(hours=[9, 17])
        Dependency.objects.update(scope="LIST_HOUR", offsets="-7,-1")
        text = found(as_user(VERA), pair.daily, date="2026-03-25")
        assert "2 instances: 1 not generated yet, 1 never come" in text
        assert text.count("Never comes") == 1
        Dependency.objects.update(scope="RANGE_HOUR", offsets="-6,-1")
        assert "Nothing to wait for" in found(as_user(VERA), pair.daily, date="2026-03-25")

    def test_what_its_task_was_not_scheduled_for_is_marked(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        """Submitted at half past nine: what was planned before comes by a backfill only."""
        factories.submit(pair.hourly, since=utc("2026-03-24T01:30"))
        text = found(as_user(VERA), pair.daily, date="2026-03-25")
        assert "24 instances: 14 not generated yet, 10 missed" in text
        assert text.count(">Missed<") == 10
        assert "Only a backfill makes it" in text
        Task.objects.filter(pk=pair.hourly.pk).update(status="paused", generated_until=None)
        text = found(as_user(VERA), pair.daily, date="2026-03-25")
        assert "Nothing is generated: this task is paused." in text
        assert ">Missed<" not in text

    def test_many_are_counted_and_the_first_are_shown(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        Task.objects.filter(pk=pair.daily.pk).update(cycle_type="MONTH", month_days=[1])
        Dependency.objects.update(scope="PREVIOUS_MONTH")
        text = found(as_user(VERA), pair.daily, date="2026-04-01")
        assert "744 instances: 744 not generated yet" in text
        assert text.count("<tr><td>") == MOST_SHOWN
        assert f"and {744 - MOST_SHOWN} more" in text

    def test_its_own_previous_one(self, pair: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        assert "Its own previous" not in found(as_user(VERA), pair.daily, date="2026-03-25")
        Task.objects.filter(pk=pair.daily.pk).update(self_dependency="orderly")
        make_instance(pair.daily, data_time=utc("2026-03-23T16:00"), state="running")
        text = found(as_user(VERA), pair.daily, date="2026-03-25")
        assert "Its own previous data time" in text
        assert "1 instance: 1 running" in text

    def test_the_page_serves_without_scripts(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        answer = as_user(VERA).get(address(pair.daily), {"date": "2026-03-25"})
        text = answer.content.decode()
        assert "What daily waits for" in text
        assert 'value="2026-03-25"' in text
        assert "24 instances" in text
        assert found(as_user(VERA), pair.daily, date="2026-03-25") in " ".join(text.split())

    @pytest.mark.parametrize(
        ("date", "says"),
        [
            ("2026-02-30", "valid date"),
            ("1969-01-01", "between 1970 and 2200"),
            ("9999-12-31", "between 1970"),
        ],
    )
    def test_dates_that_are_none(
        self, date: str, says: str, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        assert says in found(as_user(VERA), pair.daily, date=date)

    def test_a_schedule_that_has_ended_or_is_broken(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        Task.objects.filter(pk=pair.daily.pk).update(effective_to=utc("2026-03-01T00:00"))
        assert "no data time from then on" in found(as_user(VERA), pair.daily, date="2026-03-25")
        assert "2026-03-01 00:00:00" in found(as_user(VERA), pair.daily), "the last that there was"
        Task.objects.filter(pk=pair.hourly.pk).update(timezone="Mars/Olympus")
        assert "Mars/Olympus" in found(as_user(VERA), pair.daily)
        Task.objects.filter(pk=pair.daily.pk).update(timezone="Mars/Olympus")
        assert "There is no time zone" in found(as_user(VERA), pair.daily, date="2026-03-25")


class TestDraft:
    def test_it_follows_the_page_and_saves_nothing(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        before = [list(model.objects.order_by("pk").values()) for model in (Task, Dependency, Instance)]
        asked = draft((pair.hourly, "CURRENT_DAY", ""), date="2026-03-25")
        client = as_user(DANA)
        with CaptureQueriesContext(connection) as captured:
            text = found(client, pair.daily, **asked)
        assert "2026-03-25 23:00:00" in text
        assert not [q for q in captured if q["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]
        assert before == [
            list(model.objects.order_by("pk").values()) for model in (Task, Dependency, Instance)
        ]

    def test_a_new_task(self, pair: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        asked = draft((pair.hourly, "", ""), (pair.daily, "LIST_DAY", " -1 , -7"), date="2026-03-25")
        text = found(as_user(DANA), **asked)
        assert "PREVIOUS_DAY_LATER_OFFSET_HOUR" in text, "the default"
        assert "24 instances: 24 not generated yet" in text
        assert "2 instances: 2 not generated yet" in text
        assert "26 instances to wait for" in text
        assert "2026-03-18 00:00:00" in text

    def test_only_scopes_of_the_two_cycles_are_offered(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        text = found(as_user(DANA), pair.daily, **draft((pair.hourly, "", "")))
        choices = text[text.index('<template data-row="0">') :]
        assert '<option value="">Default: PREVIOUS_DAY_LATER_OFFSET_HOUR</option>' in choices
        assert choices.count("<option") == 6
        assert 'value="LIST_HOUR"' in choices
        assert "CURRENT_MONTH" not in choices
        text = found(
            as_user(DANA), pair.daily, **draft((pair.hourly, "", ""), cycle_type="MONTH", month_days="1")
        )
        assert 'value="CURRENT_MONTH"' in text
        assert 'value="CURRENT_DAY"' not in text

    def test_what_is_wrong_is_said_at_once(
        self, pair: SimpleNamespace, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        client = as_user(DANA)
        text = found(client, pair.daily, **draft((pair.hourly, "CURRENT_MONTH", "")))
        assert text.count("is no scope of DAY on HOUR") == 1
        assert "Nothing to wait for" not in text
        text = found(client, pair.daily, **draft((pair.hourly, "LIST_HOUR", "")))
        assert "takes the hours to wait for" in text
        twice = draft((pair.hourly, "", ""), (pair.hourly, "CURRENT_DAY", ""))
        assert "listed twice" in found(client, pair.daily, **twice)
        circle = found(client, pair.hourly, **draft((pair.daily, "", ""), cycle_type="HOUR"))
        assert "hourly -&gt; daily -&gt; hourly" in circle
        assert "Mars" in found(client, pair.daily, **draft(timezone="Mars"))
        assert "hours: " in found(client, pair.daily, **draft(cycle_type="HOUR", hours="two"))
        assert "cycle_type: " in found(client, pair.daily, **draft((pair.hourly, "", ""), cycle_type="NEVER"))

    def test_the_unsaved_schedule_counts(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        calendar = factories.make_calendar(dt.date(2026, 3, 25))
        asked = draft(
            (pair.hourly, "CURRENT_DAY", ""), date="2026-03-25", calendar=calendar.pk, calendar_mode="SKIP"
        )
        assert "2026-03-26 00:00:00" in found(as_user(DANA), pair.daily, **asked)
        once = draft(
            cycle_type="ONEOFF",
            run_at_0="2026-03-27",
            run_at_1="08:00",
            date="2026-03-25",
            timezone="UTC",
            at="00:00",
        )
        assert "2026-03-27 08:00:00" in found(as_user(DANA), pair.daily, **once)

    @pytest.mark.parametrize(
        "rows",
        [
            {"upstream": ["1", "2"]},
            {"upstream": ["x"], "row": ["0"], "scope": [""], "offsets": [""]},
            {key: ["1"] * 201 for key in ("upstream", "row", "scope", "offsets")},
        ],
    )
    def test_no_rows(self, rows: Any, pair: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        assert as_user(DANA).get(address(pair.daily), {**draft(), **rows}).status_code == 400


class TestWhoSeesWhat:
    @pytest.mark.parametrize(
        ("name", "saved", "edited"),
        [(VERA, 200, 403), (OMAR, 200, 403), (DANA, 200, 200), (PETRA, 200, 200), (SUSAN, 200, 200)],
    )
    def test_rights(
        self, name: str, saved: int, edited: int, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        client = as_user(name)
        assert client.get(address(pair.daily)).status_code == saved
        assert client.get(address(pair.daily), draft()).status_code == edited
        assert client.get(NEW, draft()).status_code == edited
        assert client.get(NEW).status_code == edited
        assert client.post(address(pair.daily)).status_code == 405

    def test_outsiders(
        self, pair: SimpleNamespace, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        assert as_user(EVE).get(address(pair.daily)).status_code == 404
        assert as_user(DANA).get(address(world.foreign.task)).status_code == 404
        assert Client().get(address(pair.daily)).status_code == 302

    def test_tasks_of_other_projects_are_not_told(
        self, pair: SimpleNamespace, world: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        factories.depend(pair.daily, world.foreign.task)
        text = found(as_user(DANA), pair.daily, date="2026-03-25")
        assert "A task of another project that you cannot see" in text
        assert "foreign" not in text
        assert "24 instances to wait for" in text
        asked = draft((world.foreign.task, "", ""), (pair.hourly, "", ""), date="2026-03-25")
        text = found(as_user(DANA), pair.daily, **asked)
        assert "foreign" not in text
        assert '<template data-row="1">' in text
        assert "foreign_task" in found(as_user(SUSAN), pair.daily, date="2026-03-25")

    def test_its_cost_does_not_grow(self, pair: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        client = as_user(DANA)

        def cost() -> int:
            with CaptureQueriesContext(connection) as captured:
                found(client, pair.daily, date="2026-03-25")
            return len(captured)

        before = cost()
        for _ in range(10):
            upstream = factories.make_task(pair.daily.workflow, timezone=SHANGHAI)
            factories.depend(pair.daily, upstream)
            make_instance(upstream, data_time=utc("2026-03-24T16:00"))
        assert cost() == before
        assert before <= 10


class TestTheTable:
    """The rows on the page of a task."""

    def test_the_panel_is_there(self, pair: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
        for name in (DANA, VERA):
            text = (
                as_user(name)
                .get(reverse("admin:instances_task_change", args=(pair.daily.pk,)))
                .content.decode()
            )
            assert f'data-address="{address(pair.daily)}"' in text
            assert "instances/dependencies.js" in text
        text = as_user(DANA).get(reverse("admin:instances_task_add")).content.decode()
        assert f'data-address="{NEW}"' in text

    def test_a_saved_row_offers_its_pair(
        self, pair: SimpleNamespace, as_user: Callable[[str], Client]
    ) -> None:
        Dependency.objects.update(scope="LIST_HOUR", offsets="-1")
        answer = as_user(DANA).get(reverse("admin:instances_task_change", args=(pair.daily.pk,)))
        formsets = {one.formset.prefix: one.formset for one in answer.context["inline_admin_formsets"]}
        offered = [value for value, _ in formsets["dependencies"].forms[0].fields["scope"].widget.choices]
        assert offered[0] == ""
        assert set(offered[1:]) == {
            "PREVIOUS_DAY_LATER_OFFSET_HOUR",
            "PREVIOUS_DAY",
            "CURRENT_DAY",
            "RANGE_HOUR",
            "LIST_HOUR",
        }
        Task.objects.filter(pk=pair.hourly.pk).update(cycle_type="DAY")
        answer = as_user(DANA).get(reverse("admin:instances_task_change", args=(pair.daily.pk,)))
        assert "LIST_HOUR (not for these cycles)" in answer.content.decode()

    @pytest.mark.parametrize(
        ("scope", "offsets", "kept"),
        [("LIST_HOUR", " -1 ,+0,-7", "-7,-1,0"), ("RANGE_HOUR", "-24,-1", "-24,-1")],
    )
    def test_offsets_are_saved(
        self,
        scope: str,
        offsets: str,
        kept: str,
        pair: SimpleNamespace,
        world: SimpleNamespace,
        as_user: Callable[[str], Client],
    ) -> None:
        sent = form_of(world, (pair.hourly, scope)) | {"dependencies-0-offsets": offsets}
        assert as_user(DANA).post(reverse("admin:instances_task_add"), sent).status_code == 302
        made = Task.objects.get(name="made_by_hand")
        assert [(row.scope, row.offsets) for row in made.dependencies.all()] == [(scope, kept)]
        assert made.current_version is not None
        assert made.current_version.definition["dependencies"][0]["offsets"] == kept

    @pytest.mark.parametrize(
        ("scope", "offsets", "says"),
        [
            ("LIST_HOUR", "", "takes the hours to wait for"),
            ("RANGE_HOUR", "-1", "takes two offsets in hours"),
            ("LIST_HOUR", "soon", "are no offsets"),
            ("CURRENT_DAY", "-1", "CURRENT_DAY takes no offsets"),
            ("", "-1", "The default takes no offsets"),
            ("LIST_DAY", "-1", "is no scope of DAY on HOUR"),
        ],
    )
    def test_offsets_that_are_refused(
        self,
        scope: str,
        offsets: str,
        says: str,
        pair: SimpleNamespace,
        world: SimpleNamespace,
        as_user: Callable[[str], Client],
    ) -> None:
        sent = form_of(world, (pair.hourly, scope)) | {"dependencies-0-offsets": offsets}
        answer = as_user(DANA).post(reverse("admin:instances_task_add"), sent)
        assert answer.status_code == 200
        text = answer.content.decode()
        assert says in text
        assert "Constraint" not in text
        assert not Task.objects.filter(name="made_by_hand").exists()
