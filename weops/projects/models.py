"""Projects and what belongs to them: members, folders, resource groups, calendars, secrets, data sources; access keys."""

from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from weops.projects import encryption

name_validator = RegexValidator(
    r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}\Z",
    _("Write 1 to 100 letters, digits, '_', '-' or '.', beginning with a letter or '_'."),
)


def validate_parameters(value: Any) -> None:
    """Parameters are a JSON object of texts: {"name": "value"}."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValidationError(_('Write an object whose values are texts, such as {"region": "EWR"}.'))
    for name in value:
        wrong = gettext("%(name)r is no parameter name.") % {"name": name}
        RegexValidator(r"^[A-Za-z_][A-Za-z0-9_]{0,99}\Z", wrong)(name)


class Role(models.TextChoices):
    VIEWER = "viewer", _("Viewer")
    OPERATOR = "operator", _("Operator")
    DEVELOPER = "developer", _("Developer")
    ADMIN = "admin", _("Project admin")


class Project(models.Model):
    name = models.CharField(_("name"), max_length=100, unique=True, validators=[name_validator])
    display_name = models.CharField(_("display name"), max_length=200, blank=True)
    description = models.TextField(_("description"), blank=True)
    enabled = models.BooleanField(
        _("enabled"), default=True, db_default=True, help_text=_("A disabled project generates nothing.")
    )
    parameters = models.JSONField(_("parameters"), default=dict, blank=True, validators=[validate_parameters])
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        ordering = ["name"]
        verbose_name, verbose_name_plural = _("project"), _("projects")

    def __str__(self) -> str:
        return self.name


class Member(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="members", verbose_name=_("project"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships", verbose_name=_("user")
    )
    role = models.CharField(_("role"), max_length=16, choices=Role, default=Role.VIEWER)

    class Meta:
        verbose_name, verbose_name_plural = _("member"), _("members")
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="member_once_per_project"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="member_role_known"),
        ]

    def __str__(self) -> str:
        return gettext("%(user)s in %(project)s: %(role)s") % {
            "user": self.user,
            "project": self.project,
            "role": self.get_role_display(),
        }


class Folder(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="folders", verbose_name=_("project"))
    parent = models.ForeignKey(
        "self", models.CASCADE, null=True, blank=True, related_name="children", verbose_name=_("parent")
    )
    name = models.CharField(_("name"), max_length=100)

    class Meta:
        ordering = ["project", "name"]
        verbose_name, verbose_name_plural = _("folder"), _("folders")
        constraints = [
            models.UniqueConstraint(
                fields=["project", "parent", "name"], name="folder_name_once", nulls_distinct=False
            ),
            models.CheckConstraint(condition=~Q(parent=models.F("id")), name="folder_not_in_itself"),
        ]

    def __str__(self) -> str:
        return self.path()

    def path(self) -> str:
        """Names from the top folder down to this one, such as `etl/daily`."""
        names, folder, seen = [self.name], self.parent, {self.pk}
        while folder is not None and folder.pk not in seen:
            seen.add(folder.pk)
            names.append(folder.name)
            folder = folder.parent
        return "/".join(reversed(names))

    def clean(self) -> None:
        folder, seen = self.parent, {self.pk} - {None}
        while folder is not None:
            if folder.project_id != self.project_id:
                raise ValidationError({"parent": _("The parent folder belongs to another project.")})
            if folder.pk in seen:
                raise ValidationError({"parent": _("A folder cannot lie inside itself.")})
            seen.add(folder.pk)
            folder = folder.parent


class Limited(models.Model):
    """What one run may use at most; empty: no limit of its own."""

    memory_limit = models.PositiveIntegerField(
        _("memory limit (MB)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(16)],
        help_text=_("Of all processes of a run together; more ends it with OUT_OF_MEMORY."),
    )
    cpu_limit = models.PositiveIntegerField(
        _("CPU time limit (seconds)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Of all processes of a run together; more ends it with CPU_TIME."),
    )
    files_limit = models.PositiveIntegerField(
        _("open files"),
        null=True,
        blank=True,
        validators=[MinValueValidator(16)],
        help_text=_("That each process may have at once."),
    )
    output_limit = models.PositiveIntegerField(
        _("output limit (MB)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "Of what a run may print; more ends it with OUTPUT_LIMIT. The log keeps the first and last 8 MB."
        ),
    )

    LIMITS = ("memory_limit", "cpu_limit", "files_limit", "output_limit")

    class Meta:
        abstract = True


class ResourceGroup(Limited):
    """A pool of slots; each has a Celery queue of its own, named `weops.g.<id>`."""

    name = models.CharField(_("name"), max_length=100, unique=True, validators=[name_validator])
    description = models.TextField(_("description"), blank=True)
    slots = models.PositiveIntegerField(
        _("slots"),
        default=16,
        validators=[MinValueValidator(1), MaxValueValidator(100_000)],
        help_text=_("How many executions may run at once, over all workers."),
    )
    enabled = models.BooleanField(
        _("enabled"), default=True, db_default=True, help_text=_("A disabled group starts nothing.")
    )

    class Meta:
        ordering = ["name"]
        verbose_name, verbose_name_plural = _("resource group"), _("resource groups")
        constraints = [models.CheckConstraint(condition=Q(slots__gte=1), name="resource_group_has_slots")]

    def __str__(self) -> str:
        return self.name

    @property
    def queue(self) -> str:
        return f"weops.g.{self.pk}"


class Calendar(models.Model):
    """A list of dates that tasks run only on, or skip."""

    project = models.ForeignKey(
        Project,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="calendars",
        verbose_name=_("project"),
        help_text=_("Empty: for all projects."),
    )
    name = models.CharField(_("name"), max_length=100, validators=[name_validator])
    description = models.TextField(_("description"), blank=True)
    dates = ArrayField(
        models.DateField(),
        default=list,
        blank=True,
        verbose_name=_("dates"),
        help_text=_("Dates, such as 2026-01-01."),
    )

    class Meta:
        ordering = ["name"]
        verbose_name, verbose_name_plural = _("calendar"), _("calendars")
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], name="calendar_name_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return self.name


class Secret(models.Model):
    """A secret of a project: encrypted at rest, written and never shown again."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="secrets", verbose_name=_("project"))
    name = models.CharField(_("name"), max_length=100, validators=[name_validator])
    ciphertext = models.BinaryField(editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        ordering = ["project", "name"]
        verbose_name, verbose_name_plural = _("secret"), _("secrets")
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="secret_name_once")]

    def __str__(self) -> str:
        return self.name

    def write(self, value: str) -> None:
        """Sets the value; `save()` stores it."""
        self.ciphertext = encryption.encrypt(value)

    def reveal(self) -> str:
        """The plain value, for the child process that needs it and nobody else."""
        return encryption.decrypt(bytes(self.ciphertext))


