"""Unlinking: the owner's message that takes a directory out of the queue, or moves it.

Refused while one of its tasks runs, or results wait in it: they would have nowhere to go.  Has a
transaction of its own, so that no row is on its way to the directory.  What is not here: what
becomes of tasks and files (`store/unlinking.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from sqlqueue import protocol, unsubmitted
from sqlqueue.errors import DirectoryError, DirectoryUnavailable, IllegalMove
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.protocol import UnlinkedReply
from sqlqueue.store import records, unlinking
from sqlqueue.store.directories import stored_path
from sqlqueue.unsubmitted import FOLDER

Found = TypeVar("Found")

AGAIN: Final = "then run the same command again"
NAMED: Final = (
    "a sweep file that still names {} has the next `init` take it in again: change its output_dir"
)
LEFT: Final = (
    "its final_results.csv is nobody's now: where a sweep file still names {}, change its "
    "output_dir, or the next `init` refuses it (with --set-aside it begins a new file)"
)

KNOWN_NO_MORE: Final = (
    "the database does not know it: it left the queue before, or the database is older than it"
)

log = logging.getLogger("sqlqueue.manager")


def unlink(book: Notebook, request: protocol.Unlink, context: Context) -> UnlinkedReply:
    path = _stored(book, request.output_dir)
    known = {each: key for key, (each, _) in records.load(context.connection).items()}
    if path not in known:
        return _unknown(book, request, path, known)
    _refuse_busy(book, known[path], path, context)
    if request.move_to is not None:
        return _move(book, request, path, known, context)
    return _leave(book, request, path, known[path], context)


def _stored(book: Notebook, spelled: str) -> str:
    return _one(book, spelled, partial(stored_path, book.claims.home, spelled))


def _one(book: Notebook, where: str, call: Callable[[], Found]) -> Found:
    """What a disk call returns, in a lane; errors of the disk name the folder."""
    try:
        return book.claims.lanes.one(where, call)
    except (OSError, ValueError) as error:
        raise DirectoryError(f"{where}: {getattr(error, 'strerror', None) or error}") from None
    except DirectoryError as error:
        told = error.message if where in error.message else f"{where}: {error.message}"
        raise DirectoryError(told) from None


def _unknown(
    book: Notebook, request: protocol.Unlink, path: str, known: dict[str, int]
) -> UnlinkedReply:
    """Of a directory that left before its marker was removed, that is done now."""
    home = book.claims.home
    mine = partial(unlinking.is_marked, home.absolute(path), home.queue_id())
    if request.move_to is None and _one(book, path, mine):
        notes = [KNOWN_NO_MORE]
        if not request.dry_run:
            notes += _unmark(book, path) or ["its marker is removed"]
        return UnlinkedReply(output_dir=path, notes=notes)
    raise DirectoryError(
        f"{path}: is no output directory of this queue{did_you_mean(path, sorted(known))}; "
        "`sqlqueue status` lists them"
    )


def _refuse_busy(book: Notebook, key: int, path: str, context: Context) -> None:
    count, first = unlinking.running(context.connection, key)
    if count:
        more = ", ..." if count > len(first) else ""
        raise IllegalMove(
            f"{path}: {count} of its tasks run now ({', '.join(first)}{more}); let them finish "
            f"(`sqlqueue drain --all` starts nothing more), or cancel them, {AGAIN}. If it "
            "is away, they cannot finish before it is back (`verify --repair` makes it anew)"
        )
    home = book.claims.home
    waiting = partial(_waiting, home.absolute(path) / FOLDER, home.queue_id())
    try:
        files = _one(book, path, waiting)
    except (DirectoryUnavailable, DirectoryError) as error:
        raise DirectoryUnavailable(
            f"{path}: cannot be looked at, so it is not known whether results wait in its "
            f"{FOLDER}/: {error.message}"
        ) from None
    if files:
        raise IllegalMove(
            f"{path}: {len(files)} results wait in {FOLDER}/ to be taken in ({files[0]}, ...); "
            f"a running manager does that, {AGAIN}"
        )


def _waiting(folder: Path, queue_id: str) -> list[str]:
    """The results in it that nobody has taken in yet; raises `OSError` when it cannot be read."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.scandir(folder).close()
        return [path.name for path, _ in unsubmitted.scan(folder, queue_id)]
    return []


