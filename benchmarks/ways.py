"""Other ways to store a result: what people write themselves, and the least that is safe.

`naive`: each CSV is read and written anew with pandas, nothing is synced, two processes
would lose rows.  `bare`: one SQLite commit (WAL, FULL) and a synced append to each CSV for
every `batch` results, and nothing else that sqlqueue does: no sockets, no checks, no links.
What is not here: sqlqueue.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pandas as pd

from benchmarks.measure import seconds_of

SCHEMA = "CREATE TABLE IF NOT EXISTS results (task_id TEXT, metrics TEXT)"


def naive(files: Sequence[Path], count: int) -> float:
    """Results per second."""
    row = pd.read_csv(files[0], nrows=1)

    def store_all() -> None:
        for _ in range(count):
            for path in files:
                pd.concat([pd.read_csv(path), row]).to_csv(path, index=False)

    return count / seconds_of(store_all)


def bare(folder: Path, files: Sequence[Path], count: int, batch: int) -> float:
    """Results per second."""
    row = files[0].read_bytes().splitlines(keepends=True)[-1]
    descriptors = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in files]
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as base:
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", SCHEMA):
            base.execute(statement)
        _settle(base)

        def store_all() -> None:
            for _ in range(count // batch):
                base.execute("BEGIN IMMEDIATE")
                base.executemany("INSERT INTO results VALUES (?, ?)", [("a_task", row)] * batch)
                for descriptor in descriptors:
                    os.write(descriptor, row * batch)
                    os.fsync(descriptor)
                base.execute("COMMIT")

        seconds = seconds_of(store_all)
    for descriptor in descriptors:
        os.close(descriptor)
    return count // batch * batch / seconds


def _settle(base: sqlite3.Connection) -> None:
    """Lets the log grow to what it is in a long run: written over, it costs less to sync."""
    base.execute("INSERT INTO results VALUES ('settle', zeroblob(8000000))")
    base.execute("DELETE FROM results WHERE task_id = 'settle'")
    base.execute("PRAGMA wal_checkpoint(RESTART)")
