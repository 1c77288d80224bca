"""The database's form: migrations make exactly the tables of the code, and what is not ours, is
newer or is damaged is refused and left as it was.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from core import Core, task
from crash_scenarios import Room
from sqlalchemy import create_engine

from sqlqueue.errors import DatabaseError, QueueError
from sqlqueue.home import Home
from sqlqueue.manager.local import open_local
from sqlqueue.protocol import PrepareDirectories, RequestTask, SubmitResult, TaskReply
from sqlqueue.store import audit, engine
from sqlqueue.store.schema import metadata
from support import revive


@pytest.fixture
def used(tmp_path: Path) -> Room:
    """A queue with a result in it, whose manager has stopped."""
    core = Core.begin(Room(tmp_path / "used"))
    core.add(*map(task, range(200)))
    core.submit("p_0_0")
    core.end()
    return core.room


def migrate(home: Home) -> None:
    with open_local(home):
        pass


# --- the migrations ------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables_of_the_code(home: Home) -> None:
    writer = engine.open_writer(home)
    try:
        with writer.begin() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
    finally:
        writer.dispose()
    assert set(metadata.tables) <= set(_names(home.database))


def _names(database: Path) -> Iterator[str]:
    with closing(sqlite3.connect(database)) as connection:
        yield from (name for (name,) in connection.execute("SELECT name FROM sqlite_schema"))


def form(database: Path) -> dict[str, list[str]]:
    """What SQLite says of each table and index, the white space and the order in them apart."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
        return {
            name: sorted(re.findall(r"[\w']+", text)) for name, text in connection.execute(query)
        }


def test_a_migrated_database_says_of_itself_what_the_code_would_make(
    home: Home, tmp_path: Path
) -> None:
    migrate(home)
    plain = create_engine(f"sqlite:///{tmp_path / 'plain.db'}")
    metadata.create_all(plain)
    plain.dispose()
    found = form(home.database)
    found.pop("alembic_version")
    expected = form(tmp_path / "plain.db")
    assert found == expected


def test_the_head_is_the_newest_script_and_each_script_follows_another() -> None:
    config = Config()
    config.set_main_option("script_location", str(engine.migrations_folder()))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [engine.HEAD]
    assert len(scripts.get_bases()) == 1


def test_opening_twice_migrates_once(home: Home) -> None:
    migrate(home)
    before = form(home.database)
    migrate(home)
    assert form(home.database) == before


GOLDEN = sorted((Path(__file__).parent / "golden").glob("queue_*.sql"))


@pytest.mark.parametrize("frozen", GOLDEN, ids=lambda path: path.stem)
def test_a_database_of_every_version_opens_for_ever(home: Home, frozen: Path) -> None:
    """With three results, two failures and a task that waits, which is handed out."""
    revive(home, frozen)
    with open_local(home) as local:
        local.request(PrepareDirectories(output_dirs=["out", "other"]))
        task = local.request(RequestTask(worker_id="w"))
        assert isinstance(task, TaskReply)
        assert (task.task_id, task.config, task.command) == ("one_4_9", SEED_9, None)
        local.request(SubmitResult(task_id="one_4_9", worker_id="w", result_data={"score": 36}))
    lines = (home.root / "out" / "final_results.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["one_0_1", "one_2_2", "one_4_9"]
    assert list(audit.verify(home)) == []


SEED_9 = {"seed": 9, "width": 4}


# --- what is refused -----------------------------------------------------------------------------


def newer(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def foreign(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")


def no_database(database: Path) -> None:
    database.write_text("a person's notes\n" * 100)


def half(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def one_page(database: Path) -> None:
    os.truncate(database, 4096)


def torn_page(database: Path) -> None:
    os.truncate(database, database.stat().st_size - 100)


def head_only(database: Path) -> None:
    os.truncate(database, 50)


SPOILT = {
    newer: "newer sqlqueue",
    foreign: "not sqlqueue's",
    no_database: "not an SQLite database",
    half: "backup",
    one_page: "backup",
    torn_page: "backup",
    head_only: "backup",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda each: each.__name__)
@pytest.mark.parametrize("how", ["write", "read", "verify"])
def test_it_is_refused_and_left_as_it_was(
    used: Room, spoil: Callable[[Path], None], how: str
) -> None:
    database = used.home.database
    spoil(database)
    before = database.read_bytes(), used.csv("a").read_bytes()
    beside = {each.name for each in used.home.path.iterdir()}
    with pytest.raises(DatabaseError) as told:
        use(used.home, how)
    assert str(database) in told.value.message
    assert how != "write" or SPOILT[spoil] in told.value.message, told.value.message
    assert (database.read_bytes(), used.csv("a").read_bytes()) == before
    new = {each.name for each in used.home.path.iterdir()} - beside
    assert not {name for name in new if name.startswith("queue.db")}


def use(home: Home, how: str) -> None:
    if how == "write":
        migrate(home)
    elif how == "read":
        engine.open_reader(home).dispose()
    else:
        list(audit.verify(home))


def test_a_folder_in_place_of_the_database_is_told(home: Home) -> None:
    home.database.mkdir()
    with pytest.raises(QueueError, match=r"queue\.db"):
        migrate(home)
    home.database.rmdir()


# --- a migration that is killed ------------------------------------------------------------------


def die_at(home: Home, statement: int) -> bool:
    """Opens the database in a process that is killed before its N-th statement; if it was."""
    child = os.fork()
    if child == 0:
        try:
            _counting(statement)
            engine.open_writer(home).dispose()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _counting(statement: int) -> None:
    """From now on every connection counts what it is told, and the N-th thing kills."""
    left, connect = [statement], sqlite3.connect

    def trace(_text: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(trace)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]


def test_killed_at_any_statement_it_can_be_opened_again(tmp_path: Path) -> None:
    died = 0
    for statement in range(1, 400, 3):
        room = Room(tmp_path / str(statement))
        room.root.mkdir()
        room.home.create()
        if not die_at(room.home, statement):
            break
        died += 1
        migrate(room.home)
        assert set(metadata.tables) <= set(_names(room.home.database))
    assert died > 10
