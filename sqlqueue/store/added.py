"""What adding a batch of cells did, counted per phase.

What is not here: adding them (`adding.py`), counting beforehand (`survey.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection, select

from sqlqueue.lifecycle import State
from sqlqueue.protocol import NewTask, PhaseCounts, Reused
from sqlqueue.store.prepared import Prepared, among, listed, quoted
from sqlqueue.store.schema import attempts, phases, results, tasks
from sqlqueue.store.standing import Stands

_CODES: Final = Prepared(
    select(tasks.c.signature, attempts.c.code_version)
    .join(results, (results.c.signature == tasks.c.signature) & results.c.accepted)
    .join(attempts, attempts.c.id == results.c.attempt_id)
    .where(among(tasks.c.signature, "signatures"), tasks.c.state == quoted(State.COMPLETED.value))
)


class Tally:
    """Counts the cells of a batch, each once for a phase."""

    def __init__(
        self, keys: Mapping[str, int], there: Mapping[str, Stands], again: set[str]
    ) -> None:
        self._shared: dict[str, Counter[int]] = defaultdict(Counter)
        self._keys = keys
        self._there = there
        self._again = again
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._seconds: dict[str, float] = defaultdict(float)
        self._first = {key: each.phase_id for key, each in there.items()}

    def phases(self) -> dict[str, PhaseCounts]:
        return {
            phase: PhaseCounts(**counts, work_seconds=self._seconds[phase])
            for phase, counts in self._counts.items()
        }

    def shared_with(self, connection: Connection) -> dict[str, dict[str, int]]:
        """Of each phase, in which others its shared cells appeared first."""
        if not self._shared:
            return {}
        named = connection.execute(select(phases.c.id, phases.c.name))
        names = {row.id: row.name for row in named}
        return {
            phase: {names[key]: count for key, count in others.items()}
            for phase, others in self._shared.items()
        }

    def count(self, cells: Iterable[NewTask], foreseen: Mapping[str, float | None]) -> None:
        """`foreseen`: what those that are new are likely to take, in seconds."""
        for phase, signature in dict.fromkeys((each.phase, each.signature) for each in cells):
            counts = self._counts[phase]
            counts["cells"] += 1
            first = self._first.setdefault(signature, 0)
            if first:
                self._known(phase, signature, first)
                continue
            self._first[signature] = self._keys[phase]
            counts["new"] += 1
            seconds = foreseen.get(signature)
            if seconds is not None:
                counts["foreseen"] += 1
                self._seconds[phase] += seconds

    def _known(self, phase: str, signature: str, first: int) -> None:
        counts = self._counts[phase]
        if first == self._keys[phase]:
            counts["known"] += 1
        else:
            counts["shared"] += 1
            self._shared[phase][first] += 1
        if signature in self._there and self._there[signature].has_result:
            counts["completed"] += 1
        if signature in self._again:
            self._again.remove(signature)
            counts["again"] += 1


def reused(connection: Connection, cells: Mapping[tuple[str, str], str]) -> list[Reused]:
    """Those cells that are completed, counted by the version of the code that they come from.

    `cells`: the experiments by phase and signature.
    """
    codes = dict(_CODES.all(connection, signatures=listed({key for _, key in cells})))
    counts = Counter(
        (phase, experiment, codes[signature])
        for (phase, signature), experiment in cells.items()
        if signature in codes
    )
    return [
        Reused(phase=phase, experiment=experiment, code=code, count=count)
        for (phase, experiment, code), count in counts.items()
    ]
