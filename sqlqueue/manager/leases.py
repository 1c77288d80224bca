"""Leases: who holds which attempt, and until when.

A lease belongs to an attempt, not to a worker's name, and is judged by the manager's monotonic
clock alone.  It lives in memory: after a start every running attempt gets one full lease, and
so does everyone after the manager itself was stalled, since it could not hear anybody then.
Pure: the clock is an argument.  What is not here: what happens to a task whose lease lapsed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any, Final

from sqlqueue.plan.forecast import Progress, remaining
from sqlqueue.store.reading import Attempt

STALL_SECONDS: Final = 5.0
"""Two looks further apart than this mean that the manager was not listening in between."""


@dataclass(slots=True)
class Lease:
    """An attempt that somebody runs; `deadline` and `since` on the monotonic clock.

    `disowned`: its worker says that it does not hold it; over at once, whatever the deadline.
    `cancelled`: the attempt has ended, and its worker has not said yet that it heard so: until then
    or the deadline its task is not for anybody else.
    `first`: the step that was reported first, and when; `moved`: when the last one was.
    """

    attempt: Attempt
    deadline: float
    since: float
    step: float | None = None
    total: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    disowned: bool = False
    cancelled: bool = False
    first: tuple[float, float] | None = None
    moved: float = 0.0

    def hear(self, step: float, total: float | None, metrics: dict[str, Any], now: float) -> None:
        """How far its experiment says that it is; one that begins again counts anew."""
        if self.first is None or self.step is None or step < self.step or total != self.total:
            self.first, self.moved = (step, now), now
        elif step != self.step:
            self.moved = now
        self.step, self.total, self.metrics = step, total, metrics

    def left_seconds(self, expected_seconds: float | None, now: float) -> float | None:
        """What it is likely to take still; None when nothing says."""
        return remaining(expected_seconds, now - self.since, self._progress(now))

    def _progress(self, now: float) -> Progress | None:
        if self.first is None or self.step is None or self.total is None:
            return None
        if not (math.isfinite(self.step) and math.isfinite(self.total)):
            return None
        step, at = self.first
        left = max(0.0, self.total - self.step)
        return Progress(self.step - step, self.moved - at, left, now - self.moved)

    @property
    def worker_id(self) -> str:
        return self.attempt.worker_id


Holding = tuple[str, int | None]
"""A task's id and the number of an attempt; None: any of that worker's."""


def is_among(attempt: Attempt, holds: Collection[Holding]) -> bool:
    return (attempt.task_id, attempt.number) in holds or (attempt.task_id, None) in holds


class Leases:
    """All leases, found by task id: at most one attempt of a task runs."""

    def __init__(self) -> None:
        self._held: dict[str, Lease] = {}
        self._leaving: set[str] = set()
        self._looked_at: float | None = None

    def grant(self, attempt: Attempt, now: float) -> None:
        """Begins, or begins again, the lease of an attempt."""
        self._held[attempt.task_id] = Lease(attempt, now + attempt.lease_seconds, now)
        self._leaving.discard(attempt.task_id)

    def settle(self, running: Iterable[Attempt], now: float) -> None:
        """From now on these attempts are known to run, and no others; each has one full lease."""
        known = {each.attempt.id: each for each in self._held.values()}
        self._leaving.clear()
        self._held = {
            each.task_id: known.get(each.id) or Lease(each, now + each.lease_seconds, now)
            for each in running
        }
        self.renew_all(now)

    def renew(self, task_id: str, worker_id: str, number: int | None, now: float) -> Lease | None:
        """Renews the lease that the worker holds on the task; None when it holds none."""
        lease = self._held.get(task_id)
        if lease is None or lease.worker_id != worker_id or lease.cancelled:
            return None
        if number is not None and number != lease.attempt.number:
            return None
        lease.deadline = now + lease.attempt.lease_seconds
        lease.disowned = False
        return lease

    def disown(self, worker_id: str, holds: Collection[Holding]) -> None:
        """The worker holds none but these."""
        for lease in self._held.values():
            if lease.worker_id == worker_id and not is_among(lease.attempt, holds):
                lease.disowned = True

    def drop(self, attempt: Attempt) -> None:
        """The attempt is over."""
        lease = self._held.get(attempt.task_id)
        if lease is not None and lease.attempt.id == attempt.id:
            del self._held[attempt.task_id]
            self._leaving.discard(attempt.task_id)

    def cancel(self, attempt: Attempt) -> None:
        """The attempt is over, and its worker is still to hear of it."""
        lease = self._held.get(attempt.task_id)
        if lease is not None and lease.attempt.id == attempt.id:
            lease.cancelled = True
            self._leaving.add(attempt.task_id)

    @property
    def leaving(self) -> Set[str]:
        """The tasks of cancelled attempts that may still run."""
        return self._leaving

    def left(self, worker_id: str) -> None:
        """The worker asks for more: it runs nothing that was cancelled."""
        for task_id in list(self._leaving):
            if self._held[task_id].worker_id == worker_id:
                self.drop(self._held[task_id].attempt)

    def lapsed(self, now: float) -> list[Lease]:
        """Those that are over, the longest first; after a stall, which renews all, only those
        that were disowned.
        """
        before, self._looked_at = self._looked_at, now
        if before is not None and now - before > STALL_SECONDS:
            self.renew_all(now)
        over = [each for each in self._held.values() if each.disowned or each.deadline <= now]
        return sorted(over, key=lambda each: each.deadline)

    def renew_all(self, now: float) -> None:
        """Nobody could be heard for a while: everyone gets one full lease."""
        for lease in self._held.values():
            if not lease.cancelled:
                lease.deadline = max(lease.deadline, now + lease.attempt.lease_seconds)

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._held.values()))
