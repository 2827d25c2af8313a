"""Calls with the official SDK: signed and serialized by it, answered in this process or by a server."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.wedata.v20210820.wedata_client import WedataClient as OldClient
from tencentcloud.wedata.v20250806.wedata_client import WedataClient

from tests.wedata import contract
from weops.projects import keys
from weops.projects.keys import Pair

V2025, V2021 = "2025-08-06", "2021-08-20"
_CLIENTS = {V2025: WedataClient, V2021: OldClient}
# What the answers of all tests of this process had: (version, model, field).
FILLED: dict[str, set[tuple[str, str]]] = {V2025: set(), V2021: set()}


class InProcess:
    """In place of the SDK's connection: the request goes to the view. `changed` may alter it on its way."""

    def __init__(self) -> None:
        self._client = Client(raise_request_exception=True)
        self.changed: Any = None

    def send_request(self, request: Any) -> Any:
        headers = {name: value for name, value in request.header.items() if name != "Content-Type"}
        body, kind = request.data, request.header["Content-Type"]
        if self.changed is not None:
            headers, body = self.changed(headers, body)
        return self._client.post("/", data=body, content_type=kind, headers=headers)


class Door:
    """The endpoint with the key of `user`. Every answer is checked against the SDK's model of it."""

    def __init__(self, user: User | None = None, *, pair: Pair | None = None, endpoint: str = "") -> None:
        pair = pair or keys.create(user)  # type: ignore[arg-type]
        self.pair = pair
        self._clients = {}
        self.wire = InProcess()
        for version, client in _CLIENTS.items():
            profile = ClientProfile(
                httpProfile=HttpProfile(endpoint=endpoint or "localhost", protocol="http", reqTimeout=60)
            )
            made = client(credential.Credential(pair.key.secret_id, pair.secret), "ap-guangzhou", profile)
            if not endpoint:
                made.request = self.wire
            self._clients[version] = made

    def __call__(self, action: str, version: str = V2025, /, **given: Any) -> Any:
        """`Data` of the answer as plain values. Raises the SDK's exception."""
        request = getattr(contract.models(version), f"{action}Request")()
        request.from_json_string(json.dumps(given))
        client = self._clients[version]
        raw = json.loads(client.call(action, request._serialize()))["Response"]
        contract.check(version, f"{action}Response", raw, action, FILLED[version])
        # As the SDK itself does it.
        answer = getattr(contract.models(version), f"{action}Response")()
        answer._deserialize(raw)
        assert answer.RequestId
        return raw.get("Data")

    def raw(self, action: str, given: Any, version: str = V2025) -> Any:
        """`Data`, for fields that the SDK's models would not let through."""
        return json.loads(self._clients[version].call(action, given))["Response"].get("Data")

    def fails(self, action: str, version: str = V2025, /, **given: Any) -> tuple[str, str]:
        """(code, message) of a call that must fail."""
        try:
            answer = self.raw(action, given, version)
        except TencentCloudSDKException as error:
            return str(error.code), str(error.message)
        raise AssertionError(f"{action} was answered: {answer}")


class InProject:
    """A door whose calls are about one project."""

    def __init__(self, door: Door, project: str) -> None:
        self.door, self.project = door, project

    def __call__(self, action: str, version: str = "2025-08-06", /, **given: Any) -> Any:
        return self.door(action, version, ProjectId=self.project, **given)

    def fails(self, action: str, version: str = "2025-08-06", /, **given: Any) -> tuple[str, str]:
        return self.door.fails(action, version, **{"ProjectId": self.project, **given})
