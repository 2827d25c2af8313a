"""A real browser on the real web server, which works on the test's database.

    def test_it(site, signed_in):
        page = signed_in("vera")
        page.goto(site.url + "/admin/")

The server is uvicorn in a process of its own, started once for all tests. Skipped where there is no Chromium.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from tests import factories
from tests.engine.harness import _django_db_helper
from tests.stack import PROJECT, database_url, until
from weops.embedded.processes import launcher

__all__ = ["_django_db_helper"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.django_db(transaction=True))


@dataclass(frozen=True)
class Site:
    """The running server. `logs`: where it looks for sealed logs."""

    url: str
    logs: Path


def _needs_chromium() -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: the browser tests need one")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window. One a module: Playwright's event loop must not run under tests that have their own."""
    _needs_chromium()
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    # Playwright keeps an event loop in this thread, in which Django would refuse every query of the test.
    # And it asks the environment alone for a folder, not, as Python does, which one may be written to.
    before = dict(os.environ)
    os.environ |= {"DJANGO_ALLOW_ASYNC_UNSAFE": "true", "TMPDIR": tempfile.gettempdir()}
    try:
        with playwright.sync_playwright() as started:
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            chromium = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
            yield chromium
            chromium.close()
    finally:
        for name in ("DJANGO_ALLOW_ASYNC_UNSAFE", "TMPDIR"):
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


@pytest.fixture(scope="session")
def _server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    _needs_chromium()
    home = tmp_path_factory.mktemp("web")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "weops.asgi:application", "--host", "127.0.0.1"]
    command += [
        "--port",
        str(port),
        "--lifespan",
        "off",
        "--no-access-log",
        "--timeout-graceful-shutdown",
        "1",
    ]
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "CELERY_BROKER_URL": django_settings.CELERY_BROKER_URL,
        "WEOPS_HOME": str(home),
        "WEOPS_SECRET_KEY": django_settings.SECRET_KEY,
        "WEOPS_ENCRYPTION_KEYS": ",".join(django_settings.WEOPS_ENCRYPTION_KEYS),
    }
    with (home / "web.log").open("wb") as output:
        process = subprocess.Popen(
            [*launcher(signal.SIGKILL, parent=os.getpid()), *command],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(url, process, home / "web.log"), "an answer of the web server", 120)
        yield Site(url, home / "logs" / "executions")
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text(errors="replace")
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def site(_server: Site, settings: Any, transactional_db: None) -> Site:
    """The server, whose folder of sealed logs this test shares."""
    settings.STORAGES = {
        **settings.STORAGES,
        "logs": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(_server.logs)},
        },
    }
    return _server


@pytest.fixture
def signed_in(browser: Any, site: Site) -> Iterator[Callable[..., Any]]:
    """`signed_in(name, width=1280, dark=False)`: a page in which that user of the cast is signed in. Errors of scripts, and
    what the Content-Security-Policy refuses, fail the test."""
    contexts, problems = [], []

    def open_page(
        name: str = factories.VERA, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> Any:
        client = Client()
        client.force_login(factories.make_user(name))
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": site.url}])
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
