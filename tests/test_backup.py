"""A backup: one state of the database in one file, taken beside a manager that is busy."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from lost_queue import Lost, in_memory
from tally import count

from sqlqueue.disk import Disk
from sqlqueue.errors import UsageError
from sqlqueue.home import Home
from sqlqueue.store import backup
from sqlqueue.store.audit import verify_database
from sqlqueue.store.backup import Holdings
from support import Cli, ManagerProcess, connect

CLIENTS = 4


@pytest.fixture(scope="module")
def queue() -> Iterator[Lost]:
    with in_memory() as folder:
        made = Lost.made(folder / "queue", "backup_trial", seeds=3)
        made.submit(0.5)
        yield made


def take(home: Home, file: Path, *, force: bool = False) -> Holdings:
    return backup.back_up(
        home.database, file, force=force, disk=Disk(), advance=lambda _now, _all: None
    )


def signatures(file: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as base:
        return {key for (key,) in base.execute("SELECT signature FROM results WHERE accepted")}


# --- the file -------------------------------------------------------------------------------


def test_it_says_what_it_holds_is_private_and_stands_by_itself(queue: Lost, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    found = take(queue.home, file)
    ((tasks,),) = queue.query("SELECT count(*) FROM tasks")
    ((results,),) = queue.query("SELECT count(*) FROM results")
    assert (found.tasks, found.results, found.directories) == (tasks, results, 3)
    assert found.queue == queue.home.queue_id()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(verify_database(file)) == []
    assert [each.name for each in tmp_path.iterdir()] == ["backup.db"]


def test_a_file_that_is_there_stays_unless_told_otherwise(queue: Lost, tmp_path: Path) -> None:
    file = tmp_path / "thesis.tex"
    file.write_text("years of work")
    with pytest.raises(UsageError, match="--force"):
        take(queue.home, file)
    with pytest.raises(UsageError, match="no backup"):
        take(queue.home, file, force=True)
    assert file.read_text() == "years of work"
    older = tmp_path / "backup.db"
    take(queue.home, older)
    (tmp_path / "link.db").symlink_to(older)
    with pytest.raises(UsageError, match="no backup"):
        take(queue.home, tmp_path / "link.db", force=True)
    queue.submit(0.25)
    take(queue.home, older, force=True)
    assert signatures(older)


@pytest.mark.parametrize("name", [".", "no/such/folder.db"])
def test_what_cannot_be_a_file_is_told(queue: Lost, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="name a file"):
        take(queue.home, tmp_path / name)


def test_what_was_committed_but_is_still_in_the_log_is_in_it(queue: Lost, tmp_path: Path) -> None:
    copy = queue.copy(tmp_path / "copy")
    with closing(sqlite3.connect(copy.home.database)) as base:
        base.execute("UPDATE tasks SET priority = 7")
        base.commit()
        assert copy.home.database.with_name("queue.db-wal").stat().st_size > 0
        take(copy.home, tmp_path / "backup.db")
    with closing(sqlite3.connect(tmp_path / "backup.db")) as base:
        assert base.execute("SELECT DISTINCT priority FROM tasks").fetchall() == [(7,)]


# --- beside a busy manager ------------------------------------------------------------------


class Clients:
    """Threads that submit at full speed; `acked` grows."""

    def __init__(self, manager: ManagerProcess, tasks: list[tuple[str, str]]) -> None:
        self.acked: set[str] = set()
        self._manager = manager
        shares = [tasks[at::CLIENTS] for at in range(CLIENTS)]
        self._threads = [threading.Thread(target=self._submit, args=(each,)) for each in shares]

    def __enter__(self) -> Clients:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._threads:
            each.join()

    @property
    def busy(self) -> bool:
        return any(each.is_alive() for each in self._threads)

    def _submit(self, tasks: list[tuple[str, str]]) -> None:
        with connect(self._manager.socket_path, 60) as wire, wire.makefile("rb") as lines:
            for signature, task_id in tasks:
                message = {"type": "submit_result", "task_id": task_id, "worker_id": "w",
                           "signature": signature, "result_data": {"value": 1.5}}  # fmt: skip
                wire.sendall(json.dumps(message).encode() + b"\n")
                assert json.loads(lines.readline()) == {"type": "ack"}
                self.acked.add(signature)


def filled(manager: ManagerProcess, number: int) -> list[tuple[str, str]]:
    """Adds so many cells, for two directories; their signatures and ids."""
    cells = [
        {"signature": hashlib.md5(str(each).encode()).hexdigest(), "phase": "p",
         "experiment": "m:f", "parameters": {"seed": each}, "seed": each, "output_dir": folder}
        for each in range(number) for folder in ("a", "b")
    ]  # fmt: skip
    manager.ask({"type": "prepare_directories", "output_dirs": ["a", "b"]})
    known = [{"name": "m:f", "parameters": []}]
    answer = manager.ask({"type": "add_tasks", "tasks": cells, "experiments": known}, 60)
    assert answer["type"] == "added"
    return [(each["signature"], f"p_{each['seed']}_{each['seed']}") for each in cells[::2]]


def test_backups_taken_while_clients_submit_hold_all_that_was_acked(
    manager_process: ManagerProcess, tmp_path: Path
) -> None:
    manager_process.start()
    tasks = filled(manager_process, 400)
    home, taken = manager_process.home, 0
    with Clients(manager_process, tasks) as clients:
        while clients.busy or not taken:
            before = set(clients.acked)
            file = tmp_path / f"backup-{taken}.db"
            take(home, file)
            assert before <= signatures(file), f"backup {taken} lacks what was acked before"
            assert list(verify_database(file)) == []
            taken += 1
    count("backups", taken)
    assert len(clients.acked) == len(tasks)


def test_the_command_says_where_it_is_and_what_it_holds(
    small_queue: Cli, tmp_path: Path, manager_process: ManagerProcess
) -> None:
    manager_process.start()
    said = small_queue.ok("backup", "backup.db")
    assert said == "Backup in backup.db: 2 tasks, 0 results, 1 output directory; checked\n"
    again = small_queue("backup", "backup.db")
    assert (again.returncode, again.stdout) == (2, "")
    assert "say --force" in again.stderr
    small_queue.ok("backup", "backup.db", "--force")
    assert (tmp_path / "backup.db").is_file()
    for inside in ("queue.db", "logs/backup.db"):
        refused = small_queue("backup", f".sqlqueue/{inside}", "--force")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "is inside the home of a queue" in refused.stderr
