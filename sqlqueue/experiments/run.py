"""The handle that an experiment gets when it takes an argument `run`.

Says where it may keep files, on which device it runs and with which seed; takes progress,
and tells when it should stop.  What is not here: how progress travels or how often (the
receiver thins it out), and who asks for the stop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

Report = Callable[[float, float | None, dict[str, Any]], None]


class Run:
    """One attempt, as the experiment sees it."""

    def __init__(
        self,
        directory: Path,
        device: str,
        seed: int | None,
        report: Report,
        stop: Callable[[], bool],
    ) -> None:
        self.device = device
        """`cpu`, or `cuda:0`: the one GPU that this attempt may use."""
        self.seed = seed
        """The cell's `seed`, or None when it has none."""
        self._directory = directory
        self._report = report
        self._stop = stop

    def __repr__(self) -> str:
        return f"Run(directory={str(self._directory)!r}, device={self.device!r}, seed={self.seed})"

    @cached_property
    def directory(self) -> Path:
        """A folder of this cell's own, kept across attempts: checkpoints belong here."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._directory

    def report(self, step: float, total: float | None = None, **metrics: Any) -> None:
        """Says how far it is (`step` of `total`) and what it measured so far."""
        self._report(step, total, metrics)

    def should_stop(self) -> bool:
        """Whether to save a checkpoint and return soon: the attempt will be taken back."""
        return self._stop()
