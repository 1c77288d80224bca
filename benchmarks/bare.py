"""The least that a database could do instead, on a queue of the same length.

Plain `sqlite3` on one table, no lifecycle, no leases, no links, nobody to answer: what sqlqueue
takes is compared with these.  What is not here: results (`ways.py`).
"""

from __future__ import annotations

import csv
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.measure import seconds_of

TABLE = """CREATE TABLE tasks (id INTEGER PRIMARY KEY, signature TEXT UNIQUE, parameters TEXT,
    state TEXT, priority INTEGER, cost REAL)"""
INDEX = "CREATE INDEX waiting ON tasks (priority DESC, cost DESC, id) WHERE state = 'PENDING'"
PARAMETERS = '{"seed": 42, "model_type": "cnn", "width_factor": 4, "dataset": "digits", "lr": 0.1}'
CLAIM = """UPDATE tasks SET state = 'RUNNING' WHERE id = (SELECT id FROM tasks
    WHERE state = 'PENDING' ORDER BY priority DESC, cost DESC, id LIMIT 1) RETURNING id"""
COUNT = "SELECT state, count(*) FROM tasks GROUP BY state"


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """Durable at every commit, as sqlqueue is."""
    with closing(sqlite3.connect(file, isolation_level=None)) as base:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = FULL")
        yield base


def insert(file: Path, count: int) -> float:
    """Seconds to add so many rows, in one transaction, with a unique signature each."""
    with opened(file) as base:
        base.execute(TABLE)
        base.execute(INDEX)
        return seconds_of(lambda: _insert(base, count))


def _insert(base: sqlite3.Connection, count: int) -> None:
    rows = ((f"{n * 2654435761 % 2**32:032x}", PARAMETERS, n % 4) for n in range(count))
    base.execute("BEGIN IMMEDIATE")
    base.executemany(
        "INSERT INTO tasks (signature, parameters, state, priority, cost) "
        "VALUES (?, ?, 'PENDING', 0, ?)", rows,
    )  # fmt: skip
    base.execute("COMMIT")


def claims_us(base: sqlite3.Connection, count: int) -> float:
    """Microseconds of a claim, as one of so many in a transaction that is given up."""
    base.execute("BEGIN IMMEDIATE")
    seconds = seconds_of(lambda: [base.execute(CLAIM).fetchone() for _ in range(count)])
    base.execute("ROLLBACK")
    return 1e6 * seconds / count


def count_ms(database: Path) -> float:
    """Milliseconds to count the tasks of a queue of ours by state, as one would."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as base:
        return 1000 * seconds_of(lambda: base.execute(COUNT).fetchall())


def copy_rows(database: Path, to: Path) -> float:
    """Seconds to write the results of a queue of ours into a CSV, synced."""
    query = """SELECT task_id, signature, parameters, metrics FROM tasks
        JOIN results USING (signature) WHERE accepted ORDER BY tasks.id"""

    def copy() -> None:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as base, \
                to.open("w", newline="") as file:  # fmt: skip
            csv.writer(file).writerows(base.execute(query))
            file.flush()
            os.fsync(file.fileno())

    return seconds_of(copy)
