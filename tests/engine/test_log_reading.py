"""Pages of lines, cursors, filters and search, on chunks, sealed blocks and composed lines alike."""

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.storage import storages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instances.engine import lifecycle, logs
from instances.engine.logs import blocks, reading
from instances.engine.logs.levels import summary
from instances.engine.logs.sources import Segment
from instances.models import Execution, LogChunk, StateChange
from tests import factories as make
from tests.engine import harness
from tests.engine.harness import _django_db_helper, bad, due, good, started

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]

note = blocks._note
# Every example writes the log of the same execution anew.
SAME_RUN = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["", "plain", "ERROR it failed", "  a frame", "WARN mind this", "Größe 三 🚀", "DEBUG x"]
        ),
        st.text("ab \r\tERROR", max_size=60),
    ),
    min_size=1,
    max_size=60,
)


@pytest.fixture
def running() -> Any:
    """A claimed execution."""
    [day] = due(code="true")
    return started(day)[0]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that short logs have many blocks."""
    monkeypatch.setattr(blocks, "BLOCK", 64)
    monkeypatch.setattr(blocks, "_RECORDS_A_MEMBER", 3)


def reread(pk: int) -> Execution:
    return Execution.objects.get(pk=pk)


def put(pk: int, text: str, sizes: list[int]) -> None:
    """Chunks of these sizes, over and over, until the text is used up."""
    LogChunk.objects.filter(execution=pk).delete()
    Execution.objects.filter(pk=pk).update(log_file="", log_bytes=len(text) or 1)
    rows: list[LogChunk] = []
    start = line = 0
    while start < len(text):
        piece = text[start : start + sizes[len(rows) % len(sizes)]]
        rows.append(LogChunk(execution_id=pk, seq=len(rows), start=start, line=line, text=piece))
        start, line = start + len(piece), line + piece.count("\n")
    LogChunk.objects.bulk_create(rows)


def expected(text: str) -> list[tuple[int, str, str]]:
    """(number, text, level) of every line, reckoned without any paging."""
    found, before = list[tuple[int, str, str]](), logs.Level.INFO
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        before = logs.level_of(line, before)
        found.append((number, line, before.name.lower()))
    return found


def shown(page: logs.LinesPage) -> list[tuple[int, str, str]]:
    return [(line.number, line.text, line.level) for line in page.lines]


def walk(pk: int, count: int, level: str = "all", text: str = "") -> Iterator[tuple[int, str, str]]:
    """Page after page, from the first line to the end."""
    first: int | None = 1
    while first is not None:
        execution = reread(pk)
        page = (
            logs.search(execution, text, first, count, level)
            if text
            else logs.lines(execution, first, count, level)
        )
        assert page.next_line is None or page.next_line > first or page.next_line > page.total
        yield from shown(page)
        first = page.next_line


def walk_back(pk: int, count: int, level: str) -> list[tuple[int, str, str]]:
    page, found = logs.tail(reread(pk), count, level), list[tuple[int, str, str]]()
    while True:
        found = shown(page) + found
        if page.previous_line is None:
            return found
        page = logs.before(reread(pk), page.previous_line, count, level)


class InMemory:
    """A log in pieces, with what an index knows of them, or without."""

    complete = True

    def __init__(self, text: str, sizes: list[int], indexed: bool) -> None:
        self.chars, self.total = len(text), len(expected(text))
        self._segments: list[Segment] = []
        start, line, carry = 0, 0, logs.Level.INFO
        while start < len(text):
            piece = text[start : start + sizes[len(self._segments) % len(sizes)]]
            if indexed:
                # Blocks end at line ends.
                cut = text.find("\n", start + len(piece) - 1) + 1
                piece = text[start : cut or len(text)]
            mask, after = summary(piece, carry)
            facts = (carry, mask, piece.count("\n"), len(piece)) if indexed else ()
            self._segments.append(Segment(start, line, lambda piece=piece: piece, *facts))  # type: ignore[misc]
            start, line, carry = start + len(piece), line + piece.count("\n"), after

    def from_char(self, char: int) -> Iterator[Segment]:
        raise AssertionError("a property test reads forward by lines only")

    def from_line(self, line: int) -> Iterator[Segment]:
        if not self._segments or self._segments[0].mask is None:
            return iter(self._segments)
        before = [n for n, segment in enumerate(self._segments) if segment.line < line - 1]
        return iter(self._segments[before[-1] if before else 0 :])


@settings(max_examples=150)
@given(
    lines=LINES,
    open_end=st.booleans(),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    count=st.integers(1, 25),
    level=st.sampled_from(["all", "info", "warn", "error"]),
    indexed=st.booleans(),
    needle=st.sampled_from(["", "error", "ERR", "a"]),
)
def test_pages_never_skip_or_repeat_a_line(
    lines: list[str],
    open_end: bool,
    sizes: list[int],
    count: int,
    level: str,
    indexed: bool,
    needle: str,
) -> None:
    text = "\n".join(lines) + ("" if open_end else "\n")
    source = InMemory(text, sizes, indexed)
    numbers = {"all": 0, "info": 2, "warn": 3, "error": 4}
    wanted = [row for row in expected(text) if logs.Level[row[2].upper()] >= numbers[level]]
    found, first = [], 1
    while True:
        page = reading._forward(source, first, count, level, needle.lower())
        found += shown(page)
        if page.next_line is None:
            break
        assert page.next_line > first
        first = page.next_line
    assert found == [row for row in wanted if needle.lower() in row[1].lower()]
    assert page.next_cursor == len(text)
    assert page.at_end
    back, line = list[tuple[int, str, str]](), source.total + 1
    while True:
        page = reading._backward(source, line, count, level)
        back = shown(page) + back
        if page.previous_line is None:
            break
        assert page.previous_line < line
        line = page.previous_line
    assert back == wanted


@settings(max_examples=6, suppress_health_check=SAME_RUN)
@given(
    lines=LINES,
    open_end=st.booleans(),
    sizes=st.lists(st.integers(20, 90), min_size=1, max_size=5),
    count=st.integers(10, 25),
)
def test_chunks_and_the_sealed_file_say_the_same(
    running: Any, small_blocks: None, lines: list[str], open_end: bool, sizes: list[int], count: int
) -> None:
    text = "\n".join(lines) + ("" if open_end else "\n")
    pk = running.execution_id
    lifecycle.finish([good(running)])
    put(pk, text, sizes)
    whole = expected(text)
    for sealed in (False, True):
        for level, number in {"all": 0, "error": 4}.items():
            wanted = [row for row in whole if logs.Level[row[2].upper()] >= number]
            assert list(walk(pk, count, level)) == wanted
            assert walk_back(pk, count, level) == wanted
        assert list(walk(pk, count, text="ErroR")) == [row for row in whole if "error" in row[1].lower()]
        cursor, parts = 0, []
        while not (page := logs.read(reread(pk), cursor, sizes[0] * 4)).done:
            cursor = page.next_cursor
            parts.append(page.text)
        assert "".join(parts) + page.text == text
        if not sealed and text:
            logs.seal(pk)
            with storages["logs"].open(reread(pk).log_file, "rb") as file:
                assert gzip.decompress(file.read()).decode() == text


@settings(max_examples=8, suppress_health_check=SAME_RUN)
@given(lines=LINES, cut=st.integers(0, 400), sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4))
def test_a_follower_goes_on_where_the_page_ends(
    running: Any, small_blocks: None, lines: list[str], cut: int, sizes: list[int]
) -> None:
    """The page of a log that grows, then the characters from its cursor on, are the whole log: also when it is sealed
    between the two looks."""
    text = "\n".join(lines) + "\n"
    pk = running.execution_id
    for sealed in (False, True):
        put(pk, text[:cut], sizes)
        page = logs.tail(reread(pk), 1000)
        whole = "".join(f"{line.text}\n" for line in page.lines if line.ended)
        put(pk, text, sizes)
        if sealed:
            logs.seal(pk)
        assert whole + logs.read(reread(pk), page.next_cursor, 10**6).text == text


@settings(max_examples=8, suppress_health_check=SAME_RUN)
@given(
    lines=LINES,
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    places=st.tuples(st.integers(0, 500), st.integers(0, 500)),
)
def test_any_bytes_of_chunks_of_the_sealed_file_and_of_an_older_one(
    running: Any, small_blocks: None, lines: list[str], sizes: list[int], places: tuple[int, int]
) -> None:
    text = "\n".join(lines) + "\n"
    data = text.encode()
    pk = running.execution_id
    put(pk, text, sizes)
    start, stop = sorted(min(place, len(data)) for place in places)

    def is_right() -> None:
        execution = reread(pk)
        assert logs.raw.size(execution) == len(data)
        assert b"".join(logs.raw.part(execution, start, stop)) == data[start:stop]

    is_right()
    logs.seal(pk)
    is_right()
    with pytest.MonkeyPatch.context() as older:
        older.setattr(blocks, "_note", lambda kind, field: b"" if kind == b"WB" else note(kind, field))
        put(pk, text, sizes)
        logs.seal(pk)
    is_right()


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the blocks that were unpacked, in order."""
    numbers: list[int] = []
    real = blocks.read_block

    def read_block(file: Any, index: Any, number: int) -> str:
        numbers.append(number)
        return real(file, index, number)

    monkeypatch.setattr(blocks, "read_block", read_block)
    return numbers


