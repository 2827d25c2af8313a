"""What PostgreSQL and Valkey have in common: a folder of their own, one process, one private socket."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import psutil

from weops.embedded import processes, sockets

START_SECONDS = 300.0  # a crash recovery may replay much; the wait ends early when the process does
LEAVE_SECONDS = 10.0  # a killed process gives its memory back before it leaves the list
LOG_BYTES = 10_000_000


class EmbeddedError(RuntimeError):
    """A server could not be started or stopped; the text says which one, why, and what its log ends with."""


class EmbeddedServer(ABC):
    """One server of one home. Every method may be called at any time, from any process of the same user.

    A started server ends by itself when the thread that started it does, however that happens (Linux)."""

    name: str  # its folder below home, and its word in messages
    process_name: str
    socket_name: str
    death_signal: signal.Signals  # what the kernel sends when its parent ends
    stop_steps: Sequence[tuple[signal.Signals, float]]

    def __init__(self, home: Path | str) -> None:
        self.home = Path(os.path.realpath(os.path.expanduser(home)))
        self.base = self.home / self.name
        self.data = self.base / "data"
        self.log = self.home / "logs" / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    # What a server has to say about itself.

    @abstractmethod
    def answers(self) -> bool:
        """True when a client can work with it now."""

    def owner(self) -> tuple[int, int] | None:
        """uid and gid to run as when they are not our own."""
        return None

    @abstractmethod
    def prepare(self) -> None:
        """Makes the data folder when it is missing, and its settings."""

    @abstractmethod
    def command(self, sockets_folder: Path) -> list[str]:
        """The program and its arguments, its configuration written."""

    @abstractmethod
    def settle(self) -> None:
        """The last step of a start: what only a running server can be told."""

    # What all of them do.

    def start(self) -> None:
        """Starts the server, or adopts the one of this home that already runs. Raises EmbeddedError."""
        self._make_folders()
        with self._guard():
            if self._adopt():
                return
            self._end()  # what a crash left is in the way
            self.prepare()
            self._launch()
            if not self._wait(START_SECONDS):
                told = self.log_tail()
                self._end()
                raise EmbeddedError(f"{self.name} did not start.\n{told}")
            self.settle()

    def stop(self) -> None:
        """Stops the server, whoever started it, and removes its sockets. Raises EmbeddedError."""
        if not self.base.is_dir():
            return
        with self._guard():
            self._end()

    def is_running(self) -> bool:
        return self.process() is not None

    def has_ended(self) -> bool:
        """True when the process that this object started is gone: cheap enough to ask every second."""
        return self._process is not None and self._process.poll() is not None

    def child_pid(self) -> int:
        """pid of the process that this object started, 0 when it has none."""
        return self._process.pid if self._process is not None else 0

    def process(self) -> psutil.Process | None:
        """The server's main process, if it lives."""
        if self._process is not None:
            self._process.poll()  # collects it if it has ended
        family = processes.in_folder(self.data, self.process_name)
        pids = {process.pid for process in family}
        for process in family:
            with contextlib.suppress(psutil.Error):
                if process.ppid() not in pids:
                    return process
        return None

    def sockets_folder(self) -> Path:
        folder = sockets.remembered(self.base)
        if folder is None:
            raise EmbeddedError(f"{self.name} of {self.home} is not running")
        return folder

    def log_tail(self, lines: int = 15) -> str:
        """The end of the log, with the name of its file."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return f"({self.log} cannot be read)"
        return "\n".join([f"{self.log} ends with:", *text.splitlines()[-lines:]])

    def launch_options(self, sockets_folder: Path) -> list[str]:
        """For weops/embedded/launch.py."""
        return []

    def _adopt(self) -> bool:
        """Whether the server that already runs here can be worked with. One that was killed a moment ago may
        still be listed, and what it wrote of itself still says that it is ready: only asking it tells."""
        main = self.process()
        if main is None or not self._wait(START_SECONDS):
            return False
        try:
            self.settle()
        except EmbeddedError:
            if processes.outlives(main, LEAVE_SECONDS):
                raise
            return False
        return True

    def _make_folders(self) -> None:
        try:
            self.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            self.log.parent.mkdir(mode=0o700, exist_ok=True)
            self.base.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise EmbeddedError(f"{self.name} has no place in {self.home}: {error.strerror}") from error

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """One starter or stopper at a time; the lock ends with its process."""
        with open(self.home / f"{self.name}.lock", "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _launch(self) -> None:
        folder = sockets.choose(self.base, self.socket_name, self.owner())
        self._rotate_log()
        command = [
            *processes.launcher(
                self.death_signal, "umask=077", *self.launch_options(folder), parent=os.getpid()
            ),
            *self.command(folder),
        ]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.data,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop it when its clients are gone
            )

    def _wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.answers():
                return True
            if self._process is not None and self._process.poll() is not None:
                return False
            if self._process is None and not self.is_running():
                return False
            time.sleep(0.02)
        return False

    def _end(self) -> None:
        """Leaves no process and no socket of this server."""
        main = self.process()
        if main is not None:
            processes.end([main], self.stop_steps)
        processes.reap(self._process)
        self._process = None
        # Its children leave by themselves when they notice; one that does not would block the next start.
        left = processes.in_folder(self.data, self.process_name)
        if not processes.end(left, [(signal.SIGTERM, 3), (signal.SIGQUIT, 2), (signal.SIGKILL, 5)]):
            raise EmbeddedError(f"{self.name} cannot be stopped: {[process.pid for process in left]}")
        sockets.remove(self.base)

    def _rotate_log(self) -> None:
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > LOG_BYTES:
                self.log.replace(self.log.with_suffix(".log.1"))


def clean_environment() -> dict[str, str]:
    """PGPORT and its like must not reach a server, nor may our keys."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C", "TZ": "UTC"}


def package_folder(package: str) -> Path:
    """Where an installed package lives, without importing it. Raises EmbeddedError when it is missing."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"the package {package} is not installed: run `make`, or set DATABASE_URL and CELERY_BROKER_URL "
            "to servers of your own"
        )
    return Path(spec.origin).parent
