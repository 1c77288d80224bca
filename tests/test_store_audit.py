"""The oracle itself: `verify` finds whatever is wrong, and nothing where all is well."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from crash_proof import Workshop, workshop
from crash_scenarios import EDITS, HANDS, Room, rows_of

from sqlqueue.errors import DatabaseError
from sqlqueue.store.audit import verify

CSV = "a/final_results.csv"


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


@pytest.fixture
def room(shop: Workshop) -> Room:
    return shop.template("stocked").copy(shop.root / "room")


def found(room: Room) -> list[tuple[str, str]]:
    return [(each.where, each.message) for each in verify(room.home)]


def test_nothing_is_found_where_all_is_well(room: Room) -> None:
    assert found(room) == []
    assert len(rows_of(room.csv("a").read_bytes())) == 3


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_every_edit_by_hand_is_found_in_its_file_alone(
    room: Room, edit: Callable[[Room], list[bytes]]
) -> None:
    edit(room)
    assert [where for where, _ in found(room)] == [CSV]
    assert len(HANDS) == len(EDITS)


def change(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return changed


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "a row twice": lambda data: data + data.splitlines(keepends=True)[-1],
    "a row missing": lambda data: b"".join(data.splitlines(keepends=True)[:-1]),
    "the last line torn": lambda data: data[:-4],
    "only the line end missing": lambda data: data[:-1],
    "a value": change(b"0.3333", b"0.3334"),
    "a header": change(b"value", b"valve"),
    "a byte after the end": lambda data: data + b"\n",
    "a line end of another kind": change(b"\n", b"\r\n"),
    "emptied": lambda _data: b"",
    "zeros": lambda data: data[:-10] + bytes(10),
}


@pytest.mark.parametrize("edit", CONTENTS.values(), ids=CONTENTS)
def test_every_byte_counts(room: Room, edit: Callable[[bytes], bytes]) -> None:
    room.csv("a").write_bytes(edit(room.csv("a").read_bytes()))
    ((where, message),) = found(room)
    assert where == CSV
    assert message


DATABASE = {
    "is COMPLETED without a result": "UPDATE tasks SET state = 'COMPLETED' WHERE task_id = 'p_2_2'",
    "is RUNNING without an attempt": "UPDATE tasks SET state = 'RUNNING' WHERE task_id = 'p_2_2'",
    "has a running attempt, but is not RUNNING": (
        "UPDATE attempts SET outcome = NULL WHERE signature ="
        " (SELECT signature FROM tasks WHERE task_id = 'p_0_0')"
    ),
    "is linked to no output directory": (
        "DELETE FROM task_output_dirs WHERE signature ="
        " (SELECT signature FROM tasks WHERE task_id = 'p_2_2')"
    ),
    "failed with attempts left": "UPDATE tasks SET state = 'FAILED' WHERE task_id = 'p_2_2'",
    "its result is not in directory": ("DELETE FROM csv_rows WHERE row_number = 3"),
    "rows numbered up to": "UPDATE csv_rows SET row_number = 9 WHERE row_number = 3",
    "which is not linked to it": (
        "DELETE FROM task_output_dirs WHERE signature ="
        " (SELECT signature FROM csv_rows WHERE row_number = 1)"
    ),
    "twice": (
        "UPDATE csv_rows SET signature = (SELECT signature FROM csv_rows WHERE row_number = 1)"
        " WHERE row_number = 2"
    ),
    "which has no result": "UPDATE results SET accepted = 0 WHERE id = 1",
    "points nowhere": "DELETE FROM phases",
    "its record says": "UPDATE output_directories SET checksum = '0000000000000001'",
    "no row was written yet": "UPDATE output_directories SET columns = NULL, row_count = 0",
}


@pytest.mark.parametrize("message, sql", DATABASE.items(), ids=DATABASE)
def test_what_does_not_fit_together_in_the_database_is_found(
    room: Room, message: str, sql: str
) -> None:
    with closing(sqlite3.connect(room.home.database)) as base:
        assert base.execute(sql).rowcount > 0
        base.commit()
    assert any(message in each for _, each in found(room)), found(room)


def test_a_damaged_page_is_told(room: Room) -> None:
    with closing(sqlite3.connect(room.home.database)) as base:
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = base.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_tasks_1'"
        ).fetchone()
        (size,) = base.execute("PRAGMA page_size").fetchone()
    with room.home.database.open("r+b") as file:
        file.seek((root - 1) * size + size - 40)
        file.write(b"damaged" * 5)
    with pytest.raises(DatabaseError, match="put a backup in its place"):
        found(room)


def test_a_csv_that_is_no_file_is_found(room: Room) -> None:
    room.csv("a").unlink()
    assert found(room) == [(CSV, "is missing")]
    room.csv("a").symlink_to(room.csv("b"))
    assert found(room) == [(CSV, "is not an ordinary file")]
