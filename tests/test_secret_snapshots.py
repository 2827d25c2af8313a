"""The value of a secret that stands in code, parameters, outputs, logs or errors: no door that shows the execution has it."""

import base64
import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from instances.admin.detail import TABS
from instances.engine.runtime import Runtime
from instances.models import Execution, Instance, OperationItem, OperationRecord
from tests import factories as make
from tests.alarms.scene import begin as begin_alarms
from tests.alarms.scene import make_rule
from tests.engine.harness import _django_db_helper, due, fresh
from tests.engine.workers import begin, log_of, run, sent, worker
from tests.wedata.support import Door
from weops.alarms import evaluate
from weops.alarms.models import Message
from weops.api import tokens

__all__ = ["_django_db_helper", "begin", "sent", "worker"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
VALUE = "q7Zw-plus-secret-value-9x"
BASE64 = base64.b64encode(VALUE.encode()).decode()[:-4]
PARAMETERS = {"given": VALUE, "encoded": BASE64, "day": "${yyyyMMdd}"}
CODE = f'echo "literal {VALUE} ${{given}} $TOKEN"; printf "%s" "$TOKEN" | base64; '
SUCCEEDS = CODE + 'echo "OUT=made of $TOKEN" >> "$WEOPS_OUTPUT"'
FAILS = CODE + f'echo "psql: error: Connection refused for {VALUE}" >&2; exit 3'


class Scene:
    """A run instance of a task with the secret, and every door that shows it. `texts` are {door: what it answers}."""

    def __init__(self, worker: Runtime, code: str, **columns: Any) -> None:
        [self.day] = due(code=code, parameters=PARAMETERS, retry_limit=0, **columns)
        self.day.task.secrets.add(make.make_secret(self.day.project, "TOKEN", VALUE))
        self.user = make.make_user(make.PETRA, project=self.day.project)
        Instance.objects.filter(pk=self.day.pk).update(overrides={"given": VALUE})
        make_rule(self.day.task)
        begin_alarms()
        run(worker, self.day)
        evaluate.evaluate()
        self.execution = Execution.objects.get()

    def texts(self) -> dict[str, str]:
        pk, execution = self.day.pk, self.execution.pk
        page = reverse("admin:instances_instance_change", args=(pk,))
        admin = Client()
        admin.force_login(self.user)
        _, text = tokens.issue(self.user, "test")
        api = APIClient()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
        door = Door(self.user)
        project = str(self.day.project_id)
        doors: dict[str, Callable[[], Any]] = {
            "page": lambda: b"".join(admin.get(f"{page}?tab={tab}").content for tab in TABS),
            "list": lambda: admin.get(reverse("admin:instances_instance_changelist")).content,
            "changed": lambda: admin.get(f"{page}changed/{execution}/").content,
            "rest instance": lambda: api.get(f"/api/v1/instances/{pk}/").content,
            "rest why": lambda: api.get(f"/api/v1/instances/{pk}/why/").content,
            "rest executions": lambda: api.get(f"/api/v1/executions/?instance={pk}").content,
            "rest execution": lambda: api.get(f"/api/v1/executions/{execution}/").content,
            "rest log": lambda: api.get(f"/api/v1/executions/{execution}/log/").content,
            "wedata instance": lambda: door("GetTaskInstance", ProjectId=project, InstanceKey=str(pk)),
            "wedata log": lambda: door("GetTaskInstanceLog", ProjectId=project, InstanceKey=str(pk)),
            "log": lambda: log_of(fresh(self.day)),
            "alarms": lambda: list(Message.objects.values()),
        }
        answers = {name: ask() for name, ask in doors.items()}
        return {
            name: _text(answer.decode() if isinstance(answer, bytes) else repr(answer))
            for name, answer in answers.items()
        }


def _text(answer: str) -> str:
    """Code in colours is cut into elements: what one reads, all the same."""
    return html.unescape(re.sub(r"</?span[^>]*>", "", answer))


# What each door must show all the same: a test that saw an error page would prove nothing.
SHOWN = {
    "page": 'literal *** *** $TOKEN',
    "rest execution": '"given":"***"',
    "rest instance": '"overrides":{"given":"***"}',
    "rest log": "literal *** *** ***",
    "wedata log": "literal *** ***",
    "log": "literal *** *** ***",
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "columns", "more"),
    [
        (SUCCEEDS, {"outputs": ["OUT"]}, {"page": "made of ***"}),
        (
            FAILS,
            {},
            dict.fromkeys(
                ("page", "rest execution", "rest instance", "wedata instance", "alarms", "rest executions"),
                "Connection refused for ***",
            ),
        ),
    ],
    ids=["succeeds", "fails"],
)
def test_no_door_shows_it(worker: Runtime, code: str, columns: dict[str, Any], more: dict[str, str]) -> None:
    scene = Scene(worker, code, **columns)
    assert scene.execution.parameters["given"] == VALUE, "what it ran with is kept as it was"
    for kept in (scene.execution.error_message, repr(scene.execution.outputs)):
        assert VALUE not in kept
    texts = scene.texts()
    for name, text in texts.items():
        assert VALUE not in text, name
        assert BASE64[:16] not in text, name
    for name, needed in [*SHOWN.items(), *more.items()]:
        assert needed in texts[name], name


