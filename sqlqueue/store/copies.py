"""A home that stands elsewhere than it did: moved, or a copy.

The database remembers where its home was.  One that was moved goes on as it is.  A copy is a
queue of its own: it gets an id of its own, the output directories inside its root, which were
copied along, are marked with it, and it leaves alone what lies outside: there the original
writes.  Its own rows for such a directory go into one inside the root.

Promises: idempotent, so that a crash in it is made good by the next start; nothing of the
original's is touched; a directory that hangs is left as it is.  What is not here: how a place
is told (`whereabouts.py`), rows.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from sqlqueue.errors import HomeError
from sqlqueue.home import Home
from sqlqueue.store import records
from sqlqueue.store.directories import Claims, marker_of
from sqlqueue.store.rewriting import Transaction
from sqlqueue.store.schema import meta
from sqlqueue.whereabouts import Note, left, one_machine, place_of, stays

KEY: Final = "place"
FOLDER: Final = "copied-outputs"
"""In the root of a copy: stands for `/`, for directories that lay outside."""

log = logging.getLogger("sqlqueue.manager")


def settle(transaction: Transaction, claims: Claims, *, mine: bool) -> None:
    """Makes the queue one that belongs where it stands, and remembers where that is.

    `mine`: a person said that the original is gone, so what lies outside belongs to the copy.
    """
    home = claims.home
    with transaction() as connection:
        known, original = remembered(connection), original_of(connection, home)
    now = place_of(home.path).as_note()
    if known == now:
        return
    if original is not None:
        log.warning("%s is a copy of %s on %s: from now on a queue of its own",
                    home.path, original.get("home"), original.get("hostname"))  # fmt: skip
        _part(transaction, claims, mine=mine)
    with transaction() as connection:
        connection.execute(meta.delete().where(meta.c.key == KEY))
        connection.execute(meta.insert().values(key=KEY, value=json.dumps(now)))


def remembered(connection: Connection) -> Note | None:
    """Where the home stood when it was last opened; None before it ever was."""
    found = connection.execute(select(meta.c.value).where(meta.c.key == KEY)).scalar()
    return json.loads(found) if found is not None else None


def original_of(connection: Connection, home: Home) -> Note | None:
    """Where the original stands, when the home is a copy that has not parted from it yet."""
    known = remembered(connection)
    if known is None or known == place_of(home.path).as_note() or not is_copy(home, known):
        return None
    return known


def is_copy(home: Home, known: Note) -> bool:
    """Whether the original may still be there.

    Of another machine, without a filesystem that both see, that cannot be told: it may be.
    """
    if stays(known, home.path) or left(known):
        return False
    original = Home(Path(str(known.get("home"))))
    try:
        return original.queue_id() in (home.queue_id(), home.former_id())
    except HomeError:
        return not one_machine(known)


def _part(transaction: Transaction, claims: Claims, *, mine: bool) -> None:
    queue = claims.home.name_anew(claims.disk)
    with transaction() as connection:
        known = {key: path for key, (path, _) in records.load(connection).items()}
    folders = {key: claims.home.absolute(path) for key, path in known.items()}
    marks = claims.lanes.run({key: partial(marker_of, each) for key, each in folders.items()})
    marked = [key for key, mark in marks.items() if isinstance(mark, str) and mark != queue]
    own = {key for key in marked if mine or not Path(known[key]).is_absolute()}
    claims.remark(folders[key] for key in own)
    for key in marked:
        if key not in own:
            _inside(transaction, claims, key, known[key])


def _inside(transaction: Transaction, claims: Claims, key: int, path: str) -> None:
    """Gives a directory of the original's a place in the root of the copy."""
    target = str(Path(FOLDER, *Path(path).parts[1:]))
    log.warning("%s belongs to the original: the rows for it go to %s.  If the original is gone, "
                "remove %s there and run `sqlqueue init` again",
                path, target, ".sqlqueue.json")  # fmt: skip
    claims.make([target])
    with transaction() as connection:
        records.move_directory(connection, key, target)
