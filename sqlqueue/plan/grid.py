"""A grid: fixed parameters, axes, and what is excluded -> its cells, counted and in order.

Promises: `count` and `output_dirs` walk over axes and never over cells.  Values are checked
already.  What is not here: the way from cell to cell (`walk.py`), YAML, errors.

Names are those of leaves (`nested.py`).  An *axis* has rows; a row gives values to the
names of the axis (several, for keys that move together).  An *exclusion* says for some
names which forms it matches; each row knows as the bits of a number which exclusions it does
not contradict, so a cell is excluded when the AND over its rows leaves a bit.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any, Final

from sqlqueue.plan import walk
from sqlqueue.plan.nested import ABSENT
from sqlqueue.plan.settings import Settings
from sqlqueue.plan.signature import form
from sqlqueue.plan.task import Experiment, Task
from sqlqueue.plan.template import Template, folder_text

_UNSTEERED: Final = Settings()
Exclusion = Mapping[str, frozenset[str]]
"""Canonical forms that match, by name."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Names that are swept together, and their values row by row; no row twice."""

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def axis(names: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> Axis:
    """The axis without the rows that say again what an earlier one said."""
    distinct: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for row in rows:
        distinct.setdefault(tuple(map(form, row)), row)
    return Axis(tuple(names), tuple(distinct.values()))


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of one block, or of one of its `include`s.

    `fixed`: the value of every parameter that no axis gives, in declaration order, and of
    the others in between, whose values here mean nothing.
    """

    phase: str
    experiment: Experiment
    fixed: Mapping[str, Any]
    axes: tuple[Axis, ...]
    template: Template
    settings: Settings = _UNSTEERED
    exclude: tuple[Exclusion, ...] = ()

    @property
    def size(self) -> int:
        """Cells before anything is excluded."""
        return math.prod(len(each.rows) for each in self.axes)

    @property
    def most_output_dirs(self) -> int:
        """Choices that the placeholders leave, before anything is excluded."""
        named = set(self.template.names)
        return math.prod(len(each.rows) for each in self.axes if named & set(each.names))

    def values(self, name: str) -> list[Any]:
        """The values that the cells give a parameter; none when they do not have it."""
        for each in self.axes:
            if name in each.names:
                return [row[each.names.index(name)] for row in each.rows]
        return [self.fixed[name]] if name in self.fixed else []

    def count(self) -> int:
        """Cells, found by multiplying out how rows match exclusions, not the rows."""
        start, masks = self.masks()
        found = Counter({start: 1})
        for rows in masks:
            kinds = Counter(rows)
            step: Counter[int] = Counter()
            for (mask, times), (row, rows_alike) in itertools.product(found.items(), kinds.items()):
                step[mask & row] += times * rows_alike
            found = step
        return found[0]

    def output_dirs(self) -> Iterator[str]:
        """Each directory that a cell lies in, in order; distinct within one grid."""
        start, masks = self.masks()
        named = set(self.template.names)
        shown = [index for index, each in enumerate(self.axes) if named & set(each.names)]
        others = _reachable(masks[i] for i in range(len(masks)) if i not in shown)
        texts = self.folder_texts()
        seen = set()
        for picked in itertools.product(*(range(len(self.axes[index].rows)) for index in shown)):
            chosen = list(zip(shown, picked, strict=True))
            mask = reduce(and_, (masks[index][row] for index, row in chosen), start)
            if all(mask & other for other in others):
                continue
            for index, row in chosen:
                texts.update(self.row_texts(self.axes[index], row))
            directory = self.template.fill(texts)
            if directory not in seen:
                seen.add(directory)
                yield directory

    def tasks(self) -> Iterator[Task]:
        """The cells as tasks, the first axis slowest."""
        return walk.Walk(self).tasks()

    def masks(self) -> tuple[int, list[list[int]]]:
        """Bits of the exclusions that the fixed values meet; per axis, that each row meets."""
        if not self.exclude:
            return 0, [[0] * len(each.rows) for each in self.axes]
        swept = {name for each in self.axes for name in each.names}
        start = 0
        for bit, exclusion in enumerate(self.exclude):
            fixed = {name for name in exclusion if name not in swept}
            if all(form(self.fixed.get(name, ABSENT)) in exclusion[name] for name in fixed):
                start |= 1 << bit
        return start, [[self._mask(each, row) for row in each.rows] for each in self.axes]

    def _mask(self, swept: Axis, row: tuple[Any, ...]) -> int:
        forms = dict(zip(swept.names, map(form, row), strict=True))
        return sum(
            1 << bit
            for bit, exclusion in enumerate(self.exclude)
            if all(own in exclusion.get(name, (own,)) for name, own in forms.items())
        )

    def folder_texts(self) -> dict[str, str]:
        """Texts for the placeholders that are not swept."""
        swept = {name for each in self.axes for name in each.names}
        fixed = [name for name in self.template.names if name not in swept]
        return {name: folder_text(self.fixed[name]) for name in fixed}

    def row_texts(self, swept: Axis, row: int) -> dict[str, str]:
        pairs = zip(swept.names, swept.rows[row], strict=True)
        return {name: folder_text(value) for name, value in pairs if name in self.template.names}


def _reachable(axes: Iterable[list[int]]) -> set[int]:
    """Every mask that a choice of one row per axis can come to."""
    found = {-1}
    for rows in axes:
        found = {mask & row for mask, row in itertools.product(found, set(rows))}
    return found
