"""Datasets: read whole from files in their own formats, downloaded once, clear when wrong."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from datasets_on_disk import WRITERS, idx, made_up, write_cifar10, write_cifar100, write_mnist

from sqlqueue.errors import ExperimentError
from sqlqueue.experiments.poisoning.catalog import FACTS
from sqlqueue.experiments.poisoning.data import Dataset, load, pixels
from sqlqueue.experiments.poisoning.download import SOURCES, obtain

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other machines are out of reach: their proxy is a port where nothing listens."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    urllib.request.install_opener(None)  # it remembers its proxies
    yield
    urllib.request.install_opener(None)


def read(name: str, data_dir: Path) -> Dataset:
    return load(name, data_dir, CPU, keep=False)


# --- what comes out -------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_a_dataset_is_read_from_its_files(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    dataset = read(name, tmp_path)
    facts = FACTS[name]
    assert dataset.shape == (facts.channels, facts.side, facts.side)
    assert dataset.classes == facts.classes
    for part in (dataset.training, dataset.test):
        assert part.images.dtype == torch.uint8
        assert len(part.images) == len(part.labels)
        assert set(part.labels.tolist()) <= set(range(facts.classes))


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_the_bytes_that_were_written(zipped: bool, tmp_path: Path) -> None:
    write_mnist(tmp_path, training=60, zipped=zipped)
    images, labels = made_up(60, (28, 28), 10, seed=1)
    dataset = read("mnist", tmp_path)
    assert (dataset.training.images[:, 0].numpy() == images).all()
    assert (dataset.training.labels.numpy() == labels).all()


def test_mnist_is_what_torchvision_reads(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    theirs = torchvision.datasets.MNIST(str(tmp_path), train=False)
    ours = read("mnist", tmp_path).test
    assert torch.equal(ours.images[:, 0], theirs.data)
    assert torch.equal(ours.labels, theirs.targets)


def test_cifar_is_the_bytes_that_were_written_in_the_order_of_its_batches(tmp_path: Path) -> None:
    write_cifar10(tmp_path, batch=20)
    expected = np.concatenate([made_up(20, (3, 32, 32), 10, seed)[0] for seed in range(1, 6)])
    assert (read("cifar10", tmp_path).training.images.numpy() == expected).all()


def test_digits_need_no_files_and_have_every_class_in_both_parts(tmp_path: Path) -> None:
    dataset = read("digits", tmp_path / "absent")
    assert (len(dataset.training.labels), len(dataset.test.labels)) == (1442, 355)
    assert dataset.test.labels.bincount().min() >= 34
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_pixels_are_normalised_per_channel(name: str, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    dataset = read(name, tmp_path)
    everything = torch.arange(len(dataset.training.labels))
    found = pixels(dataset.training, everything, dataset)
    assert torch.allclose(found.mean(dim=(0, 2, 3)), torch.zeros(1), atol=1e-5)
    assert torch.allclose(found.std(dim=(0, 2, 3), correction=0), torch.ones(1), atol=1e-5)


def test_a_kept_dataset_is_there_for_the_next_cell(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    kept = load("mnist", tmp_path, CPU, keep=True)
    assert load("mnist", tmp_path, CPU, keep=True) is kept
    assert load("mnist", tmp_path, CPU, keep=False) is not kept


def test_other_sizes_than_the_published_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path)
    read("mnist", tmp_path)
    assert "has 60 training and 20 test images; the published one has 60000" in (
        capsys.readouterr().err
    )
    read("digits", tmp_path)
    assert capsys.readouterr().err == ""


# --- what is wrong --------------------------------------------------------------------

Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def write(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content)


class Intruder:
    """Unpickled by a careless reader, it would run a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


MNIST_DAMAGE: list[tuple[str, Damage, str]] = [
    ("train-images-idx3-ubyte", cut, "47046 bytes where its head promises 47056"),
    ("train-images-idx3-ubyte", write(b""), "not an IDX file of bytes in 3 dimensions"),
    ("t10k-labels-idx1-ubyte", write(b"<html>404</html>"), "not an IDX file of bytes in 1"),
    ("t10k-labels-idx1-ubyte", write(idx(np.zeros(3, np.uint8))), "20 images but 3 labels"),
    ("t10k-labels-idx1-ubyte", write(idx(np.full(20, 10, np.uint8))), "expected 0 to 9"),
    ("t10k-images-idx3-ubyte", write(idx(np.zeros((20, 8, 8), np.uint8))), r"images of \(8, 8\)"),
    ("train-images-idx3-ubyte", write(b"\0\0\x08\x03" + b"\xff" * 12), "its head promises"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "said"), MNIST_DAMAGE)
