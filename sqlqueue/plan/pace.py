"""How long a cell is likely to take, from what similar cells took.

Cells that have all in common but the seed are of one *shape*; devices are told apart by their
*kind* (`cpu`, `cuda`).  An estimate, for one kind of device, is the first of these that there is:

1. what cells of the same shape took: the median of their last runs;
2. what other cells of the experiment took, brought to this one by what explains their differences:
   the declared cost (a power of it where costs differ enough to tell, else in proportion), then at
   most three parameters, each of which must explain a fifth of what is left unexplained;
3. nothing.  Neither another experiment nor another kind of device is a reason to guess.

Medians throughout, so that one run on a machine that was busy does not tell.
What is not here: where durations are kept (`store/pace.py`), when all is done (`forecast.py`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median
from typing import Any, Final

LIKELY: Final = 1.25
"""A cell is likely to be over within so many times its estimate."""
MOST_POINTS: Final = 300
"""Shapes that are looked at for what explains the differences between them."""
MOST_VALUES: Final = 40
"""Values of one parameter between which slopes are taken."""
MOST_EFFECTS: Final = 3
LEAST_SHARE: Final = 0.2
LEAST_DEVIATION: Final = math.log(1.1)
"""What is explained to a tenth needs no more explaining."""
LEAST_POINTS: Final = 4
LEAST_SIZES: Final = 3
"""So many shapes tell what a parameter does: by its values, and by its size."""
LEAST_SPREAD: Final = math.log(4)
"""Sizes within a factor of four do not tell by which power of them durations grow."""
STEEPEST_COST: Final = 2.0
STEEPEST: Final = 3.0
_SMALLEST_COST: Final = 1e-9
_SHORTEST_SECONDS: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Shape:
    """What cells of one duration have in common: all but the seed, and what is runtime only."""

    experiment: str
    cost: float
    parameters: Mapping[str, Any] = field(hash=False)
    key: str = ""

    @property
    def coarse(self) -> Shape:
        """For queues with too many shapes: the experiment, and the cost to one digit."""
        return _shape(self.experiment, float(f"{self.cost:.0e}"), {})


def shape_of(
    experiment: str, parameters: Mapping[str, Any], runtime_only: Collection[str], cost: float
) -> Shape:
    """The shape of a cell."""
    hidden = {"seed", *runtime_only}
    kept = {name: value for name, value in parameters.items() if name not in hidden}
    return _shape(experiment, cost, kept)


_encode: Final = json.JSONEncoder(sort_keys=True, default=str).encode


def _shape(experiment: str, cost: float, parameters: Mapping[str, Any]) -> Shape:
    text = _encode([experiment, cost, parameters])
    key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return Shape(experiment, cost, parameters, key)


def kind_of(device: str) -> str:
    """`cuda` of `cuda:1`."""
    return device.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Seen:
    """What cells of a shape took on a kind of device: the last of `runs`, in seconds."""

    shape: Shape
    kind: str
    seconds: tuple[float, ...]
    runs: int


class Paces:
    """All that was seen, and what it says of a cell."""

    def __init__(self, seen: Iterable[Seen] = ()) -> None:
        self._own: dict[tuple[str, str], float] = {}
        self._points: dict[tuple[str, str], list[_Point]] = defaultdict(list)
        self._runs: Counter[tuple[str, str]] = Counter()
        self._laws: dict[tuple[str, str], _Law] = {}
        self._brought: dict[tuple[str, str], float | None] = {}
        self._kinds: dict[str, list[str]] = {}
        for each in seen:
            if each.seconds:
                middle = max(median(each.seconds), _SHORTEST_SECONDS)
                of = (each.shape.experiment, each.kind)
                self._own[each.shape.key, each.kind] = middle
                self._points[of].append(_Point(each.shape, math.log(middle)))
                self._runs[of] += each.runs

    def seconds(self, shape: Shape, kind: str) -> float | None:
        """What a cell of that shape is likely to take there; None when nothing says."""
        asked = (shape.key, kind)
        own = self._own.get(asked)
        if own is not None:
            return own
        if asked not in self._brought:
            self._brought[asked] = self._by_law(shape, kind)
        return self._brought[asked]

    def _by_law(self, shape: Shape, kind: str) -> float | None:
        of = (shape.experiment, kind)
        if of not in self._points:
            return None
        if of not in self._laws:
            self._laws[of] = _Law(_some(self._points[of], MOST_POINTS))
        return self._laws[of].seconds(shape)

    def kinds(self, experiment: str) -> list[str]:
        """The kinds of device that the experiment was seen on, the most frequent first."""
        if experiment not in self._kinds:
            found = {kind: runs for (name, kind), runs in self._runs.items() if name == experiment}
            self._kinds[experiment] = sorted(found, key=lambda kind: (-found[kind], kind))
        return self._kinds[experiment]

    def usually(self, shape: Shape) -> float | None:
        """What it takes where its experiment mostly ran."""
        return next((self.seconds(shape, kind) for kind in self.kinds(shape.experiment)), None)


@dataclass(frozen=True, slots=True)
class _Point:
    """A shape that was seen, and the natural logarithm of its seconds."""

    shape: Shape
    log: float


class _Law:
    """What the shapes of one experiment on one kind of device have in common."""

    def __init__(self, points: Sequence[_Point]) -> None:
        self._slope = _slope_of_cost(points)
        rest = [each.log - self._slope * _log_cost(each.shape) for each in points]
        self._effects: list[_Effect] = []
        candidates = _varying(points)
        while candidates and len(self._effects) < MOST_EFFECTS:
            rest = _centred(rest)
            best = _best(points, rest, candidates)
            if best is None:
                break
            self._effects.append(best)
            candidates.remove(best.name)
            rest = _without(points, rest, best)
        told = (each.log - self._explained(each.shape) for each in points)
        self._level = median(told)

    def _explained(self, shape: Shape) -> float:
        effects = sum(each.of(shape.parameters) for each in self._effects)
        return self._slope * _log_cost(shape) + effects

    def seconds(self, shape: Shape) -> float:
        return math.exp(min(self._level + self._explained(shape), 40.0))


@dataclass(frozen=True, slots=True)
class _Effect:
    """What one parameter does to the logarithm: a slope over that of a number, or by value."""

    name: str
    slope: float | None
    by_value: Mapping[str, float]

    def of(self, parameters: Mapping[str, Any]) -> float:
        value: Any = parameters.get(self.name)
        if self.slope is None:
            return self.by_value.get(_word(value), 0.0)
        return self.slope * math.log(value) if _is_size(value) else 0.0


def _log_cost(shape: Shape) -> float:
    return math.log(max(shape.cost, _SMALLEST_COST))


def _slope_of_cost(points: Sequence[_Point]) -> float:
    """By which power of the cost durations grow."""
    logs = [_log_cost(each.shape) for each in points]
    if not _tells(logs):
        return 1.0
    slope = _slope(zip(logs, (each.log for each in points), strict=True))
    return min(max(slope, 0.0), STEEPEST_COST)


def _tells(logs: Sequence[float]) -> bool:
    """Whether sizes differ enough for a slope over their logarithms."""
    return max(logs) - min(logs) >= LEAST_SPREAD


def _slope(pairs: Iterable[tuple[float, float]]) -> float:
    """The median of the slopes between any two abscissas, at each the median ordinate."""
    by_x: dict[float, list[float]] = defaultdict(list)
    for x, y in pairs:
        by_x[x].append(y)
    middles = _some(sorted((x, median(ys)) for x, ys in by_x.items()), MOST_VALUES)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(middles, 2)]
    return float(median(slopes))


def _varying(points: Sequence[_Point]) -> list[str]:
    """Parameters in which the shapes differ."""
    names = dict.fromkeys(name for each in points for name in each.shape.parameters)
    return [
        name
        for name in names
        if len({_word(each.shape.parameters.get(name)) for each in points}) > 1
    ]


def _best(points: Sequence[_Point], rest: list[float], names: Iterable[str]) -> _Effect | None:
    """The parameter that explains most, if that is enough to be believed."""
    before = _deviation(rest)
    if len(points) < LEAST_SIZES or before < LEAST_DEVIATION:
        return None
    effects = (_effect(points, rest, name) for name in names)
    few = len(points) < LEAST_POINTS
    found = [each for each in effects if each.slope is not None or not few]
    if not found:
        return None
    scores = [_deviation(_centred(_without(points, rest, each))) for each in found]
    least = min(scores)
    return found[scores.index(least)] if least <= (1 - LEAST_SHARE) * before else None


def _effect(points: Sequence[_Point], rest: Sequence[float], name: str) -> _Effect:
    values: list[Any] = [each.shape.parameters.get(name) for each in points]
    logs = [math.log(each) for each in values if _is_size(each)]
    if len(logs) == len(values) and _tells(logs):
        slope = _slope(zip(logs, rest, strict=True))
        return _Effect(name, min(max(slope, -STEEPEST), STEEPEST), {})
    groups: dict[str, list[float]] = defaultdict(list)
    for value, each in zip(values, rest, strict=True):
        groups[_word(value)].append(each)
    return _Effect(name, None, {word: median(each) for word, each in groups.items()})


def _without(points: Sequence[_Point], rest: Sequence[float], effect: _Effect) -> list[float]:
    pairs = zip(points, rest, strict=True)
    return [each - effect.of(point.shape.parameters) for point, each in pairs]


def _centred(rest: Sequence[float]) -> list[float]:
    middle = median(rest)
    return [each - middle for each in rest]


def _deviation(rest: Sequence[float]) -> float:
    return sum(map(abs, rest)) / len(rest)


def _is_size(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < math.inf


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _some(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, taken evenly."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]
