"""Parameters that are mappings, entry by entry: `optimizer.lr` is the `lr` of `optimizer`.

A parameter that an experiment declares and whose value is a mapping is taken apart into
*leaves* with dotted names when a sweep file is read; cells, exclusions, folders and CSVs
know leaves alone.  Put together again (`nest`) it is digested and handed to the
experiment, so that both spellings are one cell, and one signature.

Pure.  A mapping stays whole where its keys could not be told from dotted names: empty ones
and ones with a dot in them.  So does a parameter that nobody declares, whatever its name.
What is not here: which parameters are declared (`declared.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Final

from sqlqueue.plan.task import Missing


class Absent:
    """The type of `ABSENT`: an entry that other cells have and this one has not."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


def head(name: str) -> str:
    """The parameter that a dotted name is an entry of; any other name itself."""
    return name.partition(".")[0]


def covers(name: str, other: str) -> bool:
    """Whether `other` is `name` or an entry of it."""
    return other == name or other.startswith(f"{name}.")


def above(name: str) -> list[str]:
    """The names of which it is an entry: `a` and `a.b` for `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def leaves(name: str, value: Any) -> dict[str, Any]:
    """The entries of a value by dotted name; of what is no mapping, itself."""
    if not isinstance(value, dict) or not value or not all(map(_can_be_named, value)):
        return {name: value}
    return {
        inner: each
        for key, entry in value.items()
        for inner, each in leaves(f"{name}.{key}", entry).items()
    }


def _can_be_named(key: Any) -> bool:
    return isinstance(key, str) and bool(key) and "." not in key


def nest(flat: Mapping[str, Any], declared: Container[str]) -> dict[str, Any]:
    """The parameters with the entries of declared ones put together into mappings."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        if isinstance(value, Absent):
            continue
        if "." not in name or head(name) not in declared:
            found[name] = value
            continue
        *inner, last = name.split(".")
        place = found
        for part in inner:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def over(
    lower: Mapping[str, Any],
    upper: Mapping[str, Any],
    keys: Iterable[str],
    clash: Callable[[str, str], None],
) -> dict[str, Any]:
    """`upper` over `lower`.  `keys`: the names as given, of which `upper` has the leaves.

    A name as given replaces all that it covers.  Where it is an entry of what has a value
    without entries, `clash(that, name)` is told.
    """
    keys = set(keys)
    if not any("." in name for name in (*lower, *upper, *keys)):
        return {**lower, **upper}
    kept = {
        name: value
        for name, value in lower.items()
        if name not in keys and keys.isdisjoint(above(name))
    }
    for key in keys:
        for outer in above(key):
            if outer in kept:
                if kept[outer] not in (None, {}) and not isinstance(kept[outer], Missing):
                    clash(outer, key)
                del kept[outer]
    return {**kept, **upper}


def ordered(flat: Mapping[str, Any], declared: Iterable[str]) -> dict[str, Any]:
    """In the order of the declaration, entries where their parameter stands."""
    places = {name: index for index, name in enumerate(declared)}
    return dict(sorted(flat.items(), key=lambda each: places.get(head(each[0]), len(places))))


class Claims:
    """Which key of one mapping gave which leaf: none may be given by two."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._outer: dict[str, str] = {}

    def other(self, key: str, names: Iterable[str]) -> str | None:
        """Another key that gave one of these leaves, or what it is an entry of."""
        found = None
        for name in names:
            for mine in (name, *above(name)):
                found = found or (self._keys.get(mine) if self._keys.get(mine) != key else None)
            outer = self._outer.get(name)
            found = found or (outer if outer != key else None)
            self._keys.setdefault(name, key)
            for each in above(name):
                self._outer.setdefault(each, key)
        return found
