"""Logs: how fast a worker takes output and what that costs it, how fast a log is sealed, how a large one opens."""

import datetime as dt
import gzip
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from django.core.files.storage import storages
from django.db import connection
from django.test.utils import override_settings
from django.utils import timezone

from benchmarks import world
from benchmarks.options import Options, say
from benchmarks.report import Figure, Section, number
from benchmarks.workers import BenchmarkError
from instances.engine import generation, lifecycle, logs
from instances.engine.dispatch import dispatch
from instances.engine.logs import blocks, sources
from instances.engine.logs.sealing import store_file
from instances.models import Execution, LogChunk
from instances.runners.caps import Caps, OutputLog
from instances.runners.masker import Masker

MB = 1_000_000
PIECE = 64 * 1024


def text(megabytes: float, first: int = 0) -> Iterator[str]:
    """Lines of a typical log, in pieces; now and then one that is an error."""
    made, n = 0, first
    while made < megabytes * MB:
        lines = []
        for _ in range(800):
            n += 1
            level = "ERROR" if n % 100_000 == 0 else "INFO"
            lines.append(
                f"2026-03-25 00:00:01,{n % 1000:03} {level} some.module: row group {n} has {n * 7919 % 9973} rows\n"
            )
        piece = "".join(lines)
        made += len(piece)
        yield piece


def run(options: Options) -> Section:
    with tempfile.TemporaryDirectory() as folder:
        backend = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": folder}}
        with override_settings(STORAGES={"logs": backend, "staticfiles": backend, "default": backend}):
            figures, rows = _ingest(options)
            rows += _large(options)
    return Section(
        "logs",
        "Logs",
        "Ingest: output of a task from the worker's end of its pipe through masking (one secret) and caps into committed chunks, "
        "by one worker process. Raw: the same chunks by INSERT, one connection. Its share of CPU is that of one core, at the "
        "rate named. The large log is one block of lines over and over, a single error in its middle; each look is that of a "
        "process that has not seen it before. zcat is what a log that is one stream would cost.",
        figures,
        ["measured", "value", "beside"],
        rows,
    )


def _claimed() -> lifecycle.Claimed:
    """An execution that is running, for lines to belong to."""
    group = world.make_group(1)
    now = timezone.now().replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=30)
    world.schedule(world.make_tasks(1, group, now, code="true"))
    generation.generate(now + dt.timedelta(hours=1))
    return lifecycle.claim([hint.execution_id for hint in dispatch({group.pk})], "bench")[0]


