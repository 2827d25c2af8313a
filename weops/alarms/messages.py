"""Alarm messages: what was told, for whoever may see the project; and that somebody takes care of it.

Reading needs the right to view the project, acknowledging the right to operate.
"""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from weops.alarms.models import Message, Notice
from weops.projects import access
from weops.projects.access import AnyUser, Right


def visible(user: AnyUser) -> QuerySet[Message]:
    """Newest first."""
    return access.within(
        Message.objects.select_related("project", "acknowledged_by").order_by("-id"), user, "project_id"
    )


def acknowledge(user: User, ids: Iterable[int]) -> int:
    """Stops repeats and escalation of these messages; how many it was that nobody had acknowledged before."""
    rows = access.within(Message.objects.all(), user, "project_id", Right.OPERATE)
    chosen = list(rows.filter(pk__in=list(ids), acknowledged_at__isnull=True).values_list("pk", flat=True))
    changed = Message.objects.filter(pk__in=chosen, acknowledged_at__isnull=True).update(
        acknowledged_at=timezone.now(), acknowledged_by=user
    )
    Notice.objects.filter(message__in=chosen).update(next_at=None, repeat_at=None, escalate_at=None)
    return changed
