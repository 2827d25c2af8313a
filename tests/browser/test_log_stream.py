"""The live log as programs read it: server-sent events over HTTP from the real web server, by a token; and `weops ... log -f`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from instances.models import Instance
from tests import factories
from tests.browser.conftest import Site
from tests.engine.harness import due, started
from tests.test_log_live import Log
from weops.api import tokens

PATIENCE = 30


@pytest.fixture
def running() -> Any:
    """A run that is on, as its worker holds it."""
    [day] = due(code="true")
    return started(day)[0]


def _token(running: Any, name: str = factories.VERA, **limits: Any) -> tuple[Any, str]:
    project = Instance.objects.get(pk=running.instance_id).project
    member = factories.make_user(name, project=None if name == factories.EVE else project)
    return tokens.issue(member, "stream", **limits)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """(event, data)"""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, line.removeprefix("data: ")


def _until(events: Iterator[tuple[str, str]], text: str) -> tuple[str, str]:
    """The first event that is called so, or says so. httpx's timeout is the deadline."""
    return next(one for one in events if text in one[1] or text == one[0])


def test_events_come_while_it_is_written_and_end_with_the_run(site: Site, running: Any) -> None:
    log, (_, text) = Log(running.execution_id), _token(running)
    address = f"{site.url}/api/v1/executions/{running.execution_id}/log/stream/"
    bearer = {"Authorization": f"Bearer {text}"}
    log.put("first\n")
    with httpx.stream("GET", address, headers=bearer, timeout=PATIENCE) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = _events(answer.iter_lines())
        assert _until(events, "first")[0] == "lines"
        # What is written only now reaches the answer that is open already.
        log.put("<b>second</b>\n")
        assert _until(events, "second")[0] == "lines"
        log.end(running)
        assert _until(events, "end")[0] == "end"
    # One that lost the connection goes on where it was.
    again = {**bearer, "Last-Event-ID": str(len("first\n"))}
    with httpx.stream("GET", address, headers=again, timeout=PATIENCE) as answer:
        said = [json.loads(data)["lines"] for name, data in _events(answer.iter_lines()) if name == "lines"]
    assert [line for lines in said for _, line in lines] == ["<b>second</b>"]


def test_nobody_streams_what_they_may_not_see(site: Site, running: Any) -> None:
    """That a stream ends with its token is in tests/test_log_live.py."""
    address = f"{site.url}/api/v1/executions/{running.execution_id}/log/stream/"
    Log(running.execution_id).put("private\n")
    token, member = _token(running)
    _, stranger = _token(running, factories.EVE)
    tokens.revoke(token)
    for bearer, code in (("", 401), (stranger, 404), (member, 401)):
        answer = httpx.get(
            address, headers={"Authorization": f"Bearer {bearer}"} if bearer else {}, timeout=PATIENCE
        )
        assert answer.status_code == code
        assert "private" not in answer.text


def test_the_command_follows_a_run_that_is_on(site: Site, running: Any, tmp_path: Path) -> None:
    log, (_, text) = Log(running.execution_id), _token(running)
    log.put("first\n")
    command = "import sys; from weops.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["instances", "log", str(running.instance_id), "-f"]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *words],
        env={**os.environ, "WEOPS_URL": site.url, "WEOPS_TOKEN": text, "XDG_CONFIG_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        log.put("second\n")
        assert process.stdout.readline() == "second\n"
        assert process.poll() is None
        log.end(running)
        assert process.stdout.read() == ""
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
