"""One entry of a command's `parameters` -> the declaration of a parameter.

`width: int`, or a mapping with `type`, `default`, `choices`, `minimum`, `maximum`, `optional`,
`runtime_only`.  Promises: as `defining.py`, whose part this is; a default and choices are
brought to the type as a cell's values are.  What is not here: values of cells (`declared.py`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

from sqlqueue.plan.problems import Place, Problems, describe, did_you_mean
from sqlqueue.plan.task import REQUIRED, Kind, Missing, Parameter
from sqlqueue.plan.tree import Entries, Entry, Items, Scalar, Tree, complaints, plain
from sqlqueue.plan.values import Mismatch, bring

_KEYS: Final = ("type", "default", "choices", "minimum", "maximum", "optional", "runtime_only")
_TYPES: Final[dict[str, Kind]] = {
    "int": "int", "float": "float", "bool": "bool", "str": "str", "any": "any",
}  # fmt: skip


class Declaration:
    """One entry of `parameters`: a type's name, or a mapping."""

    def __init__(self, place: Place, problems: Problems, entry: Entry) -> None:
        self.place = place.at(entry.line, entry.key)
        self.problems = problems
        self.entry = entry
        self.given: dict[str, Entry] = {}

    def parameter(self) -> Parameter:
        tree, name = self.entry.value, self.entry.key
        if isinstance(tree, Scalar):
            return Parameter(name, self._type(tree) if tree.value is not None else "any")
        if not isinstance(tree, Entries):
            found = describe(plain(tree))
            self.problems.add(self.place, f"found {found}, expected a type, or a mapping")
            return Parameter(name)
        for each in tree.entries:
            if each.key in _KEYS:
                self.given[each.key] = each
            else:
                known = ", ".join(_KEYS)
                hint = did_you_mean(each.key, _KEYS)
                problem = f"unknown key {each.key!r}, expected one of {known}{hint}"
                self.problems.add(self.place.at(each.line), problem)
        return self._declared(name)

    def _declared(self, name: str) -> Parameter:
        optional = self._flag("optional") or self._is_null("default")
        choices = self._choices()
        bare = Parameter(
            name,
            self._kind(choices),
            runtime_only=self._flag("runtime_only"),
            minimum=self._bound("minimum"),
            maximum=self._bound("maximum"),
            optional=optional,
        )
        if bare.kind not in ("int", "float") and (bare.minimum, bare.maximum) != (None, None):
            self.problems.add(self.place, "minimum and maximum need `type: int` or `float`")
        whole = replace(bare, choices=self._brought(bare, choices))
        default = self._default(whole)
        return whole if isinstance(default, Missing) else replace(whole, default=default)

    def _type(self, tree: Tree) -> Kind:
        found = plain(tree)
        if isinstance(found, str) and found in _TYPES:
            return _TYPES[found]
        hint = did_you_mean(found, _TYPES) if isinstance(found, str) else ""
        expected = f"expected one of the types {', '.join(_TYPES)}{hint}"
        self.problems.add(self.place.at(tree.line), f"found {describe(found)}, {expected}")
        return "any"

    def _kind(self, choices: list[Tree]) -> Kind:
        """The type given, else the one that all choices have."""
        if "type" in self.given:
            return self._type(self.given["type"].value)
        kinds = {type(plain(each)).__name__ for each in choices}
        only = kinds.pop() if len(kinds) == 1 else "any"
        return _TYPES.get(only, "any")

    def _choices(self) -> list[Tree]:
        entry = self.given.get("choices")
        if entry is None:
            return []
        if isinstance(entry.value, Items) and entry.value.items:
            return entry.value.items
        found = describe(plain(entry.value))
        self.problems.add(
            self.place.at(entry.line), f"choices: found {found}, expected a list of values"
        )
        return []

    def _brought(self, parameter: Parameter, trees: list[Tree]) -> tuple[Any, ...]:
        found = [self._bring(parameter, each, "choices") for each in trees]
        return tuple(each for each in found if not isinstance(each, Missing))

    def _default(self, parameter: Parameter) -> Any:
        entry = self.given.get("default")
        return REQUIRED if entry is None else self._bring(parameter, entry.value, "default")

    def _bring(self, parameter: Parameter, tree: Tree, what: str) -> Any:
        place = self.place.at(tree.line)
        for line, complaint in complaints(tree):
            self.problems.add(place.at(line), complaint)
            return REQUIRED
        try:
            return bring(parameter, plain(tree), tree.text if isinstance(tree, Scalar) else None)
        except Mismatch as mismatch:
            self.problems.add(place, f"{what}: {mismatch}")
            return REQUIRED

    def _is_null(self, key: str) -> bool:
        entry = self.given.get(key)
        return entry is not None and isinstance(entry.value, Scalar) and entry.value.value is None

    def _flag(self, key: str) -> bool:
        entry = self.given.get(key)
        found = plain(entry.value) if entry else False
        if entry is not None and not isinstance(found, bool):
            problem = f"{key}: found {describe(found)}, expected true or false"
            self.problems.add(self.place.at(entry.line), problem)
        return found is True

    def _bound(self, key: str) -> float | None:
        entry = self.given.get(key)
        if entry is None:
            return None
        found = plain(entry.value)
        if isinstance(found, bool) or not isinstance(found, int | float) or math.isnan(found):
            problem = f"{key}: found {describe(found)}, expected a number"
            self.problems.add(self.place.at(entry.line), problem)
            return None
        return found
