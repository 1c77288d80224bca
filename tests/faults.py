"""Faults at the N-th call: real disk calls that fail, real processes that die.

A `Plan` counts the calls of a `FaultyDisk` and the commits of every writing connection to the
database, and at the N-th does what its mode says.  Promises: what is not faulty is the real
call; a death is SIGKILL to this very process, so it belongs into a child of `in_a_child`.
With a `camera` no call has a fault: it is shown the disk at each moment at which one could die.
What is not here: scenarios (`crash_scenarios.py`), loss of power (`power.py`).
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError
from statements import heard

from sqlqueue.disk import Disk

ERRNOS: Final = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES")
ERRORS: Final = (*ERRNOS, "torn", "late")
"""`torn`: half of an append is written, then the error; `late`: all was done, then the error."""

DEATHS: Final = ("before", "halfway", "after")
PAUSE: Final = "pause"
"""The process stops itself (SIGSTOP) before the call, and goes on when it is woken."""
HALVES: Final = ("append", "set_aside", "remove_tree")
"""Calls that can be cut in the middle."""
MOMENTS: Final = ("ack",)
"""What one can die at, but what cannot fail."""


@dataclass
class Plan:
    """At call `at` (from 1 on) the fault; `stays`: also at every later call in that folder.
    Calls count once it has `begun`."""

    at: int = 0
    mode: str = ""
    stays: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list)
    where: str = ""
    begun: bool = True
    camera: Callable[[int, str], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, name: str, folder: str) -> str:
        """Counts a call; the fault that it has, or nothing."""
        with self._lock:
            if not self.begun:
                return ""
            self.calls.append((name, folder))
            if len(self.calls) == self.at:
                self.where = folder
                return self.mode
            if self.stays and self.where and folder == self.where:
                return self.mode
            return ""

    def heal(self) -> None:
        """From now on all is well."""
        self.at, self.stays = 0, False

    @property
    def came(self) -> bool:
        """Whether the call with the fault was made."""
        return 0 < self.at <= len(self.calls)

    def perform(
        self,
        name: str,
        folder: str,
        real: Callable[[], Any],
        half: Callable[[], Any],
        rest: Callable[[], Any] | None = None,
        error: Callable[..., Exception] = OSError,
    ) -> Any:
        """The call, with its fault.  `rest`: what is left of it after `half`."""
        mode = self.fault(name, folder)
        if name in MOMENTS and mode in ERRORS:
            mode = ""
        if mode == PAUSE:
            os.kill(os.getpid(), signal.SIGSTOP)

        if self.camera is not None and self.begun:
            return self._filmed(real, half, rest)
        if mode == "before":
            die()
        if mode == "halfway":
            half()
            die()
        if mode in ERRNOS:
            raise _error(mode, error)
        if mode == "torn":
            half()
            raise _error("ENOSPC", error)
        try:
            done = real()
        finally:
            if mode == "after":
                die()
        if mode == "late":
            raise _error("EIO", error)
        return done

    def _filmed(
        self, real: Callable[[], Any], half: Callable[[], Any], rest: Callable[[], Any] | None
    ) -> Any:
        number = len(self.calls)
        self._shoot(number, "before")
        if rest is not None:
            half()
            self._shoot(number, "halfway")
        try:
            return real() if rest is None else rest()
        finally:
            self._shoot(number, "after")

    def _shoot(self, number: int, mode: str) -> None:
        """What is done for the picture is no call."""
        assert self.camera is not None
        self.begun = False
        self.camera(number, mode)
        self.begun = True


def _error(name: str, kind: Callable[..., Exception]) -> Exception:
    if kind is OSError:
        number = getattr(errno, name)
        return OSError(number, os.strerror(number))
    return kind(SAID[name])


SAID: Final = {
    "EIO": "disk I/O error",
    "ENOSPC": "database or disk is full",
    "EDQUOT": "database or disk is full",
    "EROFS": "attempt to write a readonly database",
    "EACCES": "unable to open database file",
}
"""What SQLite says of each."""


def die() -> NoReturn:
    """As if the power cord of this process were pulled; not one more call is made."""
    os.kill(os.getpid(), signal.SIGKILL)
    while True:  # the signal may need a moment to reach every thread
        signal.pause()


def nothing() -> None:
    """Half of a call that cannot be cut."""


class FaultyDisk(Disk):
    """Disk calls under a plan; `real` does those that do not fail."""

    def __init__(self, plan: Plan, real: Disk | None = None) -> None:
        self.plan = plan
        self.real = real or Disk()

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        real = self.real.open
        return int(self._do("open", path.parent, lambda: real(path, flags, mode)))

    def append(self, fd: int, data: bytes) -> None:
        real = self.real.append
        middle = max(1, len(data) // 2)
        self._do(
            "append",
            folder_of(fd),
            lambda: real(fd, data),
            lambda: real(fd, data[:middle]),
            lambda: real(fd, data[middle:]),
        )

    def truncate(self, fd: int, length_bytes: int) -> None:
        real = self.real.truncate
        self._do("truncate", folder_of(fd), lambda: real(fd, length_bytes))

    def fsync(self, fd: int) -> None:
        real = self.real.fsync
        self._do("fsync", folder_of(fd), lambda: real(fd))

    def fsync_dir(self, path: Path) -> None:
        real = self.real.fsync_dir
        self._do("fsync_dir", path, lambda: real(path))

    def replace(self, source: Path, target: Path) -> None:
        real = self.real.replace
        self._do("replace", target.parent, lambda: real(source, target))

    def set_aside(self, source: Path, target: Path) -> None:
        real = self.real.set_aside
        self._do(
            "set_aside",
            target.parent,
            lambda: real(source, target),
            lambda: os.link(source, target, follow_symlinks=False),
            lambda: self._set_aside_from_the_start(source, target),
        )

    def _set_aside_from_the_start(self, source: Path, target: Path) -> None:
        target.unlink()
        self.real.set_aside(source, target)

    def unlink(self, path: Path) -> None:
        real = self.real.unlink
        self._do("unlink", path.parent, lambda: real(path))

    def make_folder(self, path: Path, mode: int = 0o777) -> None:
        real = self.real.make_folder
        self._do("make_folder", path.parent, lambda: real(path, mode))

    def remove_tree(self, path: Path) -> None:
        real = self.real.remove_tree
        self._do(
            "remove_tree",
            path.parent,
            lambda: real(path),
            lambda: _remove_one_in(path),
            lambda: real(path),
        )

    def reach(self, moment: str) -> None:
        """A moment that is no disk call, but at which one can die."""
        self._do(moment, Path(), nothing)

    def stat(self, path: Path) -> os.stat_result:
        real = self.real.stat
        found = self._do("stat", path.parent, lambda: real(path))
        assert isinstance(found, os.stat_result)
        return found

    def _do(
        self,
        name: str,
        folder: Path,
        real: Callable[[], Any],
        half: Callable[[], Any] = nothing,
        rest: Callable[[], Any] | None = None,
    ) -> Any:
        return self.plan.perform(name, folder.name, real, half, rest)


def _remove_one_in(path: Path) -> None:
    """The first thing in a folder; nothing when there is none, or no folder."""
    with suppress(FileNotFoundError):
        for each in list(path.iterdir())[:1]:
            each.unlink()


def folder_of(fd: int) -> Path:
    """The folder of an open file."""
    return Path(f"/proc/self/fd/{fd}").readlink().parent


@contextmanager
def faulty_commits(
    plan: Plan, committed: Callable[[Path], None] = lambda _: None
) -> Iterator[None]:
    """Inside the block every commit that changes a database is a call of the plan.

    `committed` hears of which file each was.
    """

    def commit(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if driver.total_changes == connection.info.get("changes", 0):
            return
        connection.info["changes"] = driver.total_changes

        def real() -> None:
            driver.commit()
            committed(Path(driver.execute("PRAGMA database_list").fetchone()[2]))

        plan.perform("commit", "", real, nothing, error=_commit_error)

    event.listen(Engine, "commit", commit)
    try:
        yield
    finally:
        event.remove(Engine, "commit", commit)


@contextmanager
def faulty_statements(plan: Plan) -> Iterator[None]:
    """Inside the block every SQL statement of a transaction is a call of the plan."""

    def execute(_driver: Any, text: str, _values: Any) -> None:
        plan.perform("sql", "", nothing, nothing, error=lambda why: _sql_error(text, why))

    with heard(execute):
        yield


def _commit_error(text: str) -> Exception:
    return _sql_error("COMMIT", text)


def _sql_error(statement: str, why: str) -> Exception:
    """As SQLAlchemy hands on what SQLite raised."""
    return OperationalError(statement, {}, sqlite3.OperationalError(why))


Tell = Callable[[str], None]


@dataclass(frozen=True)
class Ended:
    """What became of a child, and what it told before."""

    killed: bool
    told: list[str]


def in_a_child(work: Callable[[Tell], None]) -> Ended:
    """Does the work in a forked process, which may die of it; fails when it raises."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        _be_a_child(work, into)
    os.close(into)
    with os.fdopen(out, "rb") as lines:
        told = lines.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, "the child failed:\n" + "\n".join(told)
    return Ended(killed, told)


def _be_a_child(work: Callable[[Tell], None], into: int) -> None:
    try:
        work(lambda text: _write(into, text))
        os._exit(0)
    except BaseException:
        _write(into, traceback.format_exc())
        os._exit(1)


def _write(into: int, text: str) -> None:
    os.write(into, text.encode() + b"\n")
