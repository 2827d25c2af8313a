"""The tables of the operations center, one module per noun."""

from instances.models.definition import Dependency, Task, TaskVersion, Workflow
from instances.models.execution import Execution, Lease, LogChunk, StateChange, WorkerProcess
from instances.models.instance import Edge, Instance
from instances.models.operation import OperationItem, OperationRecord

__all__ = [
    "Dependency",
    "Edge",
    "Execution",
    "Instance",
    "Lease",
    "LogChunk",
    "OperationItem",
    "OperationRecord",
    "StateChange",
    "Task",
    "TaskVersion",
    "WorkerProcess",
    "Workflow",
]
