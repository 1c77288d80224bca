"""Tasks added, or many moved from one state to another, and counted all at once.

The triggers that keep the counts (`counting.py`) cost several times what the change itself does,
once for every row; so for what is added there are none, for moves they hold still here, and the
counts change by what is found in one look.
Every function takes a connection inside a transaction.  What is not here: which moves are legal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Integer, bindparam, func, literal_column, select
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.lifecycle import State
from sqlqueue.store.counting import EVERY
from sqlqueue.store.planned import directory_tallies, tallies, uncounted
from sqlqueue.store.prepared import Prepared, among, listed
from sqlqueue.store.schema import task_output_dirs, task_phases, tasks

Key = tuple[int, str, int, int, int]
"""Of `tallies`: phase, state, shape, priority, whether held."""

FEW: Final = 4
"""For so many, what the triggers do costs less."""

_WISH: Final = task_phases.c
_WISH_ROW: Final = literal_column("task_phases.rowid", Integer)
"""A table without a key of its own counts its rows all the same."""
_HOLD_STILL: Final = Prepared(uncounted.insert().values(id=literal_column("1")))
_GO_ON: Final = Prepared(uncounted.delete())
_MOVE: Final = Prepared(
    tasks.update()
    .where(tasks.c.id == bindparam("of_key"), tasks.c.state == bindparam("from_state"))
    .values(state=bindparam("to_state"))
)
_KIND: Final = (tasks.c.shape_id, tasks.c.priority, tasks.c.held, func.count())
_TASKS: Final = Prepared(
    select(literal_column(str(EVERY), Integer), *_KIND)
    .where(among(tasks.c.id, "keys"))
    .group_by(*_KIND[:3])
)
_WISHES: Final = Prepared(
    select(_WISH.phase_id, *_KIND)
    .select_from(tasks)
    .join(task_phases, _WISH.signature == tasks.c.signature)
    .where(among(tasks.c.id, "keys"), _WISH.withdrawn == literal_column("0"))
    .group_by(_WISH.phase_id, *_KIND[:3])
)
_LINKS: Final = Prepared(
    select(task_output_dirs.c.directory_id, func.count())
    .select_from(tasks)
    .join(task_output_dirs, task_output_dirs.c.signature == tasks.c.signature)
    .where(among(tasks.c.id, "keys"))
    .group_by(task_output_dirs.c.directory_id)
)
_KEY: Final = tuple(tallies.primary_key.columns)
_COUNT: Final = insert(tallies).values({each.name: bindparam(each.name) for each in tallies.c})
_TALLY: Final = Prepared(
    _COUNT.on_conflict_do_update(
        index_elements=[each.name for each in _KEY],
        set_={"cells": tallies.c.cells + _COUNT.excluded.cells},
    )
)
_COUNT_LINKS: Final = insert(directory_tallies).values(
    {each.name: bindparam(each.name) for each in directory_tallies.c}
)
_TALLY_LINKS: Final = Prepared(
    _COUNT_LINKS.on_conflict_do_update(
        index_elements=["directory_id", "state"],
        set_={"cells": directory_tallies.c.cells + _COUNT_LINKS.excluded.cells},
    )
)


_NO_INDEX: Final = literal_column("0", Integer)
"""Grouped by a sum, what is new is found by its row; else by an index, past all that is old."""
_NEWEST: Final = tuple(
    Prepared(select(func.coalesce(func.max(column), literal_column("0"))).select_from(table))
    for table, column in (
        (tasks, tasks.c.id),
        (task_phases, _WISH_ROW),
        (task_output_dirs, task_output_dirs.c.id),
    )
)
_NEW_TASKS: Final = Prepared(
    select(literal_column(str(EVERY), Integer), tasks.c.state, *_KIND)
    .where(tasks.c.id > bindparam("newest"))
    .group_by(tasks.c.state, *_KIND[:3])
)
_NEW_WISHES: Final = Prepared(
    select(_WISH.phase_id, tasks.c.state, *_KIND)
    .select_from(task_phases)
    .join(tasks, tasks.c.signature == _WISH.signature)
    .where(bindparam("newest") < _WISH_ROW, _WISH.withdrawn == literal_column("0"))
    .group_by(_NO_INDEX + _WISH.phase_id, tasks.c.state, *_KIND[:3])
)
NEW_ROWS: Final = (_NEW_TASKS, _NEW_WISHES)
NEW_LINKS: Final = Prepared(
    select(task_output_dirs.c.directory_id, tasks.c.state, func.count())
    .select_from(task_output_dirs)
    .join(tasks, tasks.c.signature == task_output_dirs.c.signature)
    .where(task_output_dirs.c.id > bindparam("newest"))
    .group_by(_NO_INDEX + task_output_dirs.c.directory_id, tasks.c.state)
)


@contextmanager
def counted(connection: Connection) -> Iterator[None]:
    """Tasks, wishes and links are added inside such a block, and nowhere else; what else changes
    there the triggers count."""
    newest = [each.all(connection)[0][0] for each in _NEWEST]
    yield
    changes: dict[Key, int] = {}
    for query, before in zip(NEW_ROWS, newest, strict=False):
        for phase, state, *kind, cells in query.all(connection, newest=before):
            _note(changes, phase, State(state), kind, cells)
    _tally(connection, changes)
    _tally_links(connection, NEW_LINKS.all(connection, newest=newest[2]))


def move_all(connection: Connection, keys: Sequence[int], before: State, after: State) -> int:
    """Moves the tasks with those primary keys; how many were as they should be before."""
    states = {"from_state": before.value, "to_state": after.value}
    rows = [{"of_key": key, **states} for key in keys]
    if len(rows) <= FEW:
        return _MOVE.each(connection, rows)
    _HOLD_STILL.change(connection)
    moved = _MOVE.each(connection, rows)
    _GO_ON.change(connection)
    _recount(connection, keys, before, after)
    return moved


def _recount(connection: Connection, keys: Sequence[int], before: State, after: State) -> None:
    given = listed(keys)
    changes: dict[Key, int] = {}
    for query in (_TASKS, _WISHES):
        for phase, *kind, cells in query.all(connection, keys=given):
            _note(changes, phase, before, kind, -cells)
            _note(changes, phase, after, kind, cells)
    _tally(connection, changes)
    links = [
        (directory, state.value, more)
        for directory, cells in _LINKS.all(connection, keys=given)
        for state, more in ((before, -cells), (after, cells))
    ]
    _tally_links(connection, links)


def _note(
    changes: dict[Key, int], phase: int, state: State, kind: Sequence[int], more: int
) -> None:
    key = (phase, *_key(state, *kind))
    changes[key] = changes.get(key, 0) + more


def _tally(connection: Connection, changes: dict[Key, int]) -> None:
    names = [each.name for each in _KEY]
    rows = [dict(zip(names, key, strict=True)) | {"cells": n} for key, n in changes.items()]
    _TALLY.each(connection, rows)


def _tally_links(connection: Connection, links: Iterable[tuple[int, str, int]]) -> None:
    rows = [{"directory_id": key, "state": state, "cells": more} for key, state, more in links]
    _TALLY_LINKS.each(connection, rows)


def _key(state: State, shape: int, priority: int, held: int) -> tuple[str, int, int, int]:
    """As `counting.key_of` says it in SQL."""
    to_come, waits = state in (State.PENDING, State.RUNNING), state is State.PENDING
    return (
        state.value,
        shape if to_come else 0,
        priority if waits else 0,
        held if waits else 0,
    )
