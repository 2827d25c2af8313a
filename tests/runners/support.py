"""What the runners' tests share: a log to wait on, and runs in the background."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from instances.runners import procfs
from instances.runners.base import OUTPUT, SYSTEM, Control, Outcome, Runner, RunSpec
from instances.runners.caps import decode

PATIENCE = 30.0  # seconds that anything may take on a busy machine
_numbers = itertools.count(1)


class Sink:
    """A log that a test can wait on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.pieces: list[tuple[str, bytes]] = []

    def write(self, stream: str, data: bytes) -> None:
        with self._changed:
            self.pieces.append((stream, data))
            self._changed.notify_all()

    def of(self, stream: str) -> bytes:
        return b"".join(data for name, data in self.pieces if name == stream)

    @property
    def output(self) -> str:
        return decode(self.of(OUTPUT))

    @property
    def said(self) -> str:
        return decode(self.of(SYSTEM))

    @property
    def text(self) -> str:
        return decode(b"".join(data for _, data in self.pieces))

    def wait_for(self, text: str) -> str:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, PATIENCE), (
                f"{text!r} not in {self.text!r}"
            )
            return self.text


def spec(code: str = "", task_type: str = "SHELL", **fields: Any) -> RunSpec:
    return RunSpec(next(_numbers), task_type, code, **fields)


class Background:
    """A run in a thread of its own."""

    log_class: type[Sink] = Sink

    def __init__(self, runner: Runner, what: RunSpec) -> None:
        self.log, self.spec = self.log_class(), what
        self.started = threading.Event()
        self.pid = self.start_time = 0
        self.control = Control(self._note)
        self._result: list[Outcome] = []
        self._thread = threading.Thread(target=self._run, args=(runner,), daemon=True)
        self._thread.start()

    def _note(self, pid: int, start_time: int) -> None:
        self.pid, self.start_time = pid, start_time
        self.started.set()

    def _run(self, runner: Runner) -> None:
        self._result.append(runner.run(self.spec, self.log, self.control))

    def outcome(self) -> Outcome:
        self._thread.join(PATIENCE)
        assert self._result, f"the run did not end: {self.log.text}"
        return self._result[0]


def marked(token: str) -> list[int]:
    """Live processes that carry this worker's or run's token, whatever became of their parents."""
    return list(_marked(f"WEOPS_RUN_TOKEN={token}".encode()))


def _marked(marker: bytes) -> Iterator[int]:
    for pid in procfs.all_pids():
        if pid != os.getpid() and procfs.carries(pid, marker):
            found = procfs.stat(pid)
            if found is not None and found.alive:
                yield pid


def descriptors() -> set[str]:
    """This process's open files."""
    return {
        f"{entry.name} {os.readlink(entry)}" for entry in Path("/proc/self/fd").iterdir() if entry.exists()
    }
