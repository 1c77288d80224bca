"""How long it will take: from what similar tasks took so far.

Tasks of one experiment and one cost estimate are a class.  A class that has completed attempts
is expected to go on as they did on average; another by its cost, in proportion to the classes
that are known.  What is left is shared by as many runners as run now.
"""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection, func, select

from sqlqueue.lifecycle import Outcome
from sqlqueue.store.schema import attempts, task_phases, tasks

_LEFT = ("PENDING", "RUNNING")


class Estimate:
    """Reads the durations once; answers for the whole and for each phase."""

    def __init__(self, connection: Connection) -> None:
        self._mean = self._durations(connection)
        self._rate = self._rates()
        self._left = self._remaining(connection)
        query = select(func.count()).where(tasks.c.state == "RUNNING")
        self._runners = max(1, connection.execute(query).scalar_one())

    @staticmethod
    def _durations(connection: Connection) -> dict[tuple[str, float], tuple[float, int]]:
        """Mean seconds and number of the completed attempts of each class."""
        query = (
            select(tasks.c.experiment, tasks.c.cost, func.avg(attempts.c.seconds), func.count())
            .join(attempts, attempts.c.signature == tasks.c.signature)
            .where(attempts.c.outcome == Outcome.COMPLETED.value, attempts.c.seconds.is_not(None))
            .group_by(tasks.c.experiment, tasks.c.cost)
        )
        return {(name, cost): (mean, n) for name, cost, mean, n in connection.execute(query)}

    def _rates(self) -> dict[str, float]:
        """Seconds per unit of cost, by experiment."""
        seconds: dict[str, float] = defaultdict(float)
        costs: dict[str, float] = defaultdict(float)
        for (name, cost), (mean, count) in self._mean.items():
            seconds[name] += mean * count
            costs[name] += cost * count
        return {name: seconds[name] / costs[name] for name in seconds if costs[name] > 0}

    @staticmethod
    def _remaining(connection: Connection) -> dict[int | None, dict[tuple[str, float], int]]:
        """Unfinished tasks by class: of each phase, and under None of all."""
        left: dict[int | None, dict[tuple[str, float], int]] = defaultdict(dict)
        kind = (tasks.c.experiment, tasks.c.cost)
        every = select(*kind, func.count()).where(tasks.c.state.in_(_LEFT)).group_by(*kind)
        for name, cost, count in connection.execute(every):
            left[None][name, cost] = count
        wish = task_phases.c
        by_phase = (
            select(wish.phase_id, *kind, func.count())
            .join(tasks, tasks.c.signature == wish.signature)
            .where(tasks.c.state.in_(_LEFT), wish.withdrawn.is_(False))
            .group_by(wish.phase_id, *kind)
        )
        for phase_id, name, cost, count in connection.execute(by_phase):
            left[phase_id][name, cost] = count
        return left

    def total_seconds(self) -> float | None:
        """For all that is left; None when nothing of its kind was completed yet."""
        return self._seconds(None)

    def phase_seconds(self, phase_id: int) -> float | None:
        """For one phase, as if the runners worked on nothing else."""
        return self._seconds(phase_id)

    def _seconds(self, phase_id: int | None) -> float | None:
        total = 0.0
        for (name, cost), count in self._left.get(phase_id, {}).items():
            if (name, cost) in self._mean:
                total += self._mean[name, cost][0] * count
            elif name in self._rate:
                total += self._rate[name] * cost * count
            else:
                return None
        return round(total / self._runners, 1)
