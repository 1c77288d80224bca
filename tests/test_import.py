"""`import` through the real command line: files as people have them, beside a manager and without.

What is not here: which row fits which task (`test_import_rows.py`), what a manager does with rows
(`test_import_core.py`).
"""

from __future__ import annotations

import csv
import json
import math
import os
import pty
import random
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from acceptance import SECONDS, Study, heeding_ctrl_c, rows_of

from sqlqueue import given_csv
from sqlqueue.errors import UsageError
from sqlqueue.given_csv import GivenCsv
from support import sqlqueue_command, wait_until


@pytest.fixture
def heed_ctrl_c() -> Iterator[None]:
    yield from heeding_ctrl_c()


def grid(
    study: Study, seeds: int, widths: Sequence[int] = (1, 4), directory: str = "results",
    name: str = "grid.yaml",
) -> str:  # fmt: skip
    sweep = {"combinations": {"seed": list(range(seeds)), "width_factor": list(widths)}}
    return study.write(name, directory, phase=name.removesuffix(".yaml"), **sweep)


def write(study: Study, name: str, rows: Sequence[Sequence[Any]], **options: Any) -> Path:
    path = study.root / name
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        csv.writer(file, **options).writerows(rows)
    return path


def told(study: Study, *arguments: str, status: int = 0) -> dict[str, Any]:
    """What `import --json` says."""
    done = study.cli("import", *arguments, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {kind: count for kind, count in found["counts"].items() if count}


# --- a thousand rows ------------------------------------------------------------------------


def thousand(study: Study) -> tuple[Path, dict[tuple[int, int], tuple[str, str]]]:
    """A thousand rows of two sweeps that overlap, as an old script may have left them, and what was
    measured of each cell that is among them."""
    chance = random.Random(7)
    cells = [(seed, width) for seed in range(50) for width in range(20)]
    chance.shuffle(cells)
    measured = {
        cell: (repr(chance.random()), "nan" if chance.random() < 0.1 else repr(chance.random()))
        for cell in cells[:960]
    }
    header = ["", "loss", "Width Factor", "note", "accuracy", "seed", "model_type", "task_id"]
    rows: list[list[Any]] = []
    for number, ((seed, width), (accuracy, loss)) in enumerate(measured.items()):
        spelled = chance.choice([str(width), f"{width}.0", f" {width} ", f"+{width}"])
        rows.append([number, loss, spelled, "a, b", accuracy, f"{seed}", "cnn", "exp_1"])
    rows += [list(each) for each in rows[:20]]  # said twice
    rows += [[0, "0.5", 99, "", "0.5", 1, "cnn", ""] for _ in range(10)]  # of no task
    rows += [[0, "0.5", 1, "", "0.5", 60, "cnn", ""] for _ in range(4)]
    rows += [[0, "", 1, "", "", 1, "cnn", ""] for _ in range(3)]  # never computed
    rows += [[0, "0.125", rows[0][2], "", "0.125", rows[0][5], "cnn", ""]]  # contradicts the first
    rows += [[0, "0.5", 1], [0, "0.5", 1, "", "0.5", 1, "lr", ""]]  # cut short; another model
    return write(study, "old/final_results.csv", [header, *rows]), measured


def test_a_thousand_rows(study: Study) -> None:
    study.set_up(grid(study, 50, range(20)), grid(study, 30, range(20), "other", "other.yaml"))
    path, measured = thousand(study)
    options = ("old/final_results.csv", "--ignore", "note")
    looked = told(study, *options, "--dry-run", status=1)
    expected = {
        "adopted": 959, "duplicate": 19, "unmatched": 15, "empty": 3, "contradictory": 3,
        "malformed": 1,
    }  # fmt: skip
    assert counts(looked) == expected
    assert sum(expected.values()) == 1000
    assert study.totals() == {"pending": 1000}
    assert looked["files"][0]["parameters"]["Width Factor"] == "width_factor"
    assert looked["files"][0]["metrics"] == ["loss", "accuracy"]
    assert looked["files"][0]["left_out"] == {"dataset": ["mnist"]}
    whole = {each["line"]: each["why"] for each in looked["rows"]}
    assert len(whole) == 22
    assert whole[2] == "old/final_results.csv:999 has another result for the same task"

    before = path.read_bytes()
    done = told(study, *options, "--yes", "--report", "report.csv", status=1)
    assert counts(done) == expected
    assert path.read_bytes() == before
    assert study.totals() == {"completed": 959, "pending": 41}
    study.cli.ok("verify")
    assert_rows(study, measured, done)

    again = counts(told(study, *options, "--yes", status=1))
    kept = {kind: expected[kind] for kind in ("unmatched", "empty", "contradictory", "malformed")}
    assert again == {"there": 959 + 19, **kept}
    assert len(study.rows("results")) == 959


def assert_rows(
    study: Study, measured: dict[tuple[int, int], tuple[str, str]], done: dict[str, Any]
) -> None:
    """Every row that was adopted stands in both directories as it was measured, and is traced."""
    rows = {(int(e["seed"]), int(e["width_factor"])): e for e in study.rows("results")}
    assert len(rows) == 959
    first = next(iter(measured))
    assert rows.keys() == measured.keys() - {first}
    assert all((e["accuracy"], e["loss"]) == measured[cell] for cell, e in rows.items())
    assert any(math.isnan(float(each["loss"])) for each in rows.values())
    assert {each["dataset"] for each in rows.values()} == {"mnist"}
    others = [each for (seed, _), each in rows.items() if seed < 30]
    assert sorted(map(str, study.rows("other"))) == sorted(map(str, others))
    assert done["delivered"] == 959 + len(others)
    report = rows_of(study.root / "report.csv")
    assert len(report) == 1000
    task_ids = {each["task_id"] for each in report if each["kind"] == "adopted"}
    assert task_ids == {each["task_id"] for each in rows.values()}


def test_beside_a_manager_and_a_worker_does_the_rest(study: Study) -> None:
    study.set_up(grid(study, 4))
    write(study, "old.csv", [["seed", "width_factor", "acc"], *([n, 1, 0.1 * n] for n in range(4))])
    study.manager.start()
    assert counts(told(study, "old.csv", "--yes")) == {"adopted": 4}
    assert "Saved result for grid_0_0 to results/final_results.csv" in study.manager.said
    study.work()
    assert study.totals() == {"completed": 8}
    assert sorted(study.runs()) == [f"4-{seed}" for seed in range(4)], "what was there never ran"
    assert [each["acc"] for each in study.rows("results")[:4]] == [
        "0.0", "0.1", "0.2", "0.30000000000000004"
    ]  # fmt: skip


# --- where a file lay in a directory of ours --------------------------------------------------


def test_from_the_refusal_of_init_to_the_adopted_rows(study: Study) -> None:
    """The steps are those that the commands name."""
    own = write(study, "results/final_results.csv", [["seed", "width_factor", "acc"], [0, 1, 0.5]])
    before = own.read_bytes()
    sweep = grid(study, 2)
    refused = study.cli("init", sweep)
    assert refused.returncode == 2
    assert "`sqlqueue init --set-aside`" in refused.stderr
    assert "`sqlqueue import`" in refused.stderr
    said = study.cli.ok("init", "--set-aside", sweep)
    found = re.search(r"^to take their rows in: sqlqueue (import .*)$", said, re.MULTILINE)
    assert found, said
    words = shlex.split(found[1])
    study.cli.ok(*words, "--yes")
    assert [each["acc"] for each in study.rows("results")] == ["0.5"]
    assert (study.root / words[1]).read_bytes() == before
    refused = study.cli("import", "results/final_results.csv", "--yes")
    assert refused.returncode == 2
    assert "is written by this queue itself" in refused.stderr


def test_the_csv_of_another_queue_is_told_by_its_signatures(study: Study) -> None:
    """Whatever else its columns say: phases and ids are the other's."""
    study.set_up(grid(study, 2))
    study.manager.start()
    study.work()
    (study.root / "theirs.csv").write_bytes((study.root / "results/final_results.csv").read_bytes())
    other = study.root / "second"
    other.mkdir()
    (other / "trial.py").write_bytes((study.root / "trial.py").read_bytes())
    text = (study.root / "grid.yaml").read_text().replace('"grid"', '"renamed"')
    (other / "sweep.yaml").write_text(text.replace('"results"', '"here"'))
    home = ("--home", "second/.sqlqueue")
    study.cli.ok("init", "second/sweep.yaml", *home)
    found = told(study, "theirs.csv", "--yes", *home)
    assert counts(found) == {"adopted": 4}
    assert {each["phase"] for each in rows_of(other / "here" / "final_results.csv")} == {"renamed"}
    study.cli.ok("verify", *home)


# --- what a person says ---------------------------------------------------------------------


def test_it_asks_first(study: Study) -> None:
    study.set_up(grid(study, 2))
    write(study, "old.csv", [["seed", "width_factor", "acc"], [0, 1, 0.5], [0, 9, 0.5]])
    refused = study.cli("import", "old.csv")
    assert refused.returncode == 2
    assert "Would be adopted: 1 row of 2" in refused.stdout
    assert "adopt 1 row: say --yes" in refused.stderr
    assert asked(study, b"n\n") == 1
    assert study.totals() == {"pending": 4}
    assert asked(study, b"y\n") == 1, "one row was not taken"
    assert study.totals() == {"completed": 1, "pending": 3}
    assert study.cli("import", "old.csv").returncode == 1, "nothing to ask about"


def asked(study: Study, answer: bytes) -> int:
    """The exit status on a terminal where a person answers so."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        sqlqueue_command("import", "old.csv"), cwd=study.root, env=study.cli.environment,
        stdin=follower, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(follower)
        os.write(leader, answer)
        status = process.wait(SECONDS)
    os.close(leader)
    return status


def test_what_is_ambiguous_is_told_apart_by_words(study: Study) -> None:
    """A column that is missing may be made up for: the rows are those of some tasks."""
    study.set_up(grid(study, 2))
    write(study, "old.csv", [["Seed", "acc"], [0, 0.5], [1, 0.25]])
    said = study.cli("import", "old.csv", "--yes")
    assert said.returncode == 1
    assert "2 × 2 tasks fit; what tells them apart: width_factor (1, 4)" in said.stdout
    found = told(study, "old.csv", "--among", "width_factor=4", "--yes")
    assert counts(found) == {"adopted": 2}
    assert study.widths("results") == [4, 4]


def test_columns_by_other_names_and_numbers_that_were_rounded(study: Study) -> None:
    sweep = {"combinations": {"seed": [1], "width_factor": [1, 3]}}
    study.set_up(study.write("grid.yaml", "results", **sweep))
    write(study, "old.csv", [["w", "seed", "acc"], ["2.9999", 1, 0.5]])
    options = ("old.csv", "--rename", "w=width_factor")
    assert counts(told(study, *options, "--dry-run", status=1)) == {"unmatched": 1}
    assert "--tolerance" in study.cli(*("import", *options), "--dry-run").stdout
    assert counts(told(study, *options, "--tolerance", "1e-3", "--yes")) == {"adopted": 1}
    assert study.widths("results") == [3]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["none.csv"], "none.csv: no such file"),
        (["."], "is a folder; name the CSVs in it"),
        (["old.csv", "old.csv"], "old.csv: was named twice"),
        (["old.csv", "--rename", "lr"], "expected OLD=NEW"),
        (
            ["old.csv", "--rename", "sead=seed"],
            "column 'sead' (did you mean 'seed'?)",
        ),
        (["old.csv", "--ignore", "adc"], "no file has a column 'adc'"),
        (["old.csv", "--among", "phase=no"], "no phase is called 'no'"),
        (["old.csv", "--among", "seed=9"], "--among seed=9: no task is like that"),
        (["old.csv", "--report", "grid.yaml"], "grid.yaml is there already"),
        (["grid.yaml"], "grid.yaml: no column is a parameter of a task"),
        (["old.csv", "--tolerance", "2"], "found '2'"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(study: Study, options: list[str], named: str) -> None:
    study.set_up(grid(study, 1))
    write(study, "old.csv", [["seed", "acc", "width_factor"], [0, 0.5, 1]])
    done = study.cli("import", *options, "--yes")
    assert (done.returncode, named in done.stderr) == (2, True), done.stderr
    assert study.totals() == {"pending": 2}


def test_a_queue_without_tasks_says_what_comes_first(study: Study) -> None:
    write(study, "old.csv", [["seed", "acc"], [0, 0.5]])
    done = study.cli("import", "old.csv")
    assert done.returncode == 2
    assert "`sqlqueue init FILES...`" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("heed_ctrl_c")
def test_interrupted_it_does_the_rest_when_it_is_run_again(study: Study) -> None:
    study.set_up(grid(study, 2000))
    rows = [[seed, width, seed / 7] for seed in range(2000) for width in (1, 4)]
    write(study, "old.csv", [["seed", "width_factor", "acc"], *rows])
    process = study.cli.start("import", "old.csv", "--yes", output=study.output)
    file = study.root / "results" / "final_results.csv"
    wait_until(lambda: file.exists() and file.stat().st_size > 1000, SECONDS, "the first rows")
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 130
    found = re.search(r"interrupted: ([\d,]+) rows adopted", study.said)
    assert found, study.said
    done = int(found[1].replace(",", ""))
    assert study.totals() == {"completed": done, "pending": 4000 - done}
    assert counts(told(study, "old.csv", "--yes")) == {"adopted": 4000 - done, "there": done}
    assert len(study.rows("results")) == 4000


# --- files ----------------------------------------------------------------------------------


def read(path: Path, worth: str = "seed") -> tuple[list[str], list[tuple[int, list[str], str]]]:
    """The header, and every row with its line and what is wrong with it."""
    given = GivenCsv(path)
    try:
        given.settle(lambda header: sum(each == worth for each in header))
        return given.header, [(e.number, e.cells, e.trouble) for e in given.rows(lambda _: None)]
    finally:
        given.close()


ROWS = [["seed", "note", "acc"], ["1", "a, b", "0.5"], ["2", 'say "x"', "nan"], ["3", "", ""]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_dialect_is_read_the_same(
    tmp_path: Path, separator: str, end: str, encoding: str
) -> None:
    path = tmp_path / "old.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=separator, lineterminator=end).writerows(ROWS)
    header, rows = read(path)
    assert header == ROWS[0]
    assert [(number, cells) for number, cells, _ in rows] == list(enumerate(ROWS[1:], 2))
    assert [trouble for *_, trouble in rows] == [""] * 3


def test_what_is_no_row_is_told_by_its_line_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(
        b'seed,note,acc\n1,"two\nlines",0.5\n2,short\n\n,,\n3,"a"b,0.5\n4,\xe9,0.5\nseed,note,acc\n'
        b"5,fine,0.5\n6,cut,0."
    )
    _, rows = read(path)
    troubles = {number: trouble for number, _, trouble in rows if trouble}
    assert [number for number, *_ in rows] == [2, 4, 7, 8, 10, 11]
    assert "has 2 cells, the header has 3" in troubles[4]
    assert "is no row" in troubles[7]
    assert "UTF-8" in troubles[8]
    assert "has no line end" in troubles[11]
    assert len(troubles) == 4


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"", "is empty"), (b" \n", "is empty"), (b"PK\x03\x04...", "spreadsheet"),
        (b"\x1f\x8b..", "compressed"), (b"a\0b", "not a text"), (b"\xe9,a\n1,2\n", "UTF-8"),
        (b",,\n1,2,3\n", "names no column"), (b"SQLite format 3\0", "database"),
    ],
)  # fmt: skip
def test_what_is_no_csv_is_refused(tmp_path: Path, data: bytes, wrong: str) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=wrong):
        read(path)


def test_a_pipe_is_refused_and_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "old.csv")
    with pytest.raises(UsageError, match="no ordinary file"):
        read(tmp_path / "old.csv")


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text("seed,acc\n1,2\n")
    given = GivenCsv(path)
    given.refuse_changed()
    path.write_text("seed,acc\n1,2\n3,4\n")
    with pytest.raises(UsageError, match="was changed while it was read"):
        given.refuse_changed()
    given.close()


def test_a_cell_may_be_as_long_as_a_message(tmp_path: Path) -> None:
    assert csv.field_size_limit() == given_csv.MAX_MESSAGE_BYTES
    path = tmp_path / "old.csv"
    path.write_text(f"seed,note\n1,{'x' * 200_000}\n")
    assert read(path)[1][0][2] == ""
