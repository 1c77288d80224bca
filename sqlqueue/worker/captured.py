"""The captured output of one attempt: a file that the child appends to, kept within bounds.

The child writes to the file itself, so that nothing between the two can block it or lose
its last words.  From beside, the file is looked at while the attempt lasts: once it is
longer than `MOST_BYTES`, its middle is left out, and a line says how much that was.

Promises: an attempt has a place for its output, and if it is only the null device; the
first and the last of what it printed stay, in a bounded file, under whatever name or none
the file has by then.  What is not here: showing it (`following.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlqueue.disk import Disk
from sqlqueue.worker.outcome import Order

MOST_BYTES: Final = 32 * 1024 * 1024
FIRST_BYTES: Final = 4 * 1024 * 1024
LAST_BYTES: Final = 12 * 1024 * 1024
MOST_READS: Final = 4
LOOK_SECONDS: Final = 0.5
CLOSE_SECONDS: Final = 5.0

NOTE: Final = "\n[... sqlqueue: about {:,} bytes of output left out here ...]\n"
_NOTE: Final = re.compile(
    rb"\n\[\.\.\. sqlqueue: about ([\d,]+) bytes of output left out here \.\.\.\]\n"
)
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK

log = logging.getLogger("sqlqueue.worker")


class Captured:
    """One attempt's output file while the attempt lasts; `with Captured(path): ...`."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        """Opens or makes the file; raises `OSError`."""
        self._disk = disk or Disk()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = self._disk.open(path, _FLAGS, 0o600)
        self._left_out = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Captured:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits a moment only: a filesystem that hangs must not hold up what follows."""
        self._over.set()
        self._thread.join(CLOSE_SECONDS)

    def _look(self) -> None:
        try:
            while not self._over.wait(LOOK_SECONDS):
                self._shorten()
            self._shorten()
        finally:
            with contextlib.suppress(OSError):  # its filesystem may have gone away
                os.close(self._fd)

    def _shorten(self) -> None:
        with contextlib.suppress(OSError):
            size_bytes = os.fstat(self._fd).st_size
            if size_bytes > MOST_BYTES:
                self._leave_out(size_bytes)

    def _leave_out(self, size_bytes: int) -> None:
        """What the child prints in this very instant may be left out too, or come early."""
        start = size_bytes - LAST_BYTES
        last = os.pread(self._fd, LAST_BYTES, start)
        for _ in range(MOST_READS):  # what came while that was read, so that the instant is short
            more = os.pread(self._fd, LAST_BYTES, start + len(last))
            last += more
            if not more:
                break
        self._left_out += start - FIRST_BYTES
        self._disk.truncate(self._fd, FIRST_BYTES)
        self._disk.append(self._fd, NOTE.format(self._left_out).encode() + last)


def left_out(fd: int) -> tuple[int, int]:
    """How many bytes were left out of the middle of that file, and how long the note of it is."""
    found = _NOTE.match(os.pread(fd, 2 * len(NOTE), FIRST_BYTES))
    return (int(found[1].replace(b",", b"")), len(found[0])) if found else (0, 0)


def capture(order: Order, spare: Path) -> tuple[Order, Captured]:
    """The open output file of an order, and the order as it names that file.

    Where the file cannot be made it is one in `spare`, or else the null device.
    """
    problem: OSError | None = None
    for place in _places(order, spare):
        try:
            captured = Captured(Path(place.log))
        except OSError as error:
            problem = problem or error
            continue
        if problem is not None:
            log.warning("%s: its output goes to %s: %s", order.task_id, place.log, problem)
        return place, captured
    raise AssertionError("the null device can be opened") from problem


def _places(order: Order, spare: Path) -> Iterable[Order]:
    yield order
    for path in (spare / order.task_id / Path(order.log).name, Path(os.devnull)):
        yield replace(order, log=str(path), log_file=str(path))
