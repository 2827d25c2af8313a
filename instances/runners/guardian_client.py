"""The worker's side of the guardian (see guardian.py): starts it, keeps it alive, tells it about children."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Container
from pathlib import Path

from instances.runners.guardian import IGNORED

logger = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from instances.runners.guardian import main; main(*sys.argv[2:])"
)
_FLAPPING_SECONDS = 1.0
_PREFIX = "weops-worker-"
_ABANDONED_SECONDS = 60.0


class GuardianClient:
    """One per worker process; thread-safe. The guardian is started by the first `announce`.

    `token` names this worker in the environment of its children; `directory()` is the worker's own directory
    for the runs' working directories, removed by `close`, or by the guardian when the worker dies. Without a
    guardian (it cannot be started) runs go on; that is logged.
    """

    def __init__(self, parent_directory: str | None = None, directory_mode: int = 0o700) -> None:
        self._parent_directory = parent_directory
        self._directory_mode = directory_mode
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._live: dict[int, int] = {}
        self._pipe = -1
        self._begin()
        _clients.add(self)

    @property
    def pid(self) -> int | None:
        """The guardian's pid, None while there is none."""
        process = self._process
        return process.pid if process else None

    @property
    def live(self) -> Container[int]:
        """The pids of the announced children, none of them reaped."""
        return self._live

    def run_token(self) -> str:
        """A fresh token for one run: what a child carries as WEOPS_RUN_TOKEN."""
        with self._lock:
            self._runs += 1
            return f"{self.token}.{self._runs}"

    def directory(self) -> Path:
        with self._lock:
            return self._own_directory()

    def announce(self, pid: int, start_time: int) -> None:
        """A child lives (it leads the session `pid`)."""
        with self._lock:
            self._live[pid] = start_time
            if self._process is None:
                self._start()  # tells it all that live, this one included
            else:
                self._send(f"+{pid} {start_time}\n")

    def forget(self, pid: int) -> None:
        """Nothing of that child's session is left. Call before the child is reaped."""
        with self._lock:
            if self._live.pop(pid, None) is not None:
                self._send(f"-{pid}\n")

    def close(self) -> None:
        """Ends the guardian, which kills what is still known to it, and waits for it."""
        with self._lock:
            process, self._process = self._process, None
            self._close_pipe()
            directory, self._directory = self._directory, None
            self._let_go()
        if process is not None:
            process.wait()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)

    def _own_directory(self) -> Path:
        if self._directory is None:
            made = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=self._parent_directory)
            os.chmod(made, self._directory_mode)
            self._directory = Path(made)
            self._held = _held(self._directory)
            _remove_abandoned(self._directory)
        return self._directory

    def _start(self) -> None:
        """Starts a guardian and tells it every live child. Under the lock."""
        read_end, write_end = os.pipe()
        # What is blocked here stays blocked in the guardian: it cannot be ended before it ignores these
        # itself.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
        try:
            # -I -S: no site packages, no user's variables; an empty environment has nothing to give away.
            command = [sys.executable, "-I", "-S", "-c", _BOOT, str(_ROOT), self.token]
            process = subprocess.Popen(
                [*command, str(self._own_directory())],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError:
            os.close(write_end)
            logger.exception("the guardian cannot be started: a killed worker would leave children running")
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(read_end)
        os.set_blocking(write_end, False)
        self._process, self._pipe = process, write_end
        threading.Thread(
            target=self._watch, args=(process, time.monotonic()), name="guardian-watch", daemon=True
        ).start()
        for pid, start_time in self._live.items():
            self._send(f"+{pid} {start_time}\n")

    def _send(self, line: str) -> None:
        """Under the lock. A guardian that does not read (a full pipe) is replaced, as is a dead one."""
        if self._pipe < 0:
            return
        try:
            os.write(self._pipe, line.encode())  # shorter than PIPE_BUF: written whole or not at all
        except OSError:
            if self._process is not None:
                self._process.kill()  # its watcher starts the next one

    def _watch(self, process: subprocess.Popen[bytes], started: float) -> None:
        """Waits for the guardian's end and starts the next, unless it was meant to end."""
        process.wait()
        with self._lock:
            if self._process is not process:
                return
            self._process = None
            self._close_pipe()
            logger.error("the guardian ended with status %s", process.returncode)
        # One that dies at birth must not be restarted in a tight loop; a new child may start it meanwhile.
        time.sleep(max(0.0, _FLAPPING_SECONDS - (time.monotonic() - started)))
        with self._lock:
            if self._process is None and self._live:
                self._start()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
        self._pipe = -1

    def _let_go(self) -> None:
        if self._held >= 0:
            os.close(self._held)
        self._held = -1

    def _begin(self) -> None:
        """The state of a client that has started nothing."""
        self.token = secrets.token_hex(16)
        self._runs = 0
        self._live = {}
        self._process = None
        self._pipe = -1
        self._held = -1
        self._directory = None

    def after_fork(self) -> None:
        """In a forked child: the guardian stays the parent's, and the pipe must not be held open here."""
        self._lock = threading.Lock()
        self._close_pipe()
        self._let_go()
        if self._process is not None:
            self._process.returncode = 0  # not our child: never wait for it
        self._begin()


def _held(directory: Path) -> int:
    """A descriptor that locks the directory as long as this process lives, however it ends; -1 if it is locked."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _remove_abandoned(own: Path) -> None:
    """Directories of workers that died together with their guardians, as a machine that is switched off takes both."""
    for other in own.parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = other.lstat()
            # One that is being made just now is not locked yet.
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _ABANDONED_SECONDS:
                continue
            if (descriptor := _held(other)) >= 0:
                shutil.rmtree(other, ignore_errors=True)
                os.close(descriptor)


_clients: weakref.WeakSet[GuardianClient] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client.after_fork()


os.register_at_fork(after_in_child=_after_fork)
