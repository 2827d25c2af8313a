"""As whom PostgreSQL runs: it refuses root, and it refuses a user without a name."""

import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

from weops.embedded.server import EmbeddedError

# What root needs to hand a process over to another user and still reach its files and stop it.
_NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}


@dataclass(frozen=True)
class Account:
    """uid and gid the server sees itself as; `namespace` when that is only a name for ourselves."""

    uid: int
    gid: int
    namespace: bool

    def option(self) -> str:
        return f"{'namespace' if self.namespace else 'user'}={self.uid}:{self.gid}"

    def owner(self) -> tuple[int, int] | None:
        return None if self.namespace else (self.uid, self.gid)


def account_for(base: Path) -> Account | None:
    """The account for the server whose files are in `base`, which becomes its property; None means our own.

    A folder that already has an owner keeps it. Raises EmbeddedError when no account can be used."""
    euid = os.geteuid()
    if euid != 0:
        return None if _has_name(euid) else _ourselves_renamed()
    found = base.stat()
    if found.st_uid != 0:
        return Account(found.st_uid, found.st_gid, namespace=False)
    if not (base / "data").exists() and _may_hand_over():
        uid, gid = _unprivileged()
        try:
            os.chown(base, uid, gid)
        except OSError:  # a container that maps one user only
            return _ourselves_renamed()
        return Account(uid, gid, namespace=False)
    return _ourselves_renamed()


def _unprivileged() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return entry.pw_uid, entry.pw_gid
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and this system has neither a user `postgres` nor `nobody`: "
        "run as an ordinary user, or set DATABASE_URL to a server of your own"
    )


def _ourselves_renamed() -> Account:
    if sys.platform != "linux":
        raise EmbeddedError("PostgreSQL refuses to run as root: run as an ordinary user, or set DATABASE_URL")
    return Account(*_unprivileged(), namespace=True)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _may_hand_over() -> bool:
    """On systems without capabilities root may do everything."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return all(held & 1 << number for number in _NEEDED.values())
    return True
