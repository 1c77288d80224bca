"""Federated averaging as one writes it first: a DataLoader per client, one model after another.

The same models, split, optimizers, clipping and aggregation as `poisoning`, on images that are
normalised once beforehand.  What is not here: any of its care for speed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sqlqueue.experiments.poisoning.aggregate import aggregate
from sqlqueue.experiments.poisoning.data import Part, load, pixels
from sqlqueue.experiments.poisoning.local import build_optimizer
from sqlqueue.experiments.poisoning.models import build, set_weights, weights_of
from sqlqueue.experiments.poisoning.population import gather
from sqlqueue.experiments.poisoning.settings import complete

CPU = torch.device("cpu")


class Loop:
    """A cell, with its loaders made."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._settings = complete(parameters)
        self._dataset = load(self._settings.dataset, Path(self._settings.data_dir), CPU, True)
        population = gather(self._settings, self._dataset)
        clients, exam = population.clients, population.validation
        self._clients = [self._loader(self._dataset.training, each.indices, each.labels, True)
                         for each in clients]  # fmt: skip
        self._counts = [len(each) for each in clients]
        self._validation = self._loader(exam.part, exam.indices, exam.labels, False)

    def _loader(
        self, part: Part, indices: Tensor, labels: Tensor, shuffle: bool
    ) -> DataLoader[tuple[Tensor, ...]]:
        own = TensorDataset(pixels(part, indices, self._dataset), labels)
        return DataLoader(own, batch_size=self._settings.batch_size, shuffle=shuffle)

    def run(self, tell: Callable[[], None]) -> None:
        """Trains all rounds; tells of each one."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        settings, dataset = self._settings, self._dataset
        model = build(settings.model_type, dataset.shape, dataset.classes,
                      settings.width_factor, settings.depth, settings.seed)  # fmt: skip
        weights = weights_of(model)
        for _ in range(settings.global_rounds):
            sent = [self._train(model, weights, each) for each in self._clients]
            weights = aggregate(settings.aggregator, zip(sent, self._counts, strict=True))
            set_weights(model, weights)
            self._validate(model)
            tell()
        torch.set_num_threads(threads)

    def _train(
        self, model: nn.Module, start: Tensor, loader: DataLoader[tuple[Tensor, ...]]
    ) -> Tensor:
        set_weights(model, start)
        model.train()
        optimizer = build_optimizer(model.parameters(), self._settings)
        for _ in range(self._settings.local_epochs):
            for images, labels in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
                if self._settings.max_grad_norm:
                    nn.utils.clip_grad_norm_(model.parameters(), self._settings.max_grad_norm)
                optimizer.step()
        return weights_of(model)

    @torch.no_grad()
    def _validate(self, model: nn.Module) -> tuple[float, float]:
        model.eval()
        loss, correct, samples = 0.0, 0, 0
        for images, labels in self._validation:
            logits = model(images)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(dim=1) == labels).sum())
            samples += len(labels)
        return loss / samples, correct / samples
