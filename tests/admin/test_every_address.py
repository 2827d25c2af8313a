"""Every address of the admin, with every role, an outsider and nobody; one that is missing from the table fails here.

What each role may do on the pages is in test_access.py and in the tests of each page.
"""

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from tests.admin.addresses_by_role import BY_ROLE
from tests.admin.rows import make_execution
from tests.admin.test_access import _rows
from tests.factories import CAST, EVE, SUSAN

# A single page application of none of our rows; Django answers these by redirects of its own.
SKIPPED = {"view_on_site", "app_list", "autocomplete"}
# It would end the session that the others are tried with.
LEAVING = "logout"


def _names(patterns: Any) -> list[tuple[str, set[str]]]:
    """(name, arguments) of everything below admin/."""
    found: list[tuple[str, set[str]]] = []
    for one in patterns:
        if isinstance(one, URLResolver):
            found += _names(one.url_patterns)
        elif isinstance(one, URLPattern) and one.name:
            found.append((one.name, set(one.pattern.regex.groupindex)))
    return found


def _addresses(world: SimpleNamespace) -> dict[str, str]:
    """{name: address}, with the rows of a project of the cast in the place of arguments."""
    rows, one = _rows(world.ours, world), world.ours.instance
    execution = one.executions.first() or make_execution(one)
    admin: Any = next(
        each for each in get_resolver().url_patterns if getattr(each, "app_name", "") == "admin"
    )
    found = {}
    for name, arguments in _names(admin.url_patterns):
        model = next((label for label in rows if name.startswith(f"{label.replace('.', '_')}_")), "")
        number = rows[model].pk if model else 1
        values = {
            "pk": number,
            "object_id": number,
            "id": number,
            "number": 1,
            "execution_id": execution.pk,
            "kind": "rerun",
            "name": "pause",
            "field": "owner",
            "token": uuid.uuid4(),
        }
        if name in SKIPPED:
            continue
        try:
            address = reverse(f"admin:{name}", kwargs={key: values[key] for key in arguments})
        except (KeyError, NoReverseMatch):
            raise AssertionError(f"Say in this test what stands for {arguments} in {name}.") from None
        found[name] = address
    return found


def _ask(client: Client, method: str, address: str) -> Any:
    """The answer; what it changed is undone."""
    with transaction.atomic():
        answer = getattr(client, method)(address)
        transaction.set_rollback(True)
    return answer


def _answers(method: str, answer: Any) -> bool:
    if answer.status_code == 302:
        to = answer["Location"]
        return method == "post" and to != reverse("admin:index") and not to.startswith(reverse("admin:login"))
    return answer.status_code in (200, 400, 501)


def test_the_table_knows_every_address(world: SimpleNamespace) -> None:
    assert set(_addresses(world)) - {LEAVING} == set(BY_ROLE)


def test_nobody_opens_anything(world: SimpleNamespace) -> None:
    for name, address in _addresses(world).items():
        for method in ("get", "post"):
            answer = _ask(Client(), method, address)
            assert name in ("login", LEAVING) or not _answers(method, answer), f"{method} {name}"


@pytest.mark.parametrize("who", sorted(CAST))
def test_every_address_with_every_role(
    world: SimpleNamespace, as_user: Callable[[str], Client], who: str
) -> None:
    client, wrong = as_user(who), []
    for name, address in _addresses(world).items():
        if name == LEAVING:
            continue
        for method, may in zip(("get", "post"), BY_ROLE[name], strict=True):
            answer = _ask(client, method, address)
            if _answers(method, answer) != (who in may):
                wrong.append((method, name, answer.status_code))
            if who == EVE and name not in ("login", LEAVING):
                # What answers an outsider, too, has nothing of a project in it.
                said = b"".join(answer) if answer.streaming else answer.content
                assert b"ours_" not in said, (method, name)
    assert not wrong
    # Whoever was signed in still is: the addresses were tried as somebody.
    assert client.get(reverse("admin:index")).status_code == 200


def test_nothing_changes_without_the_csrf_token(world: SimpleNamespace) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(world.cast[SUSAN])
    for name, address in _addresses(world).items():
        with transaction.atomic():
            answer = browser.post(address)
            transaction.set_rollback(True)
        assert answer.status_code in (403, 404, 405), (name, answer.status_code)
