"""The form of a task. It collects; `instances.definitions` judges, and its messages land on the fields they name."""

import re
from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from instances import definitions
from instances.admin import setting_fields
from instances.models import Dependency, Task
from instances.runners import registry
from instances.task_definitions import belongings

# Of a textarea that console/editor.js makes an editor of.
EDITOR = {
    "data-editor": "",
    "data-w-label": _("Code"),
    "data-w-hint": _("Tab indents. Escape, then Tab, leaves the editor."),
    "data-w-leaving": _("Tab leaves the editor now."),
}
_UPSTREAM = re.compile(r"dependencies-\d{1,6}-upstream")


class NumbersField(SimpleArrayField):
    """Whole numbers separated by commas or spaces."""

    def __init__(self, label: Any = "", help_text: Any = "") -> None:
        super().__init__(
            forms.IntegerField(),
            required=False,
            label=label,
            help_text=help_text,
            widget=UnfoldAdminTextInputWidget(),
        )

    def to_python(self, value: Any) -> Any:
        return super().to_python(
            ",".join(value.replace(",", " ").split()) if isinstance(value, str) else value
        )


class NamesField(SimpleArrayField):
    """Names separated by commas, spaces or lines."""

    def __init__(self, label: Any, help_text: Any) -> None:
        super().__init__(
            forms.CharField(max_length=128),
            required=False,
            label=label,
            help_text=help_text,
            widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "rows, path"}),
        )

    def to_python(self, value: Any) -> Any:
        return super().to_python(
            ",".join(value.replace(",", " ").split()) if isinstance(value, str) else value
        )


class TaskForm(forms.ModelForm):
    """Its `settings` are edited in one field each: see `setting_fields`."""

    note = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget(),
        help_text=_("What this version changes; shown in the list of versions."),
    )
    hours = NumbersField(_("Hours"), _("Chosen hours 0-23, such as 2, 8; empty: every step."))
    weekdays = NumbersField(_("Weekdays"), _("1 = Monday to 7 = Sunday, such as 1, 5."))
    month_days = NumbersField(_("Month days"), _("1-31; -1 = last day."))
    months = NumbersField(_("Months"), "1-12.")
    outputs = NamesField(
        _("Outputs"),
        _(
            "Output parameters: names that a run of a Shell or Python task writes as name=value lines to the file $WEOPS_OUTPUT; "
            "tasks that wait for it use them as ${name}."
        ),
    )

    class Meta:
        model = Task
        exclude = ("status", "settings")
        widgets = {
            "code": UnfoldAdminTextareaWidget(
                attrs={
                    "class": "wo-code-input",
                    "rows": 16,
                    "spellcheck": "false",
                    "wrap": "off",
                    **EDITOR,
                }
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.update(setting_fields.initial(self.instance.task_type, self.instance.settings))

    def clean_code(self) -> str:
        """Browsers send line ends of their own, which a shell would not understand."""
        code: str = self.cleaned_data["code"]
        return code.replace("\r\n", "\n")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        workflow = values.get("workflow")
        if workflow:
            wrong = belongings(workflow.project, values.get("owner"), values.get("secrets") or ())
            for column, messages in wrong.items():
                self.add_error(column, messages)
        return values

    def _post_clean(self) -> None:
        task_type = self.cleaned_data.get("task_type", "")
        if task_type in registry.types():
            self.instance.settings = setting_fields.collect(task_type, self.cleaned_data)
        super()._post_clean()  # type: ignore[misc]
        if "workflow" in self.errors or "resource_group" in self.errors:
            return
        try:
            definitions.validate(self.instance, self._dependencies())
        except ValidationError as error:
            for column, wrong in error.message_dict.items():
                self._say(column, wrong)

    def _dependencies(self) -> list[Dependency]:
        """As the table of the page has them: their outputs may be used. The table itself judges what is wrong with them."""
        sent = {name: value for name, value in self.data.items() if _UPSTREAM.fullmatch(name)}
        gone = {name.rpartition("-")[0] for name in self.data if name.endswith("-DELETE") and self.data[name]}
        chosen = [
            int(value)
            for name, value in sent.items()
            if name.rpartition("-")[0] not in gone and value.isdecimal() and len(value) <= 18
        ]
        return [
            Dependency(task=self.instance, upstream=upstream)
            for upstream in Task.objects.filter(pk__in=chosen).exclude(outputs=[])
        ]

    def _say(self, column: str, wrong: list[str]) -> None:
        """Puts messages on their field, or on the form for what is no field of it; dependencies have their own table."""
        # What is saved of the secrets is about to be replaced by what was chosen, which `clean` has checked.
        if column in ("dependencies", "secrets"):
            return
        for message in wrong:
            field: str | None = column
            if column == "settings":
                field = setting_fields.field_of(self.instance.task_type, message)
            field = field if field in self.fields else None
            said: list[Any] = list(self.errors.get(field or NON_FIELD_ERRORS, []))
            if message not in said:
                self.add_error(field, message)


TaskForm.declared_fields |= setting_fields.made()
TaskForm.base_fields |= setting_fields.made()
