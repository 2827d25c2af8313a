"""Loaded before Django's settings: tests that run side by side do not share a broker's queues.

pytest-django gives each process of pytest-xdist a database of its own; here it gets a database of the broker of its own, too.
"""

import os
from urllib.parse import urlsplit, urlunsplit


def broker_of(worker: str, url: str) -> str:
    """`url` for the process called `worker` (gw0, gw1, ...; empty: the only one); brokers without numbered databases stay."""
    if not worker:
        return url
    parts, number = urlsplit(url), 1 + int(worker.removeprefix("gw"))
    match parts.scheme:
        case "redis+socket":
            # urlunsplit would drop the slashes of a URL that names no host.
            return f"{url.partition('?')[0]}?virtual_host={number}"
        case "redis" | "rediss":
            return urlunsplit(parts._replace(path=f"/{int(parts.path.strip('/') or 0) + number}"))
        case _:
            return url


if "CELERY_BROKER_URL" in os.environ:
    os.environ["CELERY_BROKER_URL"] = broker_of(
        os.environ.get("PYTEST_XDIST_WORKER", ""), os.environ["CELERY_BROKER_URL"]
    )
