"""The engine's transactions are those of the whole product."""

from weops.database.transactions import retried

__all__ = ["retried"]
