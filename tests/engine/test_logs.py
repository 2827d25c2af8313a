"""Logs: what is read never skips or repeats, whatever is written, wherever the log is being moved to meanwhile."""

import datetime as dt
import gzip
import pathlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.files.storage import storages

from instances.engine import lifecycle, logs, maintenance
from instances.engine.logs import LogWriter
from instances.engine.logs import writer as writing
from instances.models import Execution, Instance, LogChunk, StateChange
from tests.engine import harness
from tests.engine.harness import JANUARY, _django_db_helper, due, good, started
from weops.celery import app

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def running() -> Any:
    """A claimed execution."""
    [day] = due(code="true")
    return started(day)[0]


@pytest.fixture
def writer() -> Iterator[LogWriter]:
    one = LogWriter()
    one.start()
    yield one
    one.stop()


def reread(pk: int) -> Execution:
    return Execution.objects.get(pk=pk)


def put(pk: int, *texts: str) -> None:
    """Chunks as a writer would have left them."""
    start = 0
    for seq, text in enumerate(texts):
        LogChunk.objects.create(execution_id=pk, seq=seq, start=start, text=text)
        start += len(text)


def follow(pk: int, limit: int) -> Iterator[str]:
    """What somebody who follows the log sees, page by page, until it is done."""
    cursor, done = 0, False
    while not done:
        page = logs.read(reread(pk), cursor, limit)
        assert page.next_cursor == cursor + len(page.text)
        cursor, done = page.next_cursor, page.done
        yield page.text


def sealed_text(pk: int) -> str:
    with storages["logs"].open(reread(pk).log_file, "rb") as file:
        return gzip.decompress(file.read()).decode()


class TestReading:
    TEXTS = ("one\n", "", "zweite Zeile: Größe\n", "三行目\n" * 7, "x" * 50, "end\n")

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 51, 1000])
    def test_pages_join_to_the_whole_log(self, running: Any, limit: int) -> None:
        put(running.execution_id, *self.TEXTS)
        lifecycle.finish([good(running)])
        Execution.objects.update(log_bytes=1)
        whole = "".join(self.TEXTS)
        assert "".join(follow(running.execution_id, limit)) == whole
        logs.seal(running.execution_id)
        assert "".join(follow(running.execution_id, limit)) == whole

    def test_from_every_cursor_before_and_after_sealing(self, running: Any) -> None:
        put(running.execution_id, *self.TEXTS)
        whole = "".join(self.TEXTS)
        for _ in ("chunks", "sealed"):
            for cursor in range(len(whole) + 1):
                page = logs.read(reread(running.execution_id), cursor, 9)
                assert (page.text, page.next_cursor) == (
                    whole[cursor : cursor + 9],
                    min(cursor + 9, len(whole)),
                )
            logs.seal(running.execution_id)

    @pytest.mark.parametrize("cursor", [0, 5, 30])
    def test_a_log_that_is_sealed_between_two_looks(self, running: Any, cursor: int) -> None:
        """The reader got the execution before it was sealed, and looks for chunks that are gone."""
        put(running.execution_id, *self.TEXTS)
        lifecycle.finish([good(running)])
        seen_before = reread(running.execution_id)
        logs.seal(running.execution_id)
        page = logs.read(seen_before, cursor)
        assert page.text == "".join(self.TEXTS)[cursor:]
        assert page.done

    def test_an_ended_run_is_not_done_before_its_last_lines_are_there(self, running: Any) -> None:
        """The result may be written before the log: a reader who stops there would never see how it ended."""
        put(running.execution_id, "begin\n")
        lifecycle.finish([good(running)])
        page = logs.read(reread(running.execution_id), 0)
        assert (page.text, page.done) == ("begin\n", False)

    def test_a_run_that_ended_long_ago_is_done_though_nobody_sealed_it(self, running: Any) -> None:
        """Its worker was killed: no more will come."""
        put(running.execution_id, "begin\n")
        lifecycle.finish([good(running)])
        Execution.objects.update(run_started_at=JANUARY, run_ended_at=JANUARY, ended_at=JANUARY)
        page = logs.read(reread(running.execution_id), 0)
        assert page.text.startswith("begin\n[weops] 2013-01-01 00:00:00 UTC  ")
        assert page.done

    def test_a_running_one_is_not_done(self, running: Any) -> None:
        assert logs.read(reread(running.execution_id), 0) == logs.LogPage("", 0, done=False)


