"""Old alarm messages go, a batch at a time, with their notices and deliveries."""

import datetime as dt

from django.utils import timezone

from weops.alarms.models import Message

A_BATCH = 1_000


def hourly(days: int, now: dt.datetime | None = None) -> int:
    """Removes messages that are older than `days`; how many."""
    before = (now or timezone.now()) - dt.timedelta(days=days)
    total = 0
    while ids := list(
        Message.objects.filter(created_at__lt=before)
        .order_by("created_at")
        .values_list("pk", flat=True)[:A_BATCH]
    ):
        Message.objects.filter(pk__in=ids).delete()
        total += len(ids)
    return total
