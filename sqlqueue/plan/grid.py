"""A grid: fixed parameters, axes, and what is excluded -> its cells, counted and in order.

Promises: `count` and `output_dirs` walk over axes and never over cells; `tasks` is a
generator that holds one cell at a time and works out the canonical form of each value
once, not once per cell.  Values are checked already.  What is not here: YAML, errors.

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

from sqlqueue.plan.nested import ABSENT, Absent, head, nest
from sqlqueue.plan.settings import Settings
from sqlqueue.plan.signature import entry, form, seal
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
        start, masks = self._masks()
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
        start, masks = self._masks()
        named = set(self.template.names)
        shown = [index for index, each in enumerate(self.axes) if named & set(each.names)]
        others = _reachable(masks[i] for i in range(len(masks)) if i not in shown)
        texts = self._folder_texts()
        seen = set()
        for picked in itertools.product(*(range(len(self.axes[index].rows)) for index in shown)):
            chosen = list(zip(shown, picked, strict=True))
            mask = reduce(and_, (masks[index][row] for index, row in chosen), start)
            if all(mask & other for other in others):
                continue
            for index, row in chosen:
                texts.update(self._row_texts(self.axes[index], row))
            directory = self.template.fill(texts)
            if directory not in seen:
                seen.add(directory)
                yield directory

    def tasks(self) -> Iterator[Task]:
        """The cells as tasks, the first axis slowest."""
        return _Tasks(self).run()

    def _masks(self) -> tuple[int, list[list[int]]]:
        """Bits of the exclusions that the fixed values meet; per axis, that each row meets."""
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

    def _folder_texts(self) -> dict[str, str]:
        """Texts for the placeholders that are not swept."""
        swept = {name for each in self.axes for name in each.names}
        fixed = [name for name in self.template.names if name not in swept]
        return {name: folder_text(self.fixed[name]) for name in fixed}

    def _row_texts(self, swept: Axis, row: int) -> dict[str, str]:
        pairs = zip(swept.names, swept.rows[row], strict=True)
        return {name: folder_text(value) for name, value in pairs if name in self.template.names}


def _reachable(axes: Iterable[list[int]]) -> set[int]:
    """Every mask that a choice of one row per axis can come to."""
    found = {-1}
    for rows in axes:
        found = {mask & row for mask, row in itertools.product(found, set(rows))}
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    """What choosing a row of an axis changes, worked out once."""

    values: dict[str, Any]
    entries: dict[str, str]
    texts: dict[str, str]
    mask: int


class _Tasks:
    """One walk over the cells of a grid."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.declared = {each.name: each for each in grid.experiment.parameters}
        swept = {name for each in grid.axes for name in each.names}
        self.names = {name: self._parameter(name) for name in grid.fixed}
        heads = {parameter for name, parameter in self.names.items() if name != parameter}
        self.moving = sorted(heads & {self.names[name] for name in swept})
        self.gaps = any(value is ABSENT for name in swept for value in grid.values(name))
        self.start, self.masks = grid._masks()
        self.runtime_only = tuple(name for name, parameter in self.names.items()
                                  if self._is_runtime_only(parameter))  # fmt: skip
        self.rows = [
            [self._row(index, row) for row in range(len(each.rows))]
            for index, each in enumerate(grid.axes)
        ]

    def _parameter(self, name: str) -> str:
        """The declared parameter that a name is an entry of, or itself."""
        return head(name) if head(name) in self.declared else name

    def _is_runtime_only(self, name: str) -> bool:
        return name in self.declared and self.declared[name].runtime_only

    def _row(self, index: int, row: int) -> _Row:
        swept = self.grid.axes[index]
        values = dict(zip(swept.names, swept.rows[row], strict=True))
        whole = {name: each for name, each in values.items() if self.names[name] not in self.moving}
        return _Row(
            values=values,
            entries={name: self._entry(name, value) for name, value in whole.items()},
            texts=self.grid._row_texts(swept, row),
            mask=self.masks[index][row],
        )

    def _entry(self, name: str, value: Any) -> str:
        return entry(name, value, self.declared.get(name))

    def run(self) -> Iterator[Task]:
        grid, settings, estimate = self.grid, self.grid.settings, self.grid.experiment.cost
        phase, name, fill = grid.phase, grid.experiment.name, grid.template.fill
        parameters, entries, texts = dict(grid.fixed), self._fixed_entries(), grid._folder_texts()
        last: tuple[_Row | None, ...] = (None,) * len(self.rows)
        for rows in itertools.product(*self.rows):
            if grid.exclude and self._is_excluded(rows):
                continue
            for row, before in zip(rows, last, strict=True):
                if row is not before:  # the slow axes seldom change
                    parameters.update(row.values)
                    entries.update(row.entries)
                    texts.update(row.texts)
            last = rows
            if self.moving:
                entries.update(self._nested_entries(parameters, self.moving))
            yield Task(
                seal(name, entries.values()),
                phase,
                name,
                _present(parameters) if self.gaps else parameters.copy(),
                fill(texts),
                _seed(parameters),
                self.runtime_only,
                settings.priority,
                settings.max_attempts,
                settings.timeout_seconds,
                estimate(parameters) if estimate else 1.0,
            )

    def _is_excluded(self, rows: tuple[_Row, ...]) -> bool:
        mask = self.start
        for row in rows:
            mask &= row.mask
        return mask != 0

    def _nested_entries(self, parameters: Mapping[str, Any], heads: list[str]) -> dict[str, str]:
        """The entries of parameters that are put together from their leaves."""
        flat = {name: value for name, value in parameters.items() if self.names[name] in heads}
        return {name: self._entry(name, value) for name, value in nest(flat, heads).items()}

    def _fixed_entries(self) -> dict[str, str]:
        """Entries sorted by name, where rows then put theirs.

        Neighbours that no axis changes are joined: fewer pieces for each cell.
        """
        swept = {name for each in self.grid.axes for name in each.names} | set(self.moving)
        still = {n: each for n, each in self.grid.fixed.items() if self.names[n] not in self.moving}
        whole = nest(still, self.declared) | dict.fromkeys(self.moving)
        found = {}
        for is_swept, names in itertools.groupby(sorted(whole), swept.__contains__):
            group = list(names)
            if is_swept:
                found.update(dict.fromkeys(group, ""))
            else:
                found[group[0]] = "".join(self._entry(each, whole[each]) for each in group)
        return found


def _present(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Without the entries that other cells have."""
    return {name: each for name, each in parameters.items() if not isinstance(each, Absent)}


def _seed(parameters: Mapping[str, Any]) -> int | None:
    seed = parameters.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None
