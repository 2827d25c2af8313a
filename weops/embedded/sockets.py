"""Private folders for Unix sockets, whose paths the system limits to about 107 bytes."""

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

LONGEST = 100  # bytes of the socket's whole path
# libpq splits hosts at commas; the others have a meaning in URLs or configuration files.
_AWKWARD = set(",%\"'\\?#\n\r\t")


def choose(base: Path, file_name: str, owner: tuple[int, int] | None) -> Path:
    """Makes and returns a folder of mode 0700 for one socket: `base`/run, or a short one in the temporary
    folder when that path is too long or the file system has no sockets. `owner`: uid and gid if not ours."""
    folder = base / "run"
    if not _fits(folder / file_name) or not _binds(base):
        folder = _short(base, file_name, owner)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    if owner is not None:
        os.chown(folder, *owner)
    _record(base).write_text(str(folder), encoding="utf-8")
    return folder


def remembered(base: Path) -> Path | None:
    """The folder that `choose` made last, if it is still there and nobody else's."""
    try:
        folder = Path(_record(base).read_text(encoding="utf-8"))
        found = folder.lstat()
    except OSError:
        return None
    ours = {os.geteuid(), base.stat().st_uid}
    return folder if stat.S_ISDIR(found.st_mode) and found.st_uid in ours else None


def remove(base: Path) -> None:
    folder = remembered(base)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        _record(base).unlink(missing_ok=True)


def _record(base: Path) -> Path:
    return base / "socket-folder"


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= LONGEST and not _AWKWARD & set(str(path))


def _binds(base: Path) -> bool:
    """Some mounted file systems (shared folders of virtual machines) refuse sockets."""
    probe = base / ".probe"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        try:
            probe.unlink(missing_ok=True)
            tried.bind(str(probe))
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
    return True


def _short(base: Path, file_name: str, owner: tuple[int, int] | None) -> Path:
    """The same name at every start, so that URLs survive a restart; another one if somebody took it."""
    name = "weops-" + hashlib.sha256(os.fsencode(base.resolve())).hexdigest()[:16]
    roots = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - the folder in it is private
    root = next((root for root in roots if _fits(root / name / file_name)), roots[-1])
    folder = root / name
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        ours = {os.geteuid()} | ({owner[0]} if owner else set())
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
            return Path(tempfile.mkdtemp(prefix="weops-", dir=root))
    return folder
