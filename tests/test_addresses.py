"""The guard of addresses that people write: private ones are refused where the connection is really made."""

import http.server
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import requests

from weops.addresses import Refused, guarded, is_allowed, networks


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "ff02::1",
        "fec0::1",
        "64:ff9b:1::a00:1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "192.0.0.8",
        "no address",
    ],
)
def test_special_addresses_are_refused(address: str) -> None:
    assert not is_allowed(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_fine(address: str) -> None:
    assert is_allowed(address)


def test_a_deployment_may_allow_networks() -> None:
    allowed = networks(["10.1.0.0/16", "::1/128"])
    assert is_allowed("10.1.9.9", allowed)
    assert is_allowed("::ffff:10.1.9.9", allowed)
    assert is_allowed("::1", allowed)
    assert not is_allowed("10.2.0.1", allowed)
    with pytest.raises(ValueError, match=r"10\.1"):
        networks(["10.1"])


class _Redirect(http.server.BaseHTTPRequestHandler):
    """Answers by a redirect to the server's second address, which the guard does not allow."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", f"http://127.0.0.2:{self.headers['Host'].partition(':')[2]}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), _Redirect)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_library_is_refused_and_other_threads_are_not(port: int) -> None:
    with guarded():
        with pytest.raises(Refused, match="WEOPS_ALLOWED_NETWORKS"):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with pytest.raises(requests.ConnectionError, match="no public address"):
            requests.get(f"http://localhost:{port}/", timeout=5)
        with pytest.raises(httpx.ConnectError, match="no public address"):
            httpx.get(f"http://127.0.0.1:{port}/")
        elsewhere: list[int] = []
        thread = threading.Thread(
            target=lambda: elsewhere.append(
                requests.get(f"http://127.0.0.1:{port}/", timeout=5, allow_redirects=False).status_code
            )
        )
        thread.start()
        thread.join()
        assert elsewhere == [302]
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_redirect_leads_to_no_refused_address(port: int) -> None:
    with (
        guarded(networks(["127.0.0.1/32"])),
        pytest.raises(requests.ConnectionError, match=r"127\.0\.0\.2 is no public address"),
    ):
        requests.get(f"http://127.0.0.1:{port}/", timeout=5)


def test_a_guard_inside_a_guard_ends_with_its_block(port: int) -> None:
    with guarded(networks(["127.0.0.0/8"])):
        with guarded(), pytest.raises(Refused):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_what_takes_too_long_is_cut_off_however_slowly_it_drips() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        connection, _address = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not over.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    with guarded(networks(["127.0.0.0/8"]), seconds=0.3) as guard, pytest.raises(requests.RequestException):
        requests.get(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=10)
    assert guard.cut
    over.set()
    thread.join()
    listener.close()
