"""A child process as its supervisor sees it: started, told what to run, ended as a group.

A guard, a shell that waits for a pipe to close, leads the child's process group: when the
supervisor dies in whatever way, the pipe closes and the guard kills the group, children
of the child included, even while the child is deep in C code.  The guard is reaped last,
so the group's number cannot be another's while this supervisor may send a signal to it.

Promises: what the child says and how it dies arrives in the inbox, in that order, as
`Progress`, `Ended`, `Exited`, each naming its child.  What is not here: time limits, and
what an ending means.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import msgspec

from sqlqueue.worker import sources
from sqlqueue.worker.outcome import Ending, Order

CLOSE_SECONDS: Final = 2.0
DRAIN_SECONDS: Final = 5.0
KILL_SECONDS: Final = 30.0
GUARD: Final = ["/bin/sh", "-c", 'trap "" TERM INT HUP QUIT; read nothing; kill -9 0']


@dataclass(frozen=True)
class Progress:
    """How far the experiment says that it is."""

    child: ChildProcess
    step: float | None
    total: float | None
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """The attempt ended; `unsaved` says why its outcome file could not be written."""

    child: ChildProcess
    ending: Ending
    unsaved: str


@dataclass(frozen=True)
class Exited:
    """The process is gone, and its group with it; a negative status is a signal."""

    child: ChildProcess
    status: int


Event = Progress | Ended | Exited


class ChildProcess:
    """One child, for one experiment, reporting to one inbox."""

    def __init__(
        self,
        root: Path,
        experiment: str,
        environment: Mapping[str, str],
        log: Path,
        inbox: SimpleQueue[Any],
    ) -> None:
        self.experiment = experiment
        self._inbox = inbox
        self._sources: dict[str, sources.Stamp] = {}
        self._gone = threading.Event()
        self._closing = threading.Lock()
        self._reaped = False
        self._start(root, environment, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fit_for(self, experiment: str) -> bool:
        """Whether it is alive and has loaded what the files say now."""
        if self._gone.is_set() or experiment != self.experiment:
            return False
        return not sources.changed(self._sources)

    def send(self, order: Order) -> None:
        """Never blocks: a long order to a child that is not reading would."""
        threading.Thread(target=self._send, args=(order.line(),), daemon=True).start()

    def terminate(self) -> None:
        """Tells the child, not its own children, that it should stop."""
        with self._closing, contextlib.suppress(ProcessLookupError):
            if not self._reaped:
                os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends the whole group at once."""
        with self._closing:
            self._kill()

    def close(self, patience_seconds: float = CLOSE_SECONDS) -> None:
        """Ends the child: by itself if it does so soon, then the whole group; reaps both."""
        self._control.close()
        self._gone.wait(patience_seconds)
        self.kill()
        if not self._gone.wait(KILL_SECONDS):
            return  # stuck in the kernel: nothing more can be done to it
        with self._closing:
            self._reaped = True
            self._guard.wait()
            os.close(self._lifeline)

    # --- starting ---------------------------------------------------------------------

    def _start(self, root: Path, environment: Mapping[str, str], log: Path) -> None:
        with contextlib.ExitStack() as after, contextlib.ExitStack() as undo:
            lifeline, self._lifeline = _pipe(after, undo)
            control, control_end = _pipe(after, undo)
            notices_end, notices = os.pipe()
            after.callback(os.close, notices)
            undo.callback(os.close, notices_end)
            self._guard = _start_guard(lifeline)
            undo.callback(_end_guard, self._guard)
            sink = _open_log(log)
            after.callback(os.close, sink)
            self._process = subprocess.Popen(
                _command(control, notices), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                cwd=root, env=dict(environment), pass_fds=(control, notices),
                process_group=self._guard.pid,
            )  # fmt: skip
            undo.pop_all()
        self._control = io.FileIO(control_end, "w")
        self._reader = threading.Thread(target=self._read, args=(notices_end,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _send(self, line: bytes) -> None:
        rest = memoryview(line)
        with contextlib.suppress(OSError, ValueError):  # it died: `Exited` says so
            while rest:
                rest = rest[self._control.write(rest) :]

    # --- what it says -----------------------------------------------------------------

    def _read(self, notices: int) -> None:
        with open(notices, "rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self._hear(json.loads(line))

    def _hear(self, notice: dict[str, Any]) -> None:
        if notice["type"] == "progress":
            said = (notice["step"], notice["total"], notice["metrics"])
            self._inbox.put(Progress(self, *said))
            return
        ending = msgspec.convert(notice["ending"], Ending)
        self._sources = ending.sources
        self._inbox.put(Ended(self, ending, notice["unsaved"]))

    def _watch(self) -> None:
        """Waits for the death, ends what is left of the group, and only then tells."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self.kill()
        self._reader.join(DRAIN_SECONDS)
        status = self._process.wait()
        self._gone.set()
        self._inbox.put(Exited(self, status))

    def _kill(self) -> None:
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)


def _pipe(after: contextlib.ExitStack, undo: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe: the reading end goes to a child and is closed here, the writing end is kept."""
    reading, writing = os.pipe()
    after.callback(os.close, reading)
    undo.callback(os.close, writing)
    return reading, writing


def _start_guard(lifeline: int) -> subprocess.Popen[bytes]:
    """Leads a new process group."""
    return subprocess.Popen(
        GUARD, stdin=lifeline, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/", process_group=0,
    )  # fmt: skip


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    guard.kill()
    guard.wait()


def _open_log(log: Path) -> int:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _command(control: int, notices: int) -> list[str]:
    """`-P`: a file of the user's in the root must not stand in for a module of Python's."""
    numbers = [str(control), str(notices), str(os.getpid())]
    return [sys.executable, "-P", "-m", "sqlqueue.worker.child", *numbers]
