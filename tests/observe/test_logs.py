"""Log lines and requests have ids; lines of a worker have the execution that they belong to."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from weops.observe import context
from weops.observe.context import JsonLines


def line(**extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("weops.x", logging.WARNING, "f.py", 1, "it %s", ("broke\nhere",), None)
    for name, value in extra.items():
        setattr(record, name, value)
    text = JsonLines().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_is_one_json_object_whatever_is_in_it() -> None:
    found = line()
    assert found["message"] == "it broke\nhere"
    assert found["level"] == "WARNING"
    assert "request_id" not in found
    assert "execution_id" not in found
    try:
        raise ValueError("no")
    except ValueError:
        assert "ValueError: no" in line(exc_info=sys.exc_info())["error"]


def test_lines_carry_what_they_belong_to() -> None:
    with context.serving("abc"), context.running(7, 8, 9):
        found = line()
    assert (found["request_id"], found["execution_id"], found["instance_id"]) == ("abc", 7, 8)
    assert context.request_id() == ""


@pytest.mark.django_db
def test_a_request_keeps_its_id_or_gets_one() -> None:
    client = Client()
    assert client.get("/healthz", headers={"X-Request-ID": "call-7"}).headers["X-Request-ID"] == "call-7"
    made = client.get("/healthz").headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    # What could forge a line or a header is not taken.
    for given in ("a b", 'x"y', "x" * 65, "x\u00e9"):
        assert client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] != given


def test_the_environment_chooses_the_format() -> None:
    code = (
        "import django; django.setup(); import logging; logging.getLogger('weops.x').warning('hello %d', 7)"
    )
    checks: dict[str, Callable[[str], bool]] = {
        "json": lambda text: json.loads(text)["message"] == "hello 7",
        "": lambda text: "WARNING weops.x: hello 7" in text,
    }
    for value, check in checks.items():
        environment = {**os.environ, "WEOPS_LOG_FORMAT": value, "DJANGO_SETTINGS_MODULE": "weops.settings"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert check(done.stderr.strip()), done.stderr
