"""The page for those who move a script over: its examples run, and its list of actions is whole."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests import factories as make
from tests.engine.harness import _django_db_helper
from weops.projects import keys
from weops.wedata import dispatch

__all__ = ["_django_db_helper"]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "wedata.md"


@pytest.mark.django_db(transaction=True)
def test_the_examples_run_as_they_stand(live_server: Any) -> None:
    make.make_group(name="default")
    pair = keys.create(make.make_user(make.SUSAN))
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    code = "\n".join(textwrap.dedent(block) for block in blocks)
    assert "127.0.0.1:8000" in code
    code = code.replace("127.0.0.1:8000", live_server.url.removeprefix("http://"))
    names = {"SECRET_ID": pair.key.secret_id, "SECRET_KEY": pair.secret}
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["project"]


def test_the_page_lists_every_action() -> None:
    listed = PAGE.read_text().partition("## Actions")[2]
    assert set(re.findall(r"`(\w+)`", listed)) == {name for _, name in dispatch.actions()}
