"""Tasks told with their parameters, to whoever compares something with them.

Bounded: one answer holds so many tasks, and so many bytes of parameters.  Changes nothing.
What is not here: which tasks a selector means (`selecting.py`).
"""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import Connection, and_, select

from sqlqueue.plan.selector import Selector
from sqlqueue.protocol import MAX_MESSAGE_BYTES, DescribedTask
from sqlqueue.store import selecting
from sqlqueue.store.schema import phases, results, tasks

MOST_BYTES: Final = MAX_MESSAGE_BYTES // 4
"""Of parameters, as text; a character may take several bytes more in a message."""

_DESCRIBED = (
    select(
        tasks.c.id, tasks.c.signature, tasks.c.task_id, phases.c.name.label("phase"),
        tasks.c.experiment, tasks.c.parameters, tasks.c.runtime_only,
        results.c.id.is_not(None).label("completed"),
    )
    .join(phases, phases.c.id == tasks.c.phase_id)
    .outerjoin(results, and_(results.c.signature == tasks.c.signature, results.c.accepted))
    .order_by(tasks.c.id)
)  # fmt: skip


def some(
    connection: Connection, selector: Selector, after: int
) -> tuple[list[DescribedTask], int | None]:
    """The first of the selected tasks after that key, and the key after which the rest comes."""
    bite = selecting.bite(connection, selector, after)
    chosen = [each.signature for each in bite.tasks]
    query = _DESCRIBED.where(tasks.c.signature.in_(chosen), tasks.c.id > after)
    found: list[DescribedTask] = []
    size, last = 0, after
    for row in connection.execute(query).mappings():
        size += len(row["parameters"])
        if found and size > MOST_BYTES:
            return found, last
        last = row["id"]
        found.append(_described(row))
    return found, bite.next


def _described(row: Any) -> DescribedTask:
    return DescribedTask(
        signature=row["signature"],
        task_id=row["task_id"],
        phase=row["phase"],
        experiment=row["experiment"],
        parameters=json.loads(row["parameters"]),
        runtime_only=json.loads(row["runtime_only"]),
        completed=bool(row["completed"]),
    )
