"""The instance list at any size: a page of it, as the server answers it, for every kind of filter and many together."""

import contextlib
import datetime as dt
import importlib
import random
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils.html import strip_tags

from benchmarks import world
from benchmarks.options import Options, say
from benchmarks.report import Section
from benchmarks.workers import BenchmarkError
from instances.models import Task, Workflow
from instances.reading_ways import ALL_STATES
from weops.api import tokens
from weops.console.paging import mark_before
from weops.projects.models import Folder, Member, Project, ResourceGroup

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PROJECTS, WORKFLOWS, OWNERS, GROUPS = 20, 100, 40, 8
BATCH = 500_000
COMBINATIONS = 300

# One task in a hundred is SQL, one daily, one in five never fails; the last project has a single task with a single owner.
# Of the rows: 1.5 % failed, 0.1 % wait for their retry, 0.05 % were skipped, 0.02 % are supplementary and started forty days
# after their data time; of the newest hour many wait.
_SEED = """
INSERT INTO instances_instance (id, task_id, data_time, planned_time, instance_type, cycle_type, task_type, project_id,
    workflow_id, folder_id, owner_id, resource_group_id, priority, state, not_before, wait_since, ready_since, start_time,
    end_time, total_runs, pending_upstream, error_code, version_id)
SELECT g, t.id, h.hour, h.hour, CASE WHEN r.n < 2 THEN 'supplementary' ELSE 'periodic' END, t.cycle_type, t.task_type,
    w.project_id, w.id, t.folder_id, t.owner_id, t.resource_group_id, t.priority, s.state, h.hour, h.hour, h.hour,
    CASE WHEN s.state NOT IN ('wait_upstream', 'wait_run') THEN h.hour + l.later + r.n * interval '0.1 s' END,
    CASE WHEN s.state NOT IN ('wait_upstream', 'wait_run') THEN h.hour + l.later + r.n * interval '0.15 s' END,
    1, CASE WHEN s.state = 'wait_upstream' THEN 1 ELSE 0 END, CASE WHEN s.state LIKE 'failed%%' THEN 'EXIT_NONZERO' ELSE '' END,
    t.current_version_id
FROM generate_series(%(from)s::bigint, %(to)s::bigint) g
CROSS JOIN LATERAL (SELECT %(now)s::timestamptz - ((%(rows)s - g) / %(tasks)s) * interval '1 hour' AS hour) h
CROSS JOIN LATERAL (SELECT mod(hashint8(g)::bigint + 2147483648, 10000) AS n) r
CROSS JOIN LATERAL (SELECT CASE WHEN r.n < 2 THEN interval '40 days' ELSE interval '0' END AS later) l
CROSS JOIN LATERAL (SELECT CASE
    WHEN %(rows)s - g < %(tasks)s AND r.n < 4000 THEN 'wait_upstream'
    WHEN %(rows)s - g < %(tasks)s AND r.n < 5000 THEN 'wait_run'
    WHEN g %% 5 = 0 THEN 'success'
    WHEN r.n %% 1000 < 15 THEN 'failed' WHEN r.n %% 1000 = 20 THEN 'failed_retry' WHEN r.n %% 2000 = 30 THEN 'skipped'
    ELSE 'success' END AS state) s
JOIN instances_task t ON t.id = %(first)s + (g - 1) %% %(tasks)s JOIN instances_workflow w ON w.id = t.workflow_id
ORDER BY g
"""


def run(options: Options) -> Section:
    tasks = _tasks(200 if options.quick else 2_000)
    rows = _seed(tasks, options.rows)
    try:
        return _measured(tasks, rows, options)
    finally:
        world.clear()


def _tasks(count: int) -> list[Task]:
    group = world.make_group(64)
    made = world.make_tasks(count, group, NOW)
    groups = [ResourceGroup.objects.create(name=f"lists{place}") for place in range(GROUPS)]
    owners = User.objects.bulk_create(User(username=f"owner{place}") for place in range(OWNERS))
    projects = [Project.objects.create(name=f"lists{place}") for place in range(PROJECTS)]
    folders = [Folder.objects.create(project=project, name="folder") for project in projects]
    workflows = [
        Workflow.objects.create(project=projects[place % (PROJECTS - 1)], name=f"workflow{place}")
        for place in range(WORKFLOWS)
    ]
    alone = Workflow.objects.create(project=projects[-1], name="alone")
    for place, task in enumerate(made):
        task.workflow = alone if place == count // 2 else workflows[place % WORKFLOWS]
        task.folder = folders[projects.index(task.workflow.project)]
        task.owner = owners[0] if place == count // 2 else owners[1 + place % (OWNERS - 1)]
        task.resource_group = groups[place % GROUPS]
        task.task_type = "SQL" if place % 100 == 7 else "VIRTUAL"
        task.cycle_type = "DAY" if place % 100 == 9 else "HOUR"
    Task.objects.bulk_update(
        made, ["workflow", "folder", "owner", "resource_group", "task_type", "cycle_type"], batch_size=500
    )
    world.schedule(made)
    return made


