"""What phases wish of tasks, and what several wishes come to.

Where several phases want one task, the largest value holds; no time limit is largest.  A person's
word on the priority holds over the sweep file's.  A task is held while all who want it are paused.
Wishes that were withdrawn count for nothing; a task that nobody wants stays as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sqlalchemy import ColumnElement, Connection, Integer, Select, bindparam, case, func, select
from sqlalchemy import cast as as_type

from sqlqueue.store.schema import phases, task_phases, tasks

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


def settle(connection: Connection, signatures: Collection[str]) -> None:
    """Has these tasks be what their wishes come to."""
    if signatures:
        found = connection.execute(come_to().where(_WISH.signature.in_(signatures)))
        rows = [dict(row) for row in found.mappings()]
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
