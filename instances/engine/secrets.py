"""Secrets of tasks on the engine's side: who was given which, and a mask for what people see later.

Values are decrypted here and in `supervise.prepare` only, and live in memory only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from instances.models import SecretUse
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


_VALUES = """
WITH own AS (SELECT unnest(ARRAY[id, for_each_id]) AS id FROM instances_task WHERE id = %(task)s)
SELECT s.* FROM projects_secret s WHERE s.id IN (
    SELECT t.secret_id FROM instances_task_secrets t JOIN own ON own.id = t.task_id
    UNION ALL SELECT d.url_id FROM own JOIN instances_task t ON t.id = own.id
    JOIN projects_datasource d ON d.id = t.data_source_id
    UNION ALL SELECT u.secret_id FROM instances_secretuse u WHERE u.execution_id = ANY(%(executions)s))
"""


def masker_of(task_id: int, *executions: int) -> Masker:
    """Hides in texts that people see the values of the task's secrets, of its For-each task's, and of those that these
    executions were given, as the values are now; one query. What cannot be decrypted cannot be looked for either."""
    return _masker(Secret.objects.raw(_VALUES, {"task": task_id, "executions": list(executions)}))


_OF_PROJECTS = """
SELECT s.* FROM projects_secret s WHERE s.project_id = ANY(%(projects)s) OR s.project_id IN (
    SELECT w.project_id FROM instances_task t JOIN instances_workflow w ON w.id = t.workflow_id WHERE t.id = ANY(%(tasks)s))
"""


def masker_of_projects(projects: Iterable[int], tasks: Iterable[int] = ()) -> Masker:
    """Hides the values of all secrets of these projects, and of those that these tasks belong to; one query."""
    chosen = {"projects": sorted(set(projects)), "tasks": sorted(set(tasks))}
    return _masker(Secret.objects.raw(_OF_PROJECTS, chosen))


def _masker(secrets: Iterable[Secret]) -> Masker:
    values: list[str] = []
    for secret in secrets:
        for value in _revealed(secret):
            values += [value, *url_passwords(value)]
    return Masker(values)


def masked(value: Any, mask: Masker) -> Any:
    """JSON-like `value` with every text in it masked, names too."""
    if isinstance(value, str):
        return mask.mask_text(value)
    if isinstance(value, Mapping):
        return {masked(name, mask): masked(each, mask) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each, mask) for each in value]
    return value


def _revealed(secret: Secret) -> Iterable[str]:
    try:
        return [secret.reveal()]
    except ValueError:
        return []
