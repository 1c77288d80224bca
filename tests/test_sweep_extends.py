"""Files that extend others: what they take over, what is told of a base, and the bounds.

The files are real ones; what is read goes through the same reader as `init`.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from sqlqueue import sweep_files
from sqlqueue.errors import ExperimentError, SweepError
from sqlqueue.plan.sweep import Sweep, load
from sqlqueue.plan.task import Experiment, Parameter
from sqlqueue.sweep_files import MAX_BASES, MAX_DEPTH, read_files
from support import Cli

DECLARED = {
    "m:f": Experiment(
        "m:f",
        (
            Parameter("lr", "float", 0.1),
            Parameter("depth", "int", 1),
            Parameter("seed", "int", 42),
            Parameter("optimizer", default=None),
        ),
    ),
    "m:g": Experiment("m:g", (Parameter("alpha", "float", 1.0), Parameter("seed", "int", 1))),
}


def lookup(name: str) -> Experiment:
    if name in DECLARED:
        return DECLARED[name]
    raise ExperimentError(f"no experiment {name!r}")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**files: str) -> None:
    for name, text in files.items():
        path = Path(f"{name.replace('__', '/')}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def loaded(*names: str) -> Sweep:
    texts, troubles = read_files([Path(f"{name}.yaml") for name in names])
    assert troubles == []
    return load(texts, lookup)


def told(*names: str) -> list[str]:
    """What is wrong, as `init` tells it."""
    texts, troubles = read_files([Path(f"{name}.yaml") for name in names])
    try:
        load(texts, lookup)
    except SweepError as error:
        troubles += error.message.split("\n")
    assert all("\n" not in each for each in troubles)
    return troubles


def cells(found: Sweep, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(task.parameters[name] for name in names) for task in found.tasks()]


BASE = "defaults: {output_dir: r, experiment: 'm:f', lr: 0.5, priority: 3}\nseeds: [1, 2]\n"
PHASE = "x: {combinations: {depth: [1, 2]}}\n"


def test_defaults_and_seeds_are_taken_over() -> None:
    write(base=BASE, a="extends: base.yaml\n" + PHASE)
    found = loaded("a")
    assert cells(found, "seed", "depth", "lr") == [(1, 1, 0.5), (1, 2, 0.5), (2, 1, 0.5),
                                                   (2, 2, 0.5)]  # fmt: skip
    assert {(task.output_dir, task.priority) for task in found.tasks()} == {("r", 3)}


def test_a_file_wins_over_its_bases_and_later_ones_over_earlier() -> None:
    write(
        base=BASE,
        more="defaults: {lr: 0.25, depth: 7}\nseeds: [3]\n",
        a="extends: [base.yaml, more.yaml]\ny: {combinations: {optimizer: 1}}\n",
        b="extends: [more.yaml, base.yaml]\ndefaults: {depth: 8}\nseeds: range(9, 10)\n"
        "z: {combinations: {optimizer: 1}}\n",
    )
    assert cells(loaded("a"), "seed", "lr", "depth") == [(3, 0.25, 7)]
    assert cells(loaded("b"), "seed", "lr", "depth") == [(9, 0.5, 8)]


def test_bases_extend_others_and_names_are_relative_to_who_says_them() -> None:
    write(
        common__top="defaults: {output_dir: r, experiment: 'm:f', lr: 1, depth: 1}\n",
        common__middle="extends: top.yaml\ndefaults: {depth: 2}\n",
        figures__a=f"extends: ../common/middle.yaml\n{PHASE.replace('depth', 'seed')}",
    )
    assert cells(loaded("figures/a"), "lr", "depth", "seed") == [(1.0, 2, 1), (1.0, 2, 2)]
    write(figures__b=f"extends: {Path.cwd()}/common/middle.yaml\n{PHASE}")
    assert loaded("figures/b").count == 2


def test_a_base_of_two_bases_counts_where_it_first_stands() -> None:
    write(
        base=BASE,
        left="extends: base.yaml\ndefaults: {lr: 7}\n",
        right="extends: base.yaml\ndefaults: {depth: 8}\n",
        a="extends: [left.yaml, right.yaml]\nx: {combinations: {seed: 1}}\n",
    )
    assert cells(loaded("a"), "lr", "depth") == [(7.0, 8)]


def test_a_base_that_is_named_too_needs_no_phase() -> None:
    write(base=BASE, a="extends: ./base.yaml\n" + PHASE)
    for names in (("a", "base"), ("base", "a")):
        assert loaded(*names).count == 4
    assert told("base") == [
        "base.yaml:1: found no phase, expected at least one: a name, with `combinations` below it"
    ]


def test_phases_of_a_base_are_not_taken_over() -> None:
    write(base=BASE + PHASE, a="extends: base.yaml\ny: {combinations: {lr: 1}}\n")
    assert [(each.name, each.count) for each in loaded("a").phases] == [("y", 2)]
    assert [each.name for each in loaded("base", "a").phases] == ["x", "y"]


def test_entries_and_wholes_of_mappings() -> None:
    write(
        base="defaults: {output_dir: r, experiment: 'm:f', optimizer: {name: adam, lr: 1}}\n",
        dots="extends: base.yaml\ndefaults: {optimizer.lr: 2}\n",
        a="extends: dots.yaml\nx: {combinations: {seed: 1}}\n",
        b="extends: dots.yaml\ndefaults: {optimizer: {name: sgd}}\nx: {combinations: {seed: 1}}\n",
    )
    assert cells(loaded("a"), "optimizer.name", "optimizer.lr") == [("adam", 2)]
    (task,) = loaded("b").tasks()
    assert {k: v for k, v in task.parameters.items() if "." in k} == {"optimizer.name": "sgd"}


# --- what is wrong with a base ------------------------------------------------------------


def test_a_problem_of_a_base_is_told_once_with_its_own_place() -> None:
    write(
        base="defaults:\n  output_dir: r\n  experiment: 'm:f'\n  lr: fast\n  dept: 3\n",
        a="extends: base.yaml\n" + PHASE,
        b="extends: base.yaml\n" + PHASE.replace("x:", "y:"),
    )
    assert told("a", "b") == [
        "base.yaml:4: defaults, key 'lr': found the text \"fast\", expected a number",
        "base.yaml:5: defaults, key 'dept': unknown parameter of experiment 'm:f'; correct or "
        "remove it (did you mean 'depth'?)",
    ]


def test_a_default_of_a_base_is_for_any_of_the_files() -> None:
    write(
        base="defaults: {output_dir: r, alpha: 2, lr: 3}\n",
        a="extends: base.yaml\ndefaults: {experiment: 'm:f'}\n" + PHASE,
        b="extends: base.yaml\ndefaults: {experiment: 'm:g'}\ny: {combinations: {seed: 1}}\n",
    )
    assert loaded("a", "b").count == 3
    assert "base.yaml:1: defaults, key 'alpha': unknown parameter" in told("a")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: nope.yaml\n", r"a\.yaml:1: key 'extends': no such file: nope\.yaml; name it"),
        ("\nextends:\n  - base.yaml\n  - nope.yaml\n", r"a\.yaml:4: key 'extends': no such file"),
        ("extends: .\n", r"a\.yaml:1: key 'extends': \.: is a folder"),
        ("extends: a.yaml\n", r"a\.yaml:1: key 'extends': goes in a circle: a\.yaml -> a\.yaml"),
        ("extends: c.yaml\n", r"c\.yaml:1: key 'extends': goes in a circle: a\.yaml -> c\.yaml ->"),
        ("extends: pipe\n", r"a\.yaml:1: key 'extends': pipe: is a pipe or a device"),
        ("extends: 5\n", r"a\.yaml:1: key 'extends': found the number 5, expected the name of a"),
        ("extends: []\n", r"a\.yaml:1: key 'extends': found an empty list, expected the name"),
        ("extends: [base.yaml, {}]\n", r"a\.yaml:1: key 'extends': found a list, expected the"),
        ("extends:\n", r"a\.yaml:1: key 'extends': found nothing \(null\), expected the name"),
        ("extends: {combinations: {seed: 1}}\n", r"a\.yaml:1: key 'extends': found a mapping"),
        ("extends: bad.yaml\n", r"bad\.yaml:3: not YAML"),
        ("extends: latin.yaml\n", r"a\.yaml:1: key 'extends': latin\.yaml:1: not text in UTF-8"),
        ('extends: "a\\0b"\n', r"a\.yaml:1: key 'extends': no such file: ab"),
        ("exteds: base.yaml\n", r"a\.yaml:1: phase 'exteds': .*did you mean 'extends'"),
    ],
)  # fmt: skip
def test_what_cannot_be_extended_is_told_with_the_line_that_says_so(
    text: str, expected: str
) -> None:
    write(base=BASE, bad="defaults:\n  a: [\n", c="extends: a.yaml\n")
    Path("latin.yaml").write_bytes(b"\xff")
    os.mkfifo("pipe")
    write(a=text + "y:\n  output_dir: r\n  experiment: 'm:f'\n  combinations: {seed: 1}\n")
    found = told("a")
    assert len(found) == 1, found
    assert re.match(expected, found[0]), found


# --- bounds -------------------------------------------------------------------------------


def test_depth_is_bounded() -> None:
    write(**{f"f{n}": f"extends: f{n + 1}.yaml\n{PHASE}" for n in range(MAX_DEPTH + 2)})
    found = told("f0")
    assert f"more than {MAX_DEPTH} steps" in found[0]
    assert found[0].startswith(f"f{MAX_DEPTH}.yaml:1: ")


def test_the_number_of_files_is_bounded_and_shared_ones_count_once() -> None:
    """Each file extends the next two in two ways: 2**19 ways, few files."""
    write(
        **{f"f{n}": f"extends: [f{n + 1}.yaml, ./f{n + 1}.yaml, f{n + 2}.yaml]\n{PHASE}"
           for n in range(MAX_DEPTH - 2)},
        **{f"f{MAX_DEPTH - 2}": BASE, f"f{MAX_DEPTH - 1}": BASE},
    )  # fmt: skip
    begun = time.perf_counter()
    assert loaded("f0").count == 4
    assert time.perf_counter() - begun < 10
    names = [f"b{n}" for n in range(MAX_BASES + 5)]
    write(**dict.fromkeys(names, BASE))
    write(a=f"extends: [{', '.join(f'{name}.yaml' for name in names)}]\n{PHASE}")
    found = told("a")
    assert len(found) == 1
    assert f"more than {MAX_BASES} files" in found[0]


def test_the_size_of_all_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_files, "MAX_FILE_BYTES", 1 << 20)
    half = "# " + "x" * (700 << 10) + "\n"
    write(base=BASE + half, more=half + BASE, last=BASE,
          a=f"extends: [base.yaml, more.yaml, last.yaml]\n{PHASE}")  # fmt: skip
    assert told("a")[0] == ("a.yaml:1: key 'extends': together longer than 1 MiB; not a sweep file")
    write(one=BASE + half * 2, b=f"extends: one.yaml\n{PHASE}")
    assert "one.yaml: longer than 1 MiB" in told("b")[0]


def test_tags_and_bombs_in_a_base_are_refused() -> None:
    bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{y}: &{y} [{','.join([f'*{x}'] * 10)}]\n" for x, y in zip("abcdef", "bcdefg", strict=True)
    )
    write(bomb=bomb, tag="defaults: !!python/name:os.system\n",
          a="extends: [bomb.yaml, tag.yaml]\n" + PHASE)  # fmt: skip
    found = told("a")
    assert any(each.startswith("bomb.yaml:6: more than") for each in found)
    assert any(each.startswith("tag.yaml:1: ") and "found the tag" in each for each in found)


# --- the commands -------------------------------------------------------------------------


def test_every_command_reads_the_bases(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(
        "def measure(seed: int, optimizer: dict):\n    return {'sum': seed + optimizer['lr']}\n"
    )
    write(
        configs__base="defaults: {output_dir: results, experiment: 'small:measure',\n"
        "           optimizer: {name: adam, lr: 1}}\nseeds: range(2)\n",
        configs__a="extends: base.yaml\nx: {combinations: {optimizer.lr: [2, 3]}}\n",
    )
    files = ("configs/a.yaml", "configs/base.yaml")
    assert "4 new tasks" in cli("init", "--dry-run", *files).stdout
    assert "4 new tasks" in cli("init", *files).stdout
    (tmp_path / ".sqlqueue" / "queue.db").unlink()
    assert "4 tasks, 0 completed" in cli("recover", *files).stdout
    (tmp_path / "configs" / "base.yaml").unlink()
    again = cli("init", "configs/a.yaml")
    assert again.returncode == 2
    assert "configs/a.yaml:1: key 'extends': no such file: configs/base.yaml" in again.stderr
