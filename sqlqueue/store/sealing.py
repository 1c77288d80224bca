"""The seal: how a writer left its database, so that whoever comes next knows whose the log is.

A log that lies beside a database becomes part of it, wherever it came from; so where a process died
every page is looked at, which takes long in a large queue.  Not where the seal holds: after a
commit the writer notes how the database file looks, as it does of CSVs, and which log is that
file's: by the numbers that SQLite draws whenever a log begins anew.  While both are as noted, what
is in the log was committed upon this very file, and a clean stop would have made the two one.

The note is not synced, since what a process wrote outlives its death.  What a loss of power leaves
may be of any age: the note names the boot, and says nothing of another.  A death while the log is
being brought into the database, or begins anew, breaks the seal.
Promises: looking changes nothing; what is not exactly as noted is not sealed.
What is not here: what is looked at instead (`condition.py`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from sqlqueue.disk import Disk
from sqlqueue.home import Home
from sqlqueue.store.csv_file import look_of

SALTS: Final = slice(16, 24)
"""Where a log's head has the numbers that its pages bear too (SQLite's file format)."""
NOTE_BYTES: Final = 256
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Seal:
    """Kept by the one process that may write."""

    def __init__(self, home: Home, disk: Disk) -> None:
        self._home = home
        self._disk = disk
        self._noted = b""

    def note(self) -> None:
        """Something was committed.  Where that cannot be noted there is no seal."""
        found = _description(self._home.database)
        if found and found != self._noted:
            self._write(found)

    def drop(self) -> None:
        """The database failed: whoever opens it next is to look at every page."""
        self._write(b"")

    def _write(self, text: bytes) -> None:
        with suppress(OSError):
            self._disk.note(self._home.seal, text.ljust(NOTE_BYTES))
            self._noted = text


def holds(home: Home) -> bool:
    """Whether database and log are as their writer left them, since the machine was started."""
    try:
        noted = home.seal.read_bytes().rstrip()
    except OSError:
        return False
    return bool(noted) and noted == _description(home.database)


def _description(database: Path) -> bytes:
    """The database and its log as a note says it; empty where there is none to speak of."""
    try:
        log = os.open(f"{database}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            salts = os.read(log, SALTS.stop)[SALTS]
        finally:
            os.close(log)
        look = look_of(database.stat(follow_symlinks=False))
    except OSError:
        return b""
    boot = _boot()
    if not boot or len(salts) < SALTS.stop - SALTS.start:
        return b""
    return f"{boot} {look} {salts.hex()}".encode()


@cache
def _boot() -> str:
    """What tells this start of the machine from others; empty where the system does not say."""
    with suppress(OSError, ValueError):
        return _BOOT.read_text("ascii").strip()
    return ""
