"""One task with all that is known of it, found by what stands in a row of any CSV.

Every function takes a connection inside a transaction and changes nothing.  What is not here: how
results are compared (`plan/differing.py`), how it is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, literal, select

from sqlqueue.errors import UnknownTask, UsageError
from sqlqueue.store import reading
from sqlqueue.store.reading import TaskRow
from sqlqueue.store.schema import (
    attempts,
    csv_rows,
    output_directories,
    phases,
    results,
    task_output_dirs,
    task_phases,
    tasks,
)

LEAST_CHARACTERS: Final = 8
MOST_NAMED: Final = 5
SIGNATURE_CHARACTERS: Final = 32

_HEXADECIMAL: Final = re.compile("[0-9a-f]+")
_OF_TASK: Final = ("priority", "created_at")


def find(connection: Connection, name: str) -> TaskRow:
    """The task of that id, or whose signature begins so; raises `UnknownTask` or `UsageError`."""
    if task := reading.find(connection, name):
        return task
    word = name.lower()
    if not _HEXADECIMAL.fullmatch(word) or len(word) > SIGNATURE_CHARACTERS:
        raise UnknownTask(f"no task {name!r} in this queue; a row's task_id or signature is meant")
    if len(word) < LEAST_CHARACTERS:
        raise UsageError(
            f"{name!r}: no task has this id, and of a signature at least {LEAST_CHARACTERS} "
            "characters are needed"
        )
    return _beginning(connection, word)


def _beginning(connection: Connection, word: str) -> TaskRow:
    """By the first characters: between them and what comes after all that begin so."""
    column = tasks.c.signature
    query = select(column).where(column >= word, column < f"{word}g").order_by(column)
    found = list(connection.execute(query.limit(MOST_NAMED + 1)).scalars())
    if not found:
        raise UnknownTask(f"no task has a signature that begins with {word!r}")
    if len(found) > 1:
        more = ", ..." if len(found) > MOST_NAMED else ""
        raise UsageError(f"{word!r} begins several: {', '.join(found[:MOST_NAMED])}{more}")
    task = reading.find(connection, "", found[0])
    assert task is not None
    return task


def found(connection: Connection, name: str) -> tuple[TaskRow, dict[str, Any]]:
    """The task of that name, and what is told of it."""
    task = find(connection, name)
    return task, told(connection, task)


def told(connection: Connection, task: TaskRow) -> dict[str, Any]:
    """All of it; of results the metrics as they are stored, by the number of their attempt."""
    more = select(*(tasks.c[name] for name in _OF_TASK)).where(tasks.c.signature == task.signature)
    found = dict(connection.execute(more).mappings().one())
    return {
        **found,
        "phases": _phases(connection, task),
        "directories": _directories(connection, task),
        "attempts": _attempts(connection, task),
        "results": _results(connection, task),
    }


def _rows(connection: Connection, query: Any) -> Iterable[dict[str, Any]]:
    return (dict(row) for row in connection.execute(query).mappings())


def _phases(connection: Connection, task: TaskRow) -> list[dict[str, Any]]:
    wish = task_phases.c
    query = (
        select(phases.c.name.label("phase"), wish.withdrawn, wish.priority, wish.asked_priority)
        .add_columns(wish.max_attempts, wish.timeout_seconds, phases.c.paused)
        .join(phases, phases.c.id == wish.phase_id)
        .where(wish.signature == task.signature)
        .order_by(wish.phase_id)
    )
    return list(_rows(connection, query))


def _directories(connection: Connection, task: TaskRow) -> list[dict[str, Any]]:
    """The primary first; `row`: its place in that CSV, counted from 1, or None."""
    link, row = task_output_dirs.c, csv_rows.c
    number = select(row.row_number).where(
        row.directory_id == link.directory_id, row.signature == link.signature
    )
    query = (
        select(output_directories.c.path.label("output_dir"))
        .add_columns(number.scalar_subquery().label("row"))
        .join(output_directories, output_directories.c.id == link.directory_id)
        .where(link.signature == task.signature)
        .order_by(link.id)
    )
    return list(_rows(connection, query))


def _attempts(connection: Connection, task: TaskRow) -> list[dict[str, Any]]:
    query = select(attempts).where(attempts.c.signature == task.signature)
    found = _rows(connection, query.order_by(attempts.c.number))
    return [{**each, "versions": json.loads(each["versions"])} for each in found]


def _results(connection: Connection, task: TaskRow) -> list[dict[str, Any]]:
    """The accepted one first, then in the order in which they came."""
    query = (
        select(attempts.c.number.label("attempt"), results.c.metrics, results.c.arrived_at)
        .add_columns(results.c.accepted)
        .join(attempts, attempts.c.id == results.c.attempt_id)
        .where(reading.results_for(literal(task.signature)))
        .order_by(results.c.accepted.desc(), results.c.id)
    )
    found = _rows(connection, query)
    return [{**each, "metrics": json.loads(each["metrics"])} for each in found]
