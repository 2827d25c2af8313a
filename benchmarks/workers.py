"""Real Celery workers as processes of their own, started as `make up` starts them."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from weops import supervision
from weops.bootstrap import PROJECT
from weops.embedded import processes

SLOTS = 8
START_SECONDS = 60.0
STOP_SECONDS = 40.0


class BenchmarkError(RuntimeError):
    """Something did not happen in time, or not as often as it should."""


def wait_until(probe: Callable[[], bool], seconds: float, what: str, pause: float = 0.02) -> None:
    """Calls `probe` until it is true. Raises BenchmarkError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


@contextlib.contextmanager
def started(
    count: int, module: str, *options: str, slots: int = SLOTS
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`count` processes of `python -m module --name <its own> --slots 8 options`, ended after the block.

    The caller waits until they are ready.
    """
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as output:
        try:
            for place in range(count):
                words = [module, *options, "--name", f"bench{os.getpid()}-{place}", "--slots", str(slots)]
                running.append(
                    subprocess.Popen(
                        [
                            *processes.launcher(signal.SIGTERM, parent=os.getpid()),
                            sys.executable,
                            "-m",
                            *words,
                        ],
                        cwd=PROJECT,
                        env=os.environ | supervision.environment(PROJECT),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
                )
            yield running
        except BenchmarkError as error:
            output.seek(0)
            told = output.read().decode(errors="replace")[-4000:]
            raise BenchmarkError(f"{error}\nThe workers said:\n{told}") from error
        finally:
            end(running)


@contextlib.contextmanager
def celery_alone(count: int, queue: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers of Celery's own tasks, ready, on one queue."""
    from benchmarks.raw_celery import app

    with started(count, "benchmarks.raw_celery", "--queue", queue) as running:
        wait_until(
            lambda: len(app.control.ping(timeout=0.5) or []) == count,
            START_SECONDS,
            "Celery's workers are not ready",
        )
        yield running


def end(running: list[subprocess.Popen[bytes]]) -> None:
    """Asks all of them to stop, kills those that do not."""
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
