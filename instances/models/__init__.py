"""The tables of the operations center, one module per noun."""

from instances.models import names
from instances.models.backfill import BackfillPlan, BackfillRun
from instances.models.definition import Dependency, Task, TaskVersion, Workflow
from instances.models.execution import Execution, Lease, LogChunk, StateChange, WorkerProcess
from instances.models.figure import DayFigure, FigureMark
from instances.models.instance import Edge, Instance, Ripple
from instances.models.operation import (
    Acknowledgement,
    FrozenBatch,
    FrozenRoots,
    FrozenSet,
    OperationItem,
    OperationRecord,
)
from instances.models.place import TaskPlace
from instances.models.secret_use import SecretUse
from instances.models.traversal import ForEachRun, Traversal

__all__ = [
    "Acknowledgement",
    "BackfillPlan",
    "BackfillRun",
    "DayFigure",
    "Dependency",
    "Edge",
    "Execution",
    "FigureMark",
    "ForEachRun",
    "FrozenBatch",
    "FrozenRoots",
    "FrozenSet",
    "Instance",
    "Lease",
    "LogChunk",
    "OperationItem",
    "OperationRecord",
    "Ripple",
    "SecretUse",
    "StateChange",
    "Task",
    "TaskPlace",
    "TaskVersion",
    "Traversal",
    "WorkerProcess",
    "Workflow",
]

names.give()
