"""Operations on instances: one class each, called by every door alike (admin, commands, later the APIs)."""

from instances.operations.base import InstanceOperation, get, run
from instances.operations.simple import MarkSuccess, Rerun, Terminate

__all__ = ["InstanceOperation", "MarkSuccess", "Rerun", "Terminate", "get", "run"]
