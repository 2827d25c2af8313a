"""PostgreSQL and Valkey started by ourselves, from wheels, on private sockets below one folder.

    server = EmbeddedPostgres("/some/home")
    server.start()          # creates, recovers, adopts: whatever is needed
    psycopg.connect(server.url)
    server.stop()

docs/adr/0003-embedded-servers.md explains the choices.
"""

from weops.embedded.postgres import EmbeddedPostgres
from weops.embedded.server import EmbeddedError, EmbeddedServer
from weops.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedServer", "EmbeddedValkey"]
