"""Django's PostgreSQL backend, whose pool gives up all resting connections when it meets a dead one.

psycopg's pool looks at one connection after the other and doubles its pause after each dead one. A restart of the
server kills all of them: with ten at rest, a worker got its next connection later than its leases last.

It also asks the server for a sign of life before every use, which costs a busy web server more than many of its queries do. A
server that closes a connection says so, and that is seen without asking: what was asked a moment ago need not be asked again.
"""

import select
import time
from typing import Any

from django.db.backends.postgresql import base
from psycopg import Connection
from psycopg_pool import ConnectionPool

# Seconds for which a sign of life counts.
COUNTS = 1.0


def check(connection: Connection[Any]) -> None:
    """Raises, as the pool expects, when the connection is dead; those at rest beside it go with it."""
    asked: float | None = getattr(connection, "weops_asked", None)
    if asked is not None and time.monotonic() - asked < COUNTS and not _has_news(connection):
        return
    try:
        ConnectionPool.check_connection(connection)
        connection.weops_asked = time.monotonic()  # type: ignore[attr-defined]
    except Exception:
        pool = connection._pool
        if isinstance(pool, ConnectionPool):
            pool.drain()
        raise


def _has_news(connection: Connection[Any]) -> bool:
    """Whether there is something to read that nobody has asked for, such as its end."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class DatabaseWrapper(base.DatabaseWrapper):
    @property
    def pool(self) -> Any:
        pool = super().pool
        if pool is not None:
            # Django passes the pool a check of its own and takes none from the settings.
            pool._check = check
        return pool
