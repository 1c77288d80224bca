"""What `recover` and `backup` did, as text.

Pure: what was found goes in, lines come out.  What is not here: recovering.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlqueue.figures import cut_end, plural
from sqlqueue.recovering import Recovered
from sqlqueue.report import document
from sqlqueue.tables import Page
from sqlqueue.visible import printable

if TYPE_CHECKING:
    from sqlqueue.store.backup import Holdings

LONGEST: Final = 400
MOST_TROUBLES: Final = 200


def recovered_lines(found: Recovered, dry_run: bool, page: Page) -> list[str]:
    """What it began with, what was taken in, what was not and where that is kept."""
    lines = [_beginning(found), _rows(found)]
    if found.strays:
        lines.append(
            f"note: {plural(found.strays, 'row')} that no sweep file given wants: kept as "
            "completed tasks, and linked again when a sweep file names the cells"
        )
    lines += [f"note: {printable(note)}" for note in found.added.notes]
    lines += [page.paint(each, "yellow") for each in _troubles(found)]
    lines += [f"moved aside: {printable(name)}, in the home" for name in found.moved]
    lines += [f"repaired: {printable(each)}" for each in found.actions]
    lines += [f"set aside: {printable(each)}" for each in found.set_aside]
    return [*lines, *_ending(found, dry_run)]


def _beginning(found: Recovered) -> str:
    if found.base is None:
        return f"Rebuilt from the sweep files: {plural(found.added.total.cells, 'cell')}"
    kind = "the database that is there" if found.base_is_current else "the backup"
    more = f", {plural(found.added.total.new, 'new task')}" if found.added.phases else ""
    return f"Began with {kind}, {printable(str(found.base))}{more}"


def _rows(found: Recovered) -> str:
    read = f"{plural(found.rows, 'row')} in {plural(found.files, 'CSV')}"
    return f"Read {read}: {plural(found.adopted, 'result')} taken in"


def _troubles(found: Recovered) -> Iterator[str]:
    for each in found.troubles[:MOST_TROUBLES]:
        yield cut_end(printable(f"not taken in: {each}"), LONGEST)
    if (more := len(found.troubles) - MOST_TROUBLES) > 0:
        yield f"not taken in: {more:,} more lines"


def _ending(found: Recovered, dry_run: bool) -> Iterator[str]:
    if found.taken_in:
        yield f"{plural(found.taken_in, 'result')} taken in that workers had left as files"
    yield f"{plural(found.tasks, 'task')}, {found.results + found.taken_in:,} completed"
    if dry_run:
        due = f"; {plural(found.due, 'row')} would be delivered" if found.due else ""
        yield f"Dry run: nothing was written{due}"
    elif not found.replaced:
        yield "Nothing was missing from the database: it stays"


def backup_lines(file: Path, holds: Holdings) -> list[str]:
    """Where it is, and what it holds."""
    held = f"{plural(holds.tasks, 'task')}, {plural(holds.results, 'result')}"
    folders = plural(holds.directories, "output directory", "output directories")
    return [f"Backup in {printable(str(file))}: {held}, {folders}; checked"]


def backup_json(file: Path, holds: Holdings) -> str:
    """The same for programs, as docs/COMMANDS.md describes it."""
    told = {name: getattr(holds, name) for name in ("queue", "tasks", "results", "directories")}
    return document({"file": str(file), **told, "size_bytes": holds.size_bytes})


def recovered_json(found: Recovered, dry_run: bool) -> str:
    """What `recovered_lines` tells, for programs, as docs/COMMANDS.md describes it."""
    base = None if found.base is None else str(found.base)
    told = {
        "base": base, "base_is_current": found.base_is_current, "cells": found.added.total.cells,
        "new": found.added.total.new, "files": found.files, "rows": found.rows,
        "adopted": found.adopted, "strays": found.strays, "due": found.due,
        "not_taken_in": found.troubles, "taken_in": found.taken_in, "tasks": found.tasks,
        "completed": found.results + found.taken_in, "replaced": found.replaced,
        "moved_aside": found.moved, "repaired": found.actions, "set_aside": found.set_aside,
        "notes": found.added.notes, "dry_run": dry_run,
    }  # fmt: skip
    return document(told)
