"""`combinations`, `zip` and cells of `include` -> axes and fixed values.

A list is swept, anything else is fixed.  A `zip` group is a list of names whose lists in
`combinations` move together, or a mapping that brings its own lists; either way one axis.
What is not here: defaults, and what a cell may leave out (`bind.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlqueue.plan.blocks import Given, Keys
from sqlqueue.plan.declared import Declared
from sqlqueue.plan.grid import Axis, axis
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.task import Parameter
from sqlqueue.plan.tree import Entries, Items, Scalar

_ONE_VALUE = (
    "is runtime only and in no signature, so its values would all be the same cell; give one value"
)


@dataclass(frozen=True, slots=True)
class Cells:
    """Axes and fixed values."""

    axes: tuple[Axis, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def swept(self) -> list[str]:
        return [name for each in self.axes for name in each.names]


def read(keys: Keys, zips: Sequence[Given], declared: Declared) -> Cells:
    """What a phase, or a cell of `include`, sweeps and fixes."""
    return _Cells(keys, declared).read(zips)


def names(group: Given) -> list[str]:
    """The names of a `zip` group, however it is written."""
    if isinstance(group.tree, Items):
        return [each.text for each in group.tree.items if isinstance(each, Scalar)]
    return list(_members(group))


def _members(group: Given) -> Keys:
    if not isinstance(group.tree, Entries):
        return {}
    entries = group.tree.entries
    return {each.key: Given(group.place.at(each.line, each.key), each.value) for each in entries}


class _Cells:
    """One walk over the keys of a mapping, then over the groups."""

    def __init__(self, keys: Keys, declared: Declared) -> None:
        self.keys = keys
        self.declared = declared
        self.problems = declared.problems
        self.axes: list[Axis] = []
        self.fixed: dict[str, Any] = {}

    def read(self, zips: Sequence[Given]) -> Cells:
        for given in self.keys.values():
            self._key(given)
        joined: set[str] = set()
        for group in zips:
            if isinstance(group.tree, Items):
                self._join(group, joined)
            else:
                self._add(group)
        return Cells(tuple(self.axes), self.fixed)

    def _key(self, given: Given) -> None:
        parameter = self.declared.parameter(given)
        if parameter is None:
            return
        self.declared.places[parameter.name] = given.place
        values = self.declared.values(parameter, given)
        if isinstance(given.tree, Items):
            self.axes += self._axis({parameter.name: values}) if values else []
        elif values:
            self.fixed[parameter.name] = values[0]

    def _axis(self, lists: Mapping[str, Sequence[Any]]) -> list[Axis]:
        found = axis(lists, zip(*lists.values(), strict=True))
        for name in lists:
            parameter = self.declared.parameters.get(name)
            if parameter and parameter.runtime_only and len(found.rows) > 1:
                self.problems.add(self.declared.places[name], _ONE_VALUE)
        return [found]

    # --- keys that move together -------------------------------------------------------

    def _join(self, group: Given, joined: set[str]) -> None:
        """Axes of `combinations` become one, where the first of them stands."""
        lists = {name: self._listed(group, name, joined) for name in dict.fromkeys(names(group))}
        joined.update(lists)
        if not all(lists.values()) or not self._alike(group, lists):
            return
        at = min(index for index, each in enumerate(self.axes) if each.names[0] in lists)
        rest = [each for each in self.axes if each.names[0] not in lists]
        self.axes = [*rest[:at], *self._axis(lists), *rest[at:]]

    def _listed(self, group: Given, name: str, joined: Iterable[str]) -> list[Any]:
        """The values that `combinations` lists for a name, repeated ones too."""
        given = self.keys.get(name)
        if given is None or not isinstance(given.tree, Items):
            lists = [key for key, each in self.keys.items() if isinstance(each.tree, Items)]
            problem = f"found {name!r}, expected a key with a list in `combinations`"
            self.problems.add(group.place, problem + did_you_mean(name, lists))
            return []
        if name in joined:
            self.problems.add(group.place, f"found {name!r} in two groups; remove it from one")
            return []
        parameter = self.declared.parameters.get(name) or Parameter(name)
        return self.declared.values(parameter, given) if self.declared.has(name) else []

    def _add(self, group: Given) -> None:
        """A group that brings its own lists: one more axis."""
        lists: dict[str, list[Any]] = {}
        for name, given in _members(group).items():
            if name in self.keys or any(name in each.names for each in self.axes):
                self.problems.add(given.place, "found twice in one phase; remove one")
            parameter = self.declared.parameter(given)
            self.declared.places[name] = given.place
            lists[name] = self.declared.values(parameter, given) if parameter else []
        if lists and all(lists.values()) and self._alike(group, lists):
            self.axes += self._axis(lists)

    def _alike(self, group: Given, lists: Mapping[str, Sequence[Any]]) -> bool:
        if len({len(each) for each in lists.values()}) == 1:
            return True
        lengths = ", ".join(f"{name!r} has {len(each)}" for name, each in lists.items())
        problem = f"found lists of different lengths ({lengths}), expected equally long ones"
        self.problems.add(group.place, problem)
        return False
