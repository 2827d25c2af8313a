"""Prints docs/errors.md."""

from typing import Any

from django.core.management.base import BaseCommand

from instances.engine.errors_doc import document


class Command(BaseCommand):
    help = "Prints the page on errors, written from their catalogue."
    requires_system_checks: list[str] = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        self.stdout.write(document(), ending="")
