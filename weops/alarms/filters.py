"""The filters of the list of alarm messages, in the admin and over REST."""

from django import forms
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy

from weops.alarms.kinds import Kind, Level, Sending
from weops.alarms.models import Message
from weops.console.filter_bar import FilterForm, MomentField

LARGEST = 2**63 - 1
_CARE = [
    ("", gettext_lazy("All")),
    ("open", gettext_lazy("Nobody yet")),
    ("done", gettext_lazy("Acknowledged")),
]


class MessageFilter(FilterForm):
    q = forms.CharField(
        label=gettext_lazy("Task or rule"),
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    state = forms.ChoiceField(
        label=gettext_lazy("State"), choices=[("", gettext_lazy("All")), *Sending.choices], required=False
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"), choices=[("", gettext_lazy("All")), *Kind.choices], required=False
    )
    level = forms.ChoiceField(
        label=gettext_lazy("Level"), choices=[("", gettext_lazy("All")), *Level.choices], required=False
    )
    care = forms.ChoiceField(label=gettext_lazy("Who takes care"), choices=_CARE, required=False)
    found_from = MomentField(gettext_lazy("Found from"))
    found_to = MomentField(gettext_lazy("Found to"))

    FIRST = ("q", "state", "kind", "level", "care")
    MORE = ("found_from", "found_to")
    COLUMNS = {"state": "state", "kind": "kind", "level": "level"}
    RANGES = {"found_from": "created_at__gte", "found_to": "created_at__lte"}

    def apply(self, queryset: QuerySet[Message]) -> QuerySet[Message]:
        rows = super().apply(queryset)
        if not self.is_valid():
            return rows
        if word := self.cleaned_data["q"].strip():
            rows = rows.filter(Q(task_name__icontains=word) | Q(rule_name__icontains=word))
        if care := self.cleaned_data["care"]:
            rows = rows.filter(acknowledged_at__isnull=care == "open")
        return rows


class MessageApiFilter(MessageFilter):
    """With ids, for programs. Whether such a row exists is not for a filter to tell."""

    project = forms.IntegerField(label="Project's id", required=False, min_value=1, max_value=LARGEST)
    instance = forms.IntegerField(label="Instance's id", required=False, min_value=1, max_value=LARGEST)

    COLUMNS = {**MessageFilter.COLUMNS, "project": "project_id", "instance": "instance_id"}
