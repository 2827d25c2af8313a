"""Limits: real children that really use too much, each ended with the code of what it hit."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instances.runners.base import Limits
from instances.runners.guardian_client import GuardianClient
from instances.runners.limits import limited, stricter
from tests.runners.support import marked

MB = 1_000_000


def test_memory_of_one_process(python):
    outcome, log = python(
        "held = []\nwhile True: held.append(bytearray(4_000_000))", limits=Limits(memory=120 * MB)
    )
    assert outcome.error_code == "OUT_OF_MEMORY", outcome
    assert "more than 120 MB" in outcome.message
    assert "; it was killed at once" in outcome.message
    assert outcome.signal == 9
    assert "[weops] stopped: its processes used" in log.said
    assert "after the grace" not in log.said, "there was none"


def test_memory_of_many_processes_counts_together(shell, host):
    code = f"for i in 1 2 3 4; do {sys.executable} -c 'x = bytearray(60_000_000); input()' < /dev/zero & done; wait"
    code = code.replace("input()", "import time; time.sleep(600)")
    outcome, _ = shell(code, limits=Limits(memory=150 * MB))
    assert outcome.error_code == "OUT_OF_MEMORY"
    assert marked(host.guardian.token) == []


def test_a_process_that_left_the_session_counts_too(shell):
    code = f"setsid setsid {sys.executable} -c 'x = bytearray(200_000_000); import time; time.sleep(600)' & sleep 600"
    assert shell(code, limits=Limits(memory=100 * MB))[0].error_code == "OUT_OF_MEMORY"


def test_shared_memory_counts_once(python):
    """Eight forks of a process of 60 MB have not eight times as much."""
    code = (
        "import os, time\nheld = bytearray(60_000_000)\n"
        "for _ in range(8):\n    if os.fork() == 0:\n        time.sleep(1.5); os._exit(0)\n"
        "for _ in range(8): os.wait()\nprint('fine')"
    )
    outcome, log = python(code, limits=Limits(memory=150 * MB))
    assert outcome.ok, outcome
    assert "fine" in log.output


def test_cpu_time_of_many_processes_counts_together(shell):
    began = time.monotonic()
    code = "for i in 1 2 3 4; do while :; do :; done & done; wait"
    outcome, _ = shell(code, limits=Limits(cpu=1))
    assert outcome.error_code == "CPU_TIME", outcome
    assert "s of CPU time, more than 1 s" in outcome.message
    assert time.monotonic() - began < 25


def test_the_kernel_ends_what_nobody_looks_at():
    """As the watch would be too late: the limit that every process has inherited."""
    command = limited(["bash", "-c", "while :; do :; done"], Limits(cpu=1))
    assert subprocess.run(command, check=False).returncode == -24  # SIGXCPU


def test_output(shell):
    outcome, log = shell("yes | head -c 50000000; echo not reached", limits=Limits(output=2 * MB))
    assert outcome.error_code == "OUTPUT_LIMIT"
    assert "it printed more than 2.0 MB" in outcome.message
    assert "not reached" not in log.output


def test_output_that_came_in_the_last_moment_counts(shell):
    assert shell("head -c 60000 /dev/zero", limits=Limits(output=1000))[0].error_code == "OUTPUT_LIMIT"


def test_open_files(python):
    code = "import sys\nheld = [open('/dev/null') for _ in range(100)]"
    outcome, log = python(code, limits=Limits(files=32))
    assert outcome.error_code == "EXIT_NONZERO"
    assert "Too many open files" in log.output
    assert python(code, limits=Limits(files=200))[0].ok


def test_within_its_limits_all_is_well(shell, python):
    roomy = Limits(memory=500 * MB, cpu=60, files=100, output=1 * MB)
    outcome, log = shell("ulimit -n; ulimit -S -t", limits=roomy)
    assert outcome.ok
    assert log.output.split() == ["100", "62"]
    assert python("print(1)", limits=roomy)[0].ok


def test_the_stricter_one_counts():
    assert stricter(Limits(memory=5, cpu=9), Limits(memory=7, cpu=3, files=2)) == Limits(5, 3, 2, None)
    assert stricter(Limits(), Limits()) == Limits()
    assert limited(["true"], Limits()) == ["true"]


def test_what_a_dead_worker_and_its_guardian_left_is_removed_by_the_next(tmp_path: Path, eventually):
    code = (
        "import os, sys\nfrom instances.runners.guardian_client import GuardianClient\n"
        "client = GuardianClient(sys.argv[1])\nprint(client.directory(), flush=True)\n"
        "(client.directory() / 'left').write_text('x')\nos.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).resolve().parents[2]
    dead = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    left = Path(dead.stdout.strip())
    assert (left / "left").exists(), dead
    living = GuardianClient(str(tmp_path))
    own = living.directory()
    assert left.exists(), "one that is so young may be being made just now"
    old = time.time() - 3600
    os.utime(left, (old, old))
    os.utime(own, (old, old))
    other = GuardianClient(str(tmp_path))
    other.directory()
    assert not left.exists()
    assert own.exists(), "its worker lives"
    living.close()
    other.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run tasks as somebody else")
def test_another_user(tmp_path: Path):
    from instances.runners.base import Control
    from instances.runners.host import Host
    from instances.runners.shell import ShellRunner
    from tests.runners.support import Sink, spec

    os.chmod(tmp_path.parent.parent.parent, 0o755)
    host = Host(run_as="nobody")
    log = Sink()
    what = spec("id -un; touch here && echo wrote; ulimit -n", limits=Limits(files=77, memory=300 * MB))
    assert ShellRunner(host).run(what, log, Control()).ok, log.text
    assert log.output.split() == ["nobody", "wrote", "77"]
    host.close()
