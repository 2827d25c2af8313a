"""Who may what, over all actions: the outsider nothing, a role what its rights are, and nobody more through an id."""

from types import SimpleNamespace
from typing import Any

import pytest

from instances.models import OperationRecord
from tests import factories as make
from tests.wedata.examples import requests
from tests.wedata.test_contract import ACTIONS
from weops.projects import access
from weops.projects.access import RIGHTS, Right
from weops.wedata import dispatch
from weops.wedata.dispatch import SEEN, SUPERUSER

pytestmark = pytest.mark.django_db
OUTSIDE = "UnauthorizedOperation.UserNotInProject"
ROLES = [make.VERA, make.OMAR, make.DANA, make.PETRA]


def test_the_outsider_may_nothing(world: SimpleNamespace) -> None:
    door, examples = world.door(make.EVE), requests(world.ours, world.cast[make.EVE].pk)
    assert set(examples) == set(ACTIONS)
    for (version, name), given in examples.items():
        right = dispatch.actions()[version, name].right
        if right is SEEN:
            assert door(name, version, **given)["TotalCount"] == 0
        elif right is SUPERUSER:
            assert door.fails(name, version, **given)[0] == "UnauthorizedOperation"
        else:
            there, not_there = (
                door.fails(name, version, **{**given, "ProjectId": project})
                for project in (world.ours.id, "999999")
            )
            # Whether the project exists is not to be told.
            assert there[0] == not_there[0] == OUTSIDE, name
            assert there[1].replace(world.ours.id, "N") == not_there[1].replace("999999", "N")
    assert not OperationRecord.objects.exclude(kind="submit_task").exists()


@pytest.mark.parametrize("role", ROLES)
def test_roles_have_their_rights_and_no_more(world: SimpleNamespace, role: str) -> None:
    """Every action that the role's rights do not allow is refused with the right that it needs."""
    door, held = world.door(role), RIGHTS[make.CAST[role] or ""]
    examples = requests(world.ours, world.cast[make.EVE].pk)
    for (version, name), action in dispatch.actions().items():
        if isinstance(action.right, Right) and action.right not in held:
            code, message = door.fails(name, version, **examples[version, name])
            assert (code, action.right in message) == ("UnauthorizedOperation", True), name
    assert not OperationRecord.objects.exclude(kind="submit_task").exists()


def test_ids_of_another_project_are_not_found(world: SimpleNamespace) -> None:
    """What one administers opens nothing elsewhere: ids count inside the project that is named."""
    door, user = world.door(make.PETRA), world.cast[make.EVE].pk
    mine, theirs = requests(world.ours, user), requests(world.foreign, user)
    naming = 0
    for version, name in ACTIONS:
        given = {**theirs[version, name], "ProjectId": world.ours.id}
        if "ProjectId" in mine[version, name] and given != mine[version, name]:
            assert door.fails(name, version, **given)[0] in ("ResourceNotFound", "InvalidParameterValue"), (
                name
            )
            naming += 1
    assert naming > 30
    assert not OperationRecord.objects.exclude(kind="submit_task").exists()


def test_an_override_of_parameters_needs_its_right(world: SimpleNamespace, monkeypatch: Any) -> None:
    monkeypatch.setitem(access.RIGHTS, "operator", frozenset({Right.VIEW, Right.OPERATE}))
    door, given = (
        world.door(make.OMAR),
        {"ProjectId": world.ours.id, "InstanceKeyList": [str(world.ours.instance.pk)]},
    )
    code, message = door.fails(
        "RerunTaskInstancesAsync", **given, RedefineParamList={"K": "region", "V": "LGA"}
    )
    assert (code, "override" in message) == ("UnauthorizedOperation", True)
    assert door("RerunTaskInstancesAsync", **given)["AsyncId"]


def test_a_superuser_hears_of_a_project_that_is_not_there(world: SimpleNamespace) -> None:
    assert (
        world.door(make.SUSAN).fails("GetProject", ProjectId="999999")[0]
        == "InvalidParameter.WorkspaceNotExist"
    )
