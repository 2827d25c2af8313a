"""What docs/task-types.md says of the types: every setting is there, and its examples can be saved and run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from instances.engine import parameters
from instances.runners import registry
from instances.runners.base import Control
from tests.engine.harness import JANUARY
from tests.runners.support import Sink, spec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "task-types.md").read_text()
EXAMPLES: list[dict[str, Any]] = [
    json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
]
# Those that need no server and no JVM.
RUN = ("SHELL", "PYTHON", "SQL")
OWN = ("SHELL", "PYTHON", "SQL", "HTTP", "SPARK_SQL", "PYSPARK")


def test_every_setting_is_told() -> None:
    for runner in registry.runners():
        if runner.type in OWN:
            for name in runner.schema["properties"]:
                assert f"`{name}`" in PAGE, f"{runner.type}: {name}"


@pytest.mark.parametrize("task_type", OWN)
def test_examples_can_be_saved(task_type: str) -> None:
    examples = [one for one in EXAMPLES if one["task_type"] == task_type]
    assert examples
    for one in examples:
        assert registry.check(task_type, one["settings"], one["code"]) == []


@pytest.mark.parametrize("task_type", RUN)
def test_examples_run(task_type: str) -> None:
    for one in (one for one in EXAMPLES if one["task_type"] == task_type):
        code = parameters.substitute(one["code"], values={}, data_time=JANUARY, timezone="UTC")
        what = spec(
            code,
            task_type,
            settings=one["settings"],
            context={"WEOPS_TASK": "load"},
            data_source_url="duckdb:///:memory:" if task_type == "SQL" else "",
        )
        log = Sink()
        assert registry.get(task_type).run(what, log, Control()).ok, log.text
