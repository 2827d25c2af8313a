"""`manage.py operate`: the same operations for scripts, with a preview, progress, and an exit code that says how it went."""

import io
import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from instances import operations
from instances.engine import lifecycle
from instances.models import Instance, OperationRecord, Task
from instances.models.operation import OperationState
from tests import factories as make
from tests import stack
from tests.engine import harness
from tests.engine.harness import _django_db_helper, due, ids
from tests.operating import assert_counted, begun, environment, fresh, many, two_projects

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _susan() -> None:
    make.make_user(make.SUSAN)


def operate(*arguments: str, user: str = make.SUSAN) -> str:
    """What it prints. Raises CommandError as the shell would see an exit code."""
    out = io.StringIO()
    call_command("operate", *arguments, "--user", user, stdout=out)
    return out.getvalue()


def listed(chosen: list[int]) -> str:
    return ",".join(map(str, chosen))


def on_instances() -> Any:
    return OperationRecord.objects.filter(frozen_set__isnull=False)


def test_the_preview_changes_nothing() -> None:
    days = due(3)
    lifecycle.terminate([days[0].pk])
    said = operate("terminate", "--ids", listed(ids(days)), "--preview")
    assert "terminate: 3 instances, 2 allowed, 1 refused" in said
    assert "by state: " in said
    assert "Failed 1" in said
    assert f"#{days[0].pk}" in said
    assert not on_instances().exists()
    assert harness.state(days[1]) == "wait_run"


def test_it_does_what_it_previewed_and_says_how_it_went() -> None:
    chosen = many(3)
    said = operate("terminate", "--ids", listed(chosen), "--yes", "--reason", "ticket 7")
    record = on_instances().get()
    assert f"operation #{record.pk}" in said
    assert said.endswith("3 of 3: 3 done\n")
    assert (record.source, record.operator_name, record.reason) == ("command", "susan", "ticket 7")
    assert set(Instance.objects.values_list("state", flat=True)) == {"failed"}


def test_refused_rows_are_listed_and_make_the_exit_code() -> None:
    days = due(25)
    lifecycle.terminate(ids(days)[:22])
    with pytest.raises(CommandError, match="ended as PART_SUCCESS") as caught:
        operate("terminate", "--ids", listed(ids(days)), "--yes")
    assert caught.value.returncode == 1
    out = io.StringIO()
    with pytest.raises(CommandError, match="ended as FAIL"):
        call_command(
            "operate", "terminate", "--ids", listed(ids(days)), "--yes", "--user", "susan", stdout=out
        )
    assert out.getvalue().count("  refused: #") == 20
    assert f"  refused: #{days[0].pk} {days[0]} is in state Failed" in out.getvalue()
    assert "  and 5 more" in out.getvalue()


def test_filters_must_all_match() -> None:
    workflow = make.make_workflow()
    first, second = due(3, workflow=workflow), due(3, workflow=workflow)
    due(3)
    lifecycle.terminate([first[2].pk])
    operate(
        "mark_success", "--yes", "--project", workflow.project.name, "--workflow", workflow.name,
        "--task", first[0].task.name, "--state", "wait_run", "wait_event",
        "--data-time-from", "2013-01-02", "--data-time-to", "2013-01-03T00:00:00+00:00",
    )  # fmt: skip
    assert list(on_instances().get().items.values_list("instance_id", flat=True)) == [first[1].pk]
    assert {harness.state(day) for day in second} == {"wait_run"}


def test_options_are_those_of_the_operation() -> None:
    [day] = due()
    operate("rerun", "--ids", str(day.pk), "--yes", "--options", '{"parameters": {"day": "x"}}')
    assert on_instances().get().options == {"parameters": {"day": "x"}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["terminate"], "Choose instances"),
        (["terminate", "--ids", "1", "--task", "t"], "not by both"),
        (["terminate", "--ids", "1,x"], "write numbers"),
        (["terminate", "--ids", ""], "write numbers"),
        (["terminate", "--state", "sleeping"], "invalid choice"),
        (["terminate", "--data-time-from", "soon"], "write a time"),
        (["terminate", "--data-time-from", "2026-02-30"], "out of range|must be in range"),
        (["explode", "--ids", "1"], "invalid choice"),
        (["terminate", "--ids", "1", "--options", "{"], "no JSON"),
        (["terminate", "--ids", "1", "--options", "[1]"], "write an object"),
        (["terminate", "--ids", "1", "--options", '{"force": true}'], "There is no option 'force'"),
        (["terminate", "--ids", "1", "--yes", "--preview"], "not allowed with"),
        (["terminate", "--ids", "1", "--yes"], "Nothing to do"),
        (["terminate", "--task", "", "--yes"], "Nothing to do"),
        (["undo", "--yes"], "Say which: undo --operation ID"),
        (["cancel"], "Say which"),
        (["undo", "--operation", "12345", "--yes"], "There is no operation #12345"),
    ],
)
def test_what_it_does_not_understand(arguments: list[str], said: str) -> None:
    many(1)
    with pytest.raises(CommandError, match=said):
        operate(*arguments)
    assert not on_instances().exists()


