"""Names of worker processes: `worker1@host7-3fa9c2`. Standard library only."""

import re
import secrets
from typing import Final

_MARK: Final = re.compile(r"-[0-9a-f]{6}\Z")


def unique(name: str) -> str:
    """A name for this process alone: one that replaces a killed one must not renew that one's leases."""
    return f"{name}-{secrets.token_hex(3)}"


def lasting(name: str) -> str:
    """The name without what marks the single process: the same after a restart."""
    return _MARK.sub("", name)


def host(name: str) -> str:
    """The host in a worker's name, "" if it has none."""
    return lasting(name).rpartition("@")[2] if "@" in name else ""
