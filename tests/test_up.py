"""`python -m weops.up` and `python -m weops.bootstrap run` as their users meet them: whole, interrupted and killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.stack import dead
from weops import bootstrap, supervision, up
from weops.embedded import EmbeddedPostgres, EmbeddedValkey, processes

PROJECT = Path(__file__).resolve().parent.parent
START_SECONDS, STOP_SECONDS = 180, 60
# Of a test's own environment nothing may reach the stack under test.
FOREIGN = ("DATABASE_URL", "CELERY_BROKER_URL", "WEOPS_", "DJANGO_SETTINGS_MODULE")


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.05)


class Run:
    """One started command in a session of its own, as from a terminal."""

    def __init__(self, home: Path, *command: str, **extra: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.home = home
        self.port = free_port()
        self.log = home.parent / f"{home.name}-{self.port}.log"
        environment = clean | {
            "WEOPS_HOME": str(home),
            "WEOPS_PORT": str(self.port),
            "WEOPS_PG_FAST": "1",
            "WEOPS_WORKERS": "1",
            "WEOPS_DEMO": "0",
        }
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command or (sys.executable, "-m", "weops.up"),
                cwd=PROJECT,
                env=environment | extra,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def told(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_told(self, text: str) -> None:
        def seen() -> bool:
            assert self.process.poll() is None or text in self.told(), self.told()
            return text in self.told()

        until(seen, text, START_SECONDS)

    def wait(self) -> int:
        return self.process.wait(timeout=STOP_SECONDS)

    def interrupt(self) -> int:
        """What Ctrl-C does: every process of the terminal gets it."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.wait()

    def address(self, path: str = "/admin/login/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def left_of(home: Path) -> list[str]:
    """Command lines of all that still belongs to a home."""
    servers = [EmbeddedPostgres(home), EmbeddedValkey(home)]
    found = processes.marked(home)
    for server in servers:
        found += processes.in_folder(server.data, server.process_name)
    lines = []
    for process in found:
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return lines


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home with an awkward name; nothing of it survives the test."""
    folder = tmp_path / "50% we;ops 'ä"
    yield folder
    if folder.is_dir():
        bootstrap.clear_leftovers(folder)


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(*command: str, **extra: str) -> Run:
        runs.append(Run(home, *command, **extra))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.wait()


@pytest.mark.slow
def test_first_start_serves_and_ctrl_c_stops_all(start: Callable[..., Run], home: Path) -> None:
    run = start()
    run.wait_told("WeOps answers at")
    password = re.search(r"user admin, password (\S+)", run.told())
    assert password is not None
    with urllib.request.urlopen(run.address(), timeout=20) as page:
        assert page.status == 200
    assert stat_mode(home / "secrets.json") == 0o600
    environments = [dict(process.environ()) for process in processes.marked(home)]
    assert environments
    assert not any("WEOPS_ADMIN_PASSWORD" in found for found in environments)

    family = run.family()
    assert run.interrupt() == 0
    assert [process for process in family if processes.alive(process)] == []
    assert left_of(home) == []

    again = start()
    again.wait_told("WeOps answers at")
    assert "password" not in again.told()
    again.process.terminate()
    assert again.wait() == 0
    assert left_of(home) == []


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.slow
def test_a_second_one_is_refused_and_a_killed_one_is_recovered(start: Callable[..., Run], home: Path) -> None:
    first = start(WEOPS_ADMIN_PASSWORD="chosen-by-me")
    first.wait_told("WeOps answers at")
    assert "password chosen-by-me" in first.told()

    second = start()
    assert second.wait() == 1
    assert f"process {first.process.pid} at {first.address('/admin/')}" in second.told()

    first.process.kill()
    first.wait()
    third = start()
    third.wait_told("WeOps answers at")
    owners = {process.pid for process in third.family()}
    assert {process.pid for process in processes.marked(home)} <= owners

    # The harder crash: nobody is left who could stop anything.
    for process in [*third.family(), psutil.Process(third.process.pid)]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    third.wait()
    fourth = start()
    fourth.wait_told("WeOps answers at")
    assert fourth.interrupt() == 0
    assert left_of(home) == []


@pytest.mark.slow
def test_a_killed_server_comes_back(start: Callable[..., Run], home: Path) -> None:
    run = start()
    run.wait_told("WeOps answers at")
    for server in (EmbeddedPostgres(home), EmbeddedValkey(home)):
        main = server.process()
        assert main is not None
        main.kill()
        run.wait_told(f"{server.name} ended; starting it again")
        until(server.answers, f"{server.name} to answer again", START_SECONDS)

    def page_opens() -> bool:
        try:
            with urllib.request.urlopen(run.address(), timeout=20) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    until(page_opens, "the page", START_SECONDS)
    assert run.interrupt() == 0


@pytest.mark.slow
def test_down_stops_a_running_stack(start: Callable[..., Run], home: Path) -> None:
    run = start()
    run.wait_told("WeOps answers at")
    down = start(sys.executable, "-m", "weops.up", "--down")
    assert down.wait() == 0
    assert run.wait() == 0
    assert left_of(home) == []


@pytest.mark.parametrize("moment", ["", "postgres is up", "valkey is up"])
def test_ctrl_c_while_starting(moment: str, start: Callable[..., Run], home: Path) -> None:
    run = start()
    if moment:
        run.wait_told(moment)
    else:
        until(lambda: (home / "postgres.lock").exists(), "the first file", START_SECONDS)
    assert run.interrupt() in (0, 130)
    assert "Traceback" not in run.told()
    assert left_of(home) == []


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"WEOPS_PORT": "eighty"}, "WEOPS_PORT='eighty' cannot be read"),
        ({"WEOPS_PORT": "70000"}, "WEOPS_PORT=70000 is no port"),
        ({"WEOPS_WORKER_SLOTS": "0"}, "WEOPS_WORKER_SLOTS='0' cannot be read"),
        ({"WEOPS_HOME": "/proc/weops"}, "WEOPS_HOME=/proc/weops cannot be used"),
        ({"WEOPS_HOME": str(PROJECT / "manage.py")}, "cannot be used"),
    ],
)
def test_unusable_values_are_named(extra: dict[str, str], message: str, start: Callable[..., Run]) -> None:
    run = start(**extra)
    assert run.wait() == 1
    assert message in run.told()
    assert "Traceback" not in run.told()


def test_a_taken_port_is_named_before_anything_starts(start: Callable[..., Run], home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = start(WEOPS_PORT=str(port))
        assert run.wait() == 1
    assert f"port {port} cannot be used: another program listens there" in run.told()
    assert not (home / "postgres").exists()


def test_unreadable_keys_are_never_replaced(home: Path) -> None:
    home.mkdir()
    (home / "secrets.json").write_text("{half")
    with pytest.raises(bootstrap.BootstrapError, match=r"secrets\.json cannot be read"):
        bootstrap.keys(home)
    assert (home / "secrets.json").read_text() == "{half"


def test_keys_are_made_once_and_private(home: Path) -> None:
    home.mkdir()
    first = bootstrap.keys(home)
    assert bootstrap.keys(home) == first
    assert stat_mode(home / "secrets.json") == 0o600
    assert set(first) == {"WEOPS_SECRET_KEY", "WEOPS_ENCRYPTION_KEYS"}


def test_own_servers_are_not_started(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    home.mkdir()
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@db.example/weops")
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://me@mq.example//")
    monkeypatch.delenv("WEOPS_WAREHOUSE_URL", raising=False)
    services = bootstrap.Services(home)
    assert services.all() == []
    found = services.environment()
    assert "DATABASE_URL" not in found, "the process inherits it; we do not repeat it"
    assert "WEOPS_WAREHOUSE_URL" not in found


def test_alarms_link_to_this_address_unless_told(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    home.mkdir()
    monkeypatch.delenv("WEOPS_PUBLIC_URL", raising=False)
    stack = up.Stack(home, 8123, 1, 1, 1)
    assert stack._environment()["WEOPS_PUBLIC_URL"] == "http://127.0.0.1:8123"
    monkeypatch.setenv("WEOPS_PUBLIC_URL", "https://weops.example.com")
    assert stack._environment()["WEOPS_PUBLIC_URL"] == "https://weops.example.com"


def run_command(code: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "weops.bootstrap", "run", "--sub", "test", "--", sys.executable, "-c", code)


def test_run_gives_the_environment_and_the_exit_code(start: Callable[..., Run], home: Path) -> None:
    code = (
        "import json, os, psycopg, subprocess, sys\n"
        "psycopg.connect(os.environ['DATABASE_URL']).close()\n"
        "psycopg.connect(os.environ['WEOPS_WAREHOUSE_URL']).close()\n"
        "left = subprocess.Popen(['sleep', '1000'], start_new_session=True).pid\n"
        "print(json.dumps([os.environ['WEOPS_HOME'], os.environ['CELERY_BROKER_URL'], left]))\n"
        "sys.exit(7)"
    )
    run = start(*run_command(code))
    assert run.wait() == 7
    last = run.told().strip().splitlines()[-1]
    folder, broker, left = json.loads(last)
    assert folder == str(home / "test")
    assert broker.startswith("redis+socket:///")
    assert left_of(home / "test") == []
    if sys.platform == "linux":
        assert dead([left]), "what the command left running is ended"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_run_passes_signals_on(number: signal.Signals, start: Callable[..., Run], home: Path) -> None:
    code = "import signal; print('ready', flush=True); signal.pause()"
    run = start(*run_command(code))
    run.wait_told("ready")
    if number == signal.SIGINT:
        assert run.interrupt() != 0
    else:
        run.process.send_signal(number)
        assert run.wait() == 128 + number
    assert left_of(home / "test") == []


def test_run_that_is_killed_leaves_nothing_for_long(start: Callable[..., Run], home: Path) -> None:
    run = start(*run_command("import signal; print('ready', flush=True); signal.pause()"))
    run.wait_told("ready")
    run.process.kill()
    run.wait()
    if sys.platform == "linux":
        until(lambda: not left_of(home / "test"), "everything to end by itself", STOP_SECONDS)
    again = start(*run_command("print('fine')"))
    assert again.wait() == 0


def test_run_refuses_a_folder_that_is_no_home(start: Callable[..., Run], home: Path) -> None:
    diary = home / "test" / "diary"
    diary.parent.mkdir(parents=True)
    diary.write_text("mine")
    command = list(run_command("print('ran')"))
    command.insert(command.index("--"), "--fresh")
    run = start(*command)
    assert run.wait() == 1
    assert "will not be emptied" in run.told()
    assert diary.read_text() == "mine"


def test_configuration_is_what_supervisord_reads(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed by supervisor itself, with a home whose name is full of its syntax."""
    from supervisor.options import ServerOptions

    awkward = tmp_path / "50% ; of #all"
    (awkward / "logs").mkdir(parents=True)
    monkeypatch.chdir(awkward)
    path = awkward / "supervisord.conf"
    path.write_text(supervision.configuration(port=8123, workers=3, slots=5, webs=2))
    options = ServerOptions()
    options.realize(["-n", "-c", str(path)])
    programs = {
        program.name: program for group in options.process_group_configs for program in group.process_configs
    }
    assert sorted(programs) == ["beat", "control", "web", "worker1", "worker2", "worker3"]
    assert "weops.process worker --slots 5 --name worker2" in programs["worker2"].command
    assert "--port 8123 --processes 2" in programs["web"].command
    assert programs["web"].stdout_logfile == "logs/web.log"
    assert all(program.stopasgroup and program.killasgroup for program in programs.values())


def test_the_number_of_cores_is_that_of_this_process() -> None:
    assert 1 <= up.cores() <= (os.cpu_count() or 1)
