"""Operations on instances: one class each, called by every door alike. docs/operations.md, docs/adr/0008-operations.md

A door calls `preview` and then `apply` with its token, or `run` at once; `cancel` and `undo` take a record.
"""

from instances.operations import acknowledging, holding, removing, simple, undoing
from instances.operations.applying import work
from instances.operations.asking import (
    NotUndoable,
    Preview,
    ReasonRequired,
    StalePreview,
    UnknownPreview,
    apply,
    preview,
    preview_undo,
    run,
    undo,
)
from instances.operations.base import InstanceOperation, get, kinds
from instances.operations.options import RerunOptions
from instances.operations.parsing import ForbiddenOption, OptionError
from instances.operations.records import cancel, may_cancel
from instances.operations.selection import Difference
from instances.operations.undoing import why_not_undoable

# Importing these modules registers their operations.
_REGISTERED = (acknowledging, holding, removing, simple, undoing)

__all__ = [
    "Difference",
    "ForbiddenOption",
    "InstanceOperation",
    "NotUndoable",
    "OptionError",
    "Preview",
    "ReasonRequired",
    "RerunOptions",
    "StalePreview",
    "UnknownPreview",
    "apply",
    "cancel",
    "get",
    "kinds",
    "may_cancel",
    "preview",
    "preview_undo",
    "run",
    "undo",
    "why_not_undoable",
    "work",
]
