"""What one client does in one round: `local_epochs` of minibatch descent on its own data.

The optimizer is new in each round: clients keep no state between rounds (McMahan et al. 2017).
Weights that are no longer finite are not an error here; they are what this client sends.
Within a round nothing is asked of the device, and it is told one thing: the order of the
samples, drawn beforehand.  What is not here: several clients at once (`together.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sqlqueue.experiments.poisoning.data import Dataset, pixels
from sqlqueue.experiments.poisoning.population import Client
from sqlqueue.experiments.poisoning.settings import Settings


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a client sees in a round, row by row an epoch: where images are, their labels."""

    indices: Tensor
    labels: Tensor

    def batches(self, batch_size: int) -> list[tuple[Tensor, Tensor]]:
        """Those of all epochs; each epoch's last one holds what is left."""
        found: list[tuple[Tensor, Tensor]] = []
        for indices, labels in zip(self.indices, self.labels, strict=True):
            found += zip(indices.split(batch_size), labels.split(batch_size), strict=True)
        return found


def draw_lesson(
    client: Client, dataset: Dataset, settings: Settings, rng: np.random.Generator
) -> Lesson:
    """The round's samples in their order, where the dataset has its images and its figures."""
    epochs = range(settings.local_epochs)
    orders = [epoch_order(client.poisoned, settings.data_ordering, rng) for _ in epochs]
    order = torch.stack(orders)
    images, figures = dataset.training.images.device, dataset.mean.device
    return Lesson(client.indices[order].to(images), client.labels[order].to(figures))


def train(
    model: nn.Module, client: Client, dataset: Dataset, settings: Settings, rng: np.random.Generator
) -> None:
    """Trains `model` in place."""
    model.train()
    optimizer = build_optimizer(model.parameters(), settings)
    lesson = draw_lesson(client, dataset, settings, rng)
    for indices, labels in lesson.batches(settings.batch_size):
        images = pixels(dataset.training, indices, dataset)
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


def build_optimizer(parameters: Iterable[Tensor], settings: Settings) -> torch.optim.Optimizer:
    rate, decay = settings.lr, settings.weight_decay
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        case _:
            return torch.optim.SGD(
                parameters, lr=rate, weight_decay=decay, momentum=settings.momentum
            )


def epoch_order(poisoned: Tensor, data_ordering: str, rng: np.random.Generator) -> Tensor:
    """Positions in the order of one epoch: shuffled, then by the ordering within that."""
    order = torch.from_numpy(rng.permutation(len(poisoned)))
    if data_ordering == "shuffle":
        return order
    late = poisoned if data_ordering == "good_bad" else ~poisoned
    return torch.cat([order[~late[order]], order[late[order]]])
