"""Keys of a sweep file against one experiment's declaration: names known, values brought.

Promises: a problem never stops the search for others; a value that could not be brought is
REQUIRED, and a problem was added for it.  What is not here: which keys make cells (`cells.py`),
which kinds there are (`values.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlqueue.plan.blocks import Given, Keys
from sqlqueue.plan.problems import Place, Problems, did_you_mean
from sqlqueue.plan.task import OWN_COLUMNS, REQUIRED, STEERING, Experiment, Missing, Parameter
from sqlqueue.plan.tree import Items, Scalar, Tree, complaints, plain
from sqlqueue.plan.values import Mismatch, bring

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
        return name in self.parameters or self.experiment.open_ended

    def parameter(self, given: Given) -> Parameter | None:
        """What is declared for a key; None, and a problem, when there is no such."""
        name = str(given.place.key)
        if name in self.parameters:
            return self.parameters[name]
        if name in RESERVED or not self.experiment.open_ended:
            self.problems.add(given.place, self._unknown(name))
            return None
        return Parameter(name)

    def _unknown(self, name: str) -> str:
        if name in RESERVED:
            return "the name is taken by sqlqueue itself; call the parameter something else"
        return unknown((self.experiment,), name)

    def value(self, parameter: Parameter, place: Place, tree: Tree) -> Any:
        """One value brought to its parameter, or REQUIRED."""
        unclear = complaints(tree)
        for line, complaint in unclear:
            self.problems.add(place.at(line), complaint)
        try:
            text = tree.text if isinstance(tree, Scalar) else None
            return REQUIRED if unclear else bring(parameter, plain(tree), text)
        except Mismatch as mismatch:
            self.problems.add(place.at(tree.line), str(mismatch))
            return REQUIRED

    def values(self, parameter: Parameter, given: Given) -> list[Any]:
        """The values of a list; a single value is a list of one.  The bad ones are left out."""
        trees = given.tree.items if isinstance(given.tree, Items) else [given.tree]
        if not trees:
            self.problems.add(given.place, "found an empty list, expected at least one value")
        found = [self.value(parameter, given.place, tree) for tree in trees]
        return [each for each in found if not isinstance(each, Missing)]

    def defaults(self, given: Keys) -> dict[str, Any]:
        """The parameters of a `defaults` mapping."""
        found = {}
        for name, each in given.items():
            parameter = None if name in STEERING else self.parameter(each)
            if parameter is not None:
                self.places[name] = each.place
                found[name] = self.value(parameter, each.place, each.tree)
        return found


def unknown(experiments: Collection[Experiment], name: str) -> str:
    """The problem of a key that none of the experiments declares."""
    names = ", ".join(sorted({repr(each.name) for each in experiments}))
    known = (each.name for experiment in experiments for each in experiment.parameters)
    hint = did_you_mean(name, [*known, *STEERING])
    return f"unknown parameter of experiment {names}; correct or remove it{hint}"
