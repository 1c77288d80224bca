"""The rounds: clients are drawn, train from the global weights, and are aggregated.

McMahan et al. (2017), algorithm 1, with the aggregation exchanged where the cell says so.
After each round the global model is judged on the validation data; the weights of the best
round are the outcome.  Weights that are not finite cannot recover, so they end the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from sqlqueue.experiments.poisoning.aggregate import Update, aggregate
from sqlqueue.experiments.poisoning.data import Dataset
from sqlqueue.experiments.poisoning.evaluation import Score, evaluate
from sqlqueue.experiments.poisoning.local import train
from sqlqueue.experiments.poisoning.models import set_weights, weights_of
from sqlqueue.experiments.poisoning.population import Client, Population
from sqlqueue.experiments.poisoning.settings import Settings
from sqlqueue.experiments.poisoning.stopping import BestRound
from sqlqueue.experiments.poisoning.streams import Purpose, stream


@dataclass(frozen=True, slots=True)
class Federation:
    """A cell ready to train; `model` is the one object that all clients train in turn."""

    settings: Settings
    dataset: Dataset
    population: Population
    model: nn.Module

    def rounds(self, best: BestRound, first: int = 1) -> Iterator[tuple[int, Score]]:
        """Trains round by round from the model's weights; yields each one's validation score.

        Ends after the last round, when patience is at an end, or when the model diverged.
        """
        for number in range(first, self.settings.global_rounds + 1):
            score = self._round(number)
            weights = weights_of(self.model)
            best.consider(number, score.mean_loss, weights)
            yield number, score
            if best.enough or not weights.isfinite().all():
                return

    def _round(self, number: int) -> Score:
        weights = aggregate(self.settings.aggregator, self._updates(number))
        set_weights(self.model, weights)
        return evaluate(self.model, self.population.validation, self.dataset)

    def _updates(self, number: int) -> Iterator[Update]:
        start = weights_of(self.model)
        for client in participants(self.population.clients, self.settings, number):
            set_weights(self.model, start)
            rng = stream(self.settings.seed, Purpose.ORDER, number, client.number)
            train(self.model, client, self.dataset, self.settings, rng)
            yield weights_of(self.model), len(client)


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
