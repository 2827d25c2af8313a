"""Child processes: how they end by themselves, and what is left of them (nothing)."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from instances.runners import procfs
from instances.runners.base import Control, Outcome
from instances.runners.host import Host
from instances.runners.masker import Masker
from instances.runners.process import REPORT, _reported
from instances.runners.python import PythonRunner
from instances.runners.shell import ShellRunner
from tests.runners.support import Background, Sink, descriptors, marked, spec


def test_success(shell):
    outcome, log = shell("echo out; echo err >&2; echo out again")
    assert (outcome.ok, outcome.exit_code, outcome.signal, outcome.error_code) == (True, 0, None, "")
    assert log.output == "out\nerr\nout again\n"  # in the order of writing
    assert log.said == ""


@pytest.mark.parametrize(
    ("code", "exit_code", "signal", "error_code", "words"),
    [
        ("exit 3", 3, None, "EXIT_NONZERO", "exit code 3"),
        ("set -e; false; echo not reached", 1, None, "EXIT_NONZERO", "exit code 1"),
        ("no-such-command", 127, None, "COMMAND_NOT_FOUND", "not found"),
        ("touch f; ./f", 126, None, "NOT_EXECUTABLE", "cannot be executed"),
        ("kill -TERM $$", None, 15, "KILLED_BY_SIGNAL", "SIGTERM"),
        ("kill -40 $$", None, 40, "KILLED_BY_SIGNAL", "signal 40"),
        ("kill -KILL $$", None, 9, "OUT_OF_MEMORY", "probably out of memory"),
        ("bash -c 'kill -KILL $$'", 137, None, "OUT_OF_MEMORY", "lack of memory"),
        ("bash -c 'kill -SEGV $$'", 139, None, "EXIT_NONZERO", "SIGSEGV"),
        ("exit 255", 255, None, "EXIT_NONZERO", "exit code 255"),
    ],
)
def test_failures(shell, code, exit_code, signal, error_code, words):
    outcome, log = shell(code)
    assert not outcome.ok
    assert (outcome.exit_code, outcome.signal, outcome.error_code) == (exit_code, signal, error_code)
    assert words in outcome.message
    assert "not reached" not in log.output


def test_python_failure(python):
    outcome, log = python("print('one')\nraise SystemExit(7)")
    assert (outcome.error_code, outcome.exit_code) == ("EXIT_NONZERO", 7)
    assert log.output == "one\n"


def test_python_runs_isolated_in_the_workers_interpreter(python):
    outcome, log = python("import sys, psycopg\nprint(sys.executable, sys.flags.isolated)")
    assert outcome.ok
    assert log.output.split() == [sys.executable, "1"]


def test_python_interpreter_of_choice(python):
    outcome, log = python("import sys\nprint('here', sys.version_info[0])", settings={"python": "python3"})
    assert outcome.ok
    assert log.output == "here 3\n"
    outcome, _ = python("print()", settings={"python": "/no/such/python"})
    assert outcome.error_code == "SPAWN_FAILED"
    assert "/no/such/python" in outcome.message


def test_output_of_python_is_seen_at_once(host):
    log, control = Sink(), Control()
    code = "print('begun')\nimport signal\nsignal.pause()"
    thread = threading.Thread(
        target=PythonRunner(host).run, args=(spec(code, "PYTHON", kill_grace=30), log, control)
    )
    thread.start()
    log.wait_for("begun")
    control.cancel("terminate")
    thread.join(30)
    assert not thread.is_alive()


def test_megabyte_script_not_visible_in_ps(shell):
    outcome, log = shell("#" + "x" * 1_000_000 + "\ntr '\\0' ' ' < /proc/$$/cmdline; echo; cat; echo end")
    assert outcome.ok
    command, end = log.output.splitlines()
    assert command.endswith("task.sh ")
    assert end == "end"  # standard input is empty, not the script


@pytest.mark.parametrize("name", ["a", "big"])
def test_what_cannot_be_passed_is_refused(shell, name):
    value = {"a": "nul\0byte", "big": "x" * 200_000}[name]
    outcome, _ = shell("true", parameters={name: value})
    assert outcome.error_code == "SPAWN_FAILED"
    assert outcome.message.startswith("cannot start: ")


def test_unknown_user_is_refused():
    host = Host(run_as="nobody-of-this-name")
    outcome = ShellRunner(host).run(spec("true"), Sink(), Control())
    host.close()
    assert outcome.error_code == "SPAWN_FAILED"
    assert "nobody-of-this-name" in outcome.message


def test_working_directory_is_removed_even_when_locked(shell):
    outcome, log = shell("pwd; mkdir -p d/e; touch d/e/f; chmod 0 d/e d")
    assert outcome.ok
    assert not Path(log.output.strip()).exists()


def test_cancel_before_start(host):
    control, log = Control(), Sink()
    control.cancel("terminate")
    outcome = ShellRunner(host).run(spec("touch /tmp/never; echo ran"), log, control)
    assert (outcome.error_code, log.pieces) == ("TERMINATED", [])


@pytest.mark.parametrize(
    ("reason", "error_code"),
    [
        ("terminate", "TERMINATED"),
        ("lease_lost", "LEASE_LOST"),
        ("shutdown", "WORKER_SHUTDOWN"),
        ("marked successful", "TERMINATED"),
    ],
)
def test_cancel(background, reason, error_code):
    run = background("echo begun; sleep 1000")
    run.log.wait_for("begun")
    began = time.monotonic()
    run.control.cancel(reason)
    outcome = run.outcome()
    assert outcome.error_code == error_code
    assert time.monotonic() - began < 10


def test_the_first_reason_wins(background):
    run = background("trap '' TERM; echo begun; sleep 1000 & while :; do wait; done")
    run.log.wait_for("begun")
    run.control.cancel("terminate")
    run.control.cancel("lease_lost")  # which allows no grace
    outcome = run.outcome()
    assert outcome.error_code == "TERMINATED"
    assert outcome.signal == 9


def test_process_is_reported_with_its_start_time(background):
    run = background("echo begun; sleep 1000")
    assert run.started.wait(30)
    found = procfs.stat(run.pid)
    assert found is not None
    assert (found.session, found.start, found.name) == (run.pid, run.start_time, "bash")
    run.control.cancel("terminate")
    run.outcome()


def test_a_task_may_clean_up_in_its_grace(background):
    run = background("trap 'echo cleaning; exit 0' TERM; echo begun; sleep 1000 & wait")
    run.log.wait_for("begun")
    run.control.cancel("terminate")
    outcome = run.outcome()
    assert not outcome.ok
    assert outcome.exit_code == 0
    assert "cleaning" in run.log.output
    assert "ended on SIGTERM" in outcome.message


def test_the_grace_is_for_the_whole_session(background):
    """The leader ends at once; its child gets the time it needs."""
    child = "trap 'echo child cleaned' TERM; echo begun; sleep 1000 & wait; wait"
    run = background(f"bash -c \"{child}; sleep 0.2; echo child done\" & trap 'exit 1' TERM; wait")
    run.log.wait_for("begun")
    run.control.cancel("terminate")
    run.outcome()
    assert "child cleaned" in run.log.output
    assert "child done" in run.log.output


def test_ignored_term_is_followed_by_kill(background):
    run = background("trap '' TERM; echo begun; sleep 1000 & while :; do wait; done", kill_grace=0.3)
    run.log.wait_for("begun")
    run.control.cancel("terminate")
    outcome = run.outcome()
    assert (outcome.error_code, outcome.signal) == ("TERMINATED", 9)
    assert "killed" in outcome.message
    assert "[weops] killed what was still running after the grace" in run.log.said


def test_a_stopped_task_can_be_terminated(background, eventually):
    run = background("trap 'echo cleaned; exit 1' TERM; echo begun; kill -STOP $$; sleep 1000")
    run.log.wait_for("begun")
    assert run.started.wait(30)
    eventually(lambda: (found := procfs.stat(run.pid)) is not None and found.state == "T")
    run.control.cancel("terminate")
    outcome = run.outcome()
    assert outcome.exit_code == 1
    assert "cleaned" in run.log.output


_FAMILY = """
sleep 1000 &
bash -c 'sleep 1000 & wait' &
set -m; sleep 1000 & set +m          # a process group of its own
setsid bash -c 'sleep 1000 & wait' &  # a session of its own
(setsid setsid sleep 1000 >/dev/null 2>&1 &)  # orphaned, and without our pipe
echo spawned
"""


def test_grandchildren_and_escapees_die_with_the_task(background, eventually):
    run = background(_FAMILY + "wait", kill_grace=0.5)
    run.log.wait_for("spawned")
    assert run.started.wait(30)
    token = Path(f"/proc/{run.pid}/environ").read_bytes().partition(b"WEOPS_RUN_TOKEN=")[2].split(b"\0")[0]
    eventually(lambda: len(marked(token.decode())) == 8)
    run.control.cancel("terminate")
    assert run.outcome().error_code == "TERMINATED"
    assert marked(token.decode()) == []


def test_nothing_is_left_behind_by_a_task_that_ends(shell):
    outcome, log = shell(_FAMILY)  # the fixture looks for survivors
    assert outcome.ok
    assert "[weops] killed what was left running by the task: " in log.said


def test_background_output_is_drained(shell):
    outcome, log = shell("exec > >(sed s/a/b/); echo a")
    assert outcome.ok
    assert log.output == "b\n"
    assert log.said == ""


def test_cancel_ends_the_wait_for_leftovers(host):
    patient = Host(drain_seconds=1000)
    run_log, control = Sink(), Control()
    code = "sleep 1000 & trap 'echo leaving' EXIT"
    done: list = []
    thread = threading.Thread(
        target=lambda: done.append(ShellRunner(patient).run(spec(code), run_log, control))
    )
    thread.start()
    run_log.wait_for("leaving")
    control.cancel("terminate")
    thread.join(30)
    assert len(done) == 1
    patient.close()


def test_a_fork_storm_is_ended(background):
    storm = "f() { while :; do sleep 1000 & sleep 1000 & sleep 0.01; done; }; f & f & f & echo begun; wait"
    run = background(f"ulimit -u 4000; {storm}", kill_grace=0.2)
    run.log.wait_for("begun")
    run.control.cancel("terminate")
    assert run.outcome().error_code == "TERMINATED"


def test_timeout(shell):
    outcome, log = shell("echo begun; sleep 1000", run_timeout=0.3, kill_grace=30.0)
    assert outcome.error_code == "RUN_TIMEOUT"
    assert outcome.signal == 15
    assert "timeout of 0.3 s" in outcome.message
    assert log.output == "begun\n"


def test_timeout_of_a_task_that_floods_the_log(shell):
    outcome, _ = shell("yes", run_timeout=0.5, kill_grace=30.0)
    assert outcome.error_code == "RUN_TIMEOUT"


def test_a_broken_log_leaves_no_process(host):
    class Full(Sink):
        def write(self, stream: str, data: bytes) -> None:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        ShellRunner(host).run(spec("sleep 1000 & echo begun; wait"), Full(), Control())


def test_a_held_up_log_does_not_keep_a_task_alive_without_its_lease(host, eventually):
    """The database is away: the log waits for it, the lease is lost, and the children have to go now."""
    go_on = threading.Event()

    class Held(Sink):
        def write(self, stream: str, data: bytes) -> None:
            super().write(stream, data)
            go_on.wait(30)

    class Run(Background):
        log_class = Held

    run = Run(ShellRunner(host), spec("setsid sleep 1000 & echo begun; exec sleep 1000", kill_grace=30.0))
    run.log.wait_for("begun")
    eventually(lambda: len(marked(host.guardian.token)) == 2)
    run.control.cancel("lease_lost")
    eventually(lambda: marked(host.guardian.token) == [])
    go_on.set()
    outcome = run.outcome()
    assert (outcome.error_code, outcome.signal) == ("LEASE_LOST", 9)
    assert "killed at once" in outcome.message


def test_a_failing_record_does_not_stop_the_run(host):
    def fail(pid: int, start_time: int) -> None:
        raise ConnectionError("database away")

    log = Sink()
    assert ShellRunner(host).run(spec("echo done"), log, Control(fail)).ok
    assert "done" in log.output
    assert "database away" in log.said


def test_memory_runs_out_on_the_task_first(background):
    run = background("echo begun; sleep 1000")
    run.log.wait_for("begun")
    assert run.started.wait(30)
    assert int(Path(f"/proc/{run.pid}/oom_score_adj").read_text()) >= 500
    run.control.cancel("terminate")
    run.outcome()


def test_many_at_once_leak_no_descriptor(host):
    runner = ShellRunner(host)
    assert runner.run(spec("true"), Sink(), Control()).ok  # starts what stays, the guardian
    before = descriptors()
    failed: list = []

    def work() -> None:
        for number in range(10):
            log = Sink()
            outcome = runner.run(spec(f"echo {number}; exit {number}"), log, Control())
            if outcome.exit_code != number or log.output != f"{number}\n":
                failed.append(outcome)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert descriptors() == before


def test_runs_as_another_user(eventually):
    if os.getuid() != 0:
        # An ordinary user cannot become another one: that must be a clear refusal.
        host = Host(run_as="root")
        outcome = ShellRunner(host).run(spec("true"), Sink(), Control())
        host.close()
        assert outcome.error_code == "SPAWN_FAILED"
        return
    host, log = Host(run_as="nobody"), Sink()
    code = f"id -un; touch mine && echo wrote; cat /proc/{os.getpid()}/environ || echo hidden"
    outcome = ShellRunner(host).run(spec(code), log, Control())
    directory = host.guardian.directory()
    host.close()
    assert outcome.ok
    assert log.output.splitlines()[:2] == ["nobody", "wrote"]
    assert log.output.endswith("hidden\n")
    assert not directory.exists()


def test_another_run_of_the_same_user_finds_no_moment_for_a_link(monkeypatch):
    if os.getuid() != 0:
        return
    given = []
    plain = os.chown

    def chown(path, uid, gid, **how):
        given.append((Path(path), how))
        plain(path, uid, gid, **how)

    monkeypatch.setattr(os, "chown", chown)
    host = Host(run_as="nobody")
    outcome = ShellRunner(host).run(spec("true"), Sink(), Control())
    host.close()
    assert outcome.ok
    *files, (directory, _) = given
    assert [path.parent for path, _ in files] == [directory]
    assert all(how == {"follow_symlinks": False} for _, how in given)


def test_a_report_that_is_a_pipe_or_a_link_keeps_nobody_waiting(tmp_path):
    failed = Outcome(False, 1, None, "EXIT_NONZERO", "exit code 1")
    report, elsewhere = tmp_path / REPORT, tmp_path / "elsewhere"
    os.mkfifo(report)
    assert _reported(tmp_path, failed, Masker(())) == failed
    report.unlink()
    elsewhere.write_text('{"code": "X", "message": "y"}')
    report.symlink_to(elsewhere)
    assert _reported(tmp_path, failed, Masker(())) == failed
