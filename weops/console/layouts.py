"""Which columns a user's list shows, in which order."""

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from weops.console.models import ListLayout
from weops.projects.access import AnyUser


def columns_of(user: AnyUser, page: str, known: Sequence[str], pinned: str) -> tuple[str, ...]:
    """The user's columns of `page`; all of `known` if nothing was chosen. `pinned` always comes first.

    Columns that no longer exist are left out.
    """
    chosen = ListLayout.objects.filter(user=user.pk, page=page).values_list("columns", flat=True).first()
    if chosen is None:
        return tuple(known)
    return (pinned, *(name for name in chosen if name in known and name != pinned))


def arrange(user: User, page: str, columns: Sequence[str], known: Sequence[str]) -> None:
    """Keeps the user's choice, in its order. Raises ValueError for a column that the list does not have."""
    wanted = list(dict.fromkeys(columns))
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(_("The list has no column %(name)r.") % {"name": unknown[0]})
    ListLayout.objects.update_or_create(user_id=user.pk, page=page, defaults={"columns": wanted})


def reset(user: AnyUser, page: str) -> None:
    """Back to all columns in their own order."""
    ListLayout.objects.filter(user=user.pk, page=page).delete()
