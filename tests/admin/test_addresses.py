"""Every address of the product besides the five pages of each model: who gets in, by which method, and that none is forgotten."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from events import firing
from events.models import Stray
from instances.models import Instance, OperationItem, OperationRecord
from instances.operations import preview
from tests.admin.rows import alarm_rows, make_execution
from tests.backfilling import begin
from tests.events.scene import make_event
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA
from weops import urls
from weops.alarms.models import Channel

EVERYBODY = {EVE, VERA, OMAR, DANA, PETRA, SUSAN}
MEMBERS = EVERYBODY - {EVE}
OPERATORS = MEMBERS - {VERA}
AUTHORS = OPERATORS - {OMAR}
PAGES = {"changelist", "add", "change", "delete", "history"}

# For everybody, signed in or not; metrics have a guard of their own (tests/observe/test_metrics.py).
OPEN = {"home", "healthz", "readyz", "metrics"}
# Django's and the theme's own, which are about no project: what they show is tested where it is used.
THEIRS = {
    None, "search", "index", "login", "logout", "password_change", "password_change_done", "autocomplete", "jsi18n",
    "view_on_site", "app_list", "auth_user_password_change",
}  # fmt: skip


@dataclass(frozen=True)
class Address:
    """`who` gets an answer other than a refusal; `args` are made of one side's rows. `post`: nothing happens by GET, and a
    POST needs the CSRF token. `of_nobody`: the address names no row, so one of another project cannot be asked for."""

    who: set[str]
    args: Callable[[SimpleNamespace], tuple[Any, ...]] = lambda side: ()
    post: bool = False
    of_nobody: bool = False
    sent: Callable[[SimpleNamespace], dict[str, Any]] = lambda side: {}


def _task(*more: Any) -> Callable[[SimpleNamespace], tuple[Any, ...]]:
    return lambda side: (side.task.pk, *more)


def _record(side: SimpleNamespace) -> tuple[Any, ...]:
    return (side.record.pk,)


def _plan(side: SimpleNamespace) -> tuple[Any, ...]:
    return (side.plan.pk,)


def _instance(side: SimpleNamespace) -> tuple[Any, ...]:
    return (side.instance.pk,)


def _log(side: SimpleNamespace) -> tuple[Any, ...]:
    return (side.instance.pk, side.execution.pk)


ADDRESSES: dict[str, Address] = {
    "instances_instance_operate": Address(EVERYBODY, lambda side: ("terminate",), of_nobody=True,
                                          sent=lambda side: {"ids": side.instance.pk}),
    "instances_instance_columns": Address(EVERYBODY, post=True, of_nobody=True),
    "instances_instance_views": Address(EVERYBODY, post=True, of_nobody=True),
    "instances_instance_view_delete": Address(EVERYBODY, lambda side: (1,), post=True, of_nobody=True),
    "instances_instance_download": Address(EVERYBODY, post=True, of_nobody=True, sent=lambda side: {"format": "csv"}),
    "instances_instance_downstream": Address(EVERYBODY, post=True, of_nobody=True, sent=lambda side: {"ids": side.instance.pk}),
    "instances_instance_find": Address(MEMBERS, lambda side: ("owner",), of_nobody=True),
    "instances_instance_why": Address(MEMBERS, _instance),
    "instances_instance_set": Address({OMAR}, lambda side: (side.token,)),
    "instances_instance_blockers": Address(MEMBERS, of_nobody=True),
    "instances_instance_gantt": Address(MEMBERS, of_nobody=True),
    "instances_instance_grid": Address(MEMBERS, of_nobody=True),
    "instances_instance_lineage": Address(MEMBERS, _instance),
    "instances_instance_lineage_data": Address(MEMBERS, _instance),
    "instances_instance_changed": Address(MEMBERS, _log),
    # Nobody: it is no instance of a For-each task; those are in test_traversals.py.
    "instances_instance_traversal": Address(set(), lambda side: (side.instance.pk, 1)),
    "instances_instance_traversal_graph": Address(set(), lambda side: (side.instance.pk, 1)),
    "instances_workflow_graph": Address(MEMBERS, lambda side: (side.workflow.pk,)),
    "instances_instance_log": Address(MEMBERS, _log),
    "instances_instance_log_lines": Address(MEMBERS, _log),
    "instances_instance_log_live": Address(MEMBERS, _log),
    "instances_instance_log_file": Address(MEMBERS, _log),
    "instances_operationrecord_export": Address(EVERYBODY, post=True, of_nobody=True),
    "instances_operationrecord_progress": Address(MEMBERS, _record),
    "instances_operationrecord_cancel": Address(MEMBERS, _record, post=True),
    "instances_operationrecord_undo": Address(MEMBERS, _record, post=True),
    "instances_operationrecord_items": Address(MEMBERS, _record, post=True),
    "instances_backfillplan_progress": Address(MEMBERS, _plan),
    "instances_backfillplan_downstream": Address(OPERATORS, post=True, of_nobody=True),
    "instances_backfillplan_pause": Address(OPERATORS, _plan, post=True),
    "instances_backfillplan_resume": Address(OPERATORS, _plan, post=True),
    "instances_backfillplan_stop": Address(OPERATORS, _plan, post=True),
    "instances_task_step": Address(OPERATORS, _task("pause")),
    "instances_task_run": Address(OPERATORS, _task()),
    "instances_task_test": Address(AUTHORS, _task()),
    "instances_task_versions": Address(MEMBERS, _task()),
    "instances_task_restore": Address(AUTHORS, lambda side: (side.task.pk, side.task.current_version.number)),
    "instances_task_waits": Address(MEMBERS, _task()),
    "instances_task_new_waits": Address(AUTHORS, of_nobody=True),
    "instances_task_steps": Address(EVERYBODY, lambda side: ("pause",), post=True, of_nobody=True,
                                    sent=lambda side: {"ids": side.task.pk}),
    "alarms_rule_sentence": Address(AUTHORS, post=True, of_nobody=True, sent=lambda side: {"project": side.project.pk}),
    "alarms_rule_test": Address(AUTHORS, lambda side: (side.alarms["alarms.rule"].pk,), post=True),
    "alarms_channel_test": Address({PETRA, SUSAN}, lambda side: (side.alarms["alarms.channel"].pk,), post=True),
    "alarms_message_acknowledge": Address(OPERATORS, lambda side: (side.alarms["alarms.message"].pk,), post=True),
    "preferences": Address(EVERYBODY, of_nobody=True),
    "events_eventinstance_fire": Address(OPERATORS, of_nobody=True),
    "events_eventinstance_near_misses": Address(MEMBERS, of_nobody=True),
    "events_eventinstance_fire_as_meant": Address(OPERATORS, post=True, of_nobody=True,
        sent=lambda side: {"event": side.event.pk, "kind": "stray", "pk": side.stray.pk, "data_time": "20260325"}),
    "events_eventinstance_dismiss": Address(OPERATORS, post=True, of_nobody=True, sent=lambda side: {"pk": side.stray.pk}),
}  # fmt: skip


def _walk(patterns: list[Any]) -> Iterator[str | None]:
    for one in patterns:
        if getattr(one, "app_name", None) == "api":
            continue  # tests/api/test_permissions.py has a table of its own
        if hasattr(one, "url_patterns"):
            yield from _walk(one.url_patterns)
        else:
            yield one.name


THERE = set(_walk(urls.urlpatterns))
ASKED = [name for name in ADDRESSES if name in THERE]
BY_ROW = [name for name in ASKED if not ADDRESSES[name].of_nobody]


def test_the_table_knows_every_address() -> None:
    own = {
        f"{model._meta.app_label}_{model._meta.model_name}_{page}"
        for model in admin.site._registry
        for page in PAGES
    }
    forgotten = THERE - own - OPEN - THEIRS - set(ADDRESSES)
    assert not forgotten, "say in the table who may open them"
    assert OPEN < THERE
    assert own < THERE


@pytest.fixture
def sides(world: SimpleNamespace) -> SimpleNamespace:
    """`ours` and `foreign`, each with a record that is not finished, a plan, an execution and the token of a preview."""
    for side, user in ((world.ours, world.cast[OMAR]), (world.foreign, world.cast[SUSAN])):
        side.token = preview("terminate", [side.instance.pk], user=user).token
        side.record = OperationRecord.objects.create(
            kind="rerun", source="admin", project_ids=[side.project.pk], total=1, state="RUNNING"
        )
        OperationItem.objects.create(
            operation=side.record, instance_id=side.instance.pk, from_state="failed", outcome="done"
        )
        # Nothing that the plan, which begins at once, could start.
        Instance.objects.filter(pk=side.instance.pk).update(frozen_at=timezone.now())
        side.execution = make_execution(side.instance)
        side.alarms = alarm_rows(side.instance)
        # Nobody is asked over the network.
        Channel.objects.update(enabled=False)
        side.plan = begin(side.task, first="2026-01-01", last="2026-01-02")
        side.event = make_event(side.project, f"{side.project.name[:12]}_e")
        stray = firing.fire(side.project, [("Nobody_knows", "20260325")], source="api", user=None)
        side.stray = Stray.objects.get(firing=stray.firing_id)
    return world


def _answer(client: Client, name: str, side: SimpleNamespace) -> int:
    one = ADDRESSES[name]
    ask = client.post if one.post else client.get
    return ask(reverse(f"admin:{name}", args=one.args(side)), one.sent(side)).status_code


@pytest.mark.parametrize("name", ASKED)
def test_who_gets_in(name: str, sides: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    for user in sorted(EVERYBODY):
        status = _answer(as_user(user), name, sides.ours)
        # A stream needs a server that the test client is not.
        assert status < 500 or (status == 501 and name.endswith("_live"))
        assert (status not in (403, 404)) == (user in ADDRESSES[name].who), (user, status)


@pytest.mark.parametrize("name", BY_ROW)
def test_a_row_of_another_project_is_not_there(
    name: str, sides: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    """The same answer as for a number that nothing has, so that nobody learns which there are."""
    for user in (VERA, OMAR, DANA, PETRA):
        assert _answer(as_user(user), name, sides.foreign) == 404, user
    args = [
        UUID(int=0) if isinstance(arg, UUID) else 10**15 if isinstance(arg, int) else arg
        for arg in ADDRESSES[name].args(sides.ours)
    ]
    client = as_user(PETRA)
    ask = client.post if ADDRESSES[name].post else client.get
    assert ask(reverse(f"admin:{name}", args=args)).status_code == 404


@pytest.mark.parametrize("name", ASKED)
def test_strangers_sign_in_first(name: str, sides: SimpleNamespace, client: Client) -> None:
    one = ADDRESSES[name]
    where = reverse(f"admin:{name}", args=one.args(sides.ours))
    for ask in (client.get, client.post):
        answer = ask(where, one.sent(sides.ours))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/?next=/admin/")


@pytest.mark.parametrize("name", ASKED)
def test_what_changes_something_is_posted_with_a_token(name: str, sides: SimpleNamespace) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(sides.cast[SUSAN])
    one = ADDRESSES[name]
    where = reverse(f"admin:{name}", args=one.args(sides.ours))
    assert client.post(where, one.sent(sides.ours)).status_code in (403, 405)
    if one.post:
        assert client.get(where).status_code == 405
    assert client.delete(where).status_code in (403, 405)
