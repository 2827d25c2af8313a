"""What the preview of dependencies reads from an address: a date, and the unsaved page of a task."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.http import QueryDict
from django.utils.translation import gettext

from instances.admin.task_form import NumbersField
from instances.models import Dependency, Task
from instances.models.definition import SCHEDULE_COLUMNS
from weops.projects.access import Right
from weops.projects.choices import choosable, visible_calendars
from weops.projects.models import Calendar

DRAFT_FIELDS = (*SCHEDULE_COLUMNS, "self_dependency")
MOST_ROWS = 200


class MomentForm(forms.Form):
    """The moment from which a data time is looked for, on the task's clock. The time may be left out."""

    date = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    time = forms.TimeField(required=False, widget=forms.TimeInput(attrs={"type": "time"}))

    def clean_date(self) -> dt.date | None:
        date: dt.date | None = self.cleaned_data["date"]
        if date is not None and not 1970 <= date.year <= 2200:
            raise forms.ValidationError(gettext("Choose a date between 1970 and 2200."))
        return date

    def local(self) -> dt.datetime | None:
        """The moment as a naive local time; None: no date was chosen. Call it on a valid form."""
        date, time = self.cleaned_data["date"], self.cleaned_data["time"]
        return dt.datetime.combine(date, time or dt.time()) if date else None


class DraftForm(forms.ModelForm):
    """The schedule that stands on an unsaved page of a task. Nothing is saved with it."""

    hours = NumbersField()
    weekdays = NumbersField()
    month_days = NumbersField()
    months = NumbersField()
    run_at = forms.SplitDateTimeField(required=False)
    effective_from = forms.SplitDateTimeField(required=False)
    effective_to = forms.SplitDateTimeField(required=False)
    calendar = forms.ModelChoiceField(Calendar.objects.none(), required=False)

    class Meta:
        model = Task
        fields = DRAFT_FIELDS

    def __init__(self, sent: QueryDict, task: Task, user: User) -> None:
        super().__init__(sent, instance=task)
        self.fields["calendar"].queryset = visible_calendars(Calendar.objects.all(), user)  # type: ignore[attr-defined]

    def problems(self) -> list[str]:
        """What cannot be read, with the names of the fields."""
        return [
            f"{name}: {message}" if name in self.fields else str(message)
            for name, messages in self.errors.items()
            for message in messages
        ]


@dataclass(frozen=True)
class Row:
    """A dependency of the page; `place` is its row in the table. `hidden`: nobody told this user that the task exists."""

    place: int
    dependency: Dependency
    hidden: bool = False


def saved_rows(task: Task, user: User | AnonymousUser) -> list[Row]:
    rows = list(task.dependencies.select_related("upstream__workflow__project", "upstream__calendar"))
    seen = _visible([row.upstream_id for row in rows], user)
    return [Row(place, row, row.upstream_id not in seen) for place, row in enumerate(rows)]


def sent_rows(sent: QueryDict, task: Task, user: User | AnonymousUser) -> list[Row]:
    """The rows of an unsaved table: parallel lists `row`, `upstream`, `scope`, `offsets`. Raises ValueError for others.

    A task that the user does not see is left out, whether it exists or not.
    """
    lists = [sent.getlist(name) for name in ("row", "upstream", "scope", "offsets")]
    if len({len(one) for one in lists}) > 1 or len(lists[0]) > MOST_ROWS:
        raise ValueError(gettext("These are no rows of dependencies."))
    found = _visible([int(upstream) for upstream in lists[1]], user)
    rows: list[Row] = []
    for place, upstream, scope, offsets in zip(*lists, strict=True):
        if int(upstream) in found:
            dependency = Dependency(
                task=task, upstream=found[int(upstream)], scope=scope[:40], offsets=offsets[:200]
            )
            rows.append(Row(int(place), dependency))
    return rows


def _visible(task_ids: list[int], user: Any) -> dict[int, Task]:
    tasks = choosable(Task, user, Right.VIEW).filter(pk__in=task_ids)
    return {task.pk: task for task in tasks.select_related("workflow__project", "calendar")}