class TestSealing:
    def test_twice_keeps_the_text(self, running: Any) -> None:
        put(running.execution_id, "one\n", "two\n")
        logs.seal(running.execution_id)
        name = reread(running.execution_id).log_file
        logs.seal(running.execution_id)
        assert sealed_text(running.execution_id) == "one\ntwo\n"
        assert reread(running.execution_id).log_file == name

    def test_at_the_same_time_keeps_the_text(self, running: Any) -> None:
        put(running.execution_id, *["line\n"] * 500)
        harness.race(*[lambda: logs.seal(running.execution_id)] * 4)
        assert sealed_text(running.execution_id) == "line\n" * 500
        folder = storages["logs"].path(reread(running.execution_id).log_file).rpartition("/")[0]
        assert len(storages["logs"].listdir(folder)[1]) == 1

    def test_a_file_left_by_a_crash_is_replaced(self, running: Any) -> None:
        put(running.execution_id, "whole\n")
        logs.seal(running.execution_id)
        name = reread(running.execution_id).log_file
        # The process died after it wrote the file, and before it said so.
        Execution.objects.update(log_file="")
        put(running.execution_id, "whole\n")
        logs.seal(running.execution_id)
        assert sealed_text(running.execution_id) == "whole\n"
        folder = storages["logs"].path(name).rpartition("/")[0]
        assert len(storages["logs"].listdir(folder)[1]) == 1

    def test_what_a_killed_worker_left_is_sealed_later(self, running: Any) -> None:
        put(running.execution_id, "begin\n")
        assert maintenance.seal_left_logs() == 0
        lifecycle.finish([good(running)])
        assert maintenance.seal_left_logs() == 0
        Execution.objects.update(run_started_at=JANUARY, run_ended_at=JANUARY, ended_at=JANUARY)
        assert maintenance.seal_left_logs() == 1
        assert maintenance.seal_left_logs() == 0
        assert sealed_text(running.execution_id) == "begin\n[weops] 2013-01-01 00:00:00 UTC  succeeded\n"
        assert not LogChunk.objects.exists()

    def test_what_comes_faster_than_it_is_sealed_stays_in_chunks(
        self, running: Any, writer: LogWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writing, "MOST_TO_SEAL", 0)
        sink = writer.sink(running.execution_id)
        sink.write("output", b"begin\n")
        harness.until(lambda: LogChunk.objects.exists())
        sink.close()
        writer.stop()
        assert LogChunk.objects.exists()
        lifecycle.finish([good(running)])
        Execution.objects.update(run_started_at=JANUARY, run_ended_at=JANUARY, ended_at=JANUARY)
        assert maintenance.seal_left_logs() == 1
        assert sealed_text(running.execution_id) == "begin\n"

    def test_the_ending_of_a_lost_run_comes_soon(self, running: Any) -> None:
        put(running.execution_id, "begin\n")
        harness.age_leases(running.execution_id)
        lifecycle.expire(harness.lease_seconds())
        execution = reread(running.execution_id)
        assert execution.error_code == "LOST"
        assert not logs.read(execution, 0).done, "its worker may be about to write a last line"
        assert execution.ended_at is not None
        ended = execution.ended_at - dt.timedelta(seconds=3)
        Execution.objects.update(ended_at=ended, run_ended_at=ended, run_started_at=ended)
        page = logs.read(reread(running.execution_id), 0)
        assert page.done
        assert page.text.startswith("begin\n[weops] ")
        assert "LOST" in page.text
        assert maintenance.seal_left_logs() == 0, "a minute must have passed before others touch its chunks"
        Execution.objects.update(run_started_at=JANUARY, run_ended_at=JANUARY, ended_at=JANUARY)
        assert maintenance.seal_left_logs(seconds=20) == 1
        assert "LOST" in sealed_text(running.execution_id)

    def test_when_its_time_is_up_it_stops(self, running: Any) -> None:
        put(running.execution_id, "begin\n")
        lifecycle.finish([good(running)])
        Execution.objects.update(run_started_at=JANUARY, run_ended_at=JANUARY, ended_at=JANUARY)
        assert maintenance.seal_left_logs(seconds=-1) == 0
        assert maintenance.seal_left_logs() == 1

    def test_beat_has_it_done_twice_a_minute(self, running: Any) -> None:
        put(running.execution_id, "begin\n")
        lifecycle.finish([good(running)])
        Execution.objects.update(run_started_at=JANUARY, run_ended_at=JANUARY, ended_at=JANUARY)
        [planned] = [one for one in app.conf.beat_schedule.values() if one["task"] == "weops.left_logs"]
        assert planned["schedule"] <= 30
        app.tasks[planned["task"]]()
        assert not LogChunk.objects.exists()

    def test_one_that_cannot_be_sealed_does_not_hold_up_the_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = started(*due(2, code="true"))
        for one in (first, second):
            put(one.execution_id, "text\n")
        lifecycle.finish([good(first), good(second)])
        Execution.objects.update(run_started_at=JANUARY, run_ended_at=JANUARY, ended_at=JANUARY)
        real = logs.seal

        def seal(execution_id: int) -> None:
            if execution_id == first.execution_id:
                raise OSError("no room")
            real(execution_id)

        monkeypatch.setattr(logs, "seal", seal)
        assert maintenance.seal_left_logs(limit=1) == 1
        assert [reread(one.execution_id).log_file == "" for one in (first, second)] == [True, False]

    def test_a_worker_that_was_believed_dead_adds_to_what_was_sealed(
        self, running: Any, writer: LogWriter
    ) -> None:
        sink = writer.sink(running.execution_id)
        sink.write("output", b"before\n")
        harness.until(lambda: LogChunk.objects.exists())
        harness.age_leases(running.execution_id)
        lifecycle.expire(harness.lease_seconds())
        logs.seal(running.execution_id)
        assert sealed_text(running.execution_id) == "before\n"
        sink.write("output", b"after\n")
        sink.close()
        writer.stop()
        assert sealed_text(running.execution_id) == "before\nafter\n"
        assert not LogChunk.objects.exists()

    def test_nothing_to_seal_makes_no_file(self, running: Any) -> None:
        logs.seal(running.execution_id)
        logs.seal(10**9)
        assert reread(running.execution_id).log_file == ""