def test_a_damaged_mnist_file_is_named(
    name: str, damage: Damage, said: str, tmp_path: Path
) -> None:
    path = write_mnist(tmp_path) / name
    damage(path)
    with pytest.raises(ExperimentError, match=said) as caught:
        read("mnist", tmp_path)
    assert str(path) in caught.value.message


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = write_mnist(tmp_path, zipped=True) / "train-images-idx3-ubyte.gz"
    for content in (path.read_bytes()[:-30], b"plain", gzip.compress(b"x")[:-4] + b"abcd"):
        path.write_bytes(content)
        with pytest.raises(ExperimentError, match="not a whole gzip file") as caught:
            read("mnist", tmp_path)
        assert str(path) in caught.value.message


CIFAR_DAMAGE: list[tuple[Damage, str]] = [
    (cut, "not a whole pickle"),
    (write(b""), "not a whole pickle"),
    (write(b"<html>404</html>"), "not a whole pickle"),
    (write(pickle.dumps([1, 2])), "no `data` of 3072 bytes"),
    (write(pickle.dumps({"data": [1, 2], "labels": [1]})), "no `data` of 3072 bytes"),
    (write(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [1, 2]})), "labels"),
    (write(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]})), "2 images but 1"),
    (write(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]})), "0 to 9"),
    (write(pickle.dumps({"data": np.zeros((0, 3072), np.uint8), "labels": []})), "no images"),
]


@pytest.mark.parametrize(("damage", "said"), CIFAR_DAMAGE)
def test_a_damaged_cifar_batch_is_named(damage: Damage, said: str, tmp_path: Path) -> None:
    path = write_cifar10(tmp_path) / "data_batch_3"
    damage(path)
    with pytest.raises(ExperimentError, match=said) as caught:
        read("cifar10", tmp_path)
    assert str(path) in caught.value.message


def test_a_data_file_cannot_run_code(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (write_cifar100(tmp_path) / "train").write_bytes(pickle.dumps(Intruder(trace)))
    with pytest.raises(ExperimentError, match="which no image needs"):
        read("cifar100", tmp_path)
    assert not trace.exists()


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    path.unlink()
    path.mkdir()
    with pytest.raises(ExperimentError, match=str(path)):
        read("mnist", tmp_path)


# --- how files get there --------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_without_files_and_network_it_says_which_files_to_put_where(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ExperimentError, match="could not be downloaded") as caught:
        read(name, tmp_path)
    for path in SOURCES[name].paths(tmp_path):
        assert str(path) in caught.value.message
    assert "Connection refused" in caught.value.message
    assert f"d.{SOURCES[name].torchvision_class}('data', download=True)" in caught.value.message


def test_only_the_files_that_are_missing_are_asked_for(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ExperimentError, match="could not be downloaded") as caught:
        read("mnist", tmp_path)
    assert "t10k-labels-idx1-ubyte" in caught.value.message
    assert "train-images" not in caught.value.message


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ExperimentError, match="Not a directory"):
        read("mnist", tmp_path / "file" / "data")


class Counting(SimpleHTTPRequestHandler):
    """Serves a folder and notes what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A mirror of MNIST on this machine, with small files; yields what was asked of it."""
    folder = write_mnist(tmp_path / "mirror", zipped=True)
    asked: list[str] = []
    handler = type("Handler", (Counting,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    sums = [(each.name, hashlib.md5(each.read_bytes()).hexdigest()) for each in folder.iterdir()]
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [url])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", sums)
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_dataset_is_downloaded_once_however_many_want_it(
    mirror: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "data"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: obtain("mnist", data_dir), range(4)))
    assert all(paths == found[0] for paths in found)
    assert set(mirror) == {f"/{name}.gz" for name in SOURCES["mnist"].files}
    assert capsys.readouterr().out.count("downloading MNIST to") == 1
    assert len(read("mnist", data_dir).training.labels) == 60
    assert not (data_dir / ".downloading-mnist").exists()


def test_what_a_killed_download_left_is_not_taken_for_data(
    mirror: list[str], tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    for half in SOURCES["mnist"].paths(data_dir / ".downloading-mnist"):
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"half")
    assert len(read("mnist", data_dir).training.labels) == 60
    assert "/train-images-idx3-ubyte.gz" in mirror
