"""What `import` found in files and did with it: counts by kind, and examples by reason.

Bounded: however many rows there are, what is kept is so many reasons of each kind; of single rows
only where every one was asked for.  What is not here: how it looks (`report_import.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from sqlqueue.plan.fitting import FINE, Kind
from sqlqueue.plan.layout import Layout
from sqlqueue.plan.repeats import Place

MOST_REASONS: Final = 1000
REST: Final = "other reasons"


@dataclass(slots=True)
class Reason:
    """Rows of one kind with one reason; `example`: the file and line of the first."""

    example: str
    task_id: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """One file.  `left_out`: parameters that it has no column for, with the tasks' values."""

    name: str
    separator: str
    layout: Layout
    left_out: dict[str, list[Any]]


@dataclass(slots=True)
class Adopted:
    """`phases`: rows adopted, or to be.  `rows`: every one that was not taken, if asked for."""

    dry_run: bool
    sheets: list[Read] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    reasons: dict[Kind, dict[str, Reason]] = field(default_factory=dict)
    rows: list[dict[str, Any]] | None = None
    delivered: int = 0

    def note(self, file: str, place: Place, kind: Kind, task_id: str, why: str, phase: str) -> None:
        """One more row."""
        self.counts[kind] += 1
        if kind is Kind.ADOPTED:
            self.phases[phase] += 1
            return
        known = self.reasons.setdefault(kind, {})
        if why not in known and len(known) >= MOST_REASONS:
            why = REST
        reason = known.setdefault(why, Reason(f"{file}:{place.line}", task_id))
        reason.count += 1
        if self.rows is not None and kind not in FINE:
            told = {"file": file, "line": place.line, "kind": kind.value}
            self.rows.append({**told, "task_id": task_id, "why": why})

    @property
    def total(self) -> int:
        """How many rows there are."""
        return self.counts.total()

    @property
    def is_fine(self) -> bool:
        """Whether every row was adopted, or there already."""
        return all(kind in FINE for kind, count in self.counts.items() if count)
