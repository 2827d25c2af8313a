"""Writes of secrets, told to whoever keeps records. Projects know no records; the app that has them registers itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User

from weops.projects.models import Project, Secret

WRITE, DELETE = "write_secret", "delete_secret"


@dataclass(frozen=True, slots=True)
class Written:
    """What was done to a secret, by whom (None: the system) and through which door. `changed`: columns, never their values."""

    kind: str
    secret: Secret
    user: User | None
    source: str
    changed: Sequence[str] = ()


_keepers: list[Callable[[Written], None]] = []


def register(keeper: Callable[[Written], None]) -> None:
    """`keeper` is called in the transaction of the write: if it raises, nothing is written."""
    if keeper not in _keepers:
        _keepers.append(keeper)


def tell_of_all(project: Project, user: User | None, source: str) -> None:
    """The project is about to be deleted, and its secrets with it."""
    for secret in Secret.objects.filter(project=project).defer("ciphertext").order_by("pk"):
        tell(Written(DELETE, secret, user, source))


def tell(written: Written) -> None:
    for keeper in _keepers:
        keeper(written)
