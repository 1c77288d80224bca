"""A look at a database beside which a manager begins: what is read is of one state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import Room, prepare

from sqlqueue.store import condition, engine, looking
from sqlqueue.store.audit import verify, verify_database

MANY = 400


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "q"))
    made.ok(prepare("a", "b"))
    made.add(*(task(each) for each in range(5)))
    made.end()
    yield made


def begins_and_writes(core: Core) -> Callable[[], None]:
    """The first time: another manager adds much, brings it into the file, and goes."""
    times = iter([True])

    def write() -> None:
        if next(times, False):
            other = Core(core.room, core.desk)
            other.restart()
            other.add(*(task(each, folder=f) for each in range(5, MANY) for f in "ab"))
            other.desk.committer.close()

    return write


def interrupted(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], None]
) -> None:
    """Whenever that function is called, `act` comes first."""
    real = getattr(module, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        act()
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, wrapped)


def test_a_manager_that_begins_does_not_make_the_queue_look_damaged(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`verify` has opened the file, and read of it, when the manager comes."""
    interrupted(monkeypatch, condition, "refuse_damage", begins_and_writes(core))
    assert list(verify(core.room.home)) == []


def test_nor_does_it_to_whoever_looks_at_the_pages(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, condition, "refuse_damage", begins_and_writes(core))
    condition.check_pages(core.room.home.database, surely=True)


def test_what_is_read_is_of_one_state(core: Core) -> None:
    """No error comes to light, and yet the first half would be of before."""
    write, counts = begins_and_writes(core), ("tasks", "task_phases", "task_output_dirs")

    def count(connection: Any) -> list[int]:
        found = []
        for table in counts:
            found.append(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())
            write()
        return found

    with engine.Reader(core.room.home) as reader:
        assert reader.read(count) == [MANY, MANY, 5 + 2 * (MANY - 5)]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "pages": lambda data: data[: 3 * 4096] + b"\xff" * 8192 + data[5 * 4096 :],
    "a word of the schema": lambda data: data.replace(b"ix_tasks_", b"ix_\xe6asks_", 1),
    "a state": lambda data: data.replace(b"PENDING\3\3", b"PEND\xffNG\3\3", 1),
    "a checksum": lambda data: data.replace(b"0" * 15 + b"1", b"0" * 15 + b"\xff", 1),
    "the queue's name": lambda data: re.sub(rb"(?<=queue.{6}).(?=[0-9a-f]{25})", b"\xff", data),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_told_all_the_same(core: Core, what: str) -> None:
    database = core.room.home.database
    good = database.read_bytes()
    database.write_bytes(DAMAGE[what](good))
    assert database.read_bytes() != good
    with pytest.raises(condition.Damaged, match=r"is damaged .*what stands there is kept"):
        list(verify(core.room.home))


def test_so_it_is_of_a_file_that_is_no_homes(core: Core) -> None:
    database = core.room.home.database
    database.write_bytes(DAMAGE["a checksum"](database.read_bytes()))
    with pytest.raises(condition.Damaged, match=re.escape(str(database))):
        list(verify_database(database))


def test_what_raises_is_not_tried_again_for_ever(core: Core) -> None:
    times = []

    def fail() -> None:
        times.append(1)
        raise ValueError

    with pytest.raises(ValueError):
        looking.steady(core.room.home.database, fail)
    assert len(times) == 1
