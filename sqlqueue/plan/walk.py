"""The way over the cells of a grid: one after the other, each as a task.

Promises: one cell is held at a time; the canonical form of each value is worked out once, not
once per cell, and a cell's signature costs one digest of what is joined.
What is not here: what a grid is, and what can be said of it without a walk (`grid.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlqueue.plan.nested import ABSENT, Absent, head, nest
from sqlqueue.plan.signature import entry, sealer
from sqlqueue.plan.task import Task

if TYPE_CHECKING:
    from sqlqueue.plan.grid import Grid


@dataclass(frozen=True, slots=True)
class _Row:
    """What choosing a row of an axis changes, worked out once."""

    values: dict[str, Any]
    entries: dict[str, str]
    texts: dict[str, str]
    mask: int
    steers: bool
    """Whether another directory or seed may come of it: few rows do."""


_NO_ROW: Final = _Row({}, {}, {}, -1, False)


class _Cell:
    """The cell that a walk has come to."""

    def __init__(self, grid: Grid, entries: dict[str, str]) -> None:
        self.parameters = dict(grid.fixed)
        self.entries = entries
        self.output_dir = ""
        self.seed: int | None = None
        self.is_stale = True
        """Whether to `settle` before the last two are read."""
        self._template = grid.template
        self._texts = grid.folder_texts()

    def take(self, row: _Row) -> None:
        """From now on it has what the row gives."""
        self.parameters.update(row.values)
        self.entries.update(row.entries)
        if row.steers:
            self._texts.update(row.texts)
            self.is_stale = True

    def settle(self) -> None:
        self.output_dir = self._template.fill(self._texts)
        self.seed = _seed(self.parameters)
        self.is_stale = False


class Walk:
    """One walk over the cells of a grid."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.declared = {each.name: each for each in grid.experiment.parameters}
        swept = {name for each in grid.axes for name in each.names}
        self.names = {name: self._parameter(name) for name in grid.fixed}
        heads = {parameter for name, parameter in self.names.items() if name != parameter}
        self.moving = sorted(heads & {self.names[name] for name in swept})
        self.gaps = any(value is ABSENT for name in swept for value in grid.values(name))
        self.start, self.masks = grid.masks()
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
        texts = self.grid.row_texts(swept, row)
        return _Row(
            values=values,
            entries={name: self._entry(name, value) for name, value in whole.items()},
            texts=texts,
            mask=self.masks[index][row],
            steers=bool(texts) or "seed" in values,
        )

    def _entry(self, name: str, value: Any) -> str:
        return entry(name, value, self.declared.get(name))

    def tasks(self) -> Iterator[Task]:
        """The cells as tasks, the first axis slowest."""
        grid, settings, estimate = self.grid, self.grid.settings, self.grid.experiment.cost
        phase, name, runtime_only = grid.phase, grid.experiment.name, self.runtime_only
        cell, sealed = _Cell(grid, self._fixed_entries()), sealer(name)
        parameters, entries = cell.parameters, cell.entries
        for _ in self._chosen(cell):
            if self.moving:
                entries.update(self._nested_entries(parameters, self.moving))
            if cell.is_stale:
                cell.settle()
            yield Task(
                sealed(entries.values()),
                phase,
                name,
                _present(parameters) if self.gaps else parameters.copy(),
                cell.output_dir,
                cell.seed,
                runtime_only,
                settings.priority,
                settings.max_attempts,
                settings.timeout_seconds,
                estimate(parameters) if estimate else 1.0,
            )

    def _chosen(self, cell: _Cell) -> Iterator[None]:
        """Has the cell be one after the other, the fastest axis apart: the others seldom change."""
        *slow, fast = self.rows or [[_NO_ROW]]
        start = self.start if self.grid.exclude else 0
        last: tuple[_Row | None, ...] = (None,) * len(slow)
        for rows in itertools.product(*slow):
            mask = start
            for row, before in zip(rows, last, strict=True):
                mask &= row.mask
                if row is not before:
                    cell.take(row)
            last = rows
            for row in fast:
                if not mask & row.mask:
                    cell.take(row)
                    yield

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
