"""The child process: runs one attempt after another, and writes down how each ended.

`python -m sqlqueue.worker.child CONTROL NOTICES PARENT`: orders come as JSON lines on the
descriptor CONTROL, notices (progress, endings) leave on NOTICES, PARENT is the guard,
which must be alive.  The root is the working directory.

Promises: an ending is a durable file before it is a notice; what an experiment raises,
prints or exits with ends its attempt and not this process; the child ends when its
supervisor does.  What is not here: leases, time limits, the manager.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import gc
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlqueue.plan.headline import headline
from sqlqueue.worker import code, fault, outcome, program, versions
from sqlqueue.worker.exits import ProgramFailed
from sqlqueue.worker.kernel import GONE, die_with, go_first
from sqlqueue.worker.metrics import plain, plain_mapping, text
from sqlqueue.worker.outcome import COMPLETED, STOPPED, Ending, Order
from sqlqueue.worker.sources import Sources
from sqlqueue.worker.surroundings import Surroundings

PROGRESS_SECONDS: Final = 0.25
MAX_PROGRESS_BYTES: Final = 16_000


class Notices:
    """The pipe to the supervisor; thread-safe.

    User code may close any descriptor, and its number may then be another file's: nothing
    is written before the descriptor proved to be the pipe still.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._identity = _identity(fd)
        self._lock = threading.Lock()
        self._reported = -PROGRESS_SECONDS

    def send(self, **fields: Any) -> bool:
        """Says whether the supervisor can still be told anything."""
        data = memoryview(json.dumps(fields).encode() + b"\n")
        with self._lock:
            if _identity(self._fd) != self._identity:
                return False
            with contextlib.suppress(OSError):
                while data:
                    data = data[os.write(self._fd, data) :]
            return not data

    def progress(self, step: float, total: float | None, metrics: Mapping[str, Any]) -> None:
        """Passed on at most every `PROGRESS_SECONDS`."""
        now = time.monotonic()
        if now - self._reported < PROGRESS_SECONDS:
            return
        self._reported = now
        shown = plain_mapping(metrics)
        if outcome.size_bytes(shown) > MAX_PROGRESS_BYTES:
            shown = {}
        self.send(type="progress", step=_number(step), total=_number(total), metrics=shown)


class Stop:
    """Whether the child was told to stop, and whether the experiment asked and heard it."""

    def __init__(self) -> None:
        self.told = False
        self.heard = False

    def tell(self) -> None:
        self.told = True

    def asked(self) -> bool:
        self.heard = self.heard or self.told
        return self.told


