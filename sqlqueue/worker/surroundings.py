"""What an attempt finds around it in the child, put right before every attempt.

Promises: each attempt starts in the root, with the environment, module path, umask and signal
handlers that the child began with, and with descriptors 0, 1 and 2 open: nothing to read,
and its own log file to write, whatever the attempt before did to them.  A log that takes
no more, on a full disk, costs what is printed and not the attempt.  What is not here: what
user code did inside its own modules; a child that cannot be put right is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FIRST_FREE_FD: Final = 3

_FULL: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE}
)
"""Why a filesystem takes no more; a descriptor that user code closed is its own affair."""


class Surroundings:
    """As they were when the child began; `on_term` is called when it is told to stop."""

    def __init__(self, root: Path, on_term: Callable[[], None]) -> None:
        self._root = root
        self._on_term = on_term
        self._environ = dict(os.environ)
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._path = [str(root), *(each for each in sys.path if each != str(root))]
        self._streams: list[TextIO] = []
        self._threads = set(threading.enumerate())

    def restore(self, log: Path) -> None:
        """Puts everything right, and opens the log."""
        self.regain()
        os.chdir(self._root)
        _restore_environ(self._environ)
        sys.path[:] = self._path
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda *_: self._on_term())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _redirect(log)
        self._restore_streams()

    def regain(self) -> None:
        """What writing needs: files that this user may read again."""
        os.umask(self._umask)

    def flush(self) -> None:
        """Brings what was printed into the log."""
        for stream in (sys.stdout, sys.stderr, *self._streams):
            with contextlib.suppress(Exception):  # closed, or the user's own
                stream.flush()

    def left_over(self) -> list[str]:
        """Names of threads that would run into the next attempt."""
        found = set(threading.enumerate()) - self._threads
        return [each.name for each in found if not each.daemon and each.is_alive()]

    def _restore_streams(self) -> None:
        if not self._streams or any(each.closed for each in self._streams):
            self._streams = [_stream(1), _stream(2)]
        sys.stdout, sys.stderr = self._streams


def _restore_environ(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


class _Log(io.FileIO):
    """The log as Python's streams write it: what the disk does not take is dropped."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return memoryview(data).nbytes


def _stream(fd: int) -> TextIO:
    buffered = io.BufferedWriter(_Log(fd, "w", closefd=False))
    return io.TextIOWrapper(
        buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def _redirect(log: Path) -> None:
    """Descriptors 1 and 2 append to the log, 0 reads nothing."""
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _put(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, (1, 2))
    except OSError:
        _put(Path(os.devnull), os.O_WRONLY, (1, 2))
    _put(Path(os.devnull), os.O_RDONLY, (0,))


def _put(path: Path, flags: int, targets: tuple[int, ...]) -> None:
    """Opens `path` as each of `targets`, also when they are closed just now."""
    low = os.open(path, flags | os.O_CLOEXEC, 0o600)
    fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD)
    os.close(low)
    for target in targets:
        os.dup2(fd, target)
    os.close(fd)
