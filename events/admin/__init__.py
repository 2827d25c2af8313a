"""The admin's pages of events. Importing this registers them."""

from events.admin import definition, instance

__all__ = ["definition", "instance"]
