"""How much is left and how long it will take, read from few rows however many tasks there are.

`Work` is read once, in one snapshot; who the runners are is told to it, since only a running
manager knows.  What is not known is None, and so is whatever hangs on it.
What is not here: what similar cells say (`plan/pace.py`), playing the queue (`plan/forecast.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, select

from sqlqueue.lifecycle import State
from sqlqueue.plan.forecast import Runner, Waiting, finish
from sqlqueue.plan.pace import Paces, kind_of
from sqlqueue.store import pace
from sqlqueue.store.counting import EVERY
from sqlqueue.store.planned import tallies
from sqlqueue.store.prepared import Gathered
from sqlqueue.store.schema import attempts, task_phases, tasks

CPU: Final = "cpu"
USUAL: Final = "usual"
"""The kind of a runner that nobody has seen yet: each experiment as fast as where it mostly ran."""

_TALLIES: Final = Gathered(
    select(
        *(tallies.c[name] for name in ("phase_id", "state", "shape_id", "priority", "held")),
        tallies.c.cells,
    ).where(tallies.c.cells > 0)
)
_WISH: Final = task_phases.c
_RUNNING: Final = Gathered(
    select(tasks.c.task_id, tasks.c.shape_id, attempts.c.device, _WISH.phase_id)
    .select_from(attempts)
    .join(tasks, tasks.c.signature == attempts.c.signature)
    .join(
        task_phases,
        (_WISH.signature == attempts.c.signature) & _WISH.withdrawn.is_(False),
        isouter=True,
    )
    .where(attempts.c.outcome.is_(None))
)
Kind = tuple[int, int]
"""Cells that are alike: their shape and priority."""


@dataclass(frozen=True, slots=True)
class Running:
    """A task that runs."""

    task_id: str
    shape_id: int
    kind: str
    phases: frozenset[int]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds until all is done, and until each phase is."""

    total: float | None
    phases: Mapping[int, float | None]


@dataclass(slots=True)
class _Left:
    """What one phase, or all, has left."""

    states: Counter[str] = field(default_factory=Counter)
    free: Counter[Kind] = field(default_factory=Counter)
    held: Counter[Kind] = field(default_factory=Counter)
    running: Counter[int] = field(default_factory=Counter)
    """By shape."""


class Work:
    """What is left, and what is known of it."""

    def __init__(self, connection: Connection) -> None:
        self._shapes = pace.known_shapes(connection)
        self.paces: Paces = pace.known_paces(connection, self._shapes)
        self._left: dict[int, _Left] = defaultdict(_Left)
        for phase_id, state, shape_id, priority, held, cells in _TALLIES.all(connection):
            left = self._left[phase_id]
            left.states[state] += cells
            if state == State.PENDING:
                kinds = left.held if held else left.free
                kinds[shape_id, priority] += cells
            elif state == State.RUNNING:
                left.running[shape_id] += cells
        self._running = {each.task_id: each for each in _running(connection)}

    def states(self, phase_id: int = EVERY) -> Counter[str]:
        """How many tasks of a phase, or of all, stand in each state."""
        return self._left[phase_id].states

    def held(self) -> int:
        """Of all pending tasks, those that a pause holds back."""
        return self._left[EVERY].held.total()

    # --- single tasks ---------------------------------------------------------------------

    def expected(self, task_id: str) -> float | None:
        """What a task that runs is likely to take in all."""
        found = self._running.get(task_id)
        return None if found is None else self._seconds(found.shape_id, found.kind)

    def _seconds(self, shape_id: int, kind: str) -> float | None:
        shape = self._shapes.get(shape_id)
        if shape is None:
            return None
        return self.paces.usually(shape) if kind == USUAL else self.paces.seconds(shape, kind)

    # --- all that is left -----------------------------------------------------------------

    def work_seconds(self, phase_id: int = EVERY) -> float | None:
        """The time that devices will spend on what waits and runs; None when a part of it is not
        known."""
        left, total = self._left[phase_id], 0.0
        shapes = Counter(left.running)
        for kinds in (left.free, left.held):
            for (shape_id, _), cells in kinds.items():
                shapes[shape_id] += cells
        for shape_id, cells in shapes.items():
            seconds = self._seconds(shape_id, USUAL)
            if seconds is None:
                return None
            total += cells * seconds
        return round(total, 1)

    def forecast(
        self, idle: Sequence[Runner] = (), left: Mapping[str, float | None] | None = None
    ) -> Forecast:
        """`idle`: runners that wait for a task.  `left`: what tasks that run are likely to take
        still, by their id; what they take in all where that is not told.

        With nobody at work, one runner is thought of.
        """
        left = left or {}
        busy = {
            each.task_id: left.get(each.task_id, self.expected(each.task_id))
            for each in self._running.values()
        }
        runners = [*idle, *self._busy(busy)]
        kinds = {each.kind for each in runners} or {USUAL}
        waiting = self._waiting(kinds)
        known = [each for each in waiting if each.seconds]
        ends = finish(known, runners or [Runner(USUAL)])
        if len(known) < len(waiting) or None in busy.values():
            total = None
        else:
            total = self._end(EVERY, ends, busy)
        phases = {key: self._end(key, ends, busy) for key in self._left if key != EVERY}
        return Forecast(total, phases)

    def _busy(self, busy: Mapping[str, float | None]) -> list[Runner]:
        """Who runs something: of what is not known, the rest is told of as if it were short."""
        return [
            Runner(kind := self._running[task_id].kind, kind == CPU, seconds or 0.0)
            for task_id, seconds in busy.items()
        ]

    def _waiting(self, kinds: Iterable[str]) -> list[Waiting]:
        found = []
        for (shape_id, priority), cells in sorted(self._left[EVERY].free.items()):
            told = {kind: self._seconds(shape_id, kind) for kind in kinds}
            seconds = {kind: each for kind, each in told.items() if each is not None}
            shape = self._shapes.get(shape_id)
            cost = shape.cost if shape else 0.0
            found.append(Waiting((shape_id, priority), cells, priority, cost, seconds))
        return found

    def _end(
        self, phase_id: int, ends: Mapping[Hashable, float] | None, busy: Mapping[str, float | None]
    ) -> float | None:
        left = self._left[phase_id]
        if ends is None and left.free:
            return None
        found = [(ends or {}).get(kind) for kind in left.free]
        found += [
            busy[each.task_id]
            for each in self._running.values()
            if phase_id == EVERY or phase_id in each.phases
        ]
        known = [each for each in found if each is not None]
        if len(known) < len(found) or (left.held and not known):
            return None
        return round(max(known, default=0.0), 1)


def _running(connection: Connection) -> list[Running]:
    """Every task that runs, with the phases that want it."""
    found: dict[str, tuple[int, str, set[int]]] = {}
    for task_id, shape_id, device, phase_id in _RUNNING.all(connection):
        _, _, phases = found.setdefault(task_id, (shape_id, kind_of(device), set()))
        if phase_id is not None:
            phases.add(phase_id)
    return [
        Running(task_id, shape_id, kind, frozenset(phases))
        for task_id, (shape_id, kind, phases) in found.items()
    ]
