"""REST: alarm rules, channels, messages."""
