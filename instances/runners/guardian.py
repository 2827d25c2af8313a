"""The guardian: a tiny process that outlives its worker by a moment, to kill what the worker left running.

Started once per worker process by `GuardianClient`. The worker tells it on standard input which children
live:

    +<pid> <start time>     a child was started in a session of its own
    -<pid>                  nothing of that session is left

End of input means that the worker is gone, however it died. The guardian then kills every session it knows
and every process that carries the worker's token in its environment, removes the worker's directory, and
exits. Why it cannot miss a child: docs/adr/0006-guardian.md. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys

from instances.runners import procfs

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


def main(token: str, directory: str) -> None:
    # A service manager may signal every process of the service; this one has to stay until the worker is
    # gone.
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    sessions = _listen(0)
    _kill_all(sessions, f"{token}.".encode())
    if directory:
        import shutil  # only now: it is larger than all the rest

        shutil.rmtree(directory, ignore_errors=True)


def _listen(fd: int) -> dict[int, int]:
    """Follows the worker's messages until it is gone; returns the live sessions as pid -> start time."""
    sessions: dict[int, int] = {}
    rest = b""
    while data := os.read(fd, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line[:1] == b"+":
                pid, start = line[1:].split()
                sessions[int(pid)] = int(start)
            elif line[:1] == b"-":
                sessions.pop(int(line[1:]), None)
    return sessions


def _kill_all(sessions: dict[int, int], marker: bytes) -> None:
    """Kills until two looks in a row find nothing, since a process may fork while it is looked for."""
    own = os.getpid()

    def doomed(pid: int) -> bool:
        session = procfs.session_of(pid)
        if session == 0 or pid == own:
            return False
        if session in sessions:
            leader = procfs.stat(session)
            # With the leader gone the number alone proves nothing any more; then the marker decides.
            if leader is not None and leader.start == sessions[session]:
                return True
        return procfs.carries(pid, marker)

    quiet = 0
    while quiet < 2:
        found = []
        for pid in procfs.all_pids():
            if doomed(pid) and (process := procfs.open_process(pid, doomed)) is not None:
                process.send(signal.SIGKILL)
                found.append(process)
                if len(found) >= 256:
                    break
        procfs.wait_ended(found, 1.0)
        for process in found:
            process.close()
        quiet = 0 if found else quiet + 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
