"""One attempt, watched from outside: its child, its time limit, and what may end it early.

Promises: whatever the child does, `wait` returns: with how the attempt ended, and why it
was ended early if it was.  A child told to stop gets a grace; then its whole process group
is killed.  What completed within the grace is complete.  What is not here: the manager.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal

from sqlqueue.worker import deaths, outcome
from sqlqueue.worker.children import ChildProcess, Ended, Exited, Progress
from sqlqueue.worker.outcome import COMPLETED, STOPPED, Ending, Order

FOLLOW_SECONDS: Final = 1.0
"""Whoever stops a whole job signals the child too: how long to wait for our own signal."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

Why = Literal["timeout", "cancel", "stop"]

log = logging.getLogger("sqlqueue.worker")


@dataclass(frozen=True)
class Cancel:
    """The manager says that this attempt must stop."""

    task_id: str
    attempt: int


@dataclass(frozen=True)
class Stop:
    """The worker is to end, for that reason.  `grace_seconds`: what the child may still take; None:
    the usual; infinite where whoever asked has a limit of its own."""

    reason: str = "the worker stops"
    grace_seconds: float | None = None


class Attempt:
    """A running attempt; `progress` is what its experiment last reported."""

    def __init__(
        self,
        child: ChildProcess,
        order: Order,
        timeout_seconds: float | None,
        grace_seconds: float,
        inbox: SimpleQueue[Any],
    ) -> None:
        self.order = order
        self.progress: Progress | None = None
        self.why: Why | None = None
        self.reason = ""
        self.child_lost = False
        self._child = child
        self._inbox = inbox
        self._timeout_seconds = timeout_seconds
        self._grace_seconds = grace_seconds
        self._deadline: float | None = None
        self._killed_before = 0

    def begin(self) -> None:
        """Sends the order."""
        self._child.send(self.order)
        if self._timeout_seconds is not None:
            self._deadline = _now() + self._timeout_seconds
        self._killed_before = deaths.oom_kills()  # it has had no time to fill any memory yet

    def wait(self) -> Ending:
        """Waits for the ending."""
        while True:
            match self._next():
                case None:
                    self._late()
                case Cancel(task_id, attempt):
                    if (task_id, attempt) == (self.order.task_id, self.order.attempt):
                        self._end_early("cancel")
                case Stop() as stop:
                    self._stop(stop)
                case Progress() as said if said.child is self._child:
                    self.progress = said
                case Ended() as said if said.child is self._child:
                    return self._explain(self._ended(said))
                case Exited() as said if said.child is self._child:
                    return self._explain(self._exited(said))

    def _next(self) -> Any:
        """What happens next; None when the deadline passed."""
        left = None if self._deadline is None else max(0.0, self._deadline - _now())
        try:
            return self._inbox.get(timeout=None if left == math.inf else left)
        except Empty:
            return None

    def _late(self) -> None:
        """The time limit, or the grace, is over."""
        if self.why is None:
            self._end_early("timeout")
        else:
            self._deadline = None
            self._child.kill()

    def _end_early(self, why: Why) -> None:
        """Tells the child to stop; a second reason changes nothing."""
        if self.why is None:
            self.why = why
            self._deadline = _now() + self._grace_seconds
            self._child.terminate()

    def _stop(self, stop: Stop) -> None:
        """A second one can only shorten what the first one left."""
        grace = self._grace_seconds if stop.grace_seconds is None else stop.grace_seconds
        end = _now() + grace
        if self.why is None:
            self.why, self.reason, self._deadline = "stop", stop.reason, end
            self._child.terminate()
        elif self._deadline is not None:
            self._deadline = min(end, self._deadline)

    def _ended(self, said: Ended) -> Ending:
        if said.unsaved:
            log.warning("%s: outcome not saved: %s", self.order.task_id, said.unsaved)
        return said.ending

    def _exited(self, said: Exited) -> Ending:
        """It died; perhaps after it had written how the attempt ended."""
        self.child_lost = True
        found = outcome.find(self.order)
        if found is not None:
            return found
        grew = deaths.oom_kills() > self._killed_before
        ending = deaths.describe(said.status, Path(self.order.log), grew, said.unguarded)
        by_signal = -said.status in STOP_SIGNALS
        return replace(ending, outcome=STOPPED) if by_signal else ending

    def _explain(self, ending: Ending) -> Ending:
        """The ending, in view of why it was ended early, and with what it ran with."""
        ending = self._child.completed(ending)
        if ending.outcome == COMPLETED:
            return ending
        if ending.outcome == STOPPED and self.why is None:
            self._await_stop()
        if self.why == "timeout":
            return replace(ending, outcome="TIMEOUT", error=self._timeout_text())
        if self.why is not None:
            return replace(ending, outcome=STOPPED)
        if ending.outcome == STOPPED:
            return replace(ending, outcome="FAILED", error=self._foreign_stop(ending))
        return ending

    def _await_stop(self) -> None:
        """Somebody else told the child to stop: is it the end of the whole worker?"""
        deadline = _now() + FOLLOW_SECONDS
        while (left := deadline - _now()) > 0 and self.why is None:
            try:
                if isinstance(said := self._inbox.get(timeout=left), Stop):
                    self.why, self.reason = "stop", said.reason
            except Empty:
                return

    def _foreign_stop(self, ending: Ending) -> str:
        said = ending.error or "the experiment stopped when it was told to"
        return f"{said}\nthe child got a SIGTERM that this worker did not send"

    def _timeout_text(self) -> str:
        """The limit in the first line, which kinds are told by; then where it was set."""
        said = (
            f"ran longer than its time limit of {self._timeout_seconds:g} s "
            "(`timeout` in the sweep file)",
            f"set by `timeout` of phase {self.order.phase}, or of another phase that wants this "
            "cell (the largest holds); raise it there, or remove it, run `sqlqueue init` again, "
            f"then `sqlqueue retry {self.order.task_id}`",
            deaths.tail(Path(self.order.log)),
        )
        return "\n".join(filter(None, said))


def _now() -> float:
    return time.monotonic()
