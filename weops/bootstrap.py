"""What WeOps needs before it starts: a home, its keys, its servers, and the environment that names them.

    python -m weops.bootstrap run [--sub NAME] [--fresh] [--temporary] -- COMMAND...

runs a command with the servers up, and ends with its exit code.

    --sub NAME   use the folder NAME of the home, so that it can run beside `make up`
    --fresh      empty that folder first
    --temporary  empty it first and remove it afterwards
"""

import argparse
import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from weops.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, processes

PROJECT = Path(__file__).resolve().parent.parent
LEFTOVER_STEPS = ((signal.SIGTERM, 10), (signal.SIGKILL, 5))


class BootstrapError(RuntimeError):
    """Something about the machine or the environment is in the way; the text is for the user."""


class BusyError(BootstrapError):
    """Another live process works on this home; `pid` is 0 when it is just starting."""

    def __init__(self, home: Path, owner: dict[str, Any]) -> None:
        self.pid = int(owner.get("pid", 0))
        address = f" at {owner['address']}" if owner.get("address") else ""
        super().__init__(
            f"{home} is in use: `{owner.get('what', '?')}` runs as process {self.pid or '?'}{address}. "
            "Stop it first, or set WEOPS_HOME (and WEOPS_PORT) to others."
        )


def home_folder(sub: str = "") -> Path:
    """The folder WEOPS_HOME (default .weops in the project), or one in it; created, proved to be writable."""
    written = os.environ.get("WEOPS_HOME", "").strip() or str(PROJECT / ".weops")
    home = Path(os.path.realpath(os.path.expanduser(written))) / sub
    try:
        home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        probe = home / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise BootstrapError(f"WEOPS_HOME={written} cannot be used: {told}") from error
    return home


@contextlib.contextmanager
def hold(home: Path, what: str, address: str = "") -> Iterator[None]:
    """Makes this process the only one that works on the home; the lock ends with it. Raises BusyError."""
    with open(home / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(home, lock_owner(home)) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "what": what, "address": address}))
        file.flush()
        yield
        file.truncate(0)


