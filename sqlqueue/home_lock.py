"""The lock of a home: one process at a time may write to a queue.

Promises: held until released, taken over, or until its process is dead, whatever way it dies;
a second holder is refused at once with `ManagerRunning`, which names the first.  Between the
processes of one host the lock on the file (flock) decides alone.  On a filesystem that hosts
share it may be known to one host only, so there the note in the file counts too: one of
another host that was not taken back refuses.

Who takes over puts a new file in the place of the old one, and only while nothing is being
written: whoever holds the home writes in *turns*, and no turn begins without a look at which
file stands there (`check`).  What is not here: what a take-over does to the database and the
CSVs (`store/`), who the note names (`holder.py`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlqueue.errors import EpochLost, HomeError, LockLost, ManagerRunning, StorageFailure
from sqlqueue.filesystems import on_network
from sqlqueue.holder import elsewhere, hanging, holder_of, in_use
from sqlqueue.home import Home
from sqlqueue.whereabouts import place_of

_BUSY: Final = {errno.EWOULDBLOCK, errno.EACCES}
TURN_SECONDS: Final = 20.0
"""How long whoever takes over waits for what is being written just now."""
NOTICE_SECONDS: Final = 3.0
"""How long a manager of another host, if it lives, has to notice that it was taken over."""
CONFIRM_SECONDS: Final = 0.3
"""How long a note of another host may be under way."""
_PAUSE_SECONDS: Final = 0.05


class HomeLock:
    """`with HomeLock(home, "serve"):` owns the queue inside the block.

    `take_over`: from whoever has it.  `taken_from` and `from_elsewhere` then say who that was,
    and whether on a host whose locks cannot be relied upon here.
    """

    def __init__(self, home: Home, holder: str = "sqlqueue", *, take_over: bool = False) -> None:
        self._home = home
        self._holder = holder
        self._take_over = take_over
        self._fd: int | None = None
        self._turn: int | None = None
        self._turns = 0
        self.taken_from = ""
        self.from_elsewhere = False

    @property
    def takes_over(self) -> bool:
        """Whether a person said that whatever had this queue before is gone."""
        return self._take_over

    def acquire(self) -> None:
        """Takes the lock or raises `ManagerRunning`; waits only for a turn to end."""
        if self._fd is not None:
            return
        try:
            self._acquire()
        except BaseException:
            self._close()
            raise

    def _acquire(self) -> None:
        try:
            self._take()
        except ManagerRunning:
            if not self._take_over:
                raise
            self._seize()
        if self._turn is None:
            self._turn = self._open(self._home.turn)
        self._confirm()

    def release(self) -> None:
        """Gives it up.  Harmless when it is not held."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
        self._close()

    def __enter__(self) -> HomeLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    # --- writing ------------------------------------------------------------------------

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Whatever is written is written inside; nobody takes the home over meanwhile.

        Used from one thread; a turn inside a turn is part of it.
        """
        if self._turn is not None and not self._turns:
            self._begin_turn(self._turn)
        self._turns += 1
        try:
            yield
        finally:
            self._turns -= 1
            if self._turn is not None and not self._turns:
                with contextlib.suppress(OSError):  # then the next one cannot begin either
                    fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _begin_turn(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:  # a network filesystem that was away has forgotten our locks
            raise LockLost(
                f"{self._home.turn}: cannot be locked any more: {error.strerror}; the filesystem "
                "was away, and another host may have taken the queue meanwhile.  What was acked "
                "is safe; start `sqlqueue serve` again when the filesystem is back"
            ) from None

    def check(self) -> None:
        """Raises `EpochLost` once another holds the home, `HomeError` once it is gone."""
        if self._fd is None or self._still_there(self._fd):
            return
        if not self._home.exists():
            raise HomeError(
                f"{self._home.path} is not there any more: it was renamed or removed while this "
                "manager ran; what was acked is in it.  Start `sqlqueue serve` where it is now"
            )
        if os.path.lexists(self._home.lock):
            raise EpochLost
        os.close(self._fd)  # somebody removed the file alone: made again, if nobody did yet
        self._fd = None
        self._take()

    def _still_there(self, fd: int) -> bool:
        try:
            return self._is_current(fd)
        except OSError as error:
            reason = f"{self._home.lock}: cannot be looked at: {error.strerror}"
            raise StorageFailure(reason) from None

    # --- taking it ------------------------------------------------------------------------

    def _take(self) -> None:
        while self._fd is None:
            fd = self._open(self._home.lock)
            try:
                self._lock(fd)
                if self._is_current(fd):
                    self._refuse_elsewhere(fd)
                    self._write_note(fd)
                    self._fd, fd = fd, -1
            finally:
                if fd >= 0:
                    os.close(fd)

    def _refuse_elsewhere(self, fd: int) -> None:
        """On a shared filesystem a free lock proves nothing about other hosts."""
        found = holder_of(self._home, fd)
        if found is not None and elsewhere(self._home, found):
            raise ManagerRunning(in_use(self._home, found))

    def _seize(self) -> None:
        """Puts a lock of ours in the place of the one that another process has."""
        found = holder_of(self._home)
        self.taken_from = str(found or "whoever had it")
        self.from_elsewhere = on_network(self._home.path) and (
            found is None or elsewhere(self._home, found)
        )
        if self.from_elsewhere:
            self._turn = self._replace(self._home.turn)
        else:
            self._turn = self._open(self._home.turn)
            self._wait_for_turn(self._turn)
        self._fd = self._replace(self._home.lock)
        if self.from_elsewhere:
            time.sleep(NOTICE_SECONDS)

    def _wait_for_turn(self, fd: int) -> None:
        """No turn of another begins before our first one has ended: see `settled`."""
        end = time.monotonic() + TURN_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _BUSY:
                    raise
            else:
                self._turns += 1
                return
            if time.monotonic() > end:
                raise ManagerRunning(hanging(self._home, holder_of(self._home)))
            time.sleep(_PAUSE_SECONDS)

    def settled(self) -> None:
        """The database knows of the new holder: whoever had the home may have its turn."""
        if self._turns and self._turn is not None:
            self._turns = 0
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _replace(self, path: Path) -> int:
        """A new file under that name; the lock is ours before it gets it."""
        fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fd = self._open(fresh)
        try:
            if path == self._home.lock:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._write_note(fd)
            os.replace(fresh, path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            raise HomeError(f"{path}: cannot be opened: {error.strerror}") from None

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                raise ManagerRunning(in_use(self._home, holder_of(self._home))) from None
            raise HomeError(
                f"{self._home.lock}: this filesystem cannot lock files ({error.strerror}), "
                "so nothing can keep two managers apart; put the home on another one with --home"
            ) from None

    def _is_current(self, fd: int) -> bool:
        """False when another file stands there: the home was made anew, or taken over.

        Opened, not only looked at: a shared filesystem may remember for a while what it saw.
        """
        try:
            there = os.open(self._home.lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return os.path.samestat(os.fstat(fd), os.fstat(there))
        finally:
            os.close(there)

    def _close(self) -> None:
        for fd in (self._fd, self._turn):
            if fd is not None:
                with contextlib.suppress(OSError):  # of a filesystem that went away
                    os.close(fd)
        self._fd = self._turn = None
        self._turns = 0

    def _write_note(self, fd: int) -> None:
        """Who holds it, for whoever comes second."""
        note: dict[str, Any] = {"holder": self._holder, "pid": os.getpid()}
        with contextlib.suppress(OSError):
            note |= place_of(self._home.path).as_note()
            note["since"] = datetime.now(UTC).isoformat(timespec="seconds")
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(note).encode(), 0)
            os.fsync(fd)

    def _confirm(self) -> None:
        """Where two hosts may both have found the lock free: the last to write its note has it."""
        if not on_network(self._home.path):
            return
        time.sleep(CONFIRM_SECONDS)
        found = holder_of(self._home)
        if found is not None and not (found.here and found.pid == os.getpid()):
            raise ManagerRunning(in_use(self._home, found))
