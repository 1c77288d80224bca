"""A block and its experiment -> grids: nothing missing, nothing unknown.

Precedence: `when` over `combinations` (and `zip`) over the phase's `defaults` over the
file's `defaults` over the experiment's own.  `seeds` of the file becomes the slowest axis of
a phase that says nothing of `seed` itself.  An `include` is a whole cell: what it leaves out
comes from the fixed keys and the defaults, but a key that the phase sweeps must be given;
lists in it are swept.  `exclude` takes cells out of the product, with what `when` gave them,
never out of `include`, which `when` does not touch.

What is not here: the shape of the file (`blocks.py`), single values (`declared.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from sqlqueue.plan import cells as reading
from sqlqueue.plan import matching, settings, template, when
from sqlqueue.plan.blocks import Block, File, Keys
from sqlqueue.plan.cells import Cells
from sqlqueue.plan.declared import Declared
from sqlqueue.plan.grid import Exclusion, Grid
from sqlqueue.plan.nested import Absent, covers, ordered, over
from sqlqueue.plan.problems import Problems, describe, did_you_mean
from sqlqueue.plan.task import STEERING, Experiment, Missing
from sqlqueue.plan.template import Template, TemplateError

MAX_CELLS: Final = 10_000_000
"""Most cells of one grid: more is a slip of the pen, or another tool's job."""
MAX_DIRECTORIES: Final = 100_000
"""Most output directories of one grid: each is claimed and written at once."""


def steering(block: Block, file: File) -> Keys:
    """The steering keys that hold for a block."""
    layers = (file.defaults, block.defaults, block.steering)
    return {key: given for layer in layers for key, given in layer.items() if key in STEERING}


def bind(block: Block, file: File, experiment: Experiment, problems: Problems) -> list[Grid]:
    """The grids of a block: its product, then each of its includes."""
    return _Binder(block, file, experiment, problems).grids()


