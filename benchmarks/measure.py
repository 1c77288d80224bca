"""Figures: several values of one quantity, and how they are written.

What is measured goes into `Figures` under a key, one value per round; the page, the plots and the
goals read it from there, and from nowhere else.  What is not here: what is measured.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Series:
    """Repeated measurements of one quantity, one value per round."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def share(self, share: float) -> float:
        """So large a share of the values is not above this one."""
        return sorted(self.values)[round(share * (len(self.values) - 1))]

    def over(self, other: Series) -> Series:
        """Round by round, how many times the other one this is."""
        return Series([a / b for a, b in zip(self.values, other.values, strict=True)])

    def times(self, factor: float) -> Series:
        return Series([factor * each for each in self.values])

    def text(self, unit: str = "") -> str:
        """Median and spread: `1,234 (1,100 to 1,300)`; a single value is said to be one."""
        if len(self.values) == 1:
            return f"{short(self.median)}{unit} (one run)"
        low, high = min(self.values), max(self.values)
        return f"{short(self.median)}{unit} ({short(low)} to {short(high)})"


class Figures(dict[str, Series]):
    """All that was measured, by key: `submit/64`, `status/million/ms`; in the order of a run."""

    def __missing__(self, key: str) -> Series:
        self[key] = Series()
        return self[key]

    def add(self, key: str, *values: float) -> None:
        self[key].values.extend(values)

    def has(self, *keys: str) -> bool:
        """Whether all of them were measured; of those below a key that ends with `/`, one."""
        return all(
            bool(self.below(key)) if key.endswith("/") else key in self and bool(self[key].values)
            for key in keys
        )

    def below(self, prefix: str) -> list[str]:
        """What stands after a prefix, of every key that begins with it."""
        return [key.removeprefix(prefix) for key in self if key.startswith(prefix)]

    def dump(self) -> str:
        return json.dumps({key: each.values for key, each in self.items()}, indent=0)

    @classmethod
    def load(cls, text: str) -> Figures:
        return cls({key: Series(values) for key, values in json.loads(text).items()})


def short(value: float) -> str:
    """Three significant digits, more only where a whole number has them."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def seconds_of(act: Callable[[], object]) -> float:
    """How long it takes, once."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def rounds(most: int, budget_seconds: float) -> Iterable[int]:
    """At most so many rounds; after the first one none that would begin past the budget."""
    begun = time.perf_counter()
    for number in range(most):
        if number and time.perf_counter() - begun > budget_seconds:
            return
        yield number


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)
