"""Examples of docs/alarms.md and docs/monitoring.md: run, or compared with what the product says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import factories as make
from weops.alarms import rules, sending
from weops.alarms.models import Message, Rule
from weops.observe import metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"
ALARMS, MONITORING = ((DOCS / f"{name}.md").read_text() for name in ("alarms", "monitoring"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.django_db
def test_the_example_in_code_runs() -> None:
    task = make.make_task()
    project = task.workflow.project
    user = make.make_user("dana", project=project)
    (code,) = blocks(ALARMS, "python")
    exec(code, {"user": user, "project": project, "workflow": task.workflow})
    spec = rules.spec_of(Rule.objects.get())
    assert not spec.enabled
    assert len(spec.limits) == 2


def test_the_example_of_a_webhook_has_every_field(settings: Any) -> None:
    settings.WEOPS_PUBLIC_URL = "https://weops.example.com"
    (example,) = blocks(ALARMS, "json")
    shown = json.loads(example)
    message = Message(
        pk=7,
        rule_name="nightly",
        project=make.Project(name="sales"),
        instance_id=42,
        task_name="load_orders",
        data_time=make.dt.datetime(2026, 3, 25, tzinfo=make.dt.UTC),
        life_round=0,
        execution_id=77,
        kind="failure",
        level=3,
        reason="EXIT_NONZERO: ...",
    )
    text = sending.text_of(message, shown["id"])
    assert text.title == shown["title"]
    assert dict(text.facts) == {key: shown[key] for key in text.facts}
    assert set(shown) - set(text.facts) == {"title", "message", "type", "id"}
    waits = [f"{wait} seconds" if wait < 60 else f"{wait // 60}" for wait in sending.WAITS]
    assert f"after {waits[0]}, {', '.join(waits[1:-1])} and {waits[-1]} minutes" in " ".join(ALARMS.split())


@pytest.mark.django_db
def test_the_table_of_metrics_names_all_of_them_and_no_other() -> None:
    there = {family.name for family in metrics.Everything().collect()}
    named = set(re.findall(r"`(weops_[a-z_]+)", MONITORING))
    assert there == {name.removesuffix("_bucket") for name in named}


def test_json_examples_are_json() -> None:
    for example in blocks(MONITORING, "json"):
        assert json.loads(example)
