"""One child process, from its start until nothing of its session is left.

The run's own thread does everything: it sleeps in one poll() on the output pipe, a wake-up descriptor
(cancel) and pidfds (ends of processes), so nothing is polled for and no thread is started. The child leads a
session of its own and is reaped last, so that its number stays its own while what remains of the session is
hunted down.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from instances.runners import outputs, procfs
from instances.runners.base import (
    BAD_OUTPUT,
    EXIT_NONZERO,
    OUTPUT_LIMIT,
    SPAWN_FAILED,
    SYSTEM,
    Control,
    LogSink,
    Outcome,
    RunSpec,
    cancelled_outcome,
    timeout_outcome,
)
from instances.runners.caps import OutputLog, human_size
from instances.runners.environment import RUN_TOKEN, child_environment, secret_values
from instances.runners.guardian_client import GuardianClient
from instances.runners.host import Host
from instances.runners.limits import Hit, limited
from instances.runners.masker import Masker
from instances.runners.printed import PrintedVariable

_READ_SIZE = 256 * 1024
_RESCAN_SECONDS = 1.0  # while killing: how often to look for what was forked meanwhile
_MAX_DRAIN_READS = 64
REPORT = "report.json"
WORK_DIRECTORY = "@work-directory@"
_LONGEST_REPORT = 64 * 1024
_OOM_SCORE = b"500"


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: the command (an absolute path first) gets the path of `code`'s file as its next argument, then
    `arguments`. `environment`: variables besides those of every child; WORK_DIRECTORY in it or in the command stands for
    the working directory's path. `reports`: a program of ours, which may leave `report.json` there: {"code": error code,
    "message": text}, of what made it fail."""

    command: Sequence[str]
    code: str
    file_name: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    reports: bool = False
    # More files of its working directory: name -> text.
    files: Mapping[str, str] = field(default_factory=dict)


def run_program(
    program: Program,
    spec: RunSpec,
    log: LogSink,
    control: Control,
    host: Host,
    judge: Callable[[int], Outcome],
    printed: PrintedVariable | None = None,
) -> Outcome:
    """Runs it to its end. `judge` makes an outcome of a wait status's return code (negative: a signal);
    timeouts and cancels are judged here. `printed` hears the output; its value becomes the outcome's events."""
    if control.reason is not None:
        return cancelled_outcome(control.reason, how="it had not started")
    masker = Masker(secret_values(spec))
    output = OutputLog(log, masker, host.caps)
    token = host.guardian.run_token()
    directory = host.guardian.directory() / token.rpartition(".")[2]
    try:
        child = _spawn(program, spec, directory, token, host)
    except (OSError, ValueError, LookupError) as error:
        shutil.rmtree(directory, ignore_errors=True)
        return Outcome(
            False, error_code=SPAWN_FAILED, message=masker.mask_text(_spawn_message(program, error))
        )
    try:
        outcome = _Run(child, output, spec, control, host, printed).supervise(judge)
        if program.reports and outcome.error_code == EXIT_NONZERO:
            outcome = _reported(directory, outcome, masker)
        if spec.outputs and outcome.ok:
            outcome = _with_outputs(directory, spec, outcome, masker, log)
    finally:
        _remove(directory)
    if printed is None or not outcome.ok:
        return outcome
    return replace(outcome, events=masker.mask_text(printed.value()))