def test_bytes_go_on_where_a_log_is_sealed_meanwhile(running: Any, small_blocks: None) -> None:
    text = "".join(f"Zeile {n} größer\n" for n in range(200))
    put(running.execution_id, text, [100])
    data = text.encode()
    execution = reread(running.execution_id)
    pieces = logs.raw.part(execution, 7, len(data))
    begun = [next(pieces), next(pieces)]
    lifecycle.finish([good(running)])
    logs.seal(running.execution_id)
    assert b"".join([*begun, *pieces]) == data[7:]


def test_the_last_bytes_read_no_more_than_they_need(
    running: Any, small_blocks: None, unpacked: list[int]
) -> None:
    put(running.execution_id, "".join(f"line {n}\n" for n in range(5000)), [3000])
    logs.seal(running.execution_id)
    execution = reread(running.execution_id)
    size = logs.raw.size(execution)
    assert b"".join(logs.raw.part(execution, size - 15, size)) == b"4998\nline 4999\n"
    assert len(unpacked) <= 2


def test_an_index_of_many_blocks(running: Any, small_blocks: None) -> None:
    text = "".join(f"line {n} {'ERROR' if n == 700 else ''}\n" for n in range(1, 1001))
    put(running.execution_id, text, [1000])
    logs.seal(running.execution_id)
    execution = reread(running.execution_id)
    [line] = logs.first_error(execution).lines
    assert (line.number, line.text) == (700, "line 700 ERROR")
    assert logs.first_error(execution, 701).lines == []
    assert [line.number for line in logs.lines(execution, 500, 3).lines] == [500, 501, 502]
    assert [line.number for line in logs.before(execution, 500, 3).lines] == [497, 498, 499]
    assert [line.number for line in logs.tail(execution, 2).lines] == [999, 1000]
    assert logs.tail(execution, 2).total == 1000
    assert text[line.start :].startswith(line.text)


