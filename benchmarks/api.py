"""The REST API over a full table: a page of the list for every filter; over HTTP one instance, and exports beside COPY itself."""

import statistics
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client

from benchmarks import lists, web, world
from benchmarks.options import Options
from benchmarks.report import Figure, Section
from benchmarks.web import Load, Server
from instances.api import export
from weops.api import tokens

PROCESSES = 2
SECONDS = 10.0
# Instances that are asked for over and over, all through the table.
DETAILS = 4_000
# Exactly what the export writes, as PostgreSQL alone writes it: one statement over the whole table.
_NAMED = ", ".join(f'{sql} AS "{name}"' for name, sql in export.COLUMNS.items())
_SELECT = f"SELECT {_NAMED} {export.JOINED}".replace("({rows}) i({read})", "instances_instance i")
_COPY = {
    "csv": f"COPY ({_SELECT}) TO STDOUT (FORMAT csv)",
    "ndjson": f"COPY (SELECT row_to_json(r) FROM ({_SELECT}) r) TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')",
}


def run(options: Options) -> Section:
    settings.WEOPS_API_RATE = 0
    settings.ALLOWED_HOSTS = ["*"]
    made = lists._tasks(200 if options.quick else 2_000)
    rows = lists._seed(made, options.rows)
    user = User.objects.create(username="benchmark", is_superuser=True)
    token = tokens.issue(user, "benchmark")[1]
    client = Client(HTTP_AUTHORIZATION=f"Bearer {token}")
    try:
        pages = [
            _page(client, given)
            for given in lists._filters(made, rows).values()
            if not {"p", "before"} & set(given)
        ]
        with web.serving(PROCESSES) as server:
            return _measured(pages, server, token, rows, options)
    finally:
        user.delete()
        world.clear()


def _measured(pages: list[float], server: Server, token: str, rows: int, options: Options) -> Section:
    section = Section(
        "api",
        f"REST over {rows:,} instances",
        "In one process, without the web server: a page of 100 by the list's filters, median and slowest of them. Over HTTP, "
        f"by the web server of `make up` in {PROCESSES} processes: single instances by a token, eight connections kept alive; "
        "all instances exported, read to the end, beside one COPY of the same columns with the same joins.",
    )
    seconds = 2.0 if options.quick else SECONDS
    addresses = [
        f"/api/v1/instances/{1 + place * max(1, rows // DETAILS)}/" for place in range(min(DETAILS, rows))
    ]
    plain, known = (
        [
            web.load(server, token, addresses, seconds=seconds, conditional=conditional)
            for _ in range(options.runs)
        ]
        for conditional in (False, True)
    )
    section.figures = [
        Figure("list, median of all filters", "ms", [statistics.median(pages)], target="50 ms"),
        Figure("list, slowest filter", "ms", [max(pages)]),
        *_figures("detail", plain),
        *_figures("detail, If-None-Match", known),
        *[
            Figure(
                f"export, {kind}",
                "rows/s",
                [rows / _export(server, token, kind) for _ in range(options.runs)],
                "COPY",
                [rows / _copy(kind) for _ in range(options.runs)],
                "half of COPY",
            )
            for kind in _COPY
        ],
    ]
    return section


def _figures(name: str, found: list[Load]) -> list[Figure]:
    target = f"500 on {PROCESSES} cores"
    return [
        Figure(name, "requests/s", [one.rate for one in found], target=target),
        # Others on the machine hardly change it.
        Figure(f"{name}, CPU of the server", "ms a request", [one.server for one in found]),
        Figure(f"{name}, CPU of the client", "ms a request", [one.client for one in found]),
    ]


def _page(client: Client, given: dict[str, Any]) -> float:
    """Milliseconds, the median of three."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        answer = client.get("/api/v1/instances/", {**given, "limit": 100})
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(answer.content[:500])
    return statistics.median(taken)


def _export(server: Server, token: str, kind: str) -> float:
    began = time.perf_counter()
    web.drain(server, token, f"/api/v1/instances/export/?as={kind}")
    return time.perf_counter() - began


def _copy(kind: str) -> float:
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        plain: Any = cursor.cursor
        with plain.copy(_COPY[kind]) as copied:
            for _ in copied:
                pass
    return time.perf_counter() - began
