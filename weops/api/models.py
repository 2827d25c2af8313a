"""API tokens, and the answers that are given again when a request is repeated."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from weops.projects.access import Right
from weops.projects.models import Project


class Token(models.Model):
    """Stands for a user towards the API, with some of the user's rights. Only a digest of its secret part is kept."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens", verbose_name=_("user")
    )
    name = models.CharField(_("name"), max_length=100, help_text=_("What it is for."))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    rights = ArrayField(
        models.CharField(max_length=16, choices=[(right.value, right.value) for right in Right]),
        verbose_name=_("rights"),
        help_text=_("Of the user's rights, those that the token has."),
    )
    project = models.ForeignKey(
        Project,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("project"),
        help_text=_("Empty: in all of the user's projects."),
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True, help_text=_("Empty: never."))
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name, verbose_name_plural = _("API token"), _("API tokens")

    def __str__(self) -> str:
        return self.name


class Answer(models.Model):
    """What was answered to a request with an idempotency key; `status` is null while it is being carried out, and then the
    process that does so says by `alive_at` that it still lives."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    key = models.CharField(max_length=128)
    digest = models.CharField(max_length=64, help_text="Of the request: method, address and body.")
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())
    alive_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name, verbose_name_plural = _("answer"), _("answers")
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="answer_once")]
        indexes = [models.Index(fields=["created_at"], name="answer_by_time")]

    def __str__(self) -> str:
        return self.key
