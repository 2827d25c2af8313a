"""Operation records: who sees them, filters, the page of one with its outcomes, exports."""

import asyncio
import csv
import datetime as dt
import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instances import operations
from instances.admin import record_export, record_page
from instances.kinds import IN_BULK, KINDS, ON_INSTANCES
from instances.models import Instance, OperationItem, OperationRecord
from instances.models.operation import OperationState
from tests import factories
from tests.admin.rows import HOSTILE, make_instance
from tests.factories import DANA, EVE, OMAR, SUSAN, VERA
from weops.console.exports import defused

LIST = reverse("admin:instances_operationrecord_changelist")


def make_record(
    instances: list[Instance], operator: User | None = None, *, outcome: str = "done", **columns: Any
) -> OperationRecord:
    """A finished rerun of `instances` with that outcome; `columns` are those of the record."""
    record = OperationRecord.objects.create(
        **{
            "kind": "rerun",
            "operator": operator,
            "operator_name": operator.get_username() if operator else "(system)",
            "source": "admin",
            "state": OperationState.SUCCESS,
            "total": len(instances),
            "done": len(instances),
            "finished_at": timezone.now(),
            **columns,
        }
    )
    OperationItem.objects.bulk_create(
        OperationItem(
            operation=record,
            instance_id=one.pk,
            from_state="failed",
            to_state="wait_run",
            outcome=outcome,
            before={"state": "failed", "life_round": 0, "error_code": "EXIT_NONZERO"},
            after={"state": "wait_run", "life_round": 1, "error_code": ""},
        )
        for one in instances
    )
    return record


def address(record: OperationRecord, page: str = "change") -> str:
    return reverse(f"admin:instances_operationrecord_{page}", args=(record.pk,))


def listed(client: Client, **parameters: Any) -> list[int]:
    """Ids on the page, without those of the tasks that the world submitted."""
    answer = client.get(LIST, parameters)
    assert answer.status_code == 200
    return [one.pk for one in answer.context["cl"].result_list if one.kind != "submit_task"]


def test_every_operation_has_a_name_and_a_button() -> None:
    assert set(operations.kinds()) <= set(KINDS)
    assert {kind.kind for kind in ON_INSTANCES} == set(operations.kinds()) - {"undo"}
    assert set(IN_BULK) < set(operations.kinds())


