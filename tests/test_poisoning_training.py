"""Whole cells of `poisoning`, as a child runs them: they learn, repeat, stop and go on."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets_on_disk import WRITERS, write_mnist

from sqlqueue.errors import ExperimentError
from sqlqueue.experiments.poisoning.declaration import DECLARATION
from sqlqueue.experiments.poisoning.local import train
from sqlqueue.experiments.poisoning.models import set_weights, weights_of
from sqlqueue.experiments.poisoning.settings import complete
from sqlqueue.experiments.poisoning.streams import Purpose, stream
from sqlqueue.experiments.poisoning.training import CHECKPOINT, _prepare, run
from sqlqueue.experiments.run import Run

METRICS = [
    "mean_test_acc", "std_test_acc", "mean_test_loss", "std_test_loss",
    "mean_val_acc", "std_val_acc", "mean_val_loss", "std_val_loss",
    "num_parameters", "best_epoch", "seconds", "device",
]  # fmt: skip
SMALL: dict[str, Any] = {"width_factor": 1, "global_rounds": 3}
DIVERGING: dict[str, Any] = {"lr": 1e30, "global_rounds": 3}


class Cells:
    """Runs cells in a folder of the test's; `reports` has what the last one reported."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reports: list[tuple[float, float | None, dict[str, Any]]] = []

    def __call__(self, stop: Callable[[], bool] = lambda: False, **parameters: Any) -> Any:
        """The metrics, without the time that it took."""
        self.reports = []
        report = lambda *said: self.reports.append(said)  # noqa: E731
        handle = Run(self.directory, "cpu", parameters.get("seed"), report, stop)
        metrics = run(parameters, handle)
        assert list(metrics) == METRICS
        assert metrics.pop("seconds") > 0
        return metrics


@pytest.fixture
def cell(tmp_path: Path) -> Cells:
    return Cells(tmp_path / "run")


def stop_at(call: int) -> Callable[[], bool]:
    """Says yes at the `call`-th time it is asked, and ever after."""
    calls = itertools.count(1)
    return lambda: next(calls) >= call


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """To the last bit, `nan` being equal to itself."""
    return repr(dict(one)) == repr(dict(other))


# --- it learns ------------------------------------------------------------------------


def test_a_width_4_cnn_learns_digits(cell: Cells) -> None:
    """Measured: 0.958 with seed 42, after 10 rounds; guessing gives 0.1."""
    metrics = cell(width_factor=4, global_rounds=10, seed=42)
    assert metrics["mean_test_acc"] > 0.9
    assert metrics["mean_val_acc"] > 0.8
    assert metrics["mean_test_loss"] < 1.0
    assert metrics["device"] == "cpu"


def test_a_perceptron_learns_digits(cell: Cells) -> None:
    assert cell(model_type="lr", global_rounds=10)["mean_test_acc"] > 0.8


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adaptive_optimizers_learn_digits(cell: Cells, optimizer: str) -> None:
    metrics = cell(model_type="lr", optimizer=optimizer, lr=0.01, global_rounds=5)
    assert metrics["mean_test_acc"] > 0.8


def test_flipped_labels_of_most_clients_turn_the_model_over(cell: Cells) -> None:
    poisoned = cell(model_type="lr", poison_ratio=0.8, global_rounds=10)
    assert poisoned["mean_test_acc"] < 0.1, "it has learned the flipped labels"


def test_the_median_withstands_what_fedavg_does_not(cell: Cells) -> None:
    attack: dict[str, Any] = {
        "model_type": "lr",
        "poison_ratio": 0.3,
        "global_rounds": 10,
        "max_grad_norm": None,
    }
    mean, median = (cell(**attack, aggregator=each) for each in ("fedavg", "median"))
    assert median["mean_test_acc"] > mean["mean_test_acc"]


@pytest.mark.slow
def test_label_skew_serves_clients_unequally(cell: Cells) -> None:
    alike, skewed = (cell(model_type="lr", alpha=alpha) for alpha in (100.0, 0.1))
    assert skewed["std_test_acc"] > 2 * alike["std_test_acc"]
    assert skewed["mean_test_acc"] < alike["mean_test_acc"]


