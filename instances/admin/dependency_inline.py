"""The table of dependencies on the page of a task: what may be chosen, and the panel that shows what it comes to."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.forms import PaginationInlineFormSet
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from instances import definitions
from instances.admin.waits_form import DRAFT_FIELDS
from instances.definition_rules import bad_parent_problem
from instances.engine import dependencies
from instances.engine.dependency_scopes import SCOPES
from instances.engine.schedule import Cycle
from instances.engine.trigger_policies import BadParent
from instances.models import Dependency
from weops.console.scoped import ScopedInline
from weops.projects.access import Right

Choices = list[tuple[str, Any]]

BAD_PARENTS = [
    (BadParent.NOT_EXIST.value, _("Never comes (NOT_EXIST)")),
    (BadParent.PARENT_EXPIRED.value, _("Failed (PARENT_EXPIRED)")),
    (BadParent.PARENT_TIMEOUT.value, _("Late (PARENT_TIMEOUT)")),
]


def scope_choices(names: tuple[str, ...]) -> Choices:
    return [(name, format_lazy("{name}: {words}", name=name, words=_(SCOPES[name].words))) for name in names]


def choices_of(downstream: str, upstream: str) -> Choices:
    """What two cycles offer, the default first."""
    names = dependencies.scopes(Cycle(downstream), Cycle(upstream))
    return [("", format_lazy(_("Default: {scope}"), scope=names[0])), *scope_choices(names)]


class DependencyForm(forms.ModelForm):
    """One row. Any scope can be sent, since the cycles may change with it; the table of rows judges them together."""

    scope = forms.ChoiceField(
        choices=[("", _("Default of the two cycles")), *scope_choices(tuple(SCOPES))],
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text=_("Which of its data times, seen from the data time D of this task."),
    )
    offsets = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "-1,0"}),
        help_text=_("Of ranges and lists: 0 is the unit of D, -1 the one before."),
    )

    bad_parents = forms.MultipleChoiceField(
        choices=BAD_PARENTS,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
        label=_("Do not wait for"),
        help_text=_(
            "Instances that count as met: outside the schedule of their task, failed, or late by so many minutes. Without a "
            "choice every one is waited for."
        ),
    )
    parent_timeout = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=525_600,
        widget=UnfoldAdminIntegerFieldWidget(),
        label=_("Minutes"),
        help_text=_("How long one that may be late is waited for, from when an instance begins to wait."),
    )

    class Meta:
        model = Dependency
        fields = ("upstream", "scope", "offsets", "bad_parents", "parent_timeout")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: Dependency = self.instance
        if row.pk:
            offered = choices_of(row.task.cycle_type, row.upstream.cycle_type)
            if row.scope not in dict(offered):
                offered.append(
                    (row.scope, gettext("%(scope)s (not for these cycles)") % {"scope": row.scope})
                )
            self.fields["scope"].widget.choices = offered

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        scope, offsets = values.get("scope", ""), values.get("offsets", "")
        if scope or offsets:
            try:
                values["offsets"] = dependencies.canonical(scope or gettext("The default"), offsets)
            except dependencies.DependencyError as error:
                self.add_error("offsets", str(error))
        problem = bad_parent_problem(values.get("bad_parents") or (), values.get("parent_timeout"))
        if problem and "parent_timeout" not in self.errors:
            self.add_error("parent_timeout", problem[:1].upper() + problem[1:])
        return values


class DependencyFormSet(PaginationInlineFormSet):
    """Checks all dependencies of the task together: their scopes, pairs and circles."""

    # What the panel sends of the rest of the page.
    preview_fields = " ".join(DRAFT_FIELDS)

    def clean(self) -> None:
        super().clean()
        task = self.instance
        if any(self.errors) or not task.workflow_id or not isinstance(self, BaseInlineFormSet):
            return
        chosen = [
            form.cleaned_data
            for form in self.forms
            if form.cleaned_data and not form.cleaned_data.get("DELETE")
        ]
        rows = [
            Dependency(
                task=task,
                upstream=values["upstream"],
                scope=values.get("scope", ""),
                offsets=values.get("offsets", ""),
                bad_parents=values.get("bad_parents") or [],
                parent_timeout=values.get("parent_timeout"),
            )
            for values in chosen
            if values.get("upstream")
        ]
        try:
            definitions.validate(task, rows)
        except ValidationError as error:
            wrong = error.message_dict.get("dependencies")
            if wrong:
                raise ValidationError(wrong) from None


class DependencyInline(ScopedInline):
    model = Dependency
    fk_name = "task"
    form = DependencyForm
    formset = DependencyFormSet
    fields = ("upstream", "scope", "offsets", "bad_parents", "parent_timeout")
    hide_title = True
    autocomplete_fields = ("upstream",)
    # A task may wait for any task that its author can see, in other projects too.
    choice_rights = {"upstream": Right.VIEW}
    verbose_name = _("upstream task")
    verbose_name_plural = _("Waits for")
    template_after = "instances/task_waits_panel.html"

    class Media:
        js = ("instances/dependencies.js",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("task", "upstream")
