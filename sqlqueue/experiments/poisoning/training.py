"""Runs one cell of `poisoning`: what a child process calls.

Same parameters, same device, same software: the same metrics to the last bit, in a new
process as in a warm one, whatever ran before, interrupted or not (`seconds` excepted, which
counts broken-off attempts too).  For that the CPU works with one thread while a cell runs,
since sums that threads share are rounded differently; to use more cores, run more cells.
The process's settings are as before afterwards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import torch
import torch.utils.deterministic

from sqlqueue.experiments.poisoning.checkpoint import Checkpoint, Saver
from sqlqueue.experiments.poisoning.data import Dataset, load
from sqlqueue.experiments.poisoning.evaluation import evaluate
from sqlqueue.experiments.poisoning.federated import Federation
from sqlqueue.experiments.poisoning.models import build, count_parameters, set_weights, weights_of
from sqlqueue.experiments.poisoning.pace import clients_at_once
from sqlqueue.experiments.poisoning.population import gather
from sqlqueue.experiments.poisoning.progress import BestRound, Progress
from sqlqueue.experiments.poisoning.settings import Settings, complete
from sqlqueue.experiments.poisoning.streams import Purpose, torch_seed
from sqlqueue.experiments.run import Run

CHECKPOINT: Final = "poisoning.pt"
CUBLAS_WORKSPACE: Final = ":4096:8"


def run(parameters: dict[str, Any], run: Run) -> dict[str, Any]:
    """Trains a cell and returns its metrics; raises `ExperimentError` for what cannot be run."""
    started = time.perf_counter()
    settings, device = complete(parameters), torch.device(run.device)
    checkpoint = Checkpoint(run.directory / CHECKPOINT, device)
    with _reproducible(device):
        federation = _prepare(settings, device, run)
        progress = _begin(federation, checkpoint)
        started -= progress.seconds
        _train(federation, progress, run, Saver(checkpoint, progress, started))
        metrics = _judge(federation, progress.best)
    checkpoint.remove()
    seconds = time.perf_counter() - started
    return {
        **metrics,
        "best_epoch": progress.best.round,
        "seconds": seconds,
        "device": str(device),
    }


def _prepare(settings: Settings, device: torch.device, run: Run) -> Federation:
    dataset = load(settings.dataset, Path(settings.data_dir), device, settings.load_to_memory)
    population = gather(settings, dataset)
    model = _model(settings, dataset)
    channels, side, _ = dataset.shape
    parameters = count_parameters(model)
    at_once = clients_at_once(settings, side, channels, dataset.classes, parameters, device.type)
    model = model.to(device).to(memory_format=torch.channels_last)
    return Federation(settings, dataset, population, model, at_once, partial(_check, run))


def _check(run: Run) -> None:
    if run.should_stop():
        raise KeyboardInterrupt("asked to stop")


def _model(settings: Settings, dataset: Dataset) -> torch.nn.Sequential:
    return build(
        settings.model_type, dataset.shape, dataset.classes, settings.width_factor,
        settings.depth, torch_seed(settings.seed, Purpose.WEIGHTS),
    )  # fmt: skip


def _begin(federation: Federation, checkpoint: Checkpoint) -> Progress:
    """From the start, or from where the attempt before was broken off."""
    settings = federation.settings
    best = BestRound(settings.early_stopping_patience, settings.min_delta)
    progress = Progress(weights_of(federation.model), best)
    checkpoint.restore(progress)
    return progress


def _train(federation: Federation, progress: Progress, run: Run, saver: Saver) -> None:
    """All rounds that are left; when it is asked to stop, what is done is saved first."""
    try:
        for means in federation.rounds(progress):
            saver.round_done()
            total = federation.settings.global_rounds
            run.report(progress.round, total, val_loss=means.loss, val_acc=means.acc)
    except KeyboardInterrupt:
        saver.save()
        raise


def _judge(federation: Federation, best: BestRound) -> dict[str, Any]:
    """The metrics of the best round's weights; of the last ones when no round was finite."""
    if best.weights is not None:
        set_weights(federation.model, best.weights)
    test = evaluate(federation.model, federation.population.test, federation.dataset)
    validation = evaluate(federation.model, federation.population.validation, federation.dataset)
    return {
        **test.metrics("test"),
        **validation.metrics("val"),
        "num_parameters": count_parameters(federation.model),
    }


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Bit-for-bit the same every time; operations that cannot be are warned about in the log."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()
    memory = cast(Any, torch.utils.deterministic)
    filling = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # measured: up to a quarter of a step, for nothing
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=only_warn)
        memory.fill_uninitialized_memory = filling
