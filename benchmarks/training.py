"""Rounds per second of `poisoning`, beside the straightforward loop, in rounds that take turns.

Promises: both train the same model on the same images by the same schedule, in this process,
with one thread; what is timed is whole rounds, their aggregation and validation included, and
neither loading nor the final test.  What is not here: how the loop works (`straightforward.py`).
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Figures
from benchmarks.straightforward import Loop
from sqlqueue.experiments.poisoning.training import run
from sqlqueue.experiments.run import Run

IMAGES = 1_000, 100
"""Of MNIST's format, made up: for training, for testing."""


@dataclass(frozen=True)
class Shape:
    """A cell to be timed; `rounds`: how many of them each time."""

    dataset: str
    model_type: str
    width_factor: int
    num_clients: int = 10
    optimizer: str = "sgd"
    aggregator: str = "fedavg"
    rounds: int = 2

    @property
    def name(self) -> str:
        return (
            f"{self.dataset}, {self.model_type} of width {self.width_factor}, {self.num_clients} "
            f"clients, {self.optimizer}, {self.aggregator}"
        )

    def parameters(self, data_dir: Path) -> dict[str, Any]:
        return {
            "dataset": self.dataset, "model_type": self.model_type, "data_dir": str(data_dir),
            "width_factor": self.width_factor, "num_clients": self.num_clients,
            "optimizer": self.optimizer, "aggregator": self.aggregator,
            "global_rounds": self.rounds + 1, "lr": 0.05 if self.optimizer == "sgd" else 0.005,
        }  # fmt: skip


SHAPES = (
    *(Shape("digits", kind, width) for kind in ("lr", "cnn") for width in (1, 4, 16)),
    Shape("digits", "lr", 4, num_clients=50),
    Shape("digits", "cnn", 4, num_clients=50),
    Shape("digits", "cnn", 4, optimizer="adam"),
    Shape("digits", "cnn", 4, aggregator="median"),
    *(Shape("mnist", kind, width) for kind, width in
      (("lr", 1), ("lr", 4), ("lr", 16), ("cnn", 1), ("cnn", 4))),
)  # fmt: skip
TURNS = 5


def measure(folder: Path, quick: bool) -> Figures:
    """Rounds per second by shape, `training/product/...` and `training/loop/...`, in turn."""
    found = Figures()
    shapes, turns = (SHAPES[:2], 1) if quick else (SHAPES, TURNS)
    root = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
    try:
        _write_mnist(root / "MNIST" / "raw")
        for shape in shapes:
            _measure(shape, root, turns, found)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return found


def _measure(shape: Shape, root: Path, turns: int, found: Figures) -> None:
    parameters = shape.parameters(root)
    loop = Loop(parameters)
    for _ in range(turns):
        product = _rate(lambda tell: _product(parameters, root, tell))
        found.add(f"training/product/{shape.name}", product)
        found.add(f"training/loop/{shape.name}", _rate(loop.run))


def _rate(train: Callable[[Callable[[], None]], None]) -> float:
    """Rounds per second after the first one, which warms up; `train` tells of each round."""
    moments: list[float] = []
    train(lambda: moments.append(time.perf_counter()))
    return (len(moments) - 1) / (moments[-1] - moments[0])


def _product(parameters: dict[str, Any], root: Path, tell: Callable[[], None]) -> None:
    run(parameters, Run(root / "cell", "cpu", None, lambda *_: tell(), lambda: False))


def _write_mnist(folder: Path) -> None:
    """Four files of noise in MNIST's format: how fast it trains does not depend on what it sees."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for kind, count in zip(("train", "t10k"), IMAGES, strict=True):
        arrays = {
            "images-idx3": chance.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            "labels-idx1": (np.arange(count) % 10).astype(np.uint8),
        }
        for name, array in arrays.items():
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            head = bytes((0, 0, 8, array.ndim)) + sizes
            (folder / f"{kind}-{name}-ubyte").write_bytes(head + array.tobytes())
