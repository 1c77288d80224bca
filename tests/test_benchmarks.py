"""The benchmarks run, all of them, and their page says what was measured; no figure is judged."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure import Series, short, table
from benchmarks.training import QUICK_SHAPES, SHAPES
from source import REPOSITORY
from support import environment


@pytest.mark.slow
def test_a_quick_run_writes_the_whole_page(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    options = ["--quick", "--output", str(target), "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=REPOSITORY, env=environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    kept = (REPOSITORY / "docs" / "PERFORMANCE.md").read_text()
    assert headings == re.findall(r"^## (.*)$", kept, re.MULTILINE)
    fewer = 4 + len(SHAPES) - len(QUICK_SHAPES)  # it has three sizes in two tables, all shapes
    assert text.count("\n| ") == kept.count("\n| ") - fewer
    assert str(tmp_path) not in text
    assert [path.name for path in tmp_path.glob("bench-*")] == []


def test_ratios_are_taken_round_by_round() -> None:
    ratio = Series([10.0, 30.0, 20.0]).over(Series([1.0, 10.0, 4.0]))
    assert ratio.values == [10.0, 3.0, 5.0]
    assert ratio.text(" x") == "5 x (3 to 10)"


@pytest.mark.parametrize(
    ("value", "said"), [(0.01234, "0.0123"), (1.5, "1.5"), (99.96, "100"), (1234.5, "1,234")]
)
def test_figures_are_short(value: float, said: str) -> None:
    assert short(value) == said


def test_a_table_is_markdown() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
