"""A worker process's engine: takes hints, claims, runs, reports, and goes on with what its reports made ready.

Threads of the Celery pool call `take(ids)`. What they report at the same moment is committed together, and the same
turn dispatches and claims the next work for them: a busy worker needs no message to go on. One more thread renews
leases, obeys cancel flags, kills what it may no longer own, and looks for work that no hint told about.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from django.db.models.functions import Now

from instances.engine import event_handler, hints, lifecycle
from instances.engine.dispatch import follow
from instances.engine.group_commit import GroupCommit
from instances.engine.hints import Hint
from instances.engine.lifecycle import Claimed, Result
from instances.engine.logs import LogWriter, heads
from instances.engine.supervise import HOST, Run, supervise
from instances.models import WorkerProcess
from weops.observe import context, traces
from weops.projects.models import ResourceGroup

log = logging.getLogger(__name__)

# Instant executions (dry runs, virtual tasks) that one thread takes at once.
INSTANT_BATCH = 100
POLL_SECONDS = 2.0
# A worker that could not renew for this share of the lease's life kills its children: before anybody else may claim.
GIVE_UP_SHARE = 0.6
# How long a finished run's result waits for a database that is away; its lease decides whether it still counts.
REPORT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class _Report:
    """A thread's results; `goes_on`: it takes more work right away."""

    results: list[Result]
    goes_on: bool
    measured_at: float


