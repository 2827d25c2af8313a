"""Every action over real HTTP: the official SDK's own client with its own method for it, its answer and an error of it."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tests import factories as make
from tests.wedata import contract
from tests.wedata.examples import requests
from tests.wedata.support import V2025, Door
from tests.wedata.test_contract import ACTIONS
from tests.wedata.test_filled import tour

pytestmark = pytest.mark.django_db(transaction=True)
OUTSIDE = "UnauthorizedOperation.UserNotInProject"
# What names nothing of a project is wrong in another way.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "CreateProject": ({"Project": {"ProjectName": "ours_project"}}, "InvalidParameter.DuplicateName"),
    "ListProjects": ({"PageSize": 0}, "InvalidParameterValue"),
    "ListResourceGroups": ({"ProjectIds": ["999999"]}, OUTSIDE),
}


class Live(Door):
    """Keeps which actions were answered; `Data` is what the SDK has made of it."""

    def __init__(self, user: User, endpoint: str, answered: set[tuple[str, str]]) -> None:
        super().__init__(user, endpoint=endpoint)
        self.answered = answered

    def __call__(self, action: str, version: str = V2025, /, **given: Any) -> Any:
        answer = self._sent(action, version, given)
        assert answer.RequestId
        self.answered.add((version, action))
        return json.loads(answer.to_json_string()).get("Data")

    def fails(self, action: str, version: str = V2025, /, **given: Any) -> tuple[str, str]:
        with pytest.raises(TencentCloudSDKException) as caught:
            self._sent(action, version, given)
        assert caught.value.get_request_id()
        return str(caught.value.get_code()), str(caught.value.get_message())

    def _sent(self, action: str, version: str, given: dict[str, Any]) -> Any:
        request = getattr(contract.models(version), f"{action}Request")()
        request.from_json_string(json.dumps(given))
        return getattr(self._clients[version], action)(request)


@pytest.fixture
def live(world: SimpleNamespace, live_server: Any) -> SimpleNamespace:
    """The same world, whose doors go through a server's port; `answered`."""
    answered: set[tuple[str, str]] = set()
    doors: dict[str, Live] = {}

    def door(name: str) -> Live:
        if name not in doors:
            doors[name] = Live(world.cast[name], live_server.url.removeprefix("http://"), answered)
        return doors[name]

    return SimpleNamespace(
        ours=world.ours, foreign=world.foreign, cast=world.cast, door=door, answered=answered
    )


def test_every_action_is_answered(live: SimpleNamespace) -> None:
    tour(live)
    assert sorted(live.answered) == sorted(ACTIONS)


def test_every_action_fails_as_the_sdk_expects(live: SimpleNamespace) -> None:
    petra, eve = live.door(make.PETRA), live.door(make.EVE)
    user = live.cast[make.EVE].pk
    mine, theirs = requests(live.ours, user), requests(live.foreign, user)
    found: dict[str, int] = {}
    for version, name in ACTIONS:
        if name in WRONG:
            given, code = WRONG[name]
            said = live.door(make.SUSAN if name == "CreateProject" else make.EVE).fails(
                name, version, **given
            )
            assert said[0] == code, (name, said)
            continue
        assert eve.fails(name, version, **mine[version, name])[0] == OUTSIDE, name
        given = {**theirs[version, name], "ProjectId": live.ours.id}
        if given != mine[version, name]:
            code = petra.fails(name, version, **given)[0]
            assert code in ("ResourceNotFound", "InvalidParameterValue"), (name, code)
            found[code] = found.get(code, 0) + 1
    assert found["ResourceNotFound"] > 30
    assert not live.answered


def test_a_key_that_does_not_count_is_told_as_the_sdk_expects(live: SimpleNamespace) -> None:
    door = live.door(make.DANA)
    door.pair.key.delete()
    assert door.fails("GetProject", ProjectId=live.ours.id)[0] == "AuthFailure.SecretIdNotFound"
