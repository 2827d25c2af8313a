from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instances.runners.base import Control, Outcome
from instances.runners.host import Host
from instances.runners.python import PythonRunner
from instances.runners.shell import ShellRunner
from tests.runners.support import Background, Sink, marked, spec


@pytest.fixture
def host() -> Iterator[Host]:
    """A worker of its own; at the end of every test nothing of it may live."""
    host = Host(drain_seconds=0.5)
    yield host
    assert marked(host.guardian.token) == []
    directory = host.guardian.directory()
    assert list(directory.iterdir()) == []
    host.close()
    assert not directory.exists()


@pytest.fixture
def shell(host: Host) -> Callable[..., tuple[Outcome, Sink]]:
    def run(code: str, **fields: Any) -> tuple[Outcome, Sink]:
        log = Sink()
        return ShellRunner(host).run(spec(code, **fields), log, Control()), log

    return run


@pytest.fixture
def python(host: Host) -> Callable[..., tuple[Outcome, Sink]]:
    def run(code: str, **fields: Any) -> tuple[Outcome, Sink]:
        log = Sink()
        return PythonRunner(host).run(spec(code, "PYTHON", **fields), log, Control()), log

    return run


@pytest.fixture
def background(host: Host) -> Callable[..., Background]:
    """A Shell run in the background, with a long grace unless said otherwise."""

    def start(code: str, **fields: Any) -> Background:
        return Background(ShellRunner(host), spec(code, **{"kill_grace": 30.0, **fields}))

    return start
