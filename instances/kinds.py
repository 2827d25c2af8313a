"""What each kind of operation is called, and how it looks. What it may do is said by `instances.operations` alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`tone` is that of its button: main, danger or plain. `warning` is said before it is done."""

    kind: str
    title: str
    icon: str
    tone: str = "plain"
    warning: str = ""


# Those with a page of their own, in the order of their buttons.
ON_INSTANCES = (
    Kind(
        "rerun",
        "Rerun",
        "replay",
        "main",
        "Each instance begins a new life: it runs again, and its retries start from 0.",
    ),
    Kind(
        "terminate",
        "Terminate",
        "stop_circle",
        "danger",
        "Running processes are killed; the instances end as failed.",
    ),
    Kind(
        "mark_success",
        "Mark as successful",
        "check_circle",
        "danger",
        "Downstream instances are released as if the data were there. Running processes are killed.",
    ),
    Kind(
        "freeze",
        "Freeze",
        "ac_unit",
        "plain",
        "A frozen instance is not started until it is thawed, by hand or at the time given here. "
        "What runs already goes on.",
    ),
    Kind("thaw", "Thaw", "sunny", "plain", "The instances may be started again."),
    Kind(
        "acknowledge",
        "Acknowledge",
        "how_to_reg",
        "plain",
        "Says that somebody has seen the failure and takes care of it. It changes no state and releases nothing.",
    ),
    Kind(
        "withdraw_acknowledgement",
        "Withdraw acknowledgement",
        "person_remove",
        "plain",
        "The failure counts as unseen again.",
    ),
    Kind(
        "remove_dependency",
        "Remove dependency",
        "link_off",
        "danger",
        "The chosen dependencies stop counting for this instance for ever, in reruns and backfills too. "
        "This cannot be undone. They stay visible, marked as removed.",
    ),
)
# Those of the bar below the list; removing dependencies and withdrawing are done on the page of one instance.
IN_BULK = ("rerun", "terminate", "mark_success", "freeze", "thaw", "acknowledge")

_OTHERS = (
    Kind("undo", "Undo", "undo"),
    Kind("backfill", "Backfill", "date_range"),
    Kind("pause_backfill", "Pause backfill", "pause_circle"),
    Kind("resume_backfill", "Resume backfill", "play_circle"),
    Kind("stop_backfill", "Stop backfill", "stop_circle"),
    Kind("submit_task", "Submit task", "publish"),
    Kind("pause_task", "Pause task", "pause_circle"),
    Kind("resume_task", "Resume task", "play_circle"),
    Kind("take_task_offline", "Take task offline", "cloud_off"),
    Kind("change_task_owner", "Change owner of task", "manage_accounts"),
    Kind("run_task_once", "Run task once", "play_arrow"),
    Kind("write_secret", "Write secret", "key"),
    Kind("delete_secret", "Delete secret", "key_off"),
    Kind("export_records", "Export of records", "download"),
    Kind("export_outcomes", "Export of outcomes", "download"),
    Kind("export_instances", "Download of instances", "download"),
)
KINDS: dict[str, Kind] = {one.kind: one for one in (*ON_INSTANCES, *_OTHERS)}


def look_up(kind: str) -> Kind:
    """The kind with this name; one made of the name itself for those that have no looks of their own."""
    return KINDS.get(kind) or Kind(kind, kind.replace("_", " ").capitalize(), "history")
