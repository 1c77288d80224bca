"""One round and its parts: aggregation, local training, participation, the best round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.experiments.poisoning import local
from sqlqueue.experiments.poisoning.aggregate import aggregate, fedavg, median
from sqlqueue.experiments.poisoning.catalog import FACTS
from sqlqueue.experiments.poisoning.evaluation import spread
from sqlqueue.experiments.poisoning.federated import participants
from sqlqueue.experiments.poisoning.models import build, count_parameters, set_weights, weights_of
from sqlqueue.experiments.poisoning.population import Client
from sqlqueue.experiments.poisoning.progress import BestRound
from sqlqueue.experiments.poisoning.settings import Settings, complete

# --- aggregation ----------------------------------------------------------------------

numbers = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


def updates(*values: float, counts: list[int] | None = None) -> list[tuple[torch.Tensor, int]]:
    counts = counts or [1] * len(values)
    return [(torch.tensor([v, -v]), n) for v, n in zip(values, counts, strict=True)]


def test_fedavg_weighs_by_sample_counts() -> None:
    found = fedavg(updates(1.0, 5.0, counts=[30, 10]))
    assert found.tolist() == [2.0, -2.0]


@given(numbers, st.integers(1, 1000))
def test_fedavg_with_equal_counts_is_the_mean(values: list[float], count: int) -> None:
    found = fedavg(updates(*values, counts=[count] * len(values)))[0].item()
    assert found == pytest.approx(np.mean(values), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.floats(width=32), st.integers(1, 1 << 28)), min_size=1, max_size=9))
def test_fedavg_is_the_sum_in_double_precision_to_the_last_bit(
    sent: list[tuple[float, int]],
) -> None:
    found = fedavg(updates(*(value for value, _ in sent), counts=[count for _, count in sent]))
    total = np.float64(sent[0][0]) * sent[0][1]
    with np.errstate(all="ignore"):
        for value, count in sent[1:]:
            total = total + np.float64(value) * count
        expected = np.float32(total / sum(count for _, count in sent))
    assert (
        np.isnan(expected) if found[0].isnan() else found[0].numpy().tobytes() == expected.tobytes()
    )


@given(numbers)
def test_median_is_the_middle(values: list[float]) -> None:
    found = median(updates(*values)).tolist()
    middle = np.float32(np.median(np.array(values)))
    assert found == [pytest.approx(middle, rel=1e-6), pytest.approx(-middle, rel=1e-6)]


@pytest.mark.parametrize("outlier", [1e30, -1e30, math.inf, -math.inf, math.nan])
def test_median_outvotes_one_outlier_where_fedavg_is_carried_away(outlier: float) -> None:
    sent = updates(1.0, 1.1, 0.9, 1.2, outlier)
    assert 0.9 <= aggregate("median", sent)[0].item() <= 1.2
    assert not abs(aggregate("fedavg", sent)[0].item()) < 1e20


def test_median_of_wide_models_is_taken_piece_by_piece() -> None:
    generator = torch.Generator().manual_seed(0)
    stacked = torch.randn(3, (1 << 18) * 2 + 17, generator=generator)
    found = median((row, 1) for row in stacked)
    assert torch.equal(found, stacked.median(dim=0).values)


# --- models ---------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", FACTS)
@pytest.mark.parametrize("model_type", ["lr", "cnn"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_every_model_takes_every_dataset(dataset: str, model_type: str, depth: int) -> None:
    facts = FACTS[dataset]
    shape = torch.Size((facts.channels, facts.side, facts.side))
    model = build(model_type, shape, facts.classes, 1, depth, seed=1)
    assert model(torch.zeros(2, *shape)).shape == (2, facts.classes)


@pytest.mark.parametrize("model_type", ["lr", "cnn"])
def test_wider_and_deeper_is_bigger(model_type: str) -> None:
    sizes = [
        count_parameters(build(model_type, torch.Size((1, 28, 28)), 10, width, depth, seed=1))
        for width, depth in ((1, 1), (4, 1), (4, 2), (4, 3), (16, 3))
    ]
    assert sizes == sorted(set(sizes))


def test_a_model_comes_from_its_seed_and_leaves_the_process_alone() -> None:
    before = torch.random.get_rng_state()
    one, again, other = (
        weights_of(build("cnn", torch.Size((1, 8, 8)), 10, 4, 2, seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_are_all_that_a_model_computes_with() -> None:
    """Batch normalisation statistics included: the copy answers as the original does."""
    shape = torch.Size((3, 32, 32))
    model, copy = (build("cnn", shape, 10, 1, 2, seed) for seed in (1, 2))
    images = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0))
    model(images)  # in training mode: moves the statistics
    set_weights(copy, weights_of(model))
    assert torch.equal(copy.eval()(images), model.eval()(images))


# --- a client's round -----------------------------------------------------------------


def cell(**parameters: Any) -> Settings:
    return complete(parameters)


def test_gradients_are_clipped_to_the_norm() -> None:
    """With plain SGD and rate 1 a step is as long as the gradient."""
    for bound in (0.01, 0.1):
        assert length_of_step(cell(max_grad_norm=bound)) == pytest.approx(bound, rel=1e-3)


@pytest.mark.parametrize("bound", [None, 0.0, 1e6])
def test_gradients_are_left_alone_without_a_bound(bound: float | None) -> None:
    assert length_of_step(cell(max_grad_norm=bound)) > 0.2


def length_of_step(settings: Settings) -> float:
    model = build("lr", torch.Size((1, 8, 8)), 10, 4, 1, seed=1)
    before = weights_of(model)
    images = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    local._step(model, optimizer, images, torch.arange(32) % 10, settings.max_grad_norm)
    return float((weights_of(model) - before).norm())


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_optimizer_is_the_one_asked_for(name: str) -> None:
    model = build("lr", torch.Size((1, 8, 8)), 10, 1, 1, seed=1)
    found = local.build_optimizer(
        model.parameters(), cell(optimizer=name, lr=0.25, weight_decay=0.5)
    )
    assert type(found).__name__.lower() == name
    assert found.defaults["lr"] == 0.25
    assert found.defaults["weight_decay"] == 0.5


POISONED = torch.tensor([True, False, True, False, False, True] * 5)


@settings(deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["shuffle", "good_bad", "bad_good"]))
def test_an_epoch_visits_every_sample_once_in_its_ordering(seed: int, ordering: str) -> None:
    order = local.epoch_order(POISONED, ordering, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(30))
    met = POISONED[order].tolist()
    if ordering != "shuffle":
        assert met == sorted(met, reverse=ordering == "bad_good")


def test_an_epoch_is_shuffled_within_its_ordering() -> None:
    for ordering in ("shuffle", "good_bad", "bad_good"):
        rng = np.random.default_rng(0)
        first, second = (local.epoch_order(POISONED, ordering, rng) for _ in range(2))
        assert first.tolist() != second.tolist()


# --- who takes part -------------------------------------------------------------------


def clients(count: int, malicious: int) -> list[Client]:
    nothing = torch.zeros(0, dtype=torch.int64)
    return [
        Client(each, nothing, nothing, nothing.bool(), each < malicious) for each in range(count)
    ]


def attending(settings: Settings, number: int, malicious: int = 3) -> list[int]:
    found = participants(clients(settings.num_clients, malicious), settings, number)
    return [each.number for each in found]


@pytest.mark.parametrize(("fraction", "count"), [(1.0, 10), (0.5, 5), (0.25, 3), (0.05, 1)])
def test_a_fraction_of_the_clients_takes_part(fraction: float, count: int) -> None:
    found = attending(cell(fraction_fit=fraction), 1)
    assert len(set(found)) == len(found) == count


def test_participants_are_drawn_anew_in_each_round() -> None:
    settings = cell(fraction_fit=0.5)
    rounds = {tuple(attending(settings, number)) for number in range(1, 11)}
    assert len(rounds) > 5
    assert attending(settings, 4) == attending(settings, 4)


@pytest.mark.parametrize(
    ("ordering", "attacked"),
    [("shuffle", {1, 2, 3, 4, 5}), ("good_bad", {4, 5}), ("bad_good", {1, 2, 3})],
)
def test_the_ordering_says_in_which_rounds_attackers_take_part(
    ordering: str, attacked: set[int]
) -> None:
    settings = cell(data_ordering=ordering, global_rounds=5)
    rounds = {number: set(attending(settings, number)) for number in range(1, 6)}
    assert {number for number, who in rounds.items() if who & {0, 1, 2}} == attacked
    assert all(who >= set(range(3, 10)) for who in rounds.values())


# --- the best round -------------------------------------------------------------------


def considered(losses: list[float | None], patience: int | None, min_delta: float) -> BestRound:
    best = BestRound(patience, min_delta)
    for number, loss in enumerate(losses, 1):
        best.consider(number, loss, torch.tensor([float(number)]))
        if best.enough:
            break
    return best


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "round_number", "waited"),
    [
        ([3.0, 2.0, 1.0, 1.5], None, 0.0, 3, 1),
        ([3.0, 2.0, 2.5, 2.4, 1.0], 2, 0.0, 2, 2),
        ([3.0, 2.0, 2.5, 1.9, 1.95, 1.8], 2, 0.0, 6, 0),
        ([3.0, 2.9, 2.8, 2.7], 3, 0.5, 1, 3),
        ([3.0, 3.0, 3.0], 2, 0.0, 1, 2),
        ([math.nan, math.inf, 4.0, math.nan], None, 0.0, 3, 1),
        ([math.nan, math.nan], 2, 0.0, 0, 2),
        ([None, None, None], None, 0.0, 3, 0),
    ],
)
def test_the_best_round_is_kept_until_patience_ends(
    losses: list[float | None],
    patience: int | None,
    min_delta: float,
    round_number: int,
    waited: int,
) -> None:
    best = considered(losses, patience, min_delta)
    assert (best.round, best.waited) == (round_number, waited)
    assert (best.weights.item() if best.weights is not None else 0) == round_number


# --- figures --------------------------------------------------------------------------


def test_the_mean_is_over_samples_and_the_deviation_between_clients() -> None:
    values = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    shards = [torch.tensor([0, 1, 2]), torch.tensor([3])]
    mean, deviation = spread(values, shards)
    assert mean == 0.75
    assert deviation == pytest.approx(math.sqrt(0.75 * 0.25**2 + 0.25 * 0.75**2))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_figures_of_a_diverged_model_are_not_numbers(bad: float) -> None:
    mean, deviation = spread(torch.tensor([1.0, bad]).double(), [torch.tensor([0, 1])])
    assert not math.isfinite(mean)
    assert not math.isfinite(deviation)
