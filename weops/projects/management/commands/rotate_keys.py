"""Encrypts all that is kept encrypted with the newest key, so that older keys can be taken away:

    1. put a new key in front: WEOPS_ENCRYPTION_KEYS=<new>,<old>, and start everything again with it
    2. manage.py rotate_keys
    3. take the old key away

Safe to stop, to repeat, and to run while WeOps runs: each batch is a transaction of its own, and rows that already have the
newest key are left alone.
"""

from typing import Any

from django.apps import apps
from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import models, transaction

from weops.projects import encryption

# The column of everything that is kept encrypted, whatever the table.
COLUMN = "ciphertext"


def encrypted_models() -> list[type[models.Model]]:
    """Every table that keeps something encrypted."""
    return [
        model
        for model in apps.get_models()
        if any(isinstance(field, models.BinaryField) and field.name == COLUMN for field in model._meta.fields)
    ]


class Command(BaseCommand):
    help = "Encrypts secrets with the newest key of WEOPS_ENCRYPTION_KEYS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="only say what is left to do; fails if anything is"
        )
        parser.add_argument("--batch", type=int, default=500, help="rows of one transaction (default 500)")

    def handle(self, *_: Any, check: bool, batch: int, **options: Any) -> None:
        unreadable: list[str] = []
        left = 0
        for model in encrypted_models():
            done = kept = 0
            last: Any = None
            while True:
                found, changed, bad = self._batch(model, last, max(1, batch), check=check)
                if not found:
                    break
                last = found[-1]
                done, kept = done + changed, kept + len(found) - changed - len(bad)
                unreadable += bad
            left += done
            verb = "would be encrypted anew" if check else "encrypted anew"
            self.stdout.write(f"{model._meta.verbose_name_plural}: {done} {verb}, {kept} had the newest key")
        if unreadable:
            raise CommandError(
                "Encrypted with a key that is not in WEOPS_ENCRYPTION_KEYS, and left alone: "
                + ", ".join(unreadable[:50])
                + ". Add the old key there, or write the values anew."
            )
        if check and left:
            raise CommandError(f"{left} rows still need an older key.")

    @transaction.atomic
    def _batch(
        self, model: type[models.Model], after: Any, size: int, *, check: bool
    ) -> tuple[list[Any], int, list[str]]:
        """(keys of the rows looked at, how many were or would be changed, names of the unreadable) of the next batch."""
        rows = model._default_manager.order_by("pk").only("pk", COLUMN)
        if after is not None:
            rows = rows.filter(pk__gt=after)
        if not check:
            rows = rows.select_for_update(of=("self",))
        found, changed, bad = [], [], []
        for row in rows[:size]:
            found.append(row.pk)
            ciphertext = bytes(getattr(row, COLUMN) or b"")
            if not ciphertext or encryption.is_newest(ciphertext):
                continue
            try:
                value = encryption.decrypt(ciphertext)
            except ValueError:
                bad.append(f"{model._meta.verbose_name} {row.pk}")
                continue
            setattr(row, COLUMN, encryption.encrypt(value))
            changed.append(row)
        if changed and not check:
            model._default_manager.bulk_update(changed, [COLUMN])
        return found, len(changed), bad
