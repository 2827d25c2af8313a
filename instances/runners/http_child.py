"""The process that makes an HTTP task's request (see `own`).

Only http and https; the address that is really connected to is judged, for the first request and for every redirect, so no
name that resolves to something else later gets around it. No proxy, cookie or login of the worker is used.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import httpx

from instances.runners import outputs
from instances.runners.http import address_fault
from instances.runners.http_checks import MISSING, checks_of, look_up, problem, statuses_of
from instances.runners.own import fail
from weops.addresses import Refused, guarded, networks

_SECRET: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]{0,99})\s*\}\}")
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_SHOWN_BYTES: Final = 64 * 1024
_MB: Final = 1_000_000
_CONNECT_SECONDS: Final = 10.0


class _OutOfTime(Exception):
    pass


class _Asked:
    """The request that waits for its answer: what an error names."""

    def __init__(self, method: str, url: httpx.URL) -> None:
        self.method, self.url = method, url

    @property
    def place(self) -> str:
        """Host and port, as the address has them."""
        return self.url.netloc.decode("ascii", "replace")


def main(job: Mapping[str, Any]) -> None:
    asked = _Asked(job["method"], httpx.URL(_usable(job["url"])))
    with _at_most(job["timeout"]):
        try:
            with guarded(networks(job["allowed_networks"])):
                status, body = _ask(job, asked)
        except _OutOfTime:
            _unanswered(asked)
            fail("HTTP_TIMEOUT", f"{asked.place} gave no whole answer within {job['timeout']} s")
        except httpx.HTTPError as error:
            _unanswered(asked)
            _fail_of(error, job, asked)
    _judge(job, status, body)


def _unanswered(asked: _Asked) -> None:
    print(f"{asked.method} {asked.url} -> no answer")


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """However slowly the bytes come: a timeout of each read is none of all of them."""

    def ring(*_: Any) -> NoReturn:
        raise _OutOfTime

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _ask(job: Mapping[str, Any], asked: _Asked) -> tuple[int, bytes]:
    """(status, body) of the last answer; `asked` is kept to the request that is under way."""
    method, url = asked.method, asked.url
    headers = {"User-Agent": "WeOps", **_with_secrets(job)}
    content = job["body"].encode() or None
    with httpx.Client(
        trust_env=False,
        verify=job["verify"],
        timeout=httpx.Timeout(job["timeout"], connect=min(_CONNECT_SECONDS, job["timeout"])),
        follow_redirects=False,
    ) as client:
        left = job["redirects"]
        while True:
            began = time.monotonic()
            request = client.build_request(method, url, headers=headers, content=content)
            answer = client.send(request, stream=True)
            said = f"{method} {url} -> {answer.status_code} {answer.reason_phrase}"
            body = _read(answer, job["most_mb"] * _MB, said)
            took = (time.monotonic() - began) * 1000
            print(f"{said} ({len(body):,} bytes, {took:.0f} ms)")
            target = answer.headers.get("location")
            if answer.status_code not in _REDIRECTS or target is None:
                _show(answer, body)
                return answer.status_code, body
            if not left:
                fail(
                    "HTTP_BAD_REQUEST",
                    f"more than {job['redirects']} redirects; the last one leads to {target}",
                )
            left -= 1
            following = url.join(target)
            _usable(str(following))
            if _origin(following) != _origin(url):
                # What was meant for one host is not told to another.
                headers = {"User-Agent": "WeOps"}
            if answer.status_code == 303 or (answer.status_code in (301, 302) and method == "POST"):
                method, content = ("HEAD" if method == "HEAD" else "GET"), None
                headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
            url = following
            asked.method, asked.url = method, url


def _usable(url: str) -> str:
    if fault := address_fault(url):
        fail("HTTP_BAD_REQUEST", f"the address {url[:500]} {fault}")
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _with_secrets(job: Mapping[str, Any]) -> dict[str, str]:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in job["secrets"]:
            known = ", ".join(job["secrets"]) or "none"
            fail("HTTP_BAD_REQUEST", f"a header names the secret {name}; the task has: {known}")
        return os.environ[name]

    found = {name: _SECRET.sub(value, text) for name, text in (job.get("headers") or {}).items()}
    for name, text in found.items():
        if re.search(r"[\r\n\0]", text) or not text.isascii():
            fail(
                "HTTP_BAD_REQUEST",
                f"the header {name} holds a line break or a character that headers cannot have",
            )
    return found


def _read(answer: httpx.Response, most: int, said: str) -> bytes:
    """The body, decompressed; the size counts as it is when read, so a small bomb is a large body. `said`: what was asked and
    answered, for the log of one that is too large."""
    pieces, size = [], 0
    for piece in answer.iter_bytes(_SHOWN_BYTES):
        size += len(piece)
        if size > most:
            answer.close()
            print(said)
            fail("HTTP_TOO_LARGE", f"the answer is larger than {most // _MB} MB")
        pieces.append(piece)
    return b"".join(pieces)


def _show(answer: httpx.Response, body: bytes) -> None:
    kind = answer.headers.get("content-type", "")
    if not body:
        return
    if b"\0" in body[:_SHOWN_BYTES]:
        print(f"(not shown: {kind or 'no text'})")
        return
    try:
        text = body[:_SHOWN_BYTES].decode(answer.charset_encoding or "utf-8", "replace")
    except (LookupError, ValueError):
        # What the server calls its encoding is anything at all.
        text = body[:_SHOWN_BYTES].decode("utf-8", "replace")
    print(text)
    if len(body) > _SHOWN_BYTES:
        print(f"(the first {_SHOWN_BYTES // 1024} KB are shown)")


def _judge(job: Mapping[str, Any], status: int, body: bytes) -> None:
    if not any(first <= status <= last for first, last in statuses_of(job["expected"])):
        fail("HTTP_STATUS", f"the answer was {status}, expected was {job['expected']}")
    text = body.decode("utf-8", "replace")
    wrong = [found for check in checks_of(job.get("checks") or []) if (found := problem(check, status, text))]
    if wrong:
        fail("HTTP_CHECK_FAILED", "; ".join(wrong))
    _hand_over(job.get("outputs") or {}, text)


def _hand_over(wanted: Mapping[str, str], text: str) -> None:
    """Writes output parameters, where the task declares any: a text as it is, on one line, everything else as JSON."""
    file_name = os.environ.get(outputs.VARIABLE)
    if not wanted or file_name is None:
        return
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        fail("HTTP_CHECK_FAILED", "output parameters are read from the answer, which is no JSON")
    with open(file_name, "a", encoding="utf-8") as file:
        for name, path in wanted.items():
            value = look_up(document, path)
            if value is MISSING:
                fail("HTTP_CHECK_FAILED", f"output parameter {name}: the answer has nothing at {path}")
            plain = isinstance(value, str) and value.isprintable()
            file.write(f"{name}={value if plain else json.dumps(value, ensure_ascii=False)}\n")


def _fail_of(error: httpx.HTTPError, job: Mapping[str, Any], asked: _Asked) -> NoReturn:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Refused):
            fail("HTTP_ADDRESS_REFUSED", str(cause))
        if isinstance(cause, _OutOfTime):
            fail("HTTP_TIMEOUT", f"{asked.place} gave no whole answer within {job['timeout']} s")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        what = "no connection" if isinstance(error, httpx.ConnectTimeout) else "no answer"
        fail("HTTP_TIMEOUT", f"{what} of {asked.place} in time")
    if isinstance(error, httpx.DecodingError):
        fail("HTTP_UNREACHABLE", f"the answer of {asked.place} cannot be decoded: {error}")
    fail(
        "HTTP_UNREACHABLE", f"{asked.place}: {type(error).__name__}: {str(error) or 'the connection failed'}"
    )
