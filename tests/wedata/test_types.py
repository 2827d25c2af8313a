"""Task types by id: each that the API lists for WeOps is made, read back and listed; all others are refused by name."""

from types import SimpleNamespace

import pytest

from instances.models import Task
from tests import factories as make
from tests.wedata.examples import code
from tests.wedata.support import InProject
from weops.wedata import codes

pytestmark = pytest.mark.django_db
CODES = {
    30: "print('${yyyyMMdd}')",
    31: "print(1)",
    35: "echo",
    36: "SELECT 1",
    21: "SELECT 1",
    137: '["a", "b"]',
}


@pytest.mark.parametrize("number", CODES)
def test_a_type(world: SimpleNamespace, number: int) -> None:
    call = InProject(world.door(make.PETRA), world.ours.id)
    configuration = {"CodeContent": code(CODES[number]), "ResourceGroup": str(world.ours.group.pk)}
    if number == 21:
        source = make.make_data_source(world.ours.project, "postgresql://u:p@localhost/x")
        configuration["SourceServiceId"] = str(source.pk)
    base = {"TaskName": "typed", "TaskTypeId": str(number), "WorkflowId": str(world.ours.workflow.pk)}
    task = call("CreateTask", TaskBaseAttribute=base, TaskConfiguration=configuration)["TaskId"]
    assert Task.objects.get(pk=task).task_type == codes.TASK_TYPES[number]
    assert call("GetTask", TaskId=task)["TaskBaseAttribute"]["TaskTypeId"] == number
    assert [one["TaskId"] for one in call("ListTasks", TaskTypeId=number, TaskName="typed")["Items"]] == [
        task
    ]


@pytest.mark.parametrize("number", [*codes.OTHER_TYPES, 0, 99999])
def test_other_types(world: SimpleNamespace, number: int) -> None:
    call = InProject(world.door(make.PETRA), world.ours.id)
    base = {"TaskName": "typed", "TaskTypeId": str(number), "WorkflowId": str(world.ours.workflow.pk)}
    found, message = call.fails("CreateTask", TaskBaseAttribute=base)
    assert found == "InvalidParameterValue.ParamIllegalError"
    assert codes.OTHER_TYPES.get(number, "unknown") in message
    assert "35 (shell)" in message
