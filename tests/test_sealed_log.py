"""Whose the log is that lies beside a large database: where that is known, no page is looked at.

Managers that die are real processes that are killed; every file is as they left it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from crash_scenarios import Desk, Room, opened, result
from faults import Tell, in_a_child

from sqlqueue.errors import StorageFailure
from sqlqueue.home import Home
from sqlqueue.store import condition, sealing


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """A queue whose manager was killed after two results, its log beside it."""
    made = Room(tmp_path / "queue").fresh()
    killed(made, lambda desk: desk.say(result(0), result(1)))
    assert log_of(made).stat().st_size
    return made


def killed(room: Room, last: Callable[[Desk], object]) -> None:
    """A manager of it dies in an instant, after what it did last."""

    def work(_tell: Tell) -> None:
        desk = Desk(room.home)
        desk.committer.open()
        last(desk)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(work).killed


def log_of(room: Room) -> Path:
    return room.home.database.with_name("queue.db-wal")


def pages_looked_at(home: Home, monkeypatch: pytest.MonkeyPatch, small_bytes: int = 0) -> bool:
    """Whether opening it for writing looks at the pages, if it is small up to so many bytes."""
    looked: list[Path] = []
    real = condition.check_pages

    def check_pages(path: Path, *, surely: bool = False) -> None:
        looked.append(path)
        real(path, surely=surely)

    monkeypatch.setattr(condition, "SURELY_BYTES", small_bytes)
    monkeypatch.setattr(condition, "check_pages", check_pages)
    condition.check(home)
    return bool(looked)


def rewrite(path: Path, data: bytes) -> None:
    """In place: the file keeps its inode."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def test_what_a_killed_manager_left_is_known(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sealing.holds(room.home)
    assert not pages_looked_at(room.home, monkeypatch)
    with opened(room.home) as desk:
        desk.say(result(2))
    assert len(room.csv("a").read_bytes().splitlines()) == 4


def test_a_small_one_is_looked_at_anyway(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sealing.holds(room.home)
    assert pages_looked_at(room.home, monkeypatch, room.home.database.stat().st_size)


# --- what breaks it -------------------------------------------------------------------------


def older_database(room: Room) -> None:
    """One of before is put in its place; the log stays."""
    data = room.home.database.read_bytes()
    room.home.database.unlink()
    room.home.database.write_bytes(data)


def database_in_place(room: Room) -> None:
    rewrite(room.home.database, room.home.database.read_bytes())


def log_of_another(room: Room) -> None:
    """As good a log, which a manager of a copy left."""
    other = room.copy(room.root.parent / "other")
    killed(other, lambda desk: desk.say(result(2)))
    shutil.copy(log_of(other), log_of(room))


def log_that_began_anew(room: Room) -> None:
    """The same file, with the numbers of another log."""
    data = bytearray(log_of(room).read_bytes())
    data[16:24] = bytes(8)
    rewrite(log_of(room), bytes(data))


def no_seal(room: Room) -> None:
    room.home.seal.unlink()


def another_boot(room: Room) -> None:
    data = room.home.seal.read_bytes()
    room.home.seal.write_bytes(b"0" + data[1:] if data[:1] != b"0" else b"1" + data[1:])


def a_copy(room: Room) -> None:
    """The home comes back from a backup of its files."""
    shutil.copytree(room.home.path, room.root / "backup")
    shutil.rmtree(room.home.path)
    shutil.move(room.root / "backup", room.home.path)


BREAKING = [
    older_database, database_in_place, log_of_another, log_that_began_anew, no_seal,
    another_boot, a_copy,
]  # fmt: skip


@pytest.mark.parametrize("change", BREAKING, ids=lambda each: each.__name__)
def test_whatever_is_not_as_it_was_left_is_looked_at(
    room: Room, change: Callable[[Room], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(room)
    assert not sealing.holds(room.home)
    assert pages_looked_at(room.home, monkeypatch)


def test_a_log_that_began_anew_is_noted(room: Room) -> None:
    """Checkpoints change the database, and the next commit begins the log anew: each is noted."""

    def work(desk: Desk) -> None:
        with closing(sqlite3.connect(room.home.database)) as base:
            base.execute("PRAGMA wal_checkpoint(RESTART)")
        desk.say(result(2))
        desk.say(result(3))

    before = room.home.seal.read_bytes()
    killed(room, work)
    assert sealing.holds(room.home)
    assert room.home.seal.read_bytes() != before


def test_a_database_that_failed_has_no_seal(tmp_path: Path) -> None:
    room = Room(tmp_path / "queue").fresh()
    with opened(room.home) as desk:
        desk.say(result(0))
        assert sealing.holds(room.home)
        with pytest.raises(StorageFailure), desk.committer.transaction() as connection:
            connection.exec_driver_sql("SELECT * FROM nothing")
        assert not sealing.holds(room.home)
        desk.say(result(1))
        assert sealing.holds(room.home)