def _seed(tasks: list[Task], rows: int) -> int:
    rows -= rows % len(tasks)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0; SET maintenance_work_mem = '1GB'")
        with _rows_alone(cursor):
            for start in range(1, rows + 1, BATCH):
                end = min(start + BATCH - 1, rows)
                values: dict[str, Any] = {
                    "from": start,
                    "to": end,
                    "rows": rows,
                    "tasks": len(tasks),
                    "first": tasks[0].pk,
                    "now": NOW,
                }
                cursor.execute(_SEED, values)
                say(f"lists: {end:,} of {rows:,} instances are in the table")
        cursor.execute("SELECT setval(pg_get_serial_sequence('instances_instance', 'id'), %s)", [rows])
        cursor.execute("VACUUM (ANALYZE) instances_instance")
        cursor.execute("RESET statement_timeout; RESET maintenance_work_mem")
    return rows


@contextlib.contextmanager
def _rows_alone(cursor: Any) -> Iterator[None]:
    """Inside, only rows are written, which is several times as quick; the rest is made of all of them at the end."""
    cursor.execute(
        "SELECT format('ALTER TABLE instances_instance DROP CONSTRAINT %I', conname),"
        " format('ALTER TABLE instances_instance ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))"
        " FROM pg_constraint WHERE conrelid = 'instances_instance'::regclass AND contype IN ('u', 'f')"
        " UNION ALL SELECT format('DROP INDEX %I', indexrelid::regclass), pg_get_indexdef(indexrelid)"
        " FROM pg_index WHERE indrelid = 'instances_instance'::regclass"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    )
    found = cursor.fetchall()
    for drop, _ in found:
        cursor.execute(drop)
    cursor.execute("ALTER TABLE instances_instance DISABLE TRIGGER task_places")
    yield
    cursor.execute("ALTER TABLE instances_instance ENABLE TRIGGER task_places")
    cursor.execute(importlib.import_module("instances.migrations.0024_rare_rows").FILL)
    for _, make in found:
        cursor.execute(make)
        say(f"lists: {make}")