def test_the_tail_reads_no_more_than_it_needs(running: Any, small_blocks: None, unpacked: list[int]) -> None:
    put(running.execution_id, "".join(f"line {n}\n" for n in range(5000)), [3000])
    logs.seal(running.execution_id)
    logs.tail(reread(running.execution_id), 5)
    logs.lines(reread(running.execution_id), 2500, 5)
    logs.read(reread(running.execution_id), 20_000, 50)
    assert len(unpacked) <= 9
    unpacked.clear()
    assert logs.first_error(reread(running.execution_id)).lines == []
    assert unpacked == [], "the index knows that there is no error"


def test_a_damaged_file_is_an_error_of_its_own(running: Any, small_blocks: None) -> None:
    put(running.execution_id, "line\n" * 100, [50])
    logs.seal(running.execution_id)
    path = storages["logs"].path(reread(running.execution_id).log_file)
    with open(path, "r+b") as file:
        file.seek(10)
        file.write(b"\0" * 40)
    with pytest.raises(OSError, match="damaged"):
        logs.read(reread(running.execution_id), 0)


def test_a_search_that_takes_too_long_says_where_to_go_on(running: Any, small_blocks: None) -> None:
    put(running.execution_id, "".join(f"line {n}\n" for n in range(500)), [100])
    page = logs.search(reread(running.execution_id), "nothing", seconds=0)
    assert page.partial
    assert page.next_line is not None
    assert 1 < page.next_line < 500


