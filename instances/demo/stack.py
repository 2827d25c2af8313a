"""Real workers and beat as child processes, for as long as the demo runs. None of them outlives it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from instances.demo import DemoError
from weops.embedded.processes import allocator, launcher

STOP_SECONDS = 25.0
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Program:
    """A child, by the name of its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


@contextlib.contextmanager
def running(workers: int, logs: Path) -> Iterator[list[Program]]:
    """`workers` workers, one for control messages, and beat; ended after the block, however it ends."""
    logs.mkdir(parents=True, exist_ok=True)
    commands = {
        f"demo{number}": ["worker", "--slots", str(_THREADS), "--name", f"demo{number}"]
        for number in range(1, workers + 1)
    }
    commands |= {"control": ["control"], "beat": ["beat"]}
    programs: list[Program] = []
    try:
        for name, command in commands.items():
            programs.append(_start(name, command, logs / f"{name}.log"))
        yield programs
    finally:
        _stop(programs)


def _start(name: str, command: list[str], log: Path) -> Program:
    with log.open("wb") as output:
        process = subprocess.Popen(
            # The launcher ties the child's life to ours: it ends even when we are killed.
            [
                *launcher(signal.SIGTERM, parent=os.getpid()),
                sys.executable,
                "-m",
                "weops.process",
                *command,
            ],
            cwd=settings.BASE_DIR,
            env=os.environ | allocator(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us
        )
    return Program(name, process, log)


def check(programs: list[Program]) -> None:
    """Raises DemoError if one has ended: nothing would come to an end without it."""
    for program in programs:
        if program.process.poll() is not None:
            raise DemoError(
                f"{program.name} ended by itself (exit code {program.process.returncode}); "
                f"{program.log} ends with:\n{program.tail()}"
            )


def _stop(programs: list[Program]) -> None:
    """Beat first, so that nobody plans more; all have the same deadline, then they are killed."""
    for program in reversed(programs):
        program.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for program in programs:
        try:
            program.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.process.pid, signal.SIGKILL)
            program.process.wait()
