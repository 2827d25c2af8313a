"""Programs of ours that run a task's work in a process of its own: how they are started, and what they have in common.

Each is a module with `main(job)`. Its job is a JSON file of its working directory; secrets and the data source's URL come in
its environment, as for every task. A failure that it understands it writes down (`fail`); the run's outcome is made of that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from instances.runners.process import REPORT, Program

_ROOT = Path(__file__).resolve().parents[2]
_FAILED = 1


def program(module: str, job: Mapping[str, Any]) -> Program:
    """Runs `main(job)` of `module` with the worker's own interpreter and packages."""
    boot = (
        f"import sys; sys.path.append({str(_ROOT)!r}); from instances.runners import own; "
        f"own.start({module!r}, sys.argv[1])"
    )
    # -I: no variable of the environment decides what is imported. -u: what is said is in the log at once.
    command = [sys.executable, "-I", "-u", "-c", boot]
    return Program(command, json.dumps(job), "job.json", reports=True)


def start(module: str, job_file: str) -> None:
    """In the child."""
    import importlib

    with open(job_file, encoding="utf-8") as file:
        job = json.load(file)
    importlib.import_module(module).main(job)


def fail(code: str, message: str) -> NoReturn:
    """In the child: ends it with this error."""
    Path(REPORT).write_text(json.dumps({"code": code, "message": message[:4000]}), encoding="utf-8")
    print(f"{code}: {message[:4000]}", flush=True)
    sys.exit(_FAILED)
