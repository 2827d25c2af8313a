"""The product's own web server, and a client that costs it as little of the machine as can be."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil

from benchmarks import workers
from benchmarks.workers import BenchmarkError
from weops import supervision
from weops.bootstrap import PROJECT
from weops.embedded import processes

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: psutil.Process

    def cpu(self) -> float:
        """Seconds that all its processes have used."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in family)


@contextlib.contextmanager
def serving(count: int) -> Iterator[Server]:
    """`count` processes as `make up` starts them, ready, without a limit of requests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [
                *processes.launcher(signal.SIGTERM, parent=os.getpid()),
                *(sys.executable, "-m", *supervision.web_server(port, count).split()),
            ],
            cwd=PROJECT,
            env=os.environ | supervision.environment(PROJECT) | {"WEOPS_API_RATE": "0"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            workers.wait_until(lambda: _answers(port), START_SECONDS, "the web server does not answer")
            yield Server(port, psutil.Process(process.pid))
        except BenchmarkError as error:
            output.seek(0)
            raise BenchmarkError(f"{error}\n{output.read().decode(errors='replace')[-4000:]}") from error
        finally:
            workers.end([process])


def _answers(port: int) -> bool:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        asked.request("GET", "/healthz")
        return asked.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


@dataclass(slots=True)
class Load:
    """What came of a load: answers a second, and milliseconds of CPU an answer of the server and of this client."""

    rate: float = 0.0
    server: float = 0.0
    client: float = 0.0


@dataclass(slots=True)
class _Connection:
    """Kept alive; the address and what goes with it are written as bytes, the answer is read as far as must be."""

    port: int
    head: str
    left: bytes = b""
    tags: dict[str, str] = field(default_factory=dict)

    def run(self, addresses: Sequence[str], until: float, conditional: bool) -> int:
        done = 0
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.monotonic() < until:
                address = addresses[done % len(addresses)]
                known = self.tags.get(address)
                wire.sendall(self._request(address, known).encode())
                head = self._read(wire)
                wanted = b" 304 " if known else b" 200 "
                if wanted not in head[:16]:
                    raise BenchmarkError(head.decode(errors="replace"))
                if conditional and not known:
                    self.tags[address] = _header(head, b"etag").decode()
                done += 1
        return done

    def _request(self, address: str, known: str | None) -> str:
        condition = f"If-None-Match: {known}\r\n" if known else ""
        return f"GET {address} HTTP/1.1\r\n{self.head}{condition}\r\n"

    def _read(self, wire: socket.socket) -> bytes:
        """The head of an answer, after its body has come."""
        while (end := self.left.find(b"\r\n\r\n")) < 0:
            self._more(wire)
        head = self.left[:end]
        whole = end + 4 + int(_header(head, b"content-length") or 0)
        while len(self.left) < whole:
            self._more(wire)
        self.left = self.left[whole:]
        return head

    def _more(self, wire: socket.socket) -> None:
        piece = wire.recv(65536)
        if not piece:
            raise BenchmarkError("the server has hung up")
        self.left += piece


def _header(head: bytes, name: bytes) -> bytes:
    start = head.lower().find(b"\r\n" + name + b":")
    return b"" if start < 0 else head[start + len(name) + 3 :].split(b"\r\n", 1)[0].strip()


def load(
    server: Server,
    token: str,
    addresses: Sequence[str],
    *,
    seconds: float,
    connections: int = 8,
    conditional: bool = False,
) -> Load:
    """Asks for the addresses again and again; `conditional`: says by If-None-Match what it has already."""
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    share = [list(addresses[place::connections]) for place in range(connections)]
    lines = [_Connection(server.port, head) for _ in share]
    # Once for all that is done once: connections to the database, statements, tags.
    _together([_task(line, part, 1.0, conditional) for line, part in zip(lines, share, strict=True)])
    server_before, client_before, began = server.cpu(), time.process_time(), time.monotonic()
    done = _together(
        [_task(line, part, seconds, conditional) for line, part in zip(lines, share, strict=True)]
    )
    took = time.monotonic() - began
    return Load(
        done / took,
        (server.cpu() - server_before) * 1000 / done,
        (time.process_time() - client_before) * 1000 / done,
    )


def _task(line: _Connection, part: Sequence[str], seconds: float, conditional: bool) -> Callable[[], int]:
    line.left = b""
    return lambda: line.run(part, time.monotonic() + seconds, conditional)


def _together(tasks: Sequence[Callable[[], int]]) -> int:
    """The sum of what they return, each in a thread. Raises what one of them raises."""
    with ThreadPoolExecutor(len(tasks)) as threads:
        return sum([one.result() for one in [threads.submit(task) for task in tasks]])


def drain(server: Server, token: str, address: str) -> int:
    """Reads an answer to its end; its bytes."""
    asked = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    try:
        asked.request("GET", address, headers={"Authorization": f"Bearer {token}"})
        answer = asked.getresponse()
        if answer.status != 200:
            raise BenchmarkError(answer.read(500).decode(errors="replace"))
        length = 0
        while piece := answer.read(1 << 20):
            length += len(piece)
        return length
    finally:
        asked.close()
