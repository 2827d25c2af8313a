"""What should become of instances, written from the specification's words and not from the engine's code."""

import copy
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

WAITING = {"wait_event", "wait_upstream", "wait_run"}
HOLDING = {"dispatched", "running", "stopping"}
# Errors of the catalogue: another try may mend the first two, never the third.
CODES = ("EXIT_NONZERO", "RUN_TIMEOUT", "UNDEFINED_PARAMETER")
FINAL_CODES = {"UNDEFINED_PARAMETER"}
ALLOWED = {
    "terminate": WAITING | {"failed_retry", "running"},
    "mark_success": WAITING | {"failed", "running"},
    "rerun": {"failed", "success", "wait_run", "failed_retry"},
    "freeze": WAITING | {"failed_retry"},
}


@dataclass
class Edge:
    """What the model knows of a dependency. `satisfied`: the step in which it was."""

    is_self: bool = False
    satisfied: int | None = None
    waived: bool = False
    removed: bool = False

    @property
    def counts(self) -> bool:
        return not self.waived and not self.removed

    @property
    def open(self) -> bool:
        return self.counts and self.satisfied is None


@dataclass
class Life:
    """What the model knows of an instance. `place`: its place in the queue, by planned time and id."""

    name: str
    place: tuple[Any, int]
    self_dependency: str
    retry_limit: int
    state: str = "wait_run"
    life: int = 0
    tries: int = 0
    runs: int = 0
    code: str = ""
    edges: dict[str, Edge] = field(default_factory=dict)
    # Of this life: its own self-dependency, and its lane.
    own: str = ""
    lane: Any = None
    # The step in which it was frozen.
    frozen: int | None = None
    # Time has passed beyond the retry wait.
    retry_due: bool = False

    @property
    def task(self) -> str:
        return self.name[0]

    @property
    def orderly(self) -> bool:
        return self.lane is None and (self.own or self.self_dependency) == "orderly"

    @property
    def serial(self) -> bool:
        return self.lane is None and (self.own or self.self_dependency) != "parallel"

    @property
    def pending(self) -> int:
        return sum(edge.open for edge in self.edges.values())

    def wait(self) -> None:
        self.state = "wait_upstream" if self.pending else "wait_run"

    def release(self) -> None:
        if self.state == "wait_upstream":
            self.wait()


@dataclass
class Try:
    """What the model knows of an execution. `turn`: of a serial task, or a lane."""

    pk: int
    of: str
    life: int
    number: int
    turn: Any = None
    state: str = "dispatched"
    worker: str = ""
    claimed: int = 0
    token: uuid.UUID = field(default_factory=uuid.uuid4)
    cancel: str = ""


@dataclass
class Options:
    """Of a rerun; `parallelism`: whether it puts its lives into the common lane."""

    check_parents: str = "none"
    check_previous: bool = False
    self_dependency: str = ""
    parallelism: bool = False


@dataclass
class Done:
    """An operation that may be undone, with the instances before and after."""

    kind: str
    step: int
    before: dict[str, Life]
    after: dict[str, Life]


