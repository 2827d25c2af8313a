"""Encryption of secrets at rest: Fernet with the keys of WEOPS_ENCRYPTION_KEYS, newest first.

The library is imported on first use: beat and the control worker never need it, and it takes 7 MB.
"""

from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


def _keys() -> "MultiFernet":
    from cryptography.fernet import Fernet, MultiFernet

    if not settings.WEOPS_ENCRYPTION_KEYS:
        raise ImproperlyConfigured(
            "WEOPS_ENCRYPTION_KEYS is empty: set it to one or more Fernet keys (`make up` makes one on first start)."
        )
    return MultiFernet([Fernet(key) for key in settings.WEOPS_ENCRYPTION_KEYS])


def encrypt(value: str) -> bytes:
    return _keys().encrypt(value.encode())


def is_newest(ciphertext: bytes) -> bool:
    """Whether the first of the keys encrypted it."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        Fernet(settings.WEOPS_ENCRYPTION_KEYS[0]).decrypt(ciphertext)
    except (InvalidToken, IndexError):
        return False
    return True


def decrypt(ciphertext: bytes) -> str:
    """The plain text; raises ValueError when none of the present keys encrypted it."""
    from cryptography.fernet import InvalidToken

    try:
        return _keys().decrypt(ciphertext).decode()
    except InvalidToken as error:
        raise ValueError(
            _(
                "this secret was encrypted with a key that is not in WEOPS_ENCRYPTION_KEYS: add the old key there, "
                "or write the secret anew"
            )
        ) from error
