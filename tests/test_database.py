"""The pool's look at a connection before it is used: seldom a question, never a dead connection."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection as django_connection
from psycopg_pool import ConnectionPool

from weops.database import base


class Asked(psycopg.Connection[Any]):
    """Counts the questions of the pool."""

    questions = 0

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self.questions += query == ""
        return super().execute(query, *args, **kwargs)


@pytest.fixture
def connection(transactional_db: None) -> Iterator[Asked]:
    given = {**django_connection.get_connection_params(), "autocommit": True}
    given.pop("cursor_factory"), given.pop("context")
    with ConnectionPool(kwargs=given, connection_class=Asked, min_size=1) as pool, pool.connection() as made:
        yield made


def test_a_sign_of_life_counts_for_a_moment(connection: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    base.check(connection)
    base.check(connection)
    assert connection.questions == 1
    monkeypatch.setattr(base, "COUNTS", 0.0)
    base.check(connection)
    assert connection.questions == 2


def test_one_that_the_server_has_closed_is_found_at_once(connection: Asked) -> None:
    base.check(connection)
    with django_connection.cursor() as cursor:
        # With a timeout it returns when the other one has ended.
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
        assert cursor.fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError):
        base.check(connection)
