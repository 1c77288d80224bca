"""What one client does in one round: `local_epochs` of minibatch descent on its own data.

The optimizer is new in each round: clients keep no state between rounds (McMahan et al. 2017).
Weights that are no longer finite are not an error here; they are what this client sends.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sqlqueue.experiments.poisoning.data import Dataset, pixels
from sqlqueue.experiments.poisoning.population import Client
from sqlqueue.experiments.poisoning.settings import Settings


def train(
    model: nn.Module, client: Client, dataset: Dataset, settings: Settings, rng: np.random.Generator
) -> None:
    """Trains `model` in place."""
    model.train()
    optimizer = build_optimizer(model, settings)
    for _ in range(settings.local_epochs):
        order = epoch_order(client.poisoned, settings.data_ordering, rng)
        for positions in torch.split(order, settings.batch_size):
            images = pixels(dataset.training, client.indices[positions], dataset)
            labels = client.labels[positions].to(images.device)
            _step(model, optimizer, images, labels, settings.max_grad_norm)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    max_grad_norm: float | None,
) -> None:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if max_grad_norm:
        nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()


def build_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    rate, decay = settings.lr, settings.weight_decay
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
        case _:
            return torch.optim.SGD(
                model.parameters(), lr=rate, weight_decay=decay, momentum=settings.momentum
            )


def epoch_order(poisoned: Tensor, data_ordering: str, rng: np.random.Generator) -> Tensor:
    """Positions in the order of one epoch: shuffled, then by the ordering within that."""
    order = torch.from_numpy(rng.permutation(len(poisoned)))
    if data_ordering == "shuffle":
        return order
    late = poisoned if data_ordering == "good_bad" else ~poisoned
    return torch.cat([order[~late[order]], order[late[order]]])
