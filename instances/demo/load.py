"""Defines the demo's project: through the models and `definitions.submit`, as people do."""

import datetime as dt
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from events.models import Emitter, Event, Listener
from instances import definitions
from instances.demo import DemoError, data, expected, tasks, warehouse
from instances.engine.schedule import data_times
from instances.models import Dependency, Task, Workflow
from weops.projects.models import DataSource, Folder, Project, ResourceGroup, Secret

PROJECT = "flights"
# Days of the data begin at midnight in New York: its columns year, month, day and hour are local.
TIME_ZONE = "America/New_York"
_SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The project, and how many instances of each task its effective period holds."""

    project: Project
    instances: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.instances.values())


def load(days: int = 31, *, home: Path, warehouse_url: str, user: User | None = None) -> Loaded:
    """The project `flights` over the first `days` days of 2013, submitted: the next tick generates all of it.

    Files land in `home`/demo, and the warehouse's schema is made anew: what an earlier run left there goes.
    Raises DemoError, and leaves no project then.
    """
    dates = data.days(days)
    if Project.objects.filter(name=PROJECT).exists():
        raise DemoError(f"There is a project {PROJECT} already; the demo wants a database without one.")
    folder = home.resolve() / "demo"
    data.deliver(folder / "landing", dates)
    shutil.rmtree(folder / "archive", ignore_errors=True)
    warehouse.create(warehouse_url)
    try:
        with transaction.atomic():
            project = _project(folder)
            defined = _define(project, dates, warehouse_url, user)
            for task in defined:
                definitions.submit(
                    task, user=user, note="Demo", since=_midnight(dates[0]) - _SECOND, source="command"
                )
    except IntegrityError as error:
        raise DemoError(f"The demo is being loaded by somebody else too: {error}") from error
    except ValidationError as error:
        raise DemoError(f"The demo's tasks are refused: {error.message_dict}") from error
    return Loaded(project, {task.name: _count(task) for task in defined})


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(0, 0), ZoneInfo(TIME_ZONE))


def _count(task: Task) -> int:
    if task.effective_from is None or task.effective_to is None:
        raise DemoError(f"The demo's task {task.name} has no effective period.")
    return len(data_times(task.schedule(), task.effective_from, task.effective_to))


def _project(folder: Path) -> Project:
    return Project.objects.create(
        name=PROJECT,
        display_name="Flights from New York, 2013",
        description="The demo: departures and weather at Newark, Kennedy and LaGuardia.",
        parameters={
            "schema": warehouse.SCHEMA,
            # A path is a value: what looks like an expression in it is none.
            "landing": str(folder / "landing").replace("${", "$${"),
            "archive": str(folder / "archive").replace("${", "$${"),
        },
    )


def _define(project: Project, dates: list[dt.date], warehouse_url: str, user: User | None) -> list[Task]:
    """The tasks, upstream first, saved with what they wait for."""
    secret = Secret(project=project, name="warehouse_url")
    secret.write(warehouse_url)
    secret.save()
    source = DataSource.objects.create(
        project=project, name="warehouse", description="Where flights and weather are kept.", url=secret
    )
    default, _ = ResourceGroup.objects.get_or_create(name="default")
    database, _ = ResourceGroup.objects.get_or_create(
        name="warehouse", defaults={"slots": 8, "description": "What talks to the warehouse: few at once."}
    )
    ingest = Folder.objects.create(project=project, name="ingest")
    reporting = Folder.objects.create(project=project, name="reporting")
    workflow = Workflow.objects.create(
        project=project,
        name="new_york",
        description="Weather and flights in, delays and a monthly report out.",
        owner=user,
        parameters={
            "bad_visibility": str(expected.BAD_VISIBILITY_MILES),
            "bad_wind": str(expected.BAD_WIND_MPH),
        },
    )
    common: dict[str, Any] = {
        "workflow": workflow,
        "owner": user,
        "resource_group": database,
        "self_dependency": "parallel",
        "retry_limit": 3,
        "retry_wait": dt.timedelta(seconds=5),
        "run_timeout": dt.timedelta(minutes=5),
        "timezone": TIME_ZONE,
        "effective_from": _midnight(dates[0]),
        "effective_to": _midnight(dates[-1] + dt.timedelta(days=1)) - _SECOND,
    }
    weather = Task.objects.create(
        **common,
        name="ingest_weather",
        folder=ingest,
        cycle_type="HOUR",
        task_type="SQL",
        data_source=source,
        code=tasks.INGEST_WEATHER,
        description="One hour of weather at three airports.",
    )
    flights = Task.objects.create(
        **common,
        name="ingest_flights",
        folder=ingest,
        task_type="PYTHON",
        priority=3,
        code=tasks.INGEST_FLIGHTS,
        description="One day of flights, from its csv file.",
    )
    flights.secrets.add(secret)
    archive = Task.objects.create(
        **{**common, "resource_group": default, "self_dependency": "serial"},
        name="archive_flights",
        folder=ingest,
        task_type="SHELL",
        priority=1,
        code=tasks.ARCHIVE_FLIGHTS,
        description="Packs the day's csv file away: waits for the event that its flights are loaded.",
    )
    delays = Task.objects.create(
        **common,
        name="delays",
        folder=reporting,
        task_type="SQL",
        data_source=source,
        priority=3,
        code=tasks.DELAYS,
        description="Delays of one day: waits for its flights and its 24 hours of weather.",
    )
    report = Task.objects.create(
        **common,
        name="report",
        folder=reporting,
        cycle_type="MONTH",
        month_days=[1],
        generation="T_PLUS_1",
        task_type="SQL",
        data_source=source,
        priority=3,
        code=tasks.REPORT,
        description="The month: waits for the delays of all its days; runs when the next month begins.",
    )
    Dependency.objects.bulk_create(
        [
            Dependency(task=delays, upstream=flights, scope="CURRENT_DAY"),
            Dependency(task=delays, upstream=weather, scope="CURRENT_DAY"),
            Dependency(task=report, upstream=delays, scope="CURRENT_MONTH"),
        ]
    )
    loaded = Event.objects.create(
        project=project,
        name="flights_loaded",
        owner=user,
        description="A day's flights are in the warehouse; its file is not needed any more.",
    )
    Emitter.objects.create(task=flights, event=loaded)
    Listener.objects.create(task=archive, event=loaded)
    return [weather, flights, archive, delays, report]
