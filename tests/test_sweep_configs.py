"""The sweep files that come with the repository: they load, overlap as they say, and stay small.

Uses the built-in's real declaration.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from sqlqueue.experiments import declare
from sqlqueue.plan.sweep import Sweep, load

CONFIGS = Path(__file__).parent.parent / "configs"


def sweep(folder: str, *names: str) -> Sweep:
    files = [CONFIGS / folder / name for name in names] or sorted((CONFIGS / folder).iterdir())
    texts = [(path.name, path.read_text()) for path in files]
    return load(texts, lambda name: declare(name, CONFIGS.parent))


def cells(found: Sweep) -> set[str]:
    return {task.signature for task in found.tasks()}


def test_the_quick_start_is_three_overlapping_files_and_few_runs() -> None:
    found = sweep("quickstart")
    assert len(list((CONFIGS / "quickstart").iterdir())) == 3
    assert len(cells(found)) == 14
    assert found.count == 18
    assert {task.parameters["dataset"] for task in found.tasks()} == {"digits"}
    assert found.output_dirs() == [
        "results/attack", "results/defence_fedavg", "results/defence_median", "results/width",
    ]  # fmt: skip


def test_two_files_of_the_quick_start_share_cells_and_one_does_not() -> None:
    width, attack, defence = (
        cells(sweep("quickstart", f"{name}.yaml")) for name in ("width", "attack", "defence")
    )
    assert len(width & attack) == 4
    assert not defence & (width | attack)


def test_the_study_overlaps_as_its_comments_say() -> None:
    figures = [cells(sweep("study", path.name)) for path in sorted((CONFIGS / "study").iterdir())]
    assert len(figures) == 5
    assert all(figure & other for figure in figures for other in figures)
    baseline = set.intersection(*figures)
    assert len(baseline) == 2 * 2 * 3  # data sets, poisoned or not, seeds


def test_the_study_has_no_cell_twice_in_a_phase_and_the_counts_add_up() -> None:
    found = sweep("study")
    by_phase: dict[str, list[str]] = defaultdict(list)
    for task in found.tasks():
        by_phase[task.phase].append(task.signature)
    assert {name: len(each) for name, each in by_phase.items()} == {
        phase.name: phase.count for phase in found.phases
    }
    assert all(len(set(each)) == len(each) for each in by_phase.values())
    assert len(cells(found)) < found.count


@pytest.mark.parametrize("folder", ["quickstart", "study"])
def test_directories_are_those_of_the_cells(folder: str) -> None:
    found = sweep(folder)
    assert found.output_dirs() == list(dict.fromkeys(task.output_dir for task in found.tasks()))
