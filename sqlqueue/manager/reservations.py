"""Tasks fetched ahead: who looked at which pending task, so that two do not pick the same.

A reservation is no attempt: the task stays PENDING, another idle worker may have it when nothing
else is left, and it lapses by itself.  Memory only: losing it costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlqueue.protocol import RequestTask

LAPSE_SECONDS: Final = 600.0
MOST: Final = 1000
"""Every request looks past all that stand; beyond so many, nothing is reserved."""


@dataclass(frozen=True, slots=True)
class _Reservation:
    worker_id: str
    until: float


class Reservations:
    """At most one worker per task; times on the manager's monotonic clock."""

    def __init__(self) -> None:
        self._of: dict[str, _Reservation] = {}

    def count(self, now: float) -> int:
        """How many stand; those that lapsed are forgotten."""
        lapsed = [task_id for task_id, each in self._of.items() if each.until <= now]
        for task_id in lapsed:
            del self._of[task_id]
        return len(self._of)

    def end(self, task_id: str) -> None:
        """The task is no longer reserved."""
        self._of.pop(task_id, None)

    def choose(
        self, pending: Sequence[tuple[int, str]], request: RequestTask, now: float
    ) -> list[int]:
        """The keys of the tasks to hand out, from pending ones given in order.

        What nobody reserved comes first, then what others reserved; to reserve, only the first.
        """
        free = [each for each in pending if self._free(each[1], request.worker_id)]
        chosen = free[: request.count]
        if request.reserve:
            chosen = chosen[: max(0, MOST - len(self._of))]
            for _, task_id in chosen:
                self._of[task_id] = _Reservation(request.worker_id, now + LAPSE_SECONDS)
            return [key for key, _ in chosen]
        if len(chosen) < request.count:
            others = [each for each in pending if not self._free(each[1], request.worker_id)]
            chosen = chosen + others[: request.count - len(chosen)]
        for _, task_id in chosen:
            self.end(task_id)
        return [key for key, _ in chosen]

    def _free(self, task_id: str, worker_id: str) -> bool:
        found = self._of.get(task_id)
        return found is None or found.worker_id == worker_id
