"""A database of the benchmarks' own on the server that DATABASE_URL names, dropped at the end."""

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
from psycopg import sql


@contextlib.contextmanager
def own_database() -> Iterator[None]:
    """DATABASE_URL names an empty, migrated database inside the block. Call before Django is set up."""
    server = os.environ["DATABASE_URL"]
    name = sql.Identifier(f"weops_benchmark_{os.getpid()}")
    _execute(server, sql.SQL("CREATE DATABASE {}").format(name))
    os.environ["DATABASE_URL"] = urlsplit(server)._replace(path=f"/weops_benchmark_{os.getpid()}").geturl()
    try:
        _migrate()
        yield
    finally:
        os.environ["DATABASE_URL"] = server
        _disconnect()
        _execute(server, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def _execute(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _migrate() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", interactive=False, verbosity=0)


def _disconnect() -> None:
    from django.db import connection

    connection.close()
    if pool := getattr(connection, "pool", None):
        pool.close()


def versions() -> tuple[str, str]:
    """(PostgreSQL's version, the broker's name and version)."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        postgres: str = cursor.fetchone()[0].split(" ")[0]
    return postgres, _broker(os.environ["CELERY_BROKER_URL"])


def _broker(url: str) -> str:
    scheme = urlsplit(url).scheme
    if not scheme.startswith(("redis", "unix", "socket")):
        return scheme
    import redis

    info = redis.Redis.from_url(url.replace("redis+socket://", "unix://")).info("server")
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}"
