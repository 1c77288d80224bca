"""The lock of a home: one process at a time may write to a queue.

Promises: held until released or until its process is dead, whatever way it dies; a
second holder is refused at once with `ManagerRunning`, which names the first.  The file
stays; only the lock on it counts.  What is not here: a lock that outlives its process,
and taking one over from a host that is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from typing import Any, Final

from sqlqueue.errors import HomeError, ManagerRunning
from sqlqueue.home import Home

_BUSY: Final = {errno.EWOULDBLOCK, errno.EACCES}
_MAX_NOTE_BYTES: Final = 4096


class HomeLock:
    """`with HomeLock(home, "serve"):` owns the queue inside the block."""

    def __init__(self, home: Home, holder: str = "sqlqueue") -> None:
        self._home = home
        self._holder = holder
        self._fd: int | None = None

    def acquire(self) -> None:
        """Takes the lock or raises `ManagerRunning`; never waits."""
        while self._fd is None:
            fd = self._open()
            try:
                self._lock(fd)
                if self._is_current(fd):
                    self._fd, fd = fd, -1
            finally:
                if fd >= 0:
                    os.close(fd)
        self._write_note(self._fd)

    def release(self) -> None:
        """Gives it up.  Harmless when it is not held."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> HomeLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._home.lock, flags, 0o600)
        except OSError as error:
            raise HomeError(f"{self._home.lock}: cannot be opened: {error.strerror}") from None

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                raise ManagerRunning(self._who()) from None
            raise HomeError(
                f"{self._home.lock}: this filesystem cannot lock files ({error.strerror}), "
                "so nothing can keep two managers apart; put the home on another one with --home"
            ) from None

    def _is_current(self, fd: int) -> bool:
        """False when the home was removed and made anew between opening and locking."""
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._home.lock))
        except FileNotFoundError:
            return False

    def _write_note(self, fd: int) -> None:
        """Who holds it, for the message of whoever comes second."""
        note = {"holder": self._holder, "pid": os.getpid(), "hostname": socket.gethostname()}
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(note).encode(), 0)

    def _who(self) -> str:
        found = self._note() or self._home.manager() or {}
        holder, pid = found.get("holder", "a manager"), found.get("pid", "unknown")
        return (
            f"{self._home.path} is in use by {holder} (pid {pid} on "
            f"{found.get('hostname', 'an unknown host')}); only one process may write to a "
            "queue: let that one finish, or stop it first"
        )

    def _note(self) -> dict[str, Any] | None:
        try:
            with open(self._home.lock, "rb") as file:
                found = json.loads(file.read(_MAX_NOTE_BYTES))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None
