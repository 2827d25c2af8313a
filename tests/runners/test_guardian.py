"""Whatever happens to a worker, its children do not outlive it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from instances.runners import procfs
from instances.runners.base import Control
from instances.runners.host import Host
from instances.runners.shell import ShellRunner
from tests.runners.support import Background, Sink, marked, spec

ROOT = Path(__file__).resolve().parents[2]

_WORKER = """
import sys, threading
from instances.runners.base import Control, RunSpec
from instances.runners.host import Host
from instances.runners.shell import ShellRunner
host = Host()
class Out:
    lock = threading.Lock()
    def write(self, stream, data):
        with self.lock:
            sys.stdout.write(data.decode())
            sys.stdout.flush()
print(host.guardian.token, host.guardian.directory(), flush=True)
for number in range(4):
    run = RunSpec(number, "SHELL", sys.argv[1])
    threading.Thread(target=ShellRunner(host).run, args=(run, Out(), Control())).start()
"""


class Worker:
    """A worker process of its own that runs `code` four times at once."""

    def __init__(self, code: str, started: int = 4) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, code], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.token, directory = self.process.stdout.readline().split()
        self.directory = Path(directory)
        for _ in range(started):
            assert self.process.stdout.readline().strip() == "begun"

    def children(self) -> list[int]:
        return marked(self.token)

    def guardians(self) -> list[int]:
        found = []
        for pid in procfs.all_pids():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if self.token.encode() in command:
                found.append(pid)
        return found

    def guardian(self, eventually) -> int:
        """Its guardian, which is started beside the first child: it may come after that child's first line."""
        eventually(lambda: len(self.guardians()) == 1)
        (guardian,) = self.guardians()
        return guardian

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


_TREE = """
trap '' TERM
sleep 1000 &
(setsid setsid sleep 1000 >/dev/null 2>&1 &)
echo begun
while :; do wait; done
"""


def test_children_of_a_killed_worker_die(eventually):
    worker = Worker(_TREE)
    eventually(lambda: len(worker.children()) == 12)
    guardian = worker.guardian(eventually)
    assert worker.directory.exists()
    worker.kill()
    eventually(lambda: not worker.children())
    eventually(lambda: (found := procfs.stat(guardian)) is None or not found.alive)
    assert not worker.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_to_the_whole_service_do_not_stop_the_guardian(eventually, number):
    worker = Worker(_TREE)
    guardian = worker.guardian(eventually)
    os.kill(guardian, number)
    worker.kill()
    eventually(lambda: not worker.children())
    eventually(lambda: not worker.guardians())


def test_children_that_were_just_started_die(eventually):
    """Children started so fast that many are at every stage of their start when the worker is killed."""
    for _ in range(10):
        worker = Worker("echo begun; for i in {1..9}; do setsid setsid sleep 1000 & done; wait", 1)
        worker.kill()
        eventually(lambda worker=worker: not worker.children() and not worker.guardians())
        assert not worker.children()


def test_a_worker_that_ends_takes_its_guardian_along(eventually):
    worker = Worker("echo begun", started=4)
    assert worker.process.stdout is not None
    worker.process.stdout.close()
    assert worker.process.wait(30) == 0
    eventually(lambda: not worker.guardians())
    assert not worker.directory.exists()


def test_a_killed_guardian_is_replaced_and_knows_all(eventually):
    worker = Worker(_TREE)
    for _ in range(2):
        guardian = worker.guardian(eventually)
        os.kill(guardian, signal.SIGKILL)
        eventually(lambda guardian=guardian: worker.guardians() not in ([guardian], []))
    assert len(worker.children()) == 12 or eventually(lambda: len(worker.children()) == 12)
    worker.kill()
    eventually(lambda: not worker.children())
    eventually(lambda: not worker.guardians())


def test_a_guardian_that_hangs_stalls_no_run(eventually):
    host = Host()
    runner = ShellRunner(host)
    assert runner.run(spec("true"), Sink(), Control()).ok
    first = host.guardian.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    # Fills the pipe: 64 KB of messages that nobody reads.
    for pid in range(4_000_000, 4_008_000):
        host.guardian.announce(pid, 1)
        host.guardian.forget(pid)
    assert runner.run(spec("true"), Sink(), Control()).ok
    eventually(
        lambda: host.guardian.pid not in (first, None) or runner.run(spec("true"), Sink(), Control()).ok
    )
    host.close()
    assert procfs.stat(first) is None


def test_the_guardian_is_small_and_holds_nothing(eventually, host):
    run = Background(ShellRunner(host), spec("echo begun; sleep 1000"))
    eventually(lambda: host.guardian.pid is not None)
    guardian = host.guardian.pid
    assert guardian is not None
    assert Path(f"/proc/{guardian}/environ").read_bytes() == b""
    resident = int(Path(f"/proc/{guardian}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 16_000_000
    assert procfs.session_of(guardian) == guardian
    run.control.cancel("terminate")
    run.outcome()


def test_closing_ends_what_still_runs():
    host = Host()
    run = Background(ShellRunner(host), spec(_TREE))
    run.log.wait_for("begun")
    host.close()
    assert run.outcome().error_code == "OUT_OF_MEMORY"  # a SIGKILL that the run itself did not send
    assert marked(host.guardian.token) == []


def test_a_forked_process_holds_no_guardian_open(eventually):
    """A process that forks for its own reasons must not keep the guardian from noticing the worker's end."""
    host = Host()
    ShellRunner(host).run(spec("true"), Sink(), Control())
    guardian = host.guardian.pid
    assert guardian is not None
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)  # lives until the test lets go
        os._exit(0 if host.guardian.pid is None else 1)
    os.close(read_end)
    try:
        host.close()  # waits for the guardian, which waits for the end of its input
        assert procfs.stat(guardian) is None
    finally:
        os.close(write_end)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_reused_pid_is_not_killed(tmp_path):
    """What the guardian knows is a pid and a start time; with another start time it is somebody else."""
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    read_end, write_end = os.pipe()
    guardian = subprocess.Popen(
        [sys.executable, "-m", "instances.runners.guardian", "no-such-token", ""], stdin=read_end, cwd=ROOT
    )
    os.close(read_end)
    found = procfs.stat(stranger.pid)
    assert found is not None
    os.write(write_end, f"+{stranger.pid} {found.start - 1}\n".encode())
    os.close(write_end)
    assert guardian.wait(30) == 0
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
