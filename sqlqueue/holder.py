"""Who has a home: what the note in its lock says, and what to say to whoever comes second.

The note stands from when the lock is taken until it is given back; a process that is killed
leaves it behind.  Promises: reads only.  What is not here: the lock (`home_lock.py`).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.whereabouts import here, speaks_of

MANAGER: Final = "sqlqueue serve"
"""What a manager calls itself in the note; a command that changes the queue has another name."""
_LOCKS: Final = Path("/proc/locks")
_MAX_NOTE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that took the home and has not given it back; it may be dead."""

    what: str
    pid: int | None
    hostname: str
    since: str
    here: bool
    """Whether on this host."""

    @property
    def state(self) -> str:
        """Of the process, as `ps` writes it (`T`: paused); empty when this host has none."""
        with suppress(OSError, IndexError):
            text = Path(f"/proc/{self.pid}/stat").read_text(errors="replace")
            return text.rpartition(")")[2].split()[0] if self.here else ""
        return ""

    @property
    def lives(self) -> bool:
        """Whether it certainly runs; of another host's that cannot be known."""
        return self.state not in ("", "Z")

    def __str__(self) -> str:
        paused = ", which is paused" if self.state in ("T", "t") else ""
        since = f", since {self.since}" if self.since else ""
        return f"{self.what} (pid {self.pid or 'unknown'} on {self.hostname}){paused}{since}"


def holder_of(home: Home, fd: int | None = None) -> Holder | None:
    """Whom the note names; None when nobody has the home, or the note came with a copy.

    `fd`: the lock's file, if it is open.
    """
    note = _note(home, fd)
    if note is None and fd is None:
        note = home.manager()
    if note is None or not speaks_of(note, home.path):
        return None
    pid = note.get("pid")
    return Holder(
        what=str(note.get("holder", "a manager")),
        pid=pid if isinstance(pid, int) else None,
        hostname=str(note.get("hostname", "an unknown host")),
        since=str(note.get("since", note.get("started_at", ""))),
        here=here(note),
    )


def silent_manager(home: Home) -> Holder | None:
    """The manager that has the home, for who was not answered; None when none is alive here.

    It may be starting, be paused, or have lost its socket.
    """
    found = holder_of(home)
    if found is None or found.what != MANAGER or found.pid not in lock_holders(home):
        return None
    return found


def lock_holders(home: Home) -> set[int]:
    """Who holds a lock on the very file that is there now, as the kernel lists them."""
    try:
        inode = str(home.lock.stat().st_ino)
        lines = _LOCKS.read_text("ascii").splitlines()
    except OSError:
        return set()
    fields = [line.split() for line in lines if " FLOCK " in line]
    return {int(each[4]) for each in fields if each[5].rpartition(":")[2] == inode}


def elsewhere(home: Home, found: Holder) -> bool:
    """Whether it cannot be told here if the holder lives: another host, a shared filesystem."""
    return not found.here and on_network(home.path)


def in_use(home: Home, found: Holder | None) -> str:
    """For the second one, and for whoever was refused because of another host's note."""
    who = str(found or "a manager (pid unknown on an unknown host)")
    text = f"{home.path} is in use by {who}; only one process may write to a queue: "
    if found is not None and elsewhere(home, found):
        return (
            f"{text}stop it there.  From here it cannot be told whether it still runs: if that "
            "host is really gone, `sqlqueue serve --take-over` takes the queue over"
        )
    return (
        f"{text}let that one finish, or stop it first (one that hangs: "
        "`sqlqueue serve --take-over`)"
    )


def hanging(home: Home, found: Holder | None) -> str:
    """For who cannot take over, since the other is in the middle of writing."""
    pid = found.pid if found is not None and found.pid else "PID"
    return (
        f"{home.path} cannot be taken over: {found or 'its holder'} stopped in the middle of "
        f"writing.  End it (`kill -9 {pid}`) and start `sqlqueue serve`: what it acked is kept"
    )


def _note(home: Home, fd: int | None) -> dict[str, Any] | None:
    try:
        data = _read(home.lock) if fd is None else os.pread(fd, _MAX_NOTE_BYTES, 0)
        found = json.loads(data)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MAX_NOTE_BYTES)
