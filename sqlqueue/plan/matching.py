"""Partial cells, as `exclude` and `if` have them: some keys, and the values that match.

A list matches any of its values.  A mapping matches a parameter whose entries are just
these; a dotted name matches one entry, whatever the others are.  What is not here: what
becomes of the cells that match (`bind.py`, `when.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlqueue.plan.blocks import Given, Keys
from sqlqueue.plan.declared import Declared
from sqlqueue.plan.grid import Exclusion
from sqlqueue.plan.nested import ABSENT, covers
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.signature import canonical, form

MAX_WAYS: Final = 1000
"""Ways in which one partial cell may match, where its lists hold mappings."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One key of a partial cell, and the values of which any matches."""

    given: Given
    name: str
    values: tuple[Any, ...]


Partial = tuple[Wanted, ...]


def read(keys: Keys, known: Iterable[str], declared: Declared) -> Partial:
    """The partial cell; a key that no cell has is a problem.  `known`: names of leaves."""
    found, known = [], list(known)
    for name, given in keys.items():
        parameter = declared.parameter(given)
        if parameter is None:
            continue
        found.append(Wanted(given, name, tuple(declared.values(parameter, given))))
        if name not in declared.parameters and not any(covers(name, each) for each in known):
            hint = did_you_mean(name, known)
            declared.problems.add(given.place, f"no cell of the phase has this key{hint}")
    return tuple(found)


def exclusions(partial: Partial, names: Iterable[str], declared: Declared) -> list[Exclusion]:
    """What the partial cell excludes of a grid with these names.  Several where a mapping
    matches, since its entries go together."""
    names = list(names)
    ways = [_ways(each, names, declared) for each in partial]
    if math.prod(map(len, ways)) > MAX_WAYS:
        problem = f"found more than {MAX_WAYS} combinations of mappings, expected fewer"
        declared.problems.add(partial[0].given.place, f"{problem}; name entries: `key.entry`")
        return []
    return [
        {name: forms for part in picked for name, forms in part.items()}
        for picked in itertools.product(*ways)
    ]


def _ways(wanted: Wanted, names: list[str], declared: Declared) -> list[Exclusion]:
    """The single values in one way, each mapping in one of its own."""
    alone: set[str] = set()
    ways: list[Exclusion] = []
    for value in wanted.values:
        own = declared.leaves(wanted.name, value)
        if wanted.name in own:
            alone.add(canonical(value))
        else:
            others = [each for each in names if covers(wanted.name, each) and each not in own]
            absent = dict.fromkeys(others, frozenset((form(ABSENT),)))
            ways.append(
                {name: frozenset((canonical(each),)) for name, each in own.items()} | absent
            )
    return [*ways, {wanted.name: frozenset(alone)}] if alone or not ways else ways
