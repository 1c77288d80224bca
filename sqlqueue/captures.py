"""Where the captured output of an attempt lies, and reading it while it grows.

Promises: only an ordinary file is read; one whose middle is left out while it is read goes on where
it was.  What is not here: capturing (`worker/captured.py`), which attempts there are
(`store/tries.py`), how the output is shown (`following.py`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlqueue.errors import QueueError
from sqlqueue.home import Home
from sqlqueue.worker.captured import FIRST_BYTES, left_out
from sqlqueue.worker.names import host as this_host

if TYPE_CHECKING:
    from sqlqueue.store.tries import Try

PIECE_BYTES: Final = 1 << 16


class NoOutput(QueueError):
    """The output cannot be shown here; the message says where it is, or was.

    `may_come`: it is only too early.
    """

    may_come = False


class NoOutputYet(NoOutput):
    """The attempt has captured nothing yet."""

    may_come = True


def opened(home: Home, task_id: str, attempt: Try) -> Capture:
    """The captured output of an attempt; raises `NoOutput`."""
    for path in _places(home, task_id, attempt):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return Capture(path, fd)
        os.close(fd)
    raise _missing(home, task_id, attempt)


def _places(home: Home, task_id: str, attempt: Try) -> Iterator[Path]:
    """Where it may lie: as its worker said, in the home, or where that had no room.

    Outside of the root, a path means something on its own host alone.
    """
    is_here = attempt.host in ("", this_host())
    if attempt.log_file and (is_here or not Path(attempt.log_file).is_absolute()):
        yield home.absolute(attempt.log_file)
    name = Path(task_id) / f"{attempt.number}.log"
    yield home.logs / name
    if is_here:
        from sqlqueue.worker.place import state_folder

        yield state_folder() / "logs" / home.queue_id() / name


def _missing(home: Home, task_id: str, attempt: Try) -> NoOutput:
    who = f"{task_id} attempt {attempt.number}"
    path = home.absolute(attempt.log_file) if attempt.log_file else None
    if attempt.host not in ("", this_host()):
        where = f": {path}" if path else ", in the state folder of who runs the worker there"
        return NoOutput(f"{who}: its output is on the host {attempt.host}{where}; look there")
    if attempt.outcome is None:
        where = f"runs on {attempt.worker_id}"
        return NoOutputYet(f"{who}: {where}, and nothing was captured yet; --follow waits")
    place = path or home.logs / task_id / f"{attempt.number}.log"
    return NoOutput(f"{who}: its output is gone: {place} was removed, or never written")


class Capture:
    """An open log; `with opened(...) as capture`.  `left_out`: bytes missing in its middle."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._offset = 0
        self.left_out = left_out(fd)[0]

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def skip_to_last(self, lines: int) -> None:
        """What is read next are the last lines, as many as there are."""
        end = position = os.fstat(self._fd).st_size
        self._offset = 0 if lines else end
        while lines and position > 0:
            begin = max(0, position - PIECE_BYTES)
            for index in _line_ends(os.pread(self._fd, position - begin, begin)):
                if begin + index == end - 1:
                    continue  # the end of the last line itself
                lines -= 1
                if not lines:
                    self._offset = begin + index + 1
                    return
            position = begin

    def pieces(self) -> Iterator[bytes]:
        """All that is there and was not read yet."""
        self._notice_cut()
        while piece := os.pread(self._fd, PIECE_BYTES, self._offset):
            self._offset += len(piece)
            yield piece

    def _notice_cut(self) -> None:
        """Once its middle is left out, what was read ends elsewhere: by the note it is known where.

        Between the cut and the note the file is too short for anything to be read.
        """
        missing, note_bytes = left_out(self._fd)
        if missing <= self.left_out:
            return
        since, self.left_out = missing - self.left_out + FIRST_BYTES, missing
        if self._offset >= since:
            self._offset += FIRST_BYTES + note_bytes - since
        else:
            self._offset = min(self._offset, FIRST_BYTES)


def _line_ends(piece: bytes) -> Iterator[int]:
    """The positions of line ends, the last first."""
    index = piece.rfind(b"\n")
    while index >= 0:
        yield index
        index = piece.rfind(b"\n", 0, index)
