"""Sync by sync: where in sqlqueue the disk is told to make something durable.

A `Site` is one of these places: the function that asks, what it asks the disk for, and the sync
that follows from it.  `SyncingDisk` notes which sites are reached; one that is to be left out is
answered and not done.  What is not here: what becomes of results without it.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from power import NotingDisk, Platter

import sqlqueue

PACKAGE = str(Path(sqlqueue.__file__).parent)
SEAM = str(Path(PACKAGE) / "disk.py")


class Site(NamedTuple):
    """`asked`: the method of `Disk` that was called; `sync`: `fsync` or `fsync_dir`."""

    function: str
    asked: str
    sync: str

    def __str__(self) -> str:
        asked = "" if self.asked == self.sync else f" {self.asked}:"
        return f"{self.function}:{asked} {self.sync}"


def site(text: str) -> Site:
    """A site as it is written: `store/recovery.py _move: set_aside: fsync_dir`."""
    function, *asked, sync = text.split(": ")
    return Site(function, asked[0] if asked else sync, sync)


def here(sync: str) -> Site:
    """From which place in sqlqueue the sync that is about to happen comes."""
    asked = sync
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name, function = frame.f_code.co_filename, frame.f_code.co_name
        if name.startswith(PACKAGE) and name != SEAM:
            return Site(f"{Path(name).relative_to(PACKAGE)} {function}", asked, sync)
        if (name == SEAM or name.endswith("faults.py")) and hasattr(NotingDisk, function):
            asked = function
        frame = frame.f_back
    return Site("a scenario", asked, sync)


class SyncingDisk(NotingDisk):
    """Real disk calls, noted on a platter; the sync at one site is not done."""

    def __init__(self, platter: Platter, reached: Counter[Site], without: Site | None) -> None:
        super().__init__(platter)
        self.reached = reached
        self.without = without

    def fsync(self, fd: int) -> None:
        if self._is_done("fsync"):
            super().fsync(fd)

    def fsync_dir(self, path: Path) -> None:
        if self._is_done("fsync_dir"):
            super().fsync_dir(path)

    def _is_done(self, sync: str) -> bool:
        found = here(sync)
        self.reached[found] += 1
        return found != self.without
