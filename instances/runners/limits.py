"""What a run may use: memory, CPU time, open files, output. Hitting one ends it with an error code of its own.

Open files, and twice more than is wanted of the others, are limits of the kernel (`ulimit`), which every process of the run
inherits. Memory and CPU time of all processes of a run together are nobody's limit there, unless the worker owns a cgroup; so
one thread for all runs of this worker that have such a limit adds them up a few times a second, and only while there are any.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

from instances.runners import procfs
from instances.runners.base import CPU_TIME, OUT_OF_MEMORY, Limits
from instances.runners.caps import human_size

LOOK_SECONDS: Final = 0.2
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# A process may map this much more than it may use: a runtime reserves more than it touches. It stops one that grows
# faster than we look.
_MAPPED: Final = 4
_LEAST_MAPPED: Final = 1024 * 1024 * 1024
_CPU_SLACK: Final = 2


def stricter(first: Limits, second: Limits) -> Limits:
    """For each the smaller one; None is no limit."""
    found = {}
    for one in fields(Limits):
        given = [
            value for value in (getattr(first, one.name), getattr(second, one.name)) if value is not None
        ]
        found[one.name] = min(given, default=None)
    return Limits(**found)


def limited(command: Sequence[str], limits: Limits) -> list[str]:
    """The command as it starts under the kernel's part of the limits; as it is without any."""
    steps = []
    if limits.files is not None:
        steps.append(f"ulimit -n {limits.files}")
    if limits.cpu is not None:
        # Hard above soft: SIGXCPU first, which says why; SIGKILL for who ignores it.
        cpu = limits.cpu + _CPU_SLACK
        steps.append(f"ulimit -S -t {cpu}; ulimit -H -t {cpu + _CPU_SLACK}")
    if limits.memory is not None:
        steps.append(f"ulimit -d {max(_MAPPED * limits.memory, _LEAST_MAPPED) // 1024}")
    if not steps:
        return list(command)
    # One that cannot be set is looser than what the worker itself has.
    return ["/bin/sh", "-c", " 2>/dev/null; ".join([*steps, 'exec "$@"']), "sh", *command]


@dataclass(frozen=True, slots=True)
class Hit:
    """A limit that was hit; `patient`: the task may still clean up."""

    code: str
    message: str
    patient: bool = True


@dataclass(slots=True)
class _Watched:
    leader: int
    marker: bytes
    limits: Limits
    on_hit: Callable[[Hit], None]
    told: bool = False


class UsageWatch:
    """Adds up what the watched runs use. `on_hit` is called once a run, in this watch's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: list[_Watched] = []
        self._thread: threading.Thread | None = None
        self._changed = threading.Event()
        # Whose a process outside the watched sessions is, found out once.
        self._strays: dict[int, _Watched | None] = {}

    @contextlib.contextmanager
    def watching(
        self, leader: int, marker: bytes, limits: Limits, on_hit: Callable[[Hit], None]
    ) -> Iterator[None]:
        if limits.memory is None and limits.cpu is None:
            yield
            return
        watched = _Watched(leader, marker, limits, on_hit)
        with self._lock:
            self._watched.append(watched)
            self._strays.clear()  # a process that was nobody's may be this one's
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="usage-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.remove(watched)

    def _loop(self) -> None:
        while True:
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return
                self._look()
            self._changed.wait(LOOK_SECONDS)

    def _look(self) -> None:
        by_leader = {watched.leader: watched for watched in self._watched}
        used: dict[int, tuple[float, int, list[int]]] = {}
        pids = procfs.all_pids()
        self._strays = {pid: self._strays[pid] for pid in pids if pid in self._strays}
        for pid in pids:
            watched = by_leader.get(procfs.session_of(pid)) or self._stray(pid)
            if watched is None or watched.told or (now := procfs.usage(pid)) is None:
                continue
            cpu, memory, members = used.get(watched.leader, (0.0, 0, []))
            used[watched.leader] = (
                cpu + now[0] / _TICKS,
                memory + now[1] * _PAGE,
                [*members, pid],
            )
        for leader, (cpu, memory, members) in used.items():
            watched = by_leader[leader]
            if hit := _judge(watched.limits, cpu, memory, members):
                watched.told = True
                watched.on_hit(hit)

    def _stray(self, pid: int) -> _Watched | None:
        if pid not in self._strays:
            self._strays[pid] = next((one for one in self._watched if procfs.carries(pid, one.marker)), None)
        return self._strays[pid]


def _judge(limits: Limits, cpu: float, memory: int, members: list[int]) -> Hit | None:
    if limits.memory is not None and memory > limits.memory:
        # Pages that several of them share were counted for each: only now is it worth to look closely.
        shared = sum(procfs.proportional_memory(pid) for pid in members)
        if shared > limits.memory:
            text = f"its processes used {human_size(shared)} of memory, more than {human_size(limits.memory)}"
            return Hit(OUT_OF_MEMORY, text, patient=False)
    if limits.cpu is not None and cpu > limits.cpu:
        return Hit(CPU_TIME, f"its processes used {cpu:.0f} s of CPU time, more than {limits.cpu} s")
    return None
