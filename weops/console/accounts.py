"""Who is signed in, read together with what they prefer: one query for both, in every request."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User


class JoinedBackend(ModelBackend):
    """Django's accounts and passwords; the user of a session comes with the row of preferences, if there is one."""

    def get_user(self, user_id: Any) -> User | None:
        user = User.objects.select_related("preference").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None
