"""What a guard that was killed leaves running: adopted by its supervisor, and ended.

A guard (`guard.py`) ends whatever descends from its child, but a SIGKILL ends the guard alone.
So the process that starts guards adopts orphans as they do: what a dead guard had below it
becomes its own child, whose number cannot be another's before it is buried here.

Promises: when `end` returns, nothing of the guard's brood runs, or it says what could not be
ended; a living guard, what this process started itself (it is in its process group) and what
is older than the dead guard are left alone.  Linux only; elsewhere nothing is found.
What is not here: guards that do their work.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Final

from sqlqueue.worker import guard

LONGEST_SECONDS: Final = guard.LONGEST_SECONDS

_lock = threading.Lock()
"""Held while a guard is started, too: until its number is noted it looks like an orphan."""
_guards: dict[int, int] = {}
"""The guards that are not buried, and when each began."""


def start_guard(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Starts one by `start`; from here on its orphans come to this process."""
    guard.adopt_orphans()
    with _lock:
        process = start()
        found = guard.look(process.pid)
        _guards[process.pid] = found.began if found else 0
    return process


def bury(process: subprocess.Popen[bytes]) -> None:
    """Waits for the end of a guard that has ended its brood."""
    process.wait()
    with _lock:
        _guards.pop(process.pid, None)


def end(process: subprocess.Popen[bytes], seconds: float = LONGEST_SECONDS) -> list[int]:
    """Ends a guard and what it leaves; returns what still runs after so many seconds.

    The guard is waited for first: what was its own is ours only when it is quite dead.
    """
    process.kill()
    process.wait()
    with _lock:
        since = _guards.pop(process.pid, 0)
    limit = time.monotonic() + seconds
    older: set[int] = set()
    while left := _end_some(since, older) or _end_some(since, set()):
        if time.monotonic() > limit:
            return left
        time.sleep(guard.PAUSE_SECONDS)
    return []


def _end_some(since: int, older: set[int]) -> list[int]:
    """Kills and buries what is there now; returns the orphans that it found.

    Each stays our child until it is buried here, so that none can hide: whoever it has begun
    meanwhile is below it, or an orphan itself the next time.
    """
    with _lock:
        orphans, seen = _kill_orphans(since, older)
        guard.kill(guard.below(orphans, seen))
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return orphans


def _kill_orphans(since: int, older: set[int]) -> tuple[list[int], dict[int, guard.Process]]:
    """Each as soon as it is seen, the newest first: of a family in which everyone begins another
    one and ends, the youngest lives for less than it takes to look at all.

    With all that began at `since` or later.  What is `older` is noted, and not looked at again.
    """
    found, seen = [], {}
    for pid in guard.numbers():
        each = None if pid in older else guard.look(pid)
        if each is None:
            continue
        if each.began < since:
            older.add(pid)
            continue
        seen[pid] = each
        if _is_orphan(pid, each):
            guard.kill([pid])
            found.append(pid)
    return found, seen


def _is_orphan(pid: int, process: guard.Process) -> bool:
    """Whether it is a child of this process that it did not start.

    A brood is never in our process group: the child of a guard begins in one of its own.
    """
    is_ours = process.parent == os.getpid() and process.group != os.getpgrp()
    return is_ours and pid not in _guards
