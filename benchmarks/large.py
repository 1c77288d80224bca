"""Queues of a million tasks in a minute or two: a few real ones, multiplied.

Real commands make a queue of a few cells, all of seed 0, and a real client completes them.  Then
whatever rows they have in the database is copied for every further seed, whole, but for what tells
one cell from another, and so are the rows of their CSVs; the counts are the store's own.
Promises: signatures are those that `init` gives these cells, and `sqlqueue verify` finds nothing
wrong (`tests/test_benchmarks.py`).  What is not here: what is measured on such a queue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Table, create_engine, select

from benchmarks import clients
from benchmarks.bench_queue import BenchQueue
from sqlqueue.experiments import declare
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.plan.signature import digest, entry
from sqlqueue.store import csv_file, records
from sqlqueue.store.recounting import counted
from sqlqueue.store.schema import (
    attempts,
    csv_rows,
    phases,
    results,
    task_output_dirs,
    task_phases,
    tasks,
)

EXPERIMENT = "poisoning"
SEED = ',"seed":'
SWEEP = "sweep.yaml"
FAST = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000", "temp_store = MEMORY")


@dataclass(frozen=True)
class Plan:
    """Cells for so many directories: `widths` per seed, for `seeds` seeds; those of the first
    `done` seeds are completed."""

    seeds: int
    done: int
    directories: int = 1
    widths: int = 1
    same: bool = False
    """Each cell is wanted by all directories, rather than each by one."""

    @property
    def tasks(self) -> int:
        return self.seeds * self.widths * (1 if self.same else self.directories)

    def sweep(self, seeds: int) -> dict[str, Any]:
        """One phase for each directory."""
        return {
            f"phase{number}": {
                "output_dir": f"results_{number}",
                "combinations": {
                    "seed": f"range({seeds})", "batch_size": 1 if self.same else number + 1,
                    "width_factor": [2**each for each in range(self.widths)], "dataset": "digits",
                },
            } for number in range(self.directories)
        }  # fmt: skip


def make(queue: BenchQueue, plan: Plan) -> None:
    """The queue of a plan, in a folder that has none yet."""
    queue.write(plan.sweep(1), SWEEP)
    queue.run("init", SWEEP)
    if plan.done:
        _complete(queue, replace(plan, seeds=1).tasks)
    if plan.seeds > 1:
        _multiply(queue, plan)
    queue.write(plan.sweep(plan.seeds), SWEEP)


def _complete(queue: BenchQueue, count: int) -> None:
    queue.start()
    clients.run("submit", queue, queue.claim({"first": count}))
    queue.stop()


def _multiply(queue: BenchQueue, plan: Plan) -> None:
    home = Home(queue.home)
    engine = create_engine(f"sqlite:///{home.database}")
    with HomeLock(home):
        with engine.connect() as connection:
            for each in FAST:
                connection.exec_driver_sql(f"PRAGMA {each}")
            naming = _naming(connection, queue)
            _copy_all(connection, plan, naming)
            _write_csvs(home, connection, plan, naming)
            connection.commit()
        engine.dispose()


# --- names ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Naming:
    """What is digested for each of the first cells, before its seed and after it, by signature; how
    many cells a phase has per seed."""

    texts: dict[str, tuple[str, str]]
    in_phase: dict[str, int]

    def signature(self, first: str, seed: int) -> str:
        """Of the cell that differs from that one by its seed alone."""
        before, after = self.texts[first]
        return _sealed(before, seed, after)

    def task_id(self, first: str, seed: int) -> str:
        phase, number, _ = first.rsplit("_", 2)
        return f"{phase}_{int(number) + self.in_phase[phase] * seed}_{seed}"


def _naming(connection: Connection, queue: BenchQueue) -> Naming:
    found = connection.execute(select(tasks.c.signature, tasks.c.parameters)).all()
    numbers = connection.execute(select(phases.c.name, phases.c.next_number)).all()
    return Naming(
        {signature: _around_seed(queue, signature, json.loads(parameters))
         for signature, parameters in found},
        dict(tuple(each) for each in numbers),
    )  # fmt: skip


def _around_seed(queue: BenchQueue, signature: str, parameters: dict[str, Any]) -> tuple[str, str]:
    """What is digested for a cell, before its seed and after it."""
    experiment = declare(EXPERIMENT, queue.root)
    declared = {each.name: each for each in experiment.parameters}
    entries = [entry(name, value, declared.get(name)) for name, value in sorted(parameters.items())]
    place = next(n for n, each in enumerate(entries) if each.startswith(SEED))
    before = f"[{json.dumps(EXPERIMENT)},{{{''.join(entries[:place])}{SEED}".replace("{,", "{", 1)
    after = f"{''.join(entries[place + 1 :])}}}]"
    assert _sealed(before, 0, after) == signature
    assert _sealed(before, 77, after) == digest(experiment, parameters | {"seed": 77})
    return before, after


def _sealed(before: str, seed: int, after: str) -> str:
    """The signature; the assertions above see to it that it is made as everywhere."""
    return hashlib.sha256(f"{before}{seed}{after}".encode("ascii")).hexdigest()[:32]


# --- the database -----------------------------------------------------------------------------


def _copy_all(connection: Connection, plan: Plan, naming: Naming) -> None:
    run = connection.exec_driver_sql
    driver: Any = connection.connection.driver_connection
    driver.create_function("of_seed", 2, naming.signature, deterministic=True)
    driver.create_function("id_of_seed", 2, naming.task_id, deterministic=True)
    run("CREATE TEMP TABLE more (seed INTEGER PRIMARY KEY)")
    run("WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n + 1 < ?) "
        "INSERT INTO more SELECT n FROM s", (plan.seeds,))  # fmt: skip
    of_seed = {"signature": "of_seed(old.signature, more.seed)"}
    width = run("SELECT coalesce(max(id), 0) FROM attempts").scalar_one()
    done = f"more.seed < {plan.done}"
    with counted(connection):
        _copy(connection, tasks, plan.seeds, of_seed | {
            "task_id": "id_of_seed(old.task_id, more.seed)",
            "parameters": "json_set(old.parameters, '$.seed', more.seed)",
            "seed": "more.seed",
            "state": f"CASE WHEN {done} THEN 'COMPLETED' ELSE 'PENDING' END",
        })  # fmt: skip
        _copy(connection, task_phases, plan.seeds, of_seed)
        _copy(connection, task_output_dirs, plan.seeds, of_seed)
    rows = "(SELECT row_count FROM output_directories WHERE id = old.directory_id)"
    number = {"row_number": f"old.row_number + {rows} * more.seed"}
    _copy(connection, csv_rows, plan.done, of_seed | number)
    _copy(connection, attempts, plan.done, of_seed | {
        "id": f"old.id + more.seed * {width}", "request_id": "NULL",
    })  # fmt: skip
    of_attempt = {"attempt_id": f"old.attempt_id + more.seed * {width}"}
    _copy(connection, results, plan.done, of_seed | of_attempt)
    run(f"UPDATE {phases.name} SET next_number = next_number * {plan.seeds}")


def _copy(connection: Connection, table: Table, below: int, changes: dict[str, str]) -> None:
    """Every row of a table once more for each further seed below that one."""
    names = [each.name for each in table.columns if each.name != "id" or "id" in changes]
    values = ", ".join(changes.get(name, f"old.{name}") for name in names)
    run = connection.exec_driver_sql
    run(f"CREATE TEMP TABLE old AS SELECT * FROM main.{table.name}")
    run(f"INSERT INTO main.{table.name} ({', '.join(names)}) SELECT {values} "
        "FROM more CROSS JOIN old WHERE more.seed < ?", (below,))  # fmt: skip
    run("DROP TABLE temp.old")


# --- the CSVs ---------------------------------------------------------------------------------


def _write_csvs(home: Home, connection: Connection, plan: Plan, naming: Naming) -> None:
    """The rows of the first cells once more for each further seed, and the record of it."""
    first = dict(connection.execute(select(tasks.c.task_id, tasks.c.signature).where(
        tasks.c.seed == 0)).all())  # fmt: skip
    after = {}
    for key, (path, record) in records.load(connection).items():
        file = home.absolute(path) / csv_file.NAME
        if record.columns is not None:
            more = "".join(_lines(file.read_text(), record.columns, plan.done, first, naming))
            with file.open("a") as csv:
                csv.write(more)
            data = more.encode()
            after[key] = replace(
                record, row_count=record.row_count * plan.done,
                length_bytes=record.length_bytes + len(data),
                checksum=csv_file.extend(record.checksum, data), look=csv_file.look_of(file.stat()),
            )  # fmt: skip
    records.save(connection, after)


def _lines(
    text: str, columns: tuple[str, ...], done: int, first: dict[str, str], naming: Naming
) -> Iterator[str]:
    """No cell of theirs has a comma in it."""
    task_id, signature, seed_ = map(columns.index, ("task_id", "signature", "seed"))
    rows = [line.split(",") for line in text.splitlines(keepends=True)[1:]]
    for seed in range(1, done):
        for row in rows:
            cells = row.copy()
            cells[task_id] = naming.task_id(row[task_id], seed)
            cells[signature] = naming.signature(first[row[task_id]], seed)
            cells[seed_] = str(seed)
            yield ",".join(cells)