def _spawn(program: Program, spec: RunSpec, directory: Path, token: str, host: Host) -> _Child:
    """Starts the child and makes it known to the guardian."""
    user = pwd.getpwnam(host.run_as) if host.run_as else None
    directory.mkdir(mode=0o700)
    script = directory / program.file_name
    script.write_text(program.code, encoding="utf-8", errors="surrogateescape", newline="")
    written = [script, *(directory / name for name in program.files)]
    for path, text in zip(written[1:], program.files.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    environment = child_environment(spec, directory, token, host.environment) | {
        name: value.replace(WORK_DIRECTORY, str(directory)) for name, value in program.environment.items()
    }
    if spec.outputs:
        environment[outputs.VARIABLE] = str(directory / outputs.FILE)
    start = [word.replace(WORK_DIRECTORY, str(directory)) for word in program.command]
    command = limited([*start, str(script), *program.arguments], spec.limits)
    if user is not None:
        # The directory last: once it is theirs, another run of the same OS user could put a link in a file's place.
        for path in (*written, directory):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    read_end, write_end = os.pipe()
    try:
        # No preexec_fn: with it Python cannot use vfork, which is what keeps this fast and safe among
        # threads.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            cwd=directory,
            env=environment,
            start_new_session=True,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=os.getgrouplist(user.pw_name, user.pw_gid) if user else None,
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    # Between its start and its announcement only its token makes the child known, which is enough (ADR 0006).
    try:
        return _Child(process, read_end, f"{RUN_TOKEN}={token}\0".encode(), host.guardian)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(read_end)
        raise


class _Child:
    """The leader of the session, not reaped until `reap`."""

    def __init__(
        self, process: subprocess.Popen[bytes], output_fd: int, marker: bytes, guardian: GuardianClient
    ) -> None:
        self._process = process
        self._guardian = guardian
        self.pid = process.pid
        self.marker = marker
        self.output_fd = output_fd
        self.family = procfs.Family(process.pid, marker, guardian.live)
        self.pidfd = os.pidfd_open(process.pid)
        now = procfs.stat(process.pid)
        assert now is not None, "a child that was not reaped has a /proc entry"
        self.start_time = now.start
        guardian.announce(process.pid, now.start)
        os.set_blocking(output_fd, False)
        _offer_to_oom_killer(process.pid)

    def reap(self) -> int | None:
        """The return code as subprocess counts it; None when something else in this process waited for it."""
        self._guardian.forget(self.pid)
        try:
            result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        except ChildProcessError:
            result = None
        code: int | None = None
        if result is not None:
            code = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        self._process.returncode = 0 if code is None else code  # so that Popen never waits for this pid again
        os.close(self.pidfd)
        os.close(self.output_fd)
        return code


def _offer_to_oom_killer(pid: int) -> None:
    """When memory runs out, the kernel shall take the task and not the worker with all its other tasks."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "wb", buffering=0) as file:
        file.write(_OOM_SCORE)


class _Run:
    """Waits for the child, keeps its log flowing, and ends its whole session."""

    def __init__(
        self,
        child: _Child,
        output: OutputLog,
        spec: RunSpec,
        control: Control,
        host: Host,
        printed: PrintedVariable | None,
    ) -> None:
        self._child = child
        self._output = output
        self._printed = printed
        self._spec = spec
        self._control = control
        self._host = host
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._output_open = True
        self._ended_by = ""  # "timeout" or the control's reason, once it was us who ended it
        self._how = ""
        self._nothing_left = False
        self._killer: threading.Thread | None = None
        self._hit: Hit | None = None
        self._printed_bytes = 0

    def supervise(self, judge: Callable[[int], Outcome]) -> Outcome:
        try:
            self._poll.register(self._child.output_fd, select.POLLIN)
            self._poll.register(self._wake, select.POLLIN)
            with self._control.listen(self._cancelled), self._watched():
                self._tell_started()
                self._run()
                self._end_session()
            self._nothing_left = True
            self._drain()
        finally:
            # Whatever went wrong (a log sink that raises, say): nothing of the run may live on.
            if self._killer is not None:
                self._killer.join()
            if not self._nothing_left:
                self._kill_silently()
            code = self._child.reap()
            os.close(self._wake)
        self._output.finish()
        return self._outcome(code, judge)

    def _watched(self) -> AbstractContextManager[None]:
        child = self._child
        return self._host.usage.watching(child.pid, child.marker, self._spec.limits, self._limit_hit)

    def _limit_hit(self, hit: Hit) -> None:
        """In the thread of the watch, or in the run's own; the first one counts."""
        if self._hit is None:
            self._hit = hit
        os.eventfd_write(self._wake, 1)

    def _cancelled(self) -> None:
        """In the thread that cancels. Where no grace is given nothing may wait for the run's own thread: that
        may be held up by its log just now, when the database, and with it the lease, is gone."""
        os.eventfd_write(self._wake, 1)
        if self._killer is None and self._grace() <= 0:
            self._killer = threading.Thread(target=self._kill_silently, name="run-killer", daemon=True)
            self._killer.start()

    def _tell_started(self) -> None:
        try:
            self._control.process_started(self._child.pid, self._child.start_time)
        except Exception as error:  # the record is of use to an operator; the run does not depend on it
            self._output.say(f"the process could not be recorded: {error}")

    def _run(self) -> None:
        """Until the child ends, or has to."""
        timeout = self._spec.run_timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        pidfd = self._child.pidfd
        self._poll.register(pidfd, select.POLLIN)
        while True:
            ready = self._pump(deadline)
            # A child that the killer has ended did not end by itself.
            if pidfd in ready and self._killer is None:
                break
            if (self._wake in ready or pidfd in ready) and self._control.reason is not None:
                self._ended_by = self._control.reason
                break
            if self._hit is not None:
                self._ended_by = "limit"
                self._output.say(f"stopped: {self._hit.message}")
                break
            if deadline is not None and time.monotonic() >= deadline:
                self._ended_by = "timeout"
                break
        self._poll.unregister(pidfd)

    def _end_session(self) -> None:
        """Returns when no process of the session is alive."""
        left = not self._ended_by
        wait = self._host.drain_seconds if left else self._grace()
        # Where there is no grace nobody is asked first.
        asked = not left and wait > 0
        at_once = not left and not asked
        killing = False
        deadline = time.monotonic() + wait
        told = False
        while members := self._child.family.find():
            try:
                if asked:
                    self._signal(members, signal.SIGTERM)
                    # A stopped process acts on SIGTERM only when it goes on.
                    self._signal(members, signal.SIGCONT)
                    asked = False
                if time.monotonic() >= deadline:
                    self._say_killing(members, left, told or at_once)
                    told = killing = True
                    self._signal(members, signal.SIGKILL)
                woken = self._await(members, time.monotonic() + _RESCAN_SECONDS if killing else deadline)
            finally:
                for member in members:
                    member.close()
            if woken and self._control.reason is not None:
                if not self._ended_by and left:
                    asked = True  # cancelled while only leftovers run: end them now
                    left = False
                deadline = min(deadline, time.monotonic() + self._grace())
        if self._ended_by:
            if self._killer is not None or at_once:
                self._how = "it was killed at once"
            else:
                self._how = "it did not end on SIGTERM and was killed" if told else "it ended on SIGTERM"

    def _await(self, members: list[procfs.Process], until: float) -> bool:
        """Waits until all of them have ended, or `until`, or a cancel (then True). Output keeps flowing."""
        waiting = {member.fd for member in members}
        for fd in waiting:
            self._poll.register(fd, select.POLLIN)
        try:
            while waiting:
                ready = self._pump(until)
                for fd in ready & waiting:
                    self._poll.unregister(fd)
                waiting -= ready
                if self._wake in ready:
                    return True
                if time.monotonic() >= until:
                    return False
        finally:
            for fd in waiting:
                self._poll.unregister(fd)
        return False

    def _pump(self, deadline: float | None) -> set[int]:
        """One wait: passes output on, and returns the other descriptors that are ready."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000 + 1
        ready = {fd for fd, _ in self._poll.poll(timeout)}
        if self._child.output_fd in ready:
            ready.discard(self._child.output_fd)
            self._read()
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        return ready

    def _read(self) -> bool:
        """One read of the output; False when there is none now, or will be none any more."""
        try:
            data = os.read(self._child.output_fd, _READ_SIZE)
        except BlockingIOError:
            return False
        if not data:
            if self._output_open:
                self._output_open = False
                self._poll.unregister(self._child.output_fd)
            return False
        self._printed_bytes += len(data)
        most = self._spec.limits.output
        if most is not None and self._printed_bytes > most and self._hit is None:
            self._limit_hit(Hit(OUTPUT_LIMIT, f"it printed more than {human_size(most)}"))
        if self._printed is not None:
            self._printed.feed(data)
        self._output.feed(data)
        return True

    def _drain(self) -> None:
        """What is still in the pipe. Nobody of the session writes any more, so this is bounded by its
        size."""
        for _ in range(_MAX_DRAIN_READS):
            if not self._output_open or not self._read():
                return

    def _grace(self) -> float:
        if self._hit is not None and not self._hit.patient:
            return 0.0
        return self._control.grace(self._spec.kill_grace)

    def _signal(self, members: list[procfs.Process], number: int) -> None:
        for member in members:
            member.send(number)

    def _say_killing(self, members: list[procfs.Process], left: bool, told: bool) -> None:
        if told:
            return
        names = ", ".join(f"{member.pid} {member.name}" for member in members[:10])
        names += f" and {len(members) - 10} more" if len(members) > 10 else ""
        why = "left running by the task" if left else "still running after the grace"
        self._output.say(f"killed what was {why}: {names}")

    def _kill_silently(self) -> None:
        while members := self._child.family.find():
            self._signal(members, signal.SIGKILL)
            procfs.wait_ended(members, _RESCAN_SECONDS)
            for member in members:
                member.close()

    def _outcome(self, code: int | None, judge: Callable[[int], Outcome]) -> Outcome:
        exit_code = code if code is not None and code >= 0 else None
        number = -code if code is not None and code < 0 else None
        if self._ended_by == "timeout" and self._spec.run_timeout is not None:
            return timeout_outcome(self._spec.run_timeout, how=self._how, exit_code=exit_code, signal=number)
        # What it printed in its last moment counts, too.
        if self._hit is not None and self._ended_by in ("limit", ""):
            text = f"{self._hit.message}; {self._how}" if self._how else self._hit.message
            return Outcome(False, exit_code, number, self._hit.code, text)
        if self._ended_by:
            return cancelled_outcome(self._ended_by, how=self._how, exit_code=exit_code, signal=number)
        if code is None:
            return Outcome(
                False, error_code=SPAWN_FAILED, message="the exit status was lost to another waiter"
            )
        return judge(code)


def _with_outputs(directory: Path, spec: RunSpec, outcome: Outcome, masker: Masker, log: LogSink) -> Outcome:
    """The outcome with what the run wrote down for its children; it has failed if that cannot be handed over."""
    try:
        found, said = outputs.read(directory, spec.outputs)
    except outputs.TooLarge as error:
        return replace(outcome, ok=False, error_code=BAD_OUTPUT, message=str(error))
    for line in said:
        log.write(SYSTEM, f"{masker.mask_text(line)}\n".encode())
    return replace(outcome, outputs={name: masker.mask_text(value) for name, value in found.items()})


def _reported(directory: Path, outcome: Outcome, masker: Masker) -> Outcome:
    """What a program of ours wrote down about its failure; the outcome as it is if it wrote nothing of use."""
    try:
        told = json.loads(outputs.read_plain(directory / REPORT, _LONGEST_REPORT))
        code, message = str(told["code"]), str(told["message"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return outcome
    return replace(outcome, error_code=code[:40], message=masker.mask_text(message))


def _spawn_message(program: Program, error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == 7:  # E2BIG
        return "cannot start: a parameter or secret is too long for an environment variable (128 KB)"
    if isinstance(error, ValueError):
        return f"cannot start: a parameter, secret or setting cannot be passed to a process ({error})"
    return f"cannot start {program.command[0]}: {error}"


def _remove(directory: Path) -> None:
    """Removes the working directory, also when the task took its own permissions on a part of it away."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)
        # Each folder is opened before the walk looks into it; a link may lead anywhere and is left alone.
        for base, folders, _ in os.walk(directory):
            for path in (os.path.join(base, name) for name in folders):
                with contextlib.suppress(OSError):
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
        shutil.rmtree(directory, ignore_errors=True)
