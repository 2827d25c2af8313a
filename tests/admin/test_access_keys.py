"""Access keys in the admin: everybody has their own, the secret is shown once, a revoked key stays revoked."""

import re
from collections.abc import Callable
from types import SimpleNamespace

from django.test import Client
from django.urls import reverse

from tests.factories import DANA, EVE, SUSAN, VERA
from weops.projects import keys
from weops.projects.models import AccessKey

LIST, ADD = "admin:projects_accesskey_changelist", "admin:projects_accesskey_add"


def _change(key: AccessKey) -> str:
    return reverse("admin:projects_accesskey_change", args=[key.pk])


def test_a_key_is_made_and_its_secret_shown_once(as_user: Callable[[str], Client]) -> None:
    client = as_user(VERA)
    response = client.post(reverse(ADD), {"name": "nightly"})
    key = AccessKey.objects.get()
    assert (key.user.username, key.name) == (VERA, "nightly")
    assert "no-store" in response["Cache-Control"]
    page = response.content.decode()
    assert key.secret_id in page
    assert key.reveal() in page
    for address in (reverse(LIST), _change(key), reverse("admin:index")):
        assert key.reveal() not in client.get(address).content.decode()
    assert key.secret_id in client.get(reverse(LIST)).content.decode()
    assert key.reveal() not in str(client.cookies)


def test_keys_of_others_are_not_there(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    key = keys.create(world.cast[DANA], "mine").key
    for name, opens in ((DANA, True), (SUSAN, True), (VERA, False), (EVE, False)):
        client = as_user(name)
        assert (client.get(_change(key)).status_code == 200) == opens
        assert (key.secret_id in client.get(reverse(LIST)).content.decode()) == opens
        client.post(
            _change(key), {"name": f"of {name}", "revoke": "on"} if not opens else {"name": f"of {name}"}
        )
        key.refresh_from_db()
        assert (key.name == f"of {name}") == opens
        assert key.revoked_at is None


def test_nobody_makes_a_key_of_somebody_else(
    world: SimpleNamespace, as_user: Callable[[str], Client]
) -> None:
    as_user(VERA).post(reverse(ADD), {"name": "x", "user": world.cast[SUSAN].pk})
    assert AccessKey.objects.get().user == world.cast[VERA]
    as_user(SUSAN).post(reverse(ADD), {"name": "y", "user": world.cast[EVE].pk})
    assert AccessKey.objects.get(name="y").user == world.cast[EVE]


def test_a_key_is_revoked_for_good(world: SimpleNamespace, as_user: Callable[[str], Client]) -> None:
    key, client = keys.create(world.cast[VERA]).key, as_user(VERA)
    assert client.get(reverse("admin:projects_accesskey_delete", args=[key.pk])).status_code != 200
    client.post(_change(key), {"name": "", "revoke": "on"})
    assert keys.usable(key.secret_id) is None
    assert not re.search(r'name="revoke"', client.get(_change(key)).content.decode())
    client.post(_change(key), {"name": "still"})
    assert keys.usable(key.secret_id) is None


def test_hostile_names_stay_text(as_user: Callable[[str], Client]) -> None:
    client, hostile = as_user(VERA), "<script>alert('x')</script>"
    pages = [client.post(reverse(ADD), {"name": hostile})]
    pages += [client.get(reverse(LIST)), client.get(_change(AccessKey.objects.get()))]
    assert all(hostile not in page.content.decode() for page in pages)
