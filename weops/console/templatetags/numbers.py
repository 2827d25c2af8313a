"""Numbers on pages."""

from typing import Any

from django import template

register = template.Library()


@register.filter
def grouped(value: Any) -> str:
    """`41,237` for 41237; anything that is no whole number as it is."""
    return f"{value:,}" if isinstance(value, int) else str(value)
