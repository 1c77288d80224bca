"""A researcher's week, replayed as docs/WEEK.md shows it: real commands, real training."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from source import REPOSITORY
from support import Cli, environment

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
FILES = sorted((REPOSITORY / "configs" / "week").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_week_goes_as_it_is_told(tmp_path: Path) -> None:
    """The script looks at every exit status, at what was said, and at the CSVs."""
    script = REPOSITORY / "tools" / "week.py"
    done = subprocess.run(
        [sys.executable, script, "--folder", tmp_path / "week"], text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(tmp_path / "state"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert [each for each in DAYS if f"## {each}" in done.stdout] == DAYS


def test_the_page_shows_every_day() -> None:
    page = (REPOSITORY / "docs" / "WEEK.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == DAYS
    assert "Traceback (most recent call last)" in page  # of the cells that found no memory
    assert "internal error" not in page


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_sweep_of_it_can_be_planned(cli: Cli, file: Path) -> None:
    said = cli.ok("init", "--dry-run", file)
    assert "new task" in said
