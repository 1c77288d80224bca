"""Clients trained as one stack send what each would send by itself, in every kind of cell.

In double precision, where the order in which sums are rounded leaves no more than a trace, so
that a batch, a statistic or a state that belongs to another client is seen at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets_on_disk import write_cifar10, write_mnist

from sqlqueue.experiments.poisoning.federated import Federation
from sqlqueue.experiments.poisoning.models import build, weights_of
from sqlqueue.experiments.poisoning.pace import clients_at_once
from sqlqueue.experiments.poisoning.progress import BestRound, Progress
from sqlqueue.experiments.poisoning.settings import complete
from sqlqueue.experiments.poisoning.stack import Stack
from sqlqueue.experiments.poisoning.together import CHECK_EVERY_STEPS
from sqlqueue.experiments.poisoning.training import _prepare, run
from sqlqueue.experiments.run import Run

CPU = torch.device("cpu")
TINY: dict[str, Any] = {"width_factor": 1, "num_clients": 7, "global_rounds": 2, "batch_size": 64}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As cells are trained; several would wait for each other, on a busy machine for long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def handle(directory: Path, stop: Callable[[], bool] = lambda: False) -> Run:
    return Run(directory, "cpu", None, lambda *_: None, stop)


def federation(directory: Path, at_once: int, **parameters: Any) -> Federation:
    """In double precision; it trains so many clients at once, whatever is quicker."""
    made = _prepare(complete({**TINY, **parameters}), CPU, handle(directory))
    dataset = replace(made.dataset, mean=made.dataset.mean.double(),
                      scale=made.dataset.scale.double())  # fmt: skip
    return replace(made, dataset=dataset, model=made.model.double(), at_once=at_once)


def sent(directory: Path, at_once: int, number: int = 1, **parameters: Any) -> torch.Tensor:
    """What the clients of a round send, a row each."""
    cell = federation(directory, at_once, **parameters)
    return torch.stack([each for each, _ in cell._updates(number, weights_of(cell.model))])


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-7, atol=1e-10, equal_nan=True)


KINDS: list[dict[str, Any]] = [
    {},
    {"local_epochs": 3},
    {"depth": 3},
    {"depth": 1, "width_factor": 2},
    {"optimizer": "adam", "lr": 0.01, "local_epochs": 2},
    {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1, "local_epochs": 2},
    {"momentum": 0.0, "weight_decay": 0.0},
    {"max_grad_norm": None},
    {"max_grad_norm": 0.01},
    {"data_ordering": "good_bad", "poison_ratio": 0.3},
    {"data_ordering": "bad_good", "poison_ratio": 0.3, "poison_type": "random_noise"},
    {"target_class": 1, "poison_label": 7, "poison_ratio": 0.5, "data_ordering": "bad_good"},
    {"alpha": 0.1},
    {"fraction_fit": 0.5},
    {"batch_size": 5000},
]


@pytest.mark.parametrize("model_type", ["lr", "cnn"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_stack_sends_what_each_client_sends_by_itself(
    model_type: str, kind: dict[str, Any], tmp_path: Path
) -> None:
    parameters = {"model_type": model_type, **kind}
    expected = sent(tmp_path, 1, **parameters)
    assert len(expected) > 2
    assert not alike(expected[0], expected[1]), "or any client's would do"
    for at_once in (3, 50):
        assert alike(sent(tmp_path, at_once, **parameters), expected)


@pytest.mark.parametrize("model_type", ["lr", "cnn"])
@pytest.mark.parametrize(
    ("num_clients", "batch_size", "last"),
    [
        (7, 64, {57, 58}),  # 185 or 186 samples: last batches differ in size
        (10, 129, {1, 129}),  # 129 or 130: some have a batch more, of a single sample
        (10, 43, {1, 43}),
        (1000, 32, {1, 2}),  # a single sample is all that most have
        (700, 1, {1}),
    ],
)
def test_last_batches_are_each_clients_own(
    model_type: str, num_clients: int, batch_size: int, last: set[int], tmp_path: Path
) -> None:
    parameters: dict[str, Any] = {
        "model_type": model_type, "num_clients": num_clients, "batch_size": batch_size,
        "fraction_fit": min(1.0, 20 / num_clients), "local_epochs": 2, "seed": 3,
    }  # fmt: skip
    clients = federation(tmp_path, 1, **parameters).population.clients
    assert {(len(each) - 1) % batch_size + 1 for each in clients} == last
    expected = sent(tmp_path, 1, **parameters)
    assert alike(sent(tmp_path, 50, **parameters), expected)


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
@pytest.mark.parametrize("model_type", ["lr", "cnn"])
def test_images_of_every_shape_are_stacked(dataset: str, model_type: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "data")
    write_cifar10(tmp_path / "data")
    parameters: dict[str, Any] = {
        "dataset": dataset, "model_type": model_type, "data_dir": str(tmp_path / "data"),
        "batch_size": 4, "poison_ratio": 0.5,
    }  # fmt: skip
    assert alike(sent(tmp_path, 50, **parameters), sent(tmp_path, 1, **parameters))


@pytest.mark.parametrize("aggregator", ["fedavg", "median"])
@pytest.mark.parametrize("model_type", ["lr", "cnn"])
def test_rounds_go_on_alike(aggregator: str, model_type: str, tmp_path: Path) -> None:
    ends = []
    for at_once in (1, 4, 50):
        cell = federation(tmp_path, at_once, aggregator=aggregator, model_type=model_type)
        progress = Progress(weights_of(cell.model), BestRound(None, 0.0))
        losses = [each.loss for each in cell.rounds(progress)]
        ends.append((losses, progress.weights))
    assert len(ends[0][0]) == 2
    for losses, weights in ends[1:]:
        assert losses == pytest.approx(ends[0][0], rel=1e-5)
        assert torch.allclose(weights, ends[0][1], atol=1e-5)


@pytest.mark.parametrize("model_type", ["lr", "cnn"])
def test_all_diverge_as_each_does(model_type: str, tmp_path: Path) -> None:
    parameters: dict[str, Any] = {
        "model_type": model_type, "lr": 1e200, "batch_size": 16, "max_grad_norm": None,
    }  # fmt: skip
    expected, found = (sent(tmp_path, each, **parameters).isfinite() for each in (1, 50))
    assert not bool(expected.all(dim=1).any())
    assert torch.equal(expected.all(dim=1), found.all(dim=1))


@pytest.mark.parametrize("model_type", ["lr", "cnn"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_copy_that_is_no_number_leaves_the_others_alone(model_type: str, bad: float) -> None:
    model = build(model_type, torch.Size((1, 8, 8)), 10, 1, 2, seed=1)
    images = torch.randn(16, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    gradients, statistics = [], []
    for value in (0.0, bad):
        stack = Stack(model, weights_of(model), 3)
        with torch.no_grad():
            stack.parameters[1] += value
        stack.logits(images, 0, 3).square().sum().backward()
        assert stack.parameters.grad is not None
        gradients.append(stack.parameters.grad[[0, 2]])
        statistics.append(stack.weights()[[0, 2]])
    assert bool(gradients[1].isfinite().all())
    assert torch.allclose(*gradients)
    assert torch.equal(*statistics)


def test_a_long_round_asks_on_its_way_whether_to_stop(tmp_path: Path) -> None:
    calls = itertools.count(1)
    settings: dict[str, Any] = {
        "model_type": "lr", "global_rounds": 1, "local_epochs": CHECK_EVERY_STEPS,
    }  # fmt: skip
    stop = lambda: next(calls) > TINY["num_clients"]  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        run({**TINY, **settings}, handle(tmp_path / "run", stop))
    assert next(calls) == TINY["num_clients"] + 2


# --- when -----------------------------------------------------------------------------


def at_once(device: str = "cpu", parameters: int = 1000, **chosen: Any) -> int:
    return clients_at_once(complete(chosen), 8, 1, 10, parameters, device)


def test_small_models_are_stacked_and_large_ones_are_not() -> None:
    """What was measured to be slower stays as it was."""
    assert at_once(model_type="lr") == 50
    assert at_once() > 10
    assert at_once(width_factor=16) == 1
    assert at_once(batch_size=512) == 1
    assert at_once(parameters=200_000) == 1
    assert at_once(device="cuda") == 1


def test_how_many_depends_on_the_cell_alone(tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"num_clients": 3, "seed": 7, "load_to_memory": False}
    one, other = (_prepare(complete({**TINY, **each}), CPU, handle(tmp_path))
                  for each in ({"num_clients": 3}, parameters))  # fmt: skip
    assert one.at_once == other.at_once > 1
