"""HTTP: one request, whose code is its body; what it says is in `http_child`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from instances.language import gettext
from instances.runners import exits, own
from instances.runners.base import Control, LogSink, Outcome, RunSpec, TaskType
from instances.runners.host import Host
from instances.runners.http_checks import CheckError, checks_of, statuses_of, steps
from instances.runners.process import run_program
from instances.runners.settings_schema import (
    choice,
    filled,
    number,
    of_setting,
    pairs,
    setting_is,
    settings,
    switch,
    text,
    texts,
)
from instances.runners.settings_schema import gettext_noop as _

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


class HttpRunner(TaskType):
    """The request is made by a child process, so that whatever the server does, terminating it is killing it."""

    type = "HTTP"
    label = _("HTTP")
    icon = "public"
    code_is = _("The body of the request; empty for none.")
    language = "json"
    schema = settings(
        required=["url"],
        method=choice(_("Method"), _("What is done at the address."), METHODS, default="GET"),
        url=text(
            _("Address"),
            _("An http:// or https:// address; ${...} is filled in."),
            minLength=1,
            **{"x-expressions": True},
        ),
        headers=pairs(
            _("Headers"),
            _("One a line, as Name: value. {{NAME}} stands for the task's secret NAME; ${...} is filled in."),
            names=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z",
            **{"x-expressions": True},
        ),
        expected=text(
            _("Expected statuses"),
            _("Such as 200-299, 304; another one fails the task."),
            default="200-299",
            minLength=1,
        ),
        checks=texts(
            _("Checks of the answer"),
            _(
                "One a line: a path into the JSON answer, ==, !=, <, <=, >, >= or contains, and a JSON value; "
                'such as data.state == "done". body and status stand for all of it.'
            ),
            **{"x-expressions": True},
        ),
        outputs=pairs(
            _("Output parameters from the answer"),
            _(
                "One a line, as name: data.items[0].id; the task must declare the name as an output parameter."
            ),
            names=r"^[A-Za-z_][A-Za-z0-9_]{0,99}\Z",
        ),
        timeout=number(
            _("Timeout in seconds"), _("Of the whole request, redirects included."), 1, 3600, default=60
        ),
        most_mb=number(_("Largest answer in MB"), _("A larger one fails the task."), 1, 1000, default=10),
        redirects=number(
            _("Redirects"),
            _("How many are followed; secrets are not sent to another host."),
            0,
            20,
            default=5,
        ),
        verify=switch(_("Check the certificate"), _("Of an https:// address."), default=True),
    )
    codes = (
        "HTTP_ADDRESS_REFUSED",
        "HTTP_BAD_REQUEST",
        "HTTP_CHECK_FAILED",
        "HTTP_STATUS",
        "HTTP_TIMEOUT",
        "HTTP_TOO_LARGE",
        "HTTP_UNREACHABLE",
    )

    def __init__(self, host: Host) -> None:
        self._host = host

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        problems: list[str] = [gettext("the code holds a NUL character")] if "\0" in code else []
        if fault := address_fault(str(settings["url"])):
            problems.append(setting_is("url", fault))
        readers: dict[str, Callable[[], object]] = {
            "expected": lambda: statuses_of(settings.get("expected") or "200"),
            "checks": lambda: checks_of(settings.get("checks") or []),
            "outputs": lambda: [steps(path) for path in (settings.get("outputs") or {}).values()],
        }
        for name, read in readers.items():
            try:
                read()
            except CheckError as error:
                problems.append(of_setting(name, str(error)))
        values = (settings.get("headers") or {}).values()
        if any(character in value for value in values for character in "\r\n\0"):
            problems.append(setting_is("headers", gettext("holds a line break in a value")))
        return problems

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        job = {
            **filled(self.schema, spec.settings),
            "body": spec.code,
            "secrets": sorted(spec.secrets),
            "allowed_networks": list(self._host.allowed_networks),
        }
        program = own.program("instances.runners.http_child", job)
        return run_program(program, spec, log, control, self._host, exits.judge)


def address_fault(url: str) -> str:
    """Why this cannot be asked, "" when it may be. An address that has ${...} in it is judged again when it is filled in."""
    if "${" in url.partition("://")[0] or "${" in url.partition("://")[2].partition("/")[0]:
        return ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return gettext("cannot be read: %(error)s") % {"error": error}
    if parts.scheme not in ("http", "https"):
        return gettext("must begin with http:// or https://")
    if not parts.hostname or port == 0:
        return gettext("names no host, or no port that can be")
    if parts.username is not None or parts.password is not None:
        return gettext("holds a name or password; send them by a header with a secret")
    if any(character.isspace() or not character.isprintable() for character in url):
        return gettext("holds blanks; write them as %(code)s") % {"code": "%20"}
    return ""
