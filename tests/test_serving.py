"""The web application as a server calls it: whole answers, streams that end with their reader, nothing left behind."""

import asyncio
import contextlib
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.utils import timezone, translation
from django.views.decorators.csrf import csrf_exempt

import weops.urls
from tests.stack import until
from weops import bootstrap, supervision, up, web
from weops.embedded import processes
from weops.serving import Application

closed = threading.Event()
threads: set[str] = set()


@csrf_exempt
def plain(request: HttpRequest) -> HttpResponse:
    threads.add(threading.current_thread().name)
    said = f"{request.method} {request.GET.get('q')} {request.body.decode()} {translation.get_language()} "
    answer = HttpResponse(said + str(timezone.get_current_timezone()))
    # What a view changes for its thread must not meet the next request.
    translation.activate("de")
    timezone.activate("Asia/Shanghai")
    return answer


def broken(request: HttpRequest) -> HttpResponse:
    raise LookupError("of the view")


def endless(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return StreamingHttpResponse(pieces())


def fails_late(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise LookupError("of the stream")

    return StreamingHttpResponse(pieces())


def in_pieces(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"a", b"b"]))


urlpatterns = [
    *weops.urls.urlpatterns,
    path("plain", plain),
    path("broken", broken),
    path("endless", endless),
    path("late", fails_late),
    path("pieces", in_pieces),
]


@pytest.fixture
def application(settings: Any, transactional_db: None) -> Application:
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    closed.clear()
    threads.clear()
    return Application()


def scope(address: str, method: str = "GET") -> dict[str, Any]:
    where, _, query = address.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": f"/{where}",
        "query_string": query.encode(),
        "headers": [(b"host", b"test"), (b"x-request-id", b"mine")],
    }


class Answer:
    def __init__(self, application: Application, address: str, method: str = "GET") -> None:
        self.wire = ApplicationCommunicator(application, scope(address, method))
        self.status, self.headers = 0, dict[str, str]()

    async def send(self, *bodies: bytes) -> None:
        for place, body in enumerate(bodies or (b"",), 1):
            message = {"type": "http.request", "body": body, "more_body": place < len(bodies)}
            await self.wire.send_input(message)
        begun = await self.wire.receive_output(10)
        self.status = begun["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in begun["headers"]}

    async def piece(self) -> bytes:
        found: bytes = (await self.wire.receive_output(10)).get("body", b"")
        return found


def run(work: Any) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_a_whole_answer_and_nothing_of_the_request_before(application: Application) -> None:
    async def work() -> None:
        for number in range(8):
            answer = Answer(application, f"plain?q={number}", "POST")
            await answer.send(b"in ", b"two")
            assert (answer.status, answer.headers["x-request-id"]) == (200, "mine")
            assert "content-security-policy" in answer.headers
            assert await answer.piece() == f"POST {number} in two en UTC".encode()
            await answer.wire.wait(10)

    run(work())
    assert {name.split("_")[0] for name in threads} == {"web"}
    assert len(threads) < 8


def test_an_error_of_a_view_is_an_answer(application: Application, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        answer = Answer(application, "broken")
        await answer.send()
        assert answer.status == 500
        assert b"of the view" not in await answer.piece()
        await answer.wire.wait(10)

    run(work())
    assert "LookupError: of the view" in caplog.text


def test_a_stream_ends_with_its_reader_and_holds_no_connection(application: Application) -> None:
    pool: Any = connection.pool  # type: ignore[attr-defined]

    async def work() -> None:
        answer = Answer(application, "endless")
        await answer.send()
        assert await answer.piece() == b"first"
        statistics = pool.get_stats()
        assert statistics["pool_available"] == statistics["pool_size"]
        assert not closed.is_set()
        await answer.wire.send_input({"type": "http.disconnect"})
        await answer.wire.wait(10)

    connection.close()
    run(work())
    assert closed.is_set()


def test_a_stream_that_fails_tells_the_server(application: Application) -> None:
    async def work() -> None:
        answer = Answer(application, "late")
        await answer.send()
        assert await answer.piece() == b"first"
        with pytest.raises(LookupError, match="of the stream"):
            await answer.wire.wait(10)

    run(work())


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
def test_what_is_streamed_synchronously_comes_too(application: Application) -> None:
    async def work() -> None:
        answer = Answer(application, "pieces")
        await answer.send()
        assert [await answer.piece() for _ in range(3)] == [b"a", b"b", b""]
        await answer.wire.wait(10)

    run(work())


def test_who_goes_while_sending_a_body_is_not_answered(application: Application) -> None:
    async def work() -> None:
        wire = ApplicationCommunicator(application, scope("plain", "POST"))
        await wire.send_input({"type": "http.request", "body": b"begun", "more_body": True})
        await wire.send_input({"type": "http.disconnect"})
        await wire.wait(10)
        assert await wire.receive_nothing()

    run(work())
    assert not threads


@pytest.mark.slow
def test_processes_of_a_killed_server_do_not_keep_its_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", *supervision.web_server(port, 2).split()],
        cwd=bootstrap.PROJECT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    family = []
    try:
        until(lambda: _answers(port), "an answer", 90)
        family = psutil.Process(server.pid).children(recursive=True)
        assert len(family) >= 2
        server.kill()
        server.wait()
        until(lambda: not any(processes.alive(one) for one in family), "the end", 30)
        up.check_port(port)
    finally:
        for one in family:
            with contextlib.suppress(psutil.Error):
                one.kill()
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        asked.request("GET", "/healthz")
        return asked.getresponse().status == 200
    except OSError:
        return False
    finally:
        asked.close()


def test_processes_send_small_pieces_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that keeps its connection would wait 40 ms for each answer."""
    held: list[int] = []

    class Supervisor:
        def __init__(self, config: Any, sockets: list[socket.socket]) -> None:
            [self.listening] = sockets

        def run(self) -> None:
            with self.listening:
                self.listening.listen()
                with socket.create_connection(self.listening.getsockname()):
                    accepted, _ = self.listening.accept()
                    with accepted:
                        held.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(web, "Multiprocess", Supervisor)
    monkeypatch.setattr("sys.argv", ["web", "--port", "0", "--processes", "2"])
    assert web.main() == 0
    assert held == [1]
