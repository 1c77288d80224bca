"""Identity: the canonical form of a value, the digest of a cell, and how code may grow.

Promises: equal cells have equal digests whatever the key order, the spelling of a number
or the file they stand in; no release changes the digest of an unchanged experiment
(`tests/golden/signatures.json` freezes them).

* Numbers that are mathematically equal have one form: `1`, `1.0` and `1e0` are `1`; `-0.0`
  is `0`; integers are exact at any size.  `true` is not `1`.  `nan`, `inf` and `-inf` are
  words of their own and not texts.
* Texts are taken code point by code point, as JSON in ASCII.  There is no Unicode
  normalisation: a composed and a decomposed accent are two texts, as in a file name.
* Mappings count by sorted key, lists in order.

What is not here: phases, directories and the steering keys, which are no part of identity.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from sqlqueue.errors import ExperimentError
from sqlqueue.plan.nested import Absent, nest
from sqlqueue.plan.task import REQUIRED, Experiment, Known, Missing, Parameter, Signature

_DECIMAL_LIMIT: Final = 2**1024
"""Integers from here on are written in base 16: Python limits very long decimals."""


def canonical(value: Any) -> str:
    """The one text that stands for `value`; `TypeError` when JSON could not carry it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, Mapping):
        return _mapping(value)
    raise TypeError(f"{type(value).__name__} values have no canonical form")


def form(value: Any) -> str:
    """The canonical form; an entry that the cell has not has none of any value's."""
    return "" if isinstance(value, Absent) else canonical(value)


def _integer(value: int) -> str:
    return str(value) if abs(value) < _DECIMAL_LIMIT else hex(value)


def _float(value: float) -> str:
    if value.is_integer():
        return str(int(value))
    return repr(value) if math.isfinite(value) else str(value)


def _mapping(value: Mapping[Any, Any]) -> str:
    if not all(isinstance(key, str) for key in value):
        raise TypeError("keys of mappings must be text")
    return f"{{{','.join(f'{json.dumps(key)}:{canonical(value[key])}' for key in sorted(value))}}}"


def digest(experiment: Experiment, parameters: Mapping[str, Any]) -> Signature:
    """The signature of a cell: 32 hexadecimal digits.  Defaults left out are filled in.

    An entry of a declared parameter (`optimizer.lr`) is put into its mapping first.
    """
    names = {each.name for each in experiment.parameters}
    defaults = {each.name: each.default for each in experiment.parameters}
    complete = defaults | nest(parameters, names)
    missing = [name for name, value in complete.items() if isinstance(value, Missing)]
    if missing:
        raise ExperimentError(f"experiment {experiment.name!r}: {missing[0]!r} has no value")
    declared = {each.name: each for each in experiment.parameters}
    return seal(
        experiment.name,
        (entry(name, complete[name], declared.get(name)) for name in sorted(complete)),
    )


def entry(name: str, value: Any, declared: Parameter | None) -> str:
    """What one parameter adds to the text that is digested: `,"name":form`, or nothing."""
    if declared is not None and declared.runtime_only:
        return ""
    form = canonical(value)
    if declared is not None and _is_late(declared) and form == canonical(declared.first_default):
        return ""
    return f",{json.dumps(name)}:{form}"


def _is_late(declared: Parameter) -> bool:
    """Added after the experiment was first seen, with a default that keeps older cells."""
    return not declared.original and not isinstance(declared.first_default, Missing)


def seal(experiment: str, entries: Iterable[str]) -> Signature:
    """The digest of the entries of all parameters, sorted by name."""
    return sealer(experiment)(entries)


def sealer(experiment: str) -> Callable[[Iterable[str]], Signature]:
    """`seal` for many cells of one experiment."""
    head = f"[{json.dumps(experiment)},{{"

    def seal(entries: Iterable[str]) -> Signature:
        text = f"{head}{''.join(entries)[1:]}}}]"
        return Signature(hashlib.sha256(text.encode("ascii")).hexdigest()[:32])

    return seal


# --- code grows ---------------------------------------------------------------------


def reconcile(
    declared: Experiment, known: Mapping[str, Known] | None
) -> tuple[Experiment, dict[str, Known], list[str]]:
    """The declaration as this home must read it, what to remember, and notes for a person.

    `known` None: the experiment was never seen here, so every parameter is original
    unless its declaration says otherwise.  Afterwards a parameter that is not in `known`
    is a late one.  What the declaration itself says of a late parameter always holds.
    Runtime-only parameters are not remembered, so one that begins to count is a late one.
    A parameter that vanished stays remembered, in case older code comes back.
    """
    parameters = tuple(_placed(each, known) for each in declared.parameters)
    counting = {each.name: each for each in parameters if not each.runtime_only}
    notes = [note for each in counting.values() for note in _changes(each, known)]
    gone = {name: each for name, each in (known or {}).items() if name not in counting}
    notes += [_farewell(name, declared) for name, each in gone.items() if _has_default(each)]
    memory = {name: replace(each, last_default=REQUIRED) for name, each in gone.items()}
    memory |= {
        name: Known(each.original, each.first_default, each.default)
        for name, each in counting.items()
    }
    return replace(declared, parameters=parameters), memory, notes


def _placed(parameter: Parameter, known: Mapping[str, Known] | None) -> Parameter:
    """The parameter with `original` and `first_default` as this home remembers them."""
    if known is None or parameter.runtime_only or not parameter.original:
        return parameter
    memory = known.get(parameter.name)
    if memory is None:
        return replace(parameter, original=False, first_default=parameter.default)
    return replace(parameter, original=memory.original, first_default=memory.first_default)


def _has_default(memory: Known) -> bool:
    return not isinstance(memory.last_default, Missing)


def _changes(parameter: Parameter, known: Mapping[str, Known] | None) -> list[str]:
    """Notes on one declared parameter: new without a default, or another default."""
    if known is None:
        return []
    memory = known.get(parameter.name)
    if memory is None:
        return [_arrival(parameter)] if parameter.required else []
    if parameter.required or not _has_default(memory):
        return []
    before, now = canonical(memory.last_default), canonical(parameter.default)
    if before == now:
        return []
    return [
        f"default of `{parameter.name}` changed from {before} to {now}: "
        "cells that leave it out are other cells now"
    ]


def _arrival(parameter: Parameter) -> str:
    return f"`{parameter.name}` is new and has no default: every cell is another cell now"


def _farewell(name: str, declared: Experiment) -> str:
    if declared.parameter(name) is not None:
        return f"`{name}` is runtime only now: cells that differed by it alone are one cell now"
    return f"`{name}` is gone: cells that had it are other cells now"
