"""Options of each kind of operation: what the forms offer, what they send, what they say when it cannot be."""

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from instances.engine.states import State
from instances.models import Acknowledgement, Edge, Instance, OperationRecord
from tests import factories
from tests.admin.operating import address, apply, operate, previewed
from tests.admin.rows import HOSTILE, make_edge, make_instance
from tests.factories import DANA, OMAR, PETRA, SUSAN, VERA
from weops.projects.models import Member

LIST = reverse("admin:instances_instance_changelist")


def lineage(world: SimpleNamespace) -> SimpleNamespace:
    """`parent`, the failed `root` that waited for it, `child` and `grandchild`; `far` in another workflow, `foreign`."""
    ours = world.ours

    def one(name: str, workflow: Any = None, state: str = State.WAIT_UPSTREAM) -> Instance:
        task = factories.make_task(workflow or ours.workflow, name=name, owner=world.cast[DANA])
        return make_instance(task, state)

    made = SimpleNamespace(
        parent=one("parent", state=State.SUCCESS),
        root=one("root", state=State.FAILED),
        child=one("child"),
        grandchild=one("grandchild"),
        far=one("far", factories.make_workflow(ours.project)),
        foreign=one("foreign_child", world.foreign.workflow),
    )
    make_edge(made.root, made.parent, satisfied_at=timezone.now())
    for below in (made.child, made.far, made.foreign):
        make_edge(below, made.root)
    make_edge(made.grandchild, made.child)
    return made


def fault(answer: Any) -> str:
    """What the page says about the options."""
    assert answer.context["preview"] is None
    return " ".join(str(error) for errors in answer.context["form"].errors.values() for error in errors)


def exchanged(answer: Any) -> str:
    """The part of the page that a new preview replaces."""
    _, _, rest = answer.content.decode().partition('id="wo-preview"')
    return str(rest.partition('id="wo-reason"')[0])


# Rerun


