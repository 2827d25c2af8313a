"""Defining tasks: what is refused and how it is said, versions, the cursor, statuses, two people at once."""

import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from instances import definitions
from instances.definition_rules import MOST_CODE
from instances.engine.states import TaskStatus
from instances.models import Dependency, OperationRecord, Task, TaskVersion
from tests import factories as make

JANUARY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)


def refused(task: Task, dependencies: list[Dependency] | None = None) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        definitions.validate(task, dependencies)
    return caught.value.message_dict


@pytest.fixture
def task(db: None) -> Task:
    return make.make_task(code="echo ${yyyyMMdd}")


class TestRules:
    def test_a_good_task_passes(self, task: Task) -> None:
        definitions.validate(task)
        task.code = "#" * MOST_CODE
        definitions.validate(task)

    @pytest.mark.parametrize(
        ("columns", "column", "says"),
        [
            ({"timezone": "Asia/Shangai"}, "timezone", "Asia/Shanghai"),
            ({"cycle_type": "MINUTE", "step": 7}, "step", "write one of 1, 2, 3"),
            ({"cycle_type": "WEEK"}, "weekdays", "choose weekdays"),
            ({"cycle_type": "CRONTAB", "crontab": "61 * * * *"}, "crontab", "61"),
            ({"code": "#" * (MOST_CODE + 1)}, "code", "1,048,576 are the most"),
            ({"code": "é" * (MOST_CODE // 2 + 1)}, "code", "1,048,578 bytes"),
            ({"cycle_type": "FORTNIGHT"}, "cycle_type", "FORTNIGHT"),
            ({"calendar_mode": "SKIP"}, "calendar", "Choose the calendar"),
            ({"retry_wait": dt.timedelta(seconds=-1)}, "retry_wait", "cannot be negative"),
            ({"run_timeout": dt.timedelta(0)}, "run_timeout", "clear it for no timeout"),
            ({"retry_limit": 101}, "retry_limit", "100"),
            ({"code": ""}, "code", "empty"),
            ({"code": "echo ${region}"}, "code", "Define a parameter of this name"),
            ({"code": "echo ${yyyyMMdd-1q}"}, "code", "units y M w d h m"),
            ({"code": "if true; then"}, "code", "syntax error"),
            ({"parameters": {"day": "${yyyyMMddd}"}}, "parameters", "Parameter day"),
            ({"parameters": {"a": "${b}", "b": "${a}"}}, "parameters", "in a circle"),
            ({"parameters": {"yyyy": "1"}}, "parameters", "is a time expression"),
            ({"parameters": {"a": 1}}, "parameters", "text"),
            ({"parameters": ["a"]}, "parameters", "object"),
            ({"settings": ["a"]}, "settings", "object"),
            ({"task_type": "SQL", "code": "SELECT 1"}, "data_source", "choose one of the project"),
            ({"task_type": "PYTHON", "code": "print("}, "code", "line 1"),
            ({"task_type": "COBOL"}, "task_type", "COBOL"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, task: Task, columns: dict[str, Any], column: str, says: str
    ) -> None:
        for name, value in columns.items():
            setattr(task, name, value)
        found = refused(task)
        assert list(found) == [column]
        assert says in " ".join(found[column])

    def test_everything_that_is_wrong_is_told_at_once(self, task: Task) -> None:
        task.timezone, task.code, task.retry_wait = "Nowhere", "echo ${x}", dt.timedelta(-1)
        assert set(refused(task)) == {"timezone", "code", "retry_wait"}

    def test_parameters_of_project_and_workflow_count(self, task: Task) -> None:
        task.code = "echo ${region} ${team} ${day}"
        task.workflow.project.parameters = {"region": "EWR"}
        task.workflow.parameters = {"team": "ops"}
        task.parameters = {"day": "${yyyyMMdd-1d} of ${team}"}
        definitions.validate(task)
        task.workflow.parameters = {"team": "${nobody}"}
        assert "Parameter team of the workflow" in refused(task)["parameters"][0]

    def test_things_of_another_project_are_refused(self, task: Task) -> None:
        other = make.make_project()
        task.task_type, task.code = "SQL", "SELECT 1"
        task.data_source = make.make_data_source(other, "postgresql://host/warehouse")
        task.calendar, task.calendar_mode = make.make_calendar(dt.date(2026, 1, 1), project=other), "SKIP"
        task.folder = other.folders.create(name="etl")
        task.secrets.add(make.make_secret(other))
        assert set(refused(task)) == {"data_source", "calendar", "folder", "secrets"}

    def test_a_common_calendar_serves_every_project(self, task: Task) -> None:
        task.calendar, task.calendar_mode = make.make_calendar(dt.date(2026, 1, 1)), "RUN_ONLY"
        definitions.validate(task)


class TestDependencies:
    def test_scopes_of_the_two_cycles_only(self, task: Task) -> None:
        hourly = make.make_task(task.workflow, cycle_type="HOUR")
        definitions.validate(task, [Dependency(task=task, upstream=hourly, scope="CURRENT_DAY")])
        [message] = refused(task, [Dependency(task=task, upstream=hourly, scope="TOMORROW")])["dependencies"]
        assert "CURRENT_DAY" in message
        assert hourly.name in message

    def test_offsets_of_ranges_and_lists_only(self, task: Task) -> None:
        upstream = make.make_task(task.workflow)

        def waits(scope: str, offsets: str) -> Dependency:
            return Dependency(task=task, upstream=upstream, scope=scope, offsets=offsets)

        definitions.validate(task, [waits("LIST_DAY", "-7,-1")])
        [message] = refused(task, [waits("LIST_DAY", "")])["dependencies"]
        assert "takes the days to wait for" in message
        [message] = refused(task, [waits("CURRENT_DAY", "-1")])["dependencies"]
        assert (
            message
            == f"{upstream.name}: CURRENT_DAY takes no offsets; clear them, or choose a range or a list."
        )

    @pytest.mark.parametrize(
        ("scope", "offsets"), [("CURRENT_DAY", "-1"), ("LIST_DAY", ""), ("RANGE_DAY", "a,b")]
    )
    def test_the_database_refuses_nonsense(self, task: Task, scope: str, offsets: str) -> None:
        upstream = make.make_task()
        with (
            pytest.raises(IntegrityError, match="dependency_offsets_of_ranges_and_lists"),
            transaction.atomic(),
        ):
            make.depend(task, upstream, scope, offsets)

    def test_a_downstream_that_changes_its_cycle(self, task: Task) -> None:
        make.depend(task, make.make_task(task.workflow, name="daily"), "RANGE_DAY", "-1,0")
        make.submit(task)
        Task.objects.filter(pk=task.pk).update(cycle_type="CRONTAB", crontab="0 2 * * *")
        make.submit(task)
        Task.objects.filter(pk=task.pk).update(cycle_type="ONEOFF", run_at=JANUARY, crontab="")
        with pytest.raises(ValidationError, match="daily: 'RANGE_DAY' is no scope of ONEOFF on DAY; choose"):
            make.submit(task)

    def test_an_upstream_that_changes_its_cycle(self, task: Task) -> None:
        upstream = make.make_task(task.workflow)
        make.submit(upstream)
        make.depend(task, upstream, "LIST_DAY", "-1")
        make.depend(make.make_task(task.workflow), upstream)
        Task.objects.filter(pk=upstream.pk).update(cycle_type="HOUR")
        make.submit(upstream)  # whoever waits for it is offline: told when it is submitted
        with pytest.raises(ValidationError, match="no scope of DAY on HOUR"):
            make.submit(task)
        Task.objects.filter(pk=upstream.pk).update(cycle_type="DAY")
        make.submit(task)
        Task.objects.filter(pk=upstream.pk).update(cycle_type="HOUR")
        upstream.refresh_from_db()
        [message] = refused(upstream)["cycle_type"]
        assert (
            f"cannot have on HOUR: {task.name} (DAY, LIST_DAY). Choose another scope there first" in message
        )
        with pytest.raises(ValidationError, match=task.name):
            make.submit(upstream)
        Dependency.objects.filter(task=task).update(scope="", offsets="")
        make.submit(upstream)

    def test_a_pair_once_and_never_with_itself(self, task: Task) -> None:
        upstream = make.make_task()
        twice = [Dependency(task=task, upstream=upstream), Dependency(task=task, upstream=upstream)]
        assert "listed twice" in refused(task, twice)["dependencies"][0]
        assert "orderly" in refused(task, [Dependency(task=task, upstream=task)])["dependencies"][0]

    def test_a_circle_is_named(self, db: None) -> None:
        workflow = make.make_workflow()
        a, b, c = (make.make_task(workflow, name=name) for name in "abc")
        make.depend(a, b)
        make.depend(b, c)
        [message] = refused(c, [Dependency(task=c, upstream=a)])["dependencies"]
        assert "c -> a -> b -> c" in message
        make.depend(c, a)
        with pytest.raises(ValidationError, match="a -> b -> c -> a"):
            make.submit(a)

    def test_one_query_finds_circles(self, task: Task, django_assert_max_num_queries: Any) -> None:
        chain = [task] + [make.make_task(task.workflow) for _ in range(20)]
        for downstream, upstream in pairwise(chain):
            make.depend(downstream, upstream)
        own = list(task.dependencies.select_related("upstream"))
        with django_assert_max_num_queries(8):
            definitions.validate(task, own)


class TestSubmit:
    def test_the_first_version_starts_now(self, task: Task) -> None:
        version = definitions.submit(task, user=task.owner, note="first", now=NOON)
        assert (version.number, version.note, version.created_by) == (1, "first", task.owner)
        assert (version.code, task.current_version) == (task.code, version)
        assert task.status == TaskStatus.SCHEDULING
        assert task.generated_until == NOON
        assert task.next_due_at == NOON.replace(day=11, hour=0)

    def test_since_reaches_back(self, task: Task) -> None:
        make.submit(task, JANUARY - dt.timedelta(seconds=1))
        assert task.next_due_at == JANUARY

    def test_a_schedule_that_has_ended_is_never_due(self, task: Task) -> None:
        task.effective_to = JANUARY
        task.save()
        definitions.submit(task, user=None, now=NOON)
        assert task.next_due_at is None

    def test_nothing_changed_nothing_new(self, task: Task) -> None:
        first = make.submit(task)
        assert make.submit(task) == first
        task.code = "echo other"
        task.save()
        assert make.submit(task).number == 2
        assert TaskVersion.objects.get(task=task, number=1).code == "echo ${yyyyMMdd}"

    def test_dependencies_and_secrets_are_part_of_it(self, task: Task) -> None:
        make.submit(task)
        make.depend(task, make.make_task(name="upstream"), "CURRENT_DAY")
        second = make.submit(task)
        assert second.number == 2
        [saved] = second.definition["dependencies"]
        assert (saved["scope"], "offsets" in saved) == ("CURRENT_DAY", False)
        Dependency.objects.filter(task=task).update(scope="LIST_DAY", offsets="-1")
        second = make.submit(task)
        assert second.definition["dependencies"][0]["offsets"] == "-1"
        task.secrets.add(make.make_secret(task.workflow.project, "token", "hunter2hunter2"))
        third = make.submit(task)
        assert third.definition["secrets"] == ["token"]
        assert "hunter2" not in json.dumps(third.definition)
        assert third.definition["cycle_type"] == "DAY"

    def test_a_broken_task_is_not_submitted(self, task: Task) -> None:
        Task.objects.filter(pk=task.pk).update(code="echo ${nobody}")
        with pytest.raises(ValidationError, match="nobody"):
            make.submit(task)
        task.refresh_from_db()
        assert (task.status, task.current_version) == (TaskStatus.OFFLINE, None)
        assert not OperationRecord.objects.exists()

    def test_a_task_on_schedule_goes_on_where_it_stands(self, task: Task) -> None:
        make.submit(task, JANUARY)
        assert task.next_due_at == JANUARY + dt.timedelta(days=1)
        # The backlog since January is still owed: an edit must not drop it.
        definitions.submit(task, user=None, now=NOON)
        assert task.generated_until == JANUARY

    def test_a_new_schedule_never_reaches_back_before_now(self, task: Task) -> None:
        definitions.submit(task, user=None, now=NOON)
        Task.objects.filter(pk=task.pk).update(generated_until=JANUARY)  # nothing was due since then
        Task.objects.filter(pk=task.pk).update(cycle_type="HOUR")
        definitions.submit(task, user=None, now=NOON)
        assert task.next_due_at == NOON + dt.timedelta(hours=1)


class TestPreview:
    def test_the_next_runs(self, task: Task) -> None:
        runs = definitions.preview(task, 3, after=NOON)
        assert [run.data_time.day for run in runs] == [11, 12, 13]

    def test_it_needs_no_saved_task_and_ends_with_the_schedule(self) -> None:
        task = Task(name="new", cycle_type="HOUR", effective_to=NOON + dt.timedelta(hours=2))
        assert len(definitions.preview(task, 10, after=NOON)) == 2

    def test_a_broken_schedule_says_so(self) -> None:
        with pytest.raises(ValidationError, match="divide an hour"):
            definitions.preview(Task(name="new", cycle_type="MINUTE", step=7))


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """Runs each in a thread with a connection of its own; their answers, or what they raised."""
    answers: list[Any] = [None] * len(jobs)
    ready = threading.Barrier(len(jobs))

    def run(place: int) -> None:
        try:
            ready.wait(10)
            answers[place] = jobs[place]()
        except Exception as error:
            answers[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return answers


@pytest.mark.django_db(transaction=True)
class TestTwoAtOnce:
    def test_the_same_definition_twice_is_one_version(self) -> None:
        task = make.make_task(code="true")
        versions = at_once(*[lambda: definitions.submit(Task.objects.get(pk=task.pk), user=None)] * 4)
        assert {version.number for version in versions} == {1}
        assert TaskVersion.objects.count() == 1

    def test_different_definitions_get_numbers_of_their_own(self) -> None:
        task = make.make_task(code="true")

        def edit(code: str) -> int:
            with transaction.atomic():
                definitions.lock_dependencies()
                Task.objects.filter(pk=task.pk).update(code=code)
                return definitions.submit(task, user=None).number or 0

        numbers = at_once(*[lambda n=n: edit(f"echo {n}") for n in range(4)])
        assert sorted(numbers) == [1, 2, 3, 4]

    def test_two_edits_cannot_close_a_circle_together(self) -> None:
        a, b = make.make_task(name="a"), make.make_task(name="b")
        both_wrote = threading.Barrier(2)

        def edit(task: Task, upstream: Task) -> TaskVersion:
            with transaction.atomic():
                make.depend(task, upstream)
                both_wrote.wait(10)
                return definitions.submit(task, user=None)

        answers = at_once(lambda: edit(a, b), lambda: edit(b, a))
        [error] = [answer for answer in answers if isinstance(answer, Exception)]
        assert isinstance(error, ValidationError)
        assert "circle" in str(error)
        assert Dependency.objects.count() == 1


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before + 3  # the connection pool's own
