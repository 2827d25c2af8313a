"""`manage.py check --deploy` fails on what must not go to production."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from weops.addresses import networks


@register(Tags.security, deploy=True)
def deployment(**_: Any) -> list[CheckMessage]:
    """A default key, no encryption key, no broker, cookies that travel unencrypted, debug pages, networks that are none."""
    found: list[CheckMessage] = []
    if settings.DEBUG:
        found.append(Error("WEOPS_DEBUG is on: error pages would show settings and data.", id="weops.E001"))
    if settings.SECRET_KEY == settings.INSECURE_SECRET_KEY:
        found.append(Error("WEOPS_SECRET_KEY is not set: anybody could forge a session.", id="weops.E002"))
    if not settings.WEOPS_ENCRYPTION_KEYS:
        found.append(Error("WEOPS_ENCRYPTION_KEYS is not set: secrets cannot be stored.", id="weops.E003"))
    if not settings.CELERY_BROKER_URL:
        found.append(Error("CELERY_BROKER_URL is not set: no hint reaches a worker.", id="weops.E004"))
    if not settings.SESSION_COOKIE_SECURE:
        found.append(
            Error("WEOPS_SECURE_COOKIES is not 1: cookies would travel without encryption.", id="weops.E005")
        )
    for name in ("WEOPS_ALLOWED_NETWORKS", "WEOPS_METRICS_NETWORKS"):
        try:
            networks(getattr(settings, name))
        except ValueError as error:
            found.append(
                Error(f"{name} cannot be read: {error}; write networks as 10.1.0.0/16.", id="weops.E006")
            )
    return found
