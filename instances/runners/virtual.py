"""VIRTUAL: a task that does nothing; it joins dependencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instances.runners.base import Control, LogSink, Outcome, RunSpec, TaskType, cancelled_outcome
from instances.runners.settings_schema import gettext_noop as _


class VirtualRunner(TaskType):
    type = "VIRTUAL"
    label = _("Virtual (does nothing)")
    icon = "radio_button_unchecked"

    def check(self, settings: Mapping[str, Any], code: str) -> list[str]:
        return []

    def run(self, spec: RunSpec, log: LogSink, control: Control) -> Outcome:
        if control.reason is not None:
            return cancelled_outcome(control.reason, how="it had not started")
        return Outcome(True)
