"""Where a dataset's files belong, and how they get there: once, under a lock, if they can.

A file that has its final name is whole: downloads go to a folder beside and are moved file
by file.  Processes that want the same dataset at once wait for the first one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlqueue.errors import ExperimentError

NETWORK_TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """A torchvision dataset: its class there, its folder, the files in it that are needed."""

    torchvision_class: str
    folder: str
    files: tuple[str, ...]

    def paths(self, data_dir: Path) -> list[Path]:
        return [data_dir / self.folder / name for name in self.files]


_IDX_FILES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SOURCES: Final[dict[str, Source]] = {
    "mnist": Source("MNIST", "MNIST/raw", _IDX_FILES),
    "fashion_mnist": Source("FashionMNIST", "FashionMNIST/raw", _IDX_FILES),
    "cifar10": Source(
        "CIFAR10",
        "cifar-10-batches-py",
        (*(f"data_batch_{each}" for each in range(1, 6)), "test_batch"),
    ),
    "cifar100": Source("CIFAR100", "cifar-100-python", ("train", "test")),
}


def obtain(dataset: str, data_dir: Path) -> list[Path]:
    """The paths of the dataset's files, downloaded first where any is missing."""
    source = SOURCES[dataset]
    if not _missing(source, data_dir):
        return _present(source, data_dir)
    try:
        with _lock(data_dir, dataset):
            if _missing(source, data_dir):
                _download(source, data_dir, data_dir / f".downloading-{dataset}")
    except Exception as error:  # torchvision wraps none of what networks and disks raise
        raise _unobtainable(dataset, source, data_dir, error) from None
    return _present(source, data_dir)


def _present(source: Source, data_dir: Path) -> list[Path]:
    return [path if path.exists() else _zipped(path) for path in source.paths(data_dir)]


def _missing(source: Source, data_dir: Path) -> list[Path]:
    return [
        path for path in source.paths(data_dir) if not path.exists() and not _zipped(path).exists()
    ]


def _zipped(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


@contextmanager
def _lock(data_dir: Path, dataset: str) -> Iterator[None]:
    """Held by one process at a time; the kernel lets go when the process dies."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / f".{dataset}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _download(source: Source, data_dir: Path, beside: Path) -> None:
    shutil.rmtree(beside, ignore_errors=True)  # what a download that was killed left
    print(f"downloading {source.torchvision_class} to {data_dir}", flush=True)
    with _network_timeout():
        _torchvision_class(source)(root=str(beside), download=True)
    (data_dir / source.folder).mkdir(parents=True, exist_ok=True)
    for path in _present(source, beside):
        os.replace(path, data_dir / source.folder / path.name)
    shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _network_timeout() -> Iterator[None]:
    """torchvision sets none: a network that swallows packets would hold it for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _torchvision_class(source: Source) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, source.torchvision_class)


def _unobtainable(
    dataset: str, source: Source, data_dir: Path, error: Exception
) -> ExperimentError:
    absent = "\n".join(f"  {path}" for path in _missing(source, data_dir))
    return ExperimentError(
        f"{dataset} is not complete in {data_dir} and could not be downloaded "
        f"({_first_line(error)}).\nPut these files there (plain or .gz):\n{absent}\n"
        "or, where there is a network, let torchvision fetch them and copy the folder:\n"
        f'  python -c "import torchvision.datasets as d; '
        f"d.{source.torchvision_class}('data', download=True)\""
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}"
