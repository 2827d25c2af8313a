"""The rows of the instance list as text. The theme draws a row by going through its columns and their heads anew each time,
which takes longer than to read ten million instances; here all that is the same in every row is made once a page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.utils.formats import localize
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from unfold.admin import checkbox
from unfold.templatetags.unfold_list import CHECKBOX_CLASSES, ROW_CLASSES, result_headers

from instances.admin import list_columns
from weops.console.present import NOTHING

if TYPE_CHECKING:
    from instances.admin.listing import InstanceChangeList

CHECKBOX = "action_checkbox"
# Stands in the place of an instance's id in what is the same for all.
_PLACE = "0000"


def rows(changelist: "InstanceChangeList") -> Iterator[SafeString]:
    """The cells of each instance on the page, with the theme's classes."""
    admin = changelist.model_admin
    cells: list[tuple[str, Any]] = [
        (_opening(key), getattr(admin, key)) for key in changelist.list_display if key != CHECKBOX
    ]
    before, _sep, after = _checkbox().partition(_PLACE) if has_checkbox(changelist) else ("", "", "")
    for instance in changelist.result_list:
        parts = [before, str(instance.pk), after] if before else []
        for opening, cell in cells:
            parts += (opening, _shown(cell(instance)), "</td>")
        # Each part is escaped above.
        yield SafeString("".join(parts))


def has_checkbox(changelist: "InstanceChangeList") -> bool:
    return CHECKBOX in changelist.list_display


def head_checkbox(changelist: "InstanceChangeList") -> str:
    """Ticks all rows of the page; the theme's script knows it by its class."""
    return str(next(result_headers(changelist))["text"])


def _checkbox() -> SafeString:
    return format_html(
        '<td class="{}" data-label="{}">{}</td>',
        " ".join(CHECKBOX_CLASSES),
        checkbox.attrs["aria-label"],
        checkbox.render(ACTION_CHECKBOX_NAME, _PLACE),
    )


def _opening(key: str) -> SafeString:
    return format_html(
        '<td class="field-{} {}" data-label="{}">',
        key,
        " ".join(ROW_CLASSES),
        list_columns.BY_KEY[key].title,
    )


def _shown(value: Any) -> str:
    if isinstance(value, int):
        value = localize(value)
    return conditional_escape(NOTHING if value is None else value)
