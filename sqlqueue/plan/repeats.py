"""Rows of old CSVs against each other: which are of one task, and whether they say the same.

Pure.  Promises: of rows that say the same the first is adopted; of rows that contradict each
other none is.  What is kept grows with the tasks, not with the rows.
What is not here: which task a row is of (`fitting.py`), results that a queue has already.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlqueue.plan.fitting import Kind
from sqlqueue.plan.rows import Scalar

_LINE_BITS: Final = 40


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The file, by its number, and the line in which a row begins."""

    file: int
    line: int

    def packed(self) -> int:
        """A number above 0."""
        return (self.file << _LINE_BITS) | self.line

    @classmethod
    def unpacked(cls, number: int) -> Place:
        return cls(number >> _LINE_BITS, number & ((1 << _LINE_BITS) - 1))


class Repeats:
    """Learns every row first, and judges them when all are known."""

    def __init__(self, tasks: int) -> None:
        self._first = array("Q", bytes(8 * tasks))
        self._said = array("Q", bytes(8 * tasks))
        self._other: dict[int, int] = {}

    def learn(self, task: int, place: Place, metrics: Mapping[str, Scalar]) -> None:
        """One more row, in the order in which they stand."""
        said = _digest(metrics)
        if not self._first[task]:
            self._first[task], self._said[task] = place.packed(), said
        elif said != self._said[task]:
            self._other.setdefault(task, place.packed())

    def judge(self, task: int, place: Place) -> tuple[Kind, Place]:
        """What becomes of a row, and the other row that is why."""
        first = Place.unpacked(self._first[task])
        if task in self._other:
            other = Place.unpacked(self._other[task])
            return Kind.CONTRADICTORY, other if place == first else first
        return (Kind.ADOPTED if place == first else Kind.DUPLICATE), first


def _digest(metrics: Mapping[str, Scalar]) -> int:
    text = json.dumps(sorted(metrics.items()))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
