"""What each kind of operation is called, and how it looks. What it may do is said by `instances.operations` alone."""

from dataclasses import dataclass

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _


@dataclass(frozen=True)
class Kind:
    """`tone` is that of its button: main, danger or plain. `caution` is said before it is done."""

    kind: str
    name: str
    icon: str
    tone: str = "plain"
    caution: str = ""

    @property
    def title(self) -> str:
        """`name` in the language of who reads it."""
        return gettext(self.name)

    @property
    def warning(self) -> str:
        return gettext(self.caution) if self.caution else ""


# Those with a page of their own, in the order of their buttons.
ON_INSTANCES = (
    Kind(
        "rerun",
        _("Rerun"),
        "replay",
        "main",
        _("Each instance begins a new life: it runs again, and its retries start from 0."),
    ),
    Kind(
        "terminate",
        _("Terminate"),
        "stop_circle",
        "danger",
        _("Running processes are killed; the instances end as failed."),
    ),
    Kind(
        "mark_success",
        _("Mark as successful"),
        "check_circle",
        "danger",
        _("Downstream instances are released as if the data were there. Running processes are killed."),
    ),
    Kind(
        "freeze",
        _("Freeze"),
        "ac_unit",
        "plain",
        _(
            "A frozen instance is not started until it is thawed, by hand or at the time given here. "
            "What runs already goes on."
        ),
    ),
    Kind("thaw", _("Thaw"), "sunny", "plain", _("The instances may be started again.")),
    Kind(
        "acknowledge",
        _("Acknowledge"),
        "how_to_reg",
        "plain",
        _(
            "Says that somebody has seen the failure and takes care of it. It changes no state and releases nothing."
        ),
    ),
    Kind(
        "withdraw_acknowledgement",
        _("Withdraw acknowledgement"),
        "person_remove",
        "plain",
        _("The failure counts as unseen again."),
    ),
    Kind(
        "remove_dependency",
        _("Remove dependency"),
        "link_off",
        "danger",
        _(
            "The chosen dependencies stop counting for this instance for ever, in reruns and backfills too. "
            "This cannot be undone. They stay visible, marked as removed."
        ),
    ),
)
# Those of the bar below the list; removing dependencies and withdrawing are done on the page of one instance.
IN_BULK = ("rerun", "terminate", "mark_success", "freeze", "thaw", "acknowledge")

_OTHERS = (
    Kind("undo", _("Undo"), "undo"),
    Kind("backfill", _("Backfill"), "date_range"),
    Kind("pause_backfill", _("Pause backfill"), "pause_circle"),
    Kind("resume_backfill", _("Resume backfill"), "play_circle"),
    Kind("stop_backfill", _("Stop backfill"), "stop_circle"),
    Kind("submit_task", _("Submit task"), "publish"),
    Kind("pause_task", _("Pause task"), "pause_circle"),
    Kind("resume_task", _("Resume task"), "play_circle"),
    Kind("take_task_offline", _("Take task offline"), "cloud_off"),
    # Of many tasks at once, by a script for WeData; each of them has a record of its own besides.
    Kind("pause_tasks", _("Pause tasks"), "pause_circle"),
    Kind("take_task_offlines", _("Take tasks offline"), "cloud_off"),
    Kind("change_task_owner", _("Change owner of task"), "manage_accounts"),
    Kind("run_task_once", _("Run task once"), "play_arrow"),
    Kind("restore_task_version", _("Restore task version"), "history"),
    Kind("test_task", _("Test run of task"), "science"),
    Kind("write_secret", _("Write secret"), "key"),
    Kind("delete_secret", _("Delete secret"), "key_off"),
    Kind("test_alarm_rule", _("Test of alarm rule"), "forward_to_inbox"),
    Kind("test_alarm_channel", _("Test of alarm channel"), "forward_to_inbox"),
    Kind("export_records", _("Export of records"), "download"),
    Kind("export_outcomes", _("Export of outcomes"), "download"),
    Kind("export_instances", _("Download of instances"), "download"),
)
KINDS: dict[str, Kind] = {one.kind: one for one in (*ON_INSTANCES, *_OTHERS)}


def look_up(kind: str) -> Kind:
    """The kind with this name; one made of the name itself for those that have no looks of their own."""
    return KINDS.get(kind) or Kind(kind, kind.replace("_", " ").capitalize(), "history")
