"""The REST API, as commands call it: one request, its answer, or an error with what to do."""

import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(60, connect=10)
# Exit codes, fit for scripts.
DONE, FAILED, USAGE, REFUSED, UNREACHABLE = 0, 1, 2, 3, 4


# The parameters of the API that have other names as options.
OPTIONS = {
    "data_from": "--from",
    "data_to": "--to",
    "q": "--task",
    "task_type": "--type",
    "seen": "--acknowledged",
    "state": "--state",
    "cycle": "--cycle",
}


class Stop(Exception):
    """Ends the command with a message and an exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def config_file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "weops" / "login.json"


def saved() -> dict[str, str]:
    """What `weops login` has written; empty if it has not."""
    try:
        found = json.loads(config_file().read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def save(url: str, token: str) -> Path:
    """Keeps them for the next command, readable by their owner only."""
    path = config_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(json.dumps({"url": url, "token": token}))
    return path


class Client:
    def __init__(self, url: str = "", token: str = "") -> None:
        known = saved()
        self.url = (url or os.environ.get("WEOPS_URL") or known.get("url") or "").rstrip("/")
        token = (token or os.environ.get("WEOPS_TOKEN") or known.get("token") or "").strip()
        if not self.url or not token:
            raise Stop("Say where WeOps is: set WEOPS_URL and WEOPS_TOKEN, or run `weops login`.", USAGE)
        if not (token.isascii() and token.isprintable()):
            raise Stop(
                "The token has signs that none has: copy it again, without what stands around it.", USAGE
            )
        headers = {"Authorization": f"Bearer {token}"}
        try:
            self._http = httpx.Client(base_url=f"{self.url}/api/v1/", headers=headers, timeout=TIMEOUT)
        except httpx.InvalidURL:
            raise self._elsewhere() from None
        if self._http.base_url.scheme not in ("http", "https") or not self._http.base_url.host:
            raise self._elsewhere()

    def get(self, path: str, **query: Any) -> Any:
        return self._ask("GET", path, params=_given(query))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Repeated once if the connection breaks: the key makes that harmless."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        try:
            return self._ask("POST", path, json=body or {}, headers=headers, patient=True)
        except httpx.TransportError:
            return self._ask("POST", path, json=body or {}, headers=headers)

    def rows(self, path: str, most: int, **query: Any) -> Iterator[dict[str, Any]]:
        """Rows of a list, page by page, up to `most`."""
        cursor, left = None, most
        while left > 0:
            page = self.get(path, **query, cursor=cursor, limit=min(left, 500))
            yield from page["results"]
            left -= len(page["results"])
            cursor = page["next_cursor"]
            if not cursor:
                return

    def _ask(self, method: str, path: str, patient: bool = False, **given: Any) -> Any:
        try:
            answer = self._http.request(method, path, **given)
        except httpx.TransportError as error:
            if patient:
                raise
            raise Stop(f"WeOps at {self.url} does not answer: {error}", UNREACHABLE) from error
        if answer.status_code >= 400:
            raise _refusal(answer) or self._elsewhere(answer)
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            if answer.is_success:
                return answer.json()
        except ValueError:
            pass
        raise self._elsewhere(answer)

    def _elsewhere(self, answer: httpx.Response | None = None) -> Stop:
        """What answers there, if anything, is not the API."""
        said = f" ({answer.status_code})" if answer is not None else ""
        if answer is not None and answer.status_code >= 500:
            return Stop(f"WeOps at {self.url} does not answer{said}.", UNREACHABLE)
        return Stop(
            f"{self.url} is no address of WeOps{said}: write it as in a browser, up to the path, "
            "such as https://weops.example.com.",
            USAGE,
        )


def _given(query: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value not in (None, "", [])}


def _refusal(answer: httpx.Response) -> Stop | None:
    """What a problem says; None if the answer is none."""
    try:
        problem = answer.json()
        lines = [
            *(_of_field(one) for one in problem.get("errors", [{"field": "", "message": problem["detail"]}])),
            *problem.get("difference", {}).get("sentences", []),
            problem.get("todo", ""),
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    message = "\n".join(line for line in lines if line)
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.status_code >= 500:
        return Stop(message, UNREACHABLE)
    return Stop(message, REFUSED if answer.status_code in (401, 403, 404, 409) else USAGE)


def _of_field(error: dict[str, str]) -> str:
    """A parameter is named as the option that it came from."""
    name = error["field"].removeprefix("filter.")
    return f"{OPTIONS.get(name, error['field'])}: {error['message']}" if name else error["message"]


def ask(question: str, yes: bool) -> None:
    """Raises Stop unless it was said, or is answered now."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop("Nobody is there to be asked: say --yes to do it, --preview to only look.", USAGE)
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Stop("Nothing was done.", USAGE)


def id_of(client: Client, path: str, text: str) -> int:
    """The id of what is so named; a number is one already."""
    if text.isdecimal():
        return int(text)
    rows = list(client.rows(path, 2, name=text))
    if len(rows) != 1:
        noun = path.strip("/")
        how_many = f"There are several {noun}" if rows else f"There is no {noun.removesuffix('s')}"
        raise Stop(f"{how_many} named {text!r}; say its id.", USAGE)
    return int(rows[0]["id"])
