"""What `init` did, as text.

Pure: what was added goes in, lines come out.  What is not here: adding.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from sqlqueue.added import Added
from sqlqueue.figures import duration, plural, thousands
from sqlqueue.initialise import outside, some
from sqlqueue.protocol import PhaseCounts
from sqlqueue.report import document
from sqlqueue.report_steering import by_phase
from sqlqueue.tables import Column, Page, table
from sqlqueue.visible import printable

MOST_SHARING: Final = 10
"""Phases of which it is said with which others they share cells."""

_COLUMNS: Final = (
    Column("PHASE", least=12),
    Column("CELLS", "right"),
    Column("NEW", "right", colour="green"),
    Column("SHARED", "right", colour="cyan"),
    Column("ALREADY COMPLETED", "right"),
    Column("GONE", "right", colour="yellow"),
    Column("WORK", "right"),
)


def added_lines(added: Added, page: Page) -> list[str]:
    """The table, what it comes to, and what a person should know."""
    counted = [*_table(added, page), ""] if added.phases else []
    lines = [*counted, *_result(added), *_shared(added), *_gone(added)]
    return [*lines, *_painted(remarks(added), page)]


def _table(added: Added, page: Page) -> list[str]:
    """One line per phase; those too that have left the files."""
    known = bool(added.total.foreseen)
    names = [*added.phases, *(each for each in added.gone if each not in added.phases)]
    rows = [
        _row(each, added.phases.get(each, PhaseCounts()), added.gone.get(each, {}), known)
        for each in names
    ]
    if len(rows) > 1:
        gone = sum((Counter(each) for each in added.gone.values()), Counter())
        rows.append(_row("all", added.total, gone, known))
    return table(_COLUMNS, rows, page)


def _row(phase: str, counts: PhaseCounts, gone: Mapping[str, int], known: bool) -> list[str]:
    figures = (counts.cells, counts.new, counts.shared, counts.completed)
    lost = sum(gone.values())
    return [
        printable(phase),
        *(thousands(each) for each in figures),
        thousands(lost) if lost else "",
        _work(counts) if known else "",
    ]


def _work(counts: PhaseCounts) -> str:
    """How long devices will be at what is new, or at least so long; `?` where nothing says."""
    if not counts.new:
        return ""
    if not counts.foreseen:
        return "?"
    return ("" if counts.foreseen == counts.new else ">") + duration(counts.work_seconds)


def _result(added: Added) -> list[str]:
    total = added.total
    lines = [_new(total)] if total.new else []
    if total.again:
        lines.append(f"Tried again, failed or cancelled before: {plural(total.again, 'task')}")
    if not lines:
        known = "every cell is known" if total.cells else "no cell is left"
        lines.append(f"Nothing new: {known}")
    if added.delivered:
        lines.append(f"{plural(added.delivered, 'row')} of completed tasks delivered")
    return lines


def _new(total: PhaseCounts) -> str:
    text = plural(total.new, "new task")
    if not total.foreseen:
        return f"{text}; how long they take is not known yet"
    unknown = total.new - total.foreseen
    more = f" and {plural(unknown, 'task')} of which nothing is known yet" if unknown else ""
    return f"{text}: about {duration(total.work_seconds)} of device time{more}"


def _shared(added: Added) -> list[str]:
    """Where the shared cells come from."""
    sharing = list(added.shared_with.items())
    lines = [
        f"{printable(phase)} shares cells with {by_phase(dict(others.most_common()))}"
        for phase, others in sharing[:MOST_SHARING]
    ]
    rest = len(sharing) - MOST_SHARING
    return lines + (
        [f"and {plural(rest, 'more phase')} share cells with others"] if rest > 0 else []
    )


def _gone(added: Added) -> list[str]:
    """What is in no file any more, and what became of it."""
    if not added.gone:
        return []
    if added.pruned:
        others = f" ({thousands(added.going_on)} go on for other phases)" if added.going_on else ""
        return [f"Withdrawn: {plural(added.pruned, 'cell')} that no file wants any more{others}"]
    total = sum(sum(each.values()) for each in added.gone.values())
    waiting = sum(added.waiting_gone.values())
    text = f"In no file any more: {plural(total, 'cell')}, of which {thousands(waiting)} wait"
    if added.pruned is not None:
        return [f"{text}; nothing was withdrawn"]
    return [text + ("; `init --prune` withdraws those" if waiting else "")]


def remarks(added: Added) -> list[str]:
    """Changed experiments, phases without cells, and files that were moved."""
    lines = [f"note: {printable(note)}" for note in added.notes]
    lines += [f"set aside: {printable(each)}" for each in added.set_aside]
    if added.set_aside:
        names = " ".join(shlex.quote(printable(each)) for each in added.set_aside)
        lines.append(f"to take their rows in: sqlqueue import {names}")
    return lines


def unjudged(added: Added) -> list[str]:
    """Phases of which these files do not say what is gone."""
    lines = [
        f"note: phase {printable(phase)} stands in {some(files)} too: what is gone of it shows "
        "when all its files are given"
        for phase, files in added.partly.items()
    ]
    if added.unknown:
        names = some(added.unknown)
        lines.append(f"note: in none of these files, nor known from which: phases {names}")
    return lines


def _painted(lines: Sequence[str], page: Page) -> list[str]:
    return [page.paint(line, "yellow") for line in lines]


def survey_lines(added: Added, root: Path, page: Page) -> list[str]:
    """The same for a dry run, with the folders elsewhere that would be used."""
    elsewhere = outside(added.directories, root)
    told = [f"note: output directories outside {root}: {some(elsewhere)}"] if elsewhere else []
    directories = plural(len(added.directories), "output directory", "output directories")
    last = f"Dry run: nothing was written ({directories})"
    told += unjudged(added)
    return [*added_lines(added, page), *_painted(told, page), last]


def added_json(added: Added, dry_run: bool) -> str:
    """The same for programs, as docs/COMMANDS.md describes it."""
    names = [*added.phases, *(each for each in added.gone if each not in added.phases)]
    found = {
        "phases": [_phase_json(added, each) for each in names],
        "directories": added.directories,
        "delivered": added.delivered,
        "pruned": added.pruned,
        "going_on": added.going_on,
        "partly": added.partly,
        "unknown": added.unknown,
        "set_aside": added.set_aside,
        "notes": added.notes,
        "dry_run": dry_run,
    }
    return document(found)


def _phase_json(added: Added, name: str) -> dict[str, Any]:
    counts = added.phases.get(name, PhaseCounts())
    gone = {state.lower(): count for state, count in added.gone.get(name, {}).items()}
    figures = msgspec.to_builtins(counts) | {"work_seconds": round(counts.work_seconds, 1)}
    shared_with = dict(added.shared_with.get(name, {}))
    return {"phase": name, **figures, "shared_with": shared_with, "gone": gone}
