"""How the web server's event loop and Django meet: one hop to a thread that stays, for a whole request.

All views are synchronous. Django's own handler changes between the loop and a thread several times a request, and starts a
thread for each; that costs more than most answers do. Only answers that are streamed come back to the loop unfinished.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections
from django.http import FileResponse
from django.urls import set_script_prefix

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

# More than there are database connections, so that what needs none is answered while all of them are in use.
THREADS = 64


def end_with_parent() -> None:
    """One of several processes of a server ends with the one that started it: killed, that one cannot tell, and the port that
    its children hold would be lost to its successor."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


class Application(ASGIHandler):
    """Django's handler with synchronous middleware, in threads of its own."""

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="web")

    async def handle(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        # In a copy of the context: what a view changes for its thread must not meet the next request.
        work = partial(copy_context().run, self._answer, scope, body)
        response = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        if response.streaming:
            await self._stream(response, receive, send)
        else:
            await self.send_response(response, send)

    def _answer(self, scope: dict[str, Any], body: IO[bytes]) -> Any:
        """A whole answer is closed already: its thread's connection is back in the pool before a byte is sent."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        response: Any = self.get_response(request) if request is not None else refusal
        response._handler_class = self.__class__
        if request is None:
            body.close()
        if not response.streaming:
            response.close()
            return response
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        # What it still reads, it reads in other threads.
        close_old_connections()
        return response

    async def _stream(self, response: Any, receive: Receive, send: Send) -> None:
        """Until it is over, or the client has gone."""
        sending = asyncio.create_task(self.send_response(response, send))
        listening = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, listening):
                task.cancel()
            await asyncio.wait((sending, listening))
            await sync_to_async(response.close)()
        if not sending.cancelled():
            sending.result()
        if not listening.cancelled():
            listening.exception()
