"""Sync by sync: where in sqlqueue the disk is told to make something durable.

A `Site` is one of these places: the function that asks, what it asks the disk for, and the sync
that follows from it.  `SyncingDisk` notes which sites are reached; one that is to be left out is
answered and not done.  `sites` reads the sources for every one there is.  What is not here: what
becomes of results without it.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
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


# --- every site there is ------------------------------------------------------------------------

SYNCS = {"fsync", "fsync_dir"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sites() -> set[Site]:
    """Wherever sqlqueue names something of the disk, or of `os`, that syncs."""
    done = syncs_of_the_seam()
    return {
        found
        for path in Path(PACKAGE).rglob("*.py")
        if str(path) != SEAM
        for function in functions(path)
        for found in _sites_in(f"{path.relative_to(PACKAGE)} {function.name}", function, done)
    }


def functions(path: Path) -> Iterator[Function]:
    tree = ast.walk(ast.parse(path.read_text()))
    return (each for each in tree if isinstance(each, Function))


def _sites_in(name: str, function: Function, done: dict[str, set[str]]) -> Iterator[Site]:
    for each in ast.walk(function):
        if isinstance(each, ast.Attribute):
            of = ast.unparse(each.value)
            if "disk" in of.lower():
                yield from (Site(name, each.attr, sync) for sync in done.get(each.attr, ()))
            elif of == "os" and "sync" in each.attr:
                yield Site(name, each.attr, each.attr)


def syncs_of_the_seam() -> dict[str, set[str]]:
    """By method of `Disk`, which syncs follow from it."""
    calls = {each.name: set(_own_methods(each)) for each in functions(Path(SEAM))}

    def of(name: str) -> set[str]:
        if name in SYNCS:
            return {name}
        return set().union(*map(of, calls.get(name, ())))

    return {name: of(name) for name in calls}


def _own_methods(function: Function) -> Iterator[str]:
    for each in ast.walk(function):
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self":
            yield each.attr


# --- one left out ---------------------------------------------------------------------------------


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
