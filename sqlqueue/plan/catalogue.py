"""The tasks of a queue by their parameters' values: what rows of old CSVs are compared with.

Pure.  Values are kept once per name and tasks as numbers of values, so that a million of them
fit into memory.  Tasks of one experiment that have the same parameters are a *shape*.  A mapping
is known by its entries too, and entries by the mapping, whichever of both a task has.
What is not here: rows (`fitting.py`), columns (`layout.py`).
"""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlqueue.plan.nested import covers, head, leaves, nest
from sqlqueue.plan.problems import shorten
from sqlqueue.plan.rows import cell
from sqlqueue.plan.signature import canonical
from sqlqueue.plan.spelling import readings

Ids = tuple[int, ...]
NUMBER: Final = "I"
"""The type code of the numbers that values and tasks are kept as."""
MOST_SEEN: Final = 10_000
"""Values that are found again without their canonical form, which takes several times as long."""


class Values:
    """The distinct values that tasks have under one name, in the order in which they appeared."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._ids: dict[str, int] = {}
        self._seen: dict[Any, int] = {}
        self._texts: dict[str, list[int]] = {}
        self._numbers: list[tuple[float, int]] = []
        self._looked_up = 0

    def __len__(self) -> int:
        return len(self.items)

    def intern(self, value: Any) -> int:
        """The number of a value: the same for equal ones."""
        is_scalar = value is None or isinstance(value, str | int | float)
        key = (type(value), value) if is_scalar else None
        if key in self._seen:
            return self._seen[key]
        form = canonical(value)
        if (found := self._ids.get(form)) is None:
            found = self._ids[form] = len(self.items)
            self.items.append(value)
        if is_scalar and len(self._seen) < MOST_SEEN:
            self._seen[key] = found
        return found

    def meant(self, text: str, *, comma: bool = False, tolerance: float = 0.0) -> Ids:
        """The values that a text may stand for; nearly always one or none.

        `tolerance`: where none is equal, numbers whose relative difference is at most that.
        """
        self._look_up()
        bare = text.strip()
        found = dict.fromkeys((*self._texts.get(text, ()), *self._texts.get(bare, ())))
        for each in readings(bare, comma):
            if each is None and found:
                break  # `none` is the text `none` where a task has that
            form = _form(each)
            if form in self._ids:
                found[self._ids[form]] = None
            elif tolerance and not found:
                found |= dict.fromkeys(self.near(each, tolerance))
        return tuple(found)

    def near(self, number: Any, tolerance: float) -> list[int]:
        """The numbers within a relative difference of one, the nearest first.

        Two whole numbers are two: seeds and sizes are counted, not rounded.  Nothing is near
        to infinity, or to what is no number.
        """
        if isinstance(number, bool) or not isinstance(number, int | float):
            return []
        if isinstance(number, float) and not math.isfinite(number):
            return []
        self._look_up()
        try:
            wide = abs(float(number)) * tolerance
            low, high = number - wide, number + wide
        except OverflowError:
            return []
        first = bisect_left(self._numbers, (low, -1))
        last = bisect_right(self._numbers, (high, len(self.items)))
        whole = float(number).is_integer()
        inside = [e for e in self._numbers[first:last] if not (whole and e[0].is_integer())]
        return [key for _, key in sorted(inside, key=lambda each: abs(each[0] - number))]

    def _look_up(self) -> None:
        """Makes the values findable by their texts, those that came since the last time."""
        if self._looked_up == len(self.items):
            return
        for key in range(self._looked_up, len(self.items)):
            value = self.items[key]
            self._texts.setdefault(cell(value), []).append(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
                self._numbers.append((_as_float(value), key))
        self._numbers.sort()
        self._looked_up = len(self.items)


def _form(value: Any) -> str:
    try:
        return canonical(value)
    except TypeError:  # a mapping whose keys are no texts: nothing that a task can have
        return ""


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


@dataclass(slots=True)
class Shape:
    """Tasks of one experiment that have values under the same names.

    `hidden`: runtime only.  `derived`: other spellings of what stands under other names.
    `rows`: of each task the numbers of its values, in the order of `names`.
    """

    experiment: str
    names: tuple[str, ...]
    hidden: frozenset[str]
    derived: frozenset[str]
    rows: list[bytes] = field(default_factory=list)
    tasks: array[int] = field(default_factory=lambda: array(NUMBER))

    @property
    def telling(self) -> list[str]:
        """The names that tell its tasks apart, each once."""
        return [each for each in self.names if each not in self.hidden | self.derived]


def _is_told(name: str, names: Iterable[str]) -> bool:
    """Whether one of the names is that one, or a mapping with it, or an entry of it."""
    return any(covers(name, each) or covers(each, name) for each in names)


class Catalogue:
    """Every task that rows may be of, numbered from 0."""

    def __init__(self) -> None:
        self.signatures: list[bytes] = []
        self.task_ids: list[str] = []
        self.completed = bytearray()
        """Whether each has a result."""
        self.shapes: list[Shape] = []
        self.values: dict[str, Values] = {}
        self._phases: list[str] = []
        self._phase_keys: dict[str, int] = {}
        self._phase_of = array(NUMBER)
        self._shape_of = array(NUMBER)
        self._row_of = array(NUMBER)
        self._keys: dict[tuple[str, tuple[str, ...], tuple[str, ...]], int] = {}

    def __len__(self) -> int:
        return len(self.signatures)

    def add(
        self, signature: str, task_id: str, phase: str, experiment: str,
        parameters: Mapping[str, Any], runtime_only: Sequence[str], completed: bool,
    ) -> None:  # fmt: skip
        """One more task."""
        number = len(self.signatures)
        self.signatures.append(bytes.fromhex(signature))
        self.task_ids.append(task_id)
        self.completed.append(completed)
        self._phase_of.append(self._phase_key(phase))
        other = _otherwise(parameters)
        every = {**parameters, **other}
        key = (experiment, tuple(sorted(every)), tuple(sorted(runtime_only)))
        if key not in self._keys:
            self._keys[key] = len(self.shapes)
            hidden = frozenset(every).intersection(runtime_only)
            self.shapes.append(Shape(experiment, key[1], hidden, frozenset(other)))
        shape = self.shapes[self._keys[key]]
        ids = array(NUMBER, (self._intern(name, every[name]) for name in shape.names))
        self._shape_of.append(self._keys[key])
        self._row_of.append(len(shape.rows))
        shape.rows.append(ids.tobytes())
        shape.tasks.append(number)

    def _phase_key(self, phase: str) -> int:
        if phase not in self._phase_keys:
            self._phase_keys[phase] = len(self._phases)
            self._phases.append(phase)
        return self._phase_keys[phase]

    def _intern(self, name: str, value: Any) -> int:
        if name not in self.values:
            self.values[name] = Values()
        return self.values[name].intern(value)

    def shape_of(self, task: int) -> Shape:
        return self.shapes[self._shape_of[task]]

    def phase_of(self, task: int) -> str:
        """The phase of its first appearance."""
        return self._phases[self._phase_of[task]]

    def ids_of(self, task: int) -> dict[str, int]:
        """The numbers of its values, by name."""
        shape = self.shape_of(task)
        row = array(NUMBER, shape.rows[self._row_of[task]])
        return dict(zip(shape.names, row, strict=True))

    def value_of(self, task: int, name: str) -> Any:
        """Its value under that name, which it must have."""
        return self.values[name].items[self.ids_of(task)[name]]

    @property
    def names(self) -> set[str]:
        """Every name of a parameter, in whatever spelling."""
        return {name for shape in self.shapes for name in shape.names}

    @property
    def hidden(self) -> set[str]:
        """Names that are runtime only wherever they appear."""
        telling = {name for each in self.shapes for name in set(each.names) - each.hidden}
        return self.names - telling

    def left_out(self, given: Iterable[str]) -> dict[str, list[Any]]:
        """What else tells tasks apart that have the names given: the values that they have."""
        given = list(given)
        meant = [s for s in self.shapes if all(_is_told(each, s.telling) for each in given)]
        found: dict[str, list[Any]] = {}
        for name in dict.fromkeys(name for each in meant or self.shapes for name in each.telling):
            if not _is_told(name, given):
                found[name] = self.values[name].items
        return found

    def differences(self, tasks: Sequence[int]) -> Iterator[tuple[str, list[Any]]]:
        """What tells these tasks apart: names, and the values that they have there."""
        shapes = [self.shape_of(each) for each in tasks]
        experiments = dict.fromkeys(each.experiment for each in shapes)
        if len(experiments) > 1:
            yield "experiment", list(experiments)
        rows = [self.ids_of(each) for each in tasks]
        for name in dict.fromkeys(name for shape in shapes for name in shape.telling):
            ids = dict.fromkeys(row.get(name) for row in rows)
            if len(ids) > 1:
                known = [each for each in ids if each is not None]
                yield name, [self.values[name].items[each] for each in known]


def _otherwise(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same values under other names: mappings of entries, and entries of mappings."""
    heads = {head(name) for name in parameters if "." in name} - parameters.keys()
    nested = nest(parameters, heads) if heads else {}
    found = {name: nested[name] for name in heads}
    for name, value in parameters.items():
        if isinstance(value, dict):
            found |= leaves(name, value)
    return {name: value for name, value in found.items() if name not in parameters}


def shown(value: Any) -> str:
    """A value as a message shows it: a text in quotes, so that `64` and 64 are told apart."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else cell(value)
    return shortened(text or "nothing")


def shortened(text: str) -> str:
    return shorten(text, 60)