class TestRetention:
    def test_old_instances_go_with_their_logs(self, running: Any) -> None:
        put(running.execution_id, "old\n")
        lifecycle.finish([good(running)])
        logs.seal(running.execution_id)
        path = storages["logs"].path(reread(running.execution_id).log_file)
        recent = due()
        Instance.objects.filter(pk=running.instance_id).update(created_at=JANUARY)
        maintenance.hourly()
        assert list(Instance.objects.values_list("id", flat=True)) == harness.ids(recent)
        assert not Execution.objects.exists()
        assert not StateChange.objects.exists()
        assert not pathlib.Path(path).exists()

    def test_what_has_not_ended_stays_however_old(self, running: Any) -> None:
        Instance.objects.update(created_at=JANUARY)
        maintenance.hourly()
        assert Instance.objects.count() == 1

    def test_an_instance_that_is_rerun_at_that_moment_stays(self, running: Any) -> None:
        lifecycle.finish([good(running)])
        Instance.objects.update(created_at=JANUARY)
        _, [removed] = harness.overtake(
            lambda: lifecycle.rerun([running.instance_id]),
            lambda: maintenance.remove_old(JANUARY + harness.DAY),
        )
        assert removed == 0
        assert Instance.objects.get().state == "wait_run"
        assert Execution.objects.count() == 1


