"""Reads the files that MNIST and CIFAR come in, each whole, as arrays of bytes.

The formats are those of torchvision's folders.  Files of other sizes than the published ones
are read too; a file that is cut short, damaged or something else is an `ExperimentError`
that names it.  Pickles may name nothing but what an array of numbers is made of: a data
file must not be able to run code.
"""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sqlqueue.errors import ExperimentError

Bytes = npt.NDArray[np.uint8]

_CURE: Final = "delete the file and put a good copy there, or let it be downloaded again"
_UNSIGNED_BYTES: Final = 8
_ARRAY_PARTS: Final = frozenset(
    {
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"),
        ("_codecs", "encode"),
    }
)


def read_idx(path: Path, dimensions: int) -> Bytes:
    """An array of unsigned bytes in the IDX format of MNIST, plain or gzipped."""
    content = _unpacked(path)
    head_bytes = 4 + 4 * dimensions
    if len(content) < head_bytes or content[:4] != bytes((0, 0, _UNSIGNED_BYTES, dimensions)):
        raise _damaged(path, f"not an IDX file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:head_bytes])
    expected = head_bytes + math.prod(shape)
    if len(content) != expected:
        raise _damaged(path, f"{len(content)} bytes where its head promises {expected}")
    return np.frombuffer(content, dtype=np.uint8, offset=head_bytes).reshape(shape).copy()


def _unpacked(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, f"not a whole gzip file ({error})") from None


def read_batch(path: Path, label_key: str) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Images (n, 3, 32, 32) and labels of one pickled CIFAR batch."""
    entry = _unpickled(path)
    try:
        images = np.asarray(entry["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(entry[label_key], dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(path, f"no `data` of 3072 bytes each and `{label_key}` ({error})") from None
    return images, labels


def _unpickled(path: Path) -> Any:
    try:
        return _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except ExperimentError:
        raise
    except Exception as error:  # a damaged pickle can raise anything at all
        raise _damaged(path, f"not a whole pickle ({error})") from None


class _ArrayUnpickler(pickle.Unpickler):
    """Knows lists, dicts, numbers, text and numpy arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which no image needs")
        return super().find_class(module, name)


def check(path: Path, images: Bytes, labels: npt.NDArray[Any], classes: int) -> None:
    """Images and labels that belong together; raises `ExperimentError` naming `path`."""
    if len(images) != len(labels):
        raise _damaged(path, f"{len(images)} images but {len(labels)} labels")
    if len(labels) == 0:
        raise _damaged(path, "no images in it")
    if labels.min() < 0 or labels.max() >= classes:
        raise _damaged(
            path, f"labels {labels.min()} to {labels.max()}, expected 0 to {classes - 1}"
        )


def _damaged(path: Path, found: str) -> ExperimentError:
    return ExperimentError(f"{path}: {found}; {_CURE}")
