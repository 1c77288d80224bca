"""What `init` did, as text.

Pure: what was added goes in, lines come out.  What is not here: adding.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlqueue.added import Added
from sqlqueue.figures import plural, thousands
from sqlqueue.initialise import outside, some
from sqlqueue.protocol import PhaseCounts
from sqlqueue.tables import Column, Page, table
from sqlqueue.visible import printable

_COLUMNS: Final = (
    Column("PHASE", least=12),
    Column("CELLS", "right"),
    Column("NEW", "right", colour="green"),
    Column("SHARED", "right", colour="cyan"),
    Column("ALREADY COMPLETED", "right"),
)


def added_lines(added: Added, page: Page) -> list[str]:
    """The table, what it comes to, and what a person should know."""
    counted = [*_table(added, page), ""] if added.phases else []
    return [*counted, *_result(added), *_painted(remarks(added), page)]


def _table(added: Added, page: Page) -> list[str]:
    rows = [_row(phase, counts) for phase, counts in added.phases.items()]
    if len(rows) > 1:
        rows.append(_row("all", added.total))
    return table(_COLUMNS, rows, page)


def _row(phase: str, counts: PhaseCounts) -> list[str]:
    figures = (counts.cells, counts.new, counts.shared, counts.completed)
    return [printable(phase), *(thousands(each) for each in figures)]


def _result(added: Added) -> list[str]:
    total = added.total
    lines = [plural(total.new, "new task")] if total.new else []
    if total.again:
        lines.append(f"Tried again, failed or cancelled before: {plural(total.again, 'task')}")
    if not lines:
        known = "every cell is known" if total.cells else "no cell is left"
        lines.append(f"Nothing new: {known}")
    if added.delivered:
        lines.append(f"{plural(added.delivered, 'row')} of completed tasks delivered")
    return lines


def remarks(added: Added) -> list[str]:
    """Changed experiments, phases without cells, and files that were moved."""
    lines = [f"note: {printable(note)}" for note in added.notes]
    lines += [f"set aside: {printable(each)}" for each in added.set_aside]
    if added.set_aside:
        names = " ".join(shlex.quote(printable(each)) for each in added.set_aside)
        lines.append(f"to take their rows in: sqlqueue import {names}")
    return lines


def _painted(lines: Sequence[str], page: Page) -> list[str]:
    return [page.paint(line, "yellow") for line in lines]


def survey_lines(added: Added, root: Path, page: Page) -> list[str]:
    """The same for a dry run, with the folders elsewhere that would be used."""
    elsewhere = outside(added.directories, root)
    told = [f"note: output directories outside {root}: {some(elsewhere)}"] if elsewhere else []
    directories = plural(len(added.directories), "output directory", "output directories")
    last = f"Dry run: nothing was written ({directories})"
    return [*added_lines(added, page), *_painted(told, page), last]
