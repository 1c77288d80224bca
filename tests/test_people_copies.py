"""A home that is copied with `cp -a`, by a person, and worked on here and there.

The copy is a queue of its own: the original's output directories, inside its root and outside,
are left as they are.  What is not here: a copy made under a running manager (`backup` does that).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import Study, rows_of, snapshot

from sqlqueue.home import NAME, Home
from sqlqueue.store.copies import FOLDER
from support import Cli, ManagerProcess

SEEDS = [1, 2, 3, 4]
CSV = "final_results.csv"


@pytest.fixture
def pair(tmp_path: Path, cli: Cli) -> Iterator[tuple[Study, Study, Path]]:
    """A half completed study, its copy, and a directory outside of both."""
    outside = tmp_path / "outside"
    original = in_folder(tmp_path / "original", cli)
    for seeds in (SEEDS[:2], SEEDS):
        files = [
            original.write(f"{number}.yaml", directory, "other", combinations=[{"seed": seeds}])
            for number, directory in enumerate(["results", str(outside)])
        ]
        original.run(*files) if seeds != SEEDS else original.init(*files)
    subprocess.run(["cp", "-a", original.root, tmp_path / "copy"], check=True)
    copy = in_folder(tmp_path / "copy", cli)
    yield original, copy, outside
    for each in (original, copy):
        each.end()
        if each.manager.process is not None:
            each.manager.kill()


def in_folder(root: Path, cli: Cli) -> Study:
    root.mkdir(exist_ok=True)
    own = Cli(root, cli.environment)
    return Study(own, ManagerProcess(Home(root / NAME), own, root / "manager.output"))


@pytest.mark.slow
def test_a_copy_leaves_the_originals_directories_alone_and_both_complete(
    pair: tuple[Study, Study, Path],
) -> None:
    original, copy, outside = pair
    before = snapshot(original.root), snapshot(outside)
    copy.manager.start()
    copy.work()
    assert (snapshot(original.root), snapshot(outside)) == before
    assert f"{copy.home.path} is a copy of {original.home.path}" in copy.manager.said

    original.manager.start()
    original.work()
    for each in (original, copy):
        assert each.totals() == {"completed": len(SEEDS)}
        each.cli.ok("verify")
    own = copy.root / FOLDER / str(outside).lstrip("/")
    for folder in (original.root / "results", copy.root / "results", outside, own):
        assert sorted(int(row["seed"]) for row in rows_of(folder / CSV)) == SEEDS, folder
    for each in (original, copy):
        assert each.manager.stop() == 0
        each.cli.ok("verify")
