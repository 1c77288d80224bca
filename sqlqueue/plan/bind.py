"""A block and its experiment -> grids: names known, values brought, nothing missing.

Precedence: `combinations` (and `zip`) over the phase's `defaults` over the file's
`defaults` over the experiment's own.  `seeds` of the file becomes the slowest axis of a
phase that says nothing of `seed` itself.  An `include` is a whole cell: what it leaves out
comes from the fixed keys and the defaults, but a key that the phase sweeps must be given;
lists in it are swept.  What is not here: the shape of the file (`blocks.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlqueue.plan import settings, template
from sqlqueue.plan.blocks import Block, File, Given, Keys
from sqlqueue.plan.grid import Axis, Exclusion, Grid, axis
from sqlqueue.plan.problems import Place, Problems, describe, did_you_mean
from sqlqueue.plan.settings import Settings
from sqlqueue.plan.signature import canonical
from sqlqueue.plan.task import OWN_COLUMNS, REQUIRED, STEERING, Experiment, Missing, Parameter
from sqlqueue.plan.template import Template, TemplateError
from sqlqueue.plan.tree import Items, Scalar, Tree, complaints, plain
from sqlqueue.plan.values import Mismatch, bring

MAX_CELLS: Final = 10_000_000
"""Most cells of one grid: more is a slip of the pen, or another tool's job."""

_RESERVED: Final = frozenset(OWN_COLUMNS) | STEERING


def steering(block: Block, file: File) -> Keys:
    """The steering keys that hold for a block."""
    layers = (file.defaults, block.defaults, block.steering)
    return {key: given for layer in layers for key, given in layer.items() if key in STEERING}


def bind(block: Block, file: File, experiment: Experiment, problems: Problems) -> list[Grid]:
    """The grids of a block: its product, then each of its includes."""
    return _Binder(block, file, experiment, problems).grids()


@dataclass(slots=True)
class _Cells:
    """Axes and fixed values that a mapping of keys came to."""

    axes: list[Axis] = field(default_factory=list)
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def swept(self) -> set[str]:
        return {name for each in self.axes for name in each.names}


