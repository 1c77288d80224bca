"""How long a cell is likely to take, relative to the default cell (1.0).

Only the order matters: workers with a GPU take the largest first, others the smallest.
The figure counts multiplications, with a fixed price per batch and per client for what
does not depend on the model's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlqueue.experiments.poisoning.architecture import multiplications
from sqlqueue.experiments.poisoning.catalog import FACTS

BATCH_PRICE: Final = 4e6
"""Multiplications in the time of one batch's fixed work: optimizer, indexing, clipping."""
CLIENT_PRICE: Final = 4e6
BACKWARD: Final = 3
"""A training step takes about three times its forward pass."""
_DEFAULT_CELL: Final = 3.031e10


def estimate(parameters: Mapping[str, Any]) -> float:
    """Relative duration of a cell, from its complete parameters."""
    facts = FACTS[parameters["dataset"]]
    forward = multiplications(
        parameters["model_type"], facts.side, facts.channels, facts.classes,
        parameters["width_factor"], parameters["depth"],
    )  # fmt: skip
    held_out = facts.training_size * parameters["validation_split"]
    trained = (facts.training_size - held_out) * parameters["fraction_fit"]
    per_round = _training(trained, forward, parameters) + held_out * forward
    total = parameters["global_rounds"] * per_round + facts.test_size * forward
    return float(total / _DEFAULT_CELL)


def _training(samples: float, forward: int, parameters: Mapping[str, Any]) -> float:
    """One round of all its clients; a client's last batch is seldom full."""
    clients = max(1.0, parameters["num_clients"] * parameters["fraction_fit"])
    batches = samples / parameters["batch_size"] + clients
    epoch = samples * forward * BACKWARD + batches * BATCH_PRICE
    return float(parameters["local_epochs"] * epoch + clients * CLIENT_PRICE)