def test_poisoning_last_is_not_poisoning_first(cell: Cells) -> None:
    attack: dict[str, Any] = {"model_type": "lr", "poison_ratio": 0.4, "validation_split": 0.0}
    found = {
        each: cell(**attack, data_ordering=each)["mean_test_loss"]
        for each in ("shuffle", "good_bad", "bad_good")
    }
    assert len(set(found.values())) == 3
    assert found["good_bad"] > found["bad_good"]


@pytest.mark.parametrize("dataset", WRITERS)
@pytest.mark.parametrize("model_type", ["lr", "cnn"])
def test_every_dataset_trains_with_both_models(
    cell: Cells, dataset: str, model_type: str, tmp_path: Path
) -> None:
    WRITERS[dataset](tmp_path / "data")
    metrics = cell(
        dataset=dataset, model_type=model_type, width_factor=1, global_rounds=1, num_clients=2,
        poison_ratio=0.5, data_dir=str(tmp_path / "data"),
    )  # fmt: skip
    assert math.isfinite(metrics["mean_test_loss"])


# --- it repeats -----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_result(cell: Cells) -> None:
    poisoned: dict[str, Any] = {
        **SMALL,
        "poison_ratio": 0.3,
        "poison_type": "random_noise",
        "alpha": 0.5,
    }
    first = cell(**poisoned, seed=1)
    cell(**SMALL, seed=2, dataset="digits", model_type="lr")
    assert same(cell(**poisoned, seed=1), first)
    assert not same(cell(**poisoned, seed=2), first)


