"""The examples of docs/api.md and docs/cli.md are carried out, one after the other, against a server."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from instances.models import OperationRecord
from tests.admin.rows import make_instance
from tests.events.scene import make_event
from weops.cli.main import main

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_api_examples(sales: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"URL": sales.url, "TOKEN": sales.token}
    for block in blocks("api.md", "python"):
        exec(compile(block, "docs/api.md", "exec"), names)
    said = capsys.readouterr().out
    assert "['sales']" in said
    assert "invalid staet" in said
    assert names["operation"]["state"] == "SUCCESS"
    names["weops"].close()


def test_cli_examples(sales: Any, capsys: pytest.CaptureFixture[str]) -> None:
    make_event(sales.project, "orders_ready")
    make_instance(sales.task, "wait_run", after=1)
    lines = [line[2:] for block in blocks("cli.md", "console") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("$ weops") or line.startswith("weops")]
    assert len(commands) > 15
    numbers = {"17": str(sales.failed.pk), "5": str(sales.task.pk), "9": str(sales.alarm.pk)}
    for command in commands:
        if command[1] == "operations":
            numbers["4"] = str(
                OperationRecord.objects.filter(kind="rerun").values_list("pk", flat=True).first()
            )
        words = [
            numbers.get(word, word) if command[place - 1] != "--limit" else word
            for place, word in enumerate(command)
        ]
        code = main(words[1:])
        said = capsys.readouterr()
        assert code == 0, (command, said)
        assert said.out or command[2] == "log", command
