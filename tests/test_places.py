"""Odd places for a queue: from `init` to `verify` with the real commands, in each of them.

What is not here: a whole network filesystem (`test_takeover_gluster.py`), other users' rights.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from acceptance import Study
from forgetful import forgetful_disk

from sqlqueue.home import NAME, Home
from support import Cli, ManagerProcess

SEEDS = [1, 2, 3]


@contextmanager
def studying(root: Path, cli: Cli) -> Iterator[Study]:
    """A study in that folder, which need not be there; nothing of it runs afterwards."""
    root.mkdir(parents=True, exist_ok=True)
    own = Cli(root, cli.environment)
    study = Study(own, ManagerProcess(Home(root / NAME), own, cli.root / "manager.output"))
    try:
        yield study
    finally:
        study.end()
        if study.manager.process is not None:
            study.manager.kill()


def from_init_to_verify(study: Study, directory: str = "results") -> bool:
    """Every command ends well and every row is there; whether the socket lay elsewhere."""
    study.init(study.write("sweep.yaml", directory, "other", combinations=[{"seed": SEEDS}]))
    study.manager.start()
    socket_folder = study.manager.socket_path.parent
    study.worker("--slots", "1")
    assert study.worker_ends() == 0, study.said
    assert study.totals() == {"completed": len(SEEDS)}
    study.cli.ok("verify")
    assert study.manager.stop() == 0, study.manager.said
    study.cli.ok("verify")
    assert [int(row["seed"]) for row in study.rows(directory)] == SEEDS
    elsewhere = socket_folder != study.home.path
    assert socket_folder.exists() is not elsewhere
    return elsewhere


ROOT = '-- "a" \'b e\u0301模🙂?c#%41'
DIRECTORY = '-re sults/it\'s "here" 結果?x#%41'


def test_odd_names(tmp_path: Path, cli: Cli) -> None:
    with studying(tmp_path / ROOT, cli) as study:
        from_init_to_verify(study, DIRECTORY)


@pytest.mark.slow
def test_a_path_longer_than_a_sockets(tmp_path: Path, cli: Cli) -> None:
    with studying(tmp_path / ("d" * 120) / ("é" * 60), cli) as study:
        assert from_init_to_verify(study)


def test_a_filesystem_without_sockets(tmp_path: Path, cli: Cli) -> None:
    with forgetful_disk(tmp_path / "disk", sockets=False) as disk:
        with socket.socket(socket.AF_UNIX) as one, pytest.raises(PermissionError):
            one.bind(str(disk.place / "s"))
        with studying(disk.place / "study", cli) as study:
            assert from_init_to_verify(study)
