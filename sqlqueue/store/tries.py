"""A task's attempts as a person looks at them: which there are, and where their output lies.

Every function takes a connection inside a transaction, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from sqlqueue.errors import UnknownTask
from sqlqueue.lifecycle import State
from sqlqueue.store.schema import attempts, tasks


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt; `outcome` None while it runs, `log_file` as its worker named it at its end."""

    number: int
    outcome: str | None
    worker_id: str
    host: str
    device: str
    log_file: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Tried:
    """A task, and its attempts in the order in which they began."""

    task_id: str
    state: State
    tries: tuple[Try, ...]


def of_task(connection: Connection, task_id: str) -> Tried:
    """The task of that id; raises `UnknownTask`."""
    found = connection.execute(
        select(tasks.c.signature, tasks.c.state).where(tasks.c.task_id == task_id)
    ).first()
    if found is None:
        raise UnknownTask(f"no task {task_id!r} in this queue; `sqlqueue status` shows the phases")
    column = attempts.c
    query = (
        select(column.number, column.outcome, column.worker_id, column.host, column.device)
        .add_columns(column.log_file, column.seconds)
        .where(column.signature == found.signature)
        .order_by(column.number)
    )
    tries = tuple(Try(*row) for row in connection.execute(query))
    return Tried(task_id, State(found.state), tries)
