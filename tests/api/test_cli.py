"""The command: tables and JSON, previews, confirmation, exit codes."""

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from instances.models import Instance
from tests.admin.rows import HOSTILE, make_instance
from weops.api import tokens
from weops.api.models import Token
from weops.cli import client
from weops.cli.main import main


@pytest.fixture
def run(sales: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """`run(*words)`: (exit code, stdout, stderr)"""

    def carry_out(*words: str) -> tuple[int, str, str]:
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return carry_out


def test_tables_and_json_and_hostile_text(run: Any, sales: Any) -> None:
    evil = make_instance(sales.task, "failed", after=1, error_message=f"{HOSTILE}\x1b[2J")
    code, out, _ = run("instances", "list", "--state", "failed")
    assert code == 0
    head, *rows = out.splitlines()
    assert head.split()[:2] == ["ID", "TASK"]
    assert len(rows) == 2
    _, out, _ = run("instances", "list", "--json", "--limit", "1")
    assert json.loads(out)["id"] == evil.pk
    _, out, _ = run("instances", "show", str(evil.pk))
    assert HOSTILE in out
    assert "\x1b" not in out


def test_nothing_is_done_unless_it_is_said(run: Any, sales: Any) -> None:
    one = str(sales.failed.pk)
    code, out, err = run("instances", "rerun", one)
    assert code == client.USAGE
    assert "1 allowed" in out
    assert "--yes" in err
    code, out, _ = run("instances", "rerun", one, "--preview", "--json")
    assert (code, json.loads(out)["total"]) == (0, 1)
    assert Instance.objects.get(pk=one).state == "failed"
    code, out, _ = run("instances", "rerun", one, "--yes")
    assert (code, "1 done" in out) == (0, True)
    assert Instance.objects.get(pk=one).state == "wait_run"


def test_exit_codes_tell_scripts_what_happened(run: Any, sales: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = str(sales.failed.pk)
    code, out, err = run("instances", "terminate", one, "--yes", "--reason", "x")
    assert code == client.FAILED
    assert "refused" in out
    assert run("instances", "show", "999999999")[0] == client.REFUSED
    assert run("instances", "list", "--state", "nonsense")[0] == client.USAGE
    assert run("instances", "rerun", "--yes")[0] == client.USAGE
    assert run("instances", "list", "--project", "nowhere")[0] == client.USAGE
    monkeypatch.setenv("WEOPS_TOKEN", "weops_wrong")
    assert run("instances", "list")[0] == client.REFUSED
    monkeypatch.setenv("WEOPS_URL", "http://127.0.0.1:9")
    assert run("instances", "list")[0] == client.UNREACHABLE
    monkeypatch.delenv("WEOPS_URL")
    code, _, err = run("instances", "list")
    assert code == client.USAGE
    assert "weops login" in err


def test_a_token_without_the_right_is_refused(run: Any, sales: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = tokens.issue(Token.objects.get().user, "viewer", rights=[client_right("view")])
    monkeypatch.setenv("WEOPS_TOKEN", text)
    code, out, _ = run("instances", "rerun", str(sales.failed.pk), "--yes")
    assert "0 allowed" in out
    assert code in (client.FAILED, client.REFUSED)
    assert run("tasks", "run", str(sales.task.pk))[0] == client.REFUSED


def client_right(name: str) -> Any:
    from weops.projects.access import Right

    return Right(name)


def test_a_mutation_whose_answer_was_lost_is_done_once(
    run: Any, sales: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = httpx.Client.request
    lost: list[int] = []

    def lossy(self: httpx.Client, method: str, url: str, **given: Any) -> httpx.Response:
        answer = real(self, method, url, **given)
        if method == "POST" and url == "tasks/operations/" and not lost:
            lost.append(answer.status_code)
            raise httpx.ReadError("gone")
        return answer

    monkeypatch.setattr(httpx.Client, "request", lossy)
    code, out, _ = run("tasks", "pause", str(sales.task.pk))
    assert lost == [200]
    # A second pause would be refused: the task is paused already.
    assert (code, "refused" in out) == (0, False)


def test_login_keeps_the_token_for_its_owner_only(
    run: Any, sales: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEOPS_URL")
    monkeypatch.delenv("WEOPS_TOKEN")
    done = subprocess.run(
        [sys.executable, "-c", "from weops.cli.main import entry; entry()", "login", sales.url],
        input=sales.token,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1 projects" in done.stdout
    assert sales.token not in done.stdout
    assert client.config_file().stat().st_mode & 0o77 == 0
    assert run("instances", "list")[0] == 0


def test_help_teaches() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from weops.cli.main import entry; entry()", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ".", "COLUMNS": "200"},
    )
    assert "weops instances why 17" in done.stdout
    assert "Exit codes" in done.stdout
