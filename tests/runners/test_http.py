"""HTTP tasks against a real server on loopback, which the guard refuses unless the deployment allows it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from instances.runners import registry
from instances.runners.base import Control, Outcome
from instances.runners.host import Host
from instances.runners.http import HttpRunner
from tests.runners.support import Background, Sink, marked, spec

LOOPBACK = ("127.0.0.0/8",)


class Server(ThreadingHTTPServer):
    """Remembers what it was asked; `hang` holds answers to /hang back until it is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.hang = threading.Event()
        self.other = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        path = self.path.partition("?")[0]
        if path == "/hang":
            self.server.hang.wait(60)
        if path.startswith("/to"):
            self.send_response(302 if path == "/to" else 307)
            self.send_header("Location", self.server.other)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = int(path[1:]) if path[1:].isdigit() else 200
        data = (
            b"x" * 3_000_000
            if path == "/big"
            else json.dumps(
                {
                    "state": "done",
                    "rows": 7,
                    "items": [{"id": "a"}],
                    "auth": self.headers.get("Authorization"),
                }
            ).encode()
        )
        self.send_response(status)
        charset = "; charset=no-such-thing" if path == "/odd" else ""
        self.send_header("Content-Type", f"application/json{charset}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.hang.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def http() -> Iterator[Callable[..., tuple[Outcome, Sink]]]:
    hosts: list[Host] = []

    def run(code: str = "", allowed: tuple[str, ...] = LOOPBACK, secrets: Any = None, **chosen: Any):
        hosts.append(Host(allowed_networks=allowed))
        log = Sink()
        what = spec(code, "HTTP", settings=chosen, secrets=secrets or {})
        return HttpRunner(hosts[-1]).run(what, log, Control()), log

    yield run
    for host in hosts:
        host.close()


def test_a_request_and_what_the_log_says_of_it(server, http):
    outcome, log = http(
        '{"day": "20130101"}',
        method="POST",
        url=f"{server.url}/load?day=20130101",
        headers={"Content-Type": "application/json", "Authorization": "Bearer {{TOKEN}}"},
        checks=[
            'state == "done"',
            "rows >= 7",
            'items[0].id == "a"',
            'body contains "rows"',
            "status == 200",
        ],
        secrets={"TOKEN": "correct-horse-battery"},
    )
    assert outcome.ok, outcome
    [(method, path, headers, body)] = server.asked
    assert (method, path, body) == ("POST", "/load?day=20130101", b'{"day": "20130101"}')
    assert headers["Authorization"] == "Bearer correct-horse-battery"
    assert f"POST {server.url}/load?day=20130101 -> 200 OK" in log.output
    assert '"auth": "Bearer ***"' in log.output, "what the server echoes is masked, too"
    assert "correct-horse" not in log.text


@pytest.mark.parametrize(
    ("path", "chosen", "code", "words"),
    [
        ("/404", {}, "HTTP_STATUS", "the answer was 404, expected was 200-299"),
        ("/x", {"checks": ["rows > 7"]}, "HTTP_CHECK_FAILED", "rows > 7: it is 7"),
        ("/x", {"checks": ["no.where == 1"]}, "HTTP_CHECK_FAILED", "the answer has nothing at no.where"),
        ("/x", {"checks": ["rows contains 7"]}, "HTTP_CHECK_FAILED", "it is 7"),
        ("/big", {"most_mb": 1}, "HTTP_TOO_LARGE", "larger than 1 MB"),
        ("/big", {"checks": ["rows == 7"]}, "HTTP_CHECK_FAILED", "the answer is no JSON"),
        ("/hang", {"timeout": 1}, "HTTP_TIMEOUT", ""),
        ("/x", {"headers": {"A": "{{NOBODY}}"}}, "HTTP_BAD_REQUEST", "the secret NOBODY; the task has: none"),
    ],
)
def test_failures_have_codes_of_their_own(server, http, path, chosen, code, words):
    outcome, _ = http(url=server.url + path, **chosen)
    assert outcome.error_code == code
    assert words in outcome.message
    assert code in HttpRunner.codes


def test_an_encoding_that_does_not_exist_fails_nothing(server, http):
    outcome, log = http(url=f"{server.url}/odd")
    assert outcome.ok
    assert '"rows": 7' in log.output


def test_output_parameters_come_from_the_answer(server):
    host = Host(allowed_networks=LOOPBACK)
    chosen = {"url": f"{server.url}/x", "outputs": {"first": "items[0].id", "n": "rows", "all": "items"}}
    what = spec("", "HTTP", settings=chosen, outputs=("first", "n", "all"))
    outcome = HttpRunner(host).run(what, Sink(), Control())
    assert outcome.outputs == {"first": "a", "n": "7", "all": '[{"id": "a"}]'}, outcome
    missing = spec("", "HTTP", settings={**chosen, "outputs": {"n": "no.where"}}, outputs=("n",))
    assert HttpRunner(host).run(missing, Sink(), Control()).error_code == "HTTP_CHECK_FAILED"
    host.close()


@pytest.mark.parametrize(
    ("path", "chosen", "said"),
    [
        ("/hang", {"timeout": 1}, "GET {url}/hang -> no answer"),
        ("/big", {"most_mb": 1}, "GET {url}/big -> 200 OK"),
    ],
)
def test_the_log_names_the_request_also_without_an_answer(server, http, path, chosen, said):
    _, log = http(url=server.url + path, **chosen)
    assert said.format(url=server.url) in log.output


def test_expected_statuses(server, http):
    assert http(url=f"{server.url}/404", expected="200-299, 404")[0].ok


def test_nobody_listens(http, server):
    server.server_close()
    outcome, log = http(url=server.url)
    assert outcome.error_code == "HTTP_UNREACHABLE"
    assert "refused" in outcome.message
    assert outcome.message.startswith(server.url.removeprefix("http://"))
    assert f"GET {server.url} -> no answer" in log.output


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/x",
        "http://localhost:{port}/x",
        "http://[::1]:{port}/x",
        "http://[::ffff:127.0.0.1]:{port}/x",
        "http://2130706433:{port}/x",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://0.0.0.0:{port}/x",
    ],
)
def test_private_addresses_are_refused_unless_allowed(server, http, url):
    outcome, _ = http(url=url.format(port=server.server_address[1]), allowed=(), timeout=5)
    assert outcome.error_code == "HTTP_ADDRESS_REFUSED", outcome
    assert "WEOPS_ALLOWED_NETWORKS" in outcome.message
    assert server.asked == []


