"""Pages of alarms: rules, channels, messages."""

from weops.alarms.admin import channel, message, rule

__all__ = ["channel", "message", "rule"]