def _filters(tasks: list[Task], rows: int) -> dict[str, dict[str, Any]]:
    task, alone = tasks[3], tasks[len(tasks) // 2]
    project, workflow = task.workflow.project_id, task.workflow_id
    hours = rows // len(tasks)
    # The last one that is counted; of small tables one that a member has, too.
    later = 200 if rows >= 1_000_000 else 5
    middle = NOW - dt.timedelta(hours=hours // 2)
    old = f"{middle:%Y-%m-%dT%H:%M}"
    soon = f"{middle + dt.timedelta(hours=3):%Y-%m-%dT%H:%M}"
    return {
        "no filter, page 1": {},
        f"no filter, page {later}": {"p": later},
        "no filter, the middle of the table": {"before": mark_before(middle, rows // 2)},
        "state failed": {"state": "failed"},
        "states running and terminating (none)": {"state": ["running", "terminating"]},
        "state skipped (1 in 2,000)": {"state": "skipped"},
        "a task's name": {"q": alone.name},
        "a word in every task's name": {"q": "task"},
        "a word in a hundred names": {"q": "task1"},
        "project (1 in 19)": {"project": project},
        "project with one task": {"project": alone.workflow.project_id},
        "workflow (1 in 100)": {"workflow": workflow},
        "owner of one task": {"owner": alone.owner_id},
        "folder": {"folder": task.folder_id},
        "task type (1 in 100)": {"task_type": "SQL"},
        "task type that nobody uses": {"task_type": "SHELL"},
        "cycle type (1 in 100)": {"cycle": "DAY"},
        "resource group (1 in 8)": {"group": task.resource_group_id},
        "supplementary (1 in 5,000)": {"type": "supplementary"},
        "non-periodic (none)": {"type": "non_periodic"},
        "data time, three hours": {"data_from": old, "data_to": soon},
        "start time, three hours": {"start_from": old, "start_to": soon},
        "project and failed": {"project": project, "state": "failed"},
        "project with one task, failed": {"project": alone.workflow.project_id, "state": "failed"},
        "workflow, failed, not acknowledged": {"workflow": workflow, "state": "failed", "seen": "no"},
        "acknowledged (none)": {"seen": "yes"},
        "owner and task type (no row)": {"owner": alone.owner_id, "task_type": "SQL"},
        "project, supplementary, skipped": {"project": project, "type": "supplementary", "state": "skipped"},
        "workflow, started in three hours": {"workflow": workflow, "start_from": old, "start_to": soon},
        "started since, failed, SQL": {"start_from": old, "state": "failed", "task_type": "SQL"},
        "group, cycle, type, state, start time": {
            "group": task.resource_group_id,
            "cycle": "HOUR",
            "type": "periodic",
            "state": ["failed", "failed_retry"],
            "start_to": old,
        },
    }


def _combinations(tasks: list[Task], rows: int, count: int) -> Iterator[dict[str, Any]]:
    """Filters at random, one to five together, each with a value that some task or row has."""
    dice = random.Random(count)
    hours = rows // len(tasks)
    for _ in range(count):
        task = dice.choice(tasks)
        since = NOW - dt.timedelta(hours=dice.randrange(hours))
        until = since + dt.timedelta(hours=dice.choice([1, 24, 1_000, hours]))
        offered: dict[str, dict[str, Any]] = {
            "q": {"q": dice.choice([task.name, task.name[:5], str(task.pk)])},
            "project": {"project": task.workflow.project_id},
            "workflow": {"workflow": task.workflow_id},
            "owner": {"owner": dice.choice(tasks).owner_id},
            "folder": {"folder": task.folder_id},
            "group": {"group": dice.choice(tasks).resource_group_id},
            "task type": {"task_type": dice.choice(["SQL", "VIRTUAL", "SHELL"])},
            "cycle": {"cycle": dice.choice(["HOUR", "DAY"])},
            "type": {"type": dice.choice(["periodic", "supplementary", "non_periodic"])},
            "state": {"state": dice.sample(ALL_STATES, dice.choice([1, 1, 2, 4]))},
            "seen": {"seen": dice.choice(["yes", "no"])},
            "inner": {"inner": dice.choice(["all", "only"])},
            "data from": {"data_from": f"{since:%Y-%m-%dT%H:%M}"},
            "data to": {"data_to": f"{until:%Y-%m-%dT%H:%M}"},
            "started from": {"start_from": f"{since:%Y-%m-%dT%H:%M}"},
            "started to": {"start_to": f"{until:%Y-%m-%dT%H:%M}"},
        }
        chosen = dice.sample(sorted(offered), dice.choice([1, 2, 2, 3, 3, 4, 5]))
        yield {name: value for one in chosen for name, value in offered[one].items()}


def _places(tasks: list[Task], rows: int, count: int) -> Iterator[dict[str, Any]]:
    """Where in the list an admin's page is, at random: mostly the first page, a later one, one beyond all that are counted."""
    dice = random.Random(count + 1)
    for _ in range(count):
        number = dice.randrange(rows)
        data_time = NOW - dt.timedelta(hours=number // len(tasks))
        yield dice.choice(
            [
                {},
                {},
                {"sort": "data_time"},
                {"sort": dice.choice(["-start", "duration", "-runs"])},
                {"before": mark_before(data_time, rows - number)},
            ]
        )


def _measured(tasks: list[Task], rows: int, options: Options) -> Section:
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]
    settings.WEOPS_API_RATE = 0
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    chief = User.objects.create_superuser("lists_chief")
    member = User.objects.create_user("lists_member", is_staff=True)
    # A filter by what one does not see is an error, so the member sees what the filters name.
    alone = tasks[len(tasks) // 2]
    for project in {tasks[3].workflow.project, tasks[4].workflow.project, alone.workflow.project}:
        Member.objects.create(project=project, user=member, role="viewer")
    mine = [
        one for one in tasks if Member.objects.filter(user=member, project=one.workflow.project_id).exists()
    ]
    # Owners can be chosen by those who share a project with them.
    owners = {(one.workflow.project_id, one.owner_id) for one in mine}
    Member.objects.bulk_create(
        Member(project_id=project, user_id=pk or 0, role="viewer") for project, pk in owners
    )
    token = tokens.issue(chief, "lists")[1]
    askers: list[_Asker] = [
        _Asker(_signed_in(chief), reverse("admin:instances_instance_changelist")),
        _Asker(_signed_in(member), reverse("admin:instances_instance_changelist")),
        _Asker(Client(HTTP_AUTHORIZATION=f"Bearer {token}"), "/api/v1/instances/"),
    ]
    found: list[list[str]] = []
    for name, parameters in _filters(tasks, rows).items():
        given = [
            parameters,
            parameters,
            None if {"p", "before"} & {*parameters} else {**parameters, "limit": 100},
        ]
        found.append(
            [name, *_cells(askers, [[] if one is None else [one] * (3 + options.runs) for one in given])]
        )
        say(f"lists: {', '.join(found[-1])}")
    count = 30 if options.quick else COMBINATIONS
    for name, places in (("the first page", [{}] * count), ("anywhere", list(_places(tasks, rows, count)))):
        each = [
            {**place, **one} for one, place in zip(_combinations(tasks, rows, count), places, strict=True)
        ]
        of_mine = [
            {**place, **one} for one, place in zip(_combinations(mine, rows, count), places, strict=True)
        ]
        of_rest = [{**one, "limit": 100} for one in _combinations(tasks, rows, count)]
        name = f"{count} combinations at random, {name}"
        found.append([name, *_cells(askers, [each, of_mine, of_rest if name.endswith("first page") else []])])
        say(f"lists: {', '.join(found[-1])}")
    found.append(["all of them", *(cell for asker in askers for cell in _told(asker.taken, asker.worked))])
    return Section(
        "lists",
        "The instance list",
        f"One GET of the list with {rows:,} instances of {len(tasks):,} tasks in the table, through Django from the request to "
        "the whole page (no web server), warm: milliseconds at the median and of the slowest; CPU is the processor's time of "
        "Python and of the database's session together, at the median, which others on the machine hardly change. Of a "
        "superuser, who sees all, of a member of three projects, and of the REST list (100 rows, all projects). Targets: "
        "100 ms at the median, never above 500 ms; REST 50 ms at the median.",
        heads=[
            "filter",
            *(
                f"{who}, {what}"
                for who in ("superuser", "member", "REST")
                for what in ("median", "slowest", "CPU")
            ),
        ],
        rows=found,
    )


class _Asker:
    """Who asks for pages; remembers the milliseconds that each took, and that processors worked for it."""

    def __init__(self, client: Client, address: str) -> None:
        self.client, self.address = client, address
        self.taken: list[float] = []
        self.worked: list[float] = []

    def ask(self, parameters: dict[str, Any]) -> None:
        began, worked = time.perf_counter(), _worked()
        answer = self.client.get(self.address, parameters)
        self.taken.append((time.perf_counter() - began) * 1000)
        self.worked.append(_worked() - worked)
        said = re.findall(r'role="alert"[^>]*>(.*?)</(?:div|ul)>', answer.content.decode(), re.DOTALL)
        words = " ".join(strip_tags(" ".join(said)).split())
        if answer.status_code != 200 or (words and not words.endswith("to sort by this column.")):
            raise BenchmarkError(
                f"{parameters}: {answer.status_code} {answer.headers.get('Location', '')}, or not all of it was read: {words}"
            )


def _worked() -> float:
    """Milliseconds that processors worked for this process, and for its session if the database is on this machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        session = Path(f"/proc/{cursor.fetchone()[0]}/schedstat")
    told = session.read_text().split()[0] if session.exists() else 0
    return time.process_time() * 1000 + int(told) / 1_000_000


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _cells(askers: list["_Asker"], pages: list[list[dict[str, Any]]]) -> list[str]:
    """Each asker's pages, each after the same page to warm up."""
    cells: list[str] = []
    for asker, asked in zip(askers, pages, strict=True):
        first, warm = len(asker.taken), None
        for parameters in asked:
            if parameters != warm:
                asker.ask(parameters)
                del asker.taken[-1], asker.worked[-1]
            asker.ask(parameters)
            warm = parameters
        cells += _told(asker.taken[first:], asker.worked[first:])
    return cells


def _told(taken: list[float], worked: list[float]) -> list[str]:
    if not taken:
        return ["", "", ""]
    return [
        f"{number:.0f} ms" for number in (statistics.median(taken), max(taken), statistics.median(worked))
    ]
