"""What a sweep file can do to who names it: bounded, never code, and no folder used unnamed.

What is told of each mistake is in `test_sweep_errors.py`; here, that nothing was executed,
written or used up meanwhile, by the real `init`.
"""

from __future__ import annotations

import csv
import os
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from needs import need

from sqlqueue.errors import SweepError
from sqlqueue.home import NAME
from sqlqueue.plan import bind, problems
from sqlqueue.plan.sweep import load
from sqlqueue.plan.task import Experiment, Parameter
from sqlqueue.sweep_files import MAX_FILE_BYTES, read_files
from support import Cli, ManagerProcess, sqlqueue_command

TOP = 'defaults: {output_dir: results, experiment: "small:measure"}\n'
MEMORY_BYTES = 1 << 31
SECONDS = 20

CODE = [
    "!!python/object/apply:os.system ['touch executed']",
    "!!python/object/new:subprocess.Popen [[touch, executed]]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object:small.measure {}",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch executed']",
    "!!js/function 'x'",
    "!include /etc/passwd",
]
BOMBS = {
    "aliases": "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)),
    "merges": "a0: &a0 {x: 1}\n"
    + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}\n" for n in range(1, 30)
    ),
    "depth": "x: " + "[" * 200_000 + "\n",
    "cells": TOP.replace("measure", "any")
    + "x:\n  combinations:\n"
    + "".join(f"    - p{n}: [{', '.join(map(str, range(10)))}]\n" for n in range(12)),
    "directories": 'defaults: {output_dir: "{p0}_{p1}_{p2}_{p3}_{p4}_{p5}", '
    + 'experiment: "small:any"}\nx:\n  combinations:\n'
    + "".join(f"    - p{n}: [{', '.join(map(str, range(10)))}]\n" for n in range(6)),
    "size": TOP + "# " + "x" * MAX_FILE_BYTES,
    "problems": TOP + "x:\n  combinations:\n" + "    - nonsense: 1\n" * 10_000,
}  # fmt: skip


REFUSED = {
    "aliases": "aliases written out", "merges": "more than", "depth": "nested deeper",
    "cells": "found 1000000000000 cells", "directories": "output directories", "size": "16 MiB",
    "problems": "more problems",
}  # fmt: skip


@pytest.fixture
def place(cli: Cli, tmp_path: Path) -> Cli:
    (tmp_path / "small.py").write_text("def measure(seed):\n    return {'value': seed}\n"
                                       "def any(**given):\n    return given\n")  # fmt: skip
    return cli


