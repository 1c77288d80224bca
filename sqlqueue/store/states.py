"""Questions of states, said so that an index of few tasks answers them.

Among a million tasks an index of every state would change in two places with each claim and each
result; there is one only of the states that few tasks are in, and of those that wait (`schema.py`).
Every function takes a connection inside a transaction.  What is not here: how many there are in
each state (`counting.py`).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Select, and_, exists, literal_column, or_, select

from sqlqueue.lifecycle import State
from sqlqueue.store.prepared import Prepared, quoted
from sqlqueue.store.schema import tasks

_STATE: Final = tasks.c.state
_FEW: Final = _STATE.not_in([quoted(State.PENDING), quoted(State.COMPLETED)])
RUNNING: Final = and_(quoted(State.RUNNING) == _STATE, _FEW)
FAILED: Final = and_(quoted(State.FAILED) == _STATE, _FEW)
_PENDING: Final = tuple(
    exists().where(quoted(State.PENDING) == _STATE, tasks.c.held == literal_column(held))
    for held in ("0", "1")
)
_YES: Final[Select[Any]] = select(literal_column("1"))
_ANY_PENDING: Final = Prepared(_YES.where(or_(*_PENDING)))
_ANY_UNFINISHED: Final = Prepared(_YES.where(or_(*_PENDING, exists().where(RUNNING))))
_ANY_TASK: Final = Prepared(select(tasks.c.id).limit(literal_column("1")))


def any_pending(connection: Connection) -> bool:
    """Whether any task is pending, held or not."""
    return bool(_ANY_PENDING.all(connection))


def any_unfinished(connection: Connection) -> bool:
    """Whether any task is pending or running."""
    return bool(_ANY_UNFINISHED.all(connection))


def any_task(connection: Connection) -> bool:
    """Whether there is a task at all."""
    return bool(_ANY_TASK.all(connection))
