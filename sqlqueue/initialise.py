"""`init`: from sweep files to tasks, links and delivered rows.

Promises: the files are read and checked whole before anything is made or locked; all
mistakes are told at once; running it again adds nothing and finishes what was interrupted;
a dry run writes nothing, not even the home.  What is not here: what a sweep file means
(`plan/`), what adding does (`store/`), and how the figures look (`report_init.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import Final

from sqlqueue import code_today, keys, pruning
from sqlqueue.added import Added
from sqlqueue.batches import batches
from sqlqueue.contact import Notice, Owner, expect, owner, recall, recall_looking
from sqlqueue.declarations import Declarations, recall_nothing
from sqlqueue.disk import Disk
from sqlqueue.errors import (
    DatabaseError,
    HomeError,
    Interrupted,
    SweepError,
)
from sqlqueue.figures import plural, thousands
from sqlqueue.home import NAME, Home
from sqlqueue.interrupts import deferred
from sqlqueue.plan.sweep import Sweep, load
from sqlqueue.plan.task import Task
from sqlqueue.protocol import (
    AddedReply,
    PrepareDirectories,
    PreparedReply,
)
from sqlqueue.sweep_files import Text, read_files
from sqlqueue.visible import printable

HOME_FOLDERS: Final = frozenset(
    ("logs", "attempts", "checkpoints", "salvage", "unsubmitted", "workers")
)
"""All that is in a home whose making was interrupted."""
HOME_FILES: Final = frozenset(("queue.db", "manager.lock", "owner.secret", "queue.db.recovered"))
"""Where one of these is, a home was, whatever became of its `queue.json`."""
STEP: Final = 1000
"""Cells after which progress is shown."""
MOST_NAMED: Final = 5
"""Folders named one by one before the rest is only counted."""

Advance = Callable[[int], None]
Progress = Callable[[int], AbstractContextManager[Advance]]


class Pruning(Enum):
    """Whether what no file wants any more is withdrawn."""

    NOT = "not"
    ASKED = "asked"
    UNASKED = "unasked"


def initialise(
    home: Home,
    files: Sequence[Path],
    notice: Notice,
    progress: Progress,
    set_aside: bool = False,
    disk: Disk | None = None,
    prune: Pruning = Pruning.NOT,
) -> Added:
    """Adds what the files want and the queue does not have yet."""
    texts = checked(home, files)
    home.create(disk)
    keys.create(home, disk)
    with owner(home, notice, disk) as ask:
        declarations = Declarations(home.root, lambda names: recall(ask, names))
        sweep = load(texts, declarations)
        _name_outside(sweep.output_dirs(), home.root, notice)
        added, number = _add(ask, home, sweep, declarations, progress, set_aside)
        phases = pruning.look(ask, home, sweep, added, number)
        if prune is not Pruning.NOT:
            pruning.prune(ask, added, number, phases, yes=prune is Pruning.UNASKED)
    _note_other_code(home, added, declarations)
    return added


def _note_other_code(home: Home, added: Added, declarations: Declarations) -> None:
    """Says which of the completed cells come from other code than today's."""
    commands = {name: each.command for name, each in declarations.memories.items()}
    added.notes += code_today.differences(home.root, added.reused, commands)


def checked(home: Home, files: Sequence[Path]) -> list[Text]:
    """The files' text, for a queue whose database is there, or was never."""
    refuse_foreign(home)
    texts = read_checked(files, home)
    home.refuse_without_root()
    if not home.database.exists():
        _refuse_lost(home, load(texts, Declarations(home.root, recall_nothing)))
    return texts


def read_checked(files: Sequence[Path], home: Home) -> list[Text]:
    """The files' text; raises one `SweepError` with everything that is wrong in any of them."""
    texts, troubles = read_files(files)
    try:
        load(texts, Declarations(home.root, recall_nothing))
    except SweepError as error:
        troubles.append(error.message)
    if troubles:
        raise SweepError("\n".join(troubles))
    return texts


def _name_outside(directories: Sequence[str], root: Path, notice: Notice) -> None:
    """Says which folders elsewhere are about to be used, before they are."""
    if elsewhere := outside(directories, root):
        notice(f"note: output directories outside {root}: {some(elsewhere)}")


def outside(directories: Sequence[str], root: Path) -> list[str]:
    """The output directories that do not lie below the root, symbolic links followed."""
    base = Path(os.path.realpath(root))
    found = ((each, Path(os.path.realpath(base / each))) for each in directories)
    return [each for each, path in found if not path.is_relative_to(base)]


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(printable(each) for each in names[:MOST_NAMED])
    rest = len(names) - MOST_NAMED
    return shown + (f" and {thousands(rest)} more" if rest > 0 else "")


