"""A task sees its parameters and secrets, and none of the worker's."""

import subprocess
import sys

import pytest

_KEYS = {
    "DATABASE_URL": "postgresql://weops:db-password@db/weops",
    "CELERY_BROKER_URL": "amqp://weops:broker-password@mq//",
    "WEOPS_SECRET_KEY": "django-key-of-the-worker",
    "WEOPS_ENCRYPTION_KEYS": "fernet-key-of-the-worker",
    "AWS_SECRET_ACCESS_KEY": "aws-key-of-the-worker",
    "PGPASSWORD": "pg-password-of-the-worker",
    "PYTHONPATH": "/worker/python",
    "LD_PRELOAD_OF_WORKER": "library-of-the-worker",
    "BASH_ENV": "/worker/bash_env",
}


@pytest.mark.parametrize("kind", ["shell", "python"])
def test_nothing_of_the_worker_leaks(request, monkeypatch, kind):
    for name, value in _KEYS.items():
        monkeypatch.setenv(name, value)
    if kind == "shell":
        outcome, log = request.getfixturevalue("shell")("env -0 | tr '\\0' '\\n'; ls /proc/self/fd")
    else:
        code = "import os\nfor name, value in os.environ.items(): print(f'{name}={value}')\n"
        outcome, log = request.getfixturevalue("python")(code)
    assert outcome.ok
    names = {line.partition("=")[0] for line in log.output.splitlines() if "=" in line}
    allowed = {"PATH", "HOME", "TMPDIR", "LANG", "WEOPS_EXECUTION_ID", "WEOPS_RUN_TOKEN"}
    assert names - allowed <= {
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
        "LC_CTYPE",
    }  # what bash and Python set themselves
    for value in _KEYS.values():
        assert value not in log.output


def test_no_descriptor_of_the_worker_is_inherited(shell, tmp_path):
    with (tmp_path / "secret").open("w") as file:
        outcome, log = shell("ls -l /proc/$$/fd")
        assert outcome.ok
        assert file.name not in log.output
    numbers = {line.split(" -> ")[0].split()[-1] for line in log.output.splitlines() if " -> " in line}
    assert numbers <= {"0", "1", "2", "255"}  # 255 is the script, opened by bash


def test_what_a_task_sees(shell):
    outcome, log = shell(
        'echo "$WEOPS_PARAM_day,$WEOPS_PARAM_my_name,$WEOPS_TASK,$WEOPS_DATA_TIME"; echo "${#TOKEN}"; '
        'echo "$PATH" | grep -c bin; [ "$HOME" = "$PWD" ] && echo home; echo "${#WEOPS_DATA_SOURCE_URL}"',
        parameters={"day": "20130101", "my-name": "ä b"},
        secrets={"TOKEN": "0123456789", "PATH": "/nowhere", "WEOPS_EXECUTION_ID": "666"},
        context={"WEOPS_TASK": "delays", "WEOPS_DATA_TIME": "2013-01-01T00:00:00+00:00"},
        data_source_url="postgresql://u:p@h/d",
    )
    assert outcome.ok
    assert log.output.splitlines() == [
        "20130101,ä b,delays,2013-01-01T00:00:00+00:00",
        "10",
        "1",
        "home",
        str(len("postgresql://u:p@h/d")),
    ]


def test_secrets_are_masked(shell):
    url = "postgresql://joe:p%40ssw%2Frd@db/x"
    outcome, log = shell(
        'echo "token $TOKEN"; printf %s "${TOKEN:0:5}"; sleep 0.05; printf "%s\\n" "${TOKEN:5}"; '
        'printf %s "joe:$TOKEN" | base64 -w0; echo; echo "$WEOPS_DATA_SOURCE_URL"; echo "p@ssw/rd"; '
        'cat "$WEOPS_RUN_TOKEN$TOKEN"',
        secrets={"TOKEN": "correct-horse-battery"},
        data_source_url=url,
    )
    assert outcome.error_code == "EXIT_NONZERO"
    assert log.output.splitlines()[:2] == ["token ***", "***"]
    for hidden in ("correct-horse", "battery", "Y29ycmVjdC1ob3JzZS1iYXR0", "ssw"):
        assert hidden not in log.text


def test_secrets_are_hidden_in_reprs():
    script = (
        "from instances.runners.base import RunSpec\n"
        "print(RunSpec(1, 'SHELL', 'code-of-it', secrets={'A': 'secret-of-it'}, data_source_url='url-of-it'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("RunSpec(execution_id=1")
    assert "-of-it" not in done.stdout
