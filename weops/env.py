"""Typed readers of environment variables: the one place where text becomes settings."""

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")


def _read(name: str, default: T, parse: Callable[[str], T]) -> T:
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    try:
        return parse(raw)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={raw!r} cannot be read: {error}") from error


def text(name: str, default: str = "") -> str:
    return _read(name, default, str)


def integer(name: str, default: int, least: int = 0) -> int:
    def parse(raw: str) -> int:
        value = int(raw)
        if value < least:
            raise ValueError(f"write a whole number of at least {least}")
        return value

    return _read(name, default, parse)


def seconds(name: str, default: float) -> float:
    return _read(name, default, float)


def flag(name: str, default: bool = False) -> bool:
    def parse(raw: str) -> bool:
        value = raw.lower()
        if value in ("1", "true", "yes", "on"):
            return True
        if value in ("0", "false", "no", "off"):
            return False
        raise ValueError("write 1 or 0")

    return _read(name, default, parse)


def listed(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """A comma-separated list."""
    return _read(name, list(default), lambda raw: [part.strip() for part in raw.split(",") if part.strip()])


def mapping(name: str) -> dict[str, Any]:
    """A JSON object, such as {"bucket_name": "logs"}. Its text may hold keys, so an error does not show it."""
    raw = os.environ.get(name, "").strip()
    try:
        value = json.loads(raw or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ImproperlyConfigured(
            f'{name} cannot be read: write a JSON object, such as {{"bucket_name": "logs"}}'
        )
    return value


def database(name: str) -> dict[str, Any]:
    """Django's settings of the database at `postgresql://user:password@host:port/name?host=/socket/folder`."""
    url = urlsplit(text(name))
    if url.scheme not in ("postgresql", "postgres"):
        raise ImproperlyConfigured(
            f"{name} must name a PostgreSQL database, as in postgresql://user:password@host:5432/name "
            "(`make up` sets it; WeOps runs on PostgreSQL only)"
        )
    query = {key: values[-1] for key, values in parse_qs(url.query).items()}
    return {
        "ENGINE": "weops.database",
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or query.pop("user", "")),
        "PASSWORD": unquote(url.password or query.pop("password", "")),
        "HOST": query.pop("host", "") or unquote(url.hostname or ""),
        "PORT": str(url.port or query.pop("port", "")),
        "OPTIONS": query,
    }
