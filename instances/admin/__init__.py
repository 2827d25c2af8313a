"""The admin's pages of what the engine defines and keeps. Importing this registers them."""

from instances.admin import backfill, definition, instance, records, task, version, workers

__all__ = ["backfill", "definition", "instance", "records", "task", "version", "workers"]