def _ingest(options: Options) -> tuple[list[Figure], list[list[str]]]:
    megabytes = 8 if options.quick else 64
    data = "".join(text(megabytes)).encode()
    ours, raw, shares = [], [], []
    for turn in range(options.runs + 1):
        claimed = _claimed()
        writer = logs.LogWriter(logs.heads)
        writer.start()
        sink = writer.sink(claimed.execution_id)
        output = OutputLog(sink, Masker(["a secret of some length"]), Caps(head=10**10))
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(data), PIECE):
            output.feed(data[start : start + PIECE])
        output.finish()
        # Until all of it is committed; sealing is another matter.
        _committed(writer)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        sink.close()
        writer.stop(120)
        raw_rate = _raw(claimed.execution_id, data)
        say(f"logs, ingest: {len(data) / MB / seconds:,.0f} MB/s")
        if turn:
            ours.append(len(data) / MB / seconds)
            raw.append(raw_rate)
            shares.append(used / (len(data) / MB))
    share = sorted(shares)[len(shares) // 2]
    rows = [
        ["CPU of the worker for 1 MB of output", f"{share * 1000:.1f} ms", ""],
        [
            "its share of a core at 8 MB/s, the default limit of a run",
            f"{share * 8 * 100:.0f} %",
            "",
        ],
    ]
    return [Figure("ingest, 1 worker", "MB/s", ours, "INSERT", raw)], rows


def _committed(writer: logs.LogWriter) -> None:
    """Waits until all that was written is in the database."""
    with writer._changed:
        writer._changed.wait_for(
            lambda: not writer._buffered and not any(entry.pending for entry in writer._open.values()), 60
        )


def _raw(execution_id: int, data: bytes) -> float:
    whole = data.decode()
    LogChunk.objects.filter(execution_id=execution_id).delete()
    began = time.perf_counter()
    with connection.cursor() as cursor:
        for seq, start in enumerate(range(0, len(whole), logs.CHUNK)):
            cursor.execute(
                "INSERT INTO instances_logchunk (execution_id, seq, start, line, text) VALUES (%s, %s, %s, 0, %s)",
                [execution_id, seq, start, whole[start : start + logs.CHUNK]],
            )
    rate = len(data) / MB / (time.perf_counter() - began)
    LogChunk.objects.filter(execution_id=execution_id).delete()
    return rate


def _large(options: Options) -> list[list[str]]:
    megabytes = 50 if options.quick else 1_000
    claimed = _claimed()
    sample = list(text(4 if options.quick else 16))
    began = time.perf_counter()
    with tempfile.TemporaryFile() as file:
        rate = blocks.pack(sample, file) / MB / (time.perf_counter() - began)
    with tempfile.TemporaryFile() as file:
        chars = _repeat(file, megabytes)
        packed = file.tell()
        name = store_file(claimed.execution_id, chars, file)
    Execution.objects.filter(pk=claimed.execution_id).update(log_file=name, log_bytes=chars)
    execution = Execution.objects.get(pk=claimed.execution_id)
    say(f"logs, a sealed log of {megabytes:,} MB: {packed / MB:,.0f} MB on disk")

    def milliseconds(ask: object) -> str:
        took = []
        for _ in range(options.runs):
            sources._indexes.clear()
            start = time.perf_counter()
            ask()  # type: ignore[operator]
            took.append((time.perf_counter() - start) * 1000)
        return f"{number(sorted(took)[len(took) // 2])} ms"

    total = logs.tail(execution, 1).total
    start = time.perf_counter()
    path = storages["logs"].path(name)
    with subprocess.Popen(["zcat", path], stdout=subprocess.PIPE) as stream:
        subprocess.run(["tail", "-n", "500"], stdin=stream.stdout, stdout=subprocess.DEVNULL, check=True)
    raw = f"zcat | tail: {number((time.perf_counter() - start) * 1000)} ms"
    start = time.perf_counter()
    found = logs.search(execution, "nowhere in it", seconds=600)
    searched = time.perf_counter() - start
    if found.lines or found.partial or total < 1000:
        raise BenchmarkError("the large log does not hold what was written")
    with gzip.open(path, "rt") as whole:
        if not whole.readline().startswith("2026-03-25"):
            raise BenchmarkError("the sealed file is no ordinary .gz")
    size = f"{megabytes:,} MB, {total:,} lines"
    return [
        [f"last 500 lines of a sealed log of {size}", milliseconds(lambda: logs.tail(execution, 500)), raw],
        ["500 lines from its middle", milliseconds(lambda: logs.lines(execution, total // 2, 500)), ""],
        ["its first error, in the middle", milliseconds(lambda: logs.first_error(execution)), ""],
        ["search through all of it", f"{searched:.1f} s", f"{number(megabytes / searched)} MB/s"],
        [
            "sealing, levels recognised",
            f"{number(rate)} MB/s",
            f"the large one: {number(packed / MB)} MB on disk",
        ],
    ]


def _repeat(file: IO[bytes], megabytes: int) -> int:
    """Writes a sealed log of that size to `file`: the same block over and over; its characters."""
    writer = blocks.BlockWriter(file)  # type: ignore[arg-type]
    whole = "".join(text(1))[: blocks.BLOCK]
    block = whole[: whole.rfind("\n") + 1]
    times = megabytes * MB // len(block)
    writer._block(block)
    record, size = writer._records[0], writer._written
    data = blocks._pack(block)
    for place in range(1, times):
        if place == times // 2:
            writer._block(block.replace("INFO some", "ERROR ome", 1))
            continue
        file.write(data)
        writer._records.append(record)
        writer._written += size
    writer.chars, writer.lines = times * len(block), times * block.count("\n")
    writer.finish()
    return writer.chars
