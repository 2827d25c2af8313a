"""Operating from the admin: rights, confirmation, CSRF, and that only the operations write a state."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.test import Client
from django.urls import reverse

from instances.engine.states import State
from instances.models import Instance, OperationRecord
from tests.admin.rows import make_instance
from tests.factories import DANA, EVE, OMAR, SUSAN, VERA

KINDS = ["terminate", "rerun", "mark_success"]
AFTER = {"terminate": State.FAILED, "rerun": State.WAIT_RUN, "mark_success": State.SUCCESS}


def address(kind: str) -> str:
    return reverse("admin:instances_instance_operate", args=(kind,))


def state(instance: Instance) -> str:
    return Instance.objects.values_list("state", flat=True).get(pk=instance.pk)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_asks_first(kind: str, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    done = make_instance(world.ours.task, State.SKIPPED, after=1)
    answer = as_user(OMAR).get(
        address(kind), {"ids": f"{world.ours.instance.pk},{done.pk},{world.foreign.instance.pk}"}
    )
    assert [row.instance for row in answer.context["allowed"]] == [world.ours.instance]
    assert [row.instance for row in answer.context["refused"]] == [done]
    assert "is in state Skipped" in answer.context["refused"][0].refusal
    assert answer.context["missing"] == 1
    assert "foreign_" not in answer.content.decode()
    assert state(world.ours.instance) == State.WAIT_RUN
    assert not OperationRecord.objects.filter(kind=kind).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_done_and_recorded(kind: str, world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    answer = as_user(OMAR).post(
        address(kind), {"ids": str(world.ours.instance.pk), "reason": "because"}, follow=True
    )
    assert "1 done" in answer.content.decode()
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
    answer = as_user(OMAR).post(
        address("terminate"), {"ids": f"{world.ours.instance.pk},{done.pk}"}, follow=True
    )
    text = answer.content.decode()
    assert "1 done, 1 refused" in text
    assert "is in state Success" in text
    assert (state(world.ours.instance), state(done)) == (State.FAILED, State.SUCCESS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "may"), [(EVE, False), (VERA, False), (OMAR, True), (DANA, True), (SUSAN, True)]
)
def test_who_may(
    kind: str, name: str, may: bool, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    as_user(name).post(address(kind), {"ids": str(world.ours.instance.pk)})
    assert OperationRecord.objects.filter(kind=kind).exists() == may


@pytest.mark.parametrize("name", [VERA, OMAR, DANA])
def test_no_one_touches_a_foreign_instance(
    name: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    as_user(name).post(address("terminate"), {"ids": f"{world.foreign.instance.pk}"})
    assert state(world.foreign.instance) == State.WAIT_RUN
    assert not OperationRecord.objects.filter(kind="terminate").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_from_elsewhere_is_refused(kind: str, world: SimpleNamespace) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.cast[SUSAN])
    assert client.post(address(kind), {"ids": str(world.ours.instance.pk)}).status_code == 403
    assert state(world.ours.instance) == State.WAIT_RUN


@pytest.mark.parametrize("ids", ["", "x", "1,two", "1;2", "9" * 30, ",".join(map(str, range(1, 1500)))])
def test_broken_ids_are_refused(ids: str, as_user: Callable[[str], Client]) -> None:
    client = as_user(SUSAN)
    assert client.get(address("rerun"), {"ids": ids}).status_code == 400
    assert client.post(address("rerun"), {"ids": ids}).status_code == 400


def test_an_unknown_operation(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    assert as_user(SUSAN).get(address("explode"), {"ids": str(world.ours.instance.pk)}).status_code == 404
    assert as_user(SUSAN).get(address("remove_dependency"), {"ids": "1"}).status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_actions_of_the_list_lead_to_the_page(
    kind: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    listed = reverse("admin:instances_instance_changelist") + "?q=ours"
    sent = {"action": kind, "_selected_action": [world.ours.instance.pk], "select_across": "1"}
    answer = as_user(OMAR).post(listed, sent)
    assert answer.status_code == 302
    assert answer["Location"] == f"{address(kind)}?ids={world.ours.instance.pk}&query=q%3Dours"
    asked = as_user(OMAR).get(answer["Location"])
    assert asked.context["back"].endswith("/instances/instance/?q=ours")


def test_viewers_have_no_actions(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    listed = reverse("admin:instances_instance_changelist")
    assert "Mark as successful" not in as_user(VERA).get(listed).content.decode()
    assert "Mark as successful" in as_user(OMAR).get(listed).content.decode()
    change = reverse("admin:instances_instance_change", args=(world.ours.instance.pk,))
    assert "/operate/" not in as_user(VERA).get(change).content.decode()
    text = as_user(OMAR).get(change).content.decode()
    assert "/operate/terminate/" in text


def test_coming_back_never_leads_elsewhere(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    answer = as_user(OMAR).post(
        address("rerun"), {"ids": str(world.ours.instance.pk), "query": "x=1\r\nX: y//evil.example"}
    )
    assert answer["Location"].startswith(reverse("admin:instances_instance_changelist") + "?")
