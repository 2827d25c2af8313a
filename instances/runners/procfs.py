"""What /proc tells about processes, and sending signals that cannot hit a reused pid (Linux 5.3 and later).

Standard library only, and little of it: the guardian, a process of a few megabytes, imports this module.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable, Container, Iterable

# A pid number cannot have gone once around (the smallest pid_max is 32768) in so many seconds.
_WRAP_SECONDS = 2.0
_GONE = (FileNotFoundError, ProcessLookupError)
_NO_PROCESS = (errno.ESRCH, errno.EINVAL, errno.ENOENT)  # the latter two: it is the number of a thread
_MAX_OPEN = 256  # file descriptors held at a time while ending processes; a fork bomb has more


class Stat:
    """Fields of /proc/<pid>/stat; `start` is in clock ticks since boot."""

    __slots__ = ("name", "session", "start", "state")

    def __init__(self, name: str, state: str, session: int, start: int) -> None:
        self.name = name
        self.state = state
        self.session = session
        self.start = start

    @property
    def alive(self) -> bool:
        return self.state not in "ZXx"


def stat(pid: int) -> Stat | None:
    """None when there is no such process (or /proc hides it)."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            data = file.read(1024)
    except _GONE:
        return None
    # The name stands in brackets and may itself hold brackets and blanks.
    left, _, right = data.rpartition(b")")
    fields = right.split()
    name = left.partition(b"(")[2].decode("utf-8", "replace")
    return Stat(name, fields[0].decode(), int(fields[3]), int(fields[19]))


def usage(pid: int) -> tuple[int, int] | None:
    """(clock ticks of CPU time, its children's that were waited for included; pages of resident memory), or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(1024).rpartition(b")")[2].split()
    except _GONE:
        return None
    if len(fields) < 22:
        return None
    return sum(int(field) for field in fields[11:15]), max(0, int(fields[21]))


def proportional_memory(pid: int) -> int:
    """Bytes of memory, where pages shared by n processes count one nth; 0 when it is gone or another user's."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (*_GONE, PermissionError):
        pass
    return 0


def last_pid() -> int:
    """The number most recently given to a process or thread."""
    with open("/proc/loadavg", "rb", buffering=0) as file:
        return int(file.read(256).split()[-1])


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def session_of(pid: int) -> int:
    """0 when there is no such process, and for threads of the kernel."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def carries(pid: int, marker: bytes) -> bool:
    """Whether the process was started with an environment that holds `marker`.

    A process in the middle of an exec shows an empty environment for an instant: look again.
    """
    for _ in range(20):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environ = file.read()
        except (*_GONE, PermissionError):
            return False  # gone, or another user's
        if environ:
            return marker in environ
        now = stat(pid)
        if now is None or not now.alive:
            return False
        time.sleep(0.0002)
    return False


class Process:
    """A live process pinned by a pidfd: what is sent to it can reach no other."""

    __slots__ = ("fd", "name", "pid", "start")

    def __init__(self, pid: int, fd: int, name: str, start: int) -> None:
        self.pid = pid
        self.fd = fd
        self.name = name
        self.start = start

    def send(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            pass  # it changed its user: nothing we can do

    def close(self) -> None:
        os.close(self.fd)


class Family:
    """All processes of one run: those in the session `leader`, and those that left it but carry `marker`.

    Everything of a run descends from its leader, so has been given a later pid number. That keeps the search
    short for a short run, however many processes the machine has; a long run pays for one full look.
    The leader must not be reaped while the family is in use, so that its number keeps its meaning.
    """

    def __init__(self, leader: int, marker: bytes, others: Container[int] = ()) -> None:
        """`others`: leaders of other live families, whose processes need no closer look."""
        self.leader = leader
        self._marker = marker
        self._others = others
        self._since = time.monotonic()

    def find(self) -> list[Process]:
        """The live ones, opened (at most 256 at a time); the caller closes them."""
        first, last = self.leader, last_pid()
        everything = time.monotonic() - self._since > _WRAP_SECONDS
        found = self._open(all_pids() if everything else _between(first, last), _MAX_OPEN)
        for _ in range(8):
            first, last = last + 1, last_pid()
            if first == last + 1:
                break
            found += self._open(_between(first, last), _MAX_OPEN - len(found))  # forked while we looked
        return found

    def _open(self, pids: Iterable[int], limit: int) -> list[Process]:
        found: list[Process] = []
        for pid in pids:
            if len(found) >= limit:
                break
            if self._is_ours(pid):
                process = open_process(pid, self._is_ours)
                if process is not None:
                    found.append(process)
        return found

    def _is_ours(self, pid: int) -> bool:
        session = session_of(pid)
        if session == 0 or (session in self._others and session != self.leader):
            return False
        return session == self.leader or carries(pid, self._marker)


def _between(first: int, last: int) -> Iterable[int]:
    """The pids from `first` to `last` in the order of giving, which starts again at the largest one."""
    if first > last:
        return [pid for pid in all_pids() if pid >= first or pid <= last]
    if last - first < 512:
        return range(first, last + 1)
    return [pid for pid in all_pids() if first <= pid <= last]


def open_process(pid: int, check: Callable[[int], bool]) -> Process | None:
    """Pins a process, then asks `check(pid)` again: only now is the number sure to mean what it meant."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in _NO_PROCESS:
            return None
        raise  # out of descriptors, say: that must not pass for a dead process
    now = stat(pid)
    if now is None or not now.alive or not check(pid):
        os.close(fd)
        return None
    return Process(pid, fd, now.name, now.start)


def wait_ended(processes: list[Process], seconds: float) -> None:
    """Returns when all have ended, or after `seconds`."""
    poller = select.poll()
    waiting = {process.fd for process in processes}
    for fd in waiting:
        poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + seconds
    while waiting:
        events = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not events:
            return
        for fd, _ in events:
            poller.unregister(fd)
            waiting.discard(fd)
