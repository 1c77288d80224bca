"""Who holds which samples, who is malicious, and what becomes of their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.errors import ExperimentError
from sqlqueue.experiments.poisoning.attack import flip, malicious_clients, poison
from sqlqueue.experiments.poisoning.partition import deal, draw_mixtures
from sqlqueue.experiments.poisoning.settings import Settings, complete
from sqlqueue.experiments.poisoning.streams import Purpose, stream

CLASSES = 10


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def cell(**parameters: Any) -> Settings:
    return complete(parameters)


labels_strategy = st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=300).map(np.array)
alphas = st.sampled_from([1e-3, 0.01, 0.1, 1.0, 99.9, 100.0, 1e6])


@settings(deadline=None, max_examples=150)
@given(labels_strategy, st.integers(1, 40), alphas, st.integers(0, 5))
def test_every_sample_is_at_exactly_one_client(
    labels: Any, num_clients: int, alpha: float, seed: int
) -> None:
    mixtures = draw_mixtures(labels, CLASSES, num_clients, alpha, rng(seed))
    parts = deal(labels, num_clients, mixtures, rng(seed))
    assert len(parts) == num_clients
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def shares_of_largest_class(alpha: float) -> float:
    """How much of a client's data is of its commonest class, on average."""
    labels = np.repeat(np.arange(CLASSES), 500)
    mixtures = draw_mixtures(labels, CLASSES, 20, alpha, rng(1))
    parts = deal(labels, 20, mixtures, rng(2))
    return float(np.mean([np.bincount(labels[part]).max() / len(part) for part in parts]))


def test_the_smaller_alpha_the_stronger_the_skew() -> None:
    shares = [shares_of_largest_class(alpha) for alpha in (0.01, 0.1, 1.0, 10.0, 100.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.8
    assert shares[-1] < 0.16


def test_mixtures_are_spread_around_the_prior_as_a_dirichlet_is() -> None:
    labels = np.repeat(np.arange(4), [400, 300, 200, 100])
    mixtures = draw_mixtures(labels, 4, 20_000, 2.0, rng())
    assert mixtures is not None
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    assert np.allclose(mixtures.sum(axis=1), 1)
    assert np.allclose(mixtures.mean(axis=0), prior, atol=0.01)
    assert np.allclose(mixtures.var(axis=0), prior * (1 - prior) / (2.0 + 1), atol=0.005)


def test_a_client_is_examined_on_the_classes_it_trains_on() -> None:
    labels = np.repeat(np.arange(CLASSES), 200)
    mixtures = draw_mixtures(labels, CLASSES, 10, 0.1, rng())
    training = [np.bincount(labels[p], minlength=10) for p in deal(labels, 10, mixtures, rng(1))]
    testing = [np.bincount(labels[p], minlength=10) for p in deal(labels, 10, mixtures, rng(2))]
    overlap = [np.minimum(a, b).sum() / a.sum() for a, b in zip(training, testing, strict=True)]
    assert np.mean(overlap) > 0.7


def test_streams_are_independent_and_repeatable() -> None:
    first = stream(42, Purpose.ORDER, 1, 2).integers(2**60)
    others = [
        stream(42, Purpose.ORDER, 2, 1), stream(43, Purpose.ORDER, 1, 2),
        stream(42, Purpose.PARTICIPANTS, 1, 2), stream(42, Purpose.ORDER, 1),
    ]  # fmt: skip
    assert stream(42, Purpose.ORDER, 1, 2).integers(2**60) == first
    assert all(each.integers(2**60) != first for each in others)


# --- the attack -----------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_flipping_twice_changes_nothing_and_once_changes_everything(classes: int) -> None:
    labels = np.arange(classes)
    assert (flip(flip(labels, classes), classes) == labels).all()
    assert (flip(labels, classes) != labels).all()
    assert flip(labels, classes)[0] == classes - 1


@pytest.mark.parametrize(
    ("ratio", "clients", "expected"),
    [(0.3, 10, 3), (0.25, 10, 3), (0.35, 10, 4), (0.05, 10, 1), (1.0, 7, 7), (0.29, 100, 29)],
)
def test_a_ratio_of_whole_clients_is_malicious(ratio: float, clients: int, expected: int) -> None:
    found = malicious_clients(cell(poison_ratio=ratio, num_clients=clients), rng())
    assert len(found) == expected
    assert found <= set(range(clients))


@pytest.mark.parametrize(("poison_type", "ratio"), [("label_flip", 0.0), ("none", 0.5)])
def test_nobody_is_malicious_without_a_ratio_or_a_type(poison_type: str, ratio: float) -> None:
    settings = cell(poison_type=poison_type, poison_ratio=ratio)
    assert malicious_clients(settings, rng()) == frozenset()


def test_a_ratio_that_makes_no_client_malicious_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"poison_ratio: 0.01 of 10 clients .* raise"):
        malicious_clients(cell(poison_ratio=0.01), rng())


def test_the_seed_chooses_who_is_malicious() -> None:
    chosen = {malicious_clients(cell(poison_ratio=0.3), rng(seed)) for seed in range(20)}
    assert len(chosen) > 10
    assert malicious_clients(cell(poison_ratio=0.3), rng(3)) in chosen


def test_a_targeted_flip_touches_one_class_only() -> None:
    labels = np.array([0, 1, 7, 1, 9])
    found, poisoned = poison(labels, 10, cell(target_class=1, poison_label=7), rng())
    assert found.tolist() == [0, 7, 7, 7, 9]
    assert poisoned.tolist() == [False, True, False, True, False]
    assert labels.tolist() == [0, 1, 7, 1, 9]


def test_random_noise_is_uniform_and_knows_no_target() -> None:
    labels = np.zeros(20_000, dtype=np.int64)
    noise = cell(poison_type="random_noise", target_class=1, poison_label=7)
    found, poisoned = poison(labels, CLASSES, noise, rng())
    assert poisoned.all()
    assert np.abs(np.bincount(found, minlength=CLASSES) / 2000 - 1).max() < 0.1