class DataSource(models.Model):
    """A database that SQL tasks of a project run on; its URL is a secret of the project."""

    project = models.ForeignKey(
        Project, models.CASCADE, related_name="data_sources", verbose_name=_("project")
    )
    name = models.CharField(_("name"), max_length=100, validators=[name_validator])
    description = models.TextField(_("description"), blank=True)
    url = models.ForeignKey(
        Secret,
        models.PROTECT,
        related_name="data_sources",
        verbose_name=_("url"),
        help_text=_("The secret that holds postgresql://user:password@host/name."),
    )

    class Meta:
        ordering = ["project", "name"]
        verbose_name, verbose_name_plural = _("data source"), _("data sources")
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="data_source_name_once")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.url_id and self.project_id and self.url.project_id != self.project_id:
            raise ValidationError({"url": _("The secret belongs to another project.")})


class AccessKey(models.Model):
    """A key pair of a user, with whose secret programs sign requests. Signing needs the secret itself, so that it is
    encrypted, not hashed; `weops.projects.keys` makes and revokes them.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="access_keys", verbose_name=_("user")
    )
    name = models.CharField(
        _("name"), max_length=100, blank=True, help_text=_("What uses it, such as nightly-loads.")
    )
    secret_id = models.CharField(_("secret id"), max_length=64, unique=True, editable=False)
    ciphertext = models.BinaryField(editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    last_used_at = models.DateTimeField(
        _("last used at"), null=True, editable=False, help_text=_("To the minute.")
    )
    revoked_at = models.DateTimeField(_("revoked at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name, verbose_name_plural = _("access key"), _("access keys")

    def __str__(self) -> str:
        return self.name or self.secret_id

    def write(self, secret: str) -> None:
        """Sets the secret; `save()` stores it."""
        self.ciphertext = encryption.encrypt(secret)

    def reveal(self) -> str:
        """The secret, to verify a signature with."""
        return encryption.decrypt(bytes(self.ciphertext))
