"""Parts of stored files: read where they lie, from a disk as from S3, without the rest."""

from typing import Any, Protocol

from django.core.files.storage import Storage


class Ranged(Protocol):
    """A stored file. Errors of the storage come as OSError."""

    size: int

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start` on."""


def open_ranged(storage: Storage, name: str) -> Ranged:
    """Opens a stored file; raises OSError (FileNotFoundError if it is not there)."""
    return _Object(storage, name) if hasattr(storage, "bucket") else _File(storage, name)


class _File:
    """Through Django's storage API: right for files, and for any storage whose files can seek."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage, self._name = storage, name
        self.size = storage.size(name)

    def read(self, start: int, length: int) -> bytes:
        with self._storage.open(self._name, "rb") as file:
            file.seek(start)
            data: bytes = file.read(length)
            return data


class _Object:
    """An object of an S3 bucket: django-storages would fetch the whole of it before the first byte can be read."""

    def __init__(self, storage: Any, name: str) -> None:
        self._object = storage.bucket.Object(storage._normalize_name(name))
        self.size = _asked(lambda: int(self._object.content_length))

    def read(self, start: int, length: int) -> bytes:
        if length <= 0 or start >= self.size:
            return b""
        end = min(start + length, self.size) - 1
        return _asked(lambda: bytes(self._object.get(Range=f"bytes={start}-{end}")["Body"].read()))


def _asked(ask: Any) -> Any:
    """The answer of S3; its errors become those of files, which every reader knows."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("404", "NoSuchKey", "NotFound"):
            raise FileNotFoundError("the object is not in the bucket") from error
        raise OSError(f"S3 answered {code}") from error
    except BotoCoreError as error:
        raise OSError(f"S3 cannot be asked: {type(error).__name__}") from error
