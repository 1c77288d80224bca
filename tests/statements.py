"""Hearing of every SQL statement before it is executed, whichever way it goes to the driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

from sqlqueue.store import prepared

Hear = Callable[[sqlite3.Connection, str, Any], None]
"""The driver's connection, the statement, its values."""


@contextmanager
def heard(hear: Hear) -> Iterator[None]:
    """Inside the block `hear` is called for each, and may raise what it then fails with."""

    def listen(_c: Any, cursor: Any, text: str, values: Any, *_: Any) -> None:
        hear(cursor.connection, text, values)

    def execute(connection: Connection, text: str, values: prepared.Values) -> sqlite3.Cursor:
        hear(connection.connection.dbapi_connection, text, values)  # type: ignore[arg-type]
        return real(connection, text, values)

    real = prepared.execute
    event.listen(Engine, "before_cursor_execute", listen)
    prepared.execute = execute
    try:
        yield
    finally:
        prepared.execute = real
        event.remove(Engine, "before_cursor_execute", listen)


@contextmanager
def plans() -> Iterator[list[str]]:
    """Inside the block, how SQLite goes about each statement, step by step."""
    steps: list[str] = []

    def explain(driver: sqlite3.Connection, text: str, values: Any) -> None:
        for each in values if isinstance(values, list) else [values]:
            steps.extend(
                detail for *_, detail in driver.execute(f"EXPLAIN QUERY PLAN {text}", each)
            )

    with heard(explain):
        yield steps
