"""What `init` did, as text.

Pure: what was added goes in, lines come out.  What is not here: adding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlqueue.figures import plural, thousands
from sqlqueue.initialise import Added
from sqlqueue.protocol import PhaseCounts
from sqlqueue.tables import Column, Page, table
from sqlqueue.visible import printable

NAMED: Final = 5
"""Folders named one by one before the rest is only counted."""

_COLUMNS: Final = (
    Column("PHASE", least=12),
    Column("CELLS", "right"),
    Column("NEW", "right", colour="green"),
    Column("SHARED", "right", colour="cyan"),
    Column("ALREADY COMPLETED", "right"),
)


def added_lines(added: Added, root: Path, page: Page) -> list[str]:
    """The table, what it comes to, and what a person should know."""
    rows = [_row(phase, counts) for phase, counts in added.phases.items()]
    if len(rows) > 1:
        rows.append(_row("all", added.total))
    return [*table(_COLUMNS, rows, page), "", *_result(added), *remarks(added, root, page)]


def _row(phase: str, counts: PhaseCounts) -> list[str]:
    figures = (counts.cells, counts.new, counts.shared, counts.completed)
    return [printable(phase), *(thousands(each) for each in figures)]


def _result(added: Added) -> list[str]:
    total = added.total
    lines = [plural(total.new, "new task") if total.new else "Nothing new: every cell is known"]
    if added.delivered:
        lines.append(f"{plural(added.delivered, 'row')} of completed tasks delivered")
    return lines


def remarks(added: Added, root: Path, page: Page) -> list[str]:
    """Changed experiments, files that were moved, folders that lie elsewhere."""
    lines = [f"note: {printable(note)}" for note in added.notes]
    lines += [f"set aside: {printable(each)}" for each in added.set_aside]
    if elsewhere := outside(added.directories, root):
        lines.append(f"note: outside {root}: {_some(elsewhere)}")
    return [page.paint(line, "yellow") for line in lines]


def outside(directories: Sequence[str], root: Path) -> list[str]:
    """The output directories that do not lie below the root, symbolic links followed."""
    base = os.path.realpath(root)
    return [each for each in directories if not _within(base, os.path.join(base, each))]


def _within(base: str, path: str) -> bool:
    real = os.path.realpath(path)
    return real == base or real.startswith(base.rstrip("/") + "/")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(printable(each) for each in names[:NAMED])
    rest = len(names) - NAMED
    return shown + (f" and {thousands(rest)} more" if rest > 0 else "")


def survey_lines(added: Added, root: Path, page: Page) -> list[str]:
    """The same for a dry run."""
    directories = plural(len(added.directories), "output directory", "output directories")
    return [*added_lines(added, root, page), f"Dry run: nothing was written ({directories})"]
