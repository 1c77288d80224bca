"""`combinations`, `zip` and cells of `include` -> axes and fixed values.

A list, or a range, is swept, anything else is fixed.  A `zip` group is a list of names whose
lists in `combinations` move together, or a mapping that brings its own lists; either way one
axis.  Mappings are taken apart: axes and fixed values have the names of leaves.
What is not here: defaults, and what a cell may leave out (`bind.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlqueue.plan import nested
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
    """Axes and fixed values, by leaf.  `keys`: as they were given, by a mapping or a name."""

    axes: tuple[Axis, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()

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
        self.axes: list[tuple[str, Axis]] = []  # with the first key of each, as given
        self.fixed: dict[str, Any] = {}
        self.given: dict[str, None] = {}
        self.claims = nested.Claims()

    def read(self, zips: Sequence[Given]) -> Cells:
        for given in self.keys.values():
            self._key(given)
        joined: set[str] = set()
        for group in zips:
            if isinstance(group.tree, Items):
                self._join(group, joined)
            else:
                self._add(group)
        return Cells(tuple(each for _, each in self.axes), self.fixed, tuple(self.given))

    def _key(self, given: Given) -> None:
        parameter = self.declared.parameter(given)
        if parameter is None:
            return
        self.declared.places[parameter.name] = given.place
        values = self.declared.values(parameter, given)
        if self.declared.sweeps(given):
            self.axes += self._axis({parameter.name: values}) if values else []
        elif values:
            own = self.declared.leaves(parameter.name, values[0])
            self._take(parameter.name, own)
            self.fixed |= own

    def _take(self, key: str, names: Collection[str]) -> None:
        self.given[key] = None
        self.declared.claim(self.claims, self.declared.places[key], names)

    def _axis(self, lists: Mapping[str, Sequence[Any]]) -> list[tuple[str, Axis]]:
        """One axis for keys that move together."""
        names: list[str] = []
        columns: list[Sequence[Any]] = []
        for key, values in lists.items():
            own = self._taken_apart(key, values)
            self._take(key, own)
            names += own
            columns += own.values()
        found = axis(names, zip(*columns, strict=True))
        for key in lists:
            parameter = self.declared.parameters.get(nested.head(key))
            if parameter and parameter.runtime_only and len(found.rows) > 1:
                self.problems.add(self.declared.places[key], _ONE_VALUE)
        return [(next(iter(lists)), found)]

    def _taken_apart(self, key: str, values: Sequence[Any]) -> dict[str, Sequence[Any]]:
        """The values by leaf; a mapping without an entry that another has: ABSENT."""
        rows = [self.declared.leaves(key, each) for each in values]
        if all(len(row) == 1 and key in row for row in rows):
            return {key: values}
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name, nested.ABSENT) for row in rows] for name in names}

    # --- keys that move together -------------------------------------------------------

    def _join(self, group: Given, joined: set[str]) -> None:
        """Axes of `combinations` become one, where the first of them stands."""
        lists = {name: self._listed(group, name, joined) for name in dict.fromkeys(names(group))}
        joined.update(lists)
        if not all(lists.values()) or not self._alike(group, lists):
            return
        at = min(index for index, (key, _) in enumerate(self.axes) if key in lists)
        rest = [each for each in self.axes if each[0] not in lists]
        self.axes = [*rest[:at], *self._axis(lists), *rest[at:]]

    def _listed(self, group: Given, name: str, joined: Iterable[str]) -> list[Any]:
        """The values that `combinations` lists for a name, repeated ones too."""
        given = self.keys.get(name)
        if given is None or not self.declared.sweeps(given):
            lists = [key for key, each in self.keys.items() if self.declared.sweeps(each)]
            problem = f"found {name!r}, expected a key with a list in `combinations`"
            self.problems.add(group.place, problem + did_you_mean(name, lists))
            return []
        if name in joined:
            self.problems.add(group.place, f"found {name!r} in two groups; remove it from one")
            return []
        parameter = self.declared.parameters.get(name) or Parameter(name)
        return self.declared.values(parameter, given) if name in self.given else []

    def _add(self, group: Given) -> None:
        """A group that brings its own lists: one more axis."""
        lists: dict[str, list[Any]] = {}
        for name, given in _members(group).items():
            if name in self.keys or name in self.given:
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
