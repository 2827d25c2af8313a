"""Prints docs/dependencies.md."""

from typing import Any

from django.core.management.base import BaseCommand

from instances.engine.dependencies_doc import document


class Command(BaseCommand):
    help = "Prints the page on dependencies, written from the table of scopes."
    requires_system_checks: list[str] = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        self.stdout.write(document(), ending="")
