"""Tries in a hidden folder what results depend on: write, sync, lock, rename, link.

Each step is done for real and tells what it saw, or the error that it met; the folder is
removed whatever happens.  What is not here: what an outcome means (`filesystem.py`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlqueue.disk import Disk

PREFIX: Final = ".sqlqueue-doctor-"
SYNCS: Final = 5
TICK_SECONDS: Final = 0.03
"""A file written again after this time should look another: kernels count in 1 to 10 ms."""
LOCK: Final = """
import fcntl, os, sys
try:
    fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError as error:
    sys.exit(11 if error.errno in (11, 13) else 12)
"""
"""Another process that wants the lock; 11: refused, as it should be."""
REFUSED: Final = 11


@dataclass
class Probe:
    """What each step saw; `errors` where it failed."""

    saw: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, OSError] = field(default_factory=dict)


def probe(folder: Path, disk: Disk | None = None) -> Probe:
    """All steps, in a hidden folder in `folder`; without one, only the error of making it."""
    found = Probe()
    try:
        with _hidden(folder) as place:
            for name, step in STEPS.items():
                _try(found, name, step, place, disk or Disk())
    except OSError as error:
        found.errors["folder"] = error
    return found


@contextmanager
def _hidden(folder: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _try(found: Probe, name: str, step: Step, place: Path, disk: Disk) -> None:
    try:
        found.saw[name] = step(place, disk)
    except OSError as error:
        found.errors[name] = error


def _write(place: Path, disk: Disk) -> None:
    """More than a filesystem keeps inside its own tables."""
    _append(place / "written", disk, b"x" * 65536)


def _sync(place: Path, disk: Disk) -> float:
    """The median time of a real sync, in seconds."""
    return statistics.median(_one_sync(place / "synced", disk) for _ in range(SYNCS))


def _one_sync(path: Path, disk: Disk) -> float:
    with _opened(path, disk) as fd:
        disk.append(fd, b"a row\n")
        began = time.perf_counter()
        disk.fsync(fd)
        return time.perf_counter() - began


def _sync_folder(place: Path, disk: Disk) -> None:
    disk.fsync_dir(place)


def _lock(place: Path, disk: Disk) -> str:
    """Who else gets a lock that is held: another descriptor, another process, or nobody."""
    path = place / "locked"
    with _opened(path, disk) as holder, _opened(path, disk) as other:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return "another descriptor"
        except BlockingIOError:
            return "nobody" if _refused_elsewhere(path) else "another process"


def _refused_elsewhere(path: Path) -> bool:
    command = [sys.executable, "-I", "-S", "-c", LOCK, str(path)]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == REFUSED


def _replace(place: Path, disk: Disk) -> bool:
    """Whether a rename puts a new file in the place of an old one."""
    old, new = place / "old", place / "new"
    _append(old, disk, b"old")
    _append(new, disk, b"new")
    disk.replace(new, old)
    return old.read_bytes() == b"new" and not new.exists()


def _link(place: Path, disk: Disk) -> bool:
    _append(place / "first", disk, b"x")
    os.link(place / "first", place / "second")
    return (place / "second").stat().st_nlink == 2


def _socket(place: Path, disk: Disk) -> bool:  # noqa: ARG001
    """Whether a Unix socket can be bound here; a path too long for one says nothing."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        bound.bind(f"/proc/self/fd/{fd}/socket")
        return True
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return True
        raise
    finally:
        os.close(fd)
        bound.close()


def _same_case(place: Path, disk: Disk) -> bool:
    """Whether `Name` and `name` are one file."""
    _append(place / "Name", disk, b"x")
    return (place / "name").exists()


def _long_name(place: Path, disk: Disk) -> int:  # noqa: ARG001
    return os.pathconf(place, "PC_NAME_MAX")


def _ticks(place: Path, disk: Disk) -> bool:
    """Whether a file that is written a moment later looks another by its times."""
    path = place / "ticking"
    _append(path, disk, b"x")
    before = path.stat().st_mtime_ns
    time.sleep(TICK_SECONDS)
    _append(path, disk, b"x")
    return path.stat().st_mtime_ns != before


def _ahead(place: Path, disk: Disk) -> float:
    """By how many seconds the filesystem's clock is ahead of this machine's."""
    before = time.time()
    _append(place / "dated", disk, b"x")
    found, after = (place / "dated").stat().st_mtime, time.time()
    return found - min(max(found, before), after)


def _append(path: Path, disk: Disk, data: bytes) -> None:
    with _opened(path, disk) as fd:
        disk.append(fd, data)


@contextmanager
def _opened(path: Path, disk: Disk) -> Iterator[int]:
    fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


Step = Callable[[Path, Disk], Any]

STEPS: Final[dict[str, Step]] = {
    "write": _write,
    "sync": _sync,
    "sync folder": _sync_folder,
    "lock": _lock,
    "replace": _replace,
    "link": _link,
    "socket": _socket,
    "case": _same_case,
    "name": _long_name,
    "ticks": _ticks,
    "clock": _ahead,
}
