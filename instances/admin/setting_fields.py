"""The settings of a task as real fields of its form, made from the schemas of the task types.

A field is named `setting_<type>_<setting>`. All types' fields are in the page; a script shows those of the chosen type, and
only they are read. What is left empty, or as the schema's default has it, is not stored.
"""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import keep_lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from instances.runners import registry
from instances.runners.settings_schema import Schema, setting_of

# Every field of a setting is named so.
START_OF_FIELD = "setting_"


def name_of(task_type: str, setting: str) -> str:
    return f"{START_OF_FIELD}{task_type}_{setting}"


class TextsField(forms.CharField):
    """A list of texts, one a line."""

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()]


class PairsField(forms.CharField):
    """An object of texts, `name: value` a line."""

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return "\n".join(f"{name}: {text}" for name, text in value.items())

    def to_python(self, value: Any) -> Any:
        found: dict[str, str] = {}
        for line in filter(str.strip, (super().to_python(value) or "").splitlines()):
            name, colon, text = line.partition(":")
            if not colon:
                raise ValidationError(
                    gettext("Write each line as name: value; this one has no colon: %s") % line[:80]
                )
            if name.strip() in found:
                raise ValidationError(gettext("%s stands there twice.") % name.strip()[:80])
            found[name.strip()] = text.strip()
        return found


class JsonField(forms.JSONField):
    """What has no simpler form."""

    def prepare_value(self, value: Any) -> Any:
        return value if value in (None, "") else super().prepare_value(value)


def made() -> dict[str, forms.Field]:
    """A field for each setting of each registered type."""
    return {
        name_of(runner.type, name): _field(declared, needed=name in runner.schema.get("required", ()))
        for runner in registry.runners()
        for name, declared in runner.schema["properties"].items()
    }


def _lines(rows: int, **attributes: Any) -> forms.Widget:
    return UnfoldAdminTextareaWidget(attrs={"rows": rows, "spellcheck": "false", **attributes})


def _field(declared: Schema, *, needed: bool) -> forms.Field:
    """`needed`: its type requires it, which the schema judges; a task of another type leaves it empty."""
    field = _plain_field(declared)
    if needed:
        field.label = _starred(field.label)
        field.widget.attrs["aria-required"] = "true"
    return field


@keep_lazy(SafeString)
def _starred(label: Any) -> SafeString:
    return format_html('{} <span class="text-red-600 dark:text-red-500" aria-hidden="true">*</span>', label)


def _plain_field(declared: Schema) -> forms.Field:
    words: dict[str, Any] = {
        "label": capfirst(_(declared["title"])) if declared.get("title") else "",
        "help_text": _(declared.get("description", "")) if declared.get("description") else "",
        "required": False,
    }
    if "enum" in declared:
        default = declared.get("default")
        blank = [] if default is not None else [("", "---------")]
        options = [*blank, *((option, option) for option in declared["enum"])]
        return forms.ChoiceField(choices=options, widget=UnfoldAdminSelectWidget(), initial=default, **words)
    match declared.get("type"):
        case "boolean":
            return forms.BooleanField(
                widget=UnfoldBooleanSwitchWidget(), initial=declared.get("default"), **words
            )
        case "integer":
            widget = UnfoldAdminIntegerFieldWidget(
                attrs={"placeholder": str(declared["default"])} if "default" in declared else None
            )
            return forms.IntegerField(widget=widget, **words)
        case "array" if declared.get("items", {}).get("type") == "string":
            return TextsField(widget=_lines(3), **words)
        case "object" if declared.get("x-lines"):
            return PairsField(widget=_lines(3), **words)
        case "string":
            long = declared.get("x-lines")
            return forms.CharField(
                widget=_lines(3) if long else UnfoldAdminTextInputWidget(),
                **words,
            )
    return JsonField(widget=_lines(6, **{"class": "wo-code-input"}), **words)


def initial(task_type: str, settings: Any) -> dict[str, Any]:
    """What the fields of a task's own type show."""
    if task_type not in registry.types() or not isinstance(settings, Mapping):
        return {}
    known = registry.get(task_type).schema["properties"]
    return {name_of(task_type, name): value for name, value in settings.items() if name in known}


def collect(task_type: str, cleaned: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the fields of `task_type` say."""
    found = {}
    for name, declared in registry.get(task_type).schema["properties"].items():
        value = cleaned.get(name_of(task_type, name))
        plain = declared.get("default", False if declared.get("type") == "boolean" else None)
        if value not in (None, "", [], {}) and value != plain:
            found[name] = value
    return found


def field_of(task_type: str, message: str) -> str:
    """The field that a message about a setting belongs to."""
    return name_of(task_type, setting_of(message) or "")


def shown_for() -> dict[str, list[str]]:
    """{type: names of the fields that the script shows for it}; `data_source` among them where it is used."""
    return {
        runner.type: [
            *(["data_source"] if runner.data_source else []),
            *(name_of(runner.type, name) for name in runner.schema["properties"]),
        ]
        for runner in registry.runners()
    }


def help_of_code() -> dict[str, str]:
    """{type: what its code is}."""
    return {runner.type: gettext(runner.code_is) if runner.code_is else "" for runner in registry.runners()}


def languages() -> dict[str, str]:
    """{type: what its code is written in}."""
    return {runner.type: runner.language for runner in registry.runners()}