class TestWriting:
    def _written(self, running: Any, writer: LogWriter, *pieces: bytes) -> str:
        sink = writer.sink(running.execution_id)
        for piece in pieces:
            sink.write("output", piece)
        sink.close()
        writer.stop()
        return sealed_text(running.execution_id)

    def test_the_sealed_file_is_what_was_printed(self, running: Any, writer: LogWriter) -> None:
        lines = [f"line {n}: {'y' * (n % 97)}\n" for n in range(2000)]
        assert self._written(running, writer, *(line.encode() for line in lines)) == "".join(lines)
        execution = reread(running.execution_id)
        assert (execution.log_lines, execution.log_bytes) == (2000, sum(map(len, lines)))
        assert not LogChunk.objects.exists()

    def test_characters_cut_between_two_pieces(self, running: Any, writer: LogWriter) -> None:
        text = "Größe 三行目 🚀\n" * 30
        data = text.encode()
        cuts = [data[n : n + 5] for n in range(0, len(data), 5)]
        assert self._written(running, writer, *cuts) == text

    def test_garbage_and_nul(self, running: Any, writer: LogWriter) -> None:
        random.seed(1)
        data = random.randbytes(300_000) + b"\0\0end\n"
        text = self._written(running, writer, *(data[n : n + 4096] for n in range(0, len(data), 4096)))
        assert text == data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        lifecycle.finish([good(running)])
        assert "".join(follow(running.execution_id, 50_000)) == text

    def test_a_character_that_never_ends_is_shown_as_such(self, running: Any, writer: LogWriter) -> None:
        assert self._written(running, writer, b"end \xf0\x9f") == "end \N{REPLACEMENT CHARACTER}"

    def test_a_line_of_the_engine_s_own_with_half_a_character(self, running: Any, writer: LogWriter) -> None:
        """An error's text may hold what cannot be encoded; that must not lose the run's result."""
        sink = writer.sink(running.execution_id)
        sink.line("no file \udc80")
        sink.close()
        writer.stop()
        assert sealed_text(running.execution_id) == "[weops] no file ?\n"

    def test_a_line_of_the_engine_s_own_ends_the_task_s(self, running: Any, writer: LogWriter) -> None:
        sink = writer.sink(running.execution_id)
        sink.line("begins")
        sink.write("output", b"no line end")
        sink.write("output", b"")
        sink.line("EXIT_NONZERO: exit code 1")
        sink.close()
        writer.stop()
        text = sealed_text(running.execution_id)
        assert text == "[weops] begins\nno line end\n[weops] EXIT_NONZERO: exit code 1\n"

    def test_a_line_larger_than_a_chunk(self, running: Any, writer: LogWriter) -> None:
        data = b"ab" * (logs.CHUNK + 7)
        sink = writer.sink(running.execution_id)
        sink.write("output", data)
        sink.close()
        writer.stop()
        assert sealed_text(running.execution_id) == data.decode()

    def test_a_run_without_output_leaves_nothing(self, running: Any, writer: LogWriter) -> None:
        writer.sink(running.execution_id).close()
        writer.stop()
        assert reread(running.execution_id).log_file == ""

    def test_it_can_be_read_while_it_is_written(
        self, running: Any, writer: LogWriter, eventually: Callable[..., Any]
    ) -> None:
        sink = writer.sink(running.execution_id)
        seen, cursor = "", 0
        for n in range(4):
            sink.line(f"step {n}")

            def arrived(n: int = n) -> bool:
                nonlocal seen, cursor
                page = logs.read(reread(running.execution_id), cursor)
                seen, cursor = seen + page.text, page.next_cursor
                return f"step {n}\n" in seen

            eventually(arrived)
        assert seen == "".join(f"[weops] step {n}\n" for n in range(4))
        sink.close()
        lifecycle.finish([good(running)])
        assert "".join(follow(running.execution_id, 10)) == seen

    def test_many_runs_write_at_once(self, writer: LogWriter) -> None:
        claimed = started(*due(12, code="true"))

        def write(one: Any) -> Callable[[], None]:
            def run() -> None:
                sink = writer.sink(one.execution_id)
                for n in range(50):
                    sink.write("output", f"{one.execution_id} {n}\n".encode())
                sink.close()

            return run

        harness.race(*map(write, claimed))
        writer.stop()
        for one in claimed:
            assert sealed_text(one.execution_id) == "".join(f"{one.execution_id} {n}\n" for n in range(50))

    def test_a_database_that_hangs_up_loses_and_repeats_nothing(
        self, running: Any, writer: LogWriter, eventually: Callable[..., Any]
    ) -> None:
        sink = writer.sink(running.execution_id)
        with harness.watching() as watcher:
            sink.write("output", b"before\n")
            harness.until(lambda: not writer._open[running.execution_id].pending)
            watcher.hang_up()
            sink.write("output", b"after\n")
            sink.close()
            writer.stop(harness.PATIENCE)
        harness.reconnect()
        assert sealed_text(running.execution_id) == "before\nafter\n"

    def test_a_commit_whose_answer_got_lost_loses_and_repeats_nothing(
        self, running: Any, writer: LogWriter
    ) -> None:
        """The first chunk is in the database, but the writer believes that it is not, and writes it with more."""
        put(running.execution_id, "first\n")
        text = self._written(running, writer, b"first\n", b"second\n")
        assert text == "first\nsecond\n"
