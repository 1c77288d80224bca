"""Worker names: `<host>-gpu0`, `<host>-cpu`, and `-2`, `-3` while an earlier one is in use.

A name is held by a lock on its file, which the kernel drops when the holder dies: who
gets the lock knows that nobody else works under that name.  Where the locks are those of one
machine alone, its mark stands behind the host (`<host>-7c1e09ab-cpu`): another machine may have
the same host name.  What is not here: telling the manager so; the mark (`machine.py`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

MAX_HOST_CHARACTERS: Final = 100

_OTHERS: Final = "[^A-Za-z0-9._-]"
"""What no name has in it."""
_NAME: Final = re.compile("[A-Za-z0-9._-]+")

log = logging.getLogger("sqlqueue.worker")


@dataclass(frozen=True)
class Name:
    """A name that this process holds as long as `fd` is open (-1: unique instead of locked)."""

    text: str
    label: str
    fd: int

    def release(self) -> None:
        if self.fd >= 0:
            with suppress(OSError):  # of a filesystem that went away
                os.close(self.fd)


def host() -> str:
    return socket.gethostname()[:MAX_HOST_CHARACTERS] or "localhost"


def take(folder: Path, label: str, machine: str = "") -> Name:
    """The first name of this host and label that nobody holds.

    `machine`: the mark of this one, where the folder is not shared by all workers.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    base = "-".join(filter(None, (re.sub(_OTHERS, "_", host()), machine, label)))
    for number in count(1):
        suffix = "" if number == 1 else f"-{number}"
        try:
            fd = _lock(folder / f"{base}{suffix}.lock")
        except BlockingIOError:
            continue
        except OSError as error:
            return _unique(base, label, error)
        return Name(base + suffix, label + suffix, fd)
    raise AssertionError("numbers do not end")


def is_free(folder: Path, name: str) -> bool:
    """Whether nobody works under that name just now, as far as can be told."""
    path = folder / f"{name}.lock"
    return not os.path.lexists(path) or _unlocked(path)


def is_left(folder: Path, name: str) -> bool:
    """Whether a worker that had that name has ended: its file is there, and nobody holds it.

    `name` may be of any client.  False where that cannot be told.  A worker that begins in the
    instant of the look may find the name in use, and gets the next one.
    """
    return bool(_NAME.fullmatch(name)) and _unlocked(folder / f"{name}.lock")


def _unlocked(path: Path) -> bool:
    """False also where the file cannot be opened."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _unique(base: str, label: str, error: OSError) -> Name:
    """Where locks do not work: a name that nobody had before."""
    suffix = f"-{uuid.uuid4().hex[:8]}"
    log.warning("%s: no locks in the home (%s); working as %s", label, error, base + suffix)
    return Name(base + suffix, label + suffix, -1)
