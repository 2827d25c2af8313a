"""Who made a row and who changed it last, as the admin's history has it; nobody, for rows that nobody made by hand."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.functions import Cast, Coalesce

from weops.wedata.accounts import uin


@dataclass(slots=True)
class History:
    """{id: account} and {id: (account, time, name of the account)}."""

    made: dict[int, int] = field(default_factory=dict)
    changed: dict[int, tuple[int, dt.datetime, str]] = field(default_factory=dict)

    def creator(self, row: models.Model) -> str | None:
        return uin(self.made.get(row.pk))

    def editor(self, row: models.Model) -> str | None:
        return uin(self.changed[row.pk][0]) if row.pk in self.changed else None

    def editor_name(self, row: models.Model) -> str | None:
        return self.changed[row.pk][2] if row.pk in self.changed else None

    def changed_at(self, row: models.Model) -> dt.datetime | None:
        return self.changed[row.pk][1] if row.pk in self.changed else None


def of(model: type[models.Model], rows: Iterable[models.Model]) -> History:
    """Two queries, however many rows; none for no rows."""
    ids = [str(row.pk) for row in rows]
    if not ids:
        return History()
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(model), object_id__in=ids
    ).order_by("object_id", "-id")
    columns = ("object_id", "user_id", "action_time", "user__username")
    made = entries.filter(action_flag=ADDITION).distinct("object_id").values_list(*columns)
    changed = entries.distinct("object_id").values_list(*columns)
    return History(
        {int(pk): user for pk, user, _, _ in made},
        {int(pk): (user, at, name) for pk, user, at, name in changed},
    )


def made_by(model: type[models.Model], user_id: int) -> models.QuerySet[LogEntry, Any]:
    """Object ids (texts) of what an account made, for a filter."""
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(model), action_flag=ADDITION, user_id=user_id
    )
    return entries.values("object_id")


def modified(model: type[models.Model]) -> Coalesce:
    """The time of a row's last change, or of its making, for a filter."""
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(model),
        object_id=Cast(models.OuterRef("pk"), models.TextField()),
    )
    return Coalesce(
        models.Subquery(entries.order_by("-id").values("action_time")[:1]), models.F("created_at")
    )
