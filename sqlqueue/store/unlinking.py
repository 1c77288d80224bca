"""A directory leaves the queue, or is another folder from now on.

What is stored of it, and the few disk calls.  Its files are never touched: of a directory that
leaves, the marker goes, once it is no longer the queue's; one that moves is renamed as a whole, or
was already by a person.  Tasks that no other directory wants have no place for a row: those that
are completed keep their results here, the others are cancelled.

What is not here: whether it may leave now (`manager/unlinking.py`).
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, select, update

from sqlqueue.disk import Disk
from sqlqueue.errors import DirectoryError
from sqlqueue.lifecycle import Event, State, move
from sqlqueue.store import states
from sqlqueue.store.csv_file import MARKER
from sqlqueue.store.directories import marker_of
from sqlqueue.store.schema import (
    csv_rows,
    output_directories,
    set_aside,
    task_output_dirs,
    task_phases,
    tasks,
)

MOST_NAMED: Final = 3

_LINK: Final = task_output_dirs.c
_OTHER: Final = task_output_dirs.alias("other")
_GIVEN_UP: Final = (State.PENDING, State.FAILED)


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks linked to a directory; of those that no other wants: to be cancelled, completed."""

    tasks: int
    cancelled: int
    kept: int


def _only_here(key: int) -> ColumnElement[bool]:
    """Tasks that this directory wants, and no other one."""
    here = exists().where(_LINK.signature == tasks.c.signature, _LINK.directory_id == key)
    elsewhere = exists().where(
        _OTHER.c.signature == tasks.c.signature, _OTHER.c.directory_id != key
    )
    return and_(here, ~elsewhere)


def counts(connection: Connection, key: int) -> Counts:
    """What is linked to the directory."""
    linked = select(func.count()).select_from(task_output_dirs).where(_LINK.directory_id == key)
    alone = (
        select(tasks.c.state, tasks.c.rerun_after > 0, func.count())
        .where(_only_here(key))
        .group_by(tasks.c.state, tasks.c.rerun_after > 0)
    )
    cancelled = kept = 0
    for state, again, count in connection.execute(alone):
        if state == State.COMPLETED.value or again:
            kept += count
        elif state in {each.value for each in _GIVEN_UP}:
            cancelled += count
    return Counts(int(connection.execute(linked).scalar_one()), cancelled, kept)


def running(connection: Connection, key: int) -> tuple[int, list[str]]:
    """How many of its tasks run now, and the ids of the first of them."""
    query = (
        select(tasks.c.task_id)
        .join(task_output_dirs, _LINK.signature == tasks.c.signature)
        .where(_LINK.directory_id == key, states.RUNNING)
        .order_by(tasks.c.id)
    )
    found = list(connection.execute(query).scalars())
    return len(found), found[:MOST_NAMED]


def forget(connection: Connection, key: int) -> None:
    """The directory is none of the queue's any more."""
    alone = _only_here(key)
    given_up = select(tasks.c.signature).where(
        alone, tasks.c.state.in_([each.value for each in _GIVEN_UP]), tasks.c.rerun_after == 0
    )
    wish = update(task_phases).where(task_phases.c.signature.in_(given_up))
    connection.execute(wish.values(withdrawn=True))
    again = and_(alone, tasks.c.state == State.PENDING.value, tasks.c.rerun_after > 0)
    kept = move(State.PENDING, Event.KEEP)
    connection.execute(update(tasks).where(again).values(state=kept.value))
    for state in _GIVEN_UP:
        those = and_(alone, tasks.c.state == state.value, tasks.c.rerun_after == 0)
        cancelled = move(state, Event.CANCEL)
        connection.execute(update(tasks).where(those).values(state=cancelled.value))
    for table in (csv_rows, task_output_dirs, set_aside):
        connection.execute(delete(table).where(table.c.directory_id == key))
    connection.execute(delete(output_directories).where(output_directories.c.id == key))


def rename_asides(connection: Connection, key: int, before: str, now: str) -> None:
    """What was moved aside in the directory went along with it."""
    column = set_aside.c
    query = select(column.id, column.path).where(column.directory_id == key)
    for row_id, path in connection.execute(query).all():
        if path.startswith(f"{before}/"):
            moved: dict[str, Any] = {"path": now + path.removeprefix(before)}
            connection.execute(update(set_aside).where(column.id == row_id).values(**moved))


# --- on the disk --------------------------------------------------------------------------


def is_marked(folder: Path, queue_id: str) -> bool:
    """Whether the folder says that it is this queue's."""
    return marker_of(folder) == queue_id


def unmark(disk: Disk, folder: Path, queue_id: str) -> bool:
    """Another queue may claim the folder; whether it was marked as this one's."""
    if not is_marked(folder, queue_id):
        return False
    disk.unlink(folder / MARKER)
    disk.fsync_dir(folder)
    return True


def is_to_be_renamed(before: Path, now: Path, queue_id: str) -> bool:
    """Whether the folder is still where it was; raises `DirectoryError` where it cannot go."""
    owner = marker_of(now)
    if owner == queue_id and not os.path.lexists(before):
        return False
    if owner is not None:
        if owner == queue_id:
            raise DirectoryError(
                f"{now}: is this queue's already, and {before} is there too; if it was moved there "
                f"and then made again here, move one of them away, then run the same command again"
            )
        raise DirectoryError(f"{now}: is another queue's ({owner}); choose another folder")
    if _is_taken(now):
        raise DirectoryError(f"{now}: is there and not empty; choose another folder")
    if not os.path.lexists(before):
        raise DirectoryError(
            f"{before}: is gone, and {now} is not it (no {MARKER} of this queue is there)"
        )
    return True


def move_folder(disk: Disk, before: Path, now: Path, root: Path) -> None:
    """Renames the folder, durably; raises `DirectoryError`."""
    disk.make_folders(now.parent, below=root)
    try:
        disk.replace(before, now)
    except OSError as error:
        raise DirectoryError(_why(error, before, now)) from None
    disk.fsync_dir(now.parent)
    disk.fsync_dir(before.parent)


def _is_taken(folder: Path) -> bool:
    """Whether the name stands for anything but an empty folder."""
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True


def _why(error: OSError, before: Path, now: Path) -> str:
    if error.errno == errno.EXDEV:
        return (
            f"{now}: is on another filesystem than {before}; move the folder there yourself "
            "(`mv`), then run the same command again"
        )
    return f"{before}: cannot be renamed to {now}: {error.strerror}"
