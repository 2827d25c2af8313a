"""Pages that say no: in the reader's language, and with nothing in them that the reader may not know."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import RequestFactory
from django.urls import reverse
from django.utils.translation import get_language, override
from django.views.defaults import bad_request, server_error

from tests.factories import DANA, VERA

AsUser = Callable[[str], Any]
CHINESE: dict[str, Any] = {"headers": {"accept-language": "zh-CN"}}


def test_what_is_not_there(world: SimpleNamespace, as_user: AsUser) -> None:
    where = reverse("admin:instances_instance_why", args=(world.foreign.instance.pk,))
    client = as_user(VERA)
    for address in (where, "/admin/nothing/", "/nothing/"):
        assert client.get(address).status_code == 404
        page = client.get(address).text
        assert "There is no such thing" in page
        assert "foreign_" not in page
    page = client.get(where, **CHINESE)
    assert page.status_code == 404
    assert "不存在" in page.text
    assert '<html lang="zh-hans">' in page.text
    assert get_language() == "en", "what the thread does next is not for this reader"


def test_what_one_may_not_do(world: SimpleNamespace, as_user: AsUser) -> None:
    where = reverse("admin:projects_project_add")
    page = as_user(DANA).get(where)
    assert page.status_code == 403
    assert "Ask an admin of the project" in page.text
    assert "您无权执行此操作" in as_user(DANA).get(where, **CHINESE).text


@pytest.mark.parametrize(
    ("view", "english", "chinese"),
    [
        (lambda request: server_error(request), "An error inside WeOps", "WeOps 内部错误"),
        (lambda request: bad_request(request, ValueError()), "cannot be understood", "无法理解该请求"),
    ],
    ids=["500", "400"],
)
def test_what_went_wrong(view: Callable[[Any], Any], english: str, chinese: str) -> None:
    request = RequestFactory().get("/admin/")
    assert english in view(request).content.decode()
    with override("zh-hans"):
        assert chinese in view(request).content.decode()
