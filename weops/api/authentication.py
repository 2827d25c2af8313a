"""Who calls: a token in the header `Authorization: Bearer weops_...`, or the session of somebody who is logged in."""

from typing import Any

from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from weops.api import tokens
from weops.api.models import Token

MOST_CHARS = 200


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        text = words[1].decode("ascii", "replace") if len(words) == 2 else ""
        token = tokens.find(text) if 0 < len(text) <= MOST_CHARS else None
        if token is None:
            # Why it does not count is not told to who may have guessed it.
            raise AuthenticationFailed("This token does not count: it is unknown, expired or revoked.")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="weops"'


class Session(SessionAuthentication):
    """Of the admin; mutations need its CSRF token in the header X-CSRFToken."""

    def authenticate_header(self, request: Any) -> str:
        return 'Bearer realm="weops"'


def still(request: Request) -> User | None:
    """Who calls as it is now, for requests that last: None once the token is revoked, or the session has ended."""
    if isinstance(request.auth, Token):
        token = tokens.still(request.auth)
        return token.user if token else None
    now = HttpRequest()
    session = request._request.session
    now.session = type(session)(session.session_key)
    user = get_user(now)
    return user if isinstance(user, User) and user.is_active else None
