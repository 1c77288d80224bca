"""Who takes part in a cell: the clients with what they train on, and the data that judges.

Validation data is held out of the training data first and stays clean; what is left is dealt
to the clients; malicious ones then poison their labels.  Validation and test data are dealt
by the same mixtures into one shard per client.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sqlqueue.experiments.poisoning.attack import malicious_clients, poison
from sqlqueue.experiments.poisoning.data import Dataset, Part
from sqlqueue.experiments.poisoning.partition import Floats, Integers, deal, draw_mixtures
from sqlqueue.experiments.poisoning.settings import Settings, check_against
from sqlqueue.experiments.poisoning.streams import Purpose, stream


@dataclass(frozen=True, slots=True)
class Client:
    """What one client trains on: where its images are, and its labels, poisoned or not."""

    number: int
    indices: Tensor
    labels: Tensor
    poisoned: Tensor
    malicious: bool

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Exam:
    """Clean samples to judge a model by, and each client's shard of them (positions)."""

    part: Part
    indices: Tensor
    labels: Tensor
    shards: list[Tensor]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Population:
    clients: list[Client]
    validation: Exam
    test: Exam


def gather(settings: Settings, dataset: Dataset) -> Population:
    """Everything that the seed decides before training; raises `ExperimentError`."""
    labels = dataset.training.labels.numpy()
    held_out, left = _hold_out(len(labels), settings)
    check_against(settings, dataset.classes, len(held_out), len(left))
    mixtures = draw_mixtures(
        labels[left], dataset.classes, settings.num_clients, settings.alpha,
        stream(settings.seed, Purpose.MIXTURES),
    )  # fmt: skip
    everything = np.arange(len(dataset.test.labels))
    return Population(
        _clients(settings, labels, left, mixtures, dataset.classes),
        _exam(settings, dataset.training, held_out, mixtures, Purpose.VALIDATION_SHARES),
        _exam(settings, dataset.test, everything, mixtures, Purpose.TEST_SHARES),
    )


def _hold_out(total: int, settings: Settings) -> tuple[Integers, Integers]:
    """Indices for validation, and the rest; both ascending."""
    shuffled = stream(settings.seed, Purpose.SPLIT).permutation(total)
    count = int(settings.validation_split * total)
    return np.sort(shuffled[:count]), np.sort(shuffled[count:])


def _clients(
    settings: Settings, labels: Integers, left: Integers, mixtures: Floats | None, classes: int
) -> list[Client]:
    rng = stream(settings.seed, Purpose.TRAINING_SHARES)
    shares = deal(labels[left], settings.num_clients, mixtures, rng)
    malicious = malicious_clients(settings, stream(settings.seed, Purpose.MALICIOUS))
    return [
        _client(number, left[share], labels, number in malicious, settings, classes)
        for number, share in enumerate(shares)
    ]


def _client(
    number: int,
    indices: Integers,
    labels: Integers,
    malicious: bool,
    settings: Settings,
    classes: int,
) -> Client:
    own, poisoned = labels[indices], np.zeros(len(indices), dtype=np.bool_)
    if malicious:
        rng = stream(settings.seed, Purpose.POISON, number)
        own, poisoned = poison(own, classes, settings, rng)
    return Client(
        number,
        torch.from_numpy(indices),
        torch.from_numpy(own),
        torch.from_numpy(poisoned),
        malicious,
    )


def _exam(
    settings: Settings, part: Part, indices: Integers, mixtures: Floats | None, purpose: Purpose
) -> Exam:
    labels = part.labels.numpy()[indices]
    shards = deal(labels, settings.num_clients, mixtures, stream(settings.seed, purpose))
    return Exam(
        part,
        torch.from_numpy(indices),
        torch.from_numpy(labels),
        [torch.from_numpy(shard) for shard in shards if len(shard)],
    )
