"""The counts that the database keeps by itself; that they agree is proved when a test leaves."""

from __future__ import annotations

import runpy
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import statements
from core import Core, task
from crash_scenarios import Room
from sqlalchemy import Connection

from sqlqueue import protocol
from sqlqueue.store import counting, engine, filing, summary
from sqlqueue.store.audit import verify


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path))
    made.add(*map(task, range(6)), *(task(n, "q", "b") for n in range(3, 9)))
    yield made
    made.end()


def change(core: Core, statement: str) -> None:
    """Past the queue's own words, as another version or a person might."""
    with closing(sqlite3.connect(core.room.home.database)) as base, base:
        base.execute(statement)


def counted(core: Core) -> dict[str, dict[str, int]]:
    """The counts that are not zero, by phase and directory."""
    found = core.figures()
    groups = {each["phase"]: each for each in found["phases"]} | {
        each["output_dir"]: each for each in found["directories"]
    }
    states = ("pending", "running", "completed", "failed", "cancelled")
    return {
        name: {state: group[state] for state in states if group[state]}
        for name, group in {"all": found["totals"], **groups}.items()
    }


def test_every_move_of_a_task_is_counted(core: Core) -> None:
    assert counted(core) == {
        "all": {"pending": 9}, "p": {"pending": 6}, "q": {"pending": 6},
        "a": {"pending": 6}, "b": {"pending": 6},
    }  # fmt: skip
    core.take("u")  # p_0_0
    core.submit("p_3_3")
    core.ok(protocol.Cancel(select=["phase=p", "seed>0"]))  # three of them q wants too
    assert counted(core) == {
        "all": {"pending": 5, "running": 1, "completed": 1, "cancelled": 2},
        "p": {"running": 1, "completed": 1},
        "q": {"pending": 5, "completed": 1},
        "a": {"pending": 2, "running": 1, "completed": 1, "cancelled": 2},
        "b": {"pending": 5, "completed": 1},
    }


def test_what_others_write_is_counted_too(core: Core) -> None:
    change(core, "UPDATE task_phases SET withdrawn = 1 WHERE phase_id = 2")
    change(core, "UPDATE task_output_dirs SET directory_id = 1 WHERE signature NOT IN "
                 "(SELECT signature FROM task_output_dirs WHERE directory_id = 1)")  # fmt: skip
    assert counted(core)["a"] == {"pending": 9}
    assert "q" in counted(core) and counted(core)["q"] == {}
    change(core, "UPDATE task_phases SET withdrawn = 0 WHERE phase_id = 2")
    change(core, "DELETE FROM task_output_dirs WHERE directory_id = 2")
    assert counted(core)["b"] == {}


@pytest.mark.parametrize("table", ["tallies", "directory_tallies"])
def test_a_count_that_is_off_is_found(core: Core, table: str) -> None:
    change(core, f"UPDATE {table} SET cells = cells + 1 WHERE state = 'PENDING'")
    assert "not as many as is noted" in "\n".join(str(each) for each in verify(core.room.home))
    change(core, f"UPDATE {table} SET cells = cells - 1 WHERE state = 'PENDING'")


def test_the_migration_makes_the_triggers_of_the_code() -> None:
    folder = engine.migrations_folder() / "versions"
    made = runpy.run_path(str(folder / "0007_counting_together.py"))["TRIGGERS"]
    dropped = runpy.run_path(str(folder / "0009_counted_when_added.py"))["DROPPED"]
    assert [each for each in made if each.split()[2] not in dropped] == counting.statements()


def steps_of(core: Core, ask: Callable[[Connection], object]) -> list[str]:
    """How SQLite goes about what is asked."""
    with core.desk.committer.transaction() as connection, statements.plans() as steps:
        ask(connection)
    return steps


def test_the_figures_are_read_without_a_look_at_every_task(core: Core) -> None:
    """Whatever reads tasks or wishes finds them by what runs or failed, or by a key."""
    steps = steps_of(core, lambda connection: summary.from_database(connection, 0.0))
    scans = [each for each in steps if each.startswith("SCAN")]
    large = ("tasks", "task_phases", "task_output_dirs", "attempts", "results")
    assert [each for each in scans if each.split()[1] in large and "ix_" not in each] == []
    assert len([each for each in steps if "ix_tasks_few" in each]) == 1  # those that failed


def test_what_no_file_wants_is_looked_for_some_tasks_at_a_time(core: Core) -> None:
    steps = steps_of(core, lambda connection: filing.gone(connection, ["p", "q"], 1, 0))
    assert any("tasks USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in each for each in steps)
    assert not any("task_phases" in each and "phase_id=?" in each for each in steps)