class Runtime:
    """One per worker process. `worker` is its name, unique while it lives; `slots` its number of threads.

    `served(group id)` tells whether the worker takes work of a group; `discover()` is called every few seconds, to look
    for groups that were made since. `groups`: what the list of workers says that it serves; None: all groups.
    """

    def __init__(
        self,
        worker: str,
        slots: int,
        served: Callable[[int], bool] = lambda _group: True,
        discover: Callable[[], None] = lambda: None,
        groups: Sequence[int] | None = None,
    ) -> None:
        self.worker = worker
        self.slots = slots
        self.served = served
        self.discover = discover
        self.groups = groups
        self.logs = LogWriter(heads)
        self.stopping = threading.Event()
        self._runs: dict[int, Run] = {}
        self._runs_lock = threading.Lock()
        self._stopped = threading.Event()
        self._reports: GroupCommit[_Report, list[Claimed]] = GroupCommit(self._commit)
        self._claims: GroupCommit[Sequence[int], list[Claimed]] = GroupCommit(self._claim)
        self._spare = ThreadPoolExecutor(slots, thread_name_prefix="unhinted")
        self._keeper = threading.Thread(target=self._keep, name="lease-keeper", daemon=True)
        # A thread of its own, that asks nobody: the keeper may hang in a database that does not answer.
        self._guard = threading.Thread(target=self._watch_leases, name="lease-guard", daemon=True)

    @property
    def busy(self) -> int:
        return len(self._runs)

    def start(self) -> None:
        WorkerProcess.objects.update_or_create(
            name=self.worker,
            defaults={
                "host": HOST,
                "pid": os.getpid(),
                "slots": self.slots,
                "busy": 0,
                "groups": self.groups,
                "stopping": False,
            },
        )
        self.logs.start()
        self._keeper.start()
        self._guard.start()

    # Taking work

    def take(self, execution_ids: Sequence[int]) -> None:
        """Runs those of the executions that can be had, and what follows from them; returns when there is no more."""
        if self.stopping.is_set():
            return
        try:
            claimed = self._claims.submit(execution_ids)
            while claimed:
                claimed = self._work(claimed)
        except DatabaseError:
            # What was claimed keeps its lease until it expires; nothing is lost, the sweeper finds it.
            log.exception("the database failed under worker %s", self.worker)
        finally:
            close_old_connections()

    def _claim(self, wanted: Sequence[Sequence[int]]) -> list[list[Claimed]]:
        """Claims for several threads at once; each gets its own."""
        claimed = {
            c.execution_id: c
            for c in lifecycle.claim(sorted({i for ids in wanted for i in ids}), self.worker)
        }
        return [[claimed.pop(i) for i in ids if i in claimed] for ids in wanted]

    def _work(self, claimed: list[Claimed]) -> list[Claimed]:
        """Runs claimed executions; what to go on with."""
        instant = [c for c in claimed if c.instant]
        real = [c for c in claimed if not c.instant]
        following: list[Claimed] = []
        runs = {execution.execution_id: Run(execution) for execution in real}
        with self._runs_lock:
            self._runs |= runs
        try:
            if instant:
                following += self._report(
                    [Result(c.execution_id, c.token, ok=True) for c in instant], goes_on=not real
                )
            for place, run in enumerate(runs.values()):
                result = self._run(run)
                following += self._report([result], goes_on=place == len(real) - 1)
        finally:
            # What a failing database kept from being run is held no longer: its lease runs out, the sweeper finds it.
            self._let_go(runs)
        return following

    def _let_go(self, execution_ids: Iterable[int]) -> None:
        with self._runs_lock:
            for execution_id in execution_ids:
                self._runs.pop(execution_id, None)

    def _run(self, run: Run) -> Result:
        claimed = run.claimed
        if self.stopping.is_set():
            run.control.cancel("shutdown")
        sink = self.logs.sink(claimed.execution_id)
        try:
            with context.running(claimed.execution_id, claimed.instance_id, claimed.task_id):
                result = supervise(run, sink, self.worker)
                if result.array is not None:
                    sink.hand_on()
                traces.executed(claimed, result.ok, result.error_code)
            return result
        finally:
            sink.close()
            # Idle for as long as the task ran: give the connection back before the next statement needs one.
            close_old_connections()

    def _report(self, results: list[Result], goes_on: bool) -> list[Claimed]:
        """Reports results until the database takes them or the leases are lost; then what to go on with."""
        deadline = time.monotonic() + REPORT_SECONDS
        report = _Report(results, goes_on and not self.stopping.is_set(), time.monotonic())
        try:
            while True:
                try:
                    return self._reports.submit(report)
                except DatabaseError as error:
                    close_old_connections()
                    if time.monotonic() > deadline:
                        raise
                    log.warning("results wait for the database: %s", error)
                    self._stopped.wait(0.5)
        finally:
            self._let_go(result.execution_id for result in results)

    def _commit(self, reports: Sequence[_Report]) -> list[list[Claimed]]:
        """Writes the results of several threads, dispatches what they made ready, claims it for those that go on."""
        # First, since it may take long: the results' ages count until their transaction begins.
        connection.ensure_connection()
        now = time.monotonic()
        results = [
            replace(result, ended_ago=now - report.measured_at)
            for report in reports
            for result in report.results
        ]
        touched = lifecycle.finish(results)
        if touched.retry_now:
            touched.add(lifecycle.retry_due())
        ready = follow(touched)
        shares, rest = _share(ready, reports, self.served)
        hints.send(rest)
        hints.plans.send(touched.plans)
        hints.traversals.send(touched.for_each)
        if touched.fires and not self.stopping.is_set():
            # Not in this thread: who listens may be many, and other results wait for this one.
            self._spare.submit(self._emit)
        wanted = sorted(i for ids in shares for i in ids)
        claimed = {c.execution_id: c for c in lifecycle.claim(wanted, self.worker)} if wanted else {}
        return [[claimed[i] for i in ids if i in claimed] for ids in shares]

    def _emit(self) -> None:
        try:
            event_handler.emit()
        except DatabaseError as error:
            log.warning("events of successful runs wait for the next sweep: %s", error)
        finally:
            close_old_connections()

    # Keeping leases

    def _keep(self) -> None:
        polled = 0.0
        while not self._stopped.wait(settings.WEOPS_HEARTBEAT_SECONDS):
            try:
                self._renew()
                if time.monotonic() - polled > POLL_SECONDS:
                    polled = time.monotonic()
                    self._show_alive()
                    self.discover()
                    self._poll()
            except DatabaseError as error:
                log.warning("leases cannot be renewed: %s", error)
                connection.close()
            except Exception:
                log.exception("the lease keeper met an error of its own")
        connection.close()

    def _renew(self) -> None:
        if not self._runs:
            return
        renewed_at = time.monotonic()
        with self._runs_lock:
            runs = list(self._runs.items())
        # Only what is really run here: a claim whose answer got lost must expire.
        flags = lifecycle.renew(self.worker, [execution_id for execution_id, _ in runs])
        for execution_id, run in runs:
            if execution_id in flags:
                run.renewed = renewed_at
                if flags[execution_id]:
                    run.control.cancel(flags[execution_id])
        # Runs that end within a beat never need it.
        fresh = {pk: run.pid for pk, run in runs if run.pid is not None and not run.pid_written}
        if fresh:
            lifecycle.note_processes(fresh)
            for pk, run in runs:
                run.pid_written |= pk in fresh

    def _watch_leases(self) -> None:
        while not self._stopped.wait(settings.WEOPS_HEARTBEAT_SECONDS):
            self._give_up_stale()

    def _give_up_stale(self) -> None:
        limit = settings.WEOPS_LEASE_SECONDS * GIVE_UP_SHARE
        with self._runs_lock:
            runs = list(self._runs.values())
        for run in runs:
            if time.monotonic() - run.renewed > limit:
                run.control.cancel("lease_lost")

    def _show_alive(self) -> None:
        WorkerProcess.objects.filter(pk=self.worker).update(
            seen_at=Now(), busy=self.busy, stopping=self.stopping.is_set()
        )

    def _poll(self) -> None:
        """Takes dispatched work whose hint got lost, or that a broker which lost its memory never delivered."""
        free = self.slots - self.busy
        if free <= 0 or self.stopping.is_set():
            return
        groups = [pk for pk in ResourceGroup.objects.values_list("pk", flat=True) if self.served(pk)]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM instances_execution WHERE state = 'dispatched' AND resource_group_id = ANY(%s) "
                "AND (hinted_at < now() - %s * interval '1 second' OR queue_started_at < now() - %s * interval '4 second') "
                "ORDER BY id LIMIT %s",
                # The second: a sweep that sends lost hints again makes them young, though nobody may ever hear them.
                [groups, settings.WEOPS_HINT_SECONDS, settings.WEOPS_HINT_SECONDS, free],
            )
            found = [row[0] for row in cursor.fetchall()]
        for execution_id in found:
            self._spare.submit(self.take, [execution_id])

    # Ending

    def drain(self) -> None:
        """Stops claiming; after the grace, ends the children and queues their runs again, no retry spent."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        deadline = time.monotonic() + settings.WEOPS_DRAIN_SECONDS
        while self._runs and time.monotonic() < deadline:
            self._stopped.wait(0.1)
        with self._runs_lock:
            for run in self._runs.values():
                run.control.cancel("shutdown")

    def stop(self) -> None:
        """After the last run: writes the last logs, leaves the list of workers."""
        self.stopping.set()
        self._spare.shutdown(wait=True)
        self._stopped.set()
        self._keeper.join(5)
        self.logs.stop()
        WorkerProcess.objects.filter(pk=self.worker).delete()
        connection.close()


def _share(
    ready: list[Hint], reports: Sequence[_Report], served: Callable[[int], bool]
) -> tuple[list[list[int]], list[Hint]]:
    """Divides ready executions: for each report the ids that its thread goes on with, and the hints to send."""
    own = [hint for hint in ready if served(hint.group_id)]
    rest = [hint for hint in ready if not served(hint.group_id)]
    shares: list[list[int]] = []
    for report in reports:
        share: list[int] = []
        if report.goes_on and own:
            first = own[0]
            most = INSTANT_BATCH if first.instant else 1
            taken = [hint for hint in own if hint.instant][:most] if first.instant else [first]
            chosen = {hint.execution_id for hint in taken}
            own = [hint for hint in own if hint.execution_id not in chosen]
            share = [hint.execution_id for hint in taken]
        shares.append(share)
    return shares, rest + own
