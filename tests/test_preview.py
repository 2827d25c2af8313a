"""The preview of an operation: every number against brute force, and the words it is said in."""

import datetime as dt
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instances import operations
from instances.engine.states import State
from instances.models import Acknowledgement, Edge, Instance, Task
from instances.models.choices import RerunAllowed
from instances.operations.base import InstanceOperation
from instances.operations.options import RerunOptions
from instances.operations.preview import summary
from instances.operations.selection import freeze
from tests import factories as make
from tests import lineage
from tests.lineage import START, Arrow, Sketch, draw_up
from weops.projects import access

pytestmark = pytest.mark.django_db
some_lineages = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
STATES = list(State)


def preview(
    kind: str, roots: Any, *, user: User | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The summary, as it is kept and sent: JSON."""
    frozen = freeze(kind, roots, user=user, options=options or {})
    return json.loads(json.dumps(summary(frozen, operations.get(kind), user)))


def why_refused(
    operation: InstanceOperation, options: Any, user: User | None, rows: Iterable[Instance]
) -> dict[int, str]:
    """What applying the operation to these rows one after another would say."""
    found = {}
    needed = operation.rights(options)
    for row in rows:
        if user is not None and not needed <= access.rights(user, row.project_id):
            found[row.pk] = "right"
        elif why := operation.refusals([row], options).get(row.pk):
            found[row.pk] = why
    return found


def counted(names: Iterable[str]) -> list[list[Any]]:
    return [
        [name, count] for name, count in sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    ]


def assert_counts(found: dict[str, Any], rows: Iterable[Instance], refused: Mapping[int, str]) -> None:
    rows = list(rows)
    assert (found["total"], found["refused"]) == (len(rows), len(refused))
    assert found["allowed"] == found["total"] - found["refused"]
    states = Counter(row.state for row in rows)
    assert found["by_state"] == [[state, states[state]] for state in STATES if states[state]]
    assert found["by_project"] == counted(row.project.name for row in rows)
    assert found["by_workflow"] == counted(f"{row.project.name} / {row.workflow.name}" for row in rows)
    assert found["by_owner"] == counted(row.owner.username if row.owner else "Nobody" for row in rows)
    assert sum(line["count"] for line in found["refusals"]) == len(refused)
    for line in found["refusals"]:
        named = [one["id"] for one in line["examples"]]
        assert len(named) == len(set(named)) == min(line["count"], 10)
        assert set(named) <= refused.keys()
        number = f"{line['count']} instance{'' if line['count'] == 1 else 's'}"
        assert number in line["why"]


@some_lineages
@given(data=st.data(), sketch=lineage.sketches())
def test_every_number_of_a_rerun(data: st.DataObject, sketch: Sketch) -> None:
    with transaction.atomic():
        allowed = data.draw(st.tuples(*[st.sampled_from(RerunAllowed.values)] * len(sketch.tasks)))
        states = data.draw(st.permutations(STATES))
        sketch = Sketch(sketch.workflows, sketch.tasks, sketch.nodes, sketch.arrows, allowed)
        world = draw_up(sketch, states)
        user = make.make_user(make.unique("operator"))
        for project, role in zip(
            world.projects, data.draw(st.permutations(["viewer", "operator"])), strict=False
        ):
            make.make_user(user.username, project=project, role=role)
        roots = data.draw(st.sets(st.integers(0, len(sketch.nodes) - 1), max_size=4), label="roots")
        options = {
            "scope": data.draw(st.sampled_from(["this", "with_downstream", "downstream"])),
            "range": "all",
        }
        found = preview("rerun", world.ids(roots), user=user, options=options)

        layers = lineage.closure(world, roots)
        if options["scope"] == "this":
            layers = dict.fromkeys(roots, 0)
        if options["scope"] == "downstream":
            layers = {place: layer for place, layer in layers.items() if layer}
        rows = list(
            Instance.objects.filter(pk__in=world.ids(layers)).select_related("task", "project", "owner")
        )
        operation = operations.get("rerun")
        refused = why_refused(operation, RerunOptions.parse(options), user, rows)
        assert_counts(found, rows, refused)
        by_layer = Counter(layers.values())
        assert [(one["layer"], one["count"]) for one in found["layers"]] == sorted(by_layer.items())
        for one in found["layers"]:
            names = Counter(
                world.instances[place].task.name for place, layer in layers.items() if layer == one["layer"]
            )
            assert len(names) == len(one["tasks"]) + one["more_tasks"]
            assert dict(one["tasks"]).items() <= names.items()
            assert one["tasks"] == sorted(one["tasks"], key=lambda task: -task[1])
        assert found["duration"]["instances_unknown"] == found["allowed"]
        transaction.set_rollback(True)


# Whatever a refusal depends on, the groups that the preview forms must tell it apart.

KINDS: dict[str, dict[str, Any]] = {
    "terminate": {},
    "rerun": {},
    "mark_success": {},
    "freeze": {"thaw_at": "2126-03-25T08:00:00+00:00"},
    "thaw": {},
    "acknowledge": {"owner": make.OMAR},
    "withdraw_acknowledgement": {},
    "remove_dependency": {"all": True},
}


def all_sorts() -> list[Instance]:
    """Instances in every state, of tasks of every rerun permission, frozen or not, seen or not, with edges of all sorts."""
    projects = [make.make_project(), make.make_project()]
    make.make_user(make.OMAR, project=projects[0])
    tasks = [
        make.make_task(make.make_workflow(project), rerun_allowed=allowed)
        for project in projects
        for allowed in RerunAllowed.values
    ]
    thaws = [None, dt.datetime(2126, 3, 25, 8, tzinfo=dt.UTC), dt.datetime(2127, 1, 1, tzinfo=dt.UTC)]
    rows = [
        lineage.row(
            task,
            9 * number + place,
            state,
            life_round=1,
            frozen_at=timezone.now() if number else None,
            thaw_at=thaws[number - 1] if number else None,
        )
        for task in tasks
        for number in range(4)
        for place, state in enumerate(STATES)
    ]
    rows = Instance.objects.bulk_create(rows)
    sorts: list[dict[str, Any]] = [
        {}, {"waived": True}, {"satisfied_at": timezone.now()}, {"removed_at": timezone.now()},
    ]  # fmt: skip
    for number, row in enumerate(rows):
        if number % 5 < 4:
            Edge.objects.create(
                instance=row, upstream_task=tasks[0], upstream_data_time=START, **sorts[number % 5]
            )
        if number % 3:
            Acknowledgement.objects.create(
                instance_id=row.pk,
                life_round=number % 2,
                reason="seen",
                operation_id=1,
                expires_at=timezone.now() + dt.timedelta(hours=1 if number % 4 else -1),
            )
    return rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", [None, "viewer", "operator"])
def test_the_preview_refuses_what_the_operation_would_refuse(kind: str, role: str | None) -> None:
    projects = {row.project for row in all_sorts()}
    user = None
    if role:
        user = make.make_user(make.unique("user"))
        for project in projects:
            make.make_user(user.username, project=project, role=role)
    found = preview(kind, Instance.objects.all(), user=user, options=KINDS[kind])
    operation = operations.get(kind)
    rows = Instance.objects.select_related("task", "project", "workflow", "owner")
    refused = why_refused(operation, operation.parse(KINDS[kind]), user, rows)
    assert_counts(found, rows, refused)
    assert len(refused) > 0
    assert (len(refused) < len(rows)) == (role != "viewer")


def test_chosen_dependencies_decide_who_is_refused() -> None:
    rows = all_sorts()
    edge = Edge.objects.filter(removed_at=None).earliest("instance_id")
    chosen = {"task": edge.upstream_task_id, "data_time": edge.upstream_data_time.isoformat()}
    found = preview("remove_dependency", Instance.objects.all(), options={"edges": [chosen]})
    assert found["allowed"] == Edge.objects.filter(removed_at=None).count()
    assert found["total"] == len(rows)


# Words


def states_of(task: Task, *states: State) -> list[int]:
    rows = Instance.objects.bulk_create(lineage.row(task, day, state) for day, state in enumerate(states))
    return [row.pk for row in rows]


def test_refusals_are_said_of_many() -> None:
    task = make.make_task()
    pks = states_of(task, *[State.RUNNING] * 12, State.WAIT_UPSTREAM, State.FAILED)
    found = preview("rerun", pks)
    allowed = "Failed, Success, Waiting for execution, Retry on failure"
    assert [(line["why"], line["count"]) for line in found["refusals"]] == [
        (f"12 instances are Running: rerun is allowed only from {allowed}.", 12),
        (f"1 instance is Waiting for upstream: rerun is allowed only from {allowed}.", 1),
    ]
    assert found["refusals"][1]["examples"] == [
        {
            "id": pks[12],
            "name": task.name,
            "data_time": (START + 12 * lineage.DAY).isoformat(),
            "state": "wait_upstream",
        }
    ]
    assert [one["id"] for one in found["refusals"][0]["examples"]] == pks[:10]
    assert found["sentences"][0] == "1 instance of 1 task begins a new life; 13 are refused."


def test_what_has_not_run_yet_needs_no_rerun_and_that_is_said() -> None:
    task = make.make_task()
    pks = states_of(task, State.FAILED, State.WAIT_UPSTREAM, State.WAIT_EVENT, State.RUNNING)
    said = "2 of the refused have not run yet in this life: they wait"
    assert [one for one in preview("rerun", pks)["sentences"] if one.startswith(said)]
    assert [
        one for one in preview("rerun", pks[1:2])["sentences"] if one.startswith("1 of the refused has not")
    ]
    assert not [one for one in preview("mark_success", pks)["sentences"] if "of the refused" in one]
    assert not [one for one in preview("rerun", pks[:1])["sentences"] if "of the refused" in one]


def test_the_tasks_permission_is_said_of_many() -> None:
    never, after = (make.make_task(rerun_allowed=allowed) for allowed in ("NONE", "FAILURE"))
    pks = states_of(never, State.FAILED, State.SUCCESS) + states_of(after, State.SUCCESS, State.FAILED)
    found = preview("rerun", pks)
    assert [line["why"] for line in found["refusals"]] == [
        "2 instances are of tasks that must never be rerun.",
        "1 instance is Success, of a task that may be rerun only after a failure.",
    ]


def test_a_missing_right_is_said_per_project() -> None:
    mine, theirs = make.make_task(), make.make_task()
    projects = mine.workflow.project, theirs.workflow.project
    user = make.make_user(make.OMAR, project=projects[0])
    make.make_user(make.OMAR, project=projects[1], role="viewer")
    pks = states_of(mine, State.FAILED) + states_of(theirs, State.FAILED, State.RUNNING)
    found = preview("rerun", pks, user=user)
    assert [line["why"] for line in found["refusals"]] == [
        f"2 instances are in project {projects[1].name}, where you do not have the right to operate."
    ]
    assert found["sentences"][0] == "1 instance of 1 task begins a new life; 2 are refused."


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (
            "terminate",
            {},
            [
                "3 instances of 1 task are terminated and end as failed; 1 is refused.",
                "1 running instance is killed.",
            ],
        ),
        (
            "mark_success",
            {},
            [
                "3 instances of 1 task become successful; what waits for them is released; 1 is refused.",
                "1 running instance is killed.",
            ],
        ),
        ("acknowledge", {}, ["1 instance of 1 task counts as acknowledged; its state stays; 3 are refused."]),
        ("thaw", {}, ["Nothing would happen: 4 are refused."]),
    ],
)
def test_what_would_happen_is_said_in_plain_words(
    kind: str, options: dict[str, Any], said: list[str]
) -> None:
    pks = states_of(make.make_task(), State.WAIT_RUN, State.RUNNING, State.WAIT_EVENT, State.SKIPPED)
    if kind == "acknowledge":
        Instance.objects.filter(pk=pks[0]).update(state="failed_retry")
    assert preview(kind, pks, options=options)["sentences"] == said


def test_the_sentences_of_a_subtree() -> None:
    states = (State.WAIT_EVENT, State.SUCCESS, State.WAIT_UPSTREAM)
    world = draw_up(Sketch((0, 1), (0, 0, 1), ((0, 0), (1, 0), (2, 0)), (Arrow(0, 2),)), states)
    options = {"subtree": True, "thaw_at": "2126-03-25T08:00:00+00:00"}
    assert preview("freeze", world.ids((0, 1)), options=options)["sentences"] == [
        "2 instances of 2 tasks are held until thawed at 2126-03-25 08:00:00 UTC; 1 is refused.",
        "1 of the 3 lies downstream, in all projects that you can see, up to 1 step away.",
    ]


def test_the_sentences_of_a_rerun() -> None:
    world = draw_up(Sketch((0, 0), (0, 0, 1), ((0, 0), (1, 0), (2, 0)), (Arrow(0, 1), Arrow(1, 2))))
    options = {
        "scope": "downstream",
        "check_parents": "selection",
        "check_previous": True,
        "ignore_events": True,
        "parameters": {"region": "EWR", "day": "1"},
        "application_parameters": {"spark.executor.cores": "2"},
        "parallelism": 2,
        "code": "as_it_ran",
    }
    assert preview("rerun", [world.id(0)], options=options)["sentences"] == [
        "1 instance of 1 task begins a new life.",
        "1 of the 1 lies downstream, in the same workflow, up to 1 step away.",
        "The chosen instances themselves are not rerun.",
        "Each waits for its direct parents in this selection, and for no others.",
        "Instances of orderly tasks wait for their previous period.",
        "Events are not waited for.",
        "2 parameters are overridden: day and region.",
        "Settings of Spark for this life: spark.executor.cores.",
        "At most 2 instances of a task at once.",
        "They run the code and parameters of their last run.",
        "How long 1 instance takes is not known: no run of the task succeeded lately.",
        "1 downstream instance is left out: in other workflows.",
    ]
    assert preview("rerun", [world.id(2)], options={"scope": "with_downstream"})["sentences"][1] == (
        "Nothing lies downstream in the same workflow."
    )


def test_an_empty_set() -> None:
    found = preview("rerun", [])
    assert (found["total"], found["refusals"], found["layers"]) == (0, [], [])
    assert found["sentences"] == ["No instance is chosen: nothing would happen."]


# Layers and size


def test_a_layer_names_its_five_largest_tasks() -> None:
    tasks = [make.make_task() for _ in range(7)]
    for number, task in enumerate(tasks):
        states_of(task, *[State.FAILED] * (number + 1))
    [layer] = preview("terminate", Instance.objects.all())["layers"]
    assert layer == {
        "layer": 0,
        "count": 28,
        "tasks": [[tasks[number].name, number + 1] for number in (6, 5, 4, 3, 2)],
        "more_tasks": 2,
    }


def test_layers_beyond_a_hundred_are_put_together() -> None:
    length = 130
    arrows = tuple(Arrow(place, place + 1) for place in range(length - 1))
    world = draw_up(Sketch((0,), (0, 0), tuple((place % 2, place) for place in range(length)), arrows))
    layers = preview("rerun", [world.id(0)], options={"scope": "with_downstream"})["layers"]
    assert [(one["layer"], one["count"]) for one in layers] == [*((n, 1) for n in range(100)), (100, 30)]


def test_twenty_thousand_are_counted_in_the_database() -> None:
    tasks = lineage.many_rows(tasks=40, days=500)
    frozen = freeze("rerun", Instance.objects.filter(task__in=tasks), user=None)
    tracemalloc.start()
    try:
        found = summary(frozen, operations.get("rerun"), None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found["total"], found["allowed"], found["by_state"]) == (20_000, 20_000, [["failed", 20_000]])
    assert peak < 1_000_000
