"""Cells that sweep files share: each runs once, and its row is in every directory."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from typing import Any

import pytest
from acceptance import Study

WIDTHS = "width_factor"


def grid(widths: list[int], **more: Any) -> dict[str, Any]:
    return {"combinations": [{WIDTHS: widths}, {"seed": 42}], **more}


@pytest.mark.slow
def test_a_single_config_fills_its_directory_only(study: Study) -> None:
    study.run(study.write("one.yaml", "results_one", **grid([4])))
    (row,) = study.rows("results_one")
    assert (row["phase"], row["task_id"], row[WIDTHS]) == ("grid", "grid_0_42", "4")
    assert [path.parent.name for path in study.root.glob("*/final_results.csv")] == ["results_one"]
    assert study.runs() == ["4-42"]


def test_one_cell_in_two_configs_runs_once_for_the_same_row_in_both(study: Study) -> None:
    one = study.write("one.yaml", "results_one", **grid([4]))
    two = study.write("two.yaml", "results_two", **grid([4], project_name="another"))
    study.run(one, two)
    texts = [(study.root / name / "final_results.csv").read_bytes()
             for name in ("results_one", "results_two")]  # fmt: skip
    assert texts[0] == texts[1]
    assert texts[0].count(b"\n") == 2
    assert study.runs() == ["4-42"]


def test_partial_overlap_is_four_runs_and_six_rows(study: Study) -> None:
    one = study.write("one.yaml", "results_one", **grid([1, 4, 16]))
    two = study.write("two.yaml", "results_two", **grid([4, 16, 64]))
    study.run(one, two)
    assert study.widths("results_one") == [1, 4, 16]
    assert study.widths("results_two") == [4, 16, 64]
    assert Counter(study.runs()) == Counter(["1-42", "4-42", "16-42", "64-42"])
    shared = [{row["signature"]: row for row in study.rows(name) if row[WIDTHS] in ("4", "16")}
              for name in ("results_one", "results_two")]  # fmt: skip
    assert shared[0] == shared[1]
    assert study.totals() == {"completed": 4}


def test_a_second_init_adds_nothing(study: Study) -> None:
    files = [study.write("one.yaml", "results_one", **grid([1, 4, 16])),
             study.write("two.yaml", "results_two", **grid([4, 16, 64]))]  # fmt: skip
    first = study.init(*files)
    assert "4 new tasks" in first
    before = study.figures()
    assert "Nothing new" in study.init(*files)
    after = study.figures()
    assert {**after, "as_of": ""} == {**before, "as_of": ""}
    assert after["totals"]["total"] == 4


@pytest.mark.parametrize(
    "manager_runs", [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["beside a manager", "alone"],
)  # fmt: skip
def test_a_later_file_gets_completed_rows_before_init_returns(
    study: Study, manager_runs: bool
) -> None:
    study.run(study.write("one.yaml", "results_one", **grid([1, 4])))
    if manager_runs:
        study.manager.start()
    late = study.write("late.yaml", "results_late", **grid([4, 64]))
    study.init(late)
    assert study.widths("results_late") == [4]
    assert study.totals() == {"completed": 2, "pending": 1}
    if not manager_runs:
        study.manager.start()
    study.work()
    assert study.widths("results_late") == [4, 64]
    assert study.widths("results_one") == [1, 4]
    assert sorted(study.runs()) == ["1-42", "4-42", "64-42"]


def test_an_edited_file_adds_only_the_new_cells(study: Study) -> None:
    study.run(study.write("one.yaml", "results", **grid([1, 4])))
    study.run(study.write("one.yaml", "results", **grid([1, 4, 16])))
    assert study.widths("results") == [1, 4, 16]
    assert sorted(study.runs()) == ["1-42", "16-42", "4-42"]
    ids = [row["task_id"] for row in study.rows("results")]
    assert ids == ["grid_0_42", "grid_1_42", "grid_2_42"]


@pytest.mark.slow
def test_directories_spelled_differently_are_one(study: Study) -> None:
    (study.root / "results").mkdir()
    (study.root / "link").symlink_to("results")
    files = [study.write(f"{number}.yaml", spelled, **grid([4]))
             for number, spelled in enumerate(["results", "./results/", "link"])]  # fmt: skip
    study.run(*files)
    assert [row[WIDTHS] for row in study.rows("results")] == ["4"]
    assert len(study.figures()["directories"]) == 1


@pytest.mark.slow
def test_a_file_of_the_users_own_is_refused_named_and_left(study: Study) -> None:
    own = study.root / "results" / "final_results.csv"
    own.parent.mkdir()
    own.write_text("mine,and,only,mine\n1,2,3,4\n")
    sweep = study.write("one.yaml", "results", **grid([1]))
    done = study.cli("init", sweep)
    assert done.returncode == 2
    assert "results: has a final_results.csv" in done.stderr
    assert "--set-aside" in done.stderr
    assert own.read_text() == "mine,and,only,mine\n1,2,3,4\n"
    study.cli.ok("init", "--set-aside", sweep)
    kept = [path for path in own.parent.iterdir() if path.name.startswith("final_results")]
    assert any(path.read_text() == "mine,and,only,mine\n1,2,3,4\n" for path in kept)
    study.run(sweep)
    with own.open(newline="") as lines:
        assert len(list(csv.reader(lines))) == 2


@pytest.mark.parametrize(
    "manager_runs",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["beside a manager", "alone"],
)
def test_a_directory_that_was_removed_is_made_again(study: Study, manager_runs: bool) -> None:
    """By `init`, and, removed once more, by `verify --repair`."""
    one = study.write("one.yaml", "results_one", **grid([1, 4]))
    two = study.write("two.yaml", "deep/results_two", **grid([4]))
    study.run(one, two)
    if manager_runs:
        study.manager.start()
    before = (study.root / "deep/results_two/final_results.csv").read_bytes()
    for command in (["init", one, two], ["verify", "--repair"]):
        shutil.rmtree(study.root / "deep")
        study.cli.ok(*command)
        assert (study.root / "deep/results_two/final_results.csv").read_bytes() == before
        assert (study.root / "deep/results_two/.sqlqueue.json").exists()
    study.init(study.write("two.yaml", "deep/results_two", **grid([1, 4, 16])))
    if not manager_runs:
        study.manager.start()
    study.work()
    assert study.widths("deep/results_two") == [1, 4, 16]
