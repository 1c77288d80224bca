"""A worker's time limit: how much of it is left, and when what runs must end.

A tenth of the limit, a minute at most, is kept for the end: then what still runs is told to save
its state and stop, and what does not is killed early enough to be given back in time.
What is not here: which tasks fit (the manager knows what they take).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MARGIN_SHARE: Final = 0.1
LONGEST_MARGIN_SECONDS: Final = 60.0
GRACE_SHARE: Final = 0.75
"""Of the margin; the rest is for giving back."""


@dataclass(frozen=True)
class TimeLimit:
    """`seconds` from now on."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "began", self.clock())

    @property
    def margin_seconds(self) -> float:
        """Kept for the end."""
        return min(MARGIN_SHARE * self.seconds, LONGEST_MARGIN_SECONDS)

    @property
    def grace_seconds(self) -> float:
        """What may be used to stop."""
        return GRACE_SHARE * self.margin_seconds

    def left_seconds(self) -> float:
        """Until what runs is told to stop; 0 from then on."""
        end = self.began + self.seconds - self.margin_seconds
        return max(0.0, end - self.clock())