@pytest.mark.slow
def test_another_process_with_other_threads_gives_the_same_result(
    cell: Cells, tmp_path: Path
) -> None:
    program = (
        "import sys, json, torch; from pathlib import Path\n"
        "from sqlqueue.experiments.run import Run\n"
        "from sqlqueue.experiments.poisoning.training import run\n"
        "torch.set_num_threads(3)\n"
        "handle = Run(Path(sys.argv[1]), 'cpu', 5, lambda *said: None, lambda: False)\n"
        "print(json.dumps(run(json.loads(sys.argv[2]), handle)))\n"
    )
    parameters: dict[str, Any] = {"global_rounds": 2, "batch_size": 128, "seed": 5}
    command = [sys.executable, "-c", program, str(tmp_path / "other"), json.dumps(parameters)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    del theirs["seconds"]
    assert same(cell(**parameters), theirs)


def test_each_client_starts_from_the_global_weights_and_shuffles_anew_in_each_round(
    tmp_path: Path,
) -> None:
    settings = complete({**SMALL, "model_type": "lr", "num_clients": 3})
    handle = Run(tmp_path, "cpu", None, lambda *_: None, lambda: False)
    federation = _prepare(settings, torch.device("cpu"), handle)
    start = weights_of(federation.model)

    def updates(number: int) -> list[list[float]]:
        return [weights.tolist() for weights, _ in federation._updates(number, start)]

    clients = federation.population.clients
    set_weights(federation.model, start)
    alone = stream(settings.seed, Purpose.ORDER, 1, clients[2].number)
    train(federation.model, clients[2], federation.dataset, settings, alone)
    assert updates(1)[2] == pytest.approx(weights_of(federation.model).tolist(), abs=1e-6)
    assert all(one != two for one, two in zip(updates(1), updates(2), strict=True))


def test_how_data_is_held_changes_nothing(cell: Cells) -> None:
    assert same(cell(**SMALL), cell(**SMALL, load_to_memory=False, num_workers=3))


def test_the_process_is_left_as_it_was(cell: Cells) -> None:
    def state() -> list[Any]:
        return [
            torch.random.get_rng_state().tolist(), torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype(),
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
            torch.utils.deterministic.fill_uninitialized_memory,
        ]  # fmt: skip

    before = state()
    cell(**SMALL)
    assert state() == before
    with pytest.raises(ExperimentError):
        cell(num_clients=5000)
    assert state() == before


# --- it diverges ----------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["lr", "cnn"])
@pytest.mark.parametrize("aggregator", ["fedavg", "median"])
def test_divergence_is_a_result(cell: Cells, model_type: str, aggregator: str) -> None:
    metrics = cell(**DIVERGING, model_type=model_type, aggregator=aggregator)
    assert not math.isfinite(metrics["mean_test_loss"])
    assert not math.isfinite(metrics["mean_val_loss"])
    assert metrics["best_epoch"] == 0
    assert len(cell.reports) == 1, "there is no way back from weights that are no numbers"


def test_a_model_that_says_nan_is_never_right(cell: Cells) -> None:
    assert cell(**DIVERGING)["mean_test_acc"] == 0.0


# --- the best round -------------------------------------------------------------------

OVERFITTING: dict[str, Any] = {
    "model_type": "lr", "lr": 0.5, "max_grad_norm": None, "poison_ratio": 0.4,
    "global_rounds": 15, "data_ordering": "good_bad",
}  # fmt: skip


def test_the_weights_of_the_best_round_are_the_result(cell: Cells) -> None:
    """As if training had ended there; nothing else depends on how many rounds follow."""
    whole = cell(**{**OVERFITTING, "data_ordering": "shuffle"})
    losses = [said["val_loss"] for _, _, said in cell.reports]
    best = whole["best_epoch"]
    assert best == losses.index(min(losses)) + 1
    assert best < 15, "this cell is meant to get worse"
    assert whole["mean_val_loss"] == min(losses)
    shorter: dict[str, Any] = {**OVERFITTING, "data_ordering": "shuffle", "global_rounds": best}
    assert same(cell(**shorter), whole)


@pytest.mark.slow
def test_patience_ends_training_and_keeps_the_best_round(cell: Cells) -> None:
    whole = cell(**OVERFITTING)
    patient = cell(**OVERFITTING, early_stopping_patience=2)
    rounds = len(cell.reports)
    assert rounds < 15
    assert patient["best_epoch"] == rounds - 2
    assert patient["mean_val_loss"] >= whole["mean_val_loss"]


def test_without_validation_the_last_round_is_the_result(cell: Cells) -> None:
    metrics = cell(**SMALL, validation_split=0.0)
    assert metrics["best_epoch"] == 3
    assert metrics["mean_val_loss"] is None
    assert metrics["std_val_acc"] is None


# --- it says how far it is, stops when asked, and goes on ------------------------------


def test_progress_is_reported_each_round(cell: Cells) -> None:
    cell(**SMALL)
    assert [(step, total) for step, total, _ in cell.reports] == [(1, 3), (2, 3), (3, 3)]
    assert all({"val_loss", "val_acc"} == said.keys() for _, _, said in cell.reports)


@pytest.mark.parametrize("asked", [1, 11, 15, 30])
def test_a_run_that_was_stopped_goes_on_and_gives_the_same_result(
    cell: Cells, asked: int, tmp_path: Path
) -> None:
    """Ten clients a round, each of which asks: stopped at the start, between and within."""
    parameters: dict[str, Any] = {**SMALL, "early_stopping_patience": 5, "poison_ratio": 0.2}
    whole = Cells(tmp_path / "whole")(**parameters)
    with pytest.raises(KeyboardInterrupt):
        cell(stop_at(asked), **parameters)
    assert (cell.directory / CHECKPOINT).exists()
    assert same(cell(**parameters), whole)
    assert len(cell.reports) == 3 - (asked - 1) // 10
    assert list(cell.directory.iterdir()) == [], "run once more, it starts from the beginning"


def test_a_stop_after_the_last_round_comes_too_late(cell: Cells) -> None:
    assert cell(stop_at(31), **SMALL)["best_epoch"] == 3


@pytest.mark.parametrize("content", [b"", b"damaged", b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_not_used(
    cell: Cells, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = cell(**SMALL)
    (cell.directory / CHECKPOINT).write_bytes(content)
    assert same(cell(**SMALL), whole)
    assert CHECKPOINT in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_not_used(cell: Cells) -> None:
    whole = cell(**SMALL)
    with pytest.raises(KeyboardInterrupt):
        cell(stop_at(11), **{**SMALL, "width_factor": 2})
    assert same(cell(**SMALL), whole)


# --- it refuses -----------------------------------------------------------------------

SENSELESS: list[tuple[dict[str, Any], str]] = [
    ({"fraction_fit": 0.0}, "fraction_fit: 0 of 10 clients selects none; .* at least 0.05"),
    ({"fraction_fit": 0.01, "num_clients": 20}, "fraction_fit: 0.01 of 20 .* at least 0.025"),
    ({"num_clients": 1299}, "num_clients: 1299 clients cannot share 1298 training samples"),
    ({"validation_split": 1.0}, "num_clients: 10 clients cannot share 0 training samples"),
    ({"validation_split": 1e-4}, "validation_split: 0.0001 .* holds out none"),
    ({"validation_split": 0.0, "early_stopping_patience": 2}, "needs validation data"),
    ({"poison_ratio": 0.01}, "poison_ratio: 0.01 of 10 clients is less than half a client"),
    ({"poison_ratio": 1.0, "data_ordering": "good_bad"}, "data_ordering: good_bad .* honest"),
    ({"poison_ratio": 1.0, "data_ordering": "bad_good"}, "data_ordering: bad_good .* honest"),
    ({"poison_ratio": 0.3, "target_class": 1}, "poison_label: .* needs it beside target_class"),
    ({"poison_ratio": 0.3, "poison_label": 1}, "target_class: .* needs it beside poison_label"),
    ({"poison_ratio": 0.3, "target_class": 10, "poison_label": 1}, "target_class: 10 is no class"),
    ({"poison_ratio": 0.3, "target_class": 1, "poison_label": 1}, "is target_class itself"),
    ({"optimizer": "lbfgs"}, "optimizer: found .*lbfgs.* expected one of sgd, adam, adamw"),
    ({"poison_ratio": 1.5}, "poison_ratio: .* from 0"),
    ({"depth": None}, "depth: "),
    ({"validation_split": math.nan}, "validation_split: "),
    ({"widht_factor": 1}, "no parameter 'widht_factor'"),
]


@pytest.mark.parametrize(("parameters", "said"), SENSELESS)
def test_what_makes_no_sense_is_refused_by_name(
    cell: Cells, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(ExperimentError, match=said):
        cell(**parameters)


SENSIBLE: list[dict[str, Any]] = [
    {"num_clients": 1, "batch_size": 5000},
    {"num_clients": 1298, "fraction_fit": 0.01, "model_type": "cnn"},
    {"target_class": 1, "poison_ratio": 0.0},
    {"target_class": 1, "poison_ratio": 0.3, "poison_type": "random_noise"},
    {"target_class": 1, "poison_label": 7, "poison_ratio": 0.3, "data_ordering": "bad_good"},
    {"poison_ratio": 1.0},
    {"alpha": 0.001, "poison_ratio": 0.5},
    {"lr": 0.0, "momentum": 1.0, "batch_size": 1, "fraction_fit": 0.1},
]


@pytest.mark.parametrize("parameters", SENSIBLE)
def test_what_is_unusual_runs(cell: Cells, parameters: dict[str, Any]) -> None:
    small: dict[str, Any] = {"width_factor": 1, "global_rounds": 2, "model_type": "lr"}
    metrics = cell(**{**small, **parameters})
    assert all(math.isfinite(metrics[name]) for name in METRICS if name[:4] in ("mean", "std_"))


def test_wrong_data_are_refused_by_file(cell: Cells, tmp_path: Path) -> None:
    path = write_mnist(tmp_path / "data") / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ExperimentError, match=str(path)):
        cell(dataset="mnist", data_dir=str(tmp_path / "data"))


# --- the declaration ------------------------------------------------------------------


def cost(**parameters: Any) -> float:
    assert DECLARATION.cost is not None
    defaults = {each.name: each.default for each in DECLARATION.parameters}
    return DECLARATION.cost({**defaults, **parameters})


def test_defaults_keep_to_what_is_declared() -> None:
    for each in DECLARATION.parameters:
        assert not each.required
        if each.default is None:
            assert each.optional
        else:
            assert type(each.default).__name__ == each.kind
            assert not each.choices or each.default in each.choices


def test_the_default_cell_costs_1_and_more_work_costs_more() -> None:
    assert cost() == pytest.approx(1.0, rel=0.01)
    for key, value in {
        "width_factor": 16, "depth": 3, "global_rounds": 40, "local_epochs": 2,
        "num_clients": 50, "dataset": "mnist", "batch_size": 8,
    }.items():  # fmt: skip
        assert cost(**{key: value}) > 1.1, key
    assert cost(fraction_fit=0.5) < 0.9
    assert cost(model_type="lr") < 0.5


def test_declaring_loads_nothing_heavy() -> None:
    program = (
        "import sys; import sqlqueue.experiments.poisoning.declaration\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'torchvision', 'pandas'}\n"
        "print(*(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env=dict(os.environ),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("\n", "")
