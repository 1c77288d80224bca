"""A queue of any size, made in bulk: what thousands of commands would have left, in seconds.

The real tables, indexes and triggers, claimed directories, CSVs that are what the database says:
`verify` finds nothing.  Promises: the same size is the same queue.  What is not here: how a queue
gets its tasks (`store/adding.py`).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from crash_scenarios import opened, prepare

from sqlqueue.disk import Disk
from sqlqueue.home import Home
from sqlqueue.plan.pace import shape_of
from sqlqueue.store import csv_file
from sqlqueue.store.counting import EVERY, KEY, key_of

EXPERIMENT = "m:f"
COLUMNS = ("phase", "task_id", "signature", "seed", "width", "score", "loss")
SIGNATURE = (
    "printf('%08x%08x%08x%08x', (n * 2654435761) & 4294967295, (n * 69069) & 4294967295, n, "
    "(n * 40503 + 12345) & 4294967295)"
)
"""Of no order, as real ones are."""
LINE = (
    "phases.name || ',' || task_id || ',' || tasks.signature || ',' || seed || ',' || "
    "(seed % :shapes) || ',' || (seed % 997) || ',' || (seed % 13) || '.5' || char(10)"
)


@dataclass(frozen=True)
class Size:
    """Half of the tasks are completed, if no number is given; the rest waits, but for those that
    run or failed.  Every tenth task is wanted by two phases, for two directories."""

    tasks: int
    completed: int = -1
    running: int = 0
    failed: int = 0
    directories: int = 50
    phases: int = 10
    shapes: int = 40

    @property
    def figures(self) -> dict[str, int]:
        done = self.tasks // 2 if self.completed < 0 else self.completed
        return {
            "tasks": self.tasks, "directories": self.directories, "phases": self.phases,
            "shapes": self.shapes, "done": done, "runs": done + self.running,
            "failed": done + self.running + self.failed,
        }  # fmt: skip


STATEMENTS = (
    "INSERT INTO uncounted VALUES (1)",
    "INSERT INTO tasks (id, signature, task_id, phase_id, experiment, parameters, seed, state, "
    "cost, failures, created_at, shape_id) "
    "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers "
    "WHERE n + 1 < :tasks) "
    f"SELECT n + 1, {SIGNATURE}, 'p' || (n % :phases) || '_' || (n / :phases) || '_' || n, "
    "n % :phases + 1, 'm:f', printf('{\"seed\": %d, \"width\": %d}', n, n % :shapes), n, "
    "CASE WHEN n < :done THEN 'COMPLETED' WHEN n < :runs THEN 'RUNNING' "
    "WHEN n < :failed THEN 'FAILED' ELSE 'PENDING' END, "
    "1 + n % :shapes, CASE WHEN n >= :runs AND n < :failed THEN 9 ELSE 0 END, 1.0, "
    "n % :shapes + 1 FROM numbers",
    "INSERT INTO task_phases (phase_id, signature, priority, max_attempts) "
    "SELECT phase_id, signature, priority, max_attempts FROM tasks",
    "INSERT INTO task_phases (phase_id, signature, priority, max_attempts) "
    "SELECT phase_id % :phases + 1, signature, priority, max_attempts FROM tasks "
    "WHERE id % 10 = 0",
    "INSERT INTO task_output_dirs (signature, directory_id) SELECT signature, folder FROM ("
    "SELECT id, signature, id % :directories + 1 AS folder FROM tasks UNION ALL "
    "SELECT id, signature, (id + 1) % :directories + 1 FROM tasks WHERE id % 10 = 0) "
    "ORDER BY id",
    "INSERT INTO csv_rows (directory_id, row_number, signature) "
    "SELECT directory_id, row_number() OVER (PARTITION BY directory_id ORDER BY links.id), "
    "links.signature FROM task_output_dirs AS links "
    "JOIN tasks ON tasks.signature = links.signature WHERE state = 'COMPLETED'",
    "INSERT INTO attempts (id, signature, number, worker_id, host, device, outcome, started_at, "
    "ended_at, seconds, error, lease_seconds) "
    "SELECT id, signature, 1, 'w' || (id % 64), 'host', 'cpu', "
    "CASE state WHEN 'RUNNING' THEN NULL ELSE state END, 1.0, "
    "CASE state WHEN 'RUNNING' THEN NULL ELSE 2.0 END, "
    "CASE state WHEN 'COMPLETED' THEN 1.0 END, "
    "CASE state WHEN 'FAILED' THEN 'ValueError: width' END, 90.0 "
    "FROM tasks WHERE state IN ('COMPLETED', 'RUNNING', 'FAILED')",
    "INSERT INTO results (signature, attempt_id, metrics, accepted, arrived_at) "
    "SELECT signature, id, printf('{\"score\": %d, \"loss\": %d.5}', seed % 997, seed % 13), "
    "1, 2.0 FROM tasks WHERE state = 'COMPLETED'",
    f"INSERT INTO tallies (phase_id, {KEY}, cells) "
    f"SELECT {EVERY}, {key_of('tasks')}, count(*) FROM tasks GROUP BY 1, 2, 3, 4, 5",
    f"INSERT INTO tallies (phase_id, {KEY}, cells) "
    f"SELECT task_phases.phase_id, {key_of('tasks')}, count(*) FROM task_phases "
    "JOIN tasks ON tasks.signature = task_phases.signature GROUP BY 1, 2, 3, 4, 5",
    "INSERT INTO directory_tallies SELECT directory_id, state, count(*) FROM task_output_dirs "
    "JOIN tasks ON tasks.signature = task_output_dirs.signature GROUP BY 1, 2",
    "DELETE FROM uncounted",
)  # fmt: skip


def make(home: Home, size: Size) -> None:
    """Fills a home that is not there yet."""
    home.create()
    folders = [f"d{number}" for number in range(size.directories)]
    with opened(home) as desk:
        desk.say(prepare(*folders))
    with closing(sqlite3.connect(home.database, isolation_level=None)) as base:
        base.execute("PRAGMA synchronous = OFF")
        base.execute("PRAGMA cache_size = -1000000")
        base.execute("BEGIN")
        _small_tables(base, size)
        for each in STATEMENTS:
            base.execute(each, size.figures)
        _write_files(base, home, size)
        base.execute("COMMIT")


def _small_tables(base: sqlite3.Connection, size: Size) -> None:
    """Experiment, phases and shapes."""
    base.execute("INSERT INTO experiments (name, first_seen) VALUES (?, 1.0)", (EXPERIMENT,))
    each_has = size.tasks // size.phases + 1
    names = [(number + 1, f"p{number}", each_has) for number in range(size.phases)]
    base.executemany("INSERT INTO phases (id, name, next_number) VALUES (?, ?, ?)", names)
    for number in range(size.shapes):
        shape = shape_of(EXPERIMENT, {"seed": 0, "width": number}, (), 1.0 + number)
        row = (number + 1, shape.key, EXPERIMENT, shape.cost, f'{{"width": {number}}}')
        base.execute("INSERT INTO shapes VALUES (?, ?, ?, ?, ?)", row)
        base.execute("INSERT INTO paces VALUES (?, 'cpu', 1, '[1.0]')", (number + 1,))


def _write_files(base: sqlite3.Connection, home: Home, size: Size) -> None:
    """The CSVs, and the records of what they are."""
    query = (
        f"SELECT {LINE} FROM csv_rows JOIN tasks ON tasks.signature = csv_rows.signature "
        "JOIN phases ON phases.id = tasks.phase_id "
        "WHERE directory_id = :key ORDER BY row_number"
    )
    head = ",".join(COLUMNS) + "\n"
    paths = base.execute("SELECT id, path FROM output_directories").fetchall()
    for key, path in paths:
        lines = [text for (text,) in base.execute(query, size.figures | {"key": key})]
        data = (head + "".join(lines)).encode()
        file = home.absolute(path) / csv_file.NAME
        file.write_bytes(data)
        columns = "[" + ", ".join(f'"{each}"' for each in COLUMNS) + "]"
        look = csv_file.look_at(Disk(), file)
        checksum = csv_file.extend(csv_file.EMPTY, data)
        base.execute(
            "UPDATE output_directories SET columns = ?, row_count = ?, length_bytes = ?, "
            "checksum = ?, look = ? WHERE id = ?",
            (columns, len(lines), len(data), checksum, look, key),
        )
