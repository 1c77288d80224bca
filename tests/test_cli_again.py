"""What `init` says when there is nothing new: phases without cells, and failed tasks again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_queue import Place, place
from small_disks import fill, tmpfs

from support import Cli

HEAD = 'defaults: {experiment: "trial:train", output_dir: results, max_attempts: MOST}\n'
FAILING = HEAD + (
    "one: {combinations: {seed: [1, 2], width: [1, -4]}}\n"
    "two: {combinations: {seed: [1, 2], width: -4}}\n"
)
EMPTIED = "none: {combinations: {seed: [1, 2], width: 1}, exclude: [{width: 1}]}\n"
NOTE = "note: phase 'none': no cell is left by `exclude`"


@pytest.fixture
def here(tmp_path: Path, cli: Cli) -> Place:
    return place(tmp_path, cli)


def write(here: Place, text: str, most: int = 1) -> None:
    (here.root / "grid.yaml").write_text(text.replace("MOST", str(most)))


def test_failed_tasks_are_tried_again_when_more_attempts_are_allowed(here: Place) -> None:
    write(here, FAILING)
    done = here.cli("run", "grid.yaml")
    assert done.returncode == 1
    assert "`sqlqueue retry error=" in done.stdout
    assert "Nothing new: every cell is known" in here.cli.ok("init", "grid.yaml")
    write(here, FAILING, 2)
    told = "\nTried again, failed or cancelled before: 2 tasks\n"
    dry = here.cli.ok("init", "--dry-run", "grid.yaml")
    added = here.cli.ok("init", "grid.yaml")
    assert told in dry
    assert told in added
    assert "Nothing new" not in added
    assert json.loads(here.cli.ok("status", "--json"))["totals"]["pending"] == 2
    assert "Nothing new: every cell is known" in here.cli.ok("init", "grid.yaml")


def test_a_phase_of_which_nothing_is_left_is_named(here: Place) -> None:
    write(here, FAILING + EMPTIED)
    assert NOTE in here.cli.ok("init", "--dry-run", "grid.yaml")
    assert NOTE in here.cli.ok("init", "grid.yaml")


def test_a_file_of_which_nothing_is_left_ends_at_once(here: Place) -> None:
    write(here, HEAD + EMPTIED)
    assert here.cli.ok("init", "grid.yaml").splitlines() == ["Nothing new: no cell is left", NOTE]
    assert NOTE in here.cli.ok("run", "grid.yaml")


@pytest.mark.slow
def test_a_full_temporary_folder_stops_nothing_and_is_told(here: Place, tmp_path: Path) -> None:
    write(here, FAILING)
    with tmpfs(tmp_path / "full", "64k") as full:
        fill(full)
        assert "4 new tasks" in here.cli.ok("init", "grid.yaml", TMPDIR=str(full))
        here.cli.ok("verify", TMPDIR=str(full))
        said = here.cli("doctor", "--json", TMPDIR=str(full)).stdout
        assert "temporary-full" in said
        assert str(full) in said
