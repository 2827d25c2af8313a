"""How the exceptions of operations look to API clients."""

from instances import operations
from instances.operations import backfill
from weops.api.errors import Problem, explains


@explains(operations.OptionError)
def _option(error: operations.OptionError) -> Problem:
    return Problem(
        400, "invalid", f"{error.field}: {error}", errors=((f"options.{error.field}", str(error)),)
    )


@explains(operations.ForbiddenOption)
def _forbidden(error: operations.ForbiddenOption) -> Problem:
    return Problem(403, "permission_denied", str(error), errors=((f"options.{error.field}", str(error)),))


@explains(operations.StalePreview)
def _stale(error: operations.StalePreview) -> Problem:
    return Problem(
        409,
        "stale_preview",
        str(error),
        "Look at what has changed, preview it again and apply the new token.",
        more={"difference": error.difference.as_json()},
    )


@explains(operations.UnknownPreview)
def _unknown(error: operations.UnknownPreview) -> Problem:
    return Problem(404, "unknown_preview", str(error), "Preview it again and apply the new token.")


@explains(operations.ReasonRequired)
def _reason(error: operations.ReasonRequired) -> Problem:
    return Problem(400, "reason_required", str(error), "Send a reason.", errors=(("reason", str(error)),))


@explains(operations.NotUndoable)
def _not_undoable(error: operations.NotUndoable) -> Problem:
    return Problem(409, "not_undoable", str(error), "Read the operation's record for what it did.")


@explains(backfill.StalePlan)
def _stale_plan(error: backfill.StalePlan) -> Problem:
    return Problem(
        409,
        "stale_preview",
        str(error),
        "Preview the plan again and send the new token.",
        more={"summary": error.preview.summary},
    )