def lock_owner(home: Path) -> dict[str, Any]:
    """pid, what and address that the holder of the lock wrote; empty when it has not yet."""
    try:
        found: dict[str, Any] = json.loads((home / "lock").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def keys(home: Path) -> dict[str, str]:
    """WEOPS_SECRET_KEY and WEOPS_ENCRYPTION_KEYS of this home, made on first use."""
    path = home / "secrets.json"
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {
            "WEOPS_SECRET_KEY": secrets.token_urlsafe(48),
            "WEOPS_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
            file.flush()
            os.fsync(file.fileno())  # what is encrypted with a lost key is lost too
        draft.replace(path)
    except (OSError, ValueError) as error:
        raise BootstrapError(
            f"{path} cannot be read ({error}). It holds the key of every stored secret: "
            "restore it from a backup."
        ) from error
    return found


class Services:
    """The embedded servers of one home; one that the user names by a URL of his own is not started."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.postgres = None if os.environ.get("DATABASE_URL") else EmbeddedPostgres(home)
        self.valkey = None if os.environ.get("CELERY_BROKER_URL") else EmbeddedValkey(home)

    def all(self) -> list[EmbeddedServer]:
        return [server for server in (self.postgres, self.valkey) if server is not None]

    def start(self, say: Callable[[str], None]) -> None:
        """Ends what a killed predecessor left, then starts. The caller holds the home."""
        clear_leftovers(self.home)
        (self.home / "static").mkdir(exist_ok=True)  # WhiteNoise warns when there is none
        for server in self.all():
            began = time.monotonic()
            server.start()
            say(f"{server.name} is up ({time.monotonic() - began:.1f} s)")

    def stop(self) -> None:
        """The database last: it must not end while somebody still writes."""
        for server in reversed(self.all()):
            server.stop()

    def environment(self) -> dict[str, str]:
        """What the programs of this home find in their environment; the user's own values win."""
        found = keys(self.home)
        if self.postgres is not None:
            found["DATABASE_URL"] = self.postgres.url
            found["WEOPS_WAREHOUSE_URL"] = self.postgres.warehouse_url
        if self.valkey is not None:
            found["CELERY_BROKER_URL"] = self.valkey.url
        found |= {name: os.environ[name] for name in found if os.environ.get(name)}
        return found | {
            "WEOPS_HOME": str(self.home),
            "DJANGO_SETTINGS_MODULE": "weops.settings",
            processes.MARK: str(self.home),
        }


def clear_leftovers(home: Path) -> None:
    """Ends the programs and servers of this home whose supervisor was killed. The caller holds the home."""
    stale = processes.marked(home)
    if stale and not processes.end(stale, LEFTOVER_STEPS):
        raise BootstrapError(f"processes of an earlier run cannot be ended: {[left.pid for left in stale]}")
    for server in (EmbeddedValkey(home), EmbeddedPostgres(home)):
        server.stop()


@contextlib.contextmanager
def servers(home: Path, what: str) -> Iterator[Services]:
    """Servers up and named in os.environ inside the block; stopped after it, signals to end included."""
    with hold(home, what), signals_raise():
        before = dict(os.environ)
        services = Services(home)
        try:
            services.start(lambda line: print(f"weops: {line}", file=sys.stderr, flush=True))
            os.environ.update(services.environment())
            yield services
        finally:
            os.environ.clear()
            os.environ.update(before)
            services.stop()


def run(command: list[str], sub: str = "", *, fresh: bool = False, temporary: bool = False) -> int:
    """Runs the command with the servers up; returns its exit code (128 + number when a signal ended it)."""
    home = home_folder(sub)
    processes.adopt_orphans()
    what = " ".join(command)
    if fresh or temporary:
        _empty(home, what)
    try:
        with servers(home, what) as services:
            return _run_child(command, services)
    finally:
        if temporary:
            shutil.rmtree(home, ignore_errors=True)


def _empty(home: Path, what: str) -> None:
    """Removes what is in a home; a folder that was never one is refused."""
    if any(home.iterdir()) and not (home / "lock").exists():
        raise BootstrapError(f"{home} is not a folder that WeOps made: it will not be emptied")
    with hold(home, what):
        clear_leftovers(home)
        for entry in home.iterdir():
            if entry.name == "lock":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _run_child(command: list[str], services: Services) -> int:
    child = subprocess.Popen([*processes.launcher(signal.SIGTERM, parent=os.getpid()), *command], cwd=PROJECT)

    def forward(number: int, _: FrameType | None) -> None:
        # Ctrl-C reaches the child through the terminal; a second one would cut its cleaning up short.
        if number != signal.SIGINT:
            child.send_signal(number)

    try:
        with _handlers(forward):
            while child.poll() is None:
                own = {
                    child.pid,
                    *(server.child_pid() for server in services.all() if not server.has_ended()),
                }
                processes.reap_strangers(own, block=True)
            code = child.returncode
    finally:
        sweep(services)
    return code if code >= 0 else 128 - code


def sweep(services: Services) -> None:
    """Ends every descendant of this process except the servers: what a command or supervisor left running."""
    spared = set()
    for server in services.all():
        main = server.process()
        if main is not None:
            spared |= {main.pid, *(child.pid for child in main.children(recursive=True))}
    processes.end([left for left in processes.descendants() if left.pid not in spared], LEFTOVER_STEPS)


@contextlib.contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def signals_raise() -> contextlib.AbstractContextManager[None]:
    """Inside the block SIGINT, SIGTERM and SIGHUP raise SystemExit, so that every `finally` runs."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    return _handlers(end)


def main(arguments: list[str]) -> int:
    own, command = _split(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m weops.bootstrap", description="Runs a command with servers up."
    )
    parser.add_argument("action", choices=["run"])
    parser.add_argument("--sub", default="")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--temporary", action="store_true")
    options = parser.parse_args(own)
    if not command:
        parser.error("write -- and a command")
    try:
        return run(command, options.sub, fresh=options.fresh, temporary=options.temporary)
    except (BootstrapError, EmbeddedError) as error:
        print(f"weops: {error}", file=sys.stderr)
        return 1


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end], arguments[end + 1 :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
