"""The command: tables and JSON, previews, confirmation, exit codes."""

import json
import re
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


@pytest.mark.parametrize("tail", ["/admin", "/nowhere"])
def test_an_address_that_is_not_of_the_api_says_what_to_write(
    run: Any, sales: Any, monkeypatch: pytest.MonkeyPatch, tail: str
) -> None:
    for url in (sales.url + tail, "sales.example.com", "ftp://sales.example.com", "http://[::1"):
        monkeypatch.setenv("WEOPS_URL", url)
        code, _, err = run("instances", "list")
        assert (code, "https://weops.example.com" in err) == (client.USAGE, True), (url, err)


def test_a_token_that_was_copied_badly(run: Any, sales: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEOPS_TOKEN", f" {sales.token}\n")
    assert run("instances", "list")[0] == 0
    for wrong in ("weops_é", "weops_x\ny"):
        monkeypatch.setenv("WEOPS_TOKEN", wrong)
        code, _, err = run("instances", "list")
        assert (code, "copy it again" in err) == (client.USAGE, True)


def test_wrong_values_are_named_by_their_options(run: Any, sales: Any) -> None:
    for option, value, told in (
        ("--from", "yesterday", "--from: "),
        ("--state", "nonsense", "--state: 'nonsense' is none of "),
        ("--type", "SHELLL", "SHELL"),
        ("--acknowledged", "maybe", "yes, no"),
    ):
        for words in (("list",), ("rerun", "--preview")):
            code, _, err = run("instances", *words, option, value)
            assert code == client.USAGE
            assert option in err
            assert told in err
    for limit in ("0", "-3", "many"):
        with pytest.raises(SystemExit) as ended:
            run("instances", "list", "--limit", limit)
        assert ended.value.code == client.USAGE


def test_a_list_says_that_there_is_more(run: Any, sales: Any) -> None:
    assert run("instances", "list")[2] == ""
    for after in range(1, 51):
        make_instance(sales.task, "failed", after=after)
    _, out, err = run("instances", "list")
    assert (len(out.splitlines()), "--limit" in err) == (1 + 50, True)
    _, out, err = run("instances", "list", "--limit", "1")
    assert (len(out.splitlines()), err) == (1 + 1, "")
    assert len(run("instances", "list", "--limit", "60", "--json")[1].splitlines()) == 51


def test_ids_that_are_not_there_are_not_done(run: Any, sales: Any) -> None:
    one = str(sales.failed.pk)
    code, out, err = run("instances", "rerun", one, one, "999999999", "--yes")
    assert (code, "Of 2 instances, 1 left out" in err) == (client.FAILED, True)
    assert out.count("cannot see") == 1
    assert Instance.objects.get(pk=one).state == "wait_run"


def test_a_run_of_a_task_names_its_instance(run: Any, sales: Any) -> None:
    _, out, _ = run("tasks", "run", str(sales.task.pk), "--json")
    made = json.loads(out)["instance"]
    assert Instance.objects.get(pk=made).task_id == sales.task.pk


def test_what_people_read_is_whole(run: Any, sales: Any) -> None:
    """Code keeps its lines, a refusal its words; times are to the second."""
    sales.task.code = "echo one\necho two\x1b[2J\n"
    sales.task.save(update_fields=["code"])
    _, out, _ = run("tasks", "show", str(sales.task.pk))
    assert "\n  echo one\n  echo two" in out
    assert "\x1b" not in out
    assert run("tasks", "pause", str(sales.task.pk))[0] == 0
    code, out, _ = run("tasks", "pause", str(sales.task.pk))
    assert code == client.FAILED
    assert "…" not in out
    assert not re.search(r"\d:\d\d\.\d", run("instances", "list")[1])


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
