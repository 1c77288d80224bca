"""The benchmarks run, all of them, and their page says what was measured; no figure is judged."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import goals, large
from benchmarks.bench_queue import bench_queue
from benchmarks.causes import CAUSES
from benchmarks.measure import Figures, Series, short, table
from source import REPOSITORY
from sqlqueue.home import Home
from sqlqueue.lifecycle import State
from sqlqueue.store import audit, engine, pace
from support import environment

SECTIONS = ["Goals", "Results per second", "Whole tasks, and the peers", "Large sweeps",
            "From start to end of a command", "Rounds of training",
            "What did not help"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quick_run_writes_the_whole_page(tmp_path: Path) -> None:
    target, kept = tmp_path / "page.md", tmp_path / "figures.json"
    options = ["--quick", "--output", str(target), "--folder", str(tmp_path), "--keep", str(kept)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=REPOSITORY, env=environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [each for each in headings if not each.startswith("A queue of")] == SECTIONS
    assert len(headings) == len(SECTIONS) + 1
    assert all(f"\n| {goal.what} | " in text for goal in goals.GOALS)
    assert str(tmp_path) not in text
    assert set(tmp_path.iterdir()) == {target, kept}
    assert Figures.load(kept.read_text()).has("submit/64", "million/ready_seconds")


def test_a_multiplied_queue_is_in_order_and_init_knows_its_cells(tmp_path: Path) -> None:
    plan = large.Plan(seeds=7, done=3, directories=3, widths=2)
    with bench_queue(tmp_path) as queue:
        large.make(queue, plan)
        home = Home(queue.home)
        assert list(audit.verify(home)) == []
        queue.run("init", large.SWEEP)
        assert list(audit.verify(home)) == []
        with engine.Reader(home) as reader:
            counts = reader.read(pace.states)
    assert counts == {State.COMPLETED: 18, State.PENDING: 24}


def test_a_cause_is_of_a_goal() -> None:
    assert CAUSES.keys() <= {goal.key for goal in goals.GOALS}
    assert len({goal.key for goal in goals.GOALS}) == len(goals.GOALS)


def test_a_missed_goal_says_why_and_one_that_is_reached_does_not() -> None:
    found = Figures()
    found.add("submit/bare", 1000, 1000)
    found.add("submit/1", 400, 600)
    found.add("submit/1000", 90, 80)
    found.add("submit/64", 100, 100)
    said = goals.judged(found)
    one, thousand = (next(line for line in said.splitlines() if line.startswith(f"| {what} |"))
                     for what in ("results, 1 client", "results, 1,000 clients"))  # fmt: skip
    assert one.endswith("| yes |")
    assert thousand.endswith("| **no** |")
    assert "* **results, 1,000 clients**: " in said
    assert "* **results, 1 client**" not in said


def test_ratios_are_taken_round_by_round() -> None:
    ratio = Series([10.0, 30.0, 20.0]).over(Series([1.0, 10.0, 4.0]))
    assert ratio.values == [10.0, 3.0, 5.0]
    assert ratio.text(" x") == "5 x (3 to 10)"


def test_figures_are_kept_and_read_back() -> None:
    found = Figures()
    found.add("a/b", 1.5, 2.0)
    assert Figures.load(found.dump()) == found
    assert not found.has("a/b", "a/c")
    assert found.has("a/") and not found.has("b/")


@pytest.mark.parametrize(
    ("value", "said"), [(0.01234, "0.0123"), (1.5, "1.5"), (99.96, "100"), (1234.5, "1,234")]
)
def test_figures_are_short(value: float, said: str) -> None:
    assert short(value) == said


def test_a_table_is_markdown() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
