"""Which clients are malicious and what they do to their labels.  Images stay as they are.

Attackers are whole clients (poisoned data, honest protocol), as in Tolpegin et al., "Data
Poisoning Attacks Against Federated Learning Systems" (2020).  Labels are poisoned once,
before training; validation and test data are never poisoned.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sqlqueue.errors import ExperimentError
from sqlqueue.experiments.poisoning.partition import Integers
from sqlqueue.experiments.poisoning.settings import Settings, check_honest, nearest_count


def malicious_clients(settings: Settings, rng: np.random.Generator) -> frozenset[int]:
    """`poison_ratio` of the clients, drawn at random."""
    if not settings.poisons:
        return frozenset()
    count = nearest_count(settings.poison_ratio, settings.num_clients)
    if count == 0:
        raise ExperimentError(
            f"poison_ratio: {settings.poison_ratio:g} of {settings.num_clients} clients is less "
            "than half a client; raise poison_ratio or num_clients, or set poison_ratio to 0"
        )
    check_honest(settings, count)
    drawn = rng.choice(settings.num_clients, size=count, replace=False)
    return frozenset(int(each) for each in drawn)


def poison(
    labels: Integers, classes: int, settings: Settings, rng: np.random.Generator
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """A malicious client's labels as it trains on them, and which samples are poisoned.

    A random label may happen to be the right one; the sample counts as poisoned all the same.
    """
    if settings.poison_type == "random_noise":
        return rng.integers(0, classes, size=len(labels)), np.ones(len(labels), dtype=np.bool_)
    if settings.target is None:
        return flip(labels, classes), np.ones(len(labels), dtype=np.bool_)
    target_class, poison_label = settings.target
    hit = labels == target_class
    return np.where(hit, poison_label, labels), hit


def flip(labels: Integers, classes: int) -> Integers:
    """Class c becomes C-1-c: twice is no change."""
    return classes - 1 - labels
