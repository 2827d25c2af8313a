"""The options of each kind of operation as a form. It says what was filled in; the operation judges whether that can be."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from instances.models.choices import SELF_DEPENDENCIES
from instances.operations import OptionError
from instances.operations.options import LABELS, CheckParents, Code, Range, Scope
from weops.console.filter_bar import MomentField
from weops.projects import access
from weops.projects.access import AnyUser

MOST_LINES = 100


def _choices(kind: Any) -> list[tuple[str, str]]:
    return [(one.value, LABELS[kind][one]) for one in kind]


class OptionsForm(forms.Form):
    """`given` is what the operation's `parse` takes. A form of an operation without options has no fields."""

    def __init__(self, data: QueryDict | None, *, user: AnyUser, initial: Mapping[str, Any]) -> None:
        super().__init__(data, initial=dict(initial))
        self.user = user
        self.sent = data if data is not None else QueryDict()

    def given(self) -> dict[str, Any]:
        """JSON-like options. Raises OptionError for what cannot be read at all."""
        return {}

    def refuse(self, error: OptionError) -> None:
        """Shows what the operation said about an option."""
        self.add_error(error.field if error.field in self.fields else None, str(error))


class RerunForm(OptionsForm):
    # What is not sent is as by default.
    scope = forms.ChoiceField(
        required=False,
        label=_("What is run again"),
        choices=_choices(Scope),
        initial=Scope.THIS.value,
        widget=forms.RadioSelect,
    )
    range = forms.ChoiceField(
        required=False, label=_("How far downstream"), choices=_choices(Range), initial=Range.WORKFLOW.value
    )
    check_parents = forms.ChoiceField(
        required=False,
        label=_("Wait for parents"),
        choices=_choices(CheckParents),
        initial=CheckParents.NONE.value,
    )
    check_previous = forms.BooleanField(
        label=_("The previous period counts"),
        required=False,
        help_text=_("For tasks that depend on their own previous data time."),
    )
    ignore_events = forms.BooleanField(
        label=_("Ignore events"),
        required=False,
        help_text=_("Does not wait for the events that the task listens to."),
    )
    code = forms.ChoiceField(
        required=False,
        label=_("Code"),
        choices=_choices(Code),
        initial=Code.LATEST.value,
        widget=forms.RadioSelect,
    )
    failed_traversals = forms.BooleanField(
        label=_("Only traversals that have not succeeded"),
        required=False,
        help_text=_("Of For-each tasks; else all traversals run again."),
    )
    parallelism = forms.IntegerField(
        label=_("At most so many at once"),
        required=False,
        min_value=1,
        max_value=1000,
        help_text=_("Instances of a task; in place of its self-dependency."),
    )
    self_dependency = forms.ChoiceField(
        label=_("Self-dependency"), choices=[("", _("As the task says")), *SELF_DEPENDENCIES], required=False
    )

    @property
    def picked(self) -> set[int]:
        """Ids of the hand-picked downstream instances."""
        return {int(text) for text in self.sent.getlist("chosen") if text.isdecimal() and len(text) <= 18}

    @property
    def reaches_downstream(self) -> bool:
        return (self["scope"].value() or Scope.THIS) != Scope.THIS

    @property
    def by_hand(self) -> bool:
        """Whether downstream instances are to be picked by hand."""
        return self.reaches_downstream and self["range"].value() == Range.CHOSEN

    def lines(self, name: str) -> list[tuple[str, str]]:
        """(name, value) as filled in, and one empty line to go on."""
        names, values = self.sent.getlist(f"{name}_name"), self.sent.getlist(f"{name}_value")
        filled = [line for line in zip(names, values, strict=False) if line[0].strip() or line[1]]
        return [*filled[:MOST_LINES], ("", "")]

    @property
    def parameter_lines(self) -> list[tuple[str, str]]:
        return self.lines("parameter")

    @property
    def application_lines(self) -> list[tuple[str, str]]:
        return self.lines("application")

    def given(self) -> dict[str, Any]:
        values = self.cleaned_data
        options: dict[str, Any] = {name: value for name, value in values.items() if value not in ("", None)}
        if not self.reaches_downstream:
            options.pop("range", None)
        elif self.by_hand:
            options["chosen"] = sorted(self.picked)
        options["parameters"] = self._pairs("parameter", "parameters")
        options["application_parameters"] = self._pairs("application", "application_parameters")
        return options

    def _pairs(self, name: str, option: str) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for key, value in self.lines(name)[:-1]:
            key = key.strip()
            if not key:
                raise OptionError(option, gettext("The value %(value)r has no name.") % {"value": value})
            if key in pairs:
                raise OptionError(option, gettext("%(name)s is given twice.") % {"name": key})
            pairs[key] = value
        return pairs


class FreezeForm(OptionsForm):
    subtree = forms.BooleanField(
        label=_("With everything downstream"),
        required=False,
        help_text=_("Over workflows and projects, as far as you can see them."),
    )
    thaw_at = MomentField(_("Thaws by itself at"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["thaw_at"].help_text = gettext("Empty: until somebody thaws it.")

    def given(self) -> dict[str, Any]:
        return {"subtree": self.cleaned_data["subtree"], "thaw_at": _iso(self.cleaned_data["thaw_at"])}


class AcknowledgeForm(OptionsForm):
    owner = forms.ModelChoiceField(
        User.objects.none(), label=_("Who takes care of it"), required=False, empty_label=_("I do")
    )
    expires_at = MomentField(_("Until"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owner: Any = self.fields["owner"]
        owner.queryset = access.colleagues(self.user).exclude(username=self.user.get_username())
        self.fields["expires_at"].help_text = gettext("Empty: until the instance runs again.")

    def given(self) -> dict[str, Any]:
        owner = self.cleaned_data["owner"]
        return {
            "owner": owner.get_username() if owner else "",
            "expires_at": _iso(self.cleaned_data["expires_at"]),
        }


class RemoveForm(OptionsForm):
    """Edges of one instance as `task id@data time`, or all that are open, of any number of instances."""

    all = forms.BooleanField(label=_("All that are open now"), required=False)

    @property
    def picked(self) -> set[str]:
        return set(self.sent.getlist("edge"))

    def given(self) -> dict[str, Any]:
        if self.cleaned_data["all"]:
            return {"all": True}
        edges = [text.partition("@") for text in sorted(self.picked)]
        if not edges:
            raise OptionError("edges", gettext("Choose the dependencies to remove."))
        if not all(task.isdecimal() and len(task) <= 18 for task, _, _ in edges):
            raise OptionError(
                "edges", gettext("A dependency is chosen by the number of its task and a data time.")
            )
        return {"edges": [{"task": int(task), "data_time": time} for task, _, time in edges]}


FORMS: dict[str, type[OptionsForm]] = {
    "rerun": RerunForm,
    "freeze": FreezeForm,
    "acknowledge": AcknowledgeForm,
    "remove_dependency": RemoveForm,
}


def form_of(
    kind: str, data: QueryDict | None, *, user: AnyUser, initial: Mapping[str, Any] | None = None
) -> OptionsForm:
    """The form of the kind; without `data` as it is when nobody has filled it in."""
    return FORMS.get(kind, OptionsForm)(data, user=user, initial=initial or {})


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None