def test_a_redirect_is_judged_like_the_first_address(server, http):
    server.other = "http://169.254.169.254/latest/meta-data/"
    outcome, _ = http(url=f"{server.url}/to", timeout=5)
    assert outcome.error_code == "HTTP_ADDRESS_REFUSED"
    server.other = "file:///etc/passwd"
    assert http(url=f"{server.url}/to")[0].error_code == "HTTP_BAD_REQUEST"


def test_secrets_do_not_follow_a_redirect_to_another_host(server, http):
    server.other = f"http://127.0.0.2:{server.server_address[1]}/x"
    other = Server.__new__(Server)  # the same port on another address: another origin
    ThreadingHTTPServer.__init__(other, ("127.0.0.2", server.server_address[1]), Handler)
    other.asked, other.hang = [], threading.Event()
    threading.Thread(target=other.serve_forever, args=(0.05,), daemon=True).start()
    try:
        outcome, _ = http(
            "body",
            method="POST",
            url=f"{server.url}/to",
            headers={"Authorization": "{{TOKEN}}"},
            secrets={"TOKEN": "correct-horse-battery"},
        )
        assert outcome.ok
        [(method, _, headers, body)] = other.asked
        assert (method, body) == ("GET", b"")
        assert "Authorization" not in headers
    finally:
        other.shutdown()
        other.server_close()


def test_redirects_end(server, http):
    server.other = f"{server.url}/to"
    outcome, _ = http(url=f"{server.url}/to", redirects=3)
    assert outcome.error_code == "HTTP_BAD_REQUEST"
    assert len(server.asked) == 4


def test_no_proxy_of_the_worker_is_used(server, http, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert http(url=f"{server.url}/x")[0].ok


def test_terminating_kills_the_request(server, eventually):
    host = Host(allowed_networks=LOOPBACK)
    run = Background(HttpRunner(host), spec("", "HTTP", settings={"url": f"{server.url}/hang"}))
    eventually(lambda: server.asked)
    run.control.cancel("terminate")
    assert run.outcome().error_code == "TERMINATED"
    assert marked(host.guardian.token) == []
    host.close()


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, "the setting url is missing"),
        ({"url": "ftp://x/"}, "the setting url must begin with http://"),
        ({"url": "http://user:pass@x/"}, "the setting url holds a name or password"),
        ({"url": "http://x/a b"}, "the setting url holds blanks"),
        ({"url": "http://x:99999/"}, "the setting url cannot be read"),
        ({"url": "http://x", "method": "BREW"}, "the setting method must be one of GET, POST"),
        ({"url": "http://x", "expected": "2xx"}, "the setting expected: '2xx' is no status"),
        (
            {"url": "http://x", "checks": ["state = done"]},
            "the setting checks: 'state = done' cannot be read",
        ),
        ({"url": "http://x", "checks": ["state == done"]}, "is no JSON value; write a text in double quotes"),
        ({"url": "http://x", "headers": {"a b": "c"}}, "the setting headers cannot be 'a b'"),
        ({"url": "http://x", "headers": {"a": "b\nc: d"}}, "the setting headers holds a line break"),
        ({"url": "http://x", "body": "x"}, "the setting body is unknown; HTTP tasks have: method, url"),
    ],
)
def test_mistakes_are_found_at_save(chosen, words):
    [said] = registry.check("HTTP", chosen, "")
    assert words in said


def test_an_address_with_expressions_is_judged_when_it_is_filled_in(http):
    assert registry.check("HTTP", {"url": "https://${host}/x?day=${yyyyMMdd}"}, "") == []
    assert http(url="gopher://x/")[0].error_code == "HTTP_BAD_REQUEST"
