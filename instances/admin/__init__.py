"""The admin's pages of what the engine defines and keeps. Importing this registers them."""

from instances.admin import definition, instance, records, task, workers

__all__ = ["definition", "instance", "records", "task", "workers"]