# --- leaving --------------------------------------------------------------------------


def _leave(
    book: Notebook, request: protocol.Unlink, path: str, key: int, context: Context
) -> UnlinkedReply:
    counts = unlinking.counts(context.connection, key)
    notes = [LEFT.format(path)]
    if not request.dry_run:
        unlinking.forget(context.connection, key)
        _forget_after(book, key, context)
        context.after.append(lambda: notes.extend(_unmark(book, path)))
        context.after.append(lambda: log.info("Unlinked %s: %d tasks", path, counts.tasks))
    return UnlinkedReply(
        output_dir=path,
        tasks=counts.tasks,
        cancelled=counts.cancelled,
        kept=counts.kept,
        notes=notes,
    )


def _forget_after(book: Notebook, key: int, context: Context) -> None:
    """Nothing in memory speaks of it any more: another may get its key."""
    book.claims.forget()
    context.after.append(book.claims.forget)
    context.after.append(lambda: book.outputs.forget(key))


def _unmark(book: Notebook, path: str) -> list[str]:
    """Once it has left; what went wrong, for the answer, which has not been given yet."""
    home, disk = book.claims.home, book.claims.disk
    unmark = partial(unlinking.unmark, disk, home.absolute(path), home.queue_id())
    try:
        _one(book, path, unmark)
    except (DirectoryError, DirectoryUnavailable) as error:
        told = f"its marker could not be removed: {error.message}; say the same again later"
        log.warning("%s: %s", path, told)
        return [told]
    return []


# --- moving -----------------------------------------------------------------------------


def _move(
    book: Notebook,
    request: protocol.Unlink,
    path: str,
    known: dict[str, int],
    context: Context,
) -> UnlinkedReply:
    target = _stored(book, str(request.move_to))
    _refuse_target(book, path, target, known)
    home = book.claims.home
    before, now, key = home.absolute(path), home.absolute(target), known[path]
    here = partial(unlinking.is_to_be_renamed, before, now, home.queue_id())
    notes = [NAMED.format(path)]
    if not (renamed := _one(book, target, here)):
        notes.insert(0, "the folder is there already: the queue goes on with it")
    if not request.dry_run:
        if renamed:
            root = home.root.resolve()
            move = partial(unlinking.move_folder, book.claims.disk, before, now, root)
            _one(book, target, move)
        records.move_directory(context.connection, key, target)
        unlinking.rename_asides(context.connection, key, path, target)
        _forget_after(book, key, context)
        context.after.append(lambda: log.info("Moved %s to %s", path, target))
    count = unlinking.counts(context.connection, key).tasks
    return UnlinkedReply(output_dir=path, moved_to=target, tasks=count, notes=notes)


def _refuse_target(book: Notebook, path: str, target: str, known: dict[str, int]) -> None:
    if target in known:
        raise DirectoryError(f"{target}: is an output directory of this queue already")
    before = book.claims.home.absolute(path)
    if book.claims.home.path.resolve().is_relative_to(before.resolve()):
        raise DirectoryError(f"{path}: the queue's home lies in it; it cannot be moved")
    inside = [each for each in known if each != path and _is_in(book, each, before)]
    if inside or _is_in(book, target, before):
        what = sorted(inside)[0] if inside else target
        raise DirectoryError(f"{path}: {what} lies in it; move that out of it first")


def _is_in(book: Notebook, stored: str, folder: Path) -> bool:
    return book.claims.home.absolute(stored).is_relative_to(folder)
