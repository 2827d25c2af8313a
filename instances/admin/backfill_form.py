"""The form of a new backfill plan. It says what was filled in; `operations.backfill_options` judges whether that can be."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from django import forms
from django.db.models import Q
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.engine.plan_spec import OnFailure, Order, Reprocess
from instances.engine.zone import zone_names
from instances.models import Task
from instances.models.choices import SELF_DEPENDENCIES
from instances.operations import OptionError
from instances.operations.backfill_options import (
    DOWNSTREAM_LABELS,
    LABELS,
    MOST_PARALLEL,
    MOST_RANGES,
    MOST_TASKS,
    Downstream,
)
from weops.console.paging import time_limit
from weops.projects import access
from weops.projects.access import AnyUser, Right
from weops.projects.models import ResourceGroup

# Tasks that a search offers.
MOST_FOUND = 20
MOST_LINES = 100


def _choices(kind: Any, labels: Mapping[StrEnum, str] = LABELS) -> list[tuple[str, Any]]:
    return [(one.value, _(labels[one])) for one in kind]


def _zones() -> list[tuple[str, str]]:
    return [("", gettext("Each task's own")), *((name, name) for name in sorted(zone_names()))]


def _numbers(texts: Sequence[str]) -> list[int]:
    """The ids in `texts`, each once, in order."""
    return list(dict.fromkeys(int(text) for text in texts if text.isdecimal() and len(text) <= 18))


class PlanForm(forms.Form):
    """`given` is what `backfill_options.parse` takes. Tasks and ranges are lists that no field of Django's reads."""

    find = forms.CharField(
        label=_("Find a task"),
        required=False,
        max_length=100,
        widget=forms.TextInput(
            attrs={"type": "search", "autocomplete": "off", "placeholder": _("Part of its name or workflow")}
        ),
    )
    downstream = forms.ChoiceField(
        label=_("How far downstream"),
        required=False,
        choices=_choices(Downstream, DOWNSTREAM_LABELS),
        initial=Downstream.NONE.value,
    )
    timezone = forms.ChoiceField(label=_("Days are those of"), required=False, choices=_zones)
    window_start = forms.CharField(
        label=_("Only from"), required=False, widget=forms.TextInput(attrs={"type": "time"})
    )
    window_end = forms.CharField(
        label=_("to"),
        required=False,
        widget=forms.TextInput(attrs={"type": "time"}),
        help_text=_("For minute and hour tasks, both ends included."),
    )
    first_of_month = forms.BooleanField(label=_("Day tasks on the 1st of each month only"), required=False)
    reprocess = forms.ChoiceField(
        label=_("What is run"), required=False, choices=_choices(Reprocess), initial=Reprocess.ALL.value,
        widget=forms.RadioSelect,
    )  # fmt: skip
    order = forms.ChoiceField(
        label=_("Order of data times"), required=False, choices=_choices(Order), initial=Order.NORMAL.value
    )
    parallelism = forms.IntegerField(
        label=_("Data times at once"),
        required=False,
        min_value=1,
        max_value=MOST_PARALLEL,
        initial=1,
        help_text=_("In place of the tasks' self-dependency."),
    )
    self_dependency = forms.ChoiceField(
        label=_("Or a self-dependency"), choices=[("", "–"), *SELF_DEPENDENCIES], required=False,
        help_text=_("Then the number does not count."),
    )  # fmt: skip
    on_failure = forms.ChoiceField(
        label=_("When a data time fails"), required=False, choices=_choices(OnFailure), initial=OnFailure.GO_ON.value,
        widget=forms.RadioSelect,
    )  # fmt: skip
    check_parents = forms.BooleanField(
        label=_("Wait for parents outside the plan"),
        required=False,
        help_text=_("Parents in the plan always count."),
    )
    ignore_events = forms.BooleanField(label=_("Ignore events"), required=False, initial=True)
    resource_group = forms.ModelChoiceField(
        ResourceGroup.objects.filter(enabled=True), label=_("Resource group"), required=False,
        empty_label=_("Each task's own"),
    )  # fmt: skip
    name = forms.CharField(
        label=_("Name of the plan"), required=False, max_length=200, help_text=_("Empty: tasks and days.")
    )

    def __init__(self, data: QueryDict | None, *, user: AnyUser, query: QueryDict) -> None:
        super().__init__(data)
        self.user = user
        self.sent = data if data is not None else query

    # What is chosen

    @property
    def task_ids(self) -> list[int]:
        return _numbers(self.sent.getlist("tasks"))[: MOST_TASKS + 1]

    @property
    def picked(self) -> list[int]:
        """Ids of the hand-picked downstream tasks."""
        return _numbers(self.sent.getlist("chosen"))

    @property
    def by_hand(self) -> bool:
        return bool(self["downstream"].value() == Downstream.CHOSEN)

    def operable(self) -> Any:
        """The tasks that the user may choose."""
        rows = Task.objects.select_related("workflow__project").order_by("name", "id")
        return access.within(rows, self.user, "workflow__project_id", Right.OPERATE)

    def found(self) -> list[Task]:
        """What the search has found, without what is chosen already."""
        words = str(self["find"].value() or "").split()
        if not words:
            return []
        rows = self.operable().exclude(pk__in=self.task_ids).exclude(cycle_type="ONEOFF")
        for word in words:
            rows = rows.filter(_anywhere(word))
        with time_limit(5):
            return list(rows[:MOST_FOUND])

    @property
    def range_lines(self) -> list[tuple[str, str]]:
        """(first, last) as filled in, and one empty line to go on."""
        return [*self._pairs("first", "last"), ("", "")]

    @property
    def parameter_lines(self) -> list[tuple[str, str]]:
        return [*self._pairs("parameter_name", "parameter_value"), ("", "")]

    @property
    def application_lines(self) -> list[tuple[str, str]]:
        return [*self._pairs("application_name", "application_value"), ("", "")]

    def _pairs(self, one: str, other: str) -> list[tuple[str, str]]:
        lines = zip(self.sent.getlist(one), self.sent.getlist(other), strict=False)
        return [line for line in lines if line[0].strip() or line[1].strip()][:MOST_LINES]

    # What it comes to

    def given(self) -> dict[str, Any]:
        """JSON-like options. Raises OptionError for what cannot be read at all."""
        values = {name: value for name, value in self.cleaned_data.items() if name not in ("find", "name")}
        group = values.pop("resource_group")
        if values["self_dependency"]:
            values["parallelism"] = None
        return {
            **{name: value for name, value in values.items() if value not in ("", None)},
            "tasks": self.task_ids,
            "chosen": self.picked if self.by_hand else [],
            "ranges": self._ranges(),
            "resource_group": group.pk if group else None,
            "parameters": self._named("parameter", "parameters"),
            "application_parameters": self._named("application", "application_parameters"),
        }

    def _ranges(self) -> list[dict[str, str]]:
        """A line with one day only is that day."""
        lines = self._pairs("first", "last")[: MOST_RANGES + 1]
        return [{"first": first or last, "last": last or first} for first, last in lines]

    def _named(self, name: str, option: str) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for key, value in self._pairs(f"{name}_name", f"{name}_value"):
            key = key.strip()
            if not key:
                raise OptionError(option, gettext("The value %(value)r has no name.") % {"value": value})
            if key in pairs:
                raise OptionError(option, gettext("%(name)s is given twice.") % {"name": key})
            pairs[key] = value
        return pairs

    def refuse(self, error: OptionError) -> None:
        """Shows what was said about an option."""
        self.add_error(error.field if error.field in self.fields else None, str(error))

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, for people."""
        errors: Mapping[str, Any] = self.errors if self.is_bound else {}
        return [
            f"{self[name].label}: {message}" if name in self.fields else message
            for name, messages in errors.items()
            for message in messages
        ]


def _anywhere(word: str) -> Q:
    return (
        Q(name__icontains=word)
        | Q(workflow__name__icontains=word)
        | Q(workflow__project__name__icontains=word)
    )
