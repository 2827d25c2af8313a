"""Serves the pages and the API: `python -m weops.web [--host 127.0.0.1] [--port 8000] [--processes 1]`.

The same as `uvicorn weops.asgi:application`, but that answers are not held back when there are several processes: asyncio
sends small pieces at once only on sockets whose protocol it knows, which those that uvicorn hands to its processes are not,
and a client that keeps its connection then waits 40 ms for each answer.
"""

import argparse
import contextlib
import socket
import sys

import uvicorn
from uvicorn.supervisors import Multiprocess

# A process is ended and started anew if it says nothing for so long: a busy machine must not look like a dead process.
PATIENCE_SECONDS = 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m weops.web", description="Serves the pages and the API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--processes", type=int, default=1, help="each takes up to one core")
    given = parser.parse_args()
    config = uvicorn.Config(
        "weops.asgi:application",
        host=given.host,
        port=given.port,
        workers=given.processes,
        lifespan="off",
        access_log=False,
        timeout_graceful_shutdown=5,
        timeout_worker_healthcheck=PATIENCE_SECONDS,
    )
    if config.workers > 1:
        listening = config.bind_socket()
        # Connections that are accepted have what the listening socket has.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Multiprocess(config, sockets=[listening]).run()
        return 0
    server = uvicorn.Server(config)
    # The server raises again what ended it.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
