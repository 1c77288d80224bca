"""A manager that stops itself (SIGSTOP) at its N-th disk call or commit, and is woken later.

`paused` forks it: the core of a manager with the home's lock, at work on a room.  Another takes
the home over meanwhile (`took_over`), and what the first one then does is looked at.
Promises: the process is gone when the block is left.  What is not here: tests.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from crash_scenarios import Desk, Room, by_rename, submit
from faults import PAUSE, FaultyDisk, Plan, faulty_commits

from sqlqueue.errors import EpochLost
from sqlqueue.home_lock import HomeLock
from sqlqueue.protocol import Ack, Error
from support import wait_until

MINE = b"mine"
LOST = 7
"""The exit status of one that noticed that it was taken over."""
CLONE_NEWUTS = 0x04000000
ANOTHER = "another-host"


class OnlyCalls(FaultyDisk):
    """Pauses at disk calls and commits, not between two turns."""

    def reach(self, moment: str) -> None:
        """No call."""


@dataclass
class Paused:
    """`pid`, and what it has told so far in `file`."""

    pid: int
    file: Path
    status: int | None = None

    @property
    def acked(self) -> set[int]:
        """The cells of which it acked the result."""
        return {int(line.partition("/")[0]) for line in self.file.read_text().split()}

    def stopped(self) -> bool:
        """Whether it is paused; False when it came to its end without."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self.status = os.waitstatus_to_exitcode(status)
        return False

    def wake(self) -> int:
        """Lets it go on to its end; its exit status."""
        os.kill(self.pid, signal.SIGCONT)
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def end(self) -> None:
        if self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)


@contextmanager
def paused(room: Room, at: int, *, elsewhere: bool = False) -> Iterator[Paused]:
    """A manager at work on the room, paused at that call."""
    told = room.root.parent / f"{room.root.name}.told"
    told.write_text("")
    edited(room).unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _be_the_first(room, Plan(at, PAUSE, begun=False), told, elsewhere)
    made = Paused(pid, told)
    try:
        yield made
    finally:
        made.end()


def _be_the_first(room: Room, plan: Plan, told: Path, elsewhere: bool) -> None:
    status = 1
    try:
        if elsewhere:
            become_another_host(ANOTHER)
        work(room, plan, told)
        status = 0
    except EpochLost:
        status = LOST
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(status)


def edited(room: Room) -> Path:
    """Is there once a person has put a file of theirs in the CSV's place."""
    return room.root.parent / "edited"


def become_another_host(name: str) -> None:
    """This process has a host name of its own from now on (root only)."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUTS):
        raise OSError(ctypes.get_errno(), "unshare")
    socket.sethostname(name)


def work(room: Room, plan: Plan, told: Path) -> None:
    """A row, a wider header, a person's file in the way: every kind of writing there is."""

    def tell(text: str) -> None:
        with told.open("a") as file:
            print(text, file=file)

    with HomeLock(room.home, "the first") as lock, faulty_commits(plan):
        desk = Desk(room.home, OnlyCalls(plan), tell, lock)
        desk.committer.open()
        plan.begun = True
        submit(desk, 2)
        submit(desk, 3, new=1.0)
        by_rename(room.csv("a"), MINE)
        edited(room).touch()
        submit(desk, 4)
        desk.later()


@contextmanager
def took_over(room: Room) -> Iterator[Desk]:
    """The one that has taken the home over."""
    with HomeLock(room.home, "the second", take_over=True) as lock:
        desk = Desk(room.home, lock=lock)
        desk.committer.open()
        yield desk
        desk.committer.close()


def everything(desk: Desk) -> None:
    """Submits all results there are, again where it was done before."""
    for cell in (2, 3, 4):
        kinds = submit(desk, cell, **({"new": 1.0} if cell == 3 else {}))
        if kinds == [Error]:
            desk.later()
            kinds = submit(desk, cell, **({"new": 1.0} if cell == 3 else {}))
        assert kinds == [Ack], kinds


def is_paused(pid: int) -> None:
    """Waits until the kernel says so of somebody else's child."""
    stat = Path(f"/proc/{pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="the pause")
