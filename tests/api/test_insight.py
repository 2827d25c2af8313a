"""What is found out about instances, over REST: diagnosis, what changed, blockers, traversals, policies, outputs, time line."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from jsonschema import Draft202012Validator, ValidationError
from rest_framework.test import APIClient

from instances.models import Edge, LogChunk, Task
from tests import factories
from tests.admin.rows import make_edge, make_execution, make_instance
from tests.api.things import make_traversed
from tests.factories import DANA, EVE, PETRA, VERA
from weops.api import tokens

Api = Callable[..., APIClient]
VALUE = "s3cret-value"


def get(api: Api, address: str, who: str = VERA, **query: Any) -> Any:
    answer = api(who).get(f"/api/v1/{address}", query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def _secretive(world: Any) -> Task:
    """A task with a secret."""
    task = factories.make_task(world.ours.workflow, code="curl -u ${who} x", parameters={"who": "-"})
    task.secrets.add(factories.make_secret(world.ours.project, value=VALUE))
    factories.submit(task)
    return task


def test_the_diagnosis_is_told_with_advice(world: SimpleNamespace, api: Api) -> None:
    failed = make_instance(
        world.ours.task, "failed", after=1, error_code="DISK_FULL", error_message="no space"
    )
    execution = make_execution(failed, "failed", error_code="DISK_FULL", error_message="no space")
    for address in (f"instances/{failed.pk}/", f"executions/{execution.pk}/"):
        error = get(api, address)["error"]
        assert (error["code"], error["message"]) == ("DISK_FULL", "no space")
        assert error["title"]
        assert error["causes"]
        assert error["advice"]
    assert get(api, f"instances/{world.ours.instance.pk}/")["error"] is None


def test_no_secret_comes_out_of_what_ran(world: SimpleNamespace, api: Api) -> None:
    task = _secretive(world)
    instance = make_instance(task, "failed", overrides={"who": VALUE})
    execution = make_execution(
        instance, "failed", parameters={"who": f"me:{VALUE}"}, outputs={"rows": "12", "said": VALUE}
    )
    for who in (VERA, PETRA):
        ran = get(api, f"executions/{execution.pk}/", who)
        assert ran["code"].startswith("curl -u me:")
        assert ran["outputs"]["rows"] == "12"
        assert VALUE not in str(ran)
        assert VALUE not in str(get(api, f"instances/{instance.pk}/", who))


def test_what_changed_since_the_last_success(world: SimpleNamespace, api: Api) -> None:
    task = _secretive(world)
    good = make_execution(make_instance(task, "success"), "success", parameters={"who": "a"})
    failed = make_instance(task, "failed", after=1)
    bad = make_execution(failed, "failed", parameters={"who": f"b {VALUE}"})
    found = get(api, f"executions/{bad.pk}/changes/")
    assert found["baseline"]["execution_id"] == good.pk
    assert "parameters" in found["changed"]
    assert [one["name"] for one in found["parameters"] if one["changed"]] == ["who"]
    assert VALUE not in str(found)
    assert get(api, f"executions/{good.pk}/changes/")["baseline"] is None
    assert api(EVE).get(f"/api/v1/executions/{bad.pk}/changes/").status_code == 404


def shaped(schema: Any, path: str, found: Any) -> None:
    """`found` is as the OpenAPI document says of GET `path`, with no field more at any depth."""
    wanted = schema["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**closed(wanted), "components": closed(schema["components"])}).validate(found)


def closed(value: Any) -> Any:
    if isinstance(value, list):
        return [closed(one) for one in value]
    if not isinstance(value, dict):
        return value
    more = {"additionalProperties": False} if "properties" in value else {}
    return {**{name: closed(one) for name, one in value.items()}, **more}


def test_answers_are_as_the_document_says(world: SimpleNamespace, api: Api) -> None:
    schema = Client().get("/api/schema/", headers=_bearer(world)).json()
    parent = make_instance(world.ours.task, "failed", after=1, error_code="EXIT_NONZERO")
    child = make_instance(factories.make_task(world.ours.workflow, name="child"), "wait_upstream", after=1)
    make_edge(child, parent)
    frozen = make_instance(world.ours.task, "wait_run", after=2, frozen_at=timezone.now())
    answers = [get(api, f"instances/{one.pk}/why/", DANA) for one in (parent, child, frozen)]
    assert [answer["causes"][0]["code"] for answer in answers] == ["failed", "upstream", "frozen"]
    assert any(cause["fixes"] and cause["links"] for answer in answers for cause in answer["causes"])
    for answer in answers:
        shaped(schema, "/api/v1/instances/{id}/why/", answer)

    task = _secretive(world)
    upstream = make_instance(world.ours.task, "success", after=3)
    good = make_execution(
        make_instance(task, "success"), "success", parameters={"who": "a"}, worker="worker1@one-3fa9c2"
    )
    LogChunk.objects.create(execution=good, seq=0, start=0, text="wrote it\n")
    failed = make_instance(task, "failed", after=4)
    make_edge(failed, upstream)
    bad = make_execution(failed, "failed", parameters={"who": "b"}, worker="worker1@two-77ab01")
    LogChunk.objects.create(execution=bad, seq=0, start=0, text="no such column\n")
    api(DANA).post("/api/v1/operations/run/", {"kind": "acknowledge", "instances": [failed.pk]})
    found = get(api, f"executions/{bad.pk}/changes/")
    assert {"parameters", "worker", "log"} <= set(found["changed"])
    assert found["upstream"]
    for answer in (found, get(api, f"executions/{good.pk}/changes/")):
        shaped(schema, "/api/v1/executions/{id}/changes/", answer)
    with pytest.raises(ValidationError):
        shaped(schema, "/api/v1/executions/{id}/changes/", {**found, "colour": "red"})


def _bearer(world: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.issue(world.cast[VERA], 'schema')[1]}"}


def test_blockers_name_nothing_that_one_does_not_see(world: SimpleNamespace, api: Api) -> None:
    theirs = make_instance(world.foreign.task, "failed", after=1)
    waits = make_instance(world.ours.task, "wait_upstream", after=1)
    Edge.objects.create(
        instance=waits, upstream=theirs, upstream_task=theirs.task, upstream_data_time=theirs.data_time
    )
    found = get(api, "blockers/")
    (blocker,) = [one for one in found["blockers"] if one["kind"] == "instance"]
    assert (blocker["held"], blocker["target"]["id"]) == (1, None)
    assert "foreign" not in str(found)
    assert get(api, "blockers/", EVE)["blockers"] == []


def test_traversals_of_an_instance(world: SimpleNamespace, api: Api) -> None:
    outer = make_traversed(world.ours.workflow, f"north {VALUE}")
    outer.task.secrets.add(factories.make_secret(world.ours.project, value=VALUE))
    address = f"instances/{outer.pk}/traversals/"
    found = get(api, address)
    assert (found["counts"]["total"], found["counts"]["active"], found["after"]) == (1, 1, None)
    (one,) = found["results"]
    assert (one["number"], one["state"], one["tasks"], one["success"]) == (0, "active", 2, 1)
    assert one["item"].startswith("north ")
    assert get(api, address, state="failed")["results"] == []
    assert get(api, address, after=0)["results"] == []
    drawn = get(api, f"{address}0/")
    first, second = drawn["steps"]
    assert (first["state"], second["state"], second["after"]) == ("success", None, [first["name"]])
    assert get(api, f"instances/{first['instance']}/")["for_each"] == outer.pk
    assert VALUE not in str(found) + str(drawn)
    # Inner instances are listed by their For-each instance, inner tasks by their For-each task.
    assert [row["id"] for row in get(api, "instances/", for_each=outer.pk)["results"]] == [first["instance"]]
    assert len(get(api, "tasks/", for_each=outer.task_id)["results"]) == 2
    assert get(api, f"instances/{world.ours.instance.pk}/traversals/")["counts"] is None
    assert api(VERA).get(f"/api/v1/{address}7/").status_code == 404
    assert api(VERA).get(f"/api/v1/{address}", {"state": "x"}).status_code == 400


def test_policies_bad_parents_outputs_and_inner_tasks_are_defined(world: SimpleNamespace, api: Api) -> None:
    def make(who: str, **values: Any) -> Any:
        given = {"workflow": world.ours.workflow.pk, "resource_group": world.ours.group.pk, "code": "echo"}
        return api(who).post("/api/v1/tasks/", {**given, **values})

    wait = {"upstream": world.ours.task.pk, "bad_parents": ["PARENT_EXPIRED"]}
    made = make(DANA, name="any", trigger_policy="ONE_SUCCESS", outputs=["rows"], dependencies=[wait])
    assert made.status_code == 201, made.content
    task = made.json()
    assert (task["trigger_policy"], task["outputs"]) == ("ONE_SUCCESS", ["rows"])
    assert task["dependencies"][0]["bad_parents"] == ["PARENT_EXPIRED"]
    wrong = make(DANA, name="wrong", trigger_policy="SOMETIMES")
    assert wrong.json()["errors"][0]["field"] == "trigger_policy"
    outer = make(DANA, name="outer", task_type="FOR_EACH", code='["a"]').json()
    inner = make(DANA, name="inner", for_each=outer["id"])
    assert inner.json()["for_each"] == outer["id"]
    assert make(VERA, name="inner2", for_each=outer["id"]).status_code == 403
    # Of another project there is none to be inside of.
    foreign = factories.make_task(world.foreign.workflow, task_type="FOR_EACH", code='["a"]')
    refused = make(DANA, name="inner3", for_each=foreign.pk)
    assert refused.json()["errors"][0]["field"] == "for_each"
    judged = make_instance(world.ours.task, "wait_upstream", after=2, trigger_policy="ONE_SUCCESS")
    assert get(api, f"instances/{judged.pk}/")["trigger_policy"] == "ONE_SUCCESS"


def test_time_line_and_grid(world: SimpleNamespace, api: Api) -> None:
    ended = make_instance(world.ours.task, "success", after=1)
    found = get(api, "instances/timeline/", state="success")
    assert [(bar["instance"], bar["expected"]) for bar in found["bars"]] == [(ended.pk, False)]
    grid = get(api, "tasks/grid/", workflow=world.ours.workflow.pk)
    (row,) = [one for one in grid["rows"] if one["task"] == world.ours.task.pk]
    assert [cell["id"] for cell in row["cells"]] == [world.ours.instance.pk, ended.pk]
    earlier = get(api, "tasks/grid/", before=grid["times"][-1])
    assert len(earlier["times"]) == len(grid["times"]) - 1
    for address in ("instances/timeline/", "tasks/grid/"):
        assert "foreign" not in str(get(api, address))
        assert "ours" not in str(get(api, address, EVE))
        assert api(VERA).get(f"/api/v1/{address}", {"page": 0}).status_code == 400
