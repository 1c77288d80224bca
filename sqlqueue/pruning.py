"""What `init` finds of cells that are in no file any more, and `--prune` withdraws.

Promises: a phase is judged only when every file that it is known to stand in was given, or is not
there any more; nothing is withdrawn before a person has agreed.  What is not here: adding
(`initialise.py`), what becomes of a task (`manager/pruning.py`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from sqlqueue.added import Added
from sqlqueue.contact import Ask, expect
from sqlqueue.figures import plural
from sqlqueue.home import Home
from sqlqueue.plan.sweep import Sweep
from sqlqueue.protocol import FilesReply, PhaseStands, Prune, PrunedReply, RememberFiles
from sqlqueue.report_steering import by_phase
from sqlqueue.steering import agreed

Stands = Mapping[str, PhaseStands]


def files_of(sweep: Sweep, home: Home) -> dict[str, list[str]]:
    """The phases of each file, the files as the home stores paths."""
    found: dict[str, list[str]] = {}
    for name, phases in sweep.files.items():
        path = home.relative(Path(os.path.realpath(name)))
        found[path] = list(dict.fromkeys([*found.get(path, []), *phases]))
    return found


def judge(added: Added, home: Home, files: Mapping[str, Iterable[str]], stands: Stands) -> set[str]:
    """The phases of which the files say all that they want; notes the others."""
    here = {name for names in files.values() for name in names}
    judged = set()
    for name, each in stands.items():
        left = [path for path in each.elsewhere if _is_there(home.absolute(path))]
        if left:
            if name in here:
                added.partly[name] = left
        elif each.given or each.elsewhere:
            judged.add(name)
        elif each.wanted:
            added.unknown.append(name)
    return judged


def _is_there(path: Path) -> bool:
    """Whether a file is there, or may be: what cannot be looked at is no reason to withdraw."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def doubtful(judged: Collection[str], sweep: Sweep, added: Added, stands: Stands) -> list[str]:
    """The judged phases that want other cells than those just found.

    Where a phase is one grid no cell of it was counted twice, so that equal numbers tell.
    """
    grids: dict[str, int] = {}
    for grid in sweep.grids:
        grids[grid.phase] = grids.get(grid.phase, 0) + 1

    def is_doubtful(name: str) -> bool:
        found = added.phases[name].cells if name in added.phases else 0
        return grids.get(name, 0) > 1 or stands[name].wanted != found

    return [name for name in stands if name in judged and is_doubtful(name)]


def remember(ask: Ask, home: Home, sweep: Sweep) -> Stands:
    """Has the home know which phases stand in which files: before a cell of theirs is added, so
    that nobody else takes those for gone; and where every phase stands."""
    return expect(ask(RememberFiles(files=files_of(sweep, home))), FilesReply).phases


def look(ask: Ask, home: Home, sweep: Sweep, added: Added, number: int) -> list[str]:
    """Finds what is gone once everything was added; the phases in which something may be."""
    stands = remember(ask, home, sweep)
    judged = judge(added, home, files_of(sweep, home), stands)
    phases = doubtful(judged, sweep, added, stands)
    _all(ask, Prune(given=number, phases=phases), added)
    return phases


def prune(ask: Ask, added: Added, number: int, phases: list[str], yes: bool) -> None:
    """Withdraws what was found, if a person agrees."""
    waiting = added.waiting_gone
    added.pruned = 0
    if not waiting or not (yes or _agreed(waiting)):
        return
    counted = Added()
    added.going_on = _all(ask, Prune(given=number, phases=phases, dry_run=False), counted)
    added.pruned = sum(counted.waiting_gone.values())


def _agreed(waiting: Mapping[str, int]) -> bool:
    total = plural(sum(waiting.values()), "cell that waits", "cells that wait")
    question = f"withdraw {total} and no file wants any more (phases: {by_phase(waiting)})"
    return agreed(question, "(the rest of `init` is done)")


def _all(ask: Ask, message: Prune, added: Added) -> int:
    """One bite after another, until there is none left; how many tasks other phases want too."""
    after: int | None = 0 if message.phases else None
    shared = 0
    while after is not None:
        reply = expect(ask(msgspec.structs.replace(message, after=after)), PrunedReply)
        added.lose(reply.phases)
        shared += reply.shared
        after = reply.next
    return shared