def test_a_parameter_that_cannot_be_filled_in_is_named_without_the_secret(worker: Runtime) -> None:
    [day] = due(code="echo ${bad}", parameters={"bad": "good"}, retry_limit=0)
    Instance.objects.filter(pk=day.pk).update(overrides={"bad": f"${{yyyyMMdd-{VALUE}}}"})
    day.task.secrets.add(make.make_secret(day.project, "TOKEN", VALUE))
    [done] = run(worker, day)
    assert done.error_code == "BAD_EXPRESSION"
    assert "yyyyMMdd-***" in done.error_message
    user = make.make_user(make.PETRA, project=day.project)
    client = Client()
    client.force_login(user)
    text = client.get(reverse("admin:instances_instance_change", args=(day.pk,))).content.decode()
    assert VALUE not in text
    assert VALUE not in log_of(done)


def test_options_of_operations_on_the_page(worker: Runtime) -> None:
    [day] = due(code="true")
    day.task.secrets.add(make.make_secret(day.project, "TOKEN", VALUE))
    record = OperationRecord.objects.create(
        kind="rerun",
        source="admin",
        options={"parameters": {"a": VALUE}},
        total=1,
        project_ids=[day.project_id],
    )
    OperationItem.objects.create(
        operation=record,
        instance_id=day.pk,
        outcome="done",
        from_state="failed",
        before={"overrides": {}},
        after={"overrides": {"a": VALUE}},
    )
    client = Client()
    user = make.make_user(make.PETRA, project=day.project)
    client.force_login(user)
    _, token = tokens.issue(user, "test")
    api = {"Authorization": f"Bearer {token}"}
    for address, needed in (
        (reverse("admin:instances_instance_change", args=(day.pk,)) + "?tab=records", "a = ***"),
        (reverse("admin:instances_operationrecord_change", args=(record.pk,)), "a = ***"),
        (reverse("admin:instances_operationrecord_changelist"), "a = ***"),
        (reverse("admin:instances_operationrecord_export"), '"a": "***"'),
        (reverse("admin:instances_operationrecord_items", args=(record.pk,)), '"a": "***"'),
        ("/api/v1/operations/", '"parameters":{"a":"***"}'),
        (f"/api/v1/operations/{record.pk}/", '"parameters":{"a":"***"}'),
    ):
        ask = client.post if "export" in address else client.get
        answer = ask(address, headers=api if address.startswith("/api") else {})
        text = answer.getvalue().decode().replace('""', '"')
        text = _text(text)
        assert needed in text, address
        assert VALUE not in text, address


def test_a_secret_taken_from_the_task_stays_hidden_where_it_was_used(worker: Runtime) -> None:
    [day] = due(code=f"echo {VALUE} >/dev/null")
    secret = make.make_secret(day.project, "TOKEN", VALUE)
    day.task.secrets.add(secret)
    run(worker, day)
    day.task.secrets.clear()
    client = Client()
    client.force_login(make.make_user(make.PETRA, project=day.project))
    text = _text(client.get(reverse("admin:instances_instance_change", args=(day.pk,))).content.decode())
    assert "echo *** " in text
    assert VALUE not in text
