"""What to say of a program that ended badly: its exit, and the last of its output.

Promises: the text begins with what failures are told apart by: of a Python program its
exception, of any other the exit status with the last line that it printed; running out of memory
is told apart.  What is not here: the child's own death (`deaths.py`).
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from sqlqueue.plan.headline import TRACEBACK, headline
from sqlqueue.worker import deaths, fault
from sqlqueue.worker.fault import shorten

TAIL_BYTES: Final = 32 * 1024
TAIL_LINES: Final = 100
LAST_LINES: Final = 5
"""Among so many, a program that is no Python's says that memory ran out."""
MOST_CHARACTERS: Final = 300
NOTHING: Final = (
    "the program ended with exit status 0, but wrote no JSON object to the file $SQLQUEUE_RESULT "
    "and printed none as a line of its own"
)

_BY_SIGNAL: Final = 128
"""A shell's exit status for a program that a signal ended, less the signal."""


class ProgramFailed(Exception):
    """A program's end that is no result; `outcome` is the attempt's."""

    def __init__(self, said: str, outcome: str = "FAILED") -> None:
        super().__init__(said)
        self.said = said
        self.outcome = outcome


def failure(status: int, log: Path, errors: bytes, oom_kill: bool) -> ProgramFailed:
    """An exit status that is not 0 (negative: a signal); `errors`: the end of standard error."""
    lines = deaths.last_lines(log)
    complaint = errors.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
    killed = -status if status < 0 else status - _BY_SIGNAL
    if killed == signal.SIGKILL and oom_kill:
        said = _told("the program was killed by the kernel: out of memory", lines)
        return ProgramFailed(said, "OOM")
    if status == 1 and (traceback := _traceback(complaint)):
        said = shorten("\n".join([*traceback, "", f"the program ended with {_exit(status)}"]))
        return ProgramFailed(said, "OOM" if fault.says_memory(headline(said)) else "FAILED")
    words = [each.strip() for each in complaint or lines if each.strip()]
    is_memory = any(map(fault.says_memory, words[-LAST_LINES:]))
    last = f": {words[-1][:MOST_CHARACTERS]}" if words else ""
    said = _told(f"the program ended with {_exit(status)}{last}", lines)
    return ProgramFailed(said, "OOM" if is_memory else "FAILED")


def no_result(why: str, log: Path) -> ProgramFailed:
    """It ended well, but there is no result."""
    return ProgramFailed(_told(f"no result: {why}", deaths.last_lines(log)))


def _told(first: str, lines: list[str]) -> str:
    return shorten("\n".join([first, *deaths.headed(lines)]))


def _traceback(lines: list[str]) -> list[str]:
    """From the first traceback in them on, with which a Python program ends."""
    if TRACEBACK not in lines:
        return []
    return lines[lines.index(TRACEBACK) :]


def _exit(status: int) -> str:
    if status < 0:
        return f"signal {deaths.signal_name(-status)}"
    said = f"exit status {status}"
    if _BY_SIGNAL < status <= _BY_SIGNAL + signal.NSIG:
        return f"{said} ({deaths.signal_name(status - _BY_SIGNAL)}?)"
    return said
