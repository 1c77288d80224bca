"""How far a cell is: the last complete round, and the best one by validation loss.

A round is better when its loss is below the best one by more than `min_delta`.  A loss that is
not finite is never better.  With no validation every round counts as better: the last wins.
What is not here: how progress outlives the process (`checkpoint.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(slots=True)
class BestRound:
    """`round`: 0 until there was one, else counted from 1; `waited`: rounds since then."""

    patience: int | None
    min_delta: float
    loss: float = math.inf
    round: int = 0
    waited: int = 0
    weights: Tensor | None = None

    def consider(self, round_number: int, loss: float | None, weights: Tensor) -> None:
        if loss is None or loss < self.loss - self.min_delta:  # neither nan nor inf ever is
            self.loss = math.inf if loss is None else loss
            self.round, self.weights, self.waited = round_number, weights, 0
        else:
            self.waited += 1

    @property
    def enough(self) -> bool:
        return self.patience is not None and self.waited >= self.patience


@dataclass(slots=True)
class Progress:
    """After `round` complete rounds the global model is `weights`; `seconds` were spent."""

    weights: Tensor
    best: BestRound
    round: int = 0
    seconds: float = 0.0
