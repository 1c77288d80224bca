"""Proof that database and CSVs agree: read-only, beside a running manager too.

`verify` yields what is wrong, and nothing when all is well.  It serves the command, and every
test when it leaves.  Each CSV is compared byte for byte with what the database says it is; a
file that changed while it was looked at is looked at again.  What is not here: mending.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection, func, select, text, tuple_

from sqlqueue.errors import DirectoryError
from sqlqueue.home import Home
from sqlqueue.lifecycle import State
from sqlqueue.store import condition, csv_file, engine, records, tallied, wishing
from sqlqueue.store.csv_file import Record
from sqlqueue.store.directories import marker_of
from sqlqueue.store.rewriting import expected
from sqlqueue.store.schema import (
    attempts,
    breakers,
    csv_rows,
    output_directories,
    phases,
    results,
    task_output_dirs,
    task_phases,
    tasks,
)

MOST_LOOKS: Final = 30
PAUSE_SECONDS: Final = 0.1
"""A file that is wrong in the same way at so many looks in a row is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, and where."""

    severity: Literal["error", "warning"]
    where: str
    message: str


def verify(home: Home) -> Iterator[Finding]:
    """Everything that is wrong with a queue.  Raises `QueueError` when it cannot be read."""
    with engine.Reader(home) as reader:
        yield from reader.read(lambda connection: list(of_database(home.database, connection)))
        for key in sorted(reader.read(records.load)):
            yield from _directory(home, reader, key)


def verify_database(path: Path) -> Iterator[Finding]:
    """Everything that is wrong with a database by itself: a backup."""
    reader = engine.open_file(path)
    try:
        with condition.legibly(path), reader.begin() as connection:
            yield from of_database(path, connection)
    finally:
        reader.dispose()


# --- the database against itself ------------------------------------------------------------


def of_database(path: Path, connection: Connection) -> Iterator[Finding]:
    """What does not fit together inside the database."""
    condition.refuse_damage(path, connection.exec_driver_sql)
    for broken in connection.execute(text("PRAGMA foreign_key_check")):
        yield Finding("error", "queue.db", f"a row of {broken[0]} points nowhere")
    yield from _lifecycle(connection)
    yield from _wishes(connection)
    for message in dict.fromkeys(tallied.wrong(connection)):
        yield Finding("error", "queue.db", message)
    for signature, key in records.undelivered(connection):
        yield Finding("error", signature, f"its result is not in directory {key}")
    yield from _numbers(connection)


def _lifecycle(connection: Connection) -> Iterator[Finding]:
    """States, attempts and results that do not fit together."""
    accepted = select(results.c.signature).where(results.c.accepted)
    live = select(attempts.c.signature).where(attempts.c.outcome.is_(None))
    linked = select(task_output_dirs.c.signature)
    state, signature = tasks.c.state, tasks.c.signature
    open_, over = state.in_(["PENDING", "RUNNING"]), state.in_(["FAILED", "CANCELLED"])
    rules = [
        ("is COMPLETED without a result", (state == "COMPLETED") & signature.not_in(accepted)),
        ("is RUNNING without an attempt", (state == "RUNNING") & signature.not_in(live)),
        ("has a running attempt, but is not RUNNING", (state != "RUNNING") & signature.in_(live)),
        ("is linked to no output directory",
         (open_ | (state == "FAILED")) & signature.not_in(linked)),
        ("is to run once more without a result",
         open_ & (tasks.c.rerun_after > 0) & signature.not_in(accepted)),
        ("has a result and is to run, but not once more",
         open_ & (tasks.c.rerun_after == 0) & signature.in_(accepted)),
        ("is FAILED or CANCELLED, but has a result", over & signature.in_(accepted)),
        ("failed with attempts left",
         (state == State.FAILED.value) & (tasks.c.failures < tasks.c.max_attempts)
         & (tasks.c.losses == 0)),
    ]  # fmt: skip
    for message, rule in rules:
        for task_id in connection.execute(select(tasks.c.task_id).where(rule)).scalars():
            yield Finding("error", task_id, message)


def _wishes(connection: Connection) -> Iterator[Finding]:
    """Tasks that stand otherwise than those who want them wish, or that nobody wants."""
    # Where a pause is on its way through the queue, some stand as before.
    settling = wishing.is_settling(connection)
    for row_ in () if settling else connection.execute(wishing.come_to()):
        wish = f"priority {row_.to_priority}, {row_.to_attempts} attempts, held: {row_.to_held}"
        message = f"is not what the wishes of its phases come to ({wish})"
        yield Finding("error", row_.of_signature, message)
    wanted = select(task_phases.c.signature).where(task_phases.c.withdrawn.is_(False))
    open_ = tasks.c.state.in_([State.PENDING.value, State.RUNNING.value])
    query = select(tasks.c.task_id).where(open_, tasks.c.signature.not_in(wanted))
    for task_id in connection.execute(query).scalars():
        yield Finding("error", task_id, "is to run, and no phase wants it")
    broken = select(phases.c.name).join(breakers, breakers.c.phase_id == phases.c.id)
    for name in connection.execute(broken.where(phases.c.paused.is_(False))).scalars():
        yield Finding("error", name, "the breaker has paused the phase, and it is not paused")


def _numbers(connection: Connection) -> Iterator[Finding]:
    """Each directory's rows are numbered 1, 2, 3, ... and only tasks with a result have one."""
    counts = records.row_counts(connection)
    for key, (path, record) in records.load(connection).items():
        count, highest = counts.get(key, (0, 0))
        if not count == highest == record.row_count:
            message = f"{count} rows numbered up to {highest}, {record.row_count} recorded"
            yield Finding("error", path, message)
    yield from _owners(connection)
    twice = select(results.c.signature).where(results.c.accepted).group_by(results.c.signature)
    for signature in connection.execute(twice.having(func.count() > 1)).scalars():
        yield Finding("error", signature, "has two accepted results")


