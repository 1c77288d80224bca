"""What failed and what could not be run, by what was said of it.

Every function takes a connection inside a transaction, and changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, func, select

from sqlqueue.lifecycle import Outcome, State
from sqlqueue.plan.headline import headline
from sqlqueue.protocol import CANNOT_RUN
from sqlqueue.store.schema import attempts, tasks

MOST_NAMED: Final = 5
LATELY_ATTEMPTS: Final = 1000
"""So many attempts back it is looked for what could not be run: the table may hold millions."""


def failures(connection: Connection) -> list[dict[str, Any]]:
    """Failed tasks by the headline of what their last attempt said, the most frequent first."""
    last = (
        select(attempts.c.signature, func.max(attempts.c.number).label("number"))
        .where(attempts.c.error.is_not(None))
        .group_by(attempts.c.signature)
        .subquery()
    )
    query = (
        select(tasks.c.task_id, attempts.c.error)
        .join(last, last.c.signature == tasks.c.signature)
        .join(
            attempts,
            (attempts.c.signature == last.c.signature) & (attempts.c.number == last.c.number),
        )
        .where(tasks.c.state == State.FAILED.value)
        .order_by(tasks.c.id)
    )
    rows = connection.execute(query)
    return _grouped((task_id, headline(error or "")) for task_id, error in rows)


def given_back(connection: Connection) -> list[dict[str, Any]]:
    """Waiting tasks that a worker lately could not run where it is, by what it said."""
    newest = connection.execute(select(func.max(attempts.c.id))).scalar() or 0
    query = (
        select(tasks.c.task_id, attempts.c.worker_id, attempts.c.error)
        .join(tasks, tasks.c.signature == attempts.c.signature)
        .where(attempts.c.id > newest - LATELY_ATTEMPTS)
        .where(tasks.c.state == State.PENDING.value)
        .where(attempts.c.outcome == Outcome.RELEASED.value)
        .where(attempts.c.error.startswith(CANNOT_RUN, autoescape=True))
        .order_by(attempts.c.id)
    )
    rows = connection.execute(query)
    return _grouped((task_id, f"{worker} {headline(error)}") for task_id, worker, error in rows)


def _grouped(told: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Tasks by what was said of them, the most frequent first."""
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for task_id, said in told:
        groups[said][task_id] = None
    ordered = sorted(groups.items(), key=lambda each: -len(each[1]))
    return [
        {"error": said, "count": len(ids), "task_ids": list(ids)[:MOST_NAMED]}
        for said, ids in ordered
    ]
