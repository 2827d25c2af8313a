"""Code on pages."""

from django import template
from django.utils.safestring import SafeString

from weops.console.highlight import highlighted

register = template.Library()


@register.filter
def coloured(code: str, language: str) -> SafeString:
    """The code with its colours, escaped."""
    return highlighted(code, language)