def test_unknown_level_and_empty_search(running: Any) -> None:
    with pytest.raises(ValueError, match="level is one of all, debug"):
        logs.lines(reread(running.execution_id), level="loud")
    with pytest.raises(ValueError, match="search for"):
        logs.search(reread(running.execution_id), "")


class TestComposed:
    def test_an_execution_that_never_ran_tells_why(self) -> None:
        [day] = due()
        lifecycle.terminate([day.pk])
        page = logs.read(Execution.objects.get(), 0)
        assert page.done
        for words in ("life 0 begins (periodic)", "waits for a slot", "TERMINATED: ", "what to do: "):
            assert words in page.text
        assert logs.read(Execution.objects.get(), page.next_cursor).text == ""
        assert logs.tail(Execution.objects.get(), 1).lines[0].text.startswith("[weops] what to do")

    def test_upstream_instances_that_came(self) -> None:
        parents, child = harness.family(2)
        harness.generation.generate()
        [waiting] = harness.instances_of(child)
        text = logs.of_waiting(type(waiting).objects.select_related("resource_group").get(pk=waiting.pk))
        assert f"waits for upstream {parents[0].name} 2013-01-01 00:00:00 (UTC)" in text
        harness.run_all(*parents, child)
        execution = Execution.objects.get(instance=waiting)
        text = logs.heads([execution.pk])[execution.pk]
        for parent in parents:
            assert f"upstream {parent.name} 2013-01-01 00:00:00 (UTC) succeeded\n" in text
        assert "waits for upstream" not in text
        assert "nothing upstream is waited for any more" in text
        assert text.endswith("taken by worker w1\n")

    def test_names_of_other_projects_stay_hidden(self) -> None:
        foreign = harness.make_due(1)
        own = make.make_task(effective_to=foreign.effective_to)
        make.depend(own, foreign)
        make.submit(own, since=harness.JANUARY - harness.dt.timedelta(microseconds=1))
        harness.generation.generate()
        [waiting] = harness.instances_of(own)
        text = logs.of_waiting(type(waiting).objects.select_related("resource_group").get(pk=waiting.pk))
        assert f"waits for upstream task #{foreign.pk} of another project" in text
        assert foreign.name not in text

    def test_a_run_whose_worker_died_has_an_ending(self, running: Any) -> None:
        put(running.execution_id, "half a li", [100])
        Execution.objects.update(log_bytes=0)
        harness.age_leases(running.execution_id)
        lifecycle.expire(harness.lease_seconds())
        Execution.objects.update(ended_at=harness.JANUARY, run_started_at=harness.JANUARY, run_ended_at=None)
        before = logs.read(reread(running.execution_id), 0)
        assert before.text.startswith("half a li\n[weops] 2013-01-01 00:00:00 UTC  LOST: ")
        assert "what to do: " in before.text
        assert logs.first_error(reread(running.execution_id)).lines[0].number == 2
        logs.seal(running.execution_id)
        assert logs.read(reread(running.execution_id), 0) == before

    def test_a_run_whose_worker_died_at_once_has_a_log(self, running: Any) -> None:
        harness.age_leases(running.execution_id)
        lifecycle.expire(harness.lease_seconds())
        Execution.objects.update(ended_at=harness.JANUARY, run_started_at=harness.JANUARY, run_ended_at=None)
        text = logs.read(reread(running.execution_id), 0).text
        assert "LOST: " in text
        assert text.startswith("[weops] ")

    def test_a_retry_begins_with_its_own_wait(self) -> None:
        [day] = due(code="true", retry_limit=1)
        [first] = started(day)
        lifecycle.finish([bad(first)])
        lifecycle.retry_due()
        [second] = started(day)
        text = logs.heads([second.execution_id])[second.execution_id]
        assert "try 1 of life 0" in text
        assert "the wait before the retry is over" in text
        assert "taken by worker w1" in text

    def test_the_number_of_statements_is_the_same_for_many(self, django_assert_num_queries: Any) -> None:
        claimed = started(*due(12, code="true"))
        assert StateChange.objects.exists()
        with django_assert_num_queries(4):
            found = logs.heads([one.execution_id for one in claimed])
        assert len(found) == 12
