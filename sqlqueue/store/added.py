"""What adding a batch of cells did, counted per phase.

What is not here: adding them (`adding.py`), counting beforehand (`survey.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from sqlqueue.lifecycle import State
from sqlqueue.protocol import NewTask, PhaseCounts, Reused
from sqlqueue.store.schema import attempts, phases, results, tasks


class Tally:
    """Counts the cells of a batch, each once for a phase."""

    def __init__(
        self, keys: Mapping[str, int], existing: Mapping[str, Mapping[str, Any]], again: set[str]
    ) -> None:
        self._shared: dict[str, Counter[int]] = defaultdict(Counter)
        self._keys = keys
        self._existing = existing
        self._again = again
        self._counts: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(int))
        self._first = {key: row["phase_id"] for key, row in existing.items()}
        self._seen: set[tuple[str, str]] = set()

    def phases(self) -> dict[str, PhaseCounts]:
        return {phase: PhaseCounts(**counts) for phase, counts in self._counts.items()}

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

    def count(self, cell: NewTask, seconds: float | None) -> None:
        """`seconds`: what it is likely to take, should it be new."""
        if (cell.phase, cell.signature) in self._seen:
            return
        self._seen.add((cell.phase, cell.signature))
        counts = self._counts[cell.phase]
        counts["cells"] += 1
        if cell.signature in self._first:
            self._known(cell, counts)
            return
        self._first[cell.signature] = self._keys[cell.phase]
        counts["new"] += 1
        if seconds is not None:
            counts["foreseen"] += 1
            counts["work_seconds"] += seconds

    def _known(self, cell: NewTask, counts: dict[str, Any]) -> None:
        first = self._first[cell.signature]
        if first == self._keys[cell.phase]:
            counts["known"] += 1
        else:
            counts["shared"] += 1
            self._shared[cell.phase][first] += 1
        if self._existing.get(cell.signature, {}).get("has_result"):
            counts["completed"] += 1
        if cell.signature in self._again:
            self._again.remove(cell.signature)
            counts["again"] += 1


def reused(connection: Connection, cells: Mapping[tuple[str, str], str]) -> list[Reused]:
    """Those cells that are completed, counted by the version of the code that they come from.

    `cells`: the experiments by phase and signature.
    """
    query = (
        select(tasks.c.signature, attempts.c.code_version)
        .join(results, (results.c.signature == tasks.c.signature) & results.c.accepted)
        .join(attempts, attempts.c.id == results.c.attempt_id)
        .where(
            tasks.c.signature.in_({signature for _, signature in cells}),
            tasks.c.state == State.COMPLETED.value,
        )
    )
    codes = {row.signature: row.code_version for row in connection.execute(query)}
    counts = Counter(
        (phase, experiment, codes[signature])
        for (phase, signature), experiment in cells.items()
        if signature in codes
    )
    return [
        Reused(phase=phase, experiment=experiment, code=code, count=count)
        for (phase, experiment, code), count in counts.items()
    ]
