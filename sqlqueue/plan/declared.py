"""Keys of a sweep file against one experiment's declaration: names known, values brought.

Promises: a problem never stops the search for others; a value that could not be brought is
REQUIRED, and a problem was added for it.

A range (`ranges.py`) is known by its text, quoted or not, where it stands for a whole list;
as an item of a list only unquoted.  For a parameter that is declared `str` no text is one.
A dotted name (`nested.py`) is an entry of a parameter that is declared and takes any value.
What is not here: which keys make cells (`cells.py`), which kinds there are (`values.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlqueue.plan import nested, ranges
from sqlqueue.plan.blocks import Given, Keys
from sqlqueue.plan.problems import Place, Problems, describe, did_you_mean
from sqlqueue.plan.ranges import Range, RangeError
from sqlqueue.plan.task import OWN_COLUMNS, REQUIRED, STEERING, Experiment, Missing, Parameter
from sqlqueue.plan.tree import Items, Scalar, Tree, complaints, plain
from sqlqueue.plan.values import Mismatch, bring, expected

RESERVED: Final = frozenset(OWN_COLUMNS) | STEERING
"""Names that no parameter can have."""


class Declared:
    """One experiment, for the keys of one block.  `places`: where each key was given."""

    def __init__(self, experiment: Experiment, problems: Problems) -> None:
        self.experiment = experiment
        self.problems = problems
        self.parameters: Mapping[str, Parameter] = {
            each.name: each for each in experiment.parameters
        }
        self.places: dict[str, Place] = {}

    def has(self, name: str) -> bool:
        return nested.head(name) in self.parameters or self.experiment.open_ended

    def takes_entries(self, name: str) -> bool:
        """Whether a mapping given under this name is taken apart into its entries."""
        parameter = self.parameters.get(nested.head(name))
        return parameter is not None and parameter.kind == "any" and not parameter.choices

    def leaves(self, name: str, value: Any) -> dict[str, Any]:
        """The value by its leaves, where it has any."""
        return nested.leaves(name, value) if self.takes_entries(name) else {name: value}

    def parameter(self, given: Given) -> Parameter | None:
        """What is declared for a key; None, and a problem, when there is no such."""
        name = str(given.place.key)
        if name in self.parameters:
            return self.parameters[name]
        if nested.head(name) in self.parameters:
            return self._entry(name, given)
        if name in RESERVED or not self.experiment.open_ended:
            self.problems.add(given.place, self._unknown(name))
            return None
        return Parameter(name)

    def _entry(self, name: str, given: Given) -> Parameter | None:
        """One entry of a declared parameter: it takes any value."""
        outer = self.parameters[nested.head(name)]
        if not all(name.split(".")):
            self.problems.add(given.place, "expected a name on each side of a dot")
        elif not self.takes_entries(name):
            self.problems.add(
                given.place, f"{outer.name!r} takes {expected(outer)}, which has no entries"
            )
        else:
            return Parameter(name, runtime_only=outer.runtime_only)
        return None

    def clash(self, outer: str, key: str) -> None:
        """Tells that a key is an entry of what has a value without entries."""
        place, other = self.places.get(key), self.places.get(outer)
        where = f"in {other.file}:{other.line}" if other else "by the experiment's own default"
        problem = f"is an entry of {outer!r}, which is no mapping {where}; remove one of the two"
        if place is not None:
            self.problems.add(place, problem)

    def _unknown(self, name: str) -> str:
        if name in RESERVED:
            return "the name is taken by sqlqueue itself; call the parameter something else"
        return unknown((self.experiment,), name)

    def value(self, parameter: Parameter, place: Place, tree: Tree) -> Any:
        """One value brought to its parameter, or REQUIRED."""
        unclear = complaints(tree)
        for line, complaint in unclear:
            self.problems.add(place.at(line), complaint)
        if not unclear and self._is_range(parameter, place, tree):
            return REQUIRED
        try:
            text = tree.text if isinstance(tree, Scalar) else None
            return REQUIRED if unclear else bring(parameter, plain(tree), text)
        except Mismatch as mismatch:
            self.problems.add(place.at(tree.line), str(mismatch))
            return REQUIRED

    def _is_range(self, parameter: Parameter, place: Place, tree: Tree) -> bool:
        """Tells of an unquoted range where one value is to stand."""
        if not isinstance(tree, Scalar) or not tree.plain:
            return False
        found = self._range(parameter, place, tree)
        if isinstance(found, Range):
            problem = f"found {describe(tree.text)}, expected one value; ranges are swept, so"
            cure = "they stand where a list of values may: in `combinations`, `zip`, `when`"
            self.problems.add(place.at(tree.line), f"{problem} {cure}")
        return found is not None

    # --- lists --------------------------------------------------------------------------

    def sweeps(self, given: Given) -> bool:
        """Whether the key is given a list, or a range that stands for one."""
        if not isinstance(given.tree, Scalar):
            return isinstance(given.tree, Items)
        parameter = self.parameters.get(str(given.place.key)) or Parameter("")
        try:
            return _may_be_range(parameter, given.tree) is not None
        except RangeError:  # `values` tells it
            return True

    def values(self, parameter: Parameter, given: Given) -> list[Any]:
        """The values of a list; a single value is a list of one.  The bad ones are left out."""
        trees = given.tree.items if isinstance(given.tree, Items) else [given.tree]
        if not trees:
            self.problems.add(given.place, "found an empty list, expected at least one value")
        whole = not isinstance(given.tree, Items)
        return [found for each in trees for found in self._each(parameter, given, each, whole)]

    def _each(self, parameter: Parameter, given: Given, tree: Tree, whole: bool) -> list[Any]:
        """What one item stands for: a value, or the values of a range."""
        if isinstance(tree, Scalar) and (whole or tree.plain):
            found = self._range(parameter, given.place, tree)
            if found is not None:
                return self._spread(parameter, given.place.at(tree.line), found)
        value = self.value(parameter, given.place, tree)
        return [] if isinstance(value, Missing) else [value]

    def _range(self, parameter: Parameter, place: Place, tree: Scalar) -> Range | str | None:
        """The range that a scalar spells; its text where it is meant as one and is none."""
        try:
            return _may_be_range(parameter, tree)
        except RangeError as error:
            self.problems.add(place.at(tree.line), str(error))
        return tree.text

    def _spread(self, parameter: Parameter, place: Place, found: Range | str) -> list[Any]:
        """The values of a range, brought; the first that cannot be is told."""
        try:
            values = found.values() if isinstance(found, Range) else []
            return [bring(parameter, each) for each in values]
        except (RangeError, Mismatch) as error:
            self.problems.add(place, str(error))
            return []

    # --- defaults -----------------------------------------------------------------------

    def defaults(self, given: Keys) -> dict[str, Any]:
        """The parameters of a `defaults` mapping by their leaves, entries over wholes."""
        found: dict[str, Any] = {}
        claims: dict[str, nested.Claims] = {}
        for name, each in sorted(given.items(), key=lambda each: each[0].count(".")):
            parameter = None if name in STEERING else self.parameter(each)
            if parameter is None:
                continue
            self.places[name] = each.place
            own = self.leaves(name, self.value(parameter, each.place, each.tree))
            self.claim(claims.setdefault(each.place.file, nested.Claims()), each.place, own)
            found = nested.over(found, own, [name], self.clash)
        return found

    def claim(self, claims: nested.Claims, place: Place, names: Collection[str]) -> None:
        """Tells when another key of the same mapping gave one of these leaves."""
        other = claims.other(str(place.key), names)
        if other is not None:
            where = self.places[other]
            problem = f"found twice: {other!r} in {where.file}:{where.line} gives it too"
            self.problems.add(place, f"{problem}; remove one of the two")


def _may_be_range(parameter: Parameter, tree: Scalar) -> Range | None:
    """The range that a scalar spells for this parameter; raises `RangeError`."""
    if not isinstance(tree.value, str) or parameter.kind == "str":
        return None
    if tree.plain and ranges.is_cut(tree.text):
        raise RangeError(
            f"found {describe(tree.text)}, half of a range that YAML cut at its comma; put it "
            'into quotes: "range(0, 5)"'
        )
    if tree.plain and (hint := ranges.unknown_function(tree.text)):
        raise RangeError(
            f"found {describe(tree.text)}, an unknown function{hint}; put it into quotes if it "
            "is a text"
        )
    return ranges.read(tree.text)


def unknown(experiments: Collection[Experiment], name: str) -> str:
    """The problem of a key that none of the experiments declares."""
    names = ", ".join(sorted({repr(each.name) for each in experiments}))
    known = (each.name for experiment in experiments for each in experiment.parameters)
    hint = did_you_mean(nested.head(name), [*known, *STEERING])
    return f"unknown parameter of experiment {names}; correct or remove it{hint}"
