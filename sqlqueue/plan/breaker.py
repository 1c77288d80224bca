"""Why the circuit breaker paused a phase, and what to do now.

Pure.  What is not here: when it does (`manager/breaking.py`), where that is kept
(`store/breaker.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Trip:
    """So many `cells` of a phase failed alike, and none was completed meanwhile.

    `kind`, `outcome` and `error`: how (`kind.py`); `error` is the heading.
    """

    phase: str
    kind: str
    outcome: str
    error: str
    cells: int

    @classmethod
    def of(cls, phase: Mapping[str, Any]) -> Trip | None:
        """From a phase in the figures of `status`; None where the breaker did not pause it."""
        found = phase.get("breaker")
        if not found:
            return None
        names = ("kind", "outcome", "error", "cells")
        return cls(phase["phase"], *(found[name] for name in names))

    @property
    def how_often(self) -> str:
        """`10 cells in a row failed alike`."""
        noun = "cell" if self.cells == 1 else "cells in a row"
        return f"{self.cells} {noun} failed alike"

    @property
    def what(self) -> str:
        """The heading of what they said, with the outcome where that is not simply FAILED."""
        return self.error if self.outcome == "FAILED" else f"{self.outcome} {self.error}"

    @property
    def cure(self) -> str:
        """What a person can do."""
        of = f"phase={self.phase}"
        return (
            f"`sqlqueue failures {of}` tells why; `sqlqueue resume {of}` goes on, "
            f"`sqlqueue retry {of}` with those that failed too"
        )

    @property
    def told(self) -> str:
        """All of it."""
        why = f"{self.how_often}: {self.what}"
        return f"Phase {self.phase} is paused by the breaker: {why}; {self.cure}"
