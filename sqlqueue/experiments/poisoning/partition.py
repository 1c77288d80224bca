"""Which client holds which samples.

`alpha` of 100 or more: independent and identically distributed, a random split into equal
parts.  Below: label skew as in Hsu, Qi and Brown, "Measuring the Effects of Non-Identical
Data Distribution for Federated Visual Classification" (2019): each client has its own mixture
of classes, drawn from a Dirichlet distribution with concentration `alpha * prior`; clients
hold equally many samples, drawn without replacement, and where a class runs out its share
goes to the client's other classes.

Promises: every sample is at exactly one client, sizes differ by one at most, and the result
depends on the arguments and the generator's state alone.  Test and validation data are dealt
out by the same mixtures as training data: a client is examined on what it is used to.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

IID_ALPHA: Final = 100.0
_TINY: Final = 1e-200


def draw_mixtures(
    labels: npt.NDArray[Any], classes: int, num_clients: int, alpha: float, rng: np.random.Generator
) -> Floats | None:
    """One row of class shares per client; None when the clients are to be alike."""
    if alpha >= IID_ALPHA:
        return None
    prior = np.bincount(labels, minlength=classes) / len(labels)
    present = np.flatnonzero(prior)
    mixtures = np.zeros((num_clients, classes))
    mixtures[:, present] = rng.dirichlet(alpha * prior[present], size=num_clients)
    return mixtures


def deal(
    labels: npt.NDArray[Any],
    num_clients: int,
    mixtures: Floats | None,
    rng: np.random.Generator,
) -> list[Integers]:
    """The indices of each client's samples, ascending."""
    if mixtures is None:
        parts = np.array_split(rng.permutation(len(labels)), num_clients)
        return [np.sort(part) for part in parts]
    return _deal_skewed(labels, mixtures, rng)


def _deal_skewed(
    labels: npt.NDArray[Any], mixtures: Floats, rng: np.random.Generator
) -> list[Integers]:
    num_clients, classes = mixtures.shape
    piles = [rng.permutation(np.flatnonzero(labels == each)) for each in range(classes)]
    taken = np.zeros(classes, dtype=np.int64)
    stock = np.array([len(pile) for pile in piles], dtype=np.int64)
    parts = []
    for client, quota in enumerate(_equal_sizes(len(labels), num_clients)):
        counts = _draw_counts(quota, mixtures[client], stock - taken, rng)
        ends = taken + counts
        cut = [pile[a:b] for pile, a, b in zip(piles, taken, ends, strict=True)]
        parts.append(np.sort(np.concatenate(cut)))
        taken = ends
    return parts


def _equal_sizes(total: int, parts: int) -> list[int]:
    return [total // parts + (each < total % parts) for each in range(parts)]


def _draw_counts(
    quota: int, mixture: Floats, stock: Integers, rng: np.random.Generator
) -> Integers:
    """How many samples of each class: by the mixture, as far as the stock goes."""
    counts = np.zeros_like(stock)
    while quota > 0:
        left = stock - counts
        shares = np.where(left > 0, mixture, 0.0)
        if shares.sum() < _TINY:
            shares = left.astype(np.float64)
        drawn = np.minimum(rng.multinomial(quota, shares / shares.sum()), left)
        counts += drawn
        quota -= int(drawn.sum())
    return counts
