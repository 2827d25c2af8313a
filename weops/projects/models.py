"""Projects and what belongs to them: members, folders, resource groups, calendars, secrets, data sources; access keys."""

from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from weops.projects import encryption

name_validator = RegexValidator(
    r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}\Z",
    "Write 1 to 100 letters, digits, '_', '-' or '.', beginning with a letter or '_'.",
)


def validate_parameters(value: Any) -> None:
    """Parameters are a JSON object of texts: {"name": "value"}."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValidationError('Write an object whose values are texts, such as {"region": "EWR"}.')
    for name in value:
        RegexValidator(r"^[A-Za-z_][A-Za-z0-9_]{0,99}\Z", f"{name!r} is no parameter name.")(name)


class Role(models.TextChoices):
    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    DEVELOPER = "developer", "Developer"
    ADMIN = "admin", "Project admin"


class Project(models.Model):
    name = models.CharField(max_length=100, unique=True, validators=[name_validator])
    display_name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    enabled = models.BooleanField(
        default=True, db_default=True, help_text="A disabled project generates nothing."
    )
    parameters = models.JSONField(default=dict, blank=True, validators=[validate_parameters])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Member(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="members")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="member_once_per_project"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="member_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}: {self.get_role_display()}"


class Folder(models.Model):
    project = models.ForeignKey(Project, models.CASCADE, related_name="folders")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")
    name = models.CharField(max_length=100)

    class Meta:
        ordering = ["project", "name"]
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
                raise ValidationError({"parent": "The parent folder belongs to another project."})
            if folder.pk in seen:
                raise ValidationError({"parent": "A folder cannot lie inside itself."})
            seen.add(folder.pk)
            folder = folder.parent


class Limited(models.Model):
    """What one run may use at most; empty: no limit of its own."""

    memory_limit = models.PositiveIntegerField(
        "memory limit (MB)",
        null=True,
        blank=True,
        validators=[MinValueValidator(16)],
        help_text="Of all processes of a run together; more ends it with OUT_OF_MEMORY.",
    )
    cpu_limit = models.PositiveIntegerField(
        "CPU time limit (seconds)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Of all processes of a run together; more ends it with CPU_TIME.",
    )
    files_limit = models.PositiveIntegerField(
        "open files",
        null=True,
        blank=True,
        validators=[MinValueValidator(16)],
        help_text="That each process may have at once.",
    )
    output_limit = models.PositiveIntegerField(
        "output limit (MB)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Of what a run may print; more ends it with OUTPUT_LIMIT. The log keeps the first and last 8 MB.",
    )

    LIMITS = ("memory_limit", "cpu_limit", "files_limit", "output_limit")

    class Meta:
        abstract = True


class ResourceGroup(Limited):
    """A pool of slots; each has a Celery queue of its own, named `weops.g.<id>`."""

    name = models.CharField(max_length=100, unique=True, validators=[name_validator])
    description = models.TextField(blank=True)
    slots = models.PositiveIntegerField(
        default=16,
        validators=[MinValueValidator(1), MaxValueValidator(100_000)],
        help_text="How many executions may run at once, over all workers.",
    )
    enabled = models.BooleanField(default=True, db_default=True, help_text="A disabled group starts nothing.")

    class Meta:
        ordering = ["name"]
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
        help_text="Empty: for all projects.",
    )
    name = models.CharField(max_length=100, validators=[name_validator])
    description = models.TextField(blank=True)
    dates = ArrayField(models.DateField(), default=list, blank=True, help_text="Dates, such as 2026-01-01.")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], name="calendar_name_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return self.name


class Secret(models.Model):
    """A secret of a project: encrypted at rest, written and never shown again."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="secrets")
    name = models.CharField(max_length=100, validators=[name_validator])
    ciphertext = models.BinaryField(editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["project", "name"]
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

    project = models.ForeignKey(Project, models.CASCADE, related_name="data_sources")
    name = models.CharField(max_length=100, validators=[name_validator])
    description = models.TextField(blank=True)
    url = models.ForeignKey(
        Secret,
        models.PROTECT,
        related_name="data_sources",
        help_text="The secret that holds postgresql://user:password@host/name.",
    )

    class Meta:
        ordering = ["project", "name"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="data_source_name_once")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.url_id and self.project_id and self.url.project_id != self.project_id:
            raise ValidationError({"url": "The secret belongs to another project."})


class AccessKey(models.Model):
    """A key pair of a user, with whose secret programs sign requests. Signing needs the secret itself, so that it is
    encrypted, not hashed; `weops.projects.keys` makes and revokes them.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="access_keys")
    name = models.CharField(max_length=100, blank=True, help_text="What uses it, such as nightly-loads.")
    secret_id = models.CharField(max_length=64, unique=True, editable=False)
    ciphertext = models.BinaryField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name or self.secret_id

    def write(self, secret: str) -> None:
        """Sets the secret; `save()` stores it."""
        self.ciphertext = encryption.encrypt(secret)

    def reveal(self) -> str:
        """The secret, to verify a signature with."""
        return encryption.decrypt(bytes(self.ciphertext))
