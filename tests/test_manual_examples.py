"""What the manual shows works: its sweep files load, its function can be declared and run."""

from __future__ import annotations

import json
import re
from pathlib import Path

from source import REPOSITORY
from sqlqueue.experiments import Run, declare, load
from sqlqueue.plan import sweep

DOCS = REPOSITORY / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def cells(text: str) -> dict[str, int]:
    """The phases of a sweep file, and how many cells each has."""
    found = sweep.load([("manual.yaml", text)], lambda name: declare(name, REPOSITORY))
    return {each.name: each.count for each in found.phases}


def test_the_first_sweep_has_as_many_cells_as_the_page_says() -> None:
    first, _ = blocks("SWEEPS.md", "yaml")
    assert cells(first) == {"exp1_vary_width": 36}


def test_zip_exclude_and_include_do_what_the_page_says() -> None:
    _, second = blocks("SWEEPS.md", "yaml")
    text = "defaults: {output_dir: results}\n" + second
    found = sweep.load([("manual.yaml", text)], lambda name: declare(name, REPOSITORY))
    keys = ("model_type", "lr", "batch_size")
    assert [tuple(task.parameters[key] for key in keys) for task in found.tasks()] == [
        ("lr", 0.1, 128),
        ("cnn", 0.1, 128),
        ("cnn", 0.01, 32),
        ("cnn", 0.5, 512),
    ]


def test_the_function_of_the_page_declares_and_runs(tmp_path: Path) -> None:
    program, _script = blocks("EXPERIMENTS.md", "python")
    (tmp_path / "manual_train.py").write_text(program)
    declared = declare("manual_train:main", tmp_path)
    assert [each.name for each in declared.parameters if each.runtime_only] == ["workers"]
    reports: list[float] = []
    run = Run(tmp_path, "cpu", 0, lambda step, *_: reports.append(step), lambda: False)
    cell = {each.name: each.default for each in declared.parameters} | {"width": 4}
    metrics = load("manual_train:main", tmp_path)(cell, run)
    assert metrics["model"] == {"parameters": 64}
    assert reports == list(range(1, 11))


def test_the_sweeps_of_the_page_of_experiments_load(tmp_path: Path) -> None:
    """Those of the function with the function that the page shows; all parts of `README.md` too."""
    program, _script = blocks("EXPERIMENTS.md", "python")
    (tmp_path / "train.py").write_text(program)
    found = [
        sweep.load([("manual.yaml", text)], lambda named: declare(named, tmp_path))
        for text in [*blocks("EXPERIMENTS.md", "yaml"), *blocks("../README.md", "yaml")[1:]]
    ]
    assert [each.count for each in found] == [9, 6, 3, 4, 4, 9, 9]


def test_the_parameters_of_the_built_in_are_listed_with_their_defaults() -> None:
    text = (DOCS / "EXPERIMENTS.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", text, re.MULTILINE))
    declared = {
        each.name: each.default if isinstance(each.default, str) else json.dumps(each.default)
        for each in declare("poisoning", REPOSITORY).parameters
    }
    assert listed == declared
