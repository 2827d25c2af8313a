"""What tests build their world from: plain functions, one per noun, with defaults that are due at once.

The cast has one user per role; every door is tested for the outsider too:

    vera    viewer      omar    operator      dana    developer      petra   project admin
    eve     outsider (no project)             susan   superuser
"""

import datetime as dt
import itertools
from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User

from instances import definitions
from instances.engine.schedule import Cycle
from instances.models import Dependency, Task, TaskVersion, Workflow
from weops.projects.models import Calendar, DataSource, Member, Project, ResourceGroup, Role, Secret

VERA, OMAR, DANA, PETRA, EVE, SUSAN = "vera", "omar", "dana", "petra", "eve", "susan"
CAST: dict[str, Role | None] = {
    VERA: Role.VIEWER,
    OMAR: Role.OPERATOR,
    DANA: Role.DEVELOPER,
    PETRA: Role.ADMIN,
    EVE: None,
    SUSAN: None,
}
PASSWORD = "correct horse battery staple"

_numbers = itertools.count(1)


@cache
def _password_hash() -> str:
    # A good hash is slow on purpose; one for all users of a test process is enough.
    return make_password(PASSWORD)


def unique(stem: str) -> str:
    """A name that no other object of this test process has."""
    return f"{stem}{next(_numbers)}"


def make_user(name: str = DANA, *, project: Project | None = None, role: str | None = None) -> User:
    """One of the cast or anybody else, found or made; member of `project` in `role` or in the cast's role."""
    user, _ = get_user_model().objects.get_or_create(
        username=name,
        defaults={
            "email": f"{name}@example.com",
            "is_staff": True,
            "is_superuser": name == SUSAN,
            "password": _password_hash(),
        },
    )
    role = role or CAST.get(name)
    if project is not None and role:
        Member.objects.update_or_create(project=project, user=user, defaults={"role": role})
    return user


def make_cast(project: Project) -> dict[str, User]:
    """All of the cast, each in its role in `project`."""
    return {name: make_user(name, project=project) for name in CAST}


def make_project(name: str = "", **columns: Any) -> Project:
    return Project.objects.create(name=name or unique("project"), **columns)


def make_group(slots: int = 16, **columns: Any) -> ResourceGroup:
    return ResourceGroup.objects.create(**{"name": unique("group"), "slots": slots, **columns})


def make_calendar(*dates: dt.date, project: Project | None = None, **columns: Any) -> Calendar:
    return Calendar.objects.create(
        **{"name": unique("calendar"), "project": project, "dates": list(dates), **columns}
    )


def make_secret(project: Project, name: str = "", value: str = "very secret value") -> Secret:
    secret = Secret(project=project, name=name or unique("secret"))
    secret.write(value)
    secret.save()
    return secret


def make_data_source(project: Project, url: str, name: str = "") -> DataSource:
    """A data source with a secret of its own that holds `url`."""
    name = name or unique("source")
    return DataSource.objects.create(project=project, name=name, url=make_secret(project, f"{name}_url", url))


def make_workflow(project: Project | None = None, **columns: Any) -> Workflow:
    return Workflow.objects.create(
        **{"project": project or make_project(), "name": unique("workflow"), **columns}
    )


def make_task(
    workflow: Workflow | None = None, *, group: ResourceGroup | None = None, **columns: Any
) -> Task:
    """An unsubmitted task: VIRTUAL (SHELL when it has code), parallel, every day at 00:00 UTC, no retries.

    `columns` are columns of Task. With `retry_limit` given, tries follow one another without a wait.
    """
    defaults: dict[str, Any] = {
        "workflow": workflow or make_workflow(),
        "name": unique("task"),
        "owner": make_user(DANA),
        "task_type": "SHELL" if columns.get("code") else "VIRTUAL",
        "resource_group": group or make_group(),
        "retry_limit": 0,
        "retry_wait": dt.timedelta(0),
        "self_dependency": "parallel",
        "cycle_type": Cycle.DAY,
        "timezone": "UTC",
    }
    return Task.objects.create(**{**defaults, **columns})


def submit(task: Task, since: dt.datetime | None = None, *, note: str = "") -> TaskVersion:
    """Submits as the task's owner. `since` is exclusive: what is planned after it will be generated."""
    user = task.owner if isinstance(task.owner, User) else make_user(DANA)
    version = definitions.submit(task, user=user, note=note, since=since)
    task.refresh_from_db()
    return version


def depend(task: Task, upstream: Task, scope: str = "", offsets: str = "") -> Dependency:
    """`task` waits for `upstream`. Works before and after submitting; no rule is checked here."""
    return Dependency.objects.create(task=task, upstream=upstream, scope=scope, offsets=offsets)
