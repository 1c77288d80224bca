"""Writes small datasets in the very formats and folders of MNIST and CIFAR.

Their images are made up, yet can be learned: each class is bright in places of its own.
What is not here: any reader; those under test are the real ones.
"""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def made_up(count: int, shape: tuple[int, ...], classes: int, seed: int = 0) -> tuple[Bytes, Bytes]:
    """`count` images of `shape` and their labels, classes in turn."""
    labels = (np.arange(count) % classes).astype(np.uint8)
    patterns = np.random.default_rng(7).integers(0, 120, (classes, *shape))
    noise = np.random.default_rng(seed).integers(0, 120, (count, *shape))
    return (patterns[labels] + noise).astype(np.uint8), labels


def idx(array: Bytes) -> bytes:
    """The array as an IDX file of unsigned bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write_mnist(
    data_dir: Path,
    training: int = 60,
    test: int = 20,
    zipped: bool = False,
    name: str = "MNIST",
) -> Path:
    """The four files of MNIST (or `name="FashionMNIST"`); returns their folder."""
    folder = data_dir / name / "raw"
    folder.mkdir(parents=True)
    for kind, count, seed in (("train", training, 1), ("t10k", test, 2)):
        images, labels = made_up(count, (28, 28), 10, seed)
        for ending, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            content = idx(array)
            path = folder / f"{kind}-{ending}{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


def write_cifar10(data_dir: Path, batch: int = 20, test: int = 20) -> Path:
    """Five training batches of `batch` images and the test batch; returns their folder."""
    folder = data_dir / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        _write_batch(folder / f"data_batch_{number}", batch, 10, "labels", number)
    _write_batch(folder / "test_batch", test, 10, "labels", 6)
    return folder


def write_cifar100(data_dir: Path, training: int = 200, test: int = 100) -> Path:
    """The `train` and `test` files; returns their folder."""
    folder = data_dir / "cifar-100-python"
    folder.mkdir(parents=True)
    _write_batch(folder / "train", training, 100, "fine_labels", 1)
    _write_batch(folder / "test", test, 100, "fine_labels", 2)
    return folder


def _write_batch(path: Path, count: int, classes: int, label_key: str, seed: int) -> None:
    images, labels = made_up(count, (3, 32, 32), classes, seed)
    entry = {
        "batch_label": path.name,
        "filenames": [f"{each}.png" for each in range(count)],
        "data": images.reshape(count, -1),
        label_key: labels.tolist(),
    }
    path.write_bytes(pickle.dumps(entry, protocol=2))


WRITERS: dict[str, Callable[[Path], Path]] = {
    "mnist": write_mnist,
    "fashion_mnist": lambda data_dir: write_mnist(data_dir, name="FashionMNIST"),
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
}
"""How to write each dataset that comes in files."""
