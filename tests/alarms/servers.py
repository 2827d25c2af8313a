"""Small servers that alarms are really sent to: one that takes mail, one that takes webhooks."""

import email
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message as Mail
from typing import Any


@dataclass
class Post:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Hook:
    """`answer` is the status of the next answers; what came is in `posts`."""

    port: int = 0
    answer: int = 200
    posts: list[Post] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/s3cret-path?key=s3cret-key"


@contextmanager
def hook() -> Iterator[Hook]:
    """A web server that takes every POST."""
    found = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            found.posts.append(Post(self.path, dict(self.headers.items()), body))
            self.send_response(found.answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    with _serving(server):
        yield found


@dataclass
class Mailbox:
    """`refuse`: recipients that the server refuses; what came is in `mails`."""

    port: int = 0
    refuse: set[str] = field(default_factory=set)
    mails: list[tuple[list[str], Mail]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=weops@example.com&mode=insecure"


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """A mail server: as much of SMTP as a client needs that neither logs in nor encrypts."""
    found = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 ready")
            to: list[str] = []
            while line := self.rfile.readline():
                command = line.decode().strip()
                verb = command[:4].upper()
                if verb == "DATA":
                    self._say("354 go on")
                    found.mails.append((list(to), email.message_from_bytes(self._data())))
                    to.clear()
                    self._say("250 taken")
                elif verb == "RCPT":
                    address = command.partition("<")[2].partition(">")[0]
                    if address in found.refuse:
                        self._say("550 no such mailbox")
                        continue
                    to.append(address)
                    self._say("250 fine")
                elif verb == "QUIT":
                    self._say("221 bye")
                    return
                else:
                    self._say("250 fine")

        def _data(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b"."))
            return b"".join(lines)

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    with _serving(server):
        yield found


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
