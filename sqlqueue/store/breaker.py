"""The circuit breaker in SQL: of each phase the cells that failed alike since one was completed,
and which phases it has paused, and why.  Kept here, so that it outlives the manager.

Every function takes a connection inside a transaction.  What is not here: when it trips
(`manager/breaking.py`), pauses as such, whose end makes it count anew (`steering.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, literal_column, select
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.lifecycle import State
from sqlqueue.plan.kind import Said
from sqlqueue.store import steering
from sqlqueue.store.prepared import Prepared
from sqlqueue.store.schema import breakers, phases, streaks, task_phases, tasks

_WISH: Final = task_phases.c
_WANTING: Final = select(_WISH.phase_id).where(
    _WISH.signature == bindparam("of_signature"), _WISH.withdrawn.is_(False)
)
_ANY: Final = Prepared(select(streaks.c.phase_id).limit(literal_column("1")))
_FORGET: Final = delete(streaks).where(streaks.c.phase_id.in_(_WANTING))
_TO_COME: Final = (State.PENDING.value, State.RUNNING.value)
_NOTE: Final = insert(streaks).on_conflict_do_nothing()


@dataclass(frozen=True, slots=True)
class Paused:
    """A phase that the breaker has paused: its key, and why, as `status` tells it."""

    phase_id: int
    phase: str
    kind: str
    outcome: str
    error: str
    cells: int
    since: float

    def shown(self) -> dict[str, Any]:
        since = datetime.fromtimestamp(self.since, UTC).isoformat(timespec="seconds")
        names = ("kind", "outcome", "error", "cells")
        return {name: getattr(self, name) for name in names} | {"since": since}


def note(connection: Connection, signature: str, kind: str) -> dict[int, int]:
    """Notes that a cell failed; how many cells have failed like that since one was completed, of
    each phase that wants this one and is not paused, by its key."""
    keys = list(connection.execute(_WANTING, {"of_signature": signature}).scalars())
    if not keys:
        return {}
    rows = [{"phase_id": key, "kind": kind, "signature": signature} for key in keys]
    connection.execute(_NOTE, rows)
    column = streaks.c
    query = (
        select(column.phase_id, func.count())
        .join(phases, phases.c.id == column.phase_id)
        .where(column.phase_id.in_(keys), column.kind == kind, phases.c.paused.is_(False))
        .group_by(column.phase_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def forget(connection: Connection, signatures: Sequence[str]) -> None:
    """The phases that want these tasks count anew: one was completed, or is tried again."""
    if signatures and _ANY.all(connection):
        connection.execute(_FORGET, [{"of_signature": each} for each in signatures])


def smaller_to_come(connection: Connection, phase_id: int, kind: str) -> bool:
    """Whether a cell of the phase runs, or may be handed out, that costs less than all that failed
    so."""
    failed = streaks.c
    least = (
        select(func.min(tasks.c.cost))
        .join(streaks, failed.signature == tasks.c.signature)
        .where(failed.phase_id == phase_id, failed.kind == kind)
    )
    query = (
        select(tasks.c.id)
        .join(task_phases, _WISH.signature == tasks.c.signature)
        .where(_WISH.phase_id == phase_id, _WISH.withdrawn.is_(False))
        .where(tasks.c.state.in_(_TO_COME), tasks.c.held.is_(False))
        .where(tasks.c.cost < least.scalar_subquery())
        .limit(1)
    )
    return connection.execute(query).first() is not None


def trip(connection: Connection, phase_id: int, said: Said, cells: int, now: float) -> Paused:
    """Pauses the phase and keeps why; which tasks are held is then to be settled."""
    values = {
        "phase_id": phase_id, "kind": said.kind, "outcome": said.outcome, "error": said.heading,
        "cells": cells, "since": now,
    }  # fmt: skip
    connection.execute(insert(breakers).values(values))
    steering.pause_phases(connection, [phase_id], True)
    return paused(connection)[phase_id]


def paused(connection: Connection) -> dict[int, Paused]:
    """The phases that the breaker has paused, by their key."""
    query = select(breakers, phases.c.name.label("phase")).join(
        phases, phases.c.id == breakers.c.phase_id
    )
    rows = connection.execute(query.order_by(phases.c.id)).mappings()
    return {row["phase_id"]: Paused(**dict(row)) for row in rows}


def paused_for(connection: Connection, signatures: Sequence[str]) -> dict[str, int]:
    """Of the phases that want one of these tasks, those that the breaker has paused: their keys."""
    query = (
        select(phases.c.name, phases.c.id)
        .join(breakers, breakers.c.phase_id == phases.c.id)
        .join(task_phases, _WISH.phase_id == phases.c.id)
        .where(_WISH.signature.in_(signatures), _WISH.withdrawn.is_(False))
        .distinct()
    )
    return {row.name: row.id for row in connection.execute(query)} if signatures else {}