def test_every_option_of_a_rerun_is_put_on_record(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    below = lineage(world)
    sent = {
        "ids": below.root.pk,
        "scope": "with_downstream",
        "range": "chosen",
        "chosen": [below.child.pk],
        "check_parents": "all",
        "check_previous": "on",
        "ignore_events": "on",
        "code": "as_it_ran",
        "parallelism": "3",
        "parameter_name": ["day", "", "who"],
        "parameter_value": ["20260101", "", HOSTILE],
        "application_name": ["spark.executor.memory"],
        "application_value": ["2g"],
    }
    answer = operate(as_user(OMAR), "rerun", sent)
    assert answer.redirect_chain, answer.context["problem"] or answer.context["difference"]
    assert OperationRecord.objects.get(kind="rerun").options == {
        "scope": "with_downstream",
        "range": "chosen",
        "chosen": [below.child.pk],
        "check_parents": "all",
        "check_previous": True,
        "ignore_events": True,
        "code": "as_it_ran",
        "parallelism": 3,
        "parameters": {"day": "20260101", "who": HOSTILE},
        "application_parameters": {"spark.executor.memory": "2g"},
    }
    root = Instance.objects.get(pk=below.root.pk)
    assert (root.life_round, root.overrides) == (1, {"day": "20260101", "who": HOSTILE})


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"scope": "this", "range": "all"}, {"root"}),
        ({"scope": "with_downstream"}, {"root", "child", "grandchild"}),
        ({"scope": "with_downstream", "range": "project"}, {"root", "child", "grandchild", "far"}),
        ({"scope": "downstream", "range": "all"}, {"child", "grandchild", "far"}),
    ],
)
def test_the_scope_decides_what_is_in_the_preview(
    options: dict[str, str], found: set[str], world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    below = lineage(world)
    answer = previewed(as_user(OMAR), "rerun", {"ids": below.root.pk, **options})
    assert {row.name for row in answer.context["preview"].rows} == found
    assert "foreign_child" not in answer.content.decode()


def test_downstream_instances_are_picked_by_hand(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    below, client = lineage(world), as_user(OMAR)
    sent = {"ids": below.root.pk, "scope": "downstream", "range": "chosen"}
    answer = client.post(address("rerun"), sent)
    assert "Choose at least one downstream instance" in fault(answer)
    assert {one.name for one in answer.context["offers"]["candidates"]} == {"child", "grandchild", "far"}
    chosen = previewed(client, "rerun", {**sent, "chosen": [below.grandchild.pk]})
    assert [one.name for one in chosen.context["offers"]["candidates"] if one.picked] == ["grandchild"]
    assert [row.pk for row in chosen.context["preview"].rows] == [below.grandchild.pk]
    elsewhere = client.post(address("rerun"), {**sent, "chosen": [below.parent.pk]})
    assert fault(elsewhere), "what is not downstream cannot be picked"


def test_candidates_are_capped(
    monkeypatch: pytest.MonkeyPatch, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    monkeypatch.setattr("instances.admin.operate_offers.MOST_CANDIDATES", 2)
    sent = {"ids": lineage(world).root.pk, "scope": "downstream", "range": "chosen"}
    offers = as_user(OMAR).post(address("rerun"), sent).context["offers"]
    assert (len(offers["candidates"]), offers["more_candidates"]) == (2, True)


def test_those_picked_farther_away_stay_in_the_list(
    monkeypatch: pytest.MonkeyPatch, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """The graph reaches farther than the list."""
    monkeypatch.setattr("instances.admin.operate_offers.MOST_CANDIDATES", 1)
    below = lineage(world)
    sent = {"ids": below.root.pk, "scope": "downstream", "range": "chosen"}
    chosen = [below.grandchild.pk, below.foreign.pk]
    offers = as_user(OMAR).post(address("rerun"), {**sent, "chosen": chosen}).context["offers"]
    assert [one.pk for one in offers["candidates"] if one.picked] == [below.grandchild.pk], (
        "none that is hidden"
    )
    assert (len(offers["candidates"]), offers["more_candidates"]) == (2, True)


def test_what_may_not_be_operated_on_cannot_be_ticked_and_says_why(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    below = lineage(world)
    Member.objects.create(user=world.cast[OMAR], project=world.foreign.project, role="viewer")
    sent = {"ids": below.root.pk, "scope": "downstream", "range": "chosen"}
    answer = as_user(OMAR).post(address("rerun"), sent)
    text = " ".join(answer.content.decode().split())
    assert f'name="chosen" value="{below.foreign.pk}" disabled' in text
    assert f'name="chosen" value="{below.child.pk}">' in text
    assert "You may not operate in project foreign_project." in text


def test_the_graph_to_pick_from_takes_the_form_of_the_page(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    below, where = lineage(world), reverse("admin:instances_instance_downstream")
    client = as_user(OMAR)

    def titles(sent: dict[str, Any]) -> list[str]:
        return [node["title"] for node in client.post(where, sent).json()["nodes"]]

    assert titles({"ids": below.root.pk}) == ["root", "child", "far"]
    assert titles({"ids": below.root.pk, "open_down": f"{below.child.pk},x"}) == [
        "root",
        "child",
        "far",
        "grandchild",
    ]
    assert titles({"ids": below.root.pk, "down": "x", "branches": below.root.pk})[3] == "grandchild"
    assert titles({"all": "1", "query": "state=failed", "down": "3"})[0] == "root"
    assert titles({"ids": below.foreign.pk}) == []
    assert client.post(where, {"ids": "x"}).status_code == 400
    assert client.get(where, {"ids": below.root.pk}).status_code == 405


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parallelism": "0"}, "greater than or equal to 1"),
        ({"parallelism": "many"}, "whole number"),
        ({"parallelism": "2", "self_dependency": "serial"}, "not both"),
        ({"scope": "everything"}, "not one of the available choices"),
        ({"parameter_name": ["a", "a"], "parameter_value": ["1", "2"]}, "given twice"),
        ({"parameter_name": [""], "parameter_value": ["1"]}, "has no name"),
    ],
)
def test_options_that_cannot_be(
    options: dict[str, Any], words: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    answer = as_user(OMAR).post(address("rerun"), {"ids": world.ours.instance.pk, **options})
    assert words in fault(answer)
    assert words in exchanged(answer), "with JavaScript only this part is shown anew"


def test_parameters_are_offered_with_their_values_of_today(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    task, ours = world.ours.task, world.ours
    type(ours.project).objects.filter(pk=ours.project.pk).update(parameters={"env": "prod", "day": "weaker"})
    type(task).objects.filter(pk=task.pk).update(parameters={"day": "${yyyyMMdd-1d}"})
    client = as_user(OMAR)
    offered = client.get(address("rerun"), {"ids": ours.instance.pk}).context["offers"]["parameters"]
    assert [(one.name, one.value, one.note) for one in offered] == [
        ("day", "${yyyyMMdd-1d}", "${yyyyMMdd-1d} = 20260324"),
        ("env", "prod", "prod"),
    ]
    other = make_instance(factories.make_task(ours.workflow, parameters={"day": "never"}), after=1)
    text = client.get(address("rerun"), {"ids": f"{ours.instance.pk},{other.pk}"}).content.decode()
    assert "other tasks differ" in text


# Freeze, thaw


def test_freezing_until_a_time_and_thawing(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    below, client = lineage(world), as_user(OMAR)
    until = (timezone.now() + dt.timedelta(hours=3)).replace(second=0, microsecond=0)
    sent = {"ids": below.child.pk, "subtree": "on", "thaw_at": f"{until:%Y-%m-%dT%H:%M}"}
    operate(client, "freeze", sent)
    frozen = Instance.objects.filter(frozen_at__isnull=False)
    assert {(one.pk, one.thaw_at) for one in frozen} == {
        (below.child.pk, until),
        (below.grandchild.pk, until),
    }
    words = f"Frozen until {until:%m-%d %H:%M}"
    assert words in client.get(LIST).content.decode()
    change = reverse("admin:instances_instance_change", args=(below.child.pk,))
    page = client.get(change)
    assert words in page.content.decode()
    assert "It is frozen" in page.context["page"].why[0].title
    assert "thaw" in {button.kind.kind for button in page.context["page"].buttons}
    operate(client, "thaw", {"ids": below.child.pk})
    assert {one.pk for one in frozen.all()} == {below.grandchild.pk}
    buttons = client.get(change).context["page"].buttons
    assert "thaw" not in {button.kind.kind for button in buttons}


def test_a_time_that_has_passed_is_refused(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    sent = {"ids": world.ours.instance.pk, "thaw_at": "2020-01-01T00:00"}
    assert "passed" in fault(as_user(OMAR).post(address("freeze"), sent))
    assert "valid date" in fault(as_user(OMAR).post(address("freeze"), {**sent, "thaw_at": "tomorrow"}))


# Acknowledge


def test_acknowledging_and_withdrawing(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    below, client = lineage(world), as_user(OMAR)
    until = (timezone.now() + dt.timedelta(days=1)).replace(second=0, microsecond=0)
    sent = {
        "ids": below.root.pk,
        "owner": world.cast[PETRA].pk,
        "expires_at": f"{until:%Y-%m-%dT%H:%M}",
        "reason": HOSTILE,
    }
    answer = previewed(client, "acknowledge", sent)
    nameless = apply(client, "acknowledge", {**sent, "reason": " "}, answer)
    assert "needs a reason" in nameless.context["reason_problem"]
    assert nameless.context["preview"].token == answer.context["preview"].token, "the preview stays"
    apply(client, "acknowledge", sent, answer)
    one = Acknowledgement.objects.get()
    assert (one.instance_id, one.owner, one.expires_at) == (below.root.pk, world.cast[PETRA], until)
    words = f"Acknowledged by petra until {until:%m-%d %H:%M}"
    change = reverse("admin:instances_instance_change", args=(below.root.pk,))
    for where in (LIST, change):
        text = client.get(where).content.decode()
        assert words in text
        assert HOSTILE not in text
    shown = {"yes": {below.root.pk}, "no": set()}
    for seen, found in shown.items():
        assert {one.pk for one in client.get(LIST, {"seen": seen}).context["cl"].result_list} == found
    kinds = {button.kind.kind for button in client.get(change).context["page"].buttons}
    assert "withdraw_acknowledgement" in kinds
    assert "acknowledge" not in kinds
    operate(client, "withdraw_acknowledgement", {"ids": below.root.pk})
    assert words not in client.get(LIST).content.decode()
    assert [one.pk for one in client.get(LIST, {"seen": "no"}).context["cl"].result_list] == [below.root.pk]


def test_an_owner_must_be_somebody_one_knows(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    sent = {"ids": lineage(world).root.pk, "owner": world.cast[SUSAN].pk}
    assert "available choices" in fault(as_user(OMAR).post(address("acknowledge"), sent))


# Remove dependency


def test_chosen_dependencies_are_removed(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    below, client = lineage(world), as_user(OMAR)
    second = make_instance(factories.make_task(world.ours.workflow, name="second_parent"), State.FAILED)
    make_edge(below.child, second)
    page = client.get(address("remove_dependency"), {"ids": below.child.pk})
    offers = {one.neighbour.name: one for one in page.context["offers"]["edges"]}
    assert set(offers) == {"root", "second_parent"}
    sent = {"ids": below.child.pk, "edge": [offers["second_parent"].value], "reason": HOSTILE}
    operate(client, "remove_dependency", sent)
    edge = Edge.objects.get(instance=below.child, upstream=second)
    assert (edge.removed_by, edge.removed_reason) == (world.cast[OMAR], HOSTILE)
    assert Edge.objects.get(instance=below.child, upstream=below.root).removed_at is None
    again = client.get(address("remove_dependency"), {"ids": below.child.pk})
    assert [one.removable for one in again.context["offers"]["edges"]] == [True, False], (
        "the removed ones last"
    )
    change = reverse("admin:instances_instance_change", args=(below.child.pk,))
    for text in (again.content.decode(), client.get(change).content.decode()):
        assert "Removed by omar" in text
        assert "&lt;script&gt;alert" in text
        assert HOSTILE not in text


def test_all_open_dependencies_are_removed(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    below = lineage(world)
    operate(
        as_user(OMAR),
        "remove_dependency",
        {"ids": below.child.pk, "all": "on", "reason": "the file is there"},
    )
    assert Instance.objects.get(pk=below.child.pk).state == State.WAIT_RUN


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        ([], "Choose the dependencies"),
        (["x@2026-03-25T00:00:00+00:00"], "number of its task"),
        (["1@yesterday"], "yesterday"),
        (["1"], "data time"),
    ],
)
def test_broken_dependencies_are_refused(
    edge: list[str], words: str, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    sent = {"ids": world.ours.instance.pk, "edge": edge}
    assert words in fault(as_user(OMAR).post(address("remove_dependency"), sent))


# Buttons


def test_buttons_say_why_not(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    below = lineage(world)

    def buttons(name: str, instance: Instance) -> dict[str, str]:
        change = reverse("admin:instances_instance_change", args=(instance.pk,))
        return {one.kind.kind: one.why_not for one in as_user(name).get(change).context["page"].buttons}

    assert buttons(VERA, below.root) == {}
    root = buttons(OMAR, below.root)
    assert set(root) == {"rerun", "terminate", "mark_success", "freeze", "acknowledge", "remove_dependency"}
    assert (root["rerun"], root["mark_success"], root["acknowledge"]) == ("", "", "")
    assert "is in state Failed" in root["terminate"]
    parent = buttons(OMAR, below.parent)
    assert set(parent) == {"rerun", "terminate", "mark_success", "freeze"}, (
        "it waits for nothing and did not fail"
    )


# The set


def test_the_whole_set_can_be_looked_at_by_its_user(
    monkeypatch: pytest.MonkeyPatch, world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    monkeypatch.setattr("instances.admin.operate.PAGE", 3)
    made = [make_instance(world.ours.task, State.FAILED, after=day) for day in range(1, 8)]
    client = as_user(OMAR)
    answer = previewed(client, "rerun", {"all": "1", "query": "state=failed"})
    where = reverse("admin:instances_instance_set", args=(answer.context["preview"].token,))
    seen: list[int] = []
    start: int | None = 0
    while start is not None:
        page = client.get(where, {"from": start})
        seen += [row.pk for row in page.context["rows"]]
        start = page.context["after"]
    assert sorted(seen) == [one.pk for one in made]
    assert client.get(where, {"from": "9" * 9}).context["rows"] == []
    assert client.get(where, {"from": "x"}).status_code == 200
    assert as_user(SUSAN).get(where).status_code == 404, "somebody else's"