class _Binder:
    """One block's way through the checks.  A problem never stops the search for others."""

    def __init__(
        self, block: Block, file: File, experiment: Experiment, problems: Problems
    ) -> None:
        self.block = block
        self.problems = problems
        self.experiment = experiment
        self.declared = {each.name: each for each in experiment.parameters}
        self.places: dict[str, Place] = {}
        keys = steering(block, file)
        self.settings: Settings = settings.read(keys, problems)
        self.directory = keys.get("output_dir")
        self.template = self._template()
        self.defaults = self._defaults(self._known(file.defaults)) | self._defaults(block.defaults)
        self.seeds = file.seeds if self._wants_seeds() else None

    def grids(self) -> list[Grid]:
        block = self.block
        product = self._cells(block.combinations)
        self._zip(product)
        own = product.swept | set(product.fixed)
        grids = []
        if block.combinations or block.zips:
            exclude = tuple(map(self._exclusion, block.exclude))
            grids.append(self._grid(self._seeded(product), exclude))
        for keys in block.include:
            grids.append(self._included(keys, product.swept, product.fixed))
        self._check_exclude(own)
        return grids

    # --- names -------------------------------------------------------------------------

    def _parameter(self, given: Given) -> Parameter | None:
        """What the experiment declares for a key; None, and a problem, when it has no such."""
        name = str(given.place.key)
        if name in self.declared:
            return self.declared[name]
        if name in _RESERVED or not self.experiment.open_ended:
            self.problems.add(given.place, self._unknown(name))
            return None
        return Parameter(name)

    def _unknown(self, name: str) -> str:
        if name in _RESERVED:
            return "the name is taken by sqlqueue itself; call the parameter something else"
        hint = did_you_mean(name, self.declared)
        return (
            f"unknown parameter of experiment {self.experiment.name!r}; correct or remove it{hint}"
        )

    def _known(self, defaults: Keys) -> Keys:
        """Of the file's defaults those that this experiment has; others are for others."""
        if self.experiment.open_ended:
            return defaults
        return {name: given for name, given in defaults.items() if name in self.declared}

    # --- values ------------------------------------------------------------------------

    def _value(self, parameter: Parameter, place: Place, tree: Tree) -> Any:
        """One value brought to its parameter; REQUIRED, and a problem, when it cannot be."""
        unclear = complaints(tree)
        for line, complaint in unclear:
            self.problems.add(place.at(line), complaint)
        try:
            text = tree.text if isinstance(tree, Scalar) else None
            return REQUIRED if unclear else bring(parameter, plain(tree), text)
        except Mismatch as mismatch:
            self.problems.add(place.at(tree.line), str(mismatch))
            return REQUIRED

    def _values(self, parameter: Parameter, given: Given) -> list[Any]:
        """The values of a list to sweep; a single value is a list of one."""
        trees = given.tree.items if isinstance(given.tree, Items) else [given.tree]
        if not trees:
            self.problems.add(given.place, "found an empty list, expected at least one value")
        found = [self._value(parameter, given.place, tree) for tree in trees]
        return [each for each in found if not isinstance(each, Missing)]

    def _defaults(self, given: Keys) -> dict[str, Any]:
        found = {}
        for name, each in given.items():
            if name in STEERING or (parameter := self._parameter(each)) is None:
                continue
            self.places[name] = each.place
            found[name] = self._value(parameter, each.place, each.tree)
        return found

    # --- cells -------------------------------------------------------------------------

    def _cells(self, keys: Mapping[str, Given]) -> _Cells:
        found = _Cells()
        for name, given in keys.items():
            parameter = self._parameter(given)
            if parameter is None:
                continue
            self.places[name] = given.place
            values = self._values(parameter, given)
            if isinstance(given.tree, Items) and values:
                found.axes.append(self._axis(parameter, given, values))
            elif values:
                found.fixed[name] = values[0]
        return found

    def _axis(self, parameter: Parameter, given: Given, values: list[Any]) -> Axis:
        found = axis((parameter.name,), ((value,) for value in values))
        if parameter.runtime_only and len(found.rows) > 1:
            problem = (
                "is runtime only and in no signature, so its values would all be the same cell; "
                "give one value"
            )
            self.problems.add(given.place, problem)
        return found

    def _seeded(self, cells: _Cells) -> _Cells:
        """The cells with the file's `seeds` as the slowest axis, unless they have a seed."""
        if self.seeds is None or "seed" in cells.swept or "seed" in cells.fixed:
            return cells
        parameter = self.declared.get("seed") or Parameter("seed")
        self.places["seed"] = self.seeds.place
        values = self._values(parameter, self.seeds)
        return replace(cells, axes=[self._axis(parameter, self.seeds, values), *cells.axes])

    def _wants_seeds(self) -> bool:
        has_seed = "seed" in self.declared or self.experiment.open_ended
        return has_seed and "seed" not in self.block.defaults and not self._mentions_seed()

    def _mentions_seed(self) -> bool:
        zipped = (name for each in self.block.zips for name in _names(each))
        return "seed" in self.block.combinations or "seed" in zipped

    def _included(self, keys: Keys, swept: Iterable[str], fixed: Mapping[str, Any]) -> Grid:
        cells = self._cells(keys)
        place = next(iter(keys.values())).place
        for name in swept:
            if name not in keys and name not in self.defaults:
                self.problems.add(
                    replace(place, key="include"),
                    f"found a cell without {name!r}, which the phase sweeps; give it here too",
                )
        given = {name: value for name, value in fixed.items() if name not in cells.swept}
        return self._grid(self._seeded(replace(cells, fixed=given | cells.fixed)), ())

    # --- keys that move together -------------------------------------------------------

    def _zip(self, cells: _Cells) -> None:
        for group in self.block.zips:
            if isinstance(group.tree, Items):
                self._join(cells, group)
            else:
                self._add_group(cells, group)

    def _join(self, cells: _Cells, group: Given) -> None:
        """A group of names: their axes, swept in `combinations`, become one."""
        names = _names(group)
        by_name = {name: each for each in cells.axes for name in each.names}
        wrong = [name for name in names if by_name.get(name, Axis((), ())).names != (name,)]
        for name in wrong:
            hint = did_you_mean(name, by_name)
            problem = f"found {name!r}, expected a key with a list in `combinations`{hint}"
            self.problems.add(group.place, problem)
        lists = {name: self._listed(name) for name in names if name not in wrong}
        if not wrong and self._alike(group, lists):
            joined = axis(names, zip(*lists.values(), strict=True))
            first = cells.axes.index(by_name[names[0]])
            rest = [each for each in cells.axes if each.names[0] not in names]
            before = [each for each in cells.axes[:first] if each in rest]
            cells.axes = [*before, joined, *rest[len(before) :]]

    def _listed(self, name: str) -> list[Any]:
        """The values of a key of `combinations`, repeated ones too."""
        return self._values(self.declared.get(name) or Parameter(name),
                            self.block.combinations[name])  # fmt: skip

    def _add_group(self, cells: _Cells, group: Given) -> None:
        """A group that brings its own lists: one more axis."""
        lists: dict[str, list[Any]] = {}
        for name, given in _members(group).items():
            if name in self.block.combinations or name in cells.swept:
                self.problems.add(given.place, "found twice in one phase; remove one")
            parameter = self._parameter(given)
            if parameter is not None:
                self.places[name] = given.place
                lists[name] = self._values(parameter, given)
        if self._alike(group, lists) and lists:
            cells.axes.append(axis(lists, zip(*lists.values(), strict=True)))

    def _alike(self, group: Given, lists: Mapping[str, list[Any]]) -> bool:
        if len({len(each) for each in lists.values()}) <= 1:
            return True
        lengths = ", ".join(f"{name!r} has {len(each)}" for name, each in lists.items())
        problem = f"found lists of different lengths ({lengths}), expected equally long ones"
        self.problems.add(group.place, problem)
        return False

    # --- excluded ----------------------------------------------------------------------

    def _exclusion(self, keys: Keys) -> Exclusion:
        """Canonical forms by name; a list matches any of its values."""
        found = {}
        for name, given in keys.items():
            parameter = self._parameter(given)
            if parameter is not None:
                found[name] = frozenset(map(canonical, self._values(parameter, given)))
        return found

    def _check_exclude(self, own: set[str]) -> None:
        """With an open-ended experiment a slip of the pen shows only here."""
        known = own | set(self.defaults) | set(self.declared) | ({"seed"} if self.seeds else set())
        for name, given in ((n, g) for keys in self.block.exclude for n, g in keys.items()):
            if name not in known and self.experiment.open_ended:
                hint = did_you_mean(name, known)
                self.problems.add(given.place, f"no cell of the phase has this key{hint}")

    # --- the whole ----------------------------------------------------------------------

    def _grid(self, cells: _Cells, exclude: tuple[Exclusion, ...]) -> Grid:
        own = {each.name: each.default for each in self.experiment.parameters}
        swept = dict.fromkeys(name for each in cells.axes for name in each.names)
        fixed = own | self.defaults | cells.fixed | swept
        self._check_complete(fixed)
        grid = Grid(
            self.block.name,
            self.experiment,
            fixed,
            tuple(cells.axes),
            self.template,
            self.settings,
            exclude,
        )
        self._check_folders(grid)
        if grid.size > MAX_CELLS:
            problem = f"found {grid.size} cells, expected at most {MAX_CELLS}; sweep fewer values"
            self.problems.add(self.block.place, problem)
        return grid

    def _check_complete(self, fixed: Mapping[str, Any]) -> None:
        for name, value in fixed.items():
            if isinstance(value, Missing) and name not in self.places:
                problem = (
                    f"parameter {name!r} of experiment {self.experiment.name!r} has no default "
                    "and no value; give it in `combinations` or `defaults`"
                )
                self.problems.add(self.block.place, problem)

    def _template(self) -> Template:
        if self.directory is None:
            problem = "has no output_dir; give one here or in `defaults`"
            self.problems.add(self.block.place, problem)
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
            values = [row[each.names.index(name)] for each in grid.axes
                      for row in each.rows if name in each.names]  # fmt: skip
            if not values and name not in grid.fixed:
                self._no_such_placeholder(name, grid.fixed)
            for value in values or [grid.fixed.get(name, REQUIRED)]:
                self._check_folder(name, value)

    def _no_such_placeholder(self, name: str, known: Iterable[str]) -> None:
        assert self.directory is not None
        problem = f"found {{{name}}}, expected a parameter of experiment {self.experiment.name!r}"
        self.problems.add(self.directory.place, problem + did_you_mean(name, known))

    def _check_folder(self, name: str, value: Any) -> None:
        assert self.directory is not None
        if isinstance(value, Missing):
            return
        try:
            template.folder_text(value)
        except TemplateError as error:
            self.problems.add(self.places.get(name, self.directory.place), str(error))


def _names(group: Given) -> list[str]:
    """The names of a `zip` group, however it is written."""
    if isinstance(group.tree, Items):
        return [each.text for each in group.tree.items if isinstance(each, Scalar)]
    return list(_members(group))


def _members(group: Given) -> Keys:
    tree = group.tree
    if isinstance(tree, Items | Scalar):
        return {}
    return {
        each.key: Given(group.place.at(each.line, each.key), each.value) for each in tree.entries
    }
