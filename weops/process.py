"""Starts one of the background processes, with the options that WeOps needs:

    python -m weops.process worker [--slots 8] [--name NAME]   runs tasks of all resource groups, or those of --queues
    python -m weops.process control                            generation and housekeeping, asked for by beat
    python -m weops.process beat                               the clock

The same as `celery -A weops worker ...` with its options written out, but for the memory that Celery's command line
takes (its interactive shell alone is 10 MB a process).
"""

import argparse
import sys

from celery.utils.nodenames import default_nodename, host_format

from weops.celery import CONTROL, app

BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"


def work(name: str, slots: int, queues: list[str] | None, loglevel: str) -> int:
    """Serves until a signal ends it; the exit code."""
    worker = app.Worker(
        hostname=host_format(default_nodename(f"{name}@%h")),
        pool_cls="threads",
        concurrency=slots,
        queues=queues,
        loglevel=loglevel,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def beat(loglevel: str) -> int:
    app.Beat(scheduler_cls=BEAT_SCHEDULER, loglevel=loglevel, pidfile=None, quiet=True).run()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m weops.process", description="Starts a background process."
    )
    parser.add_argument("role", choices=["worker", "control", "beat"])
    parser.add_argument("--name", default="", help="unique on its host; default: the role")
    parser.add_argument("--slots", type=int, default=8, help="executions at once (default 8; control: 2)")
    parser.add_argument(
        "--queues", default="", help="weops.g.<id> of the groups to serve, by comma; default: all"
    )
    parser.add_argument("--loglevel", default="WARNING")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    name = given.name or given.role
    if given.role == "beat":
        return beat(given.loglevel)
    if given.role == "control":
        return work(name, 2, [CONTROL], given.loglevel)
    if given.slots < 1:
        sys.exit("--slots: write a number of at least 1")
    return work(name, given.slots, given.queues.split(",") if given.queues else None, given.loglevel)


if __name__ == "__main__":
    sys.exit(main())
