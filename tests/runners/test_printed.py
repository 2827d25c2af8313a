"""Events that a Shell task prints."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instances.runners import registry
from instances.runners.base import Control
from instances.runners.caps import Caps
from instances.runners.host import Host
from instances.runners.printed import PrintedVariable
from instances.runners.shell import ShellRunner
from tests.runners.support import Sink, spec

EVENTS = {"events_variable": "events"}


def heard(*pieces: bytes, name: str = "events") -> str:
    printed = PrintedVariable(name)
    for piece in pieces:
        printed.feed(piece)
    return printed.value()


@pytest.mark.parametrize(
    ("output", "value"),
    [
        (b'events="EventA,20220713;EventB,20220713;"\n', "EventA,20220713;EventB,20220713;"),
        (b"events=EventA,20220713;EventB,20220713;\n", "EventA,20220713;EventB,20220713;"),
        (b'before\n  events="A,1"  \r\nafter\nevents="B,2"', "A,1;B,2"),
        (b'my_events="A,1"\nevents = "A,1"\nevents="A,1" and more\necho events="A,1"\n', ""),
        (b'events=""\nevents=\n', ""),
        (b'events="A,1\nB,2"\n', ""),
        (b"", ""),
    ],
)
def test_lines(output: bytes, value: str) -> None:
    assert heard(output) == value


def test_the_variable_has_another_name() -> None:
    assert heard(b'events="A,1"\nsignals="B,2"\n', name="signals") == "B,2"


@given(
    st.lists(st.sampled_from([b"noise", b'events="A,1"', b"events=B,2", b"x" * 50, b""]), max_size=12),
    st.lists(st.integers(0, 30), max_size=30),
)
def test_pieces_may_end_anywhere(lines: list[bytes], sizes: list[int]) -> None:
    whole = b"\n".join(lines)
    pieces, rest = [], whole
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    wanted = [line.partition(b"=")[2].strip(b'"') for line in lines if line.startswith(b"events")]
    assert heard(*pieces, rest) == heard(whole) == b";".join(wanted).decode()


def test_endless_lines_take_no_memory() -> None:
    printed = PrintedVariable("events")
    for _ in range(100):
        printed.feed(b"events=" + b"x" * 100_000)
    assert len(printed._rest) <= 1024 * 1024 + 200_000
    printed.feed(b'\nevents="A,1"\n')
    assert printed.value() == "A,1"


def test_a_long_line_costs_little() -> None:
    began = time.process_time()
    assert heard(b"events=" + b" " * 500_000 + b'"\n') == ""
    assert time.process_time() - began < 2, "no lease of the worker is renewed meanwhile"


def test_endless_values_take_no_memory() -> None:
    printed = PrintedVariable("events")
    for _ in range(200):
        printed.feed(b"events=" + b"x" * 100_000 + b"\n")
    assert len(printed.value()) <= 4 * 1024 * 1024 + 200


def test_a_script_fires_when_it_has_succeeded(shell: Callable[..., Any]) -> None:
    outcome, log = shell(
        'echo "events=\\"EventA,20220713;\\""; echo events="EventB,20220713;"', settings=EVENTS
    )
    assert outcome.events == "EventA,20220713;;EventB,20220713;"
    assert 'events="EventA,20220713;"' in log.output


def test_one_that_failed_fires_nothing(shell: Callable[..., Any]) -> None:
    outcome, _ = shell('echo events="EventA,20220713;"; exit 3', settings=EVENTS)
    assert (outcome.ok, outcome.events) == (False, "")


def test_without_the_setting_it_is_text_like_any_other(shell: Callable[..., Any]) -> None:
    assert shell('echo events="EventA,20220713;"')[0].events == ""


def test_what_the_log_left_out_is_heard() -> None:
    host = Host(caps=Caps(head=1000, tail=1000), drain_seconds=0.5)
    log = Sink()
    code = 'seq 1 2000; echo events="EventA,20220713;"; seq 1 2000'
    outcome = ShellRunner(host).run(spec(code, settings=EVENTS), log, Control())
    host.close()
    assert outcome.events == "EventA,20220713;"
    assert "EventA" not in log.output


def test_secrets_are_masked(shell: Callable[..., Any]) -> None:
    outcome, _ = shell(
        'echo events="$TOKEN,20220713"', settings=EVENTS, secrets={"TOKEN": "very secret value"}
    )
    assert "secret" not in outcome.events
    assert outcome.events.endswith(",20220713")


@pytest.mark.parametrize("name", ["", "a b", "1st", 'x"', 7, ["events"]])
def test_a_wrong_name_is_refused_when_the_task_is_saved(name: Any) -> None:
    [said] = registry.check("SHELL", {"events_variable": name}, "echo")
    assert "events_variable" in said
    assert registry.check("SHELL", EVENTS, "echo") == []
