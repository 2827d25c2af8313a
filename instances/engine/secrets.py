"""Secrets of tasks on the engine's side: who was given which, and a mask for what people see later.

Values are decrypted here and in `supervise.prepare` only, and live in memory only.
"""

from collections.abc import Iterable, Sequence

from instances.models import SecretUse, Task
from instances.runners.environment import url_passwords
from instances.runners.masker import Masker
from weops.projects.models import Secret


def note_uses(execution_id: int, secrets: Sequence[Secret]) -> None:
    """Writes down that an execution is given these secrets; a repetition changes nothing."""
    uses = [SecretUse(execution_id=execution_id, secret=secret, name=secret.name) for secret in secrets]
    SecretUse.objects.bulk_create(uses, ignore_conflicts=True)


def used_by(execution_id: int) -> list[str]:
    """Names of the secrets that an execution was given, as they were then."""
    return list(
        SecretUse.objects.filter(execution_id=execution_id).order_by("name").values_list("name", flat=True)
    )


def masker_of(task: Task) -> Masker:
    """Hides the values of the task's present secrets in texts that a page shows; two queries. What cannot be decrypted
    cannot be looked for either."""
    values: list[str] = []
    for secret in task.secrets.all():
        values += _revealed(secret)
    if task.data_source_id and task.data_source is not None:
        for url in _revealed(task.data_source.url):
            values += [url, *url_passwords(url)]
    return Masker(values)


def _revealed(secret: Secret) -> Iterable[str]:
    try:
        return [secret.reveal()]
    except ValueError:
        return []
