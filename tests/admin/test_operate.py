"""Operating from the admin: preview, rights, CSRF, stale previews, and that only the operations write a state."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instances.engine.states import State
from instances.models import FrozenSet, Instance, OperationRecord
from tests import factories
from tests.admin.operating import address, apply, operate, previewed, state
from tests.admin.rows import HOSTILE, make_edge, make_instance
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA
from weops.projects.models import Member

KINDS = ["terminate", "rerun", "mark_success"]
AFTER = {"terminate": State.FAILED, "rerun": State.WAIT_RUN, "mark_success": State.SUCCESS}
LIST = reverse("admin:instances_instance_changelist")


@pytest.mark.parametrize("kind", KINDS)
def test_looking_changes_nothing(kind: str, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    answer = as_user(OMAR).get(address(kind), {"ids": world.ours.instance.pk})
    assert answer.status_code == 200
    assert answer.context["preview"] is None
    assert not FrozenSet.objects.exists(), "a link or a picture elsewhere could ask for it"
    assert not OperationRecord.objects.filter(kind=kind).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_preview_says_what_would_happen(
    kind: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    done = make_instance(world.ours.task, State.SKIPPED, after=1)
    sent = {"ids": f"{world.ours.instance.pk},{done.pk},{world.foreign.instance.pk}"}
    answer = previewed(as_user(OMAR), kind, sent)
    preview = answer.context["preview"]
    assert (preview.total, preview.allowed, preview.refused) == (2, 1, 1)
    assert answer.context["choice"].missing == 1
    (refused,) = preview.refusals
    assert [example["id"] for example in refused["examples"]] == [done.pk]
    assert {row.pk: bool(row.why_not) for row in preview.rows} == {
        world.ours.instance.pk: False,
        done.pk: True,
    }
    text = answer.content.decode()
    assert "Skipped" in text
    assert "foreign_" not in text
    assert state(world.ours.instance) == State.WAIT_RUN
    assert not OperationRecord.objects.filter(kind=kind).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_done_and_recorded(kind: str, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    answer = operate(as_user(OMAR), kind, {"ids": world.ours.instance.pk, "reason": "because"})
    assert answer.redirect_chain[-1][0].endswith(f"/instance/{world.ours.instance.pk}/change/")
    assert "done, see" in answer.content.decode()
    assert state(world.ours.instance) == AFTER[kind]
    record = OperationRecord.objects.get(kind=kind)
    assert (record.operator, record.source, record.reason, record.done) == (
        world.cast[OMAR],
        "admin",
        "because",
        1,
    )


def test_what_is_refused_is_listed_and_the_rest_proceeds(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    done = make_instance(world.ours.task, State.SUCCESS, after=1)
    answer = operate(
        as_user(OMAR), "terminate", {"ids": f"{world.ours.instance.pk},{done.pk}", "query": "q=ours"}
    )
    record = OperationRecord.objects.get(kind="terminate")
    assert answer.redirect_chain[-1][0].startswith(
        reverse("admin:instances_operationrecord_change", args=(record.pk,))
    )
    text = answer.content.decode()
    assert "1 refused" in text
    assert "is in state Success" in text
    assert answer.context["back"] == f"{LIST}?q=ours"
    assert (state(world.ours.instance), state(done)) == (State.FAILED, State.SUCCESS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "may"), [(EVE, False), (VERA, False), (OMAR, True), (DANA, True), (PETRA, True), (SUSAN, True)]
)
def test_who_may(
    kind: str, name: str, may: bool, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(name)
    answer = client.post(address(kind), {"ids": world.ours.instance.pk})
    assert ('name="apply"' in answer.content.decode()) == may, "no button for what would be refused"
    apply(client, kind, {"ids": world.ours.instance.pk}, answer)
    assert (state(world.ours.instance) != State.WAIT_RUN or kind == "rerun") == (may or kind == "rerun")
    assert OperationRecord.objects.filter(kind=kind, done=1).exists() == may


def test_rights_that_are_withdrawn_meanwhile_count(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, sent = as_user(OMAR), {"ids": world.ours.instance.pk}
    answer = previewed(client, "terminate", sent)
    Member.objects.filter(user=world.cast[OMAR]).update(role="viewer")
    apply(client, "terminate", sent, answer)
    assert state(world.ours.instance) == State.WAIT_RUN


@pytest.mark.parametrize("name", [VERA, OMAR, DANA])
def test_no_one_touches_a_foreign_instance(
    name: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    operate(as_user(name), "terminate", {"ids": world.foreign.instance.pk})
    assert state(world.foreign.instance) == State.WAIT_RUN


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_from_elsewhere_is_refused(kind: str, world: SimpleNamespace) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.cast[SUSAN])
    assert client.post(address(kind), {"ids": world.ours.instance.pk}).status_code == 403
    assert not FrozenSet.objects.exists()
    assert state(world.ours.instance) == State.WAIT_RUN


@pytest.mark.parametrize("ids", ["", "x", "1,two", "1;2", "9" * 30, ",".join(map(str, range(1, 1500)))])
def test_broken_ids_are_refused(ids: str, as_user: Callable[[str], Client]) -> None:
    client = as_user(SUSAN)
    assert client.get(address("rerun"), {"ids": ids}).status_code == 400
    assert client.post(address("rerun"), {"ids": ids}).status_code == 400


def test_an_unknown_operation(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    for kind in ("explode", "undo", "pause_task"):
        assert as_user(SUSAN).get(address(kind), {"ids": world.ours.instance.pk}).status_code == 404


# Tokens


def test_a_token_is_its_users_own(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    sent = {"ids": world.ours.instance.pk}
    answer = previewed(as_user(OMAR), "terminate", sent)
    stolen = apply(as_user(DANA), "terminate", sent, answer)
    assert "too old" in stolen.content.decode()
    assert state(world.ours.instance) == State.WAIT_RUN


@pytest.mark.parametrize("token", ["", "x", "00000000-0000-4000-8000-000000000000"])
def test_a_broken_token_leads_to_a_new_preview(
    token: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    sent = {"ids": world.ours.instance.pk, "token": token, "apply": "1"}
    answer = as_user(OMAR).post(address("terminate"), sent)
    assert answer.context["preview"].allowed == 1
    assert "too old" in answer.content.decode()
    assert state(world.ours.instance) == State.WAIT_RUN


def test_a_token_of_another_operation_is_not_applied(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, sent = as_user(OMAR), {"ids": world.ours.instance.pk}
    answer = previewed(client, "rerun", sent)
    apply(client, "terminate", sent, answer)
    assert state(world.ours.instance) == State.WAIT_RUN
    assert not OperationRecord.objects.filter(kind__in=KINDS).exists()


def test_sending_twice_does_it_once(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    client, sent = as_user(OMAR), {"ids": world.ours.instance.pk}
    answer = previewed(client, "rerun", sent)
    first, second = (apply(client, "rerun", sent, answer) for _ in range(2))
    assert OperationRecord.objects.filter(kind="rerun").count() == 1
    assert Instance.objects.get(pk=world.ours.instance.pk).life_round == 1
    assert first.redirect_chain == second.redirect_chain


def test_a_stale_preview_is_refused_with_the_difference_and_one_click_goes_on(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client = as_user(OMAR)
    other = make_instance(world.ours.task, State.FAILED, after=1)
    sent = {"ids": f"{world.ours.instance.pk},{other.pk}", "reason": "late"}
    answer = previewed(client, "mark_success", sent)
    Instance.objects.filter(pk=other.pk).update(life_round=1)
    stale = apply(client, "mark_success", sent, answer)
    text = stale.content.decode()
    assert "Nothing was done: instances have changed" in text
    assert "another life" in text
    assert not OperationRecord.objects.filter(kind="mark_success").exists()
    assert "late" in stale.context["reason"], "what was typed is kept"
    apply(client, "mark_success", sent, stale)
    assert (state(world.ours.instance), state(other)) == (State.SUCCESS, State.SUCCESS)


def test_other_options_than_those_previewed_are_not_applied(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, sent = as_user(OMAR), {"ids": world.ours.instance.pk}
    answer = previewed(client, "rerun", sent)
    changed = apply(client, "rerun", {**sent, "ignore_events": "on"}, answer)
    assert "options have changed since the preview" in changed.content.decode()
    assert not OperationRecord.objects.filter(kind="rerun").exists()
    apply(client, "rerun", {**sent, "ignore_events": "on"}, changed)
    assert OperationRecord.objects.get(kind="rerun").options == {"ignore_events": True}


# All that match a filter


def test_all_that_match_the_filter_are_chosen_and_no_more(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    failed = [make_instance(world.ours.task, State.FAILED, after=day) for day in range(1, 4)]
    make_instance(world.ours.task, State.SUCCESS, after=9)
    make_instance(world.foreign.task, State.FAILED, after=9)
    client, sent = as_user(OMAR), {"all": "1", "query": "state=failed&p=2&before=x"}
    answer = previewed(client, "mark_success", sent)
    assert answer.context["preview"].total == 3
    assert answer.context["choice"].words == (("State", "Failed"),)
    later = make_instance(world.ours.task, State.FAILED, after=5)
    apply(client, "mark_success", sent, answer)
    assert {state(one) for one in failed} == {State.SUCCESS}
    assert state(later) == State.FAILED, "what matches later is not in the set"
    assert OperationRecord.objects.get(kind="mark_success").total == 3


@pytest.mark.parametrize("query", ["state=sleeping", "project=0", "data_from=yesterday", "q=" + "x" * 600])
def test_a_filter_that_means_nothing_chooses_nothing(
    query: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    for client_method in (as_user(SUSAN).get, as_user(SUSAN).post):
        answer = client_method(address("terminate"), {"all": "1", "query": query})
        assert answer.status_code == 400
        assert "filter cannot be read" in answer.content.decode()


def test_a_search_that_names_too_many_tasks_chooses_nothing(
    monkeypatch: pytest.MonkeyPatch, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    monkeypatch.setattr("instances.filters.MOST_TASKS", 1)
    make_instance(factories.make_task(world.ours.workflow, name="ours_too"))
    answer = as_user(OMAR).post(address("terminate"), {"all": "1", "query": "q=ours"})
    assert answer.status_code == 400
    assert "too many tasks" in answer.content.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_the_bar_of_the_list_leads_to_the_page(
    kind: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    listed, client = f"{LIST}?q=ours", as_user(OMAR)
    sent = {"action": kind, "index": "0", "_selected_action": [world.ours.instance.pk]}
    answer = client.post(listed, sent)
    assert answer["Location"] == f"{address(kind)}?ids={world.ours.instance.pk}&query=q%3Dours"
    assert client.get(answer["Location"]).context["choice"].back.endswith("/instances/instance/?q=ours")
    everything = client.post(listed, {**sent, "select_across": "1"})
    assert everything["Location"] == f"{address(kind)}?all=1&query=q%3Dours"
    assert client.get(everything["Location"]).context["choice"].everything


def test_the_bar_offers_all_that_match(
    monkeypatch: pytest.MonkeyPatch, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    from instances.admin import listing
    from instances.admin.instance import InstanceAdmin

    client = as_user(OMAR)
    assert "select_across" not in client.get(LIST).content.decode(), "the page shows all of them"
    for day in range(1, 5):
        make_instance(world.ours.task, after=day)
    monkeypatch.setattr(InstanceAdmin, "list_per_page", 2)
    assert client.get(LIST).context["cl"].all_matching == "5"
    monkeypatch.setattr(listing, "COUNT_CAP", 3)
    assert client.get(LIST).context["cl"].all_matching == "3+"


def test_viewers_have_no_operations(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    assert "wo-bulk" not in as_user(VERA).get(LIST).content.decode()
    text = as_user(OMAR).get(LIST).content.decode()
    for title in ("Rerun", "Terminate", "Mark as successful", "Freeze", "Thaw", "Acknowledge"):
        assert title in text
    change = reverse("admin:instances_instance_change", args=(world.ours.instance.pk,))
    assert "/operate/" not in as_user(VERA).get(change).content.decode()
    assert "/operate/terminate/" in as_user(OMAR).get(change).content.decode()


def test_coming_back_never_leads_elsewhere(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    answer = as_user(OMAR).get(
        address("rerun"), {"ids": world.ours.instance.pk, "query": "x=1\r\nX: y//evil.example&q=a"}
    )
    assert answer.context["choice"].back == f"{LIST}?q=a"
    record = OperationRecord.objects.create(kind="rerun", source="admin", operator=world.cast[OMAR])
    page = reverse("admin:instances_operationrecord_change", args=(record.pk,))
    back = as_user(OMAR).get(page, {"list": "//evil.example?q=a&q=b"}).context["back"]
    assert back.startswith(LIST)


# What a page costs


def _cost(client: Client, kind: str, sent: dict[str, Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        answer = client.post(address(kind), sent)
        assert answer.context["preview"].total, answer.context["form"].errors
    return len(captured)


@pytest.mark.parametrize("kind", ["rerun", "terminate", "freeze"])
def test_a_preview_costs_the_same_with_many_instances(
    kind: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    client, sent = as_user(OMAR), {"all": "1", "query": "q=ours"}
    few = _cost(client, kind, sent)
    for day in range(1, 30):
        task = factories.make_task(
            factories.make_workflow(world.ours.project),
            name=f"ours{day}",
            owner=factories.make_user(f"u{day}"),
        )
        make_instance(task, after=day)
    assert _cost(client, kind, sent) <= few + 2, "the second instance of a state may ask for a name, no more"
    assert few <= 55


def test_hostile_names_stay_text(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    type(world.ours.task).objects.filter(pk=world.ours.task.pk).update(
        name=HOSTILE, parameters={"a": HOSTILE}
    )
    child = make_instance(factories.make_task(world.ours.workflow, name=f"{HOSTILE}2"))
    make_edge(child, world.ours.instance)
    make_instance(world.ours.task, State.SKIPPED, after=1)
    client = as_user(OMAR)
    sent = {"all": "1", "query": "", "scope": "with_downstream", "range": "all"}
    answer = client.post(address("rerun"), sent)
    assert answer.context["preview"].total == 3
    for text in (
        answer.content.decode(),
        client.get(
            reverse("admin:instances_instance_set", args=(answer.context["preview"].token,))
        ).content.decode(),
    ):
        assert HOSTILE not in text
        assert "&lt;script&gt;alert" in text
