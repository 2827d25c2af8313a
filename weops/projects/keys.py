"""Access keys: made for a user, found when a request is signed with one, revoked. The secret is shown once, when it is made."""

import datetime as dt
import secrets
import string
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now

from weops.projects.models import AccessKey

# A last use is kept to the minute: more exactly would write a row for each request.
USE_NOTED_EVERY = dt.timedelta(minutes=1)
_SIGNS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Pair:
    """What the client needs; `secret` is nowhere else to be had."""

    key: AccessKey
    secret: str


def _random(length: int) -> str:
    return "".join(secrets.choice(_SIGNS) for _ in range(length))


def create(user: User, name: str = "") -> Pair:
    """A new key of `user`. Raises ValidationError for an impossible name."""
    key = AccessKey(user=user, name=name, secret_id=f"AKID{_random(32)}")
    secret = _random(32)
    key.write(secret)
    key.full_clean(exclude=["ciphertext"])
    key.save()
    return Pair(key, secret)


def usable(secret_id: str) -> AccessKey | None:
    """The key with this id, with its user, unless it is revoked or its user is not active."""
    rows = AccessKey.objects.select_related("user")
    return rows.filter(secret_id=secret_id, revoked_at=None, user__is_active=True).first()


def revoke(key: AccessKey) -> bool:
    """From now on nothing signed with it is accepted. False: it was revoked before."""
    done = AccessKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now())
    key.refresh_from_db(fields=["revoked_at"])
    return bool(done)


def note_use(key: AccessKey) -> None:
    """Remembers that it was used just now, to the minute."""
    old = Q(last_used_at=None) | Q(last_used_at__lt=Now() - USE_NOTED_EVERY)
    AccessKey.objects.filter(old, pk=key.pk).update(last_used_at=Now())
