"""The embedded servers, really started, in homes of every awkward kind, and killed in every way."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from kombu import Connection

from weops import env
from weops.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, processes

SERVERS = [EmbeddedPostgres, EmbeddedValkey]
PROJECT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def started(server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("shared"), fast=True)
    with started(server):
        yield server


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.02)


def family(server: EmbeddedServer) -> list[psutil.Process]:
    return processes.in_folder(server.data, server.process_name)


def works(server: EmbeddedServer) -> None:
    """A client does something real with the server's URL."""
    if isinstance(server, EmbeddedPostgres):
        for url in (server.url, server.warehouse_url, server.admin_url):
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT 6 * 7").fetchone() == (42,)
    elif isinstance(server, EmbeddedValkey):
        with Connection(server.url) as connection:
            queue = connection.SimpleQueue("words")
            queue.put({"word": "hint"})
            message = queue.get(timeout=10)
            assert message.payload == {"word": "hint"}
            message.ack()
            queue.close()


@pytest.mark.parametrize("server_class", SERVERS)
def test_starts_works_and_leaves_nothing(server_class: type[EmbeddedServer], tmp_path: Path) -> None:
    server = server_class(tmp_path / "home")
    with started(server):
        works(server)
        sockets = server.sockets_folder()
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert server.is_running()
    assert not server.is_running()
    assert family(server) == []
    assert not sockets.exists()


@pytest.mark.parametrize("server_class", SERVERS)
def test_listens_on_no_port(server_class: type[EmbeddedServer], tmp_path: Path) -> None:
    with started(server_class(tmp_path)) as server:
        heard = []
        for process in family(server):
            with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's helpers come and go
                heard.append(process.net_connections("inet"))
        assert heard
        assert not any(heard)


@pytest.mark.parametrize("server_class", SERVERS)
def test_second_start_adopts(server_class: type[EmbeddedServer], tmp_path: Path) -> None:
    with started(server_class(tmp_path)) as first:
        second = server_class(tmp_path)
        second.start()
        assert second.process() == first.process()
        works(second)
        second.stop()
        assert not first.is_running()


@pytest.mark.parametrize("server_class", SERVERS)
def test_recovers_when_its_main_process_is_killed(server_class: type[EmbeddedServer], tmp_path: Path) -> None:
    with started(server_class(tmp_path)) as server:
        killed = server.process()
        assert killed is not None
        killed.kill()
        server.start()
        assert server.process() != killed
        works(server)


class KilledWhileAdopted(EmbeddedPostgres):
    """Its main process dies when the files and the list of processes have just said that it is ready."""

    kills = False

    def settle(self) -> None:
        main = self.process()
        if self.kills and main is not None:
            self.kills = False
            main.kill()
            main.wait()
        super().settle()


def test_recovers_when_it_is_killed_while_it_is_adopted(tmp_path: Path) -> None:
    with started(KilledWhileAdopted(tmp_path)) as server:
        assert isinstance(server, KilledWhileAdopted)
        killed, server.kills = server.process(), True
        server.start()
        assert server.process() not in (killed, None)
        works(server)


@pytest.mark.parametrize("server_class", SERVERS)
def test_recovers_when_all_of_it_is_killed(server_class: type[EmbeddedServer], tmp_path: Path) -> None:
    with started(server_class(tmp_path)) as server:
        for process in family(server):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        again = server_class(tmp_path)
        again.start()
        works(again)


def test_committed_rows_survive_a_kill(tmp_path: Path) -> None:
    with started(EmbeddedPostgres(tmp_path, fast=False)) as server:
        assert isinstance(server, EmbeddedPostgres)
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        main = server.process()
        assert main is not None
        main.kill()
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


@pytest.mark.parametrize("server_class", SERVERS)
def test_restart_keeps_the_url(server_class: type[EmbeddedServer], tmp_path: Path) -> None:
    """Workers keep the URL that they were started with."""
    server = server_class(tmp_path / ("long" * 30))
    with started(server):
        before = server.url  # type: ignore[attr-defined]
        server.stop()
        server.start()
        assert server.url == before  # type: ignore[attr-defined]
        works(server)


@pytest.mark.parametrize("server_class", SERVERS)
@pytest.mark.parametrize(
    "name", ["x" * 120, "mit Leerzeichen und ümläuten 数据", "a,b'c\"d%e#f", "dollar $HOME;semi"]
)
def test_awkward_homes(server_class: type[EmbeddedServer], name: str, tmp_path: Path) -> None:
    server = server_class(tmp_path / name)
    with started(server):
        works(server)
        sockets = server.sockets_folder()
        assert len(os.fsencode(sockets / server.socket_name)) <= 100
    assert not sockets.exists()


