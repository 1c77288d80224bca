"""Which tasks run once more, and which did in vain, as a condition and as figures.

Every function takes a connection inside a transaction and changes nothing.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal_column, select

from sqlqueue.lifecycle import Outcome, State
from sqlqueue.store.schema import attempts, results, tasks

FAILED: Final = tuple(
    each.value for each in (Outcome.FAILED, Outcome.OOM, Outcome.TIMEOUT, Outcome.LOST)
)

_LATER: Final = attempts.alias("later")
_EVER: Final = tasks.c.rerun_after > literal_column("0")  # bound, it would not mean the index
_SUCCEEDED: Final = exists().where(
    results.c.signature == tasks.c.signature,
    results.c.accepted,
    _LATER.c.id == results.c.attempt_id,
    _LATER.c.number > tasks.c.rerun_after,
)
_FAILED: Final = exists().where(
    _LATER.c.signature == tasks.c.signature,
    _LATER.c.number > tasks.c.rerun_after,
    _LATER.c.outcome.in_(FAILED),
)
IN_VAIN: Final[ColumnElement[bool]] = and_(
    tasks.c.state == State.COMPLETED.value, _EVER, ~_SUCCEEDED, _FAILED
)
"""Ran once more and failed: the result of before stands."""

_COUNT: Final = select(func.count()).select_from(tasks)
_OPEN: Final = tasks.c.state.in_([State.PENDING.value, State.RUNNING.value])
_RERUNNING: Final = _COUNT.where(_EVER, _OPEN)
_IN_VAIN: Final = _COUNT.where(IN_VAIN)


def figures(connection: Connection) -> dict[str, int]:
    """How many run once more, or are to, and how many did in vain."""
    return {
        "rerunning": int(connection.execute(_RERUNNING).scalar_one()),
        "reruns_failed": int(connection.execute(_IN_VAIN).scalar_one()),
    }
