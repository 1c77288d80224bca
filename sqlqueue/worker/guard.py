"""The guard of a child: starts it, waits for it, and ends whatever it leaves behind.

`python -I -S guard.py ORDERS REPORTS COMMAND...`: on the descriptor ORDERS come single
bytes (`t`: tell the child to stop; `k`: end everything), on REPORTS leaves the child's
status, one number, once nothing of it runs any more.  The command finds its own
descriptors and its output in place.

Promises: whoever descends from the child ends when the child does, or when ORDERS closes
because the supervisor is gone, in whatever way either died: daemons that left the process
group and the session too, for the kernel hands them to the guard (Linux; elsewhere the
process group alone).  A script by itself, started for every child: it imports nothing
that takes time.  What is not here: what the child is told, and why it ends; the end of a
guard's own brood when it is killed itself (`orphans.py`).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

TELL = b"t"
KILL = b"k"
PR_SET_CHILD_SUBREAPER = 36
LONGEST_SECONDS = 30.0
"""A process that cannot be ended, stuck in the kernel or another user's, is given up."""
PAUSE_SECONDS = 0.002

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_FOR_THE_WORKER = signal.SIGUSR1
"""A batch system may send it to all processes of a job; what runs hears of it from the worker."""


class Guard:
    """Of one child."""

    def __init__(self, command: list[str]) -> None:
        self.status: int | None = None
        self._woken = _wake_on_death()
        kept = [each for each in _IGNORED if signal.getsignal(each) is signal.SIG_IGN]
        for number in (*_IGNORED, _FOR_THE_WORKER):
            signal.signal(number, signal.SIG_IGN)
        default = [each for each in (*_IGNORED, signal.SIGPIPE) if each not in kept]
        self._pid = os.posix_spawn(
            command[0], [*command, str(os.getpid())], os.environ, setpgroup=0, setsigdef=default
        )

    def watch(self, orders: int) -> None:
        """Until the child has ended, or shall: then ends all that descends from it."""
        poll = select.poll()
        poll.register(orders, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while self.status is None:
            ready = {fd for fd, _ in poll.poll()}
            if self._woken in ready:
                os.read(self._woken, 4096)
            self._reap()
            if orders in ready and self._ordered(os.read(orders, 4096)):
                break
        self._end_all()

    def _ordered(self, said: bytes) -> bool:
        """Whether all is to end; nothing said: the supervisor is gone."""
        if TELL in said and self.status is None:
            os.kill(self._pid, signal.SIGTERM)
        return KILL in said or not said

    def _end_all(self) -> None:
        """Kills and buries until nobody is left, for as long as that may take."""
        limit = time.monotonic() + LONGEST_SECONDS
        _send(signal.SIGKILL, [-self._pid])
        while (found := descendants(os.getpid())) or self.status is None:
            kill(found)
            self._reap()
            if time.monotonic() > limit:
                return
            time.sleep(PAUSE_SECONDS)

    def _reap(self) -> None:
        """Buries the child, and the orphans that were handed to us."""
        try:
            while (dead := os.waitpid(-1, os.WNOHANG))[0]:
                if dead[0] == self._pid:
                    self.status = os.waitstatus_to_exitcode(dead[1])
        except ChildProcessError:
            return


class Process:
    """One process: its parent, its process group, when it began (ticks since the start-up)."""

    def __init__(self, parent: int, group: int, began: int) -> None:
        self.parent = parent
        self.group = group
        self.began = began


def descendants(root: int) -> list[int]:
    """The processes below `root`, the dead and not yet buried too; none without a /proc."""
    looked = {pid: each for pid in numbers() if (each := look(pid)) is not None}
    return below([root], looked)


def below(roots: list[int], processes: dict[int, Process]) -> list[int]:
    """Those of `processes` that descend from `roots`."""
    children: dict[int, list[int]] = {}
    for pid, each in processes.items():
        children.setdefault(each.parent, []).append(pid)
    found: list[int] = []
    generation = roots
    while generation:
        generation = [pid for parent in generation for pid in children.get(parent, ())]
        found += generation
    return found


def numbers() -> list[int]:
    """The numbers of all processes, as a rule the newest first; none without a /proc."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - to start at once
    except OSError:
        return []
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def look(pid: int) -> Process | None:
    """None when it is gone.  Its own name may hold blanks and brackets."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            told = file.read().rpartition(b")")[2].split()
        return Process(int(told[1]), int(told[2]), int(told[19]))
    except (OSError, ValueError, IndexError):
        return None


def kill(pids: list[int]) -> None:
    """Stopped first, so that none can start another while the others are killed."""
    _send(signal.SIGSTOP, pids)
    _send(signal.SIGKILL, pids)


def _send(number: int, pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _wake_on_death() -> int:
    """A descriptor that can be read when a process has died."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def adopt_orphans() -> None:
    """From here on, whoever loses its parent below this process becomes its child (Linux)."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return


def _let_go() -> None:
    """Neither the root nor the log is held by us: both may be moved, removed, unmounted."""
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def main(arguments: list[str]) -> None:
    orders, reports = int(arguments[0]), int(arguments[1])
    for fd in (orders, reports):
        os.set_inheritable(fd, False)
    adopt_orphans()
    guard = Guard(arguments[2:])
    _let_go()
    guard.watch(orders)
    if guard.status is not None:
        os.write(reports, b"%d\n" % guard.status)


if __name__ == "__main__":
    main(sys.argv[1:])
