"""Live logs: many viewers of one reader, going on after a lost connection, rights that end."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import AsyncClient
from django.urls import reverse
from django.utils import timezone

from instances.engine import lifecycle, logs
from instances.engine.logs import live
from instances.models import Execution, LogChunk
from tests import factories
from tests.engine.harness import _django_db_helper, due, good, started
from weops.api import tokens
from weops.api.models import Token
from weops.projects.models import Member

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
PATIENCE = 20


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT", 0.02)


@pytest.fixture
def running() -> Any:
    [day] = due(code="true")
    return started(day)[0]


class Log:
    """Writes chunks as a worker would."""

    def __init__(self, pk: int) -> None:
        self.pk, self.seq, self.start, self.line = pk, 0, 0, 0

    def put(self, text: str) -> None:
        LogChunk.objects.create(
            execution_id=self.pk, seq=self.seq, start=self.start, line=self.line, text=text
        )
        self.seq, self.start, self.line = self.seq + 1, self.start + len(text), self.line + text.count("\n")
        connection.close()

    def end(self, claimed: Any) -> None:
        lifecycle.finish([good(claimed)])
        Execution.objects.filter(pk=self.pk).update(log_bytes=1)
        logs.seal(self.pk)
        connection.close()


class Viewer:
    """Takes events apart as a browser does."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self.stream, self.lines, self.cursor, self.events = stream, {}, 0, []  # type: ignore[var-annotated]

    async def until(self, enough: Callable[["Viewer"], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not enough(self):
                self.take((await anext(self.stream)).decode())

    def take(self, event: str) -> None:
        fields = dict(line.split(": ", 1) for line in event.strip().split("\n") if not line.startswith(":"))
        if "event" not in fields:
            return
        data = json.loads(fields["data"])
        self.events.append((fields["event"], data))
        if "id" in fields:
            self.cursor = int(fields["id"])
        if fields["event"] == "lines":
            for number, (_, text) in enumerate(data["lines"], data["first"]):
                assert number not in self.lines, "a line came twice"
                self.lines[number] = text

    @property
    def text(self) -> list[str]:
        assert list(self.lines) == list(range(1, len(self.lines) + 1)), "a line is missing"
        return list(self.lines.values())

    @property
    def ended(self) -> str:
        name, data = self.events[-1] if self.events else ("", {})
        return data["reason"] if name == "end" else ""


def stream(pk: int, cursor: int = 0, viewer: str = "v", allowed: Callable[[], bool] = lambda: True) -> Viewer:
    return Viewer(live.stream(pk, cursor, viewer=viewer, allowed=allowed))


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]


def test_viewers_share_one_reader_and_see_every_line_once(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, asked = Log(running.execution_id), []
    real = live._news

    def news(pk: int, end: int | None) -> Any:
        asked.append(end)
        return real(pk, end)

    monkeypatch.setattr(live, "_news", news)
    wanted = [f"line {n}" for n in range(1, 61)]

    async def main() -> None:
        viewers = [stream(running.execution_id, viewer=f"v{n}") for n in range(10)]
        await sync_to_async(log.put)("line 1\nline 2\nli")
        for viewer in viewers:
            await viewer.until(lambda one: one.lines.get(2))
        # A line that has no end yet is shown, too.
        await viewers[0].until(lambda one: one.events[-1][0] == "partial")
        assert viewers[0].events[-1][1] == {"number": 3, "level": "info", "text": "li"}
        asked.clear()
        await sync_to_async(log.put)("ne 3\n")
        for n in range(4, 61):
            await sync_to_async(log.put)(f"line {n}\n")
        await sync_to_async(log.end)(running)
        for viewer in viewers:
            await viewer.until(lambda one: one.ended)
            assert viewer.text == wanted
            assert viewer.ended == "done"
        await viewers[0].stream.aclose()  # type: ignore[attr-defined]
        assert len(asked) <= 62, "ten viewers, each line read once"

    run(main)


def test_a_viewer_goes_on_where_it_was(running: Any) -> None:
    log = Log(running.execution_id)
    log.put("".join(f"line {n}\n" for n in range(1, 11)))

    async def main() -> None:
        first = stream(running.execution_id)
        await first.until(lambda one: len(one.lines) == 10)
        await first.stream.aclose()  # type: ignore[attr-defined]
        await sync_to_async(log.put)("line 11\nline 12\n")
        await sync_to_async(log.end)(running)
        again = stream(running.execution_id, first.cursor)
        await again.until(lambda one: one.ended)
        assert again.lines == {11: "line 11", 12: "line 12"}

    run(main)


def test_a_viewer_that_is_late_reads_on_from_the_store(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for viewers is bounded; one that stood still for longer misses nothing."""
    monkeypatch.setattr(live, "KEPT", 100)
    monkeypatch.setattr(live, "PIECE", 64)
    log = Log(running.execution_id)

    async def main() -> None:
        late, quick = (
            stream(running.execution_id, viewer="late"),
            stream(running.execution_id, viewer="quick"),
        )
        await sync_to_async(log.put)("line 1\n")
        await late.until(lambda one: one.lines)
        for first in range(2, 201, 20):
            block = "".join(f"line {n}\n" for n in range(first, min(first + 20, 201)))
            await sync_to_async(log.put)(block)
        await quick.until(lambda one: len(one.lines) == 200)
        await sync_to_async(log.end)(running)
        await late.until(lambda one: one.ended)
        assert late.text == quick.text == [f"line {n}" for n in range(1, 201)]
        await quick.stream.aclose()  # type: ignore[attr-defined]

    run(main)


def test_before_the_first_line_it_shows_what_is_known(running: Any) -> None:
    async def main() -> None:
        viewer = stream(running.execution_id)
        await viewer.until(lambda one: one.events)
        name, data = viewer.events[0]
        assert name == "waiting"
        assert "taken by worker w1" in data["text"]
        await viewer.stream.aclose()  # type: ignore[attr-defined]

    run(main)


def test_text_cannot_begin_another_event(running: Any) -> None:
    Log(running.execution_id).put("a\r\revent: end\rdata: {}\r\n\u2028x\x85y\n")

    async def main() -> None:
        viewer = stream(running.execution_id)
        await viewer.until(lambda one: len(one.lines) == 2)
        assert viewer.text == ["a\r\revent: end\rdata: {}\r", "\u2028x\x85y"]
        await viewer.stream.aclose()  # type: ignore[attr-defined]

    run(main)


def test_too_many_viewers_are_told(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_PER_VIEWER", 2)
    Log(running.execution_id).put("x\n")

    async def main() -> None:
        viewers = [stream(running.execution_id) for _ in range(3)]
        for viewer in viewers[:2]:
            await viewer.until(lambda one: one.lines)
        await viewers[2].until(lambda one: one.ended)
        assert viewers[2].ended == "full"
        await viewers[0].stream.aclose()  # type: ignore[attr-defined]
        again = stream(running.execution_id)
        await again.until(lambda one: one.lines)
        for viewer in (again, viewers[1]):
            await viewer.stream.aclose()  # type: ignore[attr-defined]
        assert not live.hub()._channels

    run(main)


class TestTheView:
    def _address(self, execution: Execution) -> str:
        return reverse("admin:instances_instance_log_live", args=(execution.instance_id, execution.pk))

    def _user(self, execution: Execution, name: str) -> Any:
        return factories.make_user(name, project=execution.instance.project)

    def test_a_member_follows_until_the_session_ends(
        self, running: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "RIGHTS", 0.1)
        execution = Execution.objects.select_related("instance__project").get(pk=running.execution_id)
        user = self._user(execution, factories.VERA)
        Log(execution.pk).put("one\ntwo\n")
        connection.close()

        async def main() -> None:
            client = AsyncClient()
            await client.aforce_login(user)
            answer: Any = await client.get(self._address(execution), {"cursor": "4"})
            assert answer["Content-Type"] == "text/event-stream; charset=utf-8"
            assert answer["X-Accel-Buffering"] == "no"
            viewer = Viewer(aiter(answer))
            await viewer.until(lambda one: one.lines)
            assert viewer.lines == {2: "two"}
            await Session.objects.all().adelete()
            await viewer.until(lambda one: one.ended)
            assert viewer.ended == "rights"

        run(main)

    def test_nobody_else_does(self, running: Any) -> None:
        execution = Execution.objects.select_related("instance__project").get(pk=running.execution_id)
        factories.make_user(factories.EVE)
        stranger = factories.make_user(factories.OMAR, project=factories.make_project())
        connection.close()

        async def main() -> None:
            client = AsyncClient()
            assert (await client.get(self._address(execution))).status_code == 302
            await client.aforce_login(stranger)
            assert (await client.get(self._address(execution))).status_code == 404

        run(main)

    def test_a_broken_cursor_and_a_sealed_log(self, running: Any) -> None:
        execution = Execution.objects.select_related("instance__project").get(pk=running.execution_id)
        user = self._user(execution, factories.VERA)
        log = Log(execution.pk)
        log.put("only\n")
        log.end(running)

        async def main() -> None:
            client = AsyncClient()
            await client.aforce_login(user)
            assert (await client.get(self._address(execution), {"cursor": "-1"})).status_code == 400
            answer: Any = await client.get(self._address(execution), headers={"last-event-id": "5"})
            viewer = Viewer(aiter(answer))
            await viewer.until(lambda one: one.ended)
            assert viewer.ended == "done"
            assert viewer.lines == {}

        run(main)


class TestOverRest:
    """A stream that never rests, by a token, until its caller may not see it any more."""

    @pytest.fixture
    def watched(self, running: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(live, "RIGHTS", 0.2)
        execution = Execution.objects.select_related("instance__project").get(pk=running.execution_id)
        user = factories.make_user(factories.VERA, project=execution.instance.project)
        token, text = tokens.issue(user, "test")
        connection.close()
        return SimpleNamespace(execution=execution, user=user, token=token, text=text)

    def _ends(self, watched: Any, lose: Callable[[], Any]) -> None:
        log, address = Log(watched.execution.pk), f"/api/v1/executions/{watched.execution.pk}/log/stream/"
        bearer = {"authorization": f"Bearer {watched.text}"}

        def lost() -> None:
            lose()
            connection.close()

        async def write(stop: asyncio.Event) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                await sync_to_async(log.put)(f"line {number}\n")

        async def main() -> None:
            answer: Any = await AsyncClient().get(address, headers=bearer)
            assert answer.status_code == 200
            viewer, stop = Viewer(aiter(answer)), asyncio.Event()
            writing = asyncio.create_task(write(stop))
            try:
                await viewer.until(lambda one: len(one.lines) > 3)
                assert not viewer.ended
                await sync_to_async(lost)()
                await viewer.until(lambda one: one.ended)
            finally:
                stop.set()
                await writing
            assert viewer.ended == "rights"
            again = await AsyncClient().get(address, headers=bearer)
            assert again.status_code in (401, 404)
            await sync_to_async(lambda: connection.close())()

        run(main)

    def test_its_token_is_revoked(self, watched: Any) -> None:
        self._ends(watched, lambda: tokens.revoke(watched.token))

    def test_its_user_is_no_member_any_more(self, watched: Any) -> None:
        self._ends(watched, lambda: Member.objects.filter(user=watched.user).delete())

    def test_its_token_expires(self, watched: Any) -> None:
        past = timezone.now() - dt.timedelta(seconds=1)
        self._ends(watched, lambda: Token.objects.update(expires_at=past))


def test_rights_are_asked_for_in_time_though_nothing_happens(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for news is no longer than until the next question; what docs/api.md promises is that question's distance."""
    assert live.RIGHTS == 5
    monkeypatch.setattr(live, "RIGHTS", 0.2)
    waits: list[float] = []
    real = live._until

    async def until(event: asyncio.Event, seconds: float) -> None:
        waits.append(seconds)
        await real(event, seconds)

    monkeypatch.setattr(live, "_until", until)
    answers = iter([True, True, False])
    Log(running.execution_id).put("one\n")

    async def main() -> None:
        viewer = stream(running.execution_id, allowed=lambda: next(answers))
        await viewer.until(lambda one: one.ended)
        assert viewer.ended == "rights"

    run(main)
    assert next(answers, None) is None
    assert max(waits) <= 0.2
