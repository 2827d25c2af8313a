"""Becomes the right user, ties its life to its parent's, and turns into the given program.

Run by path with `python -I -S`, so it imports the standard library only and nothing of WeOps:

    launch.py [KEY=VALUE]... -- PROGRAM ARGUMENT...

umask      the mask for new files, in octal
die        the kernel sends this process SIGNAL when its parent ends, however it ends (Linux)
parent     give up when the parent is not PID any more, so that the tie above cannot be tied too late
user       UID:GID to give up root for. Capabilities go too, except when a `reach` path or the program cannot be
           reached without: then, and only then, CAP_DAC_READ_SEARCH (or what else the system left us) stays
namespace  UID:GID to be seen as from inside a user namespace of our own; outside we stay who we are
reach      a file or folder that the program must be able to open; may be given many times

It exits with status 97 and one line on stderr when it cannot do so (docs/adr/0003-embedded-servers.md).

Python itself may live where the new user cannot look, so nothing is imported after root is given up; that
includes what Python imports by itself, such as the codec of an open text file.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable

FAILED = 97

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWUSER = 0x10000000


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def _call(function: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def _prctl(option: int, *arguments: int) -> None:
    padded = [*arguments, 0, 0, 0, 0][:4]
    _call("prctl", ctypes.c_int(option), *(ctypes.c_ulong(value) for value in padded))


def _permitted() -> int:
    status = os.open("/proc/self/status", os.O_RDONLY)
    try:
        for line in os.read(status, 65536).splitlines():
            if line.startswith(b"CapPrm:"):
                return int(line.split()[1], 16)
    finally:
        os.close(status)
    return 0


def _keep(capabilities: Iterable[int]) -> None:
    """Makes exactly these capabilities effective, here and in the program that comes after."""
    mask = sum(1 << capability for capability in capabilities)
    kept = mask | _permitted() & (1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    data = (_Data * 2)(_Data(mask, kept, mask), _Data(0, 0, 0))
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _call("capset", ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), ctypes.byref(data))
    for capability in capabilities:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _reachable(paths: list[str]) -> bool:
    for path in paths:
        try:
            if os.path.isdir(path):
                os.scandir(path).close()
            else:
                os.close(os.open(path, os.O_RDONLY))
        except OSError:
            return False
    return True


def _give_up_root(uid: int, gid: int) -> None:
    with contextlib.suppress(OSError):
        # access(2) disregards the capabilities of everybody but root, unless told that uids mean nothing;
        # PostgreSQL looks for its own programs by it.
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _enter_namespace(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", ctypes.c_int(CLONE_NEWUSER))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(file, text.encode())
        os.close(file)


def _tie(signal_number: int, parent: int | None) -> None:
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, signal_number)
    if parent is not None and os.getppid() != parent:
        raise OSError("the process that asked for it has ended")


def _read(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    end = arguments.index("--")
    options: dict[str, list[str]] = {}
    for argument in arguments[:end]:
        key, _, value = argument.partition("=")
        options.setdefault(key, []).append(value)
    return options, arguments[end + 1 :]


def _become(options: dict[str, list[str]], command: list[str]) -> None:
    """Never returns: turns into the program or raises OSError."""
    reach = options.get("reach", [])
    # Changing who we are forgets the tie to the parent, so it is tied afterwards.
    ladder: list[tuple[int, ...]] = [()]
    if "user" in options:
        uid, gid = (int(part) for part in options["user"][0].split(":"))
        _give_up_root(uid, gid)
        ladder = [(), (CAP_DAC_READ_SEARCH,), (CAP_DAC_OVERRIDE,)]
    elif "namespace" in options:
        uid, gid = (int(part) for part in options["namespace"][0].split(":"))
        try:
            _enter_namespace(uid, gid)
        except OSError as error:
            raise OSError(
                "it does not run as root, and this system lets root neither become another user nor have a "
                f"user namespace ({error}); run as an ordinary user, or set DATABASE_URL"
            ) from error
    if "die" in options:
        parent = int(options["parent"][0]) if "parent" in options else None
        _tie(int(options["die"][0]), parent)
    last = OSError(f"user {os.geteuid()} cannot open one of: {', '.join([*reach, command[0]])}")
    for step in ladder:
        try:
            if "user" in options:
                _keep(step)
            if _reachable(reach):
                os.execvp(command[0], command)  # noqa: S606 - there is no shell to go through
        except OSError as error:
            last = error
    raise last


def main(arguments: list[str]) -> int:
    options, command = _read(arguments)
    if "umask" in options:
        os.umask(int(options["umask"][0], 8))
    try:
        _become(options, command)
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
