"""How the server makes one model of what the clients sent.

`fedavg`: the mean weighted by sample counts; McMahan et al., "Communication-Efficient Learning
of Deep Networks from Decentralized Data" (2017), algorithm 1.  `median`: coordinate by
coordinate, clients unweighted; Yin et al., "Byzantine-Robust Distributed Learning: Towards
Optimal Statistical Rates" (2018), algorithm 1.  Batch normalisation statistics are treated as
the weights are.  An update that is not a number spoils the mean; the median takes it for a
very large value and outvotes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

_COLUMNS_AT_ONCE: Final = 1 << 18
"""Sorting needs several times its input; this keeps wide models within memory."""

Update = tuple[Tensor, int]
"""A client's weights, and the number of samples that it has."""


def aggregate(aggregator: str, updates: Iterable[Update]) -> Tensor:
    """The new global weights.  `updates` may be lazy: `fedavg` holds one at a time."""
    return median(updates) if aggregator == "median" else fedavg(updates)


def fedavg(updates: Iterable[Update]) -> Tensor:
    total: Tensor | None = None
    samples = 0
    for weights, count in updates:
        # A weight times a count is exact in double precision: however it is added, the sum is one.
        total = weights.double() * count if total is None else total.add_(weights, alpha=count)
        samples += count
    assert total is not None, "a round has at least one client"
    return (total / samples).to(weights.dtype)


def median(updates: Iterable[Update]) -> Tensor:
    """The middle value, or the mean of the two middle ones."""
    stacked = torch.stack([weights for weights, _ in updates])
    return torch.cat([_middle(part) for part in torch.split(stacked, _COLUMNS_AT_ONCE, dim=1)])


def _middle(values: Tensor) -> Tensor:
    ordered = values.sort(dim=0).values
    count = len(ordered)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