class _Binder:
    """One block's way through the checks.  A problem never stops the search for others."""

    def __init__(
        self, block: Block, file: File, experiment: Experiment, problems: Problems
    ) -> None:
        self.block = block
        self.problems = problems
        self.experiment = experiment
        self.declared = Declared(experiment, problems)
        keys = steering(block, file)
        self.settings = settings.read(keys, problems)
        self.directory = keys.get("output_dir")
        self.template = self._template()
        shared = {name: given for name, given in file.defaults.items() if self.declared.has(name)}
        given = self.declared.defaults(shared), self.declared.defaults(block.defaults)
        self.defaults = self._over(given[0], given[1], block.defaults)
        self.complete = self._over(self._own(), given[0], shared)
        self.complete = self._over(self.complete, given[1], block.defaults)
        self.seeds = self._seeds(file)

    def grids(self) -> list[Grid]:
        block = self.block
        product = reading.read(block.combinations, block.zips, self.declared)
        seeded = self._seeded(product)
        parts = when.divide(self._grid(seeded), block.when, self.declared)
        exclude = self._exclusions(parts)
        grids: list[Grid] = []
        if block.when and not (block.combinations or block.zips):
            problem = "found no `combinations` for it; `when` does not touch cells of `include`"
            self.problems.add(block.when[0].place, problem)
        if block.combinations or block.zips:
            grids += [replace(each, exclude=(*each.exclude, *own))
                      for each, own in zip(parts, exclude, strict=True)]  # fmt: skip
            self._check(grids)
        for keys in block.include:
            grids.append(self._included(keys, product))
            self._check(grids[-1:])
        return grids

    def _own(self) -> dict[str, Any]:
        """The experiment's own defaults, by leaf."""
        own: dict[str, Any] = {}
        for each in self.experiment.parameters:
            own |= self.declared.leaves(each.name, each.default)
        return own

    def _over(
        self, lower: Mapping[str, Any], upper: Mapping[str, Any], keys: Iterable[str]
    ) -> dict[str, Any]:
        return over(lower, upper, keys, self.declared.clash)

    # --- seeds --------------------------------------------------------------------------

    def _seeds(self, file: File) -> Cells | None:
        """The file's `seeds` as cells, when the phase says nothing of `seed` itself."""
        zipped = [name for each in self.block.zips for name in reading.names(each)]
        own = (*self.block.combinations, *self.block.defaults, *zipped)
        if file.seeds is None or "seed" in own or not self.declared.has("seed"):
            return None
        return reading.read({"seed": file.seeds}, (), self.declared)

    def _seeded(self, cells: Cells) -> Cells:
        """The cells with the file's `seeds` as the slowest axis, unless they have a seed."""
        if self.seeds is None or "seed" in cells.swept or "seed" in cells.fixed:
            return cells
        fixed = {**cells.fixed, **self.seeds.fixed}
        return Cells((*self.seeds.axes, *cells.axes), fixed, (*self.seeds.keys, *cells.keys))

    # --- single cells -------------------------------------------------------------------

    def _included(self, keys: Keys, product: Cells) -> Grid:
        cells = reading.read(keys, (), self.declared)
        place = next(iter(keys.values())).place
        for name in product.swept:
            if name not in self.defaults and not any(covers(key, name) for key in keys):
                problem = f"found a cell without {name!r}, which the phase sweeps; give it here too"
                self.problems.add(replace(place, key="include"), problem)
        still = [key for key in product.keys if not any(covers(key, n) for n in product.swept)]
        own = {**cells.fixed, **dict.fromkeys(cells.swept)}
        fixed = self._over(product.fixed, own, cells.keys)
        alone = {name: value for name, value in fixed.items() if name not in cells.swept}
        return self._grid(self._seeded(Cells(cells.axes, alone, (*still, *cells.keys))))

    def _exclusions(self, parts: list[Grid]) -> list[list[Exclusion]]:
        """What each part is to be without."""
        known = dict.fromkeys(name for part in parts for name in part.fixed)
        wanted = [matching.read(keys, known, self.declared) for keys in self.block.exclude]
        return [
            [
                exclusion
                for each in wanted
                for exclusion in matching.exclusions(each, part.fixed, self.declared)
            ]
            for part in parts
        ]

    # --- the whole ----------------------------------------------------------------------

    def _grid(self, cells: Cells) -> Grid:
        own = {**cells.fixed, **dict.fromkeys(cells.swept)}
        fixed = self._over(self.complete, own, cells.keys)
        return Grid(
            self.block.name,
            self.experiment,
            ordered(fixed, self.declared.parameters),
            cells.axes,
            self.template,
            self.settings,
        )

    def _check(self, grids: list[Grid]) -> None:
        """What the cells of the product, or of an `include`, must be."""
        for grid in grids:
            self._check_complete(grid.fixed)
            self._check_folders(grid)
        size = sum(each.size for each in grids)
        folders = sum(each.most_output_dirs for each in grids)
        if size > MAX_CELLS:
            problem = f"found {size} cells, expected at most {MAX_CELLS}; sweep fewer values"
            self.problems.add(self.block.place, problem)
        elif folders > MAX_DIRECTORIES:
            problem = (
                f"found up to {folders} output directories, expected at most "
                f"{MAX_DIRECTORIES}; use fewer placeholders in output_dir"
            )
            self.problems.add(self.block.place, problem)

    def _check_complete(self, fixed: Mapping[str, Any]) -> None:
        for name, value in fixed.items():
            if isinstance(value, Missing) and name not in self.declared.places:
                problem = (
                    f"parameter {name!r} of experiment {self.experiment.name!r} has no default "
                    "and no value; give it in `combinations` or `defaults`"
                )
                self.problems.add(self.block.place, problem)

    # --- the output directory -------------------------------------------------------------

    def _template(self) -> Template:
        if self.directory is None:
            problem = "found no output_dir; give one here or in `defaults`"
            self.problems.add(replace(self.block.place, key="output_dir"), problem)
            return Template("")
        value = self.directory.scalar(self.problems)
        try:
            if not isinstance(value, str):
                raise TemplateError(f"found {describe(value)}, expected a folder as text")
            return template.parse(value)
        except TemplateError as error:
            self.problems.add(self.directory.place, str(error))
            return Template("")

    def _check_folders(self, grid: Grid) -> None:
        for name in self.template.names:
            if name not in grid.fixed:
                self._no_such_placeholder(name, list(grid.fixed))
            for value in grid.values(name):
                self._check_folder(name, value)

    def _no_such_placeholder(self, name: str, known: list[str]) -> None:
        if self.directory is not None:
            expected = f"expected a parameter of experiment {self.experiment.name!r}"
            if entries := [each for each in known if covers(name, each)]:
                expected = f"a mapping; name an entry of it: {{{entries[0]}}}"
            problem = f"found {{{name}}}, {expected}{did_you_mean(name, known)}"
            self.problems.add(self.directory.place, problem)

    def _check_folder(self, name: str, value: Any) -> None:
        try:
            if isinstance(value, Absent):
                raise TemplateError(f"output_dir names {name!r}, which not every cell has")
            if not isinstance(value, Missing):
                template.folder_text(value)
        except TemplateError as error:
            place = self.declared.places.get(name) or self.block.place
            self.problems.add(place, str(error))
