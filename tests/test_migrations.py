"""Migrations of a large table in use: they wait for whoever is older, and nobody waits for them for long."""

import threading
from collections.abc import Iterator, Sequence

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import connection, transaction
from django.db.migrations import RunSQL
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

from tests.engine.harness import Watcher, _django_db_helper, until

__all__ = ["_django_db_helper"]
OURS = ("alarms", "api", "console", "events", "instances", "projects")
BEFORE, LAST = ("instances", "0026_lists_by_indexes"), ("instances", "0027_inside_in_order")
# Somebody has waited for that backend for longer than the limit that the test sets.
_WAITS = """
SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted
  AND pg_blocking_pids(l.pid) @> ARRAY[%s::int] AND clock_timestamp() - a.query_start > interval '0.3 s')
"""
CONCURRENT = (AddIndexConcurrently, RemoveIndexConcurrently)


def concurrent() -> Iterator[tuple[str, Sequence[Operation]]]:
    """(name, operations) of every migration that builds or drops an index beside writers."""
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        if app in OURS and any(isinstance(one, CONCURRENT) for one in migration.operations):
            yield f"{app}.{name}", migration.operations


def test_indexes_are_built_without_limits_of_time() -> None:
    """An index that was given up stays there, broken, and the next `migrate` stops at it."""
    found = dict(concurrent())
    assert found
    for name, operations in found.items():
        lifted: set[str] = set()
        for one in operations:
            if isinstance(one, RunSQL):
                words = str(one.sql).split()
                (lifted.add if words[0] == "SET" else lifted.discard)(words[1])
            if isinstance(one, CONCURRENT):
                assert {"statement_timeout", "lock_timeout"} <= lifted, name
        assert not lifted & {"statement_timeout", "lock_timeout"}, f"{name} leaves them lifted"


@pytest.mark.engine
@pytest.mark.django_db(transaction=True)
def test_an_index_waits_for_an_older_transaction() -> None:
    failed: list[BaseException] = []

    def migrate() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '50ms'")
            MigrationExecutor(connection).migrate([LAST])
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    watcher, building = Watcher(), threading.Thread(target=migrate)
    MigrationExecutor(connection).migrate([BEFORE])
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SELECT pg_backend_pid(), count(*) FROM instances_instance")
                older = cursor.fetchone()[0]
            building.start()
            until(lambda: failed or watcher.one(_WAITS, older))
        building.join(60)
        assert not failed
    finally:
        building.join(60)
        watcher.close()
        MigrationExecutor(connection).migrate([LAST])