class Model:
    """States and what may follow what."""

    def __init__(self, slots: int, places: int) -> None:
        self.slots = slots
        self.places = places
        self.step = 1
        self.lives: dict[str, Life] = {}
        self.tries: dict[int, Try] = {}
        # By the number of the operation: what it gave a new life.
        self.renewed: dict[int, set[str]] = {}

    # Starting

    def holding(self, name: str) -> list[Try]:
        return [t for t in self.tries.values() if t.of == name and t.state in HOLDING]

    def current(self, name: str, *states: str) -> Try:
        [found] = [t for t in self.tries.values() if t.of == name and t.state in states]
        return found

    def turn(self, name: str) -> Any:
        """What it shares with others, and with how many: (lane or serial task, places)."""
        life = self.lives[name]
        if life.lane is not None:
            return life.lane, self.places
        return (life.task, 1) if life.serial else None

    def may_start(self, name: str) -> bool:
        life = self.lives[name]
        if life.state != "wait_run" or life.frozen or self.holding(name):
            return False
        turn = self.turn(name)
        rivals = [t for t in self.tries.values() if turn and t.turn == turn and t.state in HOLDING]
        return turn is None or len(rivals) < turn[1]

    def start(self, name: str, pk: int) -> None:
        life = self.lives[name]
        self.tries[pk] = Try(pk, name, life.life, life.tries, self.turn(name))

    def free(self) -> int:
        return self.slots - sum(t.state in HOLDING for t in self.tries.values())

    def next_to_start(self) -> str | None:
        waiting = [life for life in self.lives.values() if self.may_start(life.name)]
        if self.free() <= 0 or not waiting:
            return None
        return min(waiting, key=lambda life: life.place).name

    # Running

    def claim(self, pk: int, token: uuid.UUID, worker: str) -> None:
        t = self.tries[pk]
        life = self.lives[t.of]
        assert (t.state, life.state) == ("dispatched", "wait_run"), "claimed what was not to be had"
        assert not life.frozen, "claimed what is frozen"
        t.state, t.token, t.worker, t.claimed = "running", token, worker, self.step
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

    def succeed(self, name: str) -> None:
        life = self.lives[name]
        life.state, life.code = "success", ""
        self.release_children(name)

    def release_children(self, name: str) -> None:
        """Its edges are satisfied, also those that do not count; who waits for nothing any more may run."""
        for child in self.lives.values():
            edge = child.edges.get(name)
            if edge and not edge.removed and edge.satisfied is None:
                counted = edge.counts
                edge.satisfied = self.step
                if counted:
                    child.release()

    def end(self, name: str, code: str) -> None:
        self.lives[name].state, self.lives[name].code = "failed", code

    def take_away(self, name: str, state: str) -> None:
        """What was dispatched and not claimed is over, or comes back."""
        for t in self.holding(name):
            if t.state == "dispatched":
                t.state = state

    # Operations

    def allowed(self, operation: str, names: Iterable[str]) -> list[str]:
        """Those whose state allows it now."""
        if operation == "thaw":
            return [name for name in names if self.lives[name].frozen]
        return [name for name in names if self.lives[name].state in ALLOWED[operation]]

    def operate(self, operation: str, name: str) -> None:
        life = self.lives[name]
        if operation == "terminate" and life.state == "running":
            life.state = "terminating"
            self.current(name, "running").cancel = "terminate"
        elif operation == "terminate":
            self.take_away(name, "cancelled")
            self.end(name, "TERMINATED")
        elif operation == "mark_success" and life.state == "running":
            t = self.current(name, "running")
            t.state, t.cancel = "stopping", "mark_success"
            self.succeed(name)
        elif operation == "mark_success":
            self.take_away(name, "cancelled")
            self.succeed(name)
        elif operation == "freeze":
            self.take_away(name, "requeued")
            life.frozen = life.frozen or self.step
        else:
            assert operation == "thaw"
            life.frozen = None

    def rerun(self, names: Collection[str], allowed: Collection[str], number: int, options: Options) -> None:
        """`names` were chosen, `allowed` of them get a new life."""
        renewed = self.renewed.setdefault(number, set()) | set(allowed)
        for name in allowed:
            life = self.lives[name]
            self.take_away(name, "cancelled")
            life.life, life.tries, life.code = life.life + 1, 0, ""
            life.own = options.self_dependency
            life.lane = "lane" if options.parallelism else None
            before = f"{life.task}{int(name[1:]) - 1}"
            has_previous = any(edge.is_self for edge in life.edges.values())
            if life.own == "orderly" and not has_previous and before in self.lives:
                life.edges[before] = Edge(is_self=True)
        # What a parent is now: those that get a new life with their children are not successful.
        succeeded = {n for n, one in self.lives.items() if one.state == "success" and n not in allowed}
        for name in allowed:
            life = self.lives[name]
            for parent, edge in life.edges.items():
                if edge.removed:
                    continue
                if edge.is_self:
                    counts = life.orderly and (parent in renewed or options.check_previous)
                else:
                    checked = {"none": False, "all": True, "selection": parent in names}
                    counts = parent in renewed or checked[options.check_parents]
                edge.waived = not counts
                since = self.step if counts or edge.satisfied is None else edge.satisfied
                edge.satisfied = since if parent in succeeded else None
            life.wait()
        for child in self.lives.values():
            if child.state in {"wait_event", "wait_upstream"}:
                for parent, edge in child.edges.items():
                    if parent in allowed and edge.counts:
                        edge.satisfied = None
        self.renewed[number] = renewed

    def remove(self, name: str, parents: Collection[str] | None) -> bool:
        """Whether an edge was removed. None: all that count and are not satisfied."""
        life = self.lives[name]
        gone = [
            edge
            for parent, edge in life.edges.items()
            if not edge.removed and (edge.open if parents is None else parent in parents)
        ]
        for edge in gone:
            edge.removed = True
        if gone:
            life.release()
        return bool(gone)

    # Undo

    def snapshot(self, names: Iterable[str]) -> dict[str, Life]:
        return {name: copy.deepcopy(self.lives[name]) for name in names}

    def undo(self, done: Done) -> list[str]:
        """Takes back what may be; the names of those."""
        able = [name for name in done.before if self._may_go_back(done, name)]
        for name in able:
            was, life = done.before[name], self.lives[name]
            if done.kind == "freeze":
                life.frozen = was.frozen
            elif done.kind == "thaw":
                self.take_away(name, "requeued")
                life.frozen = self.step
            else:
                self.take_away(name, "requeued")
        if done.kind in {"terminate", "mark_success", "rerun"}:
            self._go_back(done, able)
        return able

    def _may_go_back(self, done: Done, name: str) -> bool:
        was, left, life = done.before[name], done.after[name], self.lives[name]
        if done.kind == "freeze":
            # One that was frozen already is frozen again, if it may be.
            return life.frozen == left.frozen and (not was.frozen or life.state in ALLOWED["freeze"])
        if done.kind == "thaw":
            return not life.frozen and life.state in ALLOWED["freeze"]
        if was.state == "running" or (life.life, life.runs) != (left.life, left.runs):
            return False
        if done.kind == "rerun":
            return life.state in WAITING
        if life.state != left.state:
            return False
        return done.kind != "mark_success" or not any(
            t.claimed >= done.step
            for child in self._children(done, name)
            for t in self.tries.values()
            if t.of == child
        )

    def _children(self, done: Done, name: str) -> list[str]:
        """Whose edges have been satisfied since it was marked, and count."""
        found = []
        for child in self.lives.values():
            edge = child.edges.get(name)
            if edge and edge.counts and edge.satisfied is not None and edge.satisfied >= done.step:
                found.append(child.name)
        return found

    def _go_back(self, done: Done, able: Collection[str]) -> None:
        if done.kind == "mark_success":
            for child in self.lives.values():
                closed = [
                    e
                    for parent, e in child.edges.items()
                    if parent in able and (e.satisfied or 0) >= done.step
                ]
                for edge in closed:
                    edge.satisfied = None
                if closed and child.name not in able and child.state == "wait_run" and child.pending:
                    self.take_away(child.name, "requeued")
                    child.state = "wait_upstream"
        states = {n: done.before[n].state if n in able else one.state for n, one in self.lives.items()}
        for name in able:
            life, was = self.lives[name], done.before[name]
            for attribute in ("state", "life", "tries", "code", "own", "lane", "retry_due"):
                setattr(life, attribute, getattr(was, attribute))
            for parent, edge in life.edges.items():
                if not edge.removed:
                    self._edge_back(done.kind, life, edge, was.edges.get(parent), states[parent] == "success")
            life.release()
        for name in able:
            if states[name] == "success":
                self.release_children(name)

    def _edge_back(self, kind: str, life: Life, edge: Edge, was: Edge | None, met: bool) -> None:
        if kind == "rerun":
            edge.waived = bool(was and was.waived) or (edge.is_self and not life.orderly)
            met = met or was is None or was.satisfied is not None
        elif edge.waived or life.state not in {"wait_event", "wait_upstream"}:
            return
        edge.satisfied = (edge.satisfied or self.step) if met else None
