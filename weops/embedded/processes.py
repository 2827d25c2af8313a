"""Finding and ending processes that are certainly ours.

A pid alone proves nothing: after a crash or in a container it soon belongs to somebody else. A server is ours
when it runs in its own data folder of our home; a program of the stack is ours when its environment names our
home. psutil remembers the start time of each process it found, and refuses to signal another one that got the
same pid.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import psutil

MARK = "WEOPS_STACK"
LAUNCH = Path(__file__).with_name("launch.py")
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)


def launcher(
    die: signal.Signals, *options: str, parent: int | None = None, python: str | None = None
) -> list[str]:
    """The words to put before a command that must not outlive the process that starts it."""
    words = [python or sys.executable, "-I", "-S", str(LAUNCH), f"die={int(die)}", *options]
    if parent is not None:
        words.append(f"parent={parent}")
    return [*words, "--"]


def in_folder(folder: Path, name: str) -> list[psutil.Process]:
    """Live processes called `name` (or `name...`) whose working folder is `folder`, and their children."""
    wanted = os.path.realpath(folder)
    named = []
    for process in psutil.process_iter():
        with contextlib.suppress(*_GONE, OSError):
            if process.name().startswith(name) and process.status() != psutil.STATUS_ZOMBIE:
                named.append((process, process.ppid(), _works_in(process, wanted)))
    pids = {process.pid for process, _, ours in named if ours}
    return [process for process, parent, ours in named if ours or parent in pids]


def _works_in(process: psutil.Process, folder: str) -> bool:
    try:
        return bool(process.cwd() == folder)
    except psutil.AccessDenied:
        # In many containers root may not look into another user's process; its arguments are public.
        return folder in process.cmdline()


def marked(home: Path) -> list[psutil.Process]:
    """Live processes of a stack of this home, this process and its parents left out."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(*_GONE, OSError):
            if process.pid not in own and process.environ().get(MARK) == str(home):
                found.append(process)
    return found


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent ends (Linux), so none can hide."""
    if sys.platform == "linux":
        import ctypes

        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def end(processes: Iterable[psutil.Process], steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Sends each signal in turn and waits its seconds; True when all have ended."""
    left = list(processes)
    for number, seconds in steps:
        for process in left:
            with contextlib.suppress(*_GONE):
                process.send_signal(number)
        left = _left_after(left, seconds)
        if not left:
            return True
    return False


def _left_after(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those still there after `seconds`, or none as soon as all have ended. An ended process whose parent has not
    noticed yet still has its pid: psutil would wait for that parent."""
    deadline = time.monotonic() + seconds
    while (left := [process for process in processes if alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def outlives(process: psutil.Process, seconds: float) -> bool:
    """Whether it is still there after `seconds`; waits no longer than it lives."""
    return bool(_left_after([process], seconds))


def reap_strangers(own: Collection[int], *, block: bool = False) -> None:
    """Collects ended children that nobody here started: orphans that came to us by `adopt_orphans`.

    Returns at the first ended child that is one of `own`, which it leaves to its owner; `block` waits for one."""
    if sys.platform != "linux":  # there, orphans go elsewhere
        if block:
            time.sleep(0.1)
        return
    flags = os.WEXITED | os.WNOWAIT | (0 if block else os.WNOHANG)
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, flags)) is not None and ended.si_pid not in own:
            os.waitpid(ended.si_pid, 0)


def reap(process: subprocess.Popen[bytes] | None) -> None:
    """Collects a child that has ended, so that it does not stay as a zombie."""
    if process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)


def alive(process: psutil.Process) -> bool:
    """An ended process that nobody has collected yet is not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except _GONE:
        return False


def allocator() -> dict[str, str]:
    """What a process of many threads wants of glibc's malloc: an arena and a cache for each thread keep much more memory than
    is used, and grow for hours (benchmarks/children.py). What is set already stays."""
    wanted = {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    return {name: os.environ.get(name, value) for name, value in wanted.items()}
