"""The migrations travel in the wheel: what is installed from one makes its own database."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from source import REPOSITORY
from support import environment

BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
OPEN = """
import pathlib, sys
from sqlqueue.home import Home
from sqlqueue.store import engine
home = Home(pathlib.Path(sys.argv[1]))
home.create()
engine.open_writer(home).dispose()
engine.open_reader(home).dispose()
print(engine.migrations_folder())
"""


def python(program: str, argument: Path, folder: Path, **extra: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, str(argument)],
        cwd=folder,
        env=environment(folder / "state", extra) if extra else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """What an installation puts into site-packages."""
    python(BUILD, tmp_path, REPOSITORY)
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as content:
        content.extractall(target)
    return target


def test_a_wheel_finds_its_own_migrations(unpacked: Path, tmp_path: Path) -> None:
    found = python(OPEN, tmp_path / "home", tmp_path, PYTHONPATH=str(unpacked))
    assert found == str(unpacked / "sqlqueue" / "migrations")
    ours = {each.name for each in (REPOSITORY / "migrations" / "versions").glob("*.py")}
    assert {each.name for each in Path(found, "versions").glob("*.py")} == ours
    assert (unpacked / "sqlqueue" / "py.typed").exists()
