"""When everything will be done: the queue played through, with estimates for durations.

Runners take what waits as the manager hands it out: the highest priority first, then the largest
cost (GPU workers) or the smallest (CPU workers), then what came first.  Each begins when what it
runs now is over.  Short cells of one shape are taken some at a time when there are very many, so
that the play is short however long the queue is.

Pure: no clock.  What is not here: estimates (`pace.py`), who the runners are (`store/estimate.py`).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

STEPS: Final = 2000
STEPS_EACH: Final = 20
"""Into so many turns of all runners, and of each, the work is cut where cells are short."""

OVERDUE_SHARE: Final = 0.1
"""Of what it has taken so far, for a task that is over its estimate."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Cells that are alike and wait.  `seconds`: what one takes, by kind of device."""

    key: Hashable
    count: int
    priority: int
    cost: float
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs one task at a time; `busy_seconds`: until what it runs is over."""

    kind: str
    smallest_first: bool = False
    busy_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What an attempt said of itself: it made `steps` in `seconds`, `left` are to come, and it was
    silent for `silent_seconds` since."""

    steps: float
    seconds: float
    left: float
    silent_seconds: float


def remaining(
    expected_seconds: float | None, elapsed_seconds: float, progress: Progress | None = None
) -> float | None:
    """What a task that runs is likely to take still: as it goes on itself, where it says so, else
    as similar ones did.  One that took longer than they did is thought to be nearly over."""
    if progress is not None and progress.steps > 0:
        left = progress.left * progress.seconds / progress.steps
        return max(0.0, left - progress.silent_seconds)
    if expected_seconds is None:
        return None
    return max(expected_seconds - elapsed_seconds, OVERDUE_SHARE * elapsed_seconds)


def finish(waiting: Sequence[Waiting], runners: Sequence[Runner]) -> dict[Hashable, float] | None:
    """Seconds until the last cell of each kind is over; None when somebody's time is not known.

    Runners of a kind of device that knows no duration of anything are left out.
    """
    kinds = {each.kind for each in runners}
    known = {kind for kind in kinds if all(kind in waits.seconds for waits in waiting)}
    able = [each for each in runners if each.kind in known]
    if waiting and not able:
        return None
    return _Play(waiting, able).run()


class _Play:
    """One play; what waits is known by its place in the list."""

    def __init__(self, waiting: Sequence[Waiting], runners: Sequence[Runner]) -> None:
        self._waiting = waiting
        self._left = [each.count for each in waiting]
        self._total = sum(self._left)
        work_seconds = sum(each.count * min(each.seconds.values(), default=0) for each in waiting)
        self._turn_seconds = work_seconds / max(STEPS, STEPS_EACH * len(runners))
        self._runners = runners
        self._lines = {smallest: self._line(smallest) for smallest in (False, True)}
        self._seconds: dict[str, list[float]] = {}
        self._most: dict[str, list[int]] = {}

    def _line(self, smallest_first: bool) -> list[int]:
        """The places, the last to be taken first."""
        sign = 1 if smallest_first else -1

        def order(place: int) -> tuple[float, ...]:
            each = self._waiting[place]
            return (-each.priority, sign * each.cost, place)

        return sorted(range(len(self._waiting)), key=order, reverse=True)

    def run(self) -> dict[Hashable, float]:
        """A thousand runners take tens of thousands of turns: what a turn needs lies ready."""
        left, total = self._left, self._total
        ends = [0.0] * len(left)
        plans = [self._plan(each) for each in self._runners]
        free = [(each.busy_seconds, number) for number, each in enumerate(self._runners)]
        heapq.heapify(free)
        while total:
            begin, number = free[0]
            line, seconds, most = plans[number]
            while not left[line[-1]]:
                line.pop()
            place = line[-1]
            count = most[place] if most[place] < left[place] else left[place]
            left[place] -= count
            total -= count
            end = begin + count * seconds[place]
            if end > ends[place]:
                ends[place] = end
            heapq.heapreplace(free, (end, number))
        return {each.key: end for each, end in zip(self._waiting, ends, strict=True)}

    def _plan(self, runner: Runner) -> tuple[list[int], list[float], list[int]]:
        """The line that a runner takes from, and by place the seconds of a cell and how many it
        takes at a time; runners that are alike share them."""
        kind = runner.kind
        if kind not in self._seconds:
            found = self._seconds[kind] = [each.seconds[kind] for each in self._waiting]
            self._most[kind] = [max(1, int(self._turn_seconds / max(s, 1e-9))) for s in found]
        return self._lines[runner.smallest_first], self._seconds[kind], self._most[kind]
