"""`manage.py demo`: the main job once, unattended, on real data. docs/demo.md"""

import os
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, TextIO, cast

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connection

from instances.demo import DemoError, expected, warehouse
from instances.demo.load import Loaded, load


class Command(BaseCommand):
    help = (
        "Runs January 2013 of the flights from New York through beat, workers and a warehouse database, "
        "and holds the results against the csv files. Exit code 0 only if all is right."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=31, help="days of 2013, from 1 January (default 31)")
        parser.add_argument(
            "--workers", type=int, default=0, help="worker processes (default: one a core, to 4)"
        )
        parser.add_argument(
            "--timeout", type=float, default=900, help="seconds until it gives up (default 900)"
        )
        parser.add_argument("--load", action="store_true", help="define the project only; run nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["load"]:
                loaded = self._load(options["days"])
                self.stdout.write(f"project {loaded.project} is loaded; {loaded.total} instances are due")
            elif wrong := self._run(options["days"], options["workers"], options["timeout"]):
                raise CommandError("\n".join(["The demo is not right:", *wrong]))
        except DemoError as error:
            raise CommandError(str(error)) from error

    def _load(self, days: int) -> Loaded:
        owner = User.objects.filter(is_superuser=True, is_active=True).order_by("id").first()
        return load(
            days, home=Path(settings.WEOPS_HOME), warehouse_url=settings.WEOPS_WAREHOUSE_URL, user=owner
        )

    def _run(self, days: int, workers: int, seconds: float) -> list[str]:
        """Runs all of it and prints what came out; the lines that say what is wrong."""
        # What starts processes is imported only here: loading must work where psutil is not installed.
        from instances.demo import stack, watch
        from weops.bootstrap import signals_raise

        workers = workers or min(len(os.sched_getaffinity(0)), 4)
        _refuse_used_database()
        began = time.monotonic()
        call_command("migrate", interactive=False, verbosity=0)
        loaded = self._load(days)
        self.stdout.write(
            f"{loaded.total} instances of {len(loaded.instances)} tasks over {days} days of 2013; "
            f"{workers} workers, loaded in {time.monotonic() - began:.1f} s"
        )
        self.stdout.flush()
        logs = Path(settings.WEOPS_HOME) / "demo" / "logs"
        with signals_raise(), stack.running(workers, logs) as programs:
            last = watch.watch(
                loaded.project,
                loaded.total,
                seconds=seconds,
                check=lambda: stack.check(programs),
                output=cast(TextIO, self.stdout._out),
            )
        wanted = expected.report(days)
        found = warehouse.report(settings.WEOPS_WAREHOUSE_URL)
        wrong = [] if last.done else [f"Not finished: {last}"]
        wrong += watch.failures(loaded.project)
        wrong += _counts(loaded)
        wrong += expected.differences(found, wanted)
        if warehouse.flights_by_day(settings.WEOPS_WAREHOUSE_URL) != expected.flights_by_day(days):
            wrong.append("The flights of some days are not in the warehouse exactly once.")
        self._summary(
            f"{last}\n{watch.speed(loaded.project)}, {time.monotonic() - began:.1f} s in all", found, wanted
        )
        return wrong

    def _summary(self, head: str, found: list[expected.Row], wanted: list[expected.Row]) -> None:
        self.stdout.write(f"\n{head}\n")
        self.stdout.write("month    origin   flights  not departed  mean delay  bad weather   expected")
        have = {(row.month, row.origin): row for row in found}
        for row in wanted:
            got = have.get((row.month, row.origin))
            if got is None:
                self.stdout.write(f"{row.month:%Y-%m}  {row.origin:<6}  no row")
                continue
            self.stdout.write(
                f"{got.month:%Y-%m}  {got.origin:<6}  {got.delays.flights:>7,}  {got.delays.not_departed:>12,}"
                f"  {got.mean_delay or '-':>10}  {got.delays.bad_weather_flights:>11,}"
                f"   {'the same' if got == row else 'DIFFERENT'}"
            )


def _refuse_used_database() -> None:
    """The workers started here would run everything that is due, so nobody's tasks may be in this database."""
    project = apps.get_model("projects", "Project")
    if project._meta.db_table in connection.introspection.table_names() and project.objects.exists():
        raise DemoError(
            "This database holds projects already. `make demo` runs the demo in a database of its own; "
            "`manage.py demo --load` defines its project beside others."
        )


def _counts(loaded: Loaded) -> list[str]:
    """Tasks that have not exactly one instance for each data time."""
    from django.db.models import Count

    from instances.models import Instance

    rows = (
        Instance.objects.filter(project=loaded.project)
        .values_list("task__name")
        .annotate(Count("id"))
        .order_by()
    )
    have = dict(rows)
    return [
        f"{name}: {have.get(name, 0)} instances, expected {count}"
        for name, count in loaded.instances.items()
        if have.get(name, 0) != count
    ]
