"""Every address of the admin, for nobody and for an outsider; one that is new and opens to them fails here.

What each role may do on the pages is in test_access.py and in the tests of each page.
"""

import uuid
from types import SimpleNamespace
from typing import Any

from django.db import transaction
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from tests.admin.rows import make_execution
from tests.admin.test_access import _rows
from tests.factories import EVE, SUSAN

# What somebody without any project may open: nothing in it is of a project.
OUTSIDERS = {
    "index",
    "logout",
    "login",
    "password_change",
    "password_change_done",
    "jsi18n",
    "search",
    # One's own access keys, of which there are none.
    "projects_accesskey_changelist",
    "projects_accesskey_add",
}
# A single page application of none of our rows; Django answers these by redirects of its own.
SKIPPED = {"view_on_site", "app_list", "autocomplete"}


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


def _opens(client: Client, method: str, address: str) -> bool:
    with transaction.atomic():
        answer = getattr(client, method)(address)
        transaction.set_rollback(True)
    return answer.status_code == 200


def test_nobody_and_outsiders_open_nothing(world: SimpleNamespace) -> None:
    addresses = _addresses(world)
    assert len(addresses) > 80
    nobody, outsider = Client(), Client()
    outsider.force_login(world.cast[EVE])
    opened = set()
    for name, address in addresses.items():
        for method in ("get", "post"):
            assert name in ("login", "logout") or not _opens(nobody, method, address), f"{method} {name}"
            if _opens(outsider, method, address):
                opened.add(name)
    assert opened <= OUTSIDERS


def test_nothing_changes_without_the_csrf_token(world: SimpleNamespace) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(world.cast[SUSAN])
    for name, address in _addresses(world).items():
        with transaction.atomic():
            answer = browser.post(address)
            transaction.set_rollback(True)
        assert answer.status_code in (403, 404, 405), (name, answer.status_code)
