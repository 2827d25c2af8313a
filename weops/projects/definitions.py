"""The rules of projects, members, folders, resource groups, calendars, secrets and data sources; `defining` carries them out.

`PROJECTS.create({"name": "sales"}, user=user, source="api")`, and so on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import apps
from django.contrib.admin.models import ADDITION, DELETION
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils.translation import gettext as _

from weops.projects import audit
from weops.projects.access import Right
from weops.projects.defining import Definition, InUse, require
from weops.projects.models import (
    Calendar,
    DataSource,
    Folder,
    Member,
    Project,
    ResourceGroup,
    Secret,
)

__all__ = [
    "CALENDARS",
    "DATA_SOURCES",
    "FOLDERS",
    "MEMBERS",
    "PROJECTS",
    "RESOURCE_GROUPS",
    "SECRETS",
    "InUse",
    "set_member",
]

MOST_DATES = 5_000
# Of what holds on to a row, so many are named.
MOST_NAMED = 10


def _ran(**columns: Any) -> bool:
    """Whether there are such instances. By name: projects know no instances."""
    return apps.get_model("instances", "Instance").objects.filter(**columns).exists()


class _Projects(Definition[Project]):
    model = Project
    right = Right.ADMINISTER
    columns = ("name", "display_name", "description", "enabled", "parameters")
    fixed = ()

    def project_of(self, row: Project) -> Project | None:
        # Only superusers make projects.
        return None if row._state.adding else row

    def held(self, row: Project) -> str:
        return (
            _("it has workflows")
            if apps.get_model("instances", "Workflow").objects.filter(project=row).exists()
            else ""
        )

    @transaction.atomic
    def delete(self, row: Project, *, user: User | None, source: str = "system") -> None:
        require(user, None)
        audit.tell_of_all(row, user, source)
        super().delete(row, user=user, source=source)


class _Members(Definition[Member]):
    model = Member
    right = Right.ADMINISTER
    columns = ("project", "user", "role")
    fixed = ("project", "user")
    choice_rights = {"user": Right.ADMINISTER}


class _Folders(Definition[Folder]):
    model = Folder
    columns = ("project", "parent", "name")

    def held(self, row: Folder) -> str:
        if row.children.exists():
            return _("it has folders in it")
        related: Any = row
        if related.workflows.exists() or related.tasks.exists():
            return _("workflows or tasks lie in it")
        return _("instances of its tasks are still there") if _ran(folder_id=row.pk) else ""

    def save(self, row: Folder) -> None:
        # Two moves at once could put two folders into each other.
        Project.objects.select_for_update(of=("self",), no_key=True).filter(pk=row.project_id).first()
        super().save(row)


class _ResourceGroups(Definition[ResourceGroup]):
    model = ResourceGroup
    columns = ("name", "description", "slots", "enabled")
    fixed = ()

    def project_of(self, row: ResourceGroup) -> None:
        return None

    def held(self, row: ResourceGroup) -> str:
        related: Any = row
        if related.tasks.exists():
            return _("tasks run in it")
        return _("instances of it are still there") if _ran(resource_group=row) else ""


class _Calendars(Definition[Calendar]):
    """One of no project serves all of them and is a superuser's."""

    model = Calendar
    columns = ("project", "name", "description", "dates")

    def check(self, row: Calendar) -> None:
        if len(row.dates) > MOST_DATES:
            raise ValidationError({"dates": _("At most %(most)s dates.") % {"most": f"{MOST_DATES:,}"}})
        row.dates = sorted(set(row.dates))

    def held(self, row: Calendar) -> str:
        related: Any = row
        return _("tasks use it") if related.tasks.exists() else ""


class _Secrets(Definition[Secret]):
    """`value` goes in and never comes out."""

    model = Secret
    right = Right.ADMINISTER
    columns = ("project", "name", "value")

    def value_of(self, name: str, given: Any, user: User | None) -> Any:
        if name != "value":
            return super().value_of(name, given, user)
        if not isinstance(given, str) or not given or "\0" in given or len(given) > 100_000:
            raise ValidationError(_("Write the secret's value, a text of 1 to 100,000 characters."))
        return given

    def set(self, row: Secret, values: Mapping[str, Any], user: User | None) -> list[str]:
        rest = {name: value for name, value in values.items() if name != "value"}
        changed = super().set(row, rest, user)
        if "value" in values:
            try:
                row.write(self.value_of("value", values["value"], user))
            except ValidationError as error:
                raise ValidationError({"value": error.messages}) from None
            changed.append("value")
        return changed

    def held(self, row: Secret) -> str:
        """Without it they would fail at their next run. They are of the secret's own project, as is who may delete it."""
        tasks = apps.get_model("instances", "Task").objects.filter(
            secrets=row, workflow__project=row.project_id
        )
        names = list(tasks.order_by("name").values_list("name", flat=True)[: MOST_NAMED + 1])
        if names:
            named = ", ".join([*names[:MOST_NAMED], *(["…"] if len(names) > MOST_NAMED else [])])
            return _("these tasks get it: %(names)s") % {"names": named}
        if apps.get_model("instances", "Task").secrets.through.objects.filter(secret=row).exists():
            return _("tasks get it")
        sources = list(row.data_sources.order_by("name").values_list("name", flat=True)[:MOST_NAMED])
        return _("data sources use it: %(names)s") % {"names": ", ".join(sources)} if sources else ""

    def check_unused(self, row: Secret) -> None:
        # A task that gets it right now waits for this, and then finds it gone.
        Secret.objects.select_for_update(of=("self",)).filter(pk=row.pk).first()
        super().check_unused(row)

    def save(self, row: Secret) -> None:
        if not row.ciphertext:
            raise ValidationError({"value": _("Write the secret's value.")})
        super().save(row)

    def log(
        self, row: Secret, action: int, user: User | None, source: str, changed: Sequence[str] = ()
    ) -> None:
        """On record too, which nobody can change: a secret's history outlives it."""
        super().log(row, action, user, source, changed)
        kind = audit.DELETE if action == DELETION else audit.WRITE
        made = self.columns if action == ADDITION else ()
        audit.tell(audit.Written(kind, row, user, source, changed or made))


class _DataSources(Definition[DataSource]):
    model = DataSource
    right = Right.ADMINISTER
    columns = ("project", "name", "description", "url")
    choice_rights = {"url": Right.ADMINISTER}

    def held(self, row: DataSource) -> str:
        related: Any = row
        return _("tasks use it") if related.tasks.exists() else ""


PROJECTS = _Projects()
MEMBERS = _Members()
FOLDERS = _Folders()
RESOURCE_GROUPS = _ResourceGroups()
CALENDARS = _Calendars()
SECRETS = _Secrets()
DATA_SOURCES = _DataSources()
_ALL: tuple[Definition[Any], ...] = (
    PROJECTS,
    MEMBERS,
    FOLDERS,
    RESOURCE_GROUPS,
    CALENDARS,
    SECRETS,
    DATA_SOURCES,
)
BY_MODEL: dict[type[models.Model], Definition[Any]] = {one.model: one for one in _ALL}


@transaction.atomic
def set_member(
    project: Project, member: User, role: str, *, user: User | None, source: str = "system"
) -> Member:
    """Makes `member` a member in `role`, or gives an existing one this role."""
    row = Member.objects.select_for_update().filter(project=project, user=member).first()
    if row is not None:
        return MEMBERS.update(row, {"role": role}, user=user, source=source)
    return MEMBERS.create({"project": project, "user": member, "role": role}, user=user, source=source)