def _refuse_lost(home: Home, sweep: Sweep) -> None:
    """Where results are left of a queue whose database is gone, none is begun anew."""
    from sqlqueue.store import condition, directories

    condition.refuse(home)
    own = home.queue_id() if home.exists() else None
    if left := directories.with_results(home, sweep.output_dirs(), own):
        raise DatabaseError(
            f"{home.database}: is missing, although results of this queue are in "
            f"{', '.join(left[:MOST_NAMED])}; `sqlqueue recover FILES...` makes it again from "
            "the same sweep files and takes those results in. If their queue lives elsewhere, "
            "name its home with --home; to begin anew, move those folders away"
        )


def was_home(home: Home) -> bool:
    """Whether the folder is a queue's that has lost its `queue.json`."""
    return home.path.is_dir() and any((home.path / each).exists() for each in HOME_FILES)


def refuse_foreign(home: Home) -> None:
    """Raises `HomeError` for a file, and for a folder that holds other things."""
    if home.exists() or not home.path.exists():
        return
    if not home.path.is_dir():
        raise HomeError(f"{home.path}: is a file; name a folder with --home")
    if was_home(home):
        raise HomeError(
            f"{home.identity_file}: is missing, although a queue was here; "
            "`sqlqueue recover FILES...` makes it again"
        )
    for each in sorted(home.path.iterdir()):
        if each.name not in HOME_FOLDERS and not each.name.startswith("."):
            raise HomeError(
                f"{home.path}: is not a sqlqueue home and not empty ({each.name} is in it); "
                f"name a folder of the queue's own, for example --home {home.path / NAME}"
            )


def survey(home: Home, files: Sequence[Path], progress: Progress, set_aside: bool = False) -> Added:
    """What `initialise` would do; writes nothing.  Raises what that would raise."""
    texts = checked(home, files)
    declarations = Declarations(home.root, lambda names: recall_looking(home, names))
    sweep = load(texts, declarations)
    from sqlqueue.store.survey import survey as counted

    folders, given = sweep.output_dirs(), pruning.files_of(sweep, home)
    with progress(sweep.count) as advance:
        found = counted(
            home, folders, lambda: _counting(sweep.tasks(), advance), given, set_aside=set_aside
        )
    added = Added(found.phases, notes=_notes(sweep, declarations), directories=folders)
    added.shared_with, added.reused = found.shared_with, found.reused
    _note_other_code(home, added, declarations)
    judged = pruning.judge(added, home, given, found.stands)
    added.lose({phase: states for phase, states in found.gone.items() if phase in judged})
    return added


def _notes(sweep: Sweep, declarations: Declarations) -> list[str]:
    """What a person should know of the files."""
    emptied = [f"phase {each!r}: no cell is left by `exclude`" for each in sweep.emptied()]
    return [*declarations.notes, *emptied]


def _counting(tasks: Iterable[Task], advance: Advance) -> Iterator[Task]:
    for number, task in enumerate(tasks, 1):
        yield task
        if number % STEP == 0:
            advance(STEP)


# --- adding -------------------------------------------------------------------------


def _add(
    ask: Owner, home: Home, sweep: Sweep, declarations: Declarations, progress: Progress,
    set_aside: bool,
) -> tuple[Added, int]:  # fmt: skip
    """What was added, and the number by which the cells know this `init`."""
    added = Added(notes=_notes(sweep, declarations), directories=sweep.output_dirs())
    prepare = PrepareDirectories(output_dirs=added.directories, set_aside=set_aside)
    cells = sweep.count
    try:
        with deferred() as check, progress(cells) as advance:
            prepared = expect(ask(prepare), PreparedReply)
            added.set_aside = prepared.set_aside
            pruning.remember(ask, home, sweep)
            for message in batches(
                sweep.tasks(), declarations.memories, prepared.given, ask.is_alone
            ):
                check()
                added.add(expect(ask(message), AddedReply))
                advance(len(message.tasks))
    except KeyboardInterrupt:
        raise Interrupted(_so_far(added, cells)) from None
    return added, prepared.given


def _so_far(added: Added, cells: int) -> str:
    return (
        f"interrupted: {thousands(added.total.cells)} of {plural(cells, 'cell')} are in the "
        "queue; run the same command again to add the rest"
    )
