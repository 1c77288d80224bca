"""What phases wish of tasks, and what several wishes come to.

Where several phases want one task, the largest value holds; no time limit is largest.  A person's
word on the priority holds over the sweep file's.  A task is held while all who want it are paused.
Wishes that were withdrawn count for nothing; a task that nobody wants stays as it was.

What concerns whole phases is settled for all tasks in one pass, some at a time; how far it is
stands in the database, so that whoever comes next goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    bindparam,
    case,
    delete,
    func,
    select,
)
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.store.schema import meta, phases, task_phases, tasks

_WISH: Final = task_phases.c
URGENCY: Final = func.coalesce(_WISH.asked_priority, _WISH.priority)
_UNLIMITED: Final = func.count() > func.count(_WISH.timeout_seconds)
_TIMEOUT: Final[ColumnElement[float | None]] = case(
    (_UNLIMITED, None), else_=func.max(_WISH.timeout_seconds)
)
_HELD: Final = func.min(as_type(phases.c.paused, Integer))
_CHANGE: Final = (
    tasks.update()
    .where(tasks.c.signature == bindparam("of_signature"))
    .values(
        priority=bindparam("to_priority"),
        max_attempts=bindparam("to_attempts"),
        timeout_seconds=bindparam("to_timeout"),
        held=bindparam("to_held"),
    )
)


def come_to() -> Select[tuple[str, int, int, float | None, int]]:
    """Of each task that somebody wants: what the wishes come to, where it stands otherwise."""
    return (
        select(
            _WISH.signature.label("of_signature"),
            func.max(URGENCY).label("to_priority"),
            func.max(_WISH.max_attempts).label("to_attempts"),
            _TIMEOUT.label("to_timeout"),
            _HELD.label("to_held"),
        )
        .join(tasks, tasks.c.signature == _WISH.signature)
        .join(phases, phases.c.id == _WISH.phase_id)
        .where(_WISH.withdrawn.is_(False))
        .group_by(_WISH.signature)
        .having(
            (func.max(URGENCY) != func.max(tasks.c.priority))
            | (func.max(_WISH.max_attempts) != func.max(tasks.c.max_attempts))
            | _TIMEOUT.is_distinct_from(func.max(tasks.c.timeout_seconds))
            | (func.max(as_type(tasks.c.held, Integer)) != _HELD)
        )
    )


BITE_TASKS: Final = 2000
_PASS: Final = "settling"
_HOW_FAR: Final = select(meta.c.value).where(meta.c.key == _PASS)
_LAST: Final = select(func.max(tasks.c.id))


def begin_settling(connection: Connection) -> None:
    """A pass over all tasks begins, or begins anew."""
    _note(connection, 0)


def is_settling(connection: Connection) -> bool:
    """Whether a pass is under way."""
    return connection.execute(_HOW_FAR).first() is not None


def settle_some(connection: Connection) -> int | None:
    """Goes on with the pass, if one is under way; how far it is, None when it is over."""
    found = connection.execute(_HOW_FAR).scalar()
    if found is None:
        return None
    after = int(found)
    upto = after + BITE_TASKS
    _change(connection, come_to().where(tasks.c.id > after, tasks.c.id <= upto))
    if upto < (connection.execute(_LAST).scalar() or 0):
        _note(connection, upto)
        return upto
    connection.execute(delete(meta).where(meta.c.key == _PASS))
    return None


def _note(connection: Connection, how_far: int) -> None:
    row = insert(meta).values(key=_PASS, value=str(how_far))
    connection.execute(
        row.on_conflict_do_update(index_elements=["key"], set_={"value": str(how_far)})
    )


def settle(connection: Connection, signatures: Collection[str]) -> None:
    """Has these tasks be what their wishes come to."""
    if signatures:
        _change(connection, come_to().where(_WISH.signature.in_(signatures)))


def _change(connection: Connection, due: Select[Any]) -> None:
    rows = [dict(row) for row in connection.execute(due).mappings()]
    if rows:
        connection.execute(_CHANGE, rows)


def asked_of_phases(connection: Connection, keys: Iterable[int]) -> dict[int, int]:
    """What a person asked of whole phases, for the cells that come to them."""
    query = select(phases.c.id, phases.c.asked_priority).where(phases.c.id.in_(list(keys)))
    return {key: asked for key, asked in connection.execute(query) if asked is not None}


def steered(connection: Connection, keys: Iterable[int]) -> set[int]:
    """Of these phases, those whose new cells are not simply as the sweep file says."""
    query = select(phases.c.id).where(
        phases.c.id.in_(list(keys)), phases.c.paused | phases.c.asked_priority.is_not(None)
    )
    return set(connection.execute(query).scalars())
