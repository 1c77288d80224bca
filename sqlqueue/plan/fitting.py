"""Which task a row of an old CSV is of: the one whose values are those in its cells.

Pure.  Promises: a row fits a task only if every parameter in the row has the task's value and
no other task does so too; a parameter that a task has not must be an empty cell; what the file
has no column for is taken to be as in the task.  A signature of this queue's is proof, as long
as no cell contradicts it.  Whatever does not fit is told why, with what would help.
What is not here: rows against each other (`importing.py`).
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlqueue.plan.catalogue import NUMBER, Catalogue, Ids, Shape, shortened, shown
from sqlqueue.plan.layout import Layout
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.rows import Scalar
from sqlqueue.plan.spelling import metric, readings

MOST_CACHED: Final = 100_000
MOST_SHOWN: Final = 4
MOST_TOLD: Final = 3
MOST_COMPARED: Final = 200
"""Of several tasks that fit, so many are compared to tell what tells them apart."""
LOOKS: Final = 3_000_000
"""Tasks looked at, for all rows of a file, to name those that are nearest to rows."""
ROUNDING: Final = 1e-4
"""Two numbers that differ less may be one that was rounded."""


class Kind(StrEnum):
    """What became of a row."""

    ADOPTED = "adopted"
    THERE = "there"
    DUPLICATE = "duplicate"
    AMBIGUOUS = "ambiguous"
    CONTRADICTORY = "contradictory"
    UNMATCHED = "unmatched"
    EMPTY = "empty"
    MALFORMED = "malformed"
    UNAVAILABLE = "unavailable"


FINE: Final = frozenset((Kind.ADOPTED, Kind.THERE, Kind.DUPLICATE))


@dataclass(frozen=True, slots=True)
class Fit:
    """The task that a row is of; or None, with the kind of the trouble and what it is."""

    task: int | None
    kind: Kind = Kind.ADOPTED
    why: str = ""
    about: str = ""
    """Tasks that the trouble is about, by their ids."""


class Index:
    """The tasks of one shape, by what they have in the columns of a file."""

    def __init__(self, shape: Shape, layout: Layout) -> None:
        self.shape = shape
        places = {name: place for place, name in enumerate(shape.names)}
        counting = {
            column: places[name]
            for column, name in layout.parameters.items()
            if name in places and name not in shape.hidden
        }
        self.columns = list(counting)
        self.places = list(counting.values())
        self.foreign = [c for c, name in layout.parameters.items() if name not in places]
        self._tasks: dict[bytes, int | list[int]] = {}
        for number, row in zip(shape.tasks, shape.rows, strict=True) if counting else ():
            self._add(self._key(row), number)

    def _key(self, row: bytes) -> bytes:
        ids = array(NUMBER, row)
        return array(NUMBER, [ids[each] for each in self.places]).tobytes()

    def _add(self, key: bytes, number: int) -> None:
        known = self._tasks.get(key)
        if known is None:
            self._tasks[key] = number
        elif isinstance(known, int):
            self._tasks[key] = [known, number]
        else:
            known.append(number)

    def find(self, meant: Sequence[Ids]) -> Iterator[int]:
        """The tasks that have one of the values meant in each column."""
        for ids in itertools.product(*meant):
            found = self._tasks.get(array(NUMBER, ids).tobytes(), ())
            yield from (found,) if isinstance(found, int) else found


class Fitting:
    """Finds the tasks of the rows of one file."""

    def __init__(
        self, catalogue: Catalogue, layout: Layout, *, comma: bool = False, tolerance: float = 0.0
    ) -> None:
        self._catalogue = catalogue
        self._layout = layout
        self._comma = comma
        self._tolerance = tolerance
        indexes = [Index(each, layout) for each in catalogue.shapes]
        self._indexes = [each for each in indexes if each.columns]
        self._readable = {**layout.metrics, **layout.parameters}
        self._measured: dict[int, list[int]] = {}
        self._meanings: dict[tuple[int, str], Ids] = {}
        self._told: dict[tuple[int, tuple[int, ...]], Fit] = {}
        self._looks = LOOKS
        self._by_signature: Mapping[bytes, int] = {}
        if layout.signature is not None:
            self._by_signature = {key: task for task, key in enumerate(catalogue.signatures)}

    def fit(self, cells: Sequence[str]) -> Fit:
        """The task of a row, whose cells are as many as the columns."""
        task = self._signed(cells)
        if task is not None:
            wrong = self._contradiction(cells, task)
            return Fit(None, Kind.CONTRADICTORY, wrong, self._id(task)) if wrong else Fit(task)
        found: list[int] = []
        for index in self._indexes:
            if not any(cells[each].strip() for each in index.foreign):
                found += index.find([self._meant(each, cells[each]) for each in index.columns])
        if len(found) == 1:
            return Fit(found[0])
        return self._ambiguous(found) if found else self._unmatched(cells)

    def metrics(self, cells: Sequence[str], task: int) -> dict[str, Scalar]:
        """What was measured, by column; an empty cell says nothing.

        A column that is a parameter of other tasks was measured by one that has none of the name.
        """
        shape = self._catalogue.shape_of(task)
        key = id(shape)
        if key not in self._measured:
            own = set(shape.names)
            self._measured[key] = [
                column for column, name in sorted(self._readable.items()) if name not in own
            ]
        read = {
            self._layout.columns[column]: metric(cells[column], self._comma)
            for column in self._measured[key]
        }
        return {name: value for name, value in read.items() if value is not None}

    # --- cells ------------------------------------------------------------------------------

    def _meant(self, column: int, text: str) -> Ids:
        """The values that a cell may stand for, of those that tasks have there."""
        key = (column, text)
        if key not in self._meanings:
            if len(self._meanings) >= MOST_CACHED:
                self._meanings.clear()
            values = self._catalogue.values[self._layout.parameters[column]]
            self._meanings[key] = values.meant(text, comma=self._comma, tolerance=self._tolerance)
        return self._meanings[key]

    def _signed(self, cells: Sequence[str]) -> int | None:
        if self._layout.signature is None:
            return None
        try:
            key = bytes.fromhex(cells[self._layout.signature].strip())
        except ValueError:
            return None
        return self._by_signature.get(key)

    def _contradiction(self, cells: Sequence[str], task: int) -> str:
        """The first cell that is not as the task of the row's signature has it; "" for none.

        An empty one may be older than its parameter.
        """
        ids, hidden = self._catalogue.ids_of(task), self._catalogue.shape_of(task).hidden
        for column, name in self._layout.parameters.items():
            text = cells[column]
            if not text.strip() or name not in ids or name in hidden:
                continue
            if ids[name] not in self._meant(column, text):
                has = shown(self._catalogue.value_of(task, name))
                return (
                    f"the signature is that of {self._id(task)}, which has {name} = {has}; the row "
                    f"says {_quoted(text)}"
                )
        return ""

    def _id(self, task: int) -> str:
        return self._catalogue.task_ids[task]

    def _column(self, column: int) -> str:
        return self._layout.columns[column]

    # --- troubles ---------------------------------------------------------------------------

    def _ambiguous(self, found: list[int]) -> Fit:
        compared = tuple(found[:MOST_COMPARED])
        key = (len(found), compared)
        if key not in self._told:
            if len(self._told) >= MOST_CACHED:
                self._told.clear()
            parts = [
                f"{name} ({_several([shown(each) for each in values])})"
                for name, values in self._catalogue.differences(compared)
            ]
            differ = ", ".join(parts[:MOST_TOLD]) + _more(len(parts) - MOST_TOLD)
            why = f"{len(found)} tasks fit; what tells them apart: {differ or 'nothing'}"
            about = _several([self._id(each) for each in found])
            self._told[key] = Fit(None, Kind.AMBIGUOUS, why, about)
        return self._told[key]

    def _unmatched(self, cells: Sequence[str]) -> Fit:
        if not self._indexes:
            return Fit(None, Kind.UNMATCHED, "its signature is not of this queue")
        index = min(self._indexes, key=lambda each: len(self._missing(cells, each)))
        missing = self._missing(cells, index)
        if not missing:
            return self._nearest(cells)
        parts = [self._why(column, cells[column], index) for column in missing[:MOST_TOLD]]
        why = "; ".join(parts) + _more(len(missing) - MOST_TOLD, " of its columns")
        return Fit(None, Kind.UNMATCHED, why)

    def _missing(self, cells: Sequence[str], index: Index) -> list[int]:
        """The columns in which no task of that shape has what the row has."""
        absent = [each for each in index.columns if not self._meant(each, cells[each])]
        return absent + [each for each in index.foreign if cells[each].strip()]

    def _why(self, column: int, text: str, index: Index) -> str:
        name = self._layout.parameters[column]
        if column in index.foreign:
            return f"{self._column(column)} is {_quoted(text)}, which no task of the kind has"
        values = self._catalogue.values[name]
        have = [shown(each) for each in values.items[: MOST_SHOWN + 1]]
        has = f"{self._column(column)} is {_quoted(text)}; tasks have {_several(have, len(values))}"
        for each in readings(text, self._comma):
            if near := values.near(each, ROUNDING):
                value = values.items[near[0]]
                return f"{has}; --tolerance {ROUNDING:g} takes it for {shown(value)}"
        return has + did_you_mean(text, [each for each in values.items if isinstance(each, str)])

    def _nearest(self, cells: Sequence[str]) -> Fit:
        """No task has this combination: which one has most of it, and where it differs."""
        best: tuple[int, int, list[int]] | None = None
        for index in self._indexes:
            if any(cells[each].strip() for each in index.foreign):
                continue
            wanted = [set(self._meant(each, cells[each])) for each in index.columns]
            for task, row in zip(index.shape.tasks, index.shape.rows, strict=True):
                self._looks -= 1
                if self._looks < 0:
                    return Fit(None, Kind.UNMATCHED, "no task has this combination of values")
                ids = array(NUMBER, row)
                pairs = zip(index.columns, index.places, wanted, strict=True)
                wrong = [column for column, place, want in pairs if ids[place] not in want]
                if best is None or len(wrong) < best[0]:
                    best = (len(wrong), task, wrong)
        assert best is not None
        return self._near(cells, best[1], best[2])

    def _near(self, cells: Sequence[str], task: int, wrong: Sequence[int]) -> Fit:
        parts = [
            f"{self._column(each)} is {_quoted(cells[each])}, there "
            f"{shown(self._catalogue.value_of(task, self._layout.parameters[each]))}"
            for each in wrong[:MOST_TOLD]
        ]
        told = "; ".join(parts) + _more(len(wrong) - MOST_TOLD, " of its columns")
        why = f"no task has this combination; the nearest is {self._id(task)}: {told}"
        return Fit(None, Kind.UNMATCHED, why, self._id(task))


def _quoted(text: str) -> str:
    """As it stands in the file, where nothing is hidden by that."""
    bare = text.strip()
    return (shortened(bare) if bare == text else shown(text)) if bare else "empty"


def _several(shown_: Sequence[str], total: int = 0) -> str:
    """The first few, and how many more there are."""
    total = total or len(shown_)
    return ", ".join(shown_[:MOST_SHOWN]) + _more(total - MOST_SHOWN)


def _more(count: int, what: str = "") -> str:
    return f" and {count} more{what}" if count > 0 else ""
