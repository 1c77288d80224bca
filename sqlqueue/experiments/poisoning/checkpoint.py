"""A cell's progress on disk, so that an attempt goes on where the one before was broken off.

The random streams belong to rounds, so a run that goes on gives the same result, to the last
bit, as one that was never interrupted; for that a checkpoint counts only for the device and
the torch that wrote it.  One that cannot be read is as good as none.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from sqlqueue.experiments.poisoning.progress import Progress

FORMAT: Final = 2
"""Another one too when the same cell is computed otherwise: 2, clients train together."""
SAVE_EVERY_SECONDS: Final = 30.0
_BEST: Final = ("loss", "round", "waited", "weights")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file; `device` is part of what makes a checkpoint fit."""

    path: Path
    device: torch.device

    def save(self, progress: Progress) -> None:
        """Replaces the checkpoint; a disk that refuses costs a warning, not the run."""
        content = {
            "fits": self._fits(progress),
            "round": progress.round,
            "seconds": progress.seconds,
            "weights": progress.weights,
            "best": {name: getattr(progress.best, name) for name in _BEST},
        }
        beside = self.path.with_name(self.path.name + ".tmp")
        try:
            torch.save(content, beside)
            os.replace(beside, self.path)
        except (OSError, RuntimeError) as error:
            print(f"warning: no checkpoint: {self.path}: {error}", file=sys.stderr)

    def restore(self, progress: Progress) -> None:
        """Brings `progress` to what was saved, if there is something that fits."""
        content = self._content()
        if content is None or content["fits"] != self._fits(progress):
            return
        for name in _BEST:
            setattr(progress.best, name, content["best"][name])
        progress.weights, progress.round = content["weights"], content["round"]
        progress.seconds = content["seconds"]

    def remove(self) -> None:
        """The cell is done: when it is run once more, it is run from the start."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _fits(self, progress: Progress) -> list[Any]:
        return [FORMAT, str(torch.__version__), str(self.device), len(progress.weights)]

    def _content(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location=self.device, weights_only=True)
        except Exception as error:  # a damaged file can raise anything at all
            print(f"note: {self.path} is not readable and not used: {error}", file=sys.stderr)
            return None
        return found if isinstance(found, dict) and "fits" in found else None


class Saver:
    """Saves now and then: a cell of seconds never, a long one so that little is lost."""

    def __init__(self, checkpoint: Checkpoint, progress: Progress, started: float) -> None:
        """`started`: on the clock `time.perf_counter`, earlier attempts taken off."""
        self._checkpoint = checkpoint
        self._progress = progress
        self._started = started
        self._saved = time.perf_counter()

    def round_done(self) -> None:
        now = time.perf_counter()
        self._progress.seconds = now - self._started
        if now - self._saved > SAVE_EVERY_SECONDS:
            self.save()

    def save(self) -> None:
        self._checkpoint.save(self._progress)
        self._saved = time.perf_counter()
