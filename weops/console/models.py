"""What people arrange for themselves: which columns a list shows, and which filters they come back to."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxLengthValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from weops.projects.models import Project

USER = settings.AUTH_USER_MODEL


class ListLayout(models.Model):
    """The columns of a list, in the order that one user wants."""

    user = models.ForeignKey(USER, models.CASCADE, related_name="+")
    page = models.CharField(max_length=40)
    columns = ArrayField(models.CharField(max_length=60))

    class Meta:
        verbose_name, verbose_name_plural = _("list layout"), _("list layouts")
        constraints = [models.UniqueConstraint(fields=["user", "page"], name="list_layout_once")]

    def __str__(self) -> str:
        return f"{self.page} as {self.user} wants it"


class SavedView(models.Model):
    """A filter of a list under a name: its owner's alone, shared with a project's members, or with everybody."""

    user = models.ForeignKey(USER, models.CASCADE, related_name="+")
    page = models.CharField(max_length=40)
    name = models.CharField(_("name"), max_length=60)
    query = models.TextField(blank=True, validators=[MaxLengthValidator(2000)])
    project = models.ForeignKey(Project, models.CASCADE, null=True, blank=True, related_name="+")
    everybody = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "id"]
        verbose_name, verbose_name_plural = _("saved view"), _("saved views")
        constraints = [
            models.UniqueConstraint(fields=["user", "page", "name"], name="saved_view_name_once"),
            models.CheckConstraint(
                condition=Q(project__isnull=True) | Q(everybody=False), name="saved_view_shared_one_way"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Preference(models.Model):
    """How one user reads the console. Empty: as the browser says, and the zone of the server."""

    user = models.OneToOneField(USER, models.CASCADE, primary_key=True, related_name="preference")
    language = models.CharField(_("language"), max_length=10, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True)

    class Meta:
        verbose_name, verbose_name_plural = _("preferences"), _("preferences")

    def __str__(self) -> str:
        return f"{self.user}: {self.language or '-'}, {self.time_zone or '-'}"
