"""`when`: what holds for the cells that match a condition, and for no others.

A block of `when` divides each grid into the cells that match and the rest.  Those that
match get what `then` gives: a single value is fixed, whatever fixed it before; a list is
swept, as the fastest axis.  Blocks take effect one after the other: a later one sees what
earlier ones gave, and wins over them.  What the phase itself sweeps no block can set.

Promises: nothing is expanded: a grid is divided by the rows of its axes, or, where a
condition restricts several at once, by an exclusion; so counts stay exact and cheap.  What
is not here: the shape (`blocks.py`), how a condition is read (`matching.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlqueue.plan import cells, matching
from sqlqueue.plan.blocks import When
from sqlqueue.plan.cells import Cells
from sqlqueue.plan.declared import Declared
from sqlqueue.plan.grid import Axis, Exclusion, Grid, axis
from sqlqueue.plan.matching import Wanted
from sqlqueue.plan.nested import ABSENT, covers, ordered, over
from sqlqueue.plan.problems import describe, did_you_mean
from sqlqueue.plan.signature import canonical, form

MAX_PIECES: Final = 1000
"""Grids that the blocks of one phase may come to."""


def divide(grid: Grid, blocks: Sequence[When], declared: Declared) -> list[Grid]:
    """The grids of the phase, each with what the blocks give its cells."""
    own = [name for each in grid.axes for name in each.names]
    pieces, asked = [grid], set[str]()
    for block in blocks:
        divider = _Divider(block, declared, own, frozenset(asked))
        pieces = divider.divide(pieces)
        asked |= block.condition.keys()
        if len(pieces) > MAX_PIECES:
            problem = f"the blocks of `when` divide the phase into more than {MAX_PIECES} parts"
            declared.problems.add(block.place, f"{problem}; make two phases of it")
            break
    return pieces


class _Divider:
    """One block, for one grid after the other.  `asked`: names that earlier ones asked for."""

    def __init__(
        self, block: When, declared: Declared, own: Iterable[str], asked: frozenset[str]
    ) -> None:
        self.block = block
        self.asked = asked
        self.declared = declared
        self.problems = declared.problems
        self.own = list(own)
        self.is_clear = True

    def divide(self, pieces: Sequence[Grid]) -> list[Grid]:
        known = dict.fromkeys(name for piece in pieces for name in piece.fixed)
        wanted = matching.read(self.block.condition, known, self.declared)
        condition = {each.name: frozenset(map(canonical, each.values)) for each in wanted}
        self._check_condition(wanted, known)
        self._check_keys()
        given = cells.read(self.block.values, (), self.declared)
        found: list[Grid] = []
        matched = False
        for piece in pieces:
            parts = _parts(piece, condition)
            matched = matched or any(is_match for is_match, _ in parts)
            found += [self._with(each, given) if is_match else each for is_match, each in parts]
        if not matched and self.is_clear:
            self._tell_unmatched(wanted, pieces)
        return found

    def _with(self, grid: Grid, given: Cells) -> Grid:
        """The grid with what `then` gives."""
        axes = [_without(each, given.keys) for each in grid.axes]
        gone = {name for each in grid.axes for name in each.names} - {
            name for each in axes for name in each.names
        }
        if gone & self.asked or any(gone & set(each) for each in grid.exclude):
            # Pieces that differ in it alone would become one cell, counted twice.
            problem = "sets again what an earlier block sweeps and another asks for; merge them"
            self.problems.add(self.block.place, problem)
        upper = {**given.fixed, **dict.fromkeys(each for each in given.swept)}
        fixed = over(grid.fixed, upper, given.keys, self.declared.clash)
        kept = tuple(each for each in axes if each.names)
        fixed = ordered(fixed, self.declared.parameters)
        return replace(grid, fixed=fixed, axes=(*kept, *given.axes))

    # --- what cannot be meant -----------------------------------------------------------

    def _check_condition(self, wanted: Iterable[Wanted], known: Iterable[str]) -> None:
        for each in wanted:
            entries = [name for name in known if covers(each.name, name) and name != each.name]
            if entries or any(isinstance(value, dict) for value in each.values):
                hint = f", such as {entries[0]!r}" if entries else ""
                problem = f"found the whole of {each.name!r}, expected an entry of it{hint}"
                self.problems.add(each.given.place, problem)
                self.is_clear = False

    def _check_keys(self) -> None:
        for name, given in self.block.values.items():
            if name in self.block.condition:
                problem = "is asked for and set by the same block; remove it from `if` or `then`"
                self.problems.add(given.place, problem)
            elif swept := [n for n in self.own if covers(name, n) or covers(n, name)]:
                place = self.declared.places.get(swept[0])
                where = f" ({place.file}:{place.line})" if place else ""
                self.problems.add(
                    given.place,
                    f"the phase itself sweeps {swept[0]!r}{where}; give it by blocks of `when` "
                    "alone, or leave cells out with `exclude`",
                )

    def _tell_unmatched(self, wanted: Sequence[Wanted], pieces: Sequence[Grid]) -> None:
        """The block matches no cell: names the key whose values no cell has."""
        if any(not each.values for each in wanted) or len(wanted) < len(self.block.condition):
            return  # told already
        for each in wanted:
            found = [value for piece in pieces for value in piece.values(each.name)]
            if not {form(value) for value in found} & set(map(canonical, each.values)):
                hint = _alike(each.values, found)
                problem = f"no cell of the phase has {_said(each.values)} here{hint}"
                self.problems.add(each.given.place, f"{problem}; correct or remove the block")
                return
        problem = "no cell of the phase has these values together; correct or remove the block"
        self.problems.add(self.block.place, problem)


def _said(values: Sequence[Any]) -> str:
    more = f", or any of the {len(values) - 1} others," if len(values) > 1 else ""
    return describe(values[0]) + more


def _alike(values: Sequence[Any], found: Iterable[Any]) -> str:
    texts = [each for each in found if isinstance(each, str)]
    hints = (did_you_mean(each, texts) for each in values if isinstance(each, str))
    return next((each for each in hints if each), "")


def _without(swept: Axis, keys: Sequence[str]) -> Axis:
    """The axis without the names that the keys replace."""
    kept = [index for index, name in enumerate(swept.names)
            if not any(covers(key, name) for key in keys)]  # fmt: skip
    if len(kept) == len(swept.names):
        return swept
    names = (swept.names[index] for index in kept)
    return axis(names, (tuple(row[index] for index in kept) for row in swept.rows))


# --- dividing -------------------------------------------------------------------------


def _parts(grid: Grid, condition: Exclusion) -> list[tuple[bool, Grid]]:
    """The cells that match (True) and the rest, those that are in the first row first."""
    swept = {name for each in grid.axes for name in each.names}
    fixed = (name for name in condition if name not in swept)
    if not all(form(grid.fixed.get(name, ABSENT)) in condition[name] for name in fixed):
        return [(False, grid)]
    fits = [_fits(each, condition) for each in grid.axes]
    picked = [index for index, each in enumerate(fits) if not all(each)]
    axes = [_rows(each, fit.__getitem__) for each, fit in zip(grid.axes, fits, strict=True)]
    parts = [(True, replace(grid, axes=tuple(axes)))]
    if len(picked) == 1:
        rest = list(grid.axes)
        rest[picked[0]] = _rows(rest[picked[0]], lambda row: not fits[picked[0]][row])
        parts.append((False, replace(grid, axes=tuple(rest))))
    elif picked:
        restricting = {name: forms for name, forms in condition.items() if name in swept}
        parts.append((False, replace(grid, exclude=(*grid.exclude, restricting))))
    if not all(fits[index][0] for index in picked):
        parts.reverse()
    return [(is_match, each) for is_match, each in parts if each.count()]


def _fits(swept: Axis, condition: Exclusion) -> list[bool]:
    """Of each row, whether it has the values that the condition asks for."""
    asked = [(index, condition[n]) for index, n in enumerate(swept.names) if n in condition]
    return [all(form(row[index]) in forms for index, forms in asked) for row in swept.rows]


def _rows(swept: Axis, keep: Callable[[int], bool]) -> Axis:
    return Axis(swept.names, tuple(row for n, row in enumerate(swept.rows) if keep(n)))
