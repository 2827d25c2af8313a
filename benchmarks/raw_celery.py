"""Celery's own no-op task and chain: what the broker and the pool can do with no engine behind them.

The settings that shape messages are those of `weops.celery`, the worker's options those of `weops.process`; nothing of
Django is loaded. A worker of it: python -m benchmarks.raw_celery --name NAME --slots 8 --queue QUEUE
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from celery import Celery
from celery.utils.nodenames import default_nodename, host_format

# Celery loads Django where it sees this.
if __name__ == "__main__":
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)

app = Celery("raw", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    task_default_queue_type="quorum" if os.environ["CELERY_BROKER_URL"].startswith("amqp") else "classic",
    worker_detect_quorum_queues=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 3, "retry_on_timeout": True},
)


@app.task(name="raw.noop")
def noop(ids: list[int]) -> None:
    """Does nothing; its argument is as large as that of a hint."""


@app.task(name="raw.hop")
def hop(left: int, sent: float, waits: list[float], answer: str) -> None:
    """One link of a chain: passes on the seconds that each link waited for; the last writes them to a file."""
    waits = [*waits, time.time() - sent]
    if left:
        hop.apply_async(
            (left - 1, time.time(), waits, answer), queue=hop.request.delivery_info["routing_key"]
        )
    else:
        draft = Path(answer + ".new")
        draft.write_text(json.dumps(waits), encoding="utf-8")
        draft.rename(answer)


def main() -> int:
    """Serves until a signal ends it; the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name")
    parser.add_argument("--slots", type=int)
    parser.add_argument("--queue")
    given = parser.parse_args()
    worker = app.Worker(
        hostname=host_format(default_nodename(f"{given.name}@%h")),
        pool_cls="threads",
        concurrency=given.slots,
        queues=[given.queue],
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
