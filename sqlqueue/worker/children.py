"""A child process as its supervisor sees it: started, told what to run, ended with its brood.

A guard (`guard.py`) is the child's parent: when the supervisor dies in whatever way, the
pipe to the guard closes and it ends the child with all that descends from it, even while
the child is deep in C code.  Signals to the child are sent by the guard, which alone
knows that its number is not another's yet.  When the guard itself is killed, the supervisor
ends what it leaves (`orphans.py`).

Promises: what the child says and how it dies arrives in the inbox, in that order, as
`Progress`, `Ended`, `Exited`, each naming its child; what is no notice, or has no end, is
passed over.  What is not here: time limits, and what an ending means.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import msgspec

from sqlqueue.protocol import MAX_MESSAGE_BYTES
from sqlqueue.worker import guard, orphans, sources
from sqlqueue.worker.outcome import Ending, Order

CLOSE_SECONDS: Final = 2.0
UP_SECONDS: Final = 10.0
DRAIN_SECONDS: Final = 5.0
KILL_SECONDS: Final = guard.LONGEST_SECONDS + 5.0
MOST_NOTICE_BYTES: Final = 2 * MAX_MESSAGE_BYTES

log = logging.getLogger("sqlqueue.worker")


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
    """The process is gone, and all that descended from it; a negative status is a signal.

    `unguarded`: the status is that of its guard, which ended without a word of the child's.
    """

    child: ChildProcess
    status: int
    unguarded: bool = False


Event = Progress | Ended | Exited


class ChildProcess:
    """One child, for one experiment, reporting to one inbox.

    `experiment`: empty for one that is started before there is a task; it is for whichever it is
    given first.
    """

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
        self._loaded = _Loaded()
        self._up = threading.Event()
        self._gone = threading.Event()
        self._orders: int
        self._control: io.FileIO
        self._guard: subprocess.Popen[bytes]
        self._start(root, environment, log)

    def fit_for(self, experiment: str) -> bool:
        """Whether it is alive and has loaded what the files say now.

        One without an experiment is waited for: what keeps it from coming up belongs into the log
        of an attempt, which only another has.
        """
        if not self.experiment:
            self._up.wait(UP_SECONDS)
        if self._gone.is_set() or self.experiment not in ("", experiment):
            return False
        return not sources.changed(self._sources)

    def completed(self, ending: Ending) -> Ending:
        """The ending with what it ran with, which one that died could not say any more."""
        return dataclasses.replace(
            ending,
            code_version=ending.code_version or self._loaded.code_version,
            versions=ending.versions or self._loaded.versions,
        )

    def send(self, order: Order) -> None:
        """Never blocks: a long order to a child that is not reading would."""
        self.experiment = order.experiment
        line = order.line()
        if len(line) <= select.PIPE_BUF:  # the pipe is empty, and holds that much
            self._send(line)
        else:
            threading.Thread(target=self._send, args=(line,), daemon=True).start()

    def terminate(self) -> None:
        """Tells the child, not its own children, that it should stop."""
        self._order(guard.TELL)

    def kill(self) -> None:
        """Ends the child and all that descends from it, at once."""
        self._order(guard.KILL)

    def close(self, patience_seconds: float = CLOSE_SECONDS) -> None:
        """Ends the child: by itself if it does so soon, then it and its brood; buries all."""
        self._control.close()
        self._gone.wait(patience_seconds)
        self.kill()
        if not self._gone.wait(KILL_SECONDS):
            log.error("a child could not be ended (guard %d): is it stuck?", self._guard.pid)
        orders, self._orders = self._orders, -1  # its number may soon be another file's
        os.close(orders)

    def _order(self, said: bytes) -> None:
        with contextlib.suppress(OSError):  # the guard is gone: so is the child
            os.write(self._orders, said)

    # --- starting ---------------------------------------------------------------------

    def _start(self, root: Path, environment: Mapping[str, str], log: Path) -> None:
        with contextlib.ExitStack() as after, contextlib.ExitStack() as undo:
            orders, self._orders = _pipe(after, undo)
            control, control_end = _pipe(after, undo)
            reports_end, reports = _pipe(undo, after)
            notices_end, notices = _pipe(undo, after)
            sink = _open_log(log)
            after.callback(os.close, sink)
            self._guard = orphans.start_guard(
                lambda: subprocess.Popen(
                    [*_guarded(orders, reports), *_command(control, notices)],
                    stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=root,
                    env=dict(environment), pass_fds=(orders, reports, control, notices),
                    process_group=0,
                )
            )  # fmt: skip
            undo.pop_all()
        self._control = io.FileIO(control_end, "w")
        self._reader = threading.Thread(target=self._read, args=(notices_end,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, args=(reports_end,), daemon=True).start()

    def _send(self, line: bytes) -> None:
        rest = memoryview(line)
        with contextlib.suppress(OSError, ValueError):  # it died: `Exited` says so
            while rest:
                rest = rest[self._control.write(rest) :]

    # --- what it says -----------------------------------------------------------------

    def _read(self, notices: int) -> None:
        whole = True
        with open(notices, "rb") as lines:
            while line := lines.readline(MOST_NOTICE_BYTES):
                begins, whole = whole, line.endswith(b"\n")
                if begins and whole:
                    self._hear(line)

    def _hear(self, line: bytes) -> None:
        """A notice; an experiment may write anything to a descriptor that is not its own."""
        try:
            said = _notice(line)
        except Exception:
            log.warning("the child of %s sent what is no notice", self.experiment)
            return
        if isinstance(said, _Progress):
            self._inbox.put(Progress(self, said.step, said.total, said.metrics))
        elif isinstance(said, _Ready):
            self._up.set()
        elif isinstance(said, _Loaded):
            self._loaded = said
        else:
            self._sources = said.ending.sources
            self._inbox.put(Ended(self, said.ending, said.unsaved))

    def _watch(self, reports: int) -> None:
        """Waits until the child and all below it are gone, and only then tells."""
        with open(reports, "rb") as lines:
            said = lines.readline()
        status = self._reported(said) if said else self._unguarded()
        self._reader.join(DRAIN_SECONDS)
        self._gone.set()
        self._up.set()
        self._inbox.put(Exited(self, status, unguarded=not said))

    def _reported(self, said: bytes) -> int:
        orphans.bury(self._guard)
        return int(said)

    def _unguarded(self) -> int:
        """The guard itself was killed; or the child cannot be ended.

        PDEATHSIG has reached the child alone: the rest of its brood is ours to end.
        """
        if left := orphans.end(self._guard):
            log.error("what a killed guard left could not be ended: %s; is it stuck?", left)
        return self._guard.returncode


class _Ready(msgspec.Struct, tag="ready", tag_field="type"):
    """It has imported what every run needs, and waits for an order."""


class _Progress(msgspec.Struct, tag="progress", tag_field="type"):
    step: float | None
    total: float | None
    metrics: dict[str, Any]


class _Loaded(msgspec.Struct, tag="loaded", tag_field="type"):
    """The experiment is loaded: what its attempts run with."""

    code_version: str = ""
    versions: dict[str, str] = {}


class _Ended(msgspec.Struct, tag="ended", tag_field="type"):
    unsaved: str
    ending: Ending


def _notice(line: bytes) -> _Ready | _Progress | _Loaded | _Ended:
    return msgspec.convert(json.loads(line), _Ready | _Progress | _Loaded | _Ended)


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe, each end closed with a stack: what goes to a child `after`, what is kept `undo`."""
    reading, writing = os.pipe()
    reader.callback(os.close, reading)
    writer.callback(os.close, writing)
    return reading, writing


def _open_log(log: Path) -> int:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _guarded(orders: int, reports: int) -> list[str]:
    """`-I -S`: nothing of the user's or of the environment's is imported; it starts at once."""
    return [sys.executable, "-I", "-S", str(guard.__file__), str(orders), str(reports)]


def _command(control: int, notices: int) -> list[str]:
    """What the guard runs, its own number after it.

    `-P`: a file of the user's in the root must not stand in for a module of Python's.
    """
    return [sys.executable, "-P", "-m", "sqlqueue.worker.child", str(control), str(notices)]
