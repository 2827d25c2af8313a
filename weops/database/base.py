"""Django's PostgreSQL backend, whose pool gives up all resting connections when it meets a dead one.

psycopg's pool looks at one connection after the other and doubles its pause after each dead one. A restart of the
server kills all of them: with ten at rest, a worker got its next connection later than its leases last.
"""

from typing import Any

from django.db.backends.postgresql import base
from psycopg import Connection
from psycopg_pool import ConnectionPool


def check(connection: Connection[Any]) -> None:
    """Raises, as the pool expects, when the connection is dead; those at rest beside it go with it."""
    try:
        ConnectionPool.check_connection(connection)
    except Exception:
        pool = connection._pool
        if isinstance(pool, ConnectionPool):
            pool.drain()
        raise


class DatabaseWrapper(base.DatabaseWrapper):
    @property
    def pool(self) -> Any:
        pool = super().pool
        if pool is not None:
            # Django passes the pool a check of its own and takes none from the settings.
            pool._check = check
        return pool
