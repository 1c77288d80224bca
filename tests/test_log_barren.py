"""A log in which nothing was ever committed, as a process leaves it that is killed in its first
commit: nobody is locked out by it, and everybody reads what is in the database.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from lost_queue import Lost, in_memory, log_of

from conftest import audit
from sqlqueue.store import condition, engine, looking

QUICK_SECONDS = 5.0
"""SQLite gives up after ten."""


@pytest.fixture
def queue() -> Iterator[Lost]:
    with in_memory() as folder:
        made = Lost.made(folder / "queue", "barren_trial", seeds=3)
        made.submit(0.5)
        yield made


def beside(queue: Lost, end: str) -> Path:
    return queue.home.database.with_name(f"queue.db{end}")


def left_behind(queue: Lost, log: bytes) -> None:
    """That log, and the index that whoever wrote it had made of the empty one before."""
    with closing(sqlite3.connect(queue.home.database)) as base:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("SELECT count(*) FROM tasks").fetchone()
        index = beside(queue, "-shm").read_bytes()
    beside(queue, "-shm").write_bytes(index)
    beside(queue, "-wal").write_bytes(log)


@pytest.mark.parametrize("what", ["a head", "half a head", "no head", "a head and half a page"])
def test_nobody_is_locked_out(queue: Lost, what: str) -> None:
    head = log_of(queue, queue.root.parent / "other").read_bytes()[: looking.LOG_HEAD_BYTES]
    logs = {
        "a head": head,
        "half a head": head[:16],
        "no head": b"\x01" * 40,
        "a head and half a page": head + b"\x01" * 1000,
    }
    left_behind(queue, logs[what])
    began = time.monotonic()
    assert condition.problem(queue.home) is None
    assert audit(queue.home) == []
    assert time.monotonic() - began < QUICK_SECONDS
    assert beside(queue, "-wal").read_bytes() == logs[what]
    engine.open_writer(queue.home).dispose()
    assert audit(queue.home) == []


def test_a_log_with_a_commit_in_it_is_read(queue: Lost) -> None:
    log = log_of(queue, queue.root.parent / "other")
    shutil.copy(log, beside(queue, "-wal"))
    with closing(looking.look(queue.home.database)) as base:
        (cost,) = base.execute("SELECT max(cost) FROM tasks").fetchone()
    with closing(sqlite3.connect(f"{queue.home.database.as_uri()}?immutable=1", uri=True)) as base:
        (before,) = base.execute("SELECT max(cost) FROM tasks").fetchone()
    assert cost == before + 1


def test_a_log_that_goes_while_it_is_opened(queue: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes the database last removes it, between a look whether it is there and
    the opening."""
    address, removed = looking.reading, []

    def seen_before(path: Path) -> str:
        if removed:
            return address(path)
        with closing(sqlite3.connect(path)) as base:
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("UPDATE tasks SET cost = 7")
            base.commit()
            found = address(path)
        removed.append(not beside(queue, "-wal").exists())
        return found

    monkeypatch.setattr(looking, "reading", seen_before)
    with closing(looking.look(queue.home.database)) as base:
        assert base.execute("SELECT min(cost), max(cost) FROM tasks").fetchone() == (7, 7)
    assert removed == [True]
