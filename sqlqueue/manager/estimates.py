"""What the manager keeps in mind of durations, and which tasks fit the time that a worker has left.

Read anew when something was learnt, but of many shapes only now and then: handing out must not
wait for it.  A task fits when it is likely to be over in time; one of which nothing is known is
taken while at least half of the worker's time limit is left.
What is not here: what durations say (`plan/pace.py`), where they lie (`store/pace.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from sqlqueue.plan.pace import LIKELY, Paces, Shape
from sqlqueue.protocol import RequestTask
from sqlqueue.store import pace

UNKNOWN_SHARE: Final = 0.5
SHAPES_A_SECOND: Final = 100
"""So many shapes are read anew in a second of the manager's time."""


class Estimates:
    """Lives in the notebook; used by the writer's thread."""

    def __init__(self) -> None:
        self._shapes: dict[int, Shape] = {}
        self._paces = Paces()
        self._read_at: float | None = None
        self._stale = True

    def note(self) -> None:
        """Something was learnt, or added."""
        self._stale = True

    def forget(self) -> None:
        """What was read is known to be out of date."""
        self._read_at = None

    def paces(self, connection: Connection, now: float) -> Paces:
        """What is known of durations, a few seconds old at most."""
        pause = len(self._shapes) // SHAPES_A_SECOND
        if self._read_at is None or (self._stale and now - self._read_at >= pause):
            self._shapes = pace.known_shapes(connection)
            self._paces = pace.known_paces(connection, self._shapes)
            self._read_at, self._stale = now, False
        return self._paces

    def seconds(self, connection: Connection, shape_id: int, kind: str, now: float) -> float | None:
        """What tasks of that shape take there; None when it is not known."""
        paces = self.paces(connection, now)
        shape = self._shapes.get(shape_id)
        return None if shape is None else paces.seconds(shape, kind)

    def shape(self, shape_id: int) -> Shape | None:
        """The shape, as of the last reading."""
        return self._shapes.get(shape_id)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time that a worker has left, of its whole limit, on a kind of device."""

    left_seconds: float
    limit_seconds: float
    kind: str

    @classmethod
    def of(cls, request: RequestTask, kind: str) -> Deadline | None:
        """None for a worker without a limit."""
        if request.left_seconds is None:
            return None
        limit = request.limit_seconds or request.left_seconds
        return cls(request.left_seconds, limit, kind)

    def fits(self, seconds: float | None) -> bool:
        """Whether a task that takes so long, or nobody knows how long, is to be begun."""
        if seconds is None:
            return self.left_seconds >= UNKNOWN_SHARE * self.limit_seconds
        return seconds * LIKELY <= self.left_seconds


@dataclass(frozen=True, slots=True)
class Fitting:
    """Pending tasks that fit, as (key, task id) in order; how many more wait, and the shortest."""

    tasks: list[tuple[int, str]]
    waiting: int
    shortest_seconds: float | None

    def told(self, deadline: Deadline) -> str:
        """Why a worker ends for which there is none."""
        left, shortest = _duration(deadline.left_seconds), self.shortest_seconds
        why = "it is not known how long they take"
        if shortest is not None:
            why = f"the shortest takes about {_duration(shortest)}"
        return (
            f"of the tasks that wait ({self.waiting}) none is likely to be over in the {left} that "
            f"are left of its time limit: {why}"
        )


def fitting(
    estimates: Estimates, connection: Connection, deadline: Deadline, now: float,
    *, smallest_first: bool, most: int, without: Collection[str],
) -> Fitting:  # fmt: skip
    """What fits, the highest priority first, then by cost as every worker gets it."""
    fit: list[tuple[tuple[float, ...], tuple[int, int]]] = []
    known: list[float] = []
    waiting = 0
    for shape_id, priority, cells in pace.waiting(connection):
        seconds = estimates.seconds(connection, shape_id, deadline.kind, now)
        shape = estimates.shape(shape_id)
        if shape is None and shape_id:  # added since the last reading
            estimates.forget()
            seconds = estimates.seconds(connection, shape_id, deadline.kind, now)
            shape = estimates.shape(shape_id)
        if shape is not None and shape.experiment in without:
            continue
        waiting += cells
        if seconds is not None:
            known.append(seconds)
        if deadline.fits(seconds):
            cost = shape.cost if shape else 0.0
            order = (-priority, cost if smallest_first else -cost, shape_id)
            fit.append((order, (shape_id, priority)))
    ordered = [each for _, each in sorted(fit)]
    found = pace.candidates(connection, ordered, most, without)
    return Fitting(found, waiting, min(known, default=None))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
