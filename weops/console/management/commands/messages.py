"""`manage.py messages`: brings the catalogues of the console's words in step with the source (docs/translation.md)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from weops import catalogues


class Command(BaseCommand):
    help = (
        "Extracts the console's words into the catalogues and compiles them; says what is not translated yet."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        names = [share.name for share in catalogues.SHARES]
        parser.add_argument("share", nargs="*", help=f"which catalogues, of {', '.join(names)}; default: all")
        parser.add_argument("--compile", action="store_true", help="only compile: does without xgettext")

    def handle(self, *args: Any, **options: Any) -> None:
        unknown = set(options["share"]) - {share.name for share in catalogues.SHARES}
        if unknown:
            raise CommandError(f"No such share: {', '.join(sorted(unknown))}")
        for share in catalogues.SHARES:
            if options["share"] and share.name not in options["share"]:
                continue
            if not options["compile"]:
                self._extract(share)
            share.compile()
            found = [problem for entry in share.read() for problem in catalogues.problems(entry)]
            for problem in found:
                self.stdout.write(f"{share.name}: {problem}")
            self.stdout.write(f"{share.name}: {len(share.read())} entries, {len(found)} to do")

    def _extract(self, share: catalogues.Share) -> None:
        try:
            share.update(catalogues.known())
        except FileNotFoundError as error:
            raise CommandError("xgettext is not installed (Debian, Ubuntu: the package gettext).") from error
