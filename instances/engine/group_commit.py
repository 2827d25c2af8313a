"""Group commit: what many threads submit at the same moment is carried out together by one of them."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Ticket(Generic[T, R]):
    __slots__ = ("answer", "error", "item", "leads", "woken")

    def __init__(self, item: T) -> None:
        self.item = item
        self.answer: R | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.woken = threading.Event()


class GroupCommit(Generic[T, R]):
    """`submit(item)` gives the item's own answer of `commit(items)`, a list as long as its argument.

    The first thread commits its item at once; those that come meanwhile are one batch, committed by one of them. So
    nobody waits for a timer, and under load a batch grows as large as the load.
    """

    def __init__(self, commit: Callable[[Sequence[T]], Sequence[R]], most: int = 500) -> None:
        self._commit = commit
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[T, R]] = []
        self._busy = False

    def submit(self, item: T) -> R:
        """Blocks until the item's batch is committed. Raises what `commit` raised."""
        ticket: _Ticket[T, R] = _Ticket(item)
        with self._lock:
            if self._busy:
                self._waiting.append(ticket)
            else:
                self._busy = ticket.leads = True
        if not ticket.leads:
            ticket.woken.wait()
        if ticket.leads:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.answer  # type: ignore[return-value]

    def _lead(self, own: _Ticket[T, R]) -> None:
        with self._lock:
            batch = [own, *self._waiting[: self._most - 1]]
            del self._waiting[: self._most - 1]
        try:
            answers = self._commit([ticket.item for ticket in batch])
            for ticket, answer in zip(batch, answers, strict=True):
                ticket.answer = answer
        except BaseException as error:  # every thread of the batch must learn of it, none may wait for ever
            for ticket in batch:
                ticket.error = error
        with self._lock:
            if self._waiting:
                following = self._waiting.pop(0)
                following.leads = True
                following.woken.set()
            else:
                self._busy = False
        for ticket in batch:
            if ticket is not own:
                ticket.woken.set()