def test_folders_above_the_home_are_not_touched(tmp_path: Path) -> None:
    """PostgreSQL's account cannot enter a closed folder, and we do not open it for that."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    above = [closed, *closed.parents]
    before = [(folder.stat().st_mode, folder.stat().st_uid) for folder in above]
    with started(EmbeddedPostgres(closed / "home")) as server:
        works(server)
        main = server.process()
        assert main is not None
        assert main.uids().effective != 0 or _in_namespace(main)
    assert [(folder.stat().st_mode, folder.stat().st_uid) for folder in above] == before


def _in_namespace(process: psutil.Process) -> bool:
    return os.readlink(f"/proc/{process.pid}/ns/user") != os.readlink("/proc/self/ns/user")


def test_no_capability_is_kept_where_none_is_needed(tmp_path: Path) -> None:
    """In a folder that everybody may enter, the server is an ordinary process."""
    with started(EmbeddedPostgres(tmp_path / "home")) as server:
        main = server.process()
        assert main is not None
        status = Path(f"/proc/{main.pid}/status").read_text()
    held = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    read_search = 1 << 2
    assert held in (0, read_search)
    if os.geteuid() != 0:
        assert held == 0


def test_roles_are_kept_apart(postgres: EmbeddedPostgres) -> None:
    intruder = postgres.warehouse_url.replace("@/warehouse", "@/weops")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(intruder)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url.replace("weops:", "weops:x", 1))
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute(
            "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone() == (False, True)


def test_text_is_unicode_and_sorts_by_code_point(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT upper('ärger') , 'Z' < 'a'").fetchone() == ("ÄRGER", True)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


def test_settings_read_the_url(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.url)
    found = env.database("DATABASE_URL")
    with psycopg.connect(
        dbname=found["NAME"],
        user=found["USER"],
        password=found["PASSWORD"],
        host=found["HOST"],
        port=found["PORT"],
        **found["OPTIONS"],
    ) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("weops",)


def test_tests_are_fast_and_the_rest_is_safe(tmp_path: Path) -> None:
    for fast, fsync in ((True, "off"), (False, "on")):
        with started(EmbeddedPostgres(tmp_path, fast=fast)) as server:
            assert isinstance(server, EmbeddedPostgres)
            with psycopg.connect(server.url) as connection:
                assert connection.execute("SHOW fsync").fetchone() == (fsync,)


def test_own_settings_win(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    with started(server):
        local = server.base / "local.conf"
        local.write_text("work_mem = '9MB'\n")
        os.chown(local, server.base.stat().st_uid, server.base.stat().st_gid)
        server.stop()
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SHOW work_mem").fetchone() == ("9MB",)


def test_a_pid_that_is_somebody_elses_by_now(tmp_path: Path) -> None:
    """After a reboot the recorded pid may name any process: it is left alone, and the server starts."""
    server = EmbeddedPostgres(tmp_path)
    with started(server):
        record = server.data / "postmaster.pid"
        text = record.read_text()
        server.stop()
        # Not our Python: it may live where that user cannot enter.
        stranger = subprocess.Popen(["sleep", "600"], user=server.base.stat().st_uid)
        try:
            record.write_text(text.replace(text.split()[0], str(stranger.pid), 1))
            os.chown(record, server.base.stat().st_uid, server.base.stat().st_gid)
            server.start()
            works(server)
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()


def test_half_made_files_are_made_again(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    (server.base / "data.new" / "base").mkdir(parents=True)
    with started(server):
        works(server)


def test_foreign_files_are_not_overwritten(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.data.mkdir(parents=True)
    (server.data / "diary").write_text("mine")
    with pytest.raises(EmbeddedError, match="holds files, but no database"):
        server.start()
    assert (server.data / "diary").read_text() == "mine"


def test_lost_passwords_are_named(tmp_path: Path) -> None:
    with started(EmbeddedPostgres(tmp_path)):
        pass
    (tmp_path / "postgres-passwords.json").unlink()
    with pytest.raises(EmbeddedError, match=r"postgres-passwords\.json is gone"):
        EmbeddedPostgres(tmp_path).start()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    with started(server):
        pass
    local = server.base / "local.conf"
    local.write_text("shared_buffers = 'much'\n")
    os.chown(local, server.base.stat().st_uid, server.base.stat().st_gid)
    with pytest.raises(EmbeddedError, match="shared_buffers"):
        server.start()
    assert family(server) == []


def test_hints_survive_a_restart_and_can_be_thrown_away(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    with started(server):
        with Connection(server.url) as connection:
            connection.SimpleQueue("kept").put({"number": 1})
        server.stop()
        server.start()
        with Connection(server.url) as connection:
            assert connection.SimpleQueue("kept").qsize() == 1
        with pytest.raises(EmbeddedError, match="stop valkey"):
            server.forget()
        server.stop()
        server.forget()
        server.start()
        with redis.Redis(unix_socket_path=str(server.socket)) as client:
            assert client.dbsize() == 0


def test_unreadable_hints_do_not_stop_the_broker(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    with started(server):
        with Connection(server.url) as connection:
            connection.SimpleQueue("kept").put({"number": 1})
        server.stop()
        for file in (server.data / "appendonlydir").glob("*.manifest"):
            file.write_text("nonsense\n")
        server.start()
        works(server)
        assert (server.base / "unreadable").is_dir()


@pytest.mark.parametrize("server_class", SERVERS)
def test_does_not_outlive_a_killed_starter(server_class: type[EmbeddedServer], tmp_path: Path) -> None:
    code = (
        f"from weops.embedded import {server_class.__name__} as Server; import signal\n"
        f"Server({str(tmp_path)!r}).start(); print('started', flush=True); signal.pause()"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE)
    assert starter.stdout is not None
    with starter.stdout as told:
        assert told.readline() == b"started\n"
    server = server_class(tmp_path)
    assert server.is_running()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    if sys.platform == "linux":
        until(lambda: not family(server), "the server to end by itself")
    with started(server):
        works(server)


def test_two_starters_at_once(tmp_path: Path) -> None:
    """One of them starts the server, the other one adopts it."""
    code = (
        "from weops.embedded import EmbeddedPostgres as Server\n"
        f"server = Server({str(tmp_path)!r}); server.start()\n"
        "print(server.process().pid, flush=True); input()"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    try:
        pids = {starter.stdout.readline() for starter in starters if starter.stdout}
        assert len(pids) == 1
        assert pids != {b""}
    finally:
        for starter in starters:
            starter.communicate(b"\n")
        EmbeddedPostgres(tmp_path).stop()
