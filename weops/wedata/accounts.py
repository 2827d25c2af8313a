"""Users by their Uin, which is the number of the account, written as a text."""

from collections.abc import Iterable

from django.contrib.auth.models import User

from weops.projects import access
from weops.projects.access import Right
from weops.wedata.dispatch import Call
from weops.wedata.errors import bad_value


def uin(user_id: int | None) -> str | None:
    return None if user_id is None else str(user_id)


def read(call: Call, field: str, user_id: int, right: Right = Right.VIEW) -> User:
    """An account that the caller may pick: a colleague, or for those who administer anybody who is active."""
    rows = User.objects.filter(is_active=True)
    if Right.ADMINISTER not in access.rights(call.user, call.project):
        rows = access.colleagues(call.user, right)
    user = rows.filter(pk=user_id).first()
    if user is None:
        raise bad_value(field, f"There is no account {user_id} that you may choose.")
    return user


def read_many(call: Call, field: str, user_ids: Iterable[int]) -> list[User]:
    """Active accounts, in the order given. Raises ApiError that names the first that is none."""
    wanted = list(dict.fromkeys(user_ids))
    rows = User.objects.filter(is_active=True).in_bulk(wanted)
    for place, user_id in enumerate(wanted):
        if user_id not in rows:
            raise bad_value(f"{field}.{place}", f"There is no active account {user_id}.")
    return [rows[user_id] for user_id in wanted]
