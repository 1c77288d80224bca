"""The shapes of many cells: each is worked out once, however many cells have it.

A shape's key is a digest of sorted JSON, which takes several times what it takes to see that a
cell says the same as an earlier one.  Pure.  What is not here: what a shape is (`pace.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlqueue.plan.pace import Shape, shape_of
from sqlqueue.plan.quick_json import written

MOST_KEPT: Final = 4096


class Shaped:
    """Keeps in mind so many of the shapes that it was asked for."""

    def __init__(self) -> None:
        self._known: dict[str, Shape] = {}

    def of(
        self,
        experiment: str,
        parameters: Mapping[str, Any],
        runtime_only: Collection[str],
        cost: float,
    ) -> Shape:
        """What `shape_of` says."""
        kept = dict(parameters)
        for name in ("seed", *runtime_only):
            kept.pop(name, None)
        said = written([experiment, cost, kept])
        found = self._known.get(said)
        if found is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            found = self._known[said] = shape_of(experiment, kept, (), cost)
        return found
