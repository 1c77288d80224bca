"""Of a large queue's figures those that a person reads first: `status` on one page.

Where there are many phases, directories, tasks that run or kinds of failure, those stay in which
something happens, in the order in which they stand, and the others are counted.  Pure.  What is not
here: how the figures look (`report.py`), a screen of a certain height (`watching.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlqueue.figures import plural, thousands

Figures = Mapping[str, Any]

MOST_PHASES: Final = 20
MOST_DIRECTORIES: Final = 12
MOST_TASKS: Final = 20
MOST_KINDS: Final = 8
ALL: Final = "`sqlqueue status --all`"
"""What shows them."""


def _first(found: Sequence[Figures], most: int, rank: Callable[[Figures], Any]) -> list[Figures]:
    """As many as there may be, those of the lowest rank, in the order in which they stand."""
    numbered = sorted(range(len(found)), key=lambda index: rank(found[index]))
    return [found[index] for index in sorted(numbered[:most])]


def phases(found: Sequence[Figures]) -> tuple[Sequence[Figures], list[str]]:
    """Those shown, and a line about the others."""
    shown = _first(found, MOST_PHASES, _calm)
    names = {each["phase"] for each in shown}
    rest = Counter(_how_far(each) for each in found if each["phase"] not in names)
    if not rest:
        return shown, []
    told = ", ".join(f"{thousands(count)} {name}" for name, count in sorted(rest.items()))
    return shown, [f"and {plural(rest.total(), 'more phase')}: {ALL} ({told})"]


def _calm(phase: Figures) -> int:
    """The lower, the more it is worth a look."""
    if phase["running"] or phase.get("breaker"):
        return 0
    if phase["failed"] or phase.get("paused"):
        return 1
    return {"under way": 2, "not begun": 3}.get(_how_far(phase), 4)


def _how_far(phase: Figures) -> str:
    if phase["failed"]:
        return "with failures"
    if not phase["pending"] + phase["running"]:
        return "finished"
    return "under way" if phase["completed"] or phase["running"] else "not begun"


def directories(found: Sequence[Figures]) -> tuple[Sequence[Figures], list[str]]:
    """Those shown, and a line about the others."""
    shown = _first(found, MOST_DIRECTORIES, _quiet)
    rest = len(found) - len(shown)
    noun = plural(rest, "more output directory", "more output directories")
    return shown, [f"and {noun}: {ALL}"] if rest else []


def _quiet(directory: Figures) -> int:
    if directory["trouble"] or directory["unsubmitted"]:
        return 0
    if directory["running"] or directory["failed"]:
        return 1
    return 2 if directory["pending"] else 3


def workers(found: Sequence[Figures]) -> tuple[Sequence[Figures], list[str]]:
    """Workers with so many tasks at most, those that run something first; a line about the rest."""
    there = [each for each in found if each["state"] != "gone"]
    shown = _first(there, MOST_TASKS, lambda each: not each["tasks"])
    rest = len(there) - len(shown)
    gone = [each for each in found if each["state"] == "gone"]
    return [*shown, *gone], [f"and {plural(rest, 'more worker')}: {ALL}"] if rest else []


def kinds(found: Sequence[Figures]) -> tuple[Sequence[Figures], list[str]]:
    """The most frequent kinds of failure, and a line about the others."""
    rest = found[MOST_KINDS:]
    if not rest:
        return found, []
    tasks = plural(sum(each["count"] for each in rest), "task")
    line = f"and {plural(len(rest), 'more kind')}, {tasks}: `sqlqueue failures` shows all"
    return found[:MOST_KINDS], [line]
