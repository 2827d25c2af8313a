"""The database of a test run is copied from one that was migrated before: to migrate took longer than most runs of a few tests.

The copy is Django's own test database, as ever empty and thrown away; the template stays on the server until a migration or
a pinned version changes.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

PROJECT = Path(__file__).resolve().parent.parent
PREFIX = "weops_template_"
# Key of the server's lock under which one process makes the template: "weopstpl" in ASCII.
LOCK = int.from_bytes(b"weopstpl", "big")
SECONDS = 600


def name() -> str:
    """Of the template that fits what is in the tree now."""
    found = hashlib.sha256((PROJECT / "constraints.txt").read_bytes())
    for file in sorted(PROJECT.glob("*/migrations/*.py")) + sorted(PROJECT.glob("*/*/migrations/*.py")):
        found.update(file.relative_to(PROJECT).as_posix().encode() + file.read_bytes())
    return f"{PREFIX}{found.hexdigest()[:16]}"


def ready(at: dict[str, Any]) -> str:
    """The template's name, once it is on the server of the connection settings `at`; made at most once, older ones dropped."""
    with psycopg.connect(_url(at, "postgres"), autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        rows = server.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
        there, wanted = {row[0] for row in rows}, name()
        if wanted not in there:
            _make(server, at, wanted)
        for old in there - {wanted}:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(old)))
    return wanted


def _make(server: "psycopg.Connection[Any]", at: dict[str, Any], wanted: str) -> None:
    draft = f"{wanted}_draft"
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(draft)))
    server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(draft)))
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    environment = os.environ | {"DATABASE_URL": _url(at, draft)}
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, timeout=SECONDS)
    server.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(draft), sql.Identifier(wanted))
    )


def _url(at: dict[str, Any], database: str) -> str:
    user, password = quote(str(at["USER"]), safe=""), quote(str(at["PASSWORD"]), safe="")
    host = quote(str(at["HOST"]), safe="/")
    return f"postgresql://{user}:{password}@/{database}?host={host}&port={at['PORT'] or 5432}"
