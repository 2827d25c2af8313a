"""The REST API over a full table: a page of the list for every filter, one instance, and the export beside COPY itself."""

import statistics
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client

from benchmarks import lists, world
from benchmarks.options import Options
from benchmarks.report import Figure, Section
from weops.api import tokens

# Half a second of work in Python, many times over.
DETAILS = 500
_COPY = (
    "COPY (SELECT i.*, t.name, p.name FROM instances_instance i JOIN instances_task t ON t.id = i.task_id "
    "JOIN projects_project p ON p.id = i.project_id ORDER BY i.data_time DESC, i.id DESC) TO STDOUT (FORMAT csv)"
)


def run(options: Options) -> Section:
    settings.WEOPS_API_RATE = 0
    settings.ALLOWED_HOSTS = ["*"]
    made = lists._tasks(200 if options.quick else 2_000)
    rows = lists._seed(made, options.rows)
    user = User.objects.create(username="benchmark", is_superuser=True)
    token = tokens.issue(user, "benchmark")[1]
    client = Client(HTTP_AUTHORIZATION=f"Bearer {token}")
    try:
        return _measured(client, lists._filters(made, rows), rows, options)
    finally:
        user.delete()
        world.clear()


def _measured(client: Client, filters: dict[str, dict[str, Any]], rows: int, options: Options) -> Section:
    section = Section(
        "api",
        f"REST over {rows:,} instances",
        "In one process, without the web server: a page of 100 by the list's filters, median and slowest of them; one "
        "instance by its id; all instances exported beside COPY with two joins, both read to the end.",
    )
    pages = [_page(client, given) for given in filters.values() if not {"p", "before"} & set(given)]
    section.figures = [
        Figure("list, median of all filters", "ms", [statistics.median(pages)], target="50 ms"),
        Figure("list, slowest filter", "ms", [max(pages)]),
        Figure("detail", "requests/s of one process", [_details(client, rows) for _ in range(options.runs)]),
        # Others on the machine do not change it.
        Figure(
            "detail, CPU",
            "ms of the process a request",
            [_details(client, rows, cpu=True) for _ in range(options.runs)],
        ),
        Figure(
            "export",
            "rows/s",
            [rows / _export(client) for _ in range(options.runs)],
            "COPY",
            [rows / _copy() for _ in range(options.runs)],
            "half of COPY",
        ),
    ]
    return section


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


def _details(client: Client, rows: int, *, cpu: bool = False) -> float:
    """Requests a second, or milliseconds of CPU a request."""
    clock = time.process_time if cpu else time.perf_counter
    began = clock()
    for place in range(DETAILS):
        client.get(f"/api/v1/instances/{1 + place * (rows // DETAILS)}/")
    taken = clock() - began
    return taken * 1000 / DETAILS if cpu else DETAILS / taken


def _export(client: Client) -> float:
    began = time.perf_counter()
    for _ in client.get("/api/v1/instances/export/?as=csv"):
        pass
    return time.perf_counter() - began


def _copy() -> float:
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        plain: Any = cursor.cursor
        with plain.copy(_COPY) as copied:
            for _ in copied:
                pass
    return time.perf_counter() - began
