"""Who may do what: five rights, kept apart, given per project by a member's role.

    view        see the project: tasks, instances, logs
    operate     rerun, terminate
    override    mark as successful, remove a dependency, set parameters for one life
    author      edit tasks and workflows, which is to run code
    administer  members, secrets, data sources

A superuser has all of them everywhere; anybody else without a membership has none. Every door asks here, row by row.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import pgettext_lazy

from weops.projects.models import Member, Project, Role


class Right(StrEnum):
    VIEW = "view"
    OPERATE = "operate"
    OVERRIDE = "override"
    AUTHOR = "author"
    ADMINISTER = "administer"


RIGHT_WORDS: dict[Right, Any] = {
    Right.VIEW: pgettext_lazy("right", "view"),
    Right.OPERATE: pgettext_lazy("right", "operate"),
    Right.OVERRIDE: pgettext_lazy("right", "override"),
    Right.AUTHOR: pgettext_lazy("right", "author"),
    Right.ADMINISTER: pgettext_lazy("right", "administer"),
}

EVERY_RIGHT = frozenset(Right)
NO_RIGHT: frozenset[Right] = frozenset()

# Each role includes the one before it. The rights stay apart in code: other doors may grant fewer of them.
_VIEWER = frozenset({Right.VIEW})
_OPERATOR = _VIEWER | {Right.OPERATE, Right.OVERRIDE}
_DEVELOPER = _OPERATOR | {Right.AUTHOR}
RIGHTS: dict[str, frozenset[Right]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.DEVELOPER: _DEVELOPER,
    Role.ADMIN: EVERY_RIGHT,
}

AnyUser = User | AnonymousUser


def words(rights: Iterable[Right]) -> str:
    """Such as `view and operate`, in the reader's language."""
    return get_text_list([str(RIGHT_WORDS[right]) for right in rights], _("and"))


def is_superuser(user: AnyUser) -> bool:
    return user.is_active and user.is_superuser


def rights(user: AnyUser, project: Project | int | None) -> frozenset[Right]:
    """The rights of `user` in `project` (or its id); none for an unknown project, and for nobody's objects."""
    if not user.is_active:
        return NO_RIGHT
    if user.is_superuser:
        return EVERY_RIGHT
    project_id = project.pk if isinstance(project, Project) else project
    return NO_RIGHT if project_id is None else rights_by_project(user).get(project_id, NO_RIGHT)


def rights_by_project(user: AnyUser) -> dict[int, frozenset[Right]]:
    """All memberships of `user` in one query, {project id: rights}; for superusers, who need none, empty.

    Kept on the user object, which lives as long as one request.
    """
    if not user.is_active or user.is_anonymous or user.is_superuser:
        return {}
    known: dict[int, frozenset[Right]] | None = getattr(user, "_rights_by_project", None)
    if known is None:
        known = remember(user, Member.objects.filter(user=user).values_list("project_id", "role"))
    return known


def remember(user: AnyUser, roles: Iterable[tuple[int, str]]) -> dict[int, frozenset[Right]]:
    """Keeps all memberships of `user`, (project id, role) each, for whoever asks for rights later."""
    known = {project_id: RIGHTS.get(role, NO_RIGHT) for project_id, role in roles}
    user._rights_by_project = known  # type: ignore[union-attr]
    return known


def limit(user: User, held: frozenset[Right], project_id: int | None) -> None:
    """From now on this object stands for no more than `held` of the user's rights, and only in the project, if one is given.

    It must not be saved: a superuser is none any more, but somebody with rights in every project.
    """
    if held >= EVERY_RIGHT and project_id is None:
        return
    if is_superuser(user):
        everywhere = Project.objects.values_list("pk", flat=True)
        known = dict.fromkeys(everywhere, EVERY_RIGHT)
        user.is_superuser = False
    else:
        known = rights_by_project(user)
    user._rights_by_project = {  # type: ignore[attr-defined]
        pk: rights & held for pk, rights in known.items() if project_id in (None, pk)
    }


def project_ids(user: AnyUser, right: Right) -> list[int] | None:
    """Ids of the projects where `user` has `right`, ascending; None means every project (a superuser)."""
    if is_superuser(user):
        return None
    return sorted(project_id for project_id, held in rights_by_project(user).items() if right in held)


def projects_with(user: AnyUser, right: Right) -> QuerySet[Project]:
    """The projects where `user` has `right`."""
    ids = project_ids(user, right)
    return Project.objects.all() if ids is None else Project.objects.filter(pk__in=ids)


def has_anywhere(user: AnyUser, right: Right) -> bool:
    """Whether `user` has `right` in any project at all (a superuser: even when there is none)."""
    ids = project_ids(user, right)
    return ids is None or bool(ids)


def within(queryset: QuerySet[Any], user: AnyUser, path: str, right: Right = Right.VIEW) -> QuerySet[Any]:
    """The rows of `queryset` whose project, found by the lookup `path` to its id, gives `user` the `right`."""
    ids = project_ids(user, right)
    return queryset if ids is None else queryset.filter(**{f"{path}__in": ids})


def colleagues(user: AnyUser, right: Right = Right.VIEW) -> QuerySet[User]:
    """Active users that `user` may pick as an owner: all for a superuser, else the members of shared projects."""
    active = User.objects.filter(is_active=True).order_by("username")
    ids = project_ids(user, right)
    return active if ids is None else active.filter(memberships__project__in=ids).distinct()
