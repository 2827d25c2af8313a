"""Memory of every process of a real stack, as `make up` starts it: at rest, and after many runs."""

import contextlib
import datetime as dt
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
from django.db import connection

from benchmarks import live, workers, world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section
from weops.bootstrap import PROJECT
from weops.embedded import processes
from weops.projects.models import ResourceGroup

HOURS = 50
REQUESTS = 200
MB = 2**20
SERVERS = ("PostgreSQL, all of it", "Valkey")


def run(options: Options) -> Section:
    noops, shells, settle = (1_000, 100, 3.0) if options.quick else (20_000, 2_000, 15.0)
    bare = _bare_worker(settle)
    groups = [world.make_group(64), world.make_group(16)]
    with _stack() as (up, port):
        samples = [_sample(up, settle)]
        for block in (1, 2):
            _work(groups, noops, shells, port)
            samples.append(_sample(up, settle))
            say(f"memory: {_total(samples[-1])[1] / MB:.0f} MB (PSS) after {block * noops:,} no-op runs")
    world.clear()
    return _section(samples, bare, noops, shells)


Sample = dict[str, tuple[int, int]]


def _section(samples: list[Sample], bare: float, noops: int, shells: int) -> Section:
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    rows = [[name, *(_cell(sample.get(name)) for sample in samples)] for name in names]
    rows.append(["all", *(_cell(_total(sample)) for sample in samples)])
    own = [{name: value for name, value in sample.items() if name not in SERVERS} for sample in samples]
    worker = max(rss for name, (rss, _) in samples[0].items() if name.startswith("worker"))
    return Section(
        "memory",
        "Memory",
        f"A whole stack as `make up` starts it, no demo in it. One block of work: {noops:,} no-op runs, {shells:,} Shell "
        f"runs, {REQUESTS} pages, all driven by beat. RSS counts memory that processes share once for each of them (each "
        "of PostgreSQL's, the buffers that all of them share); PSS divides it among them. Flat means that a second block "
        "adds nothing to the first. Raw: a worker of Celery's own with the same options, without Django.",
        [
            Figure(
                "idle stack, servers included, PSS", "MB", [_total(samples[0])[1] / MB], target="under 600 MB"
            ),
            Figure("idle stack, servers included, RSS summed", "MB", [_total(samples[0])[0] / MB]),
            Figure("idle stack without the servers, RSS summed", "MB", [_total(own[0])[0] / MB]),
            Figure("idle worker, RSS", "MB", [worker / MB], "bare Celery worker", [bare]),
            Figure(
                "growth by the second block, without the servers, RSS summed",
                "MB",
                [(_total(own[2])[0] - _total(own[1])[0]) / MB],
                target="flat",
            ),
        ],
        ["RSS / PSS in MB", "at rest", "after one block", "after two blocks"],
        rows,
    )


def _total(sample: Sample) -> tuple[int, int]:
    return sum(rss for rss, _ in sample.values()), sum(pss for _, pss in sample.values())


def _cell(memory: tuple[int, int] | None) -> str:
    return f"{memory[0] / MB:.0f} / {memory[1] / MB:.0f}" if memory else ""


def _bare_worker(settle: float) -> float:
    """MB of RSS of an idle worker of Celery's own."""
    with workers.celery_alone(1, f"raw.idle.{os.getpid()}") as running:
        time.sleep(settle)
        return float(psutil.Process(running[0].pid).memory_info().rss / MB)


@contextlib.contextmanager
def _stack() -> Iterator[tuple[psutil.Process, int]]:
    """`make up` in a home of its own, on the servers that are up already, until the block ends."""
    home = Path(os.environ["WEOPS_HOME"]) / f"stack{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"WEOPS_HOME": str(home), "WEOPS_PORT": str(port), "WEOPS_DEMO": "0"}
    environment.pop("WEOPS_WAREHOUSE_URL", None)
    home.mkdir(parents=True)
    with open(home / "up.log", "wb") as log:
        up = subprocess.Popen(
            [*processes.launcher(signal.SIGTERM, parent=os.getpid()), sys.executable, "-m", "weops.up"],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        workers.wait_until(lambda: _serves(up, home), 120, f"the stack is not up, see {home}")
        yield psutil.Process(up.pid), port
    finally:
        workers.end([up])
        shutil.rmtree(home, ignore_errors=True)


def _serves(up: subprocess.Popen[bytes], home: Path) -> bool:
    told = (home / "up.log").read_text(encoding="utf-8")
    if up.poll() is not None:
        raise workers.BenchmarkError(f"the stack ended:\n{told}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM instances_workerprocess")
        return "WeOps answers" in told and cursor.fetchone()[0] > 0


def _sample(up: psutil.Process, settle: float) -> Sample:
    """{name: (RSS, PSS)} in bytes of every process of the stack, and of the servers, after a rest."""
    connection.close()
    time.sleep(settle)
    found: Sample = {}
    for process in [up, *up.children(recursive=True), *_servers()]:
        with contextlib.suppress(psutil.NoSuchProcess):
            name = _name(process)
            memory = process.memory_full_info()
            rss, pss = found.get(name, (0, 0))
            found[name] = (rss + memory.rss, pss + memory.pss)
    return found


def _servers() -> list[psutil.Process]:
    """The embedded servers, which are children of the process that started this one."""
    parent = psutil.Process().parent()
    children = parent.children(recursive=True) if parent else []
    return [child for child in children if child.name().startswith(("postgres", "valkey"))]


def _name(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    for mark, name in (
        ("weops.up", "make up"),
        ("supervisord", "supervisor"),
        ("weops.web", "web"),
        ("weops.process beat", "beat"),
        ("weops.process control", "control (ticks)"),
        ("--name worker1", "worker 1"),
        ("--name worker2", "worker 2"),
        ("guardian", "guardians"),
    ):
        if mark in words:
            return name
    return SERVERS[0] if process.name().startswith("postgres") else SERVERS[1]


def _work(groups: list[ResourceGroup], noops: int, shells: int, port: int) -> None:
    """One block: generated, run and shown by the stack alone."""
    first = live.next_id()
    since = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=60)
    until = since + dt.timedelta(hours=HOURS)
    for group, size, code in ((groups[0], noops, ""), (groups[1], shells, "true")):
        world.schedule(world.make_tasks(size // HOURS, group, since, until=until, code=code))
    for _ in range(REQUESTS):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/admin/login/", timeout=30) as page:
            page.read()

    def done() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM instances_instance WHERE id >= %s AND state = 'success'", [first]
            )
            return bool(cursor.fetchone()[0] == noops + shells)

    workers.wait_until(done, live.RUN_SECONDS, "the stack has not run everything", 0.5)
