"""`make up`: servers, tables, first administrator, demo, then web, workers and beat under one supervisor.

    python -m weops.up          serves until Ctrl-C
    python -m weops.up --down   stops the stack of WEOPS_HOME, or what a killed one left

docs/adr/0004-supervisor.md says who watches whom.
"""

import contextlib
import errno
import http.client
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil
from django.core.exceptions import ImproperlyConfigured

from weops import bootstrap, env, supervision
from weops.bootstrap import PROJECT, BootstrapError, BusyError, Services
from weops.embedded import EmbeddedError, EmbeddedServer, processes

READY_SECONDS = 180.0
STOP_SECONDS = 45.0  # above the longest stopwaitsecs
DOWN_SECONDS = 90.0
RESTARTS, RESTART_WINDOW = 5, 60.0
SUB_HOMES = ("", "test", "demo-run", "bench", "lint")


def say(line: str) -> None:
    print(f"weops: {line}", file=sys.stderr, flush=True)


class Alarm:
    """Wakes the main loop: for a signal that asks to stop, and for the end of a child."""

    def __init__(self) -> None:
        self.stops = 0

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        self._reader, writer = socket.socketpair()
        self._reader.setblocking(False)
        writer.setblocking(False)
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, self._nothing) for number in numbers}
        old = signal.set_wakeup_fd(writer.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._reader.close()
            writer.close()

    def wait(self, seconds: float) -> int:
        """Waits until something happens; returns how often somebody has asked to stop so far."""
        select.select([self._reader], [], [], max(seconds, 0))
        with contextlib.suppress(BlockingIOError):
            self.stops += sum(byte != signal.SIGCHLD for byte in self._reader.recv(4096))
        return self.stops

    @staticmethod
    def _nothing(number: int, frame: FrameType | None) -> None:
        """The number arrives through the socket."""


class Stack:
    """Everything that one `make up` starts, in its order, and stops, in the reverse."""

    def __init__(self, home: Path, port: int, workers: int, slots: int, webs: int) -> None:
        self.home, self.port, self.workers, self.slots, self.webs = home, port, workers, slots, webs
        self.services = Services(home)
        self.alarm = Alarm()
        self.supervisor: subprocess.Popen[bytes] | None = None
        self._restarts: list[float] = []

    def run(self) -> int:
        started = False
        try:
            with bootstrap.signals_raise():
                bootstrap.clear_leftovers(self.home)
                check_port(self.port)
                started = True
                self.services.start(say)
                password = self._prepare()
            with self.alarm.armed():
                try:
                    self._start_programs()
                    self._wait_ready(password)
                    return self._watch()
                finally:
                    self._stop_programs()
        finally:
            with self.alarm.armed():  # a third Ctrl-C must not leave a database behind
                bootstrap.sweep(self.services)
                self.services.stop()
            if started:
                say("stopped")

    def _environment(self) -> dict[str, str]:
        # What alarms link to, unless the pages are reached by another name.
        here = {"WEOPS_PUBLIC_URL": f"http://127.0.0.1:{self.port}"}
        found = here | os.environ | self.services.environment() | supervision.environment(PROJECT)
        found.pop("WEOPS_ADMIN_PASSWORD", None)
        return found

    def _prepare(self) -> str:
        """Returns the administrator's password when this is the first start, and "" otherwise."""
        password = os.environ.get("WEOPS_ADMIN_PASSWORD") or secrets.token_urlsafe(12)
        done = subprocess.run(
            [*processes.launcher(signal.SIGTERM, parent=os.getpid()), sys.executable, "-m", "weops.prepare"],
            cwd=PROJECT,
            env=self._environment() | {"WEOPS_ADMIN_PASSWORD": password},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us
        )
        if done.returncode != 0:
            raise BootstrapError("the database could not be prepared; the reason stands above")
        return password if json.loads(done.stdout.splitlines()[-1])["admin_created"] else ""

    def _start_programs(self) -> None:
        path = self.home / "supervisord.conf"
        text = supervision.configuration(
            port=self.port, workers=self.workers, slots=self.slots, webs=self.webs
        )
        path.write_text(text, encoding="utf-8")
        self._log_start = self._log_size()
        self.supervisor = subprocess.Popen(
            [
                *processes.launcher(signal.SIGTERM, parent=os.getpid()),
                *(sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(path)),
            ],
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )

    def _wait_ready(self, password: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self.alarm.wait(0.2):
                return
            gave_up = self._gave_up()
            if gave_up or time.monotonic() > deadline:
                what = f"the program {gave_up} does not stay up" if gave_up else "the web does not answer"
                log = self.home / "logs" / f"{gave_up or 'web'}.log"
                raise BootstrapError(f"{what}.\n{log_tail(log)}")
        lines = ["", f"  WeOps answers at http://127.0.0.1:{self.port}/admin/"]
        if password:
            lines += [f"  user admin, password {password}   (shown this once)"]
        lines += [f"  logs in {self.home / 'logs'}; Ctrl-C stops everything", ""]
        print("\n".join(lines), flush=True)

    def _watch(self) -> int:
        """Until somebody asks to stop (0) or the supervisor ends by itself (1)."""
        assert self.supervisor is not None
        while not self.alarm.wait(1.0):
            if self._supervisor_ended():
                say(f"the supervisor ended by itself.\n{log_tail(self.home / 'logs' / 'supervisord.log')}")
                return 1
            for server in self.services.all():
                if server.has_ended():
                    self._revive(server)
            processes.reap_strangers(
                {self.supervisor.pid, *(server.child_pid() for server in self.services.all())}
            )
        return 0

    def _revive(self, server: EmbeddedServer) -> None:
        now = time.monotonic()
        self._restarts = [then for then in self._restarts if then > now - RESTART_WINDOW] + [now]
        if len(self._restarts) > RESTARTS:
            raise BootstrapError(f"{server.name} keeps ending.\n{server.log_tail()}")
        say(f"{server.name} ended; starting it again")
        server.start()

    def _stop_programs(self) -> None:
        """Asks the supervisor, which lets workers finish what they can; a second Ctrl-C ends all at once."""
        if self.supervisor is None or self._supervisor_ended():
            return
        say("stopping; once more Ctrl-C ends running tasks at once")
        asked = self.alarm.stops
        self.supervisor.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while not self._supervisor_ended():
            if self.alarm.wait(0.5) > asked or time.monotonic() > deadline:
                family = psutil.Process(self.supervisor.pid)
                with contextlib.suppress(psutil.Error):
                    processes.end([family, *family.children(recursive=True)], [(signal.SIGKILL, 5)])
                self.supervisor.wait()

    def _supervisor_ended(self) -> bool:
        return self.supervisor is not None and self.supervisor.poll() is not None

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/admin/login/")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log_size(self) -> int:
        with contextlib.suppress(OSError):
            return (self.home / "logs" / "supervisord.log").stat().st_size
        return 0

    def _gave_up(self) -> str:
        """The program that supervisord has given up since this start, or "supervisord" itself."""
        if self._supervisor_ended():
            return "supervisord"
        with contextlib.suppress(OSError), open(self.home / "logs" / "supervisord.log", "rb") as log:
            log.seek(self._log_start)
            for line in log.read().decode(errors="replace").splitlines():
                if "entered FATAL state" in line:
                    return line.partition("gave up: ")[2].split(" ")[0]
        return ""


def check_port(port: int) -> None:
    """Raises BootstrapError when nobody could listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            reason = {
                errno.EADDRINUSE: "another program listens there",
                errno.EACCES: "ports below 1024 need root",
            }.get(error.errno or 0, str(error))
            raise BootstrapError(
                f"port {port} cannot be used: {reason}. Set another by WEOPS_PORT."
            ) from error


def read_port() -> int:
    port = env.integer("WEOPS_PORT", 8000, least=1)
    if port > 65535:
        raise BootstrapError(f"WEOPS_PORT={port} is no port: write a number from 1 to 65535")
    return port


def cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def log_tail(path: Path, lines: int = 20) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"({path} cannot be read)"
    return "\n".join([f"{path} ends with:", *text.splitlines()[-lines:]])


def up() -> int:
    port = read_port()
    workers = env.integer("WEOPS_WORKERS", min(cores(), 8), least=1)
    slots = env.integer("WEOPS_WORKER_SLOTS", 8, least=1)
    webs = env.integer("WEOPS_WEB_PROCESSES", 1, least=1)
    home = bootstrap.home_folder()
    with bootstrap.hold(home, "make up", f"http://127.0.0.1:{port}/admin/"):
        processes.adopt_orphans()
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
        return Stack(home, port, workers, slots, webs).run()


def down() -> int:
    """Ends the stacks of this home and its sub-homes, and what a killed one left of its own."""
    for sub in SUB_HOMES:
        if not sub or (bootstrap.home_folder() / sub / "lock").exists():
            _down(bootstrap.home_folder(sub))
    return 0


def _down(home: Path) -> None:
    deadline = time.monotonic() + DOWN_SECONDS
    asked = 0
    while True:
        try:
            with bootstrap.hold(home, "make down"):
                bootstrap.clear_leftovers(home)
                say(f"nothing of {home} runs")
                return
        except BusyError as busy:
            if time.monotonic() > deadline:
                raise
            if busy.pid and busy.pid != asked:
                asked = busy.pid
                with contextlib.suppress(psutil.Error):
                    owner = psutil.Process(busy.pid)
                    if any("weops" in word for word in owner.cmdline()):
                        say(f"asking process {busy.pid} to stop")
                        owner.terminate()
            time.sleep(0.2)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--down"]):
        print("usage: python -m weops.up [--down]", file=sys.stderr)
        return 2
    try:
        return down() if arguments else up()
    except (BootstrapError, EmbeddedError, ImproperlyConfigured) as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
