"""Logs: caps on what is kept, memory that stays flat, bytes of any kind."""

import resource
import subprocess
import sys
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from instances.runners.base import OUTPUT, Control
from instances.runners.caps import Caps, OutputLog, decode, human_size
from instances.runners.host import Host
from instances.runners.masker import Masker
from instances.runners.shell import ShellRunner
from tests.runners.support import Sink, spec


def logged(pieces: list[bytes], caps: Caps, *secrets: str, clock=time.monotonic) -> Sink:
    sink = Sink()
    log = OutputLog(sink, Masker(secrets), caps, clock)
    for piece in pieces:
        log.feed(piece)
    log.finish()
    return sink


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(st.binary(max_size=300), st.lists(st.integers(1, 40)))
def test_small_output_passes_unchanged(data, sizes):
    sink = logged(cut(data, sizes), Caps())
    assert sink.of(OUTPUT) == data
    assert sink.said == ""


@given(st.text(max_size=100), st.lists(st.integers(1, 9)))
def test_pieces_are_never_cut_inside_a_character(text, sizes):
    sink = logged(cut(text.encode(), sizes), Caps())
    assert "".join(data.decode() for _, data in sink.pieces) == text


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 60), st.integers(0, 60))
def test_head_and_tail_are_kept(sizes, head, tail):
    data = bytes(65 + number % 26 for number in range(sum(sizes)))
    sink = logged(cut(data, sizes), Caps(head=head, tail=tail, line=10_000))
    out = sink.of(OUTPUT)
    if len(data) <= head + tail:
        assert out == data
    else:
        assert out == data[:head] + (data[-tail:] if tail else b"")
        assert f"{len(data) - head - tail} bytes left out here" in sink.said


@given(st.lists(st.text("ab\n", max_size=40)), st.integers(1, 8))
def test_long_lines_are_cut(texts, limit):
    whole = "".join(texts)
    sink = logged([text.encode() for text in texts], Caps(line=limit))
    kept = [line[:limit] for line in whole.split("\n")]
    lines = sink.text.split("\n")
    left_out = [line for line in lines if line.startswith("[weops]")]
    assert [line for line in lines if not line.startswith("[weops]")][: len(kept)] == kept
    assert len(left_out) == sum(len(line) > limit for line in whole.split("\n"))


def test_a_rate_is_kept_and_said():
    now = [0.0]
    sink = Sink()
    log = OutputLog(sink, Masker([]), Caps(rate=10), lambda: now[0])
    log.feed(b"0123456789abc\n")
    now[0] = 1.5
    log.feed(b"next\n")
    log.finish()
    assert sink.text == "0123456789\n[weops] 4 bytes left out here (more than 10 bytes per second)\nnext\n"


def test_decode():
    assert decode(b"a\0b\xff\xc3\xa4\n") == "ab\ufffdä\n"
    assert decode(b"\xed\xa0\x80") == "\ufffd" * 3


def test_human_size():
    assert [human_size(n) for n in (7, 1500, 934_000_000, 2_000_000_000)] == [
        "7 bytes",
        "1.5 KB",
        "934 MB",
        "2.00 GB",
    ]


def test_binary_garbage(shell):
    outcome, log = shell("head -c 3000000 /dev/urandom; head -c 3000000 /dev/zero; echo; echo end")
    assert outcome.ok
    assert log.output.endswith("end\n")
    assert "\0" not in log.output
    log.output.encode()  # no lone surrogates
    assert "MB of this line left out" in log.said


_GIGABYTE = """
import resource, sys, time
from instances.runners.base import Control, RunSpec
from instances.runners.shell import ShellRunner
from instances.runners.host import Host
class Counter:
    size = 0
    last = b""
    def write(self, stream, data):
        self.size += len(data)
        self.last = (self.last + data)[-200:]
host, log = Host(), Counter()
runner = ShellRunner(host)
runner.run(RunSpec(1, "SHELL", "true"), log, Control())
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
outcome = runner.run(RunSpec(2, "SHELL", sys.argv[1], secrets={"A": "some secret"}), log, Control())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
host.close()
assert outcome.ok, outcome
print(log.size, peak, time.monotonic() - began, log.last[-4:].decode().strip())
"""


def gigabyte(code: str) -> tuple[int, int, float, str]:
    """(bytes logged, growth of the peak memory in KB, seconds, end of the log), in a process of its own."""
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _GIGABYTE, code], capture_output=True, text=True, check=True, cwd=root
    )
    size, peak, seconds, last = done.stdout.split()
    return int(size), int(peak), float(seconds), last


def test_a_gigabyte_of_lines_neither_stalls_nor_grows_the_worker():
    size, peak, seconds, last = gigabyte(
        "yes 'a line of ordinary length' | head -c 1000000000; echo; echo end"
    )
    assert size < 17_000_000
    assert peak < 60_000
    assert seconds < 60  # about a second when the machine is idle
    assert last == "end"


def test_a_gigabyte_without_a_line_end():
    size, peak, _, last = gigabyte("head -c 1000000000 /dev/zero; echo; echo end")
    assert size < 100_000
    assert peak < 10_000
    assert last == "end"


def test_the_gigabyte_is_reported():
    log, host = Sink(), Host(Caps(head=1000, tail=1000))
    outcome = ShellRunner(host).run(spec("yes | head -c 936000000"), log, Control())
    host.close()
    assert outcome.ok
    assert "[weops] 936 MB left out here" in log.said
    assert len(log.output) == 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2_000_000
