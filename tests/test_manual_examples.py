"""What the manual shows works: its sweep files load, its function can be declared and run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from source import REPOSITORY
from sqlqueue.experiments import Run, declare, load
from sqlqueue.plan import ranges, sweep
from sqlqueue.plan.shapes import PHASE_KEYS, TOP_KEYS
from sqlqueue.sweep_files import read_files

DOCS = REPOSITORY / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


FILE = re.compile(r"# ([\w.]+)\n")
COUNTED = re.compile(r"^([\w-]+): +# (\d+) cells$", re.MULTILINE)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder with every sweep file and program of the page, named as it says, or by number."""
    for language in ("yaml", "python"):
        for number, text in enumerate(blocks("SWEEPS.md", language)):
            named = FILE.match(text)
            (tmp_path / (named[1] if named else f"{number:02}.{language}")).write_text(text)
    return tmp_path


def test_every_sweep_of_the_page_has_as_many_cells_as_it_says(page: Path) -> None:
    counted = 0
    for path in sorted(set(page.glob("*.yaml")) - {page / "base.yaml"}):
        texts, troubles = read_files([path])
        assert troubles == []
        found = sweep.load(texts, lambda name: declare(name, page))
        said = {name: int(count) for name, count in COUNTED.findall(path.read_text())}
        assert {each.name: each.count for each in found.phases} == said, path.name
        assert sum(1 for _ in found.tasks()) == found.count
        counted += len(said)
    assert counted >= 14


def test_every_key_has_an_example_on_the_page() -> None:
    text = "".join(blocks("SWEEPS.md", "yaml"))
    keys = {*PHASE_KEYS, *TOP_KEYS, "if", "then"} - {"project_name"}
    assert keys - set(re.findall(r"\w+", text)) == set()
    assert set(re.findall(r"(range|linspace|logspace)\(", text)) >= {"range", "logspace"}


def test_zip_exclude_and_include_do_what_the_page_says(page: Path) -> None:
    text = next(each for each in blocks("SWEEPS.md", "yaml") if "exp2:" in each)
    found = sweep.load([("manual.yaml", text)], lambda name: declare(name, page))
    keys = ("model_type", "lr", "batch_size")
    assert [tuple(task.parameters[key] for key in keys) for task in found.tasks()] == [
        ("lr", 0.1, 32),
        ("cnn", 0.1, 32),
        ("cnn", 0.03, 32),
        ("cnn", 0.01, 32),
        ("cnn", 0.5, 512),
        ("cnn", 0.3, 512),
    ]


def test_the_ranges_of_the_page_are_these_values() -> None:
    text = (DOCS / "SWEEPS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+\(.*\))` \| ([\d., ]+) \|", text, re.MULTILINE)
    assert len(rows) == 6
    for spelled, listed in rows:
        found = ranges.read(spelled)
        assert found is not None
        assert found.values() == [float(each) for each in listed.split(", ")], spelled


def test_the_mappings_of_the_page_reach_the_function(page: Path) -> None:
    text = next(each for each in blocks("SWEEPS.md", "yaml") if "train:main" in each)
    found = sweep.load([("manual.yaml", text)], lambda name: declare(name, page))
    call = load("train:main", page)
    run = Run(page, "cpu", 0, lambda *_: None, lambda: False)
    losses = [call(dict(task.parameters), run)["loss"] for task in found.tasks()]
    assert losses == [0.1, 0.01, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.5, 0.1]
    assert found.output_dirs() == ["results/adam", "results/sgd"]


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