@pytest.mark.parametrize("name", ["nobody", "gone"])
def test_it_needs_an_active_account(name: str) -> None:
    make.make_user("gone")
    make.User.objects.filter(username="gone").update(is_active=False)
    with pytest.raises(CommandError, match="no active account"):
        operate("terminate", "--ids", "1", user=name)


def test_the_rights_of_the_account_count() -> None:
    omar, *_ = two_projects()
    foreign = many(2)
    said = operate("terminate", "--state", "wait_run", "--yes", user=omar.username)
    assert "6 of 6: 6 done" in said
    assert {harness.state(day) for day in Instance.objects.filter(pk__in=foreign)} == {"wait_run"}


def test_a_reason_may_be_needed() -> None:
    [day] = due()
    with pytest.raises(CommandError, match="needs a reason"):
        operate("acknowledge", "--ids", str(day.pk), "--yes")


def test_nobody_to_be_asked() -> None:
    with pytest.raises(CommandError, match="say --yes"):
        operate("terminate", "--ids", listed(many(1)))
    assert not on_instances().exists()


def test_undo_and_cancel() -> None:
    chosen = many(3)
    operate("terminate", "--ids", listed(chosen), "--yes")
    operate("undo", "--operation", str(on_instances().get().pk), "--yes")
    assert set(Instance.objects.values_list("state", flat=True)) == {"wait_run"}
    with pytest.raises(CommandError, match="undone already"):
        operate("undo", "--operation", str(on_instances().earliest("id").pk), "--yes")
    waiting = begun("terminate", chosen, 1)
    assert operate("cancel", "--operation", str(waiting.pk)) == "3 of 3: 3 cancelled\n"
    assert fresh(waiting).cancelled == 3
    with pytest.raises(CommandError, match="has ended"):
        operate("cancel", "--operation", str(waiting.pk))


def test_only_who_may_cancels() -> None:
    waiting = begun("terminate", many(2))
    make.make_user(make.EVE)
    with pytest.raises(CommandError, match="can be cancelled by"):
        operate("cancel", "--operation", str(waiting.pk), user=make.EVE)


def test_nothing_that_others_wrote_steers_the_terminal() -> None:
    [day] = due()
    Task.objects.update(name="evil\x1b[2J\rname")
    operate("terminate", "--ids", str(day.pk), "--yes")
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("operate", "terminate", "--ids", str(day.pk), "--yes", "--user", "susan", stdout=out)
    assert "evil\N{REPLACEMENT CHARACTER}[2J" in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


class TestAtATerminal:
    """The command as a process with a terminal of its own."""

    @staticmethod
    def start(*arguments: str) -> tuple["subprocess.Popen[bytes]", int]:
        """The process, and our end of its terminal."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "manage.py", "operate", *arguments, "--user", make.SUSAN],
            cwd=stack.PROJECT,
            env=environment(),
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        return process, ours

    @staticmethod
    def read(terminal: int, until: str = "") -> str:
        """What it says up to `until`, or to its end."""
        said = ""
        while not until or until not in said:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            said += piece.decode()
        return said

    @pytest.mark.parametrize(("answer", "state"), [("y", "failed"), ("n", "wait_run"), ("", "wait_run")])
    def test_it_asks(self, answer: str, state: str) -> None:
        [day] = due()
        process, terminal = self.start("terminate", "--ids", str(day.pk))
        try:
            assert "terminate 1 instances? [y/N]" in self.read(terminal, "[y/N]")
            os.write(terminal, f"{answer}\n".encode())
            said = self.read(terminal)
            assert process.wait(harness.PATIENCE) == (0 if answer == "y" else 1)
        finally:
            process.kill()
            process.wait()
            os.close(terminal)
        assert harness.state(day) == state
        assert ("Nothing was done" in said) == (answer != "y")

    def test_interrupted_it_leaves_the_rest_to_others(self) -> None:
        many(1000, tasks=6)
        process, terminal = self.start("rerun", "--state", "wait_run", "--yes")
        try:
            harness.until(lambda: on_instances().filter(done__gte=1000).exists(), 60)
            os.kill(process.pid, signal.SIGINT)
            assert "goes on in the background" in self.read(terminal)
            assert process.wait(harness.PATIENCE) == 130
        finally:
            process.kill()
            process.wait()
            os.close(terminal)
        record = on_instances().get()
        assert record.done < 6000
        assert_counted(record)
        assert operations.work(record.pk)
        assert (fresh(record).state, fresh(record).done) == (OperationState.SUCCESS, 6000)
