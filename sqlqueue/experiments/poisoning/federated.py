"""The rounds: clients are drawn, train from the global weights, and are aggregated.

McMahan et al. (2017), algorithm 1, with the aggregation exchanged where the cell says so.
After each round the global model is judged on the validation data; the weights of the best
round are the outcome.  Weights that are not finite cannot recover, so they end the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from sqlqueue.experiments.poisoning.aggregate import Update, aggregate
from sqlqueue.experiments.poisoning.data import Dataset
from sqlqueue.experiments.poisoning.evaluation import Means, examine
from sqlqueue.experiments.poisoning.local import draw_lesson, train
from sqlqueue.experiments.poisoning.models import set_weights, weights_of
from sqlqueue.experiments.poisoning.population import Client, Population
from sqlqueue.experiments.poisoning.progress import Progress
from sqlqueue.experiments.poisoning.settings import Settings
from sqlqueue.experiments.poisoning.streams import Purpose, stream
from sqlqueue.experiments.poisoning.together import train_together


@dataclass(frozen=True, slots=True)
class Federation:
    """A cell ready to train; `model` is the one object that all clients train in turn.

    `at_once`: how many clients are trained as one stack; 1: one after the other.  `check` is
    called for each client before it trains, and now and then while many do; it raises to end
    the run there.
    """

    settings: Settings
    dataset: Dataset
    population: Population
    model: nn.Sequential
    at_once: int
    check: Callable[[], None]

    def rounds(self, progress: Progress) -> Iterator[Means]:
        """Trains on from `progress`, round by round; yields each one's validation figures.

        Ends after the last round, when patience is at an end, or when the model diverged.
        Between two rounds, and whenever one is broken off, `progress` is that of the last
        complete one.
        """
        while not self._finished(progress):
            number = progress.round + 1
            weights = aggregate(self.settings.aggregator, self._updates(number, progress.weights))
            set_weights(self.model, weights)
            means = examine(self.model, self.population.validation, self.dataset)
            progress.best.consider(number, means.loss, weights)
            progress.round, progress.weights = number, weights
            yield means

    def _finished(self, progress: Progress) -> bool:
        over = progress.round >= self.settings.global_rounds or progress.best.enough
        return over or not bool(progress.weights.isfinite().all())

    def _updates(self, number: int, start: Tensor) -> Iterator[Update]:
        """What the clients of a round send, in their order, so many of them at a time."""
        waiting = iter(participants(self.population.clients, self.settings, number))
        while few := list(itertools.islice(waiting, self.at_once)):
            train_them = self._together if len(few) > 1 else self._alone
            yield from zip(train_them(number, few, start), map(len, few), strict=True)

    def _alone(self, number: int, clients: list[Client], start: Tensor) -> Iterator[Tensor]:
        for client in clients:
            self.check()
            set_weights(self.model, start)
            train(self.model, client, self.dataset, self.settings, self._order(number, client))
            yield weights_of(self.model)

    def _together(self, number: int, clients: list[Client], start: Tensor) -> Iterator[Tensor]:
        lessons = []
        for client in clients:
            self.check()
            rng = self._order(number, client)
            lessons.append(draw_lesson(client, self.dataset, self.settings, rng))
        return train_together(self.model, start, lessons, self.dataset, self.settings, self.check)

    def _order(self, number: int, client: Client) -> np.random.Generator:
        return stream(self.settings.seed, Purpose.ORDER, number, client.number)


def participants(clients: list[Client], settings: Settings, number: int) -> list[Client]:
    """The clients of a round, drawn without replacement from those that may take part."""
    present = [each for each in clients if _may_take_part(each, settings, number)]
    count = min(settings.clients_per_round, len(present))
    rng = stream(settings.seed, Purpose.PARTICIPANTS, number)
    drawn = rng.choice(len(present), size=count, replace=False)
    return [present[each] for each in sorted(drawn)]


def _may_take_part(client: Client, settings: Settings, number: int) -> bool:
    """Malicious clients stay away in the half of the rounds that `data_ordering` keeps clean."""
    first_half = 2 * (number - 1) < settings.global_rounds
    match settings.data_ordering:
        case "good_bad":
            return not (client.malicious and first_half)
        case "bad_good":
            return not client.malicious or first_half
        case _:
            return True
