"""Tokens: made, found again by what a client sends, limited, revoked. A token is shown once, when it is made."""

import datetime as dt
import hashlib
import secrets
from collections.abc import Collection

from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from weops.api.models import Token
from weops.projects import access
from weops.projects.access import EVERY_RIGHT, Right
from weops.projects.models import Project

PREFIX = "weops_"
# The last use is written at most so often, so that a busy token costs no write per request.
NOTE_EVERY = dt.timedelta(minutes=1)


def issue(
    user: User,
    name: str,
    *,
    rights: Collection[Right] = EVERY_RIGHT,
    project: Project | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[Token, str]:
    """A new token and its text, which nobody can read again. `rights` are the most it can have; the user's own count too."""
    text = PREFIX + secrets.token_urlsafe(32)
    token = Token.objects.create(
        user=user,
        name=name,
        digest=digest(text),
        rights=sorted(rights),
        project=project,
        expires_at=expires_at,
    )
    return token, text


def digest(text: str) -> str:
    # The text is 256 random bits: a slow hash would guard nothing more.
    return hashlib.sha256(text.encode()).hexdigest()


def find(text: str) -> Token | None:
    """The token that counts now, with its user limited to what the token allows; notes its use."""
    token = _alive(_BY_DIGEST, digest(text))
    if token is not None:
        now = timezone.now()
        if token.last_used_at is None or now - token.last_used_at > NOTE_EVERY:
            Token.objects.filter(pk=token.pk).update(last_used_at=Now())
    return token


def still(token: Token) -> Token | None:
    """The same as it is now, for requests that last."""
    return _alive(_BY_ID, token.pk)


_TOKEN = [column.attname for column in Token._meta.concrete_fields]
_USER = [column.attname for column in User._meta.concrete_fields]
# A token that counts, whose it is and what that user may do: each request of a client begins with this, and it is one query.
_ALIVE = f"""
SELECT {", ".join(f"t.{name}" for name in _TOKEN)}, {", ".join(f"u.{name}" for name in _USER)}, m.projects, m.roles
FROM api_token t JOIN auth_user u ON u.id = t.user_id AND u.is_active
CROSS JOIN LATERAL (SELECT coalesce(array_agg(project_id), '{{}}') AS projects, coalesce(array_agg(role), '{{}}') AS roles
                    FROM projects_member WHERE user_id = u.id) m
WHERE t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > %s) AND t.
"""  # noqa: S608 - names of columns
_BY_DIGEST, _BY_ID = f"{_ALIVE.rstrip()}digest = %s", f"{_ALIVE.rstrip()}id = %s"


def _alive(statement: str, which: str | int) -> Token | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [timezone.now(), which])
        row = cursor.fetchone()
    if row is None:
        return None
    *columns, projects, roles = row
    token = Token.from_db(connection.alias, _TOKEN, columns[: len(_TOKEN)])
    token.user = User.from_db(connection.alias, _USER, columns[len(_TOKEN) :])
    access.remember(token.user, zip(projects, roles, strict=True))
    access.limit(token.user, frozenset(map(Right, token.rights)), token.project_id)
    return token


def revoke(token: Token) -> None:
    """It never counts again."""
    Token.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now())


def is_limited(token: object) -> bool:
    """Whether it is a token that stands for less than its user."""
    return isinstance(token, Token) and (token.project_id is not None or set(token.rights) < set(Right))
