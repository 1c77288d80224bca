"""What to say of a child that died without an ending.

Promises: names the signal or the exit status, gives the last lines of its log, and tells
a kill for lack of memory apart where the kernel's counters show it.  What is not here:
deaths that the supervisor brought about.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Final

from sqlqueue.worker.fault import shorten
from sqlqueue.worker.outcome import Ending

TAIL_BYTES: Final = 8192
TAIL_LINES: Final = 20

_COUNTER: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills() -> int:
    """How often the kernel has killed for memory so far, as far as this process can see.

    The machine's counter and the control group's (both versions): in a container one of
    them may be hidden.
    """
    return sum(_count(path) for path in (Path("/proc/vmstat"), *_cgroup_files()))


def _count(path: Path) -> int:
    try:
        found = _COUNTER.search(path.read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _cgroup_files() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    groups = {kinds: path.lstrip("/") for _, kinds, path in (each.split(":", 2) for each in lines)}
    base = Path("/sys/fs/cgroup")
    return [
        base / groups.get("", "") / "memory.events",
        base / "memory" / groups.get("memory", "") / "memory.oom_control",
    ]


def describe(status: int, log: Path, out_of_memory: bool, unguarded: bool = False) -> Ending:
    """The ending of a child that exited with `status` (negative: a signal).

    `unguarded`: the status is its guard's, which died first.
    """
    killed_for_memory = status == -signal.SIGKILL and out_of_memory
    cause = _guard_s_cause if unguarded else _cause
    said = shorten("\n".join(filter(None, (cause(status, killed_for_memory), tail(log)))))
    return Ending("OOM" if killed_for_memory else "FAILED", error=said, retire=True)


def _cause(status: int, killed_for_memory: bool) -> str:
    if killed_for_memory:
        return "the child was killed by the kernel: out of memory"
    if status == -signal.SIGKILL:
        return "the child was killed by SIGKILL, not by this worker (out of memory?)"
    if status < 0:
        return f"the child was killed by {signal_name(-status)}"
    return (
        f"the child ended with exit status {status} before the experiment returned "
        "(os._exit, or a library that ends the process)"
    )


def _guard_s_cause(status: int, killed_for_memory: bool) -> str:
    """The child went with its guard, whatever it was doing."""
    if status == 0:
        return "the child had to be killed, and did not end for long"
    if killed_for_memory:
        return "the guard of the child was killed by the kernel: out of memory"
    how = f"was killed by {signal_name(-status)}" if status < 0 else f"ended with status {status}"
    return f"the guard of the child {how}, not by this worker: the child was ended with it"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def tail(log: Path) -> str:
    """The last lines that the attempt printed, under a heading; empty when there are none."""
    return "\n".join(headed(last_lines(log)))


def last_lines(log: Path, most_bytes: int = TAIL_BYTES, most: int = TAIL_LINES) -> list[str]:
    """The last lines of a log, the first of them perhaps cut; none when it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
            lines = file.read(most_bytes).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[-most:]


def headed(lines: list[str]) -> list[str]:
    """The last of them under a heading; nothing when there are none."""
    if not lines:
        return []
    return ["last lines of its log:", *(f"  {each}" for each in lines[-TAIL_LINES:])]
