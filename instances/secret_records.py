"""Writes of secrets among the records of operations, which the database lets nobody change."""

from instances.operations import records
from weops.projects import audit
from weops.projects.audit import Written


def keep(written: Written) -> None:
    """Who wrote or deleted which secret, through which door; who sees the project sees the record."""
    secret = written.secret
    options = {"secret": secret.pk, "name": secret.name, "changed": list(written.changed)}
    records.note(
        written.kind,
        user=written.user,
        source=written.source,
        options=options,
        project_ids=[secret.project_id],
    )


def register() -> None:
    audit.register(keep)
