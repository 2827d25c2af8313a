"""What should become of instances, written from the specification's words and not from the engine's code."""

import uuid
from dataclasses import dataclass, field
from typing import Any

WAITING = {"wait_event", "wait_upstream", "wait_run"}
HOLDING = {"dispatched", "running", "stopping"}
# Errors of the catalogue: another try may mend the first two, never the third.
CODES = ("EXIT_NONZERO", "RUN_TIMEOUT", "UNDEFINED_PARAMETER")
FINAL_CODES = {"UNDEFINED_PARAMETER"}


@dataclass
class Life:
    """What the model knows of an instance. `place`: its place in the queue, by planned time and id."""

    name: str
    place: tuple[Any, int]
    serial: bool
    retry_limit: int
    state: str = "wait_run"
    life: int = 0
    tries: int = 0
    runs: int = 0
    code: str = ""
    parent: str = ""
    satisfied: bool = True
    # Time has passed beyond the retry wait.
    retry_due: bool = False


@dataclass
class Try:
    """What the model knows of an execution."""

    pk: int
    of: str
    life: int
    number: int
    state: str = "dispatched"
    worker: str = ""
    token: uuid.UUID = field(default_factory=uuid.uuid4)
    cancel: str = ""


class Model:
    """States and what may follow what, written from the specification's words and not from the engine's code."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.lives: dict[str, Life] = {}
        self.tries: dict[int, Try] = {}

    def holding(self, name: str) -> list[Try]:
        return [t for t in self.tries.values() if t.of == name and t.state in HOLDING]

    def current(self, name: str, *states: str) -> Try:
        [found] = [t for t in self.tries.values() if t.of == name and t.state in states]
        return found

    def may_start(self, name: str) -> bool:
        life = self.lives[name]
        rivals = [other for other in self.lives if life.serial and other[0] == name[0]] or [name]
        return life.state == "wait_run" and not any(self.holding(other) for other in rivals)

    def start(self, name: str, pk: int) -> None:
        life = self.lives[name]
        self.tries[pk] = Try(pk, name, life.life, life.tries)

    def free(self) -> int:
        return self.slots - sum(t.state in HOLDING for t in self.tries.values())

    def next_to_start(self) -> str | None:
        waiting = [life for life in self.lives.values() if self.may_start(life.name)]
        if self.free() <= 0 or not waiting:
            return None
        return min(waiting, key=lambda life: life.place).name

    def succeed(self, name: str) -> None:
        life = self.lives[name]
        life.state, life.code = "success", ""
        for child in self.lives.values():
            if child.parent == name and not child.satisfied:
                child.satisfied = True
                if child.state == "wait_upstream":
                    child.state = "wait_run"

    def end(self, name: str, code: str) -> None:
        self.lives[name].state, self.lives[name].code = "failed", code

    def cancel_waiting(self, name: str) -> None:
        for t in self.holding(name):
            if t.state == "dispatched":
                t.state = "cancelled"

    def claim(self, pk: int, token: uuid.UUID, worker: str) -> None:
        t = self.tries[pk]
        life = self.lives[t.of]
        assert (t.state, life.state) == ("dispatched", "wait_run"), "claimed what was not to be had"
        t.state, t.token, t.worker = "running", token, worker
        life.state = "running"
        life.runs += 1

    def report(self, pk: int, *, ok: bool, code: str, requeue: bool) -> None:
        t = self.tries[pk]
        life = self.lives[t.of]
        if t.state == "stopping" or life.state == "terminating":
            if t.state == "running":
                self.end(t.of, "TERMINATED")
            t.state = "cancelled"
        elif requeue:
            t.state, life.state = "requeued", "wait_run"
        elif ok:
            t.state = "success"
            self.succeed(t.of)
        else:
            t.state = "failed"
            self.end(t.of, code)
            if life.tries < life.retry_limit and code not in FINAL_CODES:
                life.state, life.retry_due = "failed_retry", False

    def operate(self, operation: str, name: str) -> bool:
        """Whether the operation is allowed, and what it does."""
        life = self.lives[name]
        if operation == "terminate" and life.state in WAITING | {"failed_retry"}:
            self.cancel_waiting(name)
            self.end(name, "TERMINATED")
        elif operation == "terminate" and life.state == "running":
            life.state = "terminating"
            self.current(name, "running").cancel = "terminate"
        elif operation == "rerun" and life.state in {"failed", "success", "wait_run", "failed_retry"}:
            self.cancel_waiting(name)
            life.state, life.life, life.tries, life.code = "wait_run", life.life + 1, 0, ""
            for child in self.lives.values():
                if child.parent == name and child.state in {"wait_event", "wait_upstream"}:
                    child.satisfied = False
        elif operation == "mark_success" and life.state == "running":
            t = self.current(name, "running")
            t.state, t.cancel = "stopping", "mark_success"
            self.succeed(name)
        elif operation == "mark_success" and life.state in WAITING | {"failed"}:
            self.cancel_waiting(name)
            self.succeed(name)
        else:
            return False
        return True