class Child:
    """One after another."""

    def __init__(self, root: Path, notices: Notices) -> None:
        self._root = root
        self._notices = notices
        self._pid = os.getpid()
        self._stop = Stop()
        self._sources = Sources(root)
        self._surroundings = Surroundings(root, self._stop.tell)
        self._code = code.Loaded(root)
        self._settled = False

    def is_ready(self) -> None:
        """Tells the supervisor that what every run needs is imported."""
        self._notices.send(type="ready")

    def run(self, order: Order) -> bool:
        """Runs the attempt; says whether another can follow."""
        self._surroundings.restore(Path(order.log))
        ending = self._end(order)
        if os.getpid() != self._pid:
            os._exit(GONE)  # a copy that the experiment forked must not come back as the child
        self._surroundings.flush()
        self._surroundings.regain()
        unsaved = _save(order, ending)
        told = self._notices.send(type="ended", unsaved=unsaved, ending=dataclasses.asdict(ending))
        gc.collect()  # while the supervisor submits: what the attempt left must not pile up
        return told and not ending.retire

    def leave(self) -> None:
        """Ends at once if threads of the experiment would keep the process from ending."""
        self._surroundings.flush()
        if self._surroundings.left_over():
            os._exit(0)

    def _end(self, order: Order) -> Ending:
        """The ending, with what the supervisor needs to know about this process."""
        ending = self._attempt(order)
        threads = self._surroundings.left_over()
        if threads:
            _say(f"sqlqueue: threads were left running: {', '.join(threads)}")
        left = program.left_over() if order.command is not None else []
        if left:
            _say(f"sqlqueue: {len(left)} processes that it left running are ended")
        retire = ending.retire or bool(threads) or bool(left)
        ran: dict[str, Any] = {"code_version": self._code.version, "versions": _versions(order)}
        return dataclasses.replace(ending, retire=retire, sources=self._sources.look(), **ran)

    def _attempt(self, order: Order) -> Ending:
        begun, loaded = time.perf_counter(), False
        try:
            function = self._load(order)
            begun, loaded = time.perf_counter(), True
            returned = function(order.config, self._handle(order))
            return self._returned(order, returned, time.perf_counter() - begun)
        except BaseException as error:
            seconds = time.perf_counter() - begun
            missing = order.elsewhere and fault.is_missing(error, loaded)
            return self._raised(error, seconds, outcome.UNAVAILABLE if missing else "")

    def _load(self, order: Order) -> Callable[[dict[str, Any], Any], Any]:
        from sqlqueue.experiments import command, load

        if order.command is not None:
            self._note_code(order, command.files(order.command, self._root))
            return program.Program(order, self._root, lambda: self._stop.told)
        function = load(order.experiment, self._root)
        self._settle_in()
        self._note_code(order, self._sources.look())
        return function

    def _settle_in(self) -> None:
        """What is loaded stays for good, and need not be looked through after each attempt: with a
        large library that takes longer than to store a result."""
        if not self._settled:
            gc.collect()
            gc.freeze()
            self._settled = True

    def _note_code(self, order: Order, files: Iterable[str | Path]) -> None:
        """Of what was just loaded; told at once, since this process may die of it."""
        if self._code.note(order.experiment, files, may_change=order.command is not None):
            told = {"code_version": self._code.version, "versions": _versions(order)}
            self._notices.send(type="loaded", **told)

    def _handle(self, order: Order) -> Any:
        from sqlqueue.experiments.run import Run

        report, stop = self._notices.progress, self._stop.asked
        return Run(Path(order.checkpoint), order.run_device, order.seed, report, stop)

    def _returned(self, order: Order, returned: object, seconds: float) -> Ending:
        if self._stop.heard:
            return Ending(STOPPED, seconds=seconds, retire=True)
        if not isinstance(returned, Mapping):
            error = (
                f"the experiment returned {text(returned)[:200]!r} ({type(returned).__name__}); "
                "expected a dict of metrics, such as {'accuracy': 0.9}"
            )
            return Ending("FAILED", error=error, seconds=seconds)
        try:
            found = plain_mapping(returned)
        except Exception as problem:  # its own methods may raise anything
            error = f"the metrics returned, a {type(returned).__name__}, cannot be read: "
            return Ending("FAILED", error=error + text(problem)[:200], seconds=seconds)
        return Ending(COMPLETED, metrics=outcome.fit(found, _roomy(order)), seconds=seconds)

    def _raised(self, error: BaseException, seconds: float, kind: str) -> Ending:
        """What raised may have left memory or a device in any state: the child is replaced."""
        if self._stop.told:
            return Ending(STOPPED, seconds=seconds, retire=True)
        if isinstance(error, ProgramFailed):  # what it printed is in the log already
            _say(f"sqlqueue: {headline(error.said)}")
            return Ending(error.outcome, error=error.said, seconds=seconds, retire=True)
        said = fault.describe(error)
        _say(said)
        return Ending(kind or fault.outcome(error), error=said, seconds=seconds, retire=True)


def _versions(order: Order) -> dict[str, str]:
    """A command's program runs with others than this process."""
    return versions.own() if order.command is not None else versions.loaded()


def _save(order: Order, ending: Ending) -> str:
    """Writes the ending as a file; why it could not be, or nothing."""
    problems = []
    for folder in order.folders():
        try:
            outcome.write(order, ending, folder=folder)
        except (OSError, MemoryError) as error:
            problems.append(f"{folder}: {error or type(error).__name__}")
        else:
            return ""
    return "; ".join(problems)


def _roomy(order: Order) -> list[Path]:
    """Where a metric that is too large for a message may lie, the best first."""
    return [Path(order.checkpoint), *([Path(f"{order.spare}-returned")] if order.spare else [])]


def _say(said: str) -> None:
    """Into the log, if it takes it: a full disk or a spoilt stream must not end the child."""
    with contextlib.suppress(Exception):
        print(said, file=sys.stderr)


def _number(value: object) -> float | None:
    found = plain(value)
    if isinstance(found, int | float):
        with contextlib.suppress(OverflowError):
            return float(found)
    return None


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def main(arguments: list[str]) -> None:
    control, notices, parent = map(int, arguments)
    die_with(parent)
    go_first()
    for fd in (control, notices):
        os.set_inheritable(fd, False)
    faulthandler.enable()  # a segmentation fault leaves a trace in the log
    child, identity = Child(Path.cwd(), Notices(notices)), _identity(control)
    child.is_ready()
    try:
        with open(control, "rb", closefd=False) as orders:
            while _identity(control) == identity and (line := orders.readline()):
                if not child.run(outcome.read_order(line)):
                    break
    except BaseException:
        _say(traceback.format_exc())
        os._exit(GONE)  # threads of an experiment would keep the process, and the attempt, alive
    child.leave()


if __name__ == "__main__":
    main(sys.argv[1:])
