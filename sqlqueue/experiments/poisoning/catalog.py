"""What is known of each dataset before a byte of it is read.

Pure values for those who plan (the cost estimate) and those who read (`data.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Facts:
    """Shape and published size of a dataset; images are square."""

    side: int
    channels: int
    classes: int
    training_size: int
    test_size: int

    @property
    def pixels(self) -> int:
        return self.side * self.side * self.channels


FACTS: Final[dict[str, Facts]] = {
    "digits": Facts(8, 1, 10, 1442, 355),
    "mnist": Facts(28, 1, 10, 60_000, 10_000),
    "fashion_mnist": Facts(28, 1, 10, 60_000, 10_000),
    "cifar10": Facts(32, 3, 10, 50_000, 10_000),
    "cifar100": Facts(32, 3, 100, 50_000, 10_000),
}
