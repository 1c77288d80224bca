"""`run`: a manager and a worker on this machine, until every task is finished.

Promises: a manager that is there is used and left alone; Ctrl-C gives the running tasks
back before the manager stops; where the circuit breaker holds back all that is left it ends, and
says so; the exit status says whether a task of these phases failed, or is held back so.
What is not here: adding the tasks (`initialise.py`), the processes (`parts.py`), and how
progress looks (`live.py`).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlqueue import live
from sqlqueue.contact import figures, manager_answers
from sqlqueue.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    DatabaseDamaged,
    Interrupted,
    ManagerUnreachable,
    QueueError,
    StorageFailure,
)
from sqlqueue.figures import plural, thousands
from sqlqueue.holder import holder_of
from sqlqueue.home import Home
from sqlqueue.interrupts import handling
from sqlqueue.lifecycle import BREAKER_CELLS
from sqlqueue.parts import Part, Repeats
from sqlqueue.report import Figures
from sqlqueue.report_breaker import is_stuck, stopped
from sqlqueue.report_run import print_summary

LOOK_SECONDS: Final = 0.5
START_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
LOOK_SHARE: Final = 10
"""Looking at the queue takes at most one part in so many of the time."""


def together(
    home: Home, phases: Collection[str], verbose: bool, breaker_cells: int = BREAKER_CELLS
) -> int:
    """Runs what is in the queue; returns the exit status."""
    began = time.monotonic()
    before = figures(home)
    idle = before["done"] or not before["totals"]["total"] or is_stuck(before)
    if not idle:
        with _interruptible(), live.display() as display:
            Crew(home, display, verbose, breaker_cells).work()
    status = figures(home)
    print_summary(status, before, None if idle else time.monotonic() - began)
    in_vain = status["reruns_failed"] > before["reruns_failed"]
    bad = failed(status, phases) or stopped(status, phases) or in_vain
    return EXIT_FAILED if bad else EXIT_DONE


def failed(status: Figures, phases: Collection[str]) -> int:
    """How many tasks of these phases failed."""
    return sum(each["failed"] for each in status["phases"] if each["phase"] in phases)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal count as Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with handling(interrupt):
        yield


class Crew:
    """The worker, the manager if none is there, and the person who watches.

    The worker decides when all is finished, and our manager is stopped after it: one that
    left by itself could leave a worker behind that did not hear it.
    """

    def __init__(
        self, home: Home, display: live.Display, verbose: bool, breaker_cells: int
    ) -> None:
        more = ["--verbose"] if verbose else []
        self._home = home
        self._display = display
        breaker = ["--breaker", str(breaker_cells)]
        self._manager = Part("manager", home, ["serve", *breaker, *more])
        self._worker = Part("worker", home, ["work", *more])
        self._other = False
        """Whether a manager that is not ours was there at the last look."""
        self._misses = 0
        """How often in a row ours ended, and nobody was seen to have the queue."""
        self._repeats = Repeats()
        self._pause_seconds = LOOK_SECONDS
        self._stuck = False
        """Whether the breaker holds back all that is left."""

    def work(self) -> None:
        """Until the worker finds that all is finished, or nothing more happens by itself."""
        try:
            self._start()
            while self._worker.status is None and not self._stuck:
                self._look()
                self._tend()
                self._worker.wait(self._pause_seconds)
                self._recover()
            self._stop()
        except KeyboardInterrupt:
            self._interrupted()
        except BaseException:
            self._stop()
            raise

    def _start(self) -> None:
        """Our manager first: a worker that finds none would warn."""
        end = time.monotonic() + START_SECONDS
        while not manager_answers(self._home) and time.monotonic() < end:
            if not self._manager.started:
                self._manager.start()
            self._manager.wait(POLL_SECONDS)
            self._recover()
        self._worker.start()

    def _look(self) -> None:
        began = time.monotonic()
        status = self._figures()
        if status is not None:
            self._display.show(status)
            self._stuck = is_stuck(status)
        took = time.monotonic() - began
        self._pause_seconds = max(LOOK_SECONDS, took * LOOK_SHARE)

    def _figures(self) -> dict[str, Any] | None:
        """None while a manager of ours is on its way, or silent."""
        if self._manager.started and not manager_answers(self._home):
            return None
        try:
            return figures(self._home)
        except (ManagerUnreachable, StorageFailure) as error:
            if isinstance(error, DatabaseDamaged):
                raise
            self._display.say(error.message)
            return None

    def _tend(self) -> None:
        """Passes warnings on; a manager that was there and has left is replaced by ours."""
        for part in (self._manager, self._worker):
            for line in part.warnings() if part.started else []:
                if told := self._repeats.told(line):
                    self._display.say(told)
        if not self._manager.started:
            there, self._other = self._other, manager_answers(self._home)
            if there and not self._other:
                self._display.say("the manager has gone: starting one")
            if not self._other:
                self._manager.start()

    def _recover(self) -> None:
        """A part that ended early is started again; one that failed ends the run."""
        if self._manager.revive(after_leaving=True):
            self._display.say("the manager has ended: started again")
        if self._worker.revive():
            self._display.say("the worker was killed: started again")
        if self._worker.status:
            raise self._worker.failure()
        if self._manager.status is not None:
            self._give_way()

    def _give_way(self) -> None:
        """Our manager ended: it was refused if another process has the queue, or had it just
        now; then that one is used, or ours is tried again.  Else it failed."""
        holder = holder_of(self._home)
        taken = manager_answers(self._home) or (holder is not None and holder.lives)
        self._misses = 0 if taken else self._misses + 1
        if self._misses > 1:
            raise self._manager.failure()
        self._manager.forget()

    def _interrupted(self) -> None:
        with suppress(KeyboardInterrupt):
            self._display.say(
                "stopping: running tasks go back to the queue (Ctrl-C again: at once)"
            )
        self._stop()
        raise Interrupted(f"interrupted: {self._kept()}; run the same command again for the rest")

    def _kept(self) -> str:
        try:
            totals = figures(self._home)["totals"]
        except QueueError:
            return "what was completed is kept"
        total = plural(totals["total"], "task")
        return f"{thousands(totals['completed'])} of {total} completed"

    def _stop(self) -> None:
        """First the worker, so that it can give its tasks back; then our manager."""
        self._worker.stop()
        self._manager.stop()
