"""The programs of one stack and how supervisord keeps them alive."""

import os
import sys
from pathlib import Path

from weops.embedded import processes

# Read with the home as working folder, and free of absolute paths: a `;` or `%` in a folder's name would be syntax.
_HEAD = """\
; Written at every start of `make up`.
[supervisord]
nodaemon=true
silent=true
logfile=logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile=supervisord.pid
childlogdir=logs
nocleanup=true
minfds=256
minprocs=64
{user}
; One group, so that all of them are told to stop at once.
[group:weops]
programs=web,worker,control,beat
"""

_PROGRAM = """
[program:{name}]
command=/bin/sh -c '{command}'
process_name={process_name}
numprocs={count}
numprocs_start=1
stdout_logfile=logs/{process_name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
redirect_stderr=true
autorestart=true
startsecs=3
startretries=20
stopwaitsecs={stop_seconds}
stopasgroup=true
killasgroup=true
"""

_COMMAND = 'cd "$WEOPS_PROJECT" && exec "$WEOPS_PYTHON" -I -S "$WEOPS_LAUNCH" die=15 -- "$WEOPS_PYTHON" -m '


def web_server(port: int, processes: int = 1) -> str:
    """What serves the pages on 127.0.0.1:`port`, as `python -m` takes it."""
    return f"weops.web --port {port} --processes {processes}"


def configuration(*, port: int, workers: int, slots: int, webs: int = 1) -> str:
    """The text of supervisord.conf: `workers` processes of `slots` threads, web in `webs` processes on 127.0.0.1:`port`."""
    worker = f"weops.process worker --slots {slots} --name worker%(process_num)d"
    # As root it warns unless told that this is meant.
    user = "user=root\n" if os.geteuid() == 0 else ""
    return _HEAD.replace("{user}\n", user + "\n") + "".join(
        [
            _program("web", web_server(port, webs), stop_seconds=10),
            _program("worker", worker, stop_seconds=30, count=workers),
            _program("control", "weops.process control", stop_seconds=20),
            _program("beat", "weops.process beat", stop_seconds=10),
        ]
    )


def environment(project: Path) -> dict[str, str]:
    """What the programs' commands refer to."""
    return {
        "WEOPS_PROJECT": str(project),
        "WEOPS_PYTHON": sys.executable,
        "WEOPS_LAUNCH": str(processes.LAUNCH),
        **processes.allocator(),
    }


def _program(name: str, command: str, *, stop_seconds: int, count: int = 1) -> str:
    process_name = f"{name}%(process_num)d" if name == "worker" else name
    return _PROGRAM.format(
        name=name,
        command=_COMMAND + command,
        process_name=process_name,
        count=count,
        stop_seconds=stop_seconds,
    )