@pytest.mark.parametrize("tag", CODE, ids=lambda each: each.split()[0])
def test_a_tag_is_a_mistake_and_never_code(
    tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    in_a_list = f"{TOP}x:\n  combinations: {{seed: [{tag} ]}}\n"
    with pytest.raises(SweepError, match=r"file\.yaml:[0-9]+: .*found the tag"):
        load([("file.yaml", in_a_list)], lookup)
    for text in (f"{TOP}x: {tag}\n", f"{tag}\n", f"{TOP}? {tag}\n: 1\n"):
        with pytest.raises(SweepError, match=r"file\.yaml:[0-9]+: "):
            load([("file.yaml", text)], lookup)
    assert not list(tmp_path.iterdir())


def lookup(name: str) -> Experiment:
    return Experiment(name, (Parameter("seed", "int", 1),), open_ended=True)


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_would_explode_is_refused_in_little_time_and_memory(
    bomb: str, place: Cli, tmp_path: Path
) -> None:
    (tmp_path / "bomb.yaml").write_text(BOMBS[bomb])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        sqlqueue_command("init", "bomb.yaml"), cwd=tmp_path, env=place.environment,
        capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2, done.stderr[-2000:]
    assert REFUSED[bomb] in done.stderr
    assert "Traceback" not in done.stderr
    assert after.ru_utime - before.ru_utime < SECONDS
    assert len(done.stderr) < 1 << 20
    assert not (tmp_path / NAME).exists(), "nothing is written when anything is wrong"


def test_only_so_many_problems_are_told() -> None:
    text = TOP + "".join(f"p{n}: 5\n" for n in range(problems.MOST_TOLD + 50))
    with pytest.raises(SweepError) as caught:
        load([("file.yaml", text)], lookup)
    *_, last = told = caught.value.message.splitlines()
    assert len(told) == problems.MOST_TOLD + 1
    assert "and 50 more problems" in last


def test_as_many_directories_as_are_allowed_are_allowed() -> None:
    side = int(bind.MAX_DIRECTORIES**0.5)
    values = ", ".join(map(str, range(side)))
    text = 'defaults: {output_dir: "r_{a}_{b}", experiment: m}\nx:\n  combinations: '
    found = load([("file.yaml", f"{text}{{a: [{values}], b: [{values}]}}\n")], lookup)
    assert found.count == side * side
    with pytest.raises(SweepError, match="output directories"):
        load([("file.yaml", f"{text}{{a: [{values}], b: [{values}, x]}}\n")], lookup)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe.yaml"
        os.mkfifo(path)
    begun = time.monotonic()
    texts, troubles = read_files([path])
    assert texts == []
    assert "is a pipe or a device" in troubles[0]
    assert time.monotonic() - begun < 5


def test_folders_outside_are_named_before_anything_is_written_there(
    place: Cli, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Seen from outside of the process: the note is written before the first call that touches."""
    need(shutil.which("strace") is not None, "strace, to see what comes first")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "results"
    (tmp_path / "link").symlink_to(elsewhere.parent)
    (tmp_path / "x.yaml").write_text(
        TOP.replace("results", "link/results") + "x: {combinations: {seed: [1]}}\n"
    )
    trace = tmp_path / "trace"
    words = ["strace", "-f", "-qq", "-s", "300", "-e", "trace=write,mkdir,openat", "-e",
             "signal=none", "-o", str(trace), *sqlqueue_command("init", "x.yaml")]  # fmt: skip
    done = subprocess.run(words, cwd=tmp_path, env=place.environment, capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"output directories outside {tmp_path}: link/results" in done.stderr
    lines = trace.read_text(errors="replace").splitlines()
    told = first(lines, r"write\(2, \"note: output directories outside")
    where = f"({re.escape(str(elsewhere))}|link/results)"
    used = first(lines, rf"(mkdir\(.*{where}|openat\(.*{where}.*O_CREAT)")
    assert told < used
    assert (elsewhere / ".sqlqueue.json").exists()


def first(lines: list[str], pattern: str) -> int:
    return next(number for number, line in enumerate(lines) if re.search(pattern, line))


# --- cells that a spreadsheet would take for a formula ------------------------------------

FORMULAS = ["=1+1", '=HYPERLINK("http://x","y")', "+1+1", "-1+1", "@SUM(1)", "\t=1",
            "=cmd|'/c'!A1"]  # fmt: skip


def test_a_cell_is_what_was_measured_also_where_a_spreadsheet_sees_a_formula(
    small_queue: Cli, manager: ManagerProcess, tmp_path: Path
) -> None:
    """Decision 7: nothing is put in front of it, and nothing breaks its row."""
    result = {f"m{number}": text for number, text in enumerate(FORMULAS)} | {"loss": -0.5}
    for task in ("small_0_1", "small_1_2"):
        said = {"type": "submit_result", "task_id": task, "worker_id": "w", "result_data": result}
        assert manager.ask(said) == {"type": "ack"}
    with (tmp_path / "results" / "final_results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    frame = pd.read_csv(tmp_path / "results" / "final_results.csv")
    for number, text in enumerate(FORMULAS):
        assert [row[f"m{number}"] for row in rows] == [text, text]
        assert list(frame[f"m{number}"]) == [text, text]
    assert list(frame["loss"]) == [-0.5, -0.5]
    assert small_queue("verify").returncode == 0
