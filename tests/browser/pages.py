"""One of everything that the console shows, and the address of each kind of page."""

from django.urls import reverse
from django.utils import timezone

from events.models import EventInstance
from instances.engine.states import State
from instances.models import Instance, LogChunk, OperationItem, OperationRecord, WorkerProcess
from instances.operations import backfill
from tests import factories as make
from tests.admin.rows import alarm_rows, make_edge, make_execution, make_instance
from tests.events.scene import fire, listen, make_event
from weops.console import saved_views
from weops.projects.models import Folder


def _day(state: str, day: int, upstream: Instance, name: str) -> Instance:
    """An instance of its own task that waits, or has waited, for `upstream`."""
    task = make.make_task(upstream.workflow, name=name, code="echo ${yyyyMMdd}", timezone="Asia/Shanghai")
    make.depend(task, upstream.task)
    make.submit(task)
    one = make_instance(task, state, after=day, error_code="EXIT_NONZERO" if state == State.FAILED else "")
    make_edge(one, upstream)
    return one


def addresses() -> dict[str, str]:
    """{what it is: its address}, for a superuser, after everything has been made."""
    project = make.make_project("warehouse")
    make.make_cast(project)
    folder = Folder.objects.create(project=project, name="loads")
    workflow = make.make_workflow(project, name="nightly", folder=folder)
    task = make.make_task(workflow, name="load_orders", folder=folder, code="echo ${yyyyMMdd}")
    version = make.submit(task)
    calendar = make.make_calendar(project=project, name="holidays")
    source = make.make_data_source(project, "postgresql://u:p@nowhere/x", "orders")
    running = make_instance(task, State.RUNNING, after=1)
    execution = make_execution(running, "running", worker="w1")
    LogChunk.objects.create(
        execution=execution,
        seq=1,
        start=0,
        line=0,
        text="[weops] began\nINFO \x1b[32mgood\x1b[0m \x1b[31mbad\x1b[0m\nWARNING slow\nDEBUG x\nERROR it broke\n",
    )
    failed = _day(State.FAILED, 1, running, "sum_orders")
    ended = make_execution(
        failed, "failed", error_code="EXIT_NONZERO", error_message="exit code 1", exit_code=1
    )
    waits = _day(State.WAIT_UPSTREAM, 1, running, "report_orders")
    for state, day in (
        (State.SUCCESS, 1),
        (State.FAILED_RETRY, 2),
        (State.WAIT_RUN, 3),
        (State.WAIT_EVENT, 4),
    ):
        _day(state, day, running, f"task_{state}")
    Instance.objects.filter(pk=failed.pk).update(frozen_at=timezone.now())
    event, silent = make_event(project, "orders_ready"), make_event(project, "orders_late")
    firing = fire(event)
    fire(silent, "20260101")
    listen(task, silent, max_wait=2)
    fired = EventInstance.objects.get(pk=firing.event_instances[0])
    alarms = alarm_rows(failed)
    plan = backfill.create(
        {"tasks": [task.pk], "ranges": [{"first": "2013-01-01", "last": "2013-01-02"}]},
        user=None,
        source="api",
    )
    record = OperationRecord.objects.create(kind="rerun", source="admin", total=2, done=1, refused=1)
    for outcome in ("done", "refused"):
        OperationItem.objects.create(
            operation=record,
            instance_id=failed.pk if outcome == "done" else waits.pk,
            from_state="failed",
            outcome=outcome,
        )
    WorkerProcess.objects.create(name="w1", host="h", pid=1, slots=4, busy=1)
    saved_views.save(make.make_user(make.SUSAN), "instances", "failures", "state=failed", "everybody")

    def at(name: str, *args: object, query: str = "") -> str:
        return reverse(f"admin:{name}", args=args) + (f"?{query}" if query else "")

    one = "instances_instance"
    return {
        "overview": at("index"),
        "instances": at(f"{one}_changelist"),
        "instances, filtered to none": at(f"{one}_changelist", query="q=nothing&state=failed&start_from=x"),
        "instance, running": at(f"{one}_change", running.pk),
        "instance, failed": at(f"{one}_change", failed.pk),
        "instance, waiting": at(f"{one}_change", waits.pk),
        "lineage": at(f"{one}_lineage", running.pk),
        "lineage, list": at(f"{one}_lineage", running.pk, query="mode=list"),
        "what changed": at(f"{one}_changed", failed.pk, ended.pk),
        "rerun": at(f"{one}_operate", "rerun", query=f"ids={failed.pk}"),
        "terminate": at(f"{one}_operate", "terminate", query=f"ids={running.pk},{waits.pk}"),
        "freeze": at(f"{one}_operate", "freeze", query=f"ids={waits.pk}"),
        "acknowledge": at(f"{one}_operate", "acknowledge", query="all=1&query=state%3Dfailed"),
        "remove dependency": at(f"{one}_operate", "remove_dependency", query=f"ids={waits.pk}"),
        "blockers": at(f"{one}_blockers"),
        "time line": at(f"{one}_gantt", query="day=2026-03-26"),
        "grid": at(f"{one}_grid"),
        "backfill plans": at("instances_backfillplan_changelist"),
        "new backfill plan": at("instances_backfillplan_add", query=f"tasks={task.pk}"),
        "backfill plan": at("instances_backfillplan_change", plan.pk),
        "records": at("instances_operationrecord_changelist"),
        "record": at("instances_operationrecord_change", record.pk),
        "alarm messages": at("alarms_message_changelist"),
        "alarm message": at("alarms_message_change", alarms["alarms.message"].pk),
        "alarm rules": at("alarms_rule_changelist"),
        "alarm rule": at("alarms_rule_change", alarms["alarms.rule"].pk),
        "alarm channel": at("alarms_channel_change", alarms["alarms.channel"].pk),
        "event instances": at("events_eventinstance_changelist"),
        "event instance": at("events_eventinstance_change", fired.pk),
        "near misses": at("events_eventinstance_near_misses"),
        "fire": at("events_eventinstance_fire"),
        "event": at("events_event_change", event.pk),
        "tasks": at("instances_task_changelist"),
        "task": at("instances_task_change", task.pk),
        "new task": at("instances_task_add"),
        "run task": at("instances_task_run", task.pk),
        "pause task": at("instances_task_step", task.pk, "pause"),
        "waits of task": at("instances_task_waits", task.pk),
        "version": at("instances_taskversion_change", version.pk),
        "workflow": at("instances_workflow_change", workflow.pk),
        "projects": at("projects_project_changelist"),
        "project": at("projects_project_change", project.pk),
        "folder": at("projects_folder_change", folder.pk),
        "calendar": at("projects_calendar_change", calendar.pk),
        "secrets": at("projects_secret_changelist"),
        "data source": at("projects_datasource_change", source.pk),
        "delete": at("projects_calendar_delete", calendar.pk),
        "resource groups": at("projects_resourcegroup_changelist"),
        "workers": at("instances_workerprocess_changelist"),
        "tokens": at("api_token_changelist"),
        "new token": at("api_token_add"),
        "users": at("auth_user_changelist"),
        "user": at("auth_user_change", make.make_user(make.VERA).pk),
        "password": at("password_change"),
        "preferences": at("preferences"),
    }
