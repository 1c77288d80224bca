"""A root with two overlapping sweep files and an experiment that tests can hold.

`trial.py` is what runs; a task whose seed has a file `hold-<seed>` beside it waits until
the file is gone.  What is not here: fixtures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlqueue.home import NAME, Home
from support import Cli

TRIAL = """
import pathlib
import threading


def train(seed: int, width: int = 4, run=None):
    run.report(1, 2, loss=0.5)
    if width < 0:
        raise ValueError(f"width must not be {width}")
    pathlib.Path(f"began-{seed}").touch()
    while pathlib.Path(f"hold-{seed}").exists() and not run.should_stop():
        threading.Event().wait(0.02)
    return {"score": seed * width}
"""

SWEEP = """
defaults:
  experiment: "trial:train"
  output_dir: {directory}
{phase}:
  combinations:
    - seed: {seeds}
    - width: {widths}
"""


@dataclass(frozen=True)
class Place:
    """The folder, and the command line in it."""

    root: Path
    cli: Cli

    @property
    def home(self) -> Home:
        return Home(self.root / NAME)

    def sweep(
        self,
        name: str,
        directory: str,
        phase: str = "one",
        seeds: tuple[int, ...] = (1, 2),
        widths: tuple[int, ...] = (1, 4),
    ) -> str:
        """Writes a sweep file and returns its name."""
        text = SWEEP.format(
            directory=directory, phase=phase, seeds=list(seeds), widths=list(widths)
        )
        (self.root / name).write_text(text)
        return name

    def rows(self, directory: str) -> list[str]:
        """The lines below the header of a directory's CSV."""
        return (self.root / directory / "final_results.csv").read_text().splitlines()[1:]

    def hold(self, seed: int) -> Path:
        path = self.root / f"hold-{seed}"
        path.touch()
        return path

    def tree(self) -> dict[str, bytes | None]:
        """Every name below the root, with what stands in the files."""
        return {
            str(each.relative_to(self.root)): each.read_bytes() if each.is_file() else None
            for each in sorted(self.root.rglob("*"))
        }


def place(root: Path, cli: Cli) -> Place:
    """A place with the experiment in it."""
    (root / "trial.py").write_text(TRIAL)
    return Place(root, cli)
