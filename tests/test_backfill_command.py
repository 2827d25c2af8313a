"""`manage.py backfill`: a preview, a plan that is followed to its end, and an exit code that says how it went."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from instances.models import BackfillPlan, OperationRecord
from instances.models.backfill import PlanState
from tests import factories as make
from tests.backfilling import begin, counts, ready_task, record, turn
from tests.engine import harness
from tests.engine.harness import Racer, _django_db_helper, bad, good, until

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[Any]]:
    make.make_user(make.SUSAN)
    with harness.captured_hints() as captured:
        yield captured


def command(*arguments: Any, user: str = make.SUSAN) -> str:
    """What it prints. Raises CommandError as the shell would see an exit code."""
    out = io.StringIO()
    call_command("backfill", *[str(one) for one in arguments], "--user", user, stdout=out)
    return out.getvalue()


def test_the_preview_begins_nothing() -> None:
    task = ready_task()
    said = command("create", "--task", task.pk, "--range", "2013-01-01..2013-01-03", "--preview")
    name = f"{task.workflow.project}/{task.workflow}/{task}"
    assert said.splitlines()[0] == f"{name}: 3 new"
    assert "3 runs of 1 task at 3 data times: 3 new, 0 again." in said
    assert not BackfillPlan.objects.exists()
    with pytest.raises(CommandError, match="Nobody is there to be asked"):
        command("create", "--task", task.pk, "--range", "2013-01-01")


def test_every_option_reaches_the_plan() -> None:
    task, group = ready_task(cycle_type="HOUR"), make.make_group()
    child = make.make_task(task.workflow, cycle_type="HOUR")
    make.depend(child, task)
    make.submit(child)
    name = f"{task.workflow.project}/{task.workflow}/{task}"
    command(
        "create", "--task", name, "--range", "2013-01-01", "2013-02-01..2013-02-02", "--yes", "--timezone", "Asia/Tokyo",
        "--window", "08:00-09:30", "--order", "REVERSE", "--parallelism", 3, "--resource-group", group.pk,
        "--parameters", json.dumps({"a": "1"}), "--application-parameters", json.dumps({"spark.task.cpus": "2"}),
            "--check-parents",
        "--wait-for-events", "--reprocess", "failed", "--on-failure", "stop", "--first-of-month", "--name", "lost hours",
        "--reason", "ticket 7", "--downstream", "chosen", "--chosen", child.pk,
    )  # fmt: skip
    plan = BackfillPlan.objects.get()
    assert (plan.name, plan.reason, plan.created_by_name) == ("lost hours", "ticket 7", make.SUSAN)
    assert record(plan).source == "command"
    assert {key: plan.options[key] for key in plan.options if key != "until"} == {
        "tasks": [task.pk], "downstream": [child.pk],
        "ranges": [["2013-01-01", "2013-01-01"], ["2013-02-01", "2013-02-02"]],
        "timezone": "Asia/Tokyo", "window_start": "08:00", "window_end": "09:30", "first_of_month": True,
        "order": "REVERSE", "parallelism": 3, "self_dependency": "", "resource_group_id": group.pk,
        "parameters": {"a": "1"}, "application_parameters": {"spark.task.cpus": "2"},
        "check_parents": True, "ignore_events": False,
        "reprocess": "failed", "on_failure": "stop",
    }  # fmt: skip
    assert plan.total == 12


def work(end: Any = good) -> None:
    """A worker, until the only plan is over."""
    while not BackfillPlan.objects.exclude(finished_at=None).exists():
        turn(end)


def test_it_waits_and_says_how_far_it_is() -> None:
    task = ready_task()
    out = io.StringIO()

    def work_when_told() -> None:
        """Begins when the command has said that nothing is done yet."""
        until(lambda: "running, 0 % complete" in out.getvalue())
        work()

    worker = Racer(work_when_told)
    dates = ("--range", "2013-01-01..2013-01-03")
    call_command(
        "backfill",
        "create",
        "--task",
        str(task.pk),
        *dates,
        "--yes",
        "--wait",
        "--user",
        make.SUSAN,
        stdout=out,
    )
    worker.result()
    assert out.getvalue().splitlines()[-1] == "success, 100 % complete, 100 % successful: 3 success"


def test_a_failure_is_an_exit_code_and_is_named() -> None:
    task = ready_task()
    plan = begin(task)
    worker = Racer(lambda: work(lambda one: bad(one) if one.data_time.day == 2 else good(one)))
    out = io.StringIO()
    with pytest.raises(CommandError, match=f"Plan #{plan.pk} ended: partly successful."):
        call_command("backfill", "wait", str(plan.pk), "--user", make.SUSAN, stdout=out)
    worker.result()
    assert f"  failed: {task} 2013-01-02 00:00 UTC EXIT_NONZERO: It ended with 1." in out.getvalue()


def test_list_show_and_steering() -> None:
    plan = begin(ready_task())
    assert command("list").startswith(f"#{plan.pk} {plan}: running, 0 % complete")
    assert "paused" in command("pause", plan.pk, "--reason", "lunch")
    with pytest.raises(CommandError, match=f"Nothing was done: plan #{plan.pk} is paused."):
        command("pause", plan.pk)
    assert "running" in command("resume", plan.pk)
    assert "  2013-01-02 00:00 UTC: 1 pending" in command("show", plan.pk)
    assert "stopped" in command("stop", plan.pk)
    plan.refresh_from_db()
    assert plan.state == PlanState.STOPPED
    assert command("list") == ""
    assert f"#{plan.pk}" in command("list", "--all")
    reasons = OperationRecord.objects.filter(kind="pause_backfill").values_list("reason", "source")
    assert list(reasons) == [("lunch", "command")]


def test_rights_count() -> None:
    task = ready_task()
    cast = make.make_cast(task.workflow.project)
    plan = begin(task)
    arguments = ("create", "--task", task.pk, "--range", "2013-01-01", "--yes")
    for name in (make.EVE, make.VERA):
        with pytest.raises(CommandError, match=r"^tasks: "):
            command(*arguments, user=name)
    with pytest.raises(CommandError, match="There is no plan"):
        command("stop", plan.pk, user=make.EVE)
    with pytest.raises(CommandError, match="You may not operate"):
        command("stop", plan.pk, user=make.VERA)
    with pytest.raises(CommandError, match="There is no active account 'nobody'"):
        command("list", user="nobody")
    with pytest.raises(CommandError, match="There is no task 'a/b/c'"):
        command("create", "--task", "a/b/c", "--range", "2013-01-01", "--yes")
    assert "plan #" in command(*arguments, user=cast[make.OMAR].username)
    assert counts(plan) == {"active": 1, "pending": 2}


def test_names_steer_no_terminal() -> None:
    plan = begin(ready_task())
    BackfillPlan.objects.filter(pk=plan.pk).update(name="red \x1b[31m name")
    assert "\x1b" not in command("list")
