"""What a run wrote down for its children, read as text whatever stands in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instances.runners.outputs import FILE, MOST_BYTES, TooLarge, read


def _written(directory: Path, data: bytes) -> tuple[dict[str, str], list[str]]:
    (directory / FILE).write_bytes(data)
    return read(directory, ("rows", "path"))


def test_the_last_line_of_a_name_counts_and_values_stay_text(tmp_path: Path) -> None:
    found, said = _written(tmp_path, b'rows=1\nrows=[1, "a=b"]\npath=${yyyyMMdd} $(rm -rf /)\r\n')
    assert found == {"rows": '[1, "a=b"]', "path": "${yyyyMMdd} $(rm -rf /)"}
    assert said == []


def test_what_is_not_declared_or_not_set_is_said(tmp_path: Path) -> None:
    found, said = _written(tmp_path, b"\nother=1\nno equals sign\nrows=\n")
    assert found == {"rows": ""}
    assert said == [
        "line 2 of $WEOPS_OUTPUT was left out: 'other' is not declared by the task",
        "line 3 of $WEOPS_OUTPUT was left out: it is not name=value",
        "not set: the output parameter path",
    ]


def test_nothing_written(tmp_path: Path) -> None:
    assert read(tmp_path, ("rows",)) == ({}, ["not set: the output parameter rows"])


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    assert _written(tmp_path, b"rows=\xff\x00\npath=x\n")[0] == {
        "rows": "\N{REPLACEMENT CHARACTER}" * 2,
        "path": "x",
    }


def test_too_much(tmp_path: Path) -> None:
    assert _written(tmp_path, b"rows=" + b"x" * (MOST_BYTES - 5))[0]["rows"] == "x" * (MOST_BYTES - 5)
    with pytest.raises(TooLarge, match="128 KiB"):
        _written(tmp_path, b"rows=" + b"x" * (MOST_BYTES - 4))


def test_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("rows=42")
    (tmp_path / FILE).symlink_to(secret)
    assert read(tmp_path, ("rows",))[0] == {}
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert read(tmp_path, ("rows",))[0] == {}


class TestRuns:
    def test_a_script_sets_them(self, shell: Callable[..., Any]) -> None:
        code = 'echo "rows=$(( 40 + 2 ))" >> "$WEOPS_OUTPUT"; echo "other=1" >> "$WEOPS_OUTPUT"'
        outcome, log = shell(code, outputs=("rows",), secrets={"KEY": "hunter2hunter2"})
        assert (outcome.ok, outcome.outputs) == (True, {"rows": "42"})
        assert "'other' is not declared by the task" in log.said

    def test_a_program_sets_them_and_secrets_are_masked(self, python: Callable[..., Any]) -> None:
        code = (
            "import json, os\n"
            "with open(os.environ['WEOPS_OUTPUT'], 'a') as out:\n"
            "    print('days=' + json.dumps(['2026-03-24', os.environ['KEY']]), file=out)\n"
        )
        outcome, _ = python(code, outputs=("days",), secrets={"KEY": "hunter2hunter2"})
        assert outcome.outputs["days"].startswith('["2026-03-24", "')
        assert "hunter2" not in outcome.outputs["days"]

    def test_too_much_fails_the_run(self, shell: Callable[..., Any]) -> None:
        outcome, _ = shell('head -c 200000 /dev/zero >> "$WEOPS_OUTPUT"', outputs=("rows",))
        assert (outcome.ok, outcome.error_code) == (False, "BAD_OUTPUT")

    def test_a_run_that_fails_gives_nothing(self, shell: Callable[..., Any]) -> None:
        outcome, _ = shell('echo rows=1 >> "$WEOPS_OUTPUT"; exit 3', outputs=("rows",))
        assert (outcome.ok, dict(outcome.outputs)) == (False, {})

    def test_without_outputs_there_is_no_file(self, shell: Callable[..., Any]) -> None:
        outcome, log = shell('echo "${WEOPS_OUTPUT:-none}"')
        assert outcome.ok
        assert log.output == "none\n"
