"""Filters that people keep under a name, for themselves or for others. What a view finds depends on who opens it."""

from urllib.parse import parse_qsl, urlencode

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from weops.console.models import SavedView
from weops.projects import access
from weops.projects.access import AnyUser, Right
from weops.projects.models import Project

MOST = 200
# Where one stands in the list is no part of a view.
_PLACE = {"p", "before", "o"}
EVERYBODY = "everybody"


def visible(user: AnyUser, page: str) -> QuerySet[SavedView]:
    """The user's own views of `page`, and those shared with everybody or with a project that the user sees."""
    shared = Q(everybody=True)
    ids = access.project_ids(user, Right.VIEW)
    shared |= Q(project__isnull=False) if ids is None else Q(project__in=ids)
    return SavedView.objects.filter(Q(user=user.pk) | shared, page=page).select_related("user", "project")


def shareable(user: AnyUser) -> QuerySet[Project]:
    """Projects with whose members the user may share a view."""
    return access.projects_with(user, Right.OPERATE)


def save(user: User, page: str, name: str, query: str, share: str = "") -> SavedView:
    """Keeps `query` (of an address) as `name`, in place of the user's own view of that name.

    `share`: empty for the user alone, a project's id, or EVERYBODY (superusers). Raises ValidationError.
    """
    view = SavedView.objects.filter(user=user.pk, page=page, name=name.strip()).first()
    view = view or SavedView(user_id=user.pk, page=page, name=name.strip())
    if view.pk is None and SavedView.objects.filter(user=user.pk, page=page).count() >= MOST:
        raise ValidationError(_("You have %(most)d views already; delete one first.") % {"most": MOST})
    view.query = urlencode([pair for pair in parse_qsl(query) if pair[0] not in _PLACE])
    view.everybody, view.project = share == EVERYBODY, None
    if view.everybody and not user.is_superuser:
        raise ValidationError(_("Only a superuser shares a view with everybody."))
    if share and not view.everybody:
        project = shareable(user).filter(pk=int(share)).first() if share.isdecimal() else None
        if project is None:
            raise ValidationError(_("Choose a project of yours to share the view with."))
        view.project = project
    view.full_clean()
    view.save()
    return view


def delete(user: AnyUser, page: str, pk: int) -> bool:
    """Deletes a view of the user's own (a superuser: any); False if there is none."""
    views = SavedView.objects.filter(page=page, pk=pk)
    deleted, _kinds = (views if user.is_superuser else views.filter(user=user.pk)).delete()
    return deleted > 0