def test_who_sees_a_record(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    ours = make_record([world.ours.instance], world.cast[DANA])
    foreign = make_record([world.foreign.instance])
    of_task = make_record([], options={"task": world.ours.task.pk, "name": "ours_task"}, kind="pause_task")
    begun = make_record([], world.cast[OMAR], state="INIT", finished_at=None, total=7)
    assert set(listed(as_user(VERA))) == {ours.pk, of_task.pk}
    assert set(listed(as_user(OMAR))) == {ours.pk, of_task.pk, begun.pk}, "who asked for it sees it at once"
    assert set(listed(as_user(SUSAN))) == {ours.pk, foreign.pk, of_task.pk, begun.pk}
    made: dict[str, Any] = {"kind": "rerun", "state": "INIT", "finished_at": None, "total": 7, "done": 0}
    waiting = make_record([], **made, project_ids=[world.ours.project.pk, world.foreign.project.pk])
    elsewhere = make_record([], **made, project_ids=[world.foreign.project.pk])
    assert waiting.pk in listed(as_user(VERA)), "before the first outcome is there"
    assert elsewhere.pk not in listed(as_user(VERA))
    for page in ("change", "progress"):
        assert as_user(VERA).get(address(ours, page)).status_code == 200
        assert as_user(VERA).get(address(foreign, page)).status_code == 404
        assert as_user(EVE).get(address(ours, page)).status_code in (403, 404)


def test_filters(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client, ours = as_user(SUSAN), world.ours
    old = timezone.now() - dt.timedelta(days=3)
    rerun = make_record([ours.instance], world.cast[DANA], reason="the Upstream file came late")
    killed = make_record(
        [world.foreign.instance], kind="terminate", source="api", state="FAIL", done=0, created_at=old
    )
    task = make_record([], kind="pause_task", options={"task": ours.task.pk, "name": ours.task.name})
    everything = {rerun.pk, killed.pk, task.pk}
    for parameters, found in (
        ({}, everything),
        ({"kind": "terminate"}, {killed.pk}),
        ({"operator": world.cast[DANA].pk}, {rerun.pk}),
        ({"source": "api"}, {killed.pk}),
        ({"state": "FAIL"}, {killed.pk}),
        ({"made_to": f"{old:%Y-%m-%dT%H:%M}"}, set()),
        ({"made_to": f"{old + dt.timedelta(hours=1):%Y-%m-%dT%H:%M}"}, {killed.pk}),
        ({"made_from": f"{old + dt.timedelta(hours=1):%Y-%m-%dT%H:%M}"}, {rerun.pk, task.pk}),
        ({"q": "upstream FILE"}, {rerun.pk}),
        ({"q": "ours_task"}, {rerun.pk, task.pk}),
        ({"q": "foreign_t"}, {killed.pk}),
        ({"q": f"#{world.foreign.instance.pk}"}, {killed.pk}),
        ({"q": "nothing here"}, set()),
        ({"kind": "explode"}, set()),
        ({"made_from": "yesterday"}, set()),
    ):
        assert set(listed(client, **parameters)) >= found, parameters
        assert set(listed(client, **parameters)) <= found | _numbered(parameters), parameters


def _numbered(parameters: dict[str, Any]) -> set[int]:
    """Records that a search for a number may find too: the one with that number itself."""
    text = str(parameters.get("q", "")).removeprefix("#")
    return {int(text)} if text.isdecimal() else set()


def test_a_search_finds_nothing_of_other_projects(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    make_record([world.foreign.instance], reason="secret plan")
    client = as_user(VERA)
    for text in ("secret", "foreign_task", str(world.foreign.instance.pk)):
        assert listed(client, q=text) == []


def test_other_lookups_are_refused(as_user: Callable[[str], Client]) -> None:
    assert as_user(SUSAN).get(LIST, {"operator__password__startswith": "x"}).status_code == 400


def test_the_list_costs_the_same_with_many_records(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(OMAR)

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            listed(client)
        return len(captured)

    make_record([world.ours.instance], world.cast[DANA])
    before = cost()
    for day in range(1, 30):
        task = factories.make_task(world.ours.workflow)
        make_record(
            [make_instance(task, after=day)], factories.make_user(f"u{day}", project=world.ours.project)
        )
    assert cost() == before
    assert before <= 20


def test_older_records_follow_the_counted_ones(
    monkeypatch: pytest.MonkeyPatch, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    from instances.admin.records import OperationRecordAdmin
    from weops.console.paging import CappedPaginator

    newest_first = [make_record([world.ours.instance]).pk for _ in range(6)][::-1]
    monkeypatch.setattr(CappedPaginator, "cap", 4)
    monkeypatch.setattr(OperationRecordAdmin, "list_per_page", 2)
    client = as_user(VERA)
    assert listed(client, p=2) == newest_first[2:4]
    older = client.get(LIST, {"p": 2}).context["cl"].older
    assert [one.pk for one in client.get(LIST + older).context["cl"].result_list] == newest_first[4:6]
    assert listed(client, before="broken") == []


# The page of one


def page(client: Client, record: OperationRecord, **parameters: Any) -> Any:
    answer = client.get(address(record), parameters)
    assert answer.status_code == 200
    return answer.context["page"]


def test_outcomes_before_and_after(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    record = make_record(
        [world.ours.instance, world.foreign.instance],
        world.cast[DANA],
        reason=HOSTILE,
        options={"scope": "with_downstream", "parameters": {"who": HOSTILE}},
    )
    client = as_user(VERA)
    shown = page(client, record)
    assert [line.item.instance_id for line in shown.outcomes.lines] == [world.ours.instance.pk]
    assert ("life round", "0", "1") in shown.outcomes.lines[0].changes
    assert ("error code", "EXIT_NONZERO", "–") in shown.outcomes.lines[0].changes
    assert dict(shown.options)["Scope"] == "This instance and downstream instances"
    text = client.get(address(record)).content.decode()
    assert HOSTILE not in text
    assert "&lt;script&gt;alert" in text
    assert "foreign_" not in text, "what is in a project that one cannot see stays there"
    assert len(page(as_user(SUSAN), record).outcomes.lines) == 2


def test_outcomes_are_read_page_by_page(
    monkeypatch: pytest.MonkeyPatch, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    monkeypatch.setattr(record_page, "PAGE", 3)
    instances = [make_instance(world.ours.task, after=day) for day in range(1, 8)]
    record = make_record(instances[:5], refused=2, total=7)
    for one in instances[5:]:
        OperationItem.objects.create(operation=record, instance_id=one.pk, outcome="refused", message="no")
    client, seen, where = as_user(VERA), [], address(record)
    while where:
        outcomes = client.get(where).context["page"].outcomes
        assert len(outcomes.lines) <= 3
        seen += [line.item.instance_id for line in outcomes.lines]
        where = address(record) + outcomes.following.partition("#")[0] if outcomes.following else ""
    assert seen == sorted(one.pk for one in instances)
    refused = page(client, record, outcome="refused").outcomes
    assert [line.item.instance_id for line in refused.lines] == sorted(one.pk for one in instances[5:])
    assert [(label, count) for _, label, count, _ in refused.tabs] == [
        ("All", 7),
        ("Done", 5),
        ("Refused", 2),
    ]


def test_a_page_costs_the_same_with_many_outcomes(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    few = make_record([world.ours.instance])
    many = make_record(
        [make_instance(factories.make_task(world.ours.workflow), after=day) for day in range(40)]
    )
    client, costs = as_user(VERA), []
    for record in (few, many):
        with CaptureQueriesContext(connection) as captured:
            page(client, record)
        costs.append(len(captured))
    assert costs[0] == costs[1]
    assert costs[0] <= 20


def test_the_bar_tells_how_far_it_is(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    record = make_record(
        [], world.cast[OMAR], state="RUNNING", finished_at=None, total=200, done=90, refused=10
    )
    client = as_user(OMAR)
    shown = client.get(address(record, "progress")).context["progress"]
    assert (shown.live, shown.settled, shown.percent) == (True, 100, 50)
    assert [(share.name, share.percent) for share in shown.shares][:2] == [
        ("done", "45.00"),
        ("refused", "5.00"),
    ]
    assert 'data-live="1"' in client.get(address(record)).content.decode()
    OperationRecord.objects.filter(pk=record.pk).update(
        state="PART_SUCCESS", done=190, finished_at=timezone.now()
    )
    text = client.get(address(record, "progress")).content.decode()
    assert 'data-live=""' in text
    assert "200 of 200" in text


def test_a_record_is_not_written_by_hand(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    record = make_record([world.ours.instance])
    client = as_user(SUSAN)
    assert client.post(address(record), {"reason": "better"}).status_code == 405
    assert client.post(address(record, "delete"), {"post": "yes"}).status_code == 403
    for name in ("cancel", "undo", "items"):
        assert client.get(address(record, name)).status_code == 405
    assert client.get(reverse("admin:instances_operationrecord_export")).status_code == 405


def test_a_request_from_elsewhere_is_refused(world: SimpleNamespace) -> None:
    record = make_record([world.ours.instance])
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.cast[SUSAN])
    for name in ("cancel", "undo", "items"):
        assert client.post(address(record, name)).status_code == 403
    assert client.post(reverse("admin:instances_operationrecord_export")).status_code == 403
    assert not OperationRecord.objects.exclude(kind__in=["submit_task", "rerun"]).exists()


# Exports


def rows(answer: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("\rx", "' x"),
        ("\nx", "'\nx"),
        ("\0x", "' x"),
        ("a\x1b[2Jb", "a [2Jb"),
        ("plain = text", "plain = text"),
        (None, ""),
        (17, "17"),
    ],
)
def test_cells_are_defused(cell: Any, safe: str) -> None:
    assert defused(cell) == safe


def test_records_are_exported_and_the_export_recorded(
    world: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_export, "PORTION", 2)
    kept = [make_record([world.ours.instance], reason=f"={number}") for number in range(5)]
    make_record([world.ours.instance], kind="terminate")
    make_record([world.foreign.instance])
    answer = as_user(VERA).post(reverse("admin:instances_operationrecord_export") + "?kind=rerun")
    assert answer["Content-Disposition"] == 'attachment; filename="operations.csv"'
    head, *body = rows(answer)
    assert [int(row[0]) for row in body] == [record.pk for record in reversed(kept)]
    assert [row[head.index("reason")] for row in body] == [f"'={number}" for number in range(4, -1, -1)]
    noted = OperationRecord.objects.get(kind="export_records")
    assert (noted.operator, noted.state, noted.options) == (
        world.cast[VERA],
        "SUCCESS",
        {"filter": {"Operation": "Rerun"}},
    )
    in_chinese = {"Accept-Language": "zh-hans"}
    as_user(VERA).post(reverse("admin:instances_operationrecord_export") + "?kind=rerun", headers=in_chinese)
    assert OperationRecord.objects.filter(kind="export_records").latest("id").options == noted.options
    broken = as_user(VERA).post(reverse("admin:instances_operationrecord_export") + "?kind=explode")
    assert broken.status_code == 400
    assert OperationRecord.objects.filter(kind="export_records").count() == 2


def test_outcomes_are_exported_in_portions(
    world: SimpleNamespace, as_user: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_export, "PORTION", 2)
    ours = [make_instance(world.ours.task, after=day) for day in range(1, 6)]
    record = make_record([*ours, world.foreign.instance])
    head, *body = rows(as_user(VERA).post(address(record, "items")))
    assert [int(row[0]) for row in body] == [one.pk for one in ours], "those of other projects stay out"
    first = dict(zip(head, body[0], strict=True))
    assert (first["task"], first["outcome"], first["state before"], first["state after"]) == (
        "ours_task",
        "done",
        "failed",
        "wait_run",
    )
    assert len(rows(as_user(VERA).post(address(record, "items") + "?outcome=refused"))) == 1
    noted = OperationRecord.objects.filter(kind="export_outcomes").order_by("id")
    assert [one.options for one in noted] == [
        {"of_operation": record.pk},
        {"of_operation": record.pk, "outcome": "refused"},
    ]
    assert as_user(EVE).post(address(record, "items")).status_code in (403, 404)


@pytest.mark.django_db(transaction=True)
def test_an_asynchronous_server_streams_it_too() -> None:
    """The product runs under ASGI, where an ordinary iterator would be read to its end before the first byte is sent."""
    susan = factories.make_user(SUSAN)
    record = make_record([make_instance(factories.make_task())])
    client = AsyncClient()
    client.force_login(susan)

    async def export() -> str:
        answer: Any = await client.post(address(record, "items"))
        assert answer.is_async
        text = b"".join([chunk async for chunk in answer.streaming_content]).decode()
        # A server does so at the end of each request, in the thread that read.
        await sync_to_async(connections.close_all)()
        return text

    body = list(csv.reader(io.StringIO(asyncio.run(export()))))
    assert [row[5] for row in body] == ["outcome", "done"]


# Cancel and undo


def test_an_operation_is_undone_once(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    instance = make_instance(world.ours.task, "failed", after=1)
    client = as_user(OMAR)
    record = operations.run("mark_success", [instance.pk], user=world.cast[OMAR], reason="", source="admin")
    assert page(client, record).may_undo
    answer = client.post(address(record, "undo"), {"reason": "too early"}, follow=True)
    undone = OperationRecord.objects.get(kind="undo")
    assert answer.redirect_chain[-1][0] == address(undone)
    assert (undone.undoes, undone.reason, undone.operator) == (record, "too early", world.cast[OMAR])
    instance.refresh_from_db()
    assert instance.state == "failed"
    shown = page(client, record)
    assert not shown.may_undo
    assert shown.undone_by == [undone]
    again = client.post(address(record, "undo"), follow=True)
    assert "undone already" in again.content.decode()
    assert OperationRecord.objects.filter(kind="undo").count() == 1


@pytest.mark.parametrize(
    ("done", "state", "said"),
    [
        (1, OperationState.RUNNING, "Undone on 1 of 2 instances so far by operation"),
        (1, OperationState.PART_SUCCESS, "Undone on 1 of 2 instances by operation"),
        (2, OperationState.SUCCESS, "Undone by operation"),
        (0, OperationState.FAIL, "Nothing could be put back by operation"),
    ],
)
def test_a_record_says_how_much_of_it_is_undone(
    done: int, state: str, said: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    chosen = [make_instance(world.ours.task, "failed", after=n) for n in (1, 2)]
    record = make_record(chosen)
    over = None if state == OperationState.RUNNING else timezone.now()
    make_record([], kind="undo", undoes=record, total=2, done=done, state=state, finished_at=over)
    assert said in " ".join(as_user(OMAR).get(address(record)).content.decode().split())


def test_the_export_appears_with_the_first_outcomes(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """Who opens the record of a big operation comes before its outcomes; the page is never loaded again."""
    client, box = as_user(OMAR), 'id="wo-outcome-export"'
    empty = make_record([], world.cast[OMAR], total=1, done=0, state=OperationState.RUNNING, finished_at=None)
    before = client.get(address(empty)).content.decode()
    assert box in before
    assert address(empty, "items") not in before
    record = make_record([world.ours.instance])
    _, _, after = client.get(address(record)).content.decode().partition(box)
    assert address(record, "items") in after.partition('id="wo-outcomes"')[0]
    script = (settings.BASE_DIR / "weops/console/static/console/record.js").read_text()
    assert '"wo-outcome-export"' in script, "what is exchanged while the operation is on"


def test_what_cannot_be_undone_says_why(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    record = make_record([world.ours.instance], kind="remove_dependency")
    client = as_user(OMAR)
    shown = page(client, record)
    assert not shown.may_undo
    assert "cannot be undone" in shown.why_not_undoable
    assert "cannot be undone" in client.post(address(record, "undo"), follow=True).content.decode()
    exported = OperationRecord.objects.create(
        kind="export_records", operator=world.cast[OMAR], source="admin"
    )
    assert not page(client, exported).why_not_undoable, "where there is nothing to undo, nothing is said"


def test_a_viewer_undoes_nothing(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    instance = make_instance(world.ours.task, "failed", after=1)
    record = operations.run("mark_success", [instance.pk], user=None, reason="", source="system")
    assert not page(as_user(VERA), record).may_undo
    as_user(VERA).post(address(record, "undo"))
    instance.refresh_from_db()
    assert instance.state == "success"


def begun(world: SimpleNamespace, name: str = OMAR) -> OperationRecord:
    """A rerun of three failed instances that nobody has begun to apply."""
    made = [make_instance(world.ours.task, "failed", after=day) for day in range(1, 4)]
    ids = [one.pk for one in made]
    return operations.run("rerun", ids, user=world.cast[name], reason="", source="admin", background=True)


def test_what_is_left_is_cancelled(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    record, client = begun(world), as_user(OMAR)
    assert page(client, record).may_cancel
    answer = client.post(address(record, "cancel"), follow=True)
    assert not answer.context["page"].may_cancel
    assert operations.work(record.pk)
    shown = page(client, record, outcome="cancelled")
    assert (shown.record.state, shown.record.cancelled, len(shown.outcomes.lines)) == ("FAIL", 3, 3)
    late = client.post(address(record, "cancel"), follow=True)
    assert "nothing left to cancel" in late.content.decode()


def test_who_may_cancel(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    record = begun(world, DANA)
    assert page(as_user(OMAR), record).may_cancel, "who could have asked for it"
    as_user(OMAR).post(address(record, "cancel"))
    record.refresh_from_db()
    assert record.cancel_requested_by == world.cast[OMAR]


def test_a_viewer_cancels_nothing(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    record = begun(world)
    assert not page(as_user(VERA), record).may_cancel
    answer = as_user(VERA).post(address(record, "cancel"), follow=True)
    assert "can be cancelled by omar" in answer.content.decode()
    record.refresh_from_db()
    assert record.cancel_requested_at is None
