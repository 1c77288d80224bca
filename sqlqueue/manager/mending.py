"""Repairing everything: folders that are gone, CSVs, rows that a directory still waits for.

A link to a completed task without its row is what `recover` leaves behind when it dies half
way, and what a person makes who edits the database.  What is not here: mending one file
(`store/recovery.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Final

from sqlalchemy import Connection

from sqlqueue.errors import DirectoryError, DirectoryUnavailable, StorageFailure
from sqlqueue.store import reading, records
from sqlqueue.store.directories import Claims
from sqlqueue.store.outputs import Outputs, Redo
from sqlqueue.store.replacing import Values

BATCH: Final = 500
MOST_TRIES: Final = 50

Transaction = Callable[[], AbstractContextManager[Connection]]


def repair(
    outputs: Outputs, claims: Claims, transaction: Transaction, go_on: Callable[[], None]
) -> list[str]:
    """Brings every CSV back to what the database says; one line for each thing done.

    `go_on`: raises when the next directory is not to be looked at any more.
    """
    _restore_folders(claims, transaction)
    return outputs.repair_all(transaction, go_on) + deliver_missing(outputs, transaction)


def _restore_folders(claims: Claims, transaction: Transaction) -> None:
    """What cannot be put back is told by the repair of that directory."""
    with suppress(DirectoryError), transaction() as connection:
        paths = [path for path, _ in records.load(connection).values()]
        claims.restore(connection, paths)


def deliver_missing(outputs: Outputs, transaction: Transaction) -> list[str]:
    """Delivers what is missing, some rows a transaction; one line for each directory."""
    delivered: dict[int, int] = {}
    tries = 0
    while due := _due(outputs, transaction):
        try:
            with transaction() as connection:
                rows = _rows(connection, due[:BATCH])
                outputs.deliver(connection, rows)
            outputs.committed()
        except Redo:
            outputs.undo()
            outputs.mend(transaction)
            tries += 1
            if tries > MOST_TRIES:
                raise DirectoryUnavailable("the output directories keep changing") from None
            continue
        except StorageFailure:
            outputs.unknown()
            raise
        for key, values in rows.items():
            delivered[key] = delivered.get(key, 0) + len(values)
    return _lines(transaction, delivered)


def _due(outputs: Outputs, transaction: Transaction) -> list[tuple[str, int]]:
    """The links that wait, those to suspended directories left out."""
    with transaction() as connection:
        waiting = records.undelivered(connection)
    return [each for each in waiting if each[1] not in outputs.suspended]


def _rows(connection: Connection, due: list[tuple[str, int]]) -> dict[int, dict[str, Values]]:
    values = reading.accepted_rows(connection, {signature for signature, _ in due})
    rows: dict[int, dict[str, Values]] = {}
    for signature, key in due:
        rows.setdefault(key, {})[signature] = values[signature]
    return rows


def _lines(transaction: Transaction, delivered: dict[int, int]) -> list[str]:
    with transaction() as connection:
        known = records.load(connection, delivered)
    return [
        f"{known[key][0]}: {count} {'row' if count == 1 else 'rows'} delivered"
        for key, count in delivered.items()
    ]
