"""Figures: several values of one quantity, and how they are written.

Pure.  What is not here: what is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Series:
    """Repeated measurements of one quantity, one value per round."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, other: Series) -> Series:
        """Round by round, how many times the other one this is."""
        return Series([a / b for a, b in zip(self.values, other.values, strict=True)])

    def text(self, unit: str = "") -> str:
        """Median and spread: `1,234 (1,100 to 1,300)`."""
        low, high = min(self.values), max(self.values)
        return f"{short(self.median)}{unit} ({short(low)} to {short(high)})"


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


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)
