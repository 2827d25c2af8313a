"""The zone that a page shows times in."""

from django import template

from weops.console.present import offset, zone_name

register = template.Library()


@register.simple_tag
def zone_of_page() -> str:
    """Its name, and how far it is from UTC just now."""
    name, now = zone_name(), offset()
    return name if name == "UTC" else f"{name} ({now})"
