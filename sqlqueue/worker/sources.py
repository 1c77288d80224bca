"""Which source files a process has loaded from the root, and whether they changed since.

A stamp is taken when a module is first seen.  A file that is younger than the moment
from which modules were loaded may have changed after it was read: its stamp matches
nothing, so that the process is replaced rather than trusted.  What is not here: files of
installed packages, which do not change under a running worker.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

from sqlqueue.experiments.importing import loaded_files

Stamp = tuple[int, int]
UNKNOWN: Final[Stamp] = (-1, -1)
CLOCK_SLACK_NS: Final = 10_000_000
"""File times come from the kernel's coarse clock, which lags by up to a tick."""


def stamp(path: str) -> Stamp:
    """When the file changed and how long it is."""
    try:
        found = Path(path).stat()
    except OSError:
        return UNKNOWN
    return found.st_mtime_ns, found.st_size


def changed(known: dict[str, Stamp]) -> list[str]:
    """The files that are no longer what they were."""
    return [path for path, before in known.items() if before == UNKNOWN or stamp(path) != before]


class Sources:
    """The stamps of this process's modules under a root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, Stamp] = {}
        self._since_ns = time.time_ns()
        self._modules: tuple[int, str] = (0, "")
        """How many there were at the last look, and the last of them to be imported."""

    def look(self) -> dict[str, Stamp]:
        """Takes in what was imported since the last look; returns all."""
        modules = len(sys.modules), next(reversed(sys.modules), "")
        new = self._loaded() - self._seen.keys() if modules != self._modules else set[str]()
        self._modules = modules
        for path in new:
            found = stamp(path)
            young = found[0] >= self._since_ns - CLOCK_SLACK_NS
            self._seen[path] = UNKNOWN if young else found
        self._since_ns = time.time_ns()
        return dict(self._seen)

    def _loaded(self) -> set[str]:
        return {str(each) for each in loaded_files(self._root)}