def _owners(connection: Connection) -> Iterator[Finding]:
    """Whose rows those are."""
    row_, link = csv_rows.c, task_output_dirs.c
    accepted = select(results.c.signature).where(results.c.accepted)
    linked = select(link.signature, link.directory_id)
    of_row = tuple_(row_.signature, row_.directory_id)
    query = select(row_.signature, output_directories.c.path).join_from(
        csv_rows, output_directories
    )
    wrong = {
        ", which has no result": query.where(row_.signature.not_in(accepted)),
        ", which is not linked to it": query.where(of_row.not_in(linked)),
        " twice": query.group_by(row_.directory_id, row_.signature).having(func.count() > 1),
    }
    for why, rows in wrong.items():
        for signature, path in connection.execute(rows):
            yield Finding("error", path, f"has a row of {signature}{why}")


# --- the CSVs against the database --------------------------------------------------------------


def _directory(home: Home, reader: engine.Reader, key: int) -> Iterator[Finding]:
    """Looks again while a manager may be between an append and its commit."""
    yield from of_marker(home, *reader.read(partial(records.load, wanted=[key]))[key])
    before: tuple[Record, str] | None = None
    looks = 0
    while looks < MOST_LOOKS:
        path, record, problem = reader.read(partial(_looked_at, home, key))
        if problem is None:
            return
        looks = looks + 1 if (record, problem) == before else 1
        before = (record, problem)
        if home.manager() is None:
            break
        time.sleep(PAUSE_SECONDS)
    yield Finding("error", f"{path}/{csv_file.NAME}", before[1] if before else "")


def _looked_at(home: Home, key: int, connection: Connection) -> tuple[str, Record, str | None]:
    """Stored path, record, and what is wrong with the CSV."""
    path, record = records.load(connection, [key])[key]
    return path, record, _compare(connection, home.absolute(path), key, record)


def of_marker(home: Home, path: str, record: Record) -> Iterator[Finding]:
    """A folder that has a CSV of ours says so: another queue, and `recover`, can tell by it."""
    folder = home.absolute(path)
    if record.columns is None or not folder.is_dir():
        return
    try:
        owner = marker_of(folder)
    except (OSError, DirectoryError) as error:
        yield Finding("error", path, str(error))
        return
    if owner != home.queue_id():
        says = f"belongs to another queue ({owner})" if owner else "is missing"
        yield Finding("error", f"{path}/{csv_file.MARKER}", says)


def _compare(connection: Connection, folder: Path, key: int, record: Record) -> str | None:
    """What is wrong with one CSV, or None."""
    file = folder / csv_file.NAME
    if record.columns is None:
        return f"is there, but no row was written yet: {file}" if file.exists() else None
    if file.is_symlink() or not file.is_file():
        return "is missing" if not file.exists() else "is not an ordinary file"
    try:
        with file.open("rb") as content:
            return _compare_lines(connection, content, key, record)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _compare_lines(
    connection: Connection, content: Iterator[bytes], key: int, record: Record
) -> str | None:
    columns = record.columns or ()
    length, checksum, number = 0, csv_file.EMPTY, 0
    for number, each in enumerate(expected(connection, key, columns), start=1):
        found = next(content, b"")
        if found != each:
            return f"line {number}, {_difference(found, each, columns)}"
        length, checksum = length + len(found), csv_file.extend(checksum, found)
    if (length, checksum) != (record.length_bytes, record.checksum):
        return f"agrees with its rows, but its record says {record.length_bytes} bytes"
    if (extra := next(content, b"")) != b"":
        return f"goes on after its last row, at line {number + 1}: {_shown(extra)}"
    return None


def _difference(found: bytes, expected: bytes, columns: tuple[str, ...]) -> str:
    """The first cell that differs, by its column; the whole lines where cells do not tell."""
    left, right = _cells(found), _cells(expected)
    if len(left) == len(right) == len(columns) and found.endswith(b"\n"):
        for name, is_, should in zip(columns, left, right, strict=True):
            if is_ != should:
                return f"column {name}: is {is_!r:.200}, expected {should!r:.200}"
    return f"is {_shown(found)}, expected {_shown(expected)}"


def _cells(found: bytes) -> list[str]:
    """The cells of one line; none where a person left what is no line of a CSV."""
    try:
        return next(csv.reader([found.decode("utf-8", "replace")]), [])
    except csv.Error:
        return []


def _shown(found: bytes) -> str:
    return repr(found[:200].decode("utf-8", "replace")) if found else "not there"
