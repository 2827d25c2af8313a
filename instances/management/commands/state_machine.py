"""Prints docs/state-machine.md."""

from typing import Any

from django.core.management.base import BaseCommand

from instances.engine.states_doc import document


class Command(BaseCommand):
    help = "Prints the page on states and operations, written from their tables."
    requires_system_checks: list[str] = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        self.stdout.write(document(), ending="")
